//! IDs and times of messages.
//!
//! Both come from one reading of the clock, which is handed in: the ID is a UUID of version 7
//! (RFC 9562) whose timestamp is `time`, with a counter within the millisecond, so that IDs of
//! one hub sort in log order. Neither goes back within a process, whatever the clock does.

use uuid::Uuid;

/// Length of an ID's text.
pub const ID_LENGTH: usize = uuid::fmt::Hyphenated::LENGTH;

/// Bits of the counter within a millisecond: `rand_a` (12) and the first 30 bits of `rand_b`.
const COUNTER_BITS: u32 = 42;

/// What the hub adds to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// The message's ID.
    pub id: Uuid,
    /// Milliseconds since 1970 UTC.
    pub time_ms: u64,
}

/// Makes stamps, each later than the one before.
#[derive(Debug)]
pub struct Stamper {
    last_ms: u64,
    counter: u64,
    random: fastrand::Rng,
}

impl Stamper {
    /// A stamper whose random bits come from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { last_ms: 0, counter: 0, random: fastrand::Rng::with_seed(seed) }
    }

    /// The time that stamps have now, which never goes back; `now_ms` is the clock. Both in
    /// milliseconds since 1970 UTC.
    pub fn time(&self, now_ms: u64) -> u64 {
        now_ms.max(self.last_ms)
    }

    /// The next stamp; `now_ms` is the clock, in milliseconds since 1970 UTC.
    pub fn next(&mut self, now_ms: u64) -> Stamp {
        if now_ms > self.last_ms {
            self.last_ms = now_ms;
            // A random start in the lower half leaves room for 2^41 messages a millisecond.
            self.counter = self.random.u64(..1 << (COUNTER_BITS - 1));
        } else {
            self.counter += 1;
            if self.counter >> COUNTER_BITS != 0 {
                self.last_ms += 1;
                self.counter = 0;
            }
        }
        let random = (self.counter & ((1 << 30) - 1)) << 32 | u64::from(self.random.u32(..));
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&((self.counter >> 30) as u16).to_be_bytes());
        bytes[2..].copy_from_slice(&random.to_be_bytes());
        let id = uuid::Builder::from_unix_timestamp_millis(self.last_ms, &bytes).into_uuid();
        Stamp { id, time_ms: self.last_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_in_order_and_carry_their_time_even_when_the_clock_goes_back() {
        let mut stamper = Stamper::new(7);
        let clock = [1_000, 1_000, 999, 5_000, 3, 5_000, 5_001, 0, 5_002];
        let stamps: Vec<Stamp> = clock.into_iter().map(|now| stamper.next(now)).collect();
        for pair in stamps.windows(2) {
            assert!(pair[0].id.to_string() < pair[1].id.to_string());
            assert!(pair[0].time_ms <= pair[1].time_ms);
        }
        for stamp in &stamps {
            assert_eq!(stamp.id.get_version_num(), 7);
            assert_eq!(stamp.id.get_variant(), uuid::Variant::RFC4122);
            let (seconds, nanoseconds) = stamp.id.get_timestamp().unwrap().to_unix();
            assert_eq!(seconds * 1_000 + u64::from(nanoseconds) / 1_000_000, stamp.time_ms);
        }
        assert_eq!(stamps[8].time_ms, 5_002);
    }

    #[test]
    fn a_full_counter_borrows_the_next_millisecond() {
        let mut stamper = Stamper::new(1);
        let before = stamper.next(10);
        stamper.counter = (1 << COUNTER_BITS) - 1;
        let after = stamper.next(10);
        assert_eq!(after.time_ms, 11);
        assert!(before.id < after.id);
    }
}
