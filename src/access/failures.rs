//! What wrong tokens may cost: each is answered late, and only so many may wait at a time.
//!
//! Counts and nothing else: the caller waits [`FAILURE_DELAY`] while it holds a [`Waiting`], and
//! answers 429 when it gets none. A right token never comes here, so whoever fails, the owner is
//! not held up, even from the same address.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};
use std::time::Duration;

/// How long the answer to a wrong token is held back.
pub const FAILURE_DELAY: Duration = Duration::from_millis(250);

/// How many such answers may be held back at a time.
pub const MAX_WAITING: usize = 32;

/// Counts wrong tokens and the answers that wait; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Failures {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    total: AtomicU64,
    /// Those of them that were not let wait.
    turned_away: AtomicU64,
}

/// The right to hold back one answer, given back when it is dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it holds no place"]
pub struct Waiting {
    counts: Arc<Counts>,
}

impl Failures {
    /// No failures yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a wrong token; `None` when too many answers wait already, to be answered at once.
    pub fn begin(&self) -> Option<Waiting> {
        self.counts.total.fetch_add(1, Ordering::Relaxed);
        let one_more = |waiting| (waiting < MAX_WAITING).then_some(waiting + 1);
        let waits =
            self.counts.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if waits.is_err() {
            self.counts.turned_away.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(Waiting { counts: self.counts.clone() })
    }

    /// Wrong tokens since the start, those that were answered at once among them.
    pub fn total(&self) -> u64 {
        self.counts.total.load(Ordering::Relaxed)
    }

    /// Wrong tokens that were answered at once since the start.
    pub fn turned_away(&self) -> u64 {
        self.counts.turned_away.load(Ordering::Relaxed)
    }

    /// Answers that wait now: at most [`MAX_WAITING`].
    pub fn waiting(&self) -> usize {
        self.counts.waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_answers_wait_and_every_failure_is_counted() {
        let failures = Failures::new();
        let mut waiting: Vec<_> = (0..MAX_WAITING).map(|_| failures.begin().unwrap()).collect();
        assert!(failures.begin().is_none());
        assert!(failures.clone().begin().is_none());
        assert_eq!((failures.waiting(), failures.total()), (32, 34));
        assert_eq!(failures.turned_away(), 2);
        waiting.pop();
        assert_eq!(failures.waiting(), 31);
        let again = failures.clone().begin();
        assert!(again.is_some() && failures.begin().is_none());
        drop((waiting, again));
        assert_eq!((failures.waiting(), failures.total()), (0, 36));
    }

    #[test]
    fn a_place_is_given_back_when_its_holder_panics() {
        let failures = Failures::new();
        let held = failures.clone();
        let ended = std::thread::spawn(move || {
            let _waiting = held.begin();
            panic!("to be seen by the test alone");
        });
        assert!(ended.join().is_err());
        assert_eq!((failures.waiting(), failures.total()), (0, 1));
    }
}
