//! Publishing at a rate or in a closed loop, and the settlement afterwards: what was due and did not
//! come is lost, what came beyond it is surplus.

use super::{Engine, PATIENCE, Phase, Role};
use crate::marker::Marker;
use crate::socket::now;

/// Sockets are looked at this often at least while nothing is due, in nanoseconds.
const LOOK: u64 = 5_000_000;
/// What is missing after so long without news is lost, in nanoseconds.
const SETTLED: u64 = PATIENCE / 3;

/// When publishing ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many nanoseconds.
    Elapsed(u64),
    /// After so many messages.
    Sent(u64),
}

impl Engine {
    /// Publishes `burst` messages at a time, `rate` messages a second, the publishers in turn. The
    /// delay of a message counts from when it was due, not from when it was sent: a stall of either
    /// side is in the figures.
    pub fn publish_at(&mut self, rate: f64, burst: u32, until: Until) -> Result<(), String> {
        let gap = (1e9 * f64::from(burst) / rate) as u64;
        let begun = self.start();
        let (mut due, mut turn) = (begun, 0);
        while self.goes_on(begun, due, until) {
            let time = now();
            if time < due {
                self.poll(due - time)?;
                continue;
            }
            self.lateness.add(time - due);
            for _ in 0..burst {
                self.publish(turn, due)?;
            }
            turn = (turn + 1) % self.publishers.len();
            due += gap;
            if now() >= due {
                // Behind; what the hub sends must be read all the same.
                self.poll(0)?;
            }
        }
        self.settle()
    }

    /// Publishes whenever fewer than `window` messages of a publisher are on their way.
    pub fn publish_in_a_loop(&mut self, window: u64, until: Until) -> Result<(), String> {
        let begun = self.start();
        let (mut news, mut last) = (begun, 0);
        while self.goes_on(begun, now(), until) {
            let mut sent = false;
            for index in 0..self.publishers.len() {
                // All that there is room for, as a client does that was answered several times.
                while self.has_room(index, window) && self.goes_on(begun, begun, until) {
                    self.publish(index, now())?;
                    sent = true;
                }
            }
            self.poll(if sent { 0 } else { LOOK })?;
            if sent || self.counts.deliveries != last {
                (news, last) = (now(), self.counts.deliveries);
            } else if now() - news > PATIENCE {
                return Err(format!(
                    "the loop stands still: nothing came for {} s",
                    PATIENCE / 1_000_000_000
                ));
            }
        }
        self.settle()
    }

    /// From now on readers ask for the log, each again when it has been answered; until the next
    /// settlement.
    pub fn read_the_log(&mut self) -> Result<(), String> {
        self.reading = true;
        for index in 0..self.connections.len() {
            if self.connections[index].role == Role::Reader {
                self.ask_for_log(index)?;
            }
        }
        Ok(())
    }

    fn start(&mut self) -> u64 {
        let begun = now();
        (self.counts.begun, self.counts.ended) = (begun, begun);
        begun
    }

    fn has_room(&self, index: usize, window: u64) -> bool {
        let publisher = &self.publishers[index];
        let ready = self.connections[publisher.connection].phase == Phase::Ready;
        let due = publisher.sent * publisher.audience;
        ready && due < publisher.received + window * publisher.audience
    }

    fn goes_on(&self, begun: u64, time: u64, until: Until) -> bool {
        match until {
            Until::Elapsed(duration) => time - begun < duration,
            Until::Sent(messages) => {
                self.publishers.iter().map(|publisher| publisher.sent).sum::<u64>() < messages
            }
        }
    }

    fn publish(&mut self, index: usize, due: u64) -> Result<(), String> {
        let publisher = &mut self.publishers[index];
        let marker = Marker { publisher: index as u32, number: publisher.number, due };
        publisher.number = publisher.number.wrapping_add(1);
        publisher.sent += 1;
        self.counts.published += 1;
        let (connection, channel) = (publisher.connection, publisher.channel);
        let message = self.dialect.publish(&self.channels[channel as usize], marker, self.size);
        self.send(connection, self.dialect.opcode(), &message)
    }

    /// Waits for what is on its way and puts what is wrong with it into the books.
    fn settle(&mut self) -> Result<(), String> {
        self.reading = false;
        let (mut news, mut last) = (now(), (0, 0, 0));
        loop {
            let missing = self.missing();
            if missing == (0, 0, 0) {
                break;
            }
            if missing != last {
                (news, last) = (now(), missing);
            } else if now() - news > SETTLED {
                self.tell(&format!(
                    "{} deliveries, {} answers and {} logs never came",
                    missing.0, missing.1, missing.2
                ));
                break;
            }
            self.poll(LOOK)?;
        }
        let (lost, unanswered, logs) = self.missing();
        self.faults.lost += lost;
        self.faults.unanswered += unanswered + logs;
        self.logs_awaited = 0;
        self.answered = 0;
        for publisher in &mut self.publishers {
            let due = publisher.sent * publisher.audience;
            self.faults.surplus += publisher.received.saturating_sub(due);
            (publisher.sent, publisher.received) = (0, 0);
        }
        Ok(())
    }

    /// Deliveries, answers and log replies that are due and have not come.
    fn missing(&self) -> (u64, u64, u64) {
        let (mut deliveries, mut sent) = (0, 0);
        for publisher in &self.publishers {
            let due = publisher.sent * publisher.audience;
            deliveries += due.saturating_sub(publisher.received);
            sent += publisher.sent;
        }
        let answers = if self.dialect.answers() { sent.saturating_sub(self.answered) } else { 0 };
        (deliveries, answers, self.logs_awaited)
    }
}
