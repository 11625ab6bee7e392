//! What may be told in the log now and then, however often it happens.
//!
//! Says when; the caller tells.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time between two lines.
pub const PAUSE: Duration = Duration::from_secs(10);

/// Lets one of many be told every ten seconds.
#[derive(Debug, Default)]
pub struct Seldom {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    told: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// Whether what happens now is to be told, and then how many have not been since the last one.
    pub fn tells(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told.is_some_and(|told| now.saturating_duration_since(told) < PAUSE) {
            state.untold += 1;
            return None;
        }
        state.told = Some(now);
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_in_a_pause_and_the_next_says_how_many_were_not() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.tells(start), Some(0));
        for _ in 0..1000 {
            assert_eq!(seldom.tells(start + PAUSE - Duration::from_nanos(1)), None);
        }
        assert_eq!(seldom.tells(start + PAUSE), Some(1000));
        assert_eq!(seldom.tells(start + PAUSE), None);
        assert_eq!(seldom.tells(start + PAUSE * 3), Some(1));
    }
}
