//! What one listener checks of each event: whether it is the next of its publisher, and how late it
//! came.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use serde_json::Value;
use skynet_bench::histogram::Histogram;

use crate::{
    ledger::Id,
    problem::{Outcome, Problem, ensure},
};

/// What all roles share.
#[derive(Default)]
pub struct Books {
    /// The number of the last message of each channel that was acknowledged; numbers begin at 1.
    pub acknowledged: Vec<AtomicU64>,
    /// Events that were checked.
    pub heard: AtomicU64,
    /// Events that were left out for who wants so many a second, and said so.
    pub left_out: AtomicU64,
    /// Connections that have come and gone.
    pub passed: AtomicU64,
    /// Connections of listeners that came back and caught up.
    pub caught_up: AtomicU64,
    /// Requests to the admin listener.
    pub requests: AtomicU64,
    delays: Mutex<Histogram>,
}

impl Books {
    /// Books of so many channels.
    pub fn new(channels: usize) -> Books {
        let acknowledged = (0..channels).map(|_| AtomicU64::new(0)).collect();
        Books { acknowledged, ..Books::default() }
    }

    /// Runs `read` on the delays since it was last called, then forgets them.
    pub fn delays<T>(&self, read: impl FnOnce(&Histogram) -> T) -> T {
        let mut delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        let of = read(&delays);
        delays.clear();
        of
    }

    fn delay(&self, nanoseconds: u64) {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner).add(nanoseconds);
    }
}

/// Nanoseconds of this process's own clock.
pub fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// The name of a channel.
pub fn channel(number: usize) -> String {
    format!("soak {number}")
}

/// What a listener has heard of each channel.
pub struct Ear {
    /// The number of the last message of each channel; 0 before the first.
    last: Vec<u64>,
    /// The last message it has seen, to catch up from.
    pub newest: Option<Id>,
    /// Whether its delays are counted: not of who is slow or paced by its own wish.
    prompt: bool,
}

impl Ear {
    /// A listener that has heard nothing.
    pub fn new(channels: usize, prompt: bool) -> Ear {
        Ear { last: vec![0; channels], newest: None, prompt }
    }

    /// Whether it has heard all that was acknowledged of a channel.
    pub fn has_all(&self, books: &Books, channel: usize) -> bool {
        self.last[channel] >= books.acknowledged[channel].load(Relaxed)
    }

    /// Takes an event in JSON, or a batch of them.
    ///
    /// # Errors
    /// It is not what was due.
    pub fn hear(&mut self, books: &Books, text: &[u8]) -> Outcome {
        let event: Value =
            serde_json::from_slice(text).map_err(|error| Problem(error.to_string()))?;
        match event["events"].as_array() {
            Some(events) => events.iter().try_for_each(|event| self.event(books, event)),
            None => self.event(books, &event),
        }
    }

    fn event(&mut self, books: &Books, event: &Value) -> Outcome {
        if event["type"] == "result" {
            return Ok(());
        }
        let parts = (|| {
            let channel = event["channel"].as_str()?.strip_prefix("soak ")?.parse().ok()?;
            Some((channel, event["message"][0].as_u64()?, event["message"][1].as_u64()?))
        })();
        let (channel, number, sent) = parts.ok_or_else(|| Problem(format!("told {event}")))?;
        let dropped = event["dropped"].as_u64().unwrap_or(0);
        books.left_out.fetch_add(dropped, Relaxed);
        self.newest = Id::of(event);
        self.next(books, channel, number, dropped)?;
        if self.prompt && event["replay"].is_null() {
            books.delay(now().saturating_sub(sent));
        }
        Ok(())
    }

    /// Takes an event in CBOR of a channel that is known.
    ///
    /// # Errors
    /// It is not what was due.
    pub fn hear_cbor(&mut self, books: &Books, channel: usize, event: &[u8]) -> Outcome {
        let numbers = cbor_numbers(event).ok_or_else(|| Problem(format!("told {event:02x?}")))?;
        self.next(books, channel, numbers.0, 0)?;
        if self.prompt {
            books.delay(now().saturating_sub(numbers.1));
        }
        Ok(())
    }

    fn next(&mut self, books: &Books, channel: usize, number: u64, dropped: u64) -> Outcome {
        let last = self.last.get_mut(channel).ok_or_else(|| Problem("whose is this?".into()))?;
        // The first may be any: it depends on when the channel was opened.
        let due = *last == 0 || number == *last + 1 + dropped;
        ensure(due, || {
            format!("{number} of channel {channel} after {last} and {dropped} left out")
        })?;
        *last = number;
        books.heard.fetch_add(1, Relaxed);
        Ok(())
    }
}

/// The two numbers of a message `[number, time]` in an event in CBOR.
fn cbor_numbers(event: &[u8]) -> Option<(u64, u64)> {
    let key = b"\x67message\x82";
    let at = event.windows(key.len()).position(|bytes| bytes == key)? + key.len();
    let (first, rest) = cbor_number(event.get(at..)?)?;
    Some((first, cbor_number(rest)?.0))
}

fn cbor_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = bytes.split_first()?;
    let length = match head {
        0..24 => return Some(((*head).into(), rest)),
        24..28 => 1 << (head - 24),
        _ => return None,
    };
    let digits = rest.get(..length)?;
    let number = digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit));
    Some((number, &rest[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(events: &[&str]) -> Outcome {
        let (books, mut ear) = (Books::new(2), Ear::new(2, true));
        events.iter().try_for_each(|event| ear.hear(&books, event.as_bytes()))
    }

    fn event(channel: usize, number: u64, more: &str) -> String {
        format!(r#"{{"type":"message","channel":"soak {channel}","message":[{number},5]{more}}}"#)
    }

    #[test]
    fn each_channel_is_heard_without_a_gap_from_wherever_it_begins() {
        let fine = [event(0, 7, ""), event(1, 1, ""), event(0, 8, ""), event(1, 2, "")];
        assert!(heard(&fine.each_ref().map(String::as_str)).is_ok());
        for wrong in [6, 7, 9] {
            assert!(heard(&[&event(0, 7, ""), &event(0, wrong, "")]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_left_out_and_said_is_no_gap() {
        let said = event(0, 10, r#","dropped":2"#);
        assert!(heard(&[&event(0, 7, ""), &said]).is_ok());
        assert!(heard(&[&event(0, 8, ""), &said]).is_err());
    }

    #[test]
    fn a_batch_is_its_events() {
        let batch =
            format!(r#"{{"type":"batch","events":[{},{}]}}"#, event(0, 1, ""), event(0, 2, ""));
        assert!(heard(&[&batch, &event(0, 3, "")]).is_ok());
        assert!(heard(&[&batch, &event(0, 2, "")]).is_err());
    }

    #[test]
    fn numbers_of_every_length_are_found_in_cbor() {
        let event = b"\x82\x67message\xa2\x67channel\x61x\x67message\x82\x19\x01\x00\x1b\0\0\0\x01\0\0\0\x02";
        assert_eq!(cbor_numbers(event), Some((256, (1 << 32) + 2)));
        assert_eq!(cbor_numbers(b"\x67message\x82\x05\x18\xff"), Some((5, 255)));
        assert_eq!(cbor_numbers(b"\x67message\x82\x05"), None);
    }
}
