//! How many commands one client may send: a token bucket, as the generic cell rate algorithm
//! (ITU-T I.371) has it, in 40 bytes a client. The rate itself is no part of it, as it may change.
//!
//! A library was considered; its state for one client is larger than all else a session keeps, and
//! "over the limit for ten seconds on end" would have to stand beside it all the same.

use std::time::{Duration, Instant};

/// Over the limit for so long on end, a client is closed.
const OVER_LIMIT: Duration = Duration::from_secs(10);

/// Without a refused command for so long, a client is no longer over the limit.
const OVER_PAUSE: Duration = Duration::from_secs(2);

/// The rate that all clients share.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Commands a second.
    pub per_second: u32,
    /// Commands at once.
    pub burst: u32,
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is within the limit.
    Allowed,
    /// It is past the limit.
    Refused,
    /// It is past the limit, and so have others been for ten seconds on end.
    Closed,
}

/// One client's bucket.
#[derive(Debug)]
pub struct Bucket {
    /// When the bucket will be full.
    full_at: Instant,
    over: Option<Over>,
}

#[derive(Debug)]
struct Over {
    since: Instant,
    last: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(now: Instant) -> Self {
        Self { full_at: now, over: None }
    }

    /// Takes one command's token of a bucket that fills at this rate.
    pub fn take(&mut self, now: Instant, rate: Rate) -> Verdict {
        let token = Duration::from_secs(1) / rate.per_second;
        let room = token * rate.burst;
        let mut missing = self.full_at.saturating_duration_since(now);
        if missing > room {
            // What was missing at a slower rate is not waited for at this one.
            missing = room - token;
        }
        if missing + token <= room {
            self.full_at = now + missing + token;
            return Verdict::Allowed;
        }
        let over = self.over.get_or_insert(Over { since: now, last: now });
        if now.saturating_duration_since(over.last) >= OVER_PAUSE {
            over.since = now;
        }
        over.last = now;
        if now.saturating_duration_since(over.since) >= OVER_LIMIT {
            Verdict::Closed
        } else {
            Verdict::Refused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 3 };

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let mut allowed = |ms| bucket.take(at(start, ms), RATE) == Verdict::Allowed;
        assert!(allowed(0) && allowed(0) && allowed(0) && !allowed(0));
        assert!(!allowed(99) && allowed(100) && !allowed(100));
        assert!(allowed(1_000) && allowed(1_000) && allowed(1_000) && !allowed(1_000));
    }

    #[test]
    fn ten_seconds_over_the_limit_on_end_close_the_connection() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let verdicts: Vec<Verdict> =
            (0..1_010).map(|n| bucket.take(at(start, n * 10), RATE)).collect();
        let closed = verdicts.iter().position(|&verdict| verdict == Verdict::Closed).unwrap();
        assert!((1_000..1_010).contains(&closed), "closed by the command of {closed}0 ms");
    }

    #[test]
    fn a_pause_ends_the_time_over_the_limit() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        for round in 0..10 {
            for n in 0..300 {
                let verdict = bucket.take(at(start, round * 6_000 + n * 10), RATE);
                assert_ne!(verdict, Verdict::Closed);
            }
        }
    }
    #[test]
    fn a_faster_rate_counts_from_its_first_command_on() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let slow = Rate { per_second: 1, burst: 100 };
        for _ in 0..100 {
            assert_eq!(bucket.take(start, slow), Verdict::Allowed);
        }
        assert_eq!(bucket.take(start, slow), Verdict::Refused);
        // At the slow rate the hundred would be missing for as many seconds.
        assert_eq!(bucket.take(at(start, 99), RATE), Verdict::Allowed);
        assert_eq!(bucket.take(at(start, 198), RATE), Verdict::Refused);
        assert_eq!(bucket.take(at(start, 199), RATE), Verdict::Allowed);
    }
}
