//! The one task that writes to clients.
//!
//! It takes what the hub has queued for each client and writes it with as few system calls as the
//! socket allows, so that many messages to one client leave together, and no delivery wakes a
//! task. Between taking and reporting back there is no await: nothing else runs on this thread.
//!
//! Where passes have a least interval, the first message after a pause leaves at once, and what is
//! queued in the interval after it leaves in one pass at its end: events, results and closings
//! alike.

use super::link::Links;
use super::ring::Ring;
use crate::hub::{Hub, Job};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// Clients written to before the sessions get a turn, so that a message to ten thousand clients
/// does not keep the others from being read.
const TURN: usize = 256;

/// What writes to clients.
pub(super) struct Flusher {
    hub: Hub,
    links: Arc<Links>,
    ring: Option<Ring>,
    /// Whether there is a ring, for others to know.
    uses_ring: Arc<AtomicBool>,
    jobs: Vec<Job>,
}

impl Flusher {
    /// What writes for `hub` to `links`, by `ring` where it has one.
    pub fn new(
        hub: Hub,
        links: Arc<Links>,
        ring: Option<Ring>,
        uses_ring: Arc<AtomicBool>,
    ) -> Self {
        uses_ring.store(ring.is_some(), Ordering::Relaxed);
        Self { hub, links, ring, uses_ring, jobs: Vec::with_capacity(TURN) }
    }

    /// Writes for ever, with at least `interval` between two passes.
    pub async fn run(mut self, interval: Duration) {
        let mut next_pass = Instant::now();
        loop {
            self.hub.jobs_ready().await;
            if !interval.is_zero() {
                sleep_until(next_pass).await;
            }
            // Who is listed later waits for the next pass.
            let mut waiting = self.hub.jobs_waiting();
            while self.turn() {
                yield_now().await;
                waiting = waiting.saturating_sub(TURN);
                if waiting == 0 && !interval.is_zero() {
                    break;
                }
            }
            next_pass = Instant::now() + interval;
        }
    }

    /// Writes to some of those who wait; true if others do.
    fn turn(&mut self) -> bool {
        let jobs = &mut self.jobs;
        self.hub.take_jobs(jobs, TURN);
        if let Some(ring) = &mut self.ring {
            ring.send(&self.links, jobs);
            if !ring.is_usable() {
                warn!(
                    "the system's io_uring has failed; clients are written to one by one from now on"
                );
                self.ring = None;
                self.uses_ring.store(false, Ordering::Relaxed);
            }
        }
        self.links.for_each(
            jobs,
            |job| job.key,
            |job, link| {
                if job.cut {
                    link.cut();
                }
                let batch = std::mem::take(&mut job.batch);
                if !batch.is_empty() {
                    job.outcome = link.send(batch);
                }
                if let Some(closing) = job.close.take() {
                    link.close(closing);
                }
            },
        );
        let more = self.hub.settle(jobs);
        self.links.for_each(
            jobs,
            |job| job.key,
            |job, link| {
                if job.resume {
                    link.wake();
                }
            },
        );
        jobs.clear();
        more
    }
}
