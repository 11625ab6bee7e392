//! How long a message takes from its receipt to the write of it to its last listener.
//!
//! Measured on one message at a time: each listener that one reaches is marked, and counted off
//! when its mark is written, or when it can be written no more. A message that is published while
//! another is under way is not measured. Reads no clock: it is told when something was written.

use std::time::{Duration, Instant};

/// The measurement that is under way, if one is.
#[derive(Debug, Default)]
pub(super) struct Probe(Option<Underway>);

#[derive(Debug)]
struct Underway {
    received: Instant,
    /// Listeners that are marked.
    waiting: usize,
    /// Whether marks have been written since [`Probe::note_time`].
    written: bool,
    /// When the last mark was written.
    last: Option<Instant>,
}

impl Probe {
    /// Begins to measure a message; false if another is under way.
    pub fn begin(&mut self, received: Instant) -> bool {
        let free = self.0.is_none();
        if free {
            self.0 = Some(Underway { received, waiting: 0, written: false, last: None });
        }
        free
    }

    /// A listener has been marked.
    pub fn mark(&mut self) {
        if let Some(underway) = &mut self.0 {
            underway.waiting += 1;
        }
    }

    /// A listener's mark has been written; [`Self::note_time`] is to follow.
    pub fn written(&mut self) {
        if let Some(underway) = &mut self.0 {
            underway.waiting -= 1;
            underway.written = true;
        }
    }

    /// A listener is not written to any more.
    pub fn lost(&mut self) {
        if let Some(underway) = &mut self.0 {
            underway.waiting -= 1;
        }
    }

    /// Sets the time of what has been written since the last call; `now` is asked only if there
    /// was something.
    pub fn note_time(&mut self, now: impl FnOnce() -> Instant) {
        if let Some(underway) = &mut self.0
            && std::mem::take(&mut underway.written)
        {
            underway.last = Some(now());
        }
    }

    /// Ends the measurement when no listener waits; tells how long it took, if any was written to.
    pub fn finish(&mut self) -> Option<Duration> {
        let done = |underway: &mut Underway| underway.waiting == 0 && !underway.written;
        let ended = self.0.take_if(done)?;
        ended.last.map(|last| last.saturating_duration_since(ended.received))
    }

    /// Listeners that are marked; for the books.
    #[cfg(any(test, fuzzing))]
    pub fn waiting(&self) -> usize {
        self.0.as_ref().map_or(0, |underway| underway.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_time_is_that_of_the_last_write_whoever_is_lost_after_it() {
        let (mut probe, start) = (Probe::default(), Instant::now());
        assert!(probe.begin(start));
        probe.mark();
        probe.mark();
        probe.mark();
        assert!(!probe.begin(start + ms(1)), "one at a time");
        probe.written();
        probe.note_time(|| start + ms(5));
        assert_eq!(probe.finish(), None, "two wait");
        probe.written();
        assert_eq!(probe.finish(), None, "one waits, and the write has no time yet");
        probe.note_time(|| start + ms(7));
        probe.note_time(|| panic!("nothing was written"));
        probe.lost();
        assert_eq!(probe.finish(), Some(ms(7)));
        assert!(probe.begin(start + ms(9)));
    }

    #[test]
    fn a_message_that_is_written_to_nobody_takes_no_time_and_makes_room_for_the_next() {
        let (mut probe, start) = (Probe::default(), Instant::now());
        assert!(probe.begin(start));
        assert_eq!(probe.finish(), None, "nobody listens");
        assert!(probe.begin(start));
        probe.mark();
        probe.lost();
        assert_eq!(probe.finish(), None, "the only listener is lost");
        assert!(probe.begin(start));
    }
}
