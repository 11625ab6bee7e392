//! Whether the hub lives: its lock can be had, and the flusher takes its turns.

use super::Hub;

impl Hub {
    /// Waits until the flusher has taken a turn from now on; for ever, where it does no more.
    pub async fn pulse(&self) {
        // Made before it is asked for, so that the answer cannot come too early to be heard.
        let beat = self.0.beat.notified();
        self.with_jobs(|state| state.pulse_wanted = true);
        beat.await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Hub, LIMITS};
    use futures_util::FutureExt;
    use std::pin::pin;

    #[tokio::test]
    async fn a_pulse_is_a_turn_of_the_flusher_and_nothing_less() {
        let hub = Hub::new(LIMITS);
        for _ in 0..3 {
            let (mut first, mut second) = (pin!(hub.pulse()), pin!(hub.pulse()));
            assert!(first.as_mut().now_or_never().is_none(), "nobody has taken a turn");
            assert!(second.as_mut().now_or_never().is_none());
            hub.jobs_ready().now_or_never().expect("the flusher is woken");
            assert!(first.as_mut().now_or_never().is_none(), "nor yet");
            hub.take_jobs(&mut Vec::new(), 1);
            first.now_or_never().expect("it has been taken");
            second.now_or_never().expect("for all who waited");
            assert!(hub.jobs_ready().now_or_never().is_none(), "there is nothing more to do");
        }
    }
}
