//! What comes from the hub: frames, records in them, and the check of every delivery.

use std::os::fd::AsFd;

use super::{CHUNK, Engine, Phase, Role};
use crate::dialect::{self, Record};
use crate::marker::Marker;
use crate::socket::{self, Interest, Moved, now};
use crate::websocket;

/// Of the deliveries whose delay is taken, one in so many is looked at in whole.
const LOOKED_AT: u64 = 1024;
/// Mixes what was received into one number; odd, and its bits well spread.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

impl Engine {
    pub(super) fn readable(&mut self, index: usize) -> Result<(), String> {
        if self.connections[index].socket.is_none() {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let served = self.read(index, &mut buffer);
        self.buffer = buffer;
        served
    }

    fn read(&mut self, index: usize, buffer: &mut Vec<u8>) -> Result<(), String> {
        let connection = &mut self.connections[index];
        let Some(socket) = &connection.socket else {
            return Ok(());
        };
        // The beginning of a frame goes before the rest of it.
        let old = connection.partial.len();
        if buffer.len() < old + CHUNK {
            buffer.resize(old + CHUNK, 0);
        }
        match socket::read(socket, &mut buffer[old..]) {
            Ok(Moved::Bytes(0)) => self.fail(index, "the hub has closed it"),
            Ok(Moved::Bytes(read)) => {
                buffer[..old].copy_from_slice(&connection.partial);
                connection.partial.clear();
                let used = self.feed(index, &buffer[..old + read])?;
                self.connections[index].partial.extend_from_slice(&buffer[used..old + read]);
            }
            Ok(Moved::Nothing) => {}
            Err(problem) => self.fail(index, &problem),
        }
        Ok(())
    }

    /// Takes whole frames; returns the bytes taken.
    fn feed(&mut self, index: usize, bytes: &[u8]) -> Result<usize, String> {
        let mut taken = 0;
        if self.connections[index].phase == Phase::Upgrading {
            match websocket::accepted(bytes) {
                Ok(None) => return Ok(0),
                Ok(Some(length)) => taken = length,
                Err(problem) => {
                    self.fail(index, &problem);
                    return Ok(bytes.len());
                }
            }
            self.greet(index, 0)?;
        }
        // The clock is read once for what came at once.
        let mut time = 0;
        while let Some(frame) = websocket::decode(&bytes[taken..]) {
            let payload = &bytes[taken + frame.start..taken + frame.end];
            match frame.opcode {
                websocket::TEXT | websocket::BINARY => match self.dialect.frame(payload) {
                    Some(record) => self.record(index, record, frame.end, &mut time)?,
                    None => self.stream(index, payload, &mut time)?,
                },
                websocket::CLOSE => {
                    let code = payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
                    let reason = payload.get(2..).map(String::from_utf8_lossy).unwrap_or_default();
                    self.fail(index, &format!("the hub closes it with {code} {reason}"));
                    return Ok(bytes.len());
                }
                websocket::PING => self.send(index, websocket::PONG, payload)?,
                _ => {}
            }
            taken += frame.end;
        }
        if time > 0 {
            self.counts.ended = time;
        }
        Ok(taken)
    }

    /// Records that need not begin and end where frames do.
    fn stream(&mut self, index: usize, payload: &[u8], time: &mut u64) -> Result<(), String> {
        let mut joined = std::mem::take(&mut self.connections[index].stream);
        let whole = if joined.is_empty() {
            payload
        } else {
            joined.extend_from_slice(payload);
            &joined
        };
        let mut taken = 0;
        while let Some((record, length)) = self.dialect.cut(&whole[taken..]) {
            self.record(index, record, length, time)?;
            taken += length;
        }
        self.connections[index].stream = whole[taken..].to_vec();
        Ok(())
    }

    #[inline]
    fn record(
        &mut self,
        index: usize,
        record: Record<'_>,
        length: usize,
        time: &mut u64,
    ) -> Result<(), String> {
        match record {
            Record::Delivery(delivery) => self.delivery(index, delivery, length, time),
            Record::Answer => self.answer(index, length)?,
            Record::Refusal(text) => {
                self.faults.refused += 1;
                let text = String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned();
                self.tell(&format!("the hub refuses: {text}"));
                if let Phase::Greeting(_) = self.connections[index].phase {
                    self.fail(index, "its greeting was refused");
                }
            }
            Record::Reply(reply) => self.send(index, self.dialect.opcode(), reply)?,
            Record::Other => {}
        }
        Ok(())
    }

    #[inline]
    fn delivery(&mut self, index: usize, delivery: &[u8], length: usize, time: &mut u64) {
        let connection = &mut self.connections[index];
        let Some(marker) = Marker::find(delivery, &mut self.hint) else {
            self.malformed(index, delivery);
            return;
        };
        let heard = marker.publisher.wrapping_sub(connection.first) as usize;
        let Some(next) = connection.next.get_mut(heard) else {
            self.malformed(index, delivery);
            return;
        };
        self.counts.deliveries += 1;
        self.counts.bytes += length as u64;
        self.publishers[marker.publisher as usize].received += 1;
        self.faults.out_of_order += u64::from(*next != marker.number);
        *next = marker.number.wrapping_add(1);
        if connection.next.len() > 1 {
            let message = u64::from(marker.publisher) << 32 | u64::from(marker.number);
            connection.order = (connection.order ^ message).wrapping_mul(MIX).rotate_left(29);
        }
        if marker.number.wrapping_add(index as u32).is_multiple_of(self.sample) {
            if *time == 0 {
                *time = now();
            }
            self.delays.add(time.saturating_sub(marker.due));
            if self.delays.total() % LOOKED_AT == 1 && !self.dialect.complete(delivery, self.size) {
                self.malformed(index, delivery);
            }
        }
    }

    fn malformed(&mut self, index: usize, delivery: &[u8]) {
        self.faults.malformed += 1;
        let text = String::from_utf8_lossy(&delivery[..delivery.len().min(300)]).into_owned();
        self.tell(&format!("connection {index} received {text}"));
    }

    fn answer(&mut self, index: usize, length: usize) -> Result<(), String> {
        let connection = &self.connections[index];
        match (connection.phase, connection.role) {
            (Phase::Greeting(step), _) => self.greet(index, step + 1),
            (_, Role::Reader) => {
                self.counts.logs += 1;
                self.counts.log_bytes += length as u64;
                self.logs_awaited = self.logs_awaited.saturating_sub(1);
                self.log_delays.add(now() - connection.since);
                if self.reading { self.ask_for_log(index) } else { Ok(()) }
            }
            _ => {
                self.counts.answers += 1;
                self.answered += 1;
                Ok(())
            }
        }
    }

    pub(super) fn ask_for_log(&mut self, index: usize) -> Result<(), String> {
        self.logs_awaited += 1;
        self.connections[index].since = now();
        let request = dialect::log_request(self.entries);
        self.send(index, self.dialect.opcode(), &request)
    }

    /// Says this part of the greeting, or is ready when there are no more.
    fn greet(&mut self, index: usize, step: usize) -> Result<(), String> {
        let connection = &mut self.connections[index];
        let channel = connection.channel.map(|channel| self.channels[channel as usize].as_str());
        let greeting = self.dialect.greeting(channel, index);
        if let Some(part) = greeting.get(step) {
            connection.phase = Phase::Greeting(step);
            return self.send(index, self.dialect.opcode(), part);
        }
        connection.phase = Phase::Ready;
        self.ready += 1;
        self.delays.add(now() - connection.since);
        match &connection.socket {
            // Nothing but its end wakes anybody then.
            Some(socket) if connection.role == Role::Stalled => {
                self.poller.change(socket.as_fd(), index as u64, Interest::empty())
            }
            _ => Ok(()),
        }
    }
}
