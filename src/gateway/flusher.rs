//! The one task that writes to clients.
//!
//! It takes what the hub has queued for each client and writes it with as few system calls as the
//! socket allows, so that many messages to one client leave together, and no delivery wakes a
//! task. A pass has no await: between taking and reporting back nothing else runs on this thread.

use super::link::Links;
use crate::hub::Hub;
use std::sync::Arc;

/// Clients written to before the sessions get a turn, so that a message to ten thousand clients
/// does not keep the others from being read.
const PASS: usize = 256;

/// Writes for ever.
pub async fn run(hub: Hub, links: Arc<Links>) {
    let mut jobs = Vec::with_capacity(PASS);
    loop {
        hub.jobs_ready().await;
        hub.take_jobs(&mut jobs, PASS);
        links.for_each(
            &mut jobs,
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
        hub.settle(&mut jobs);
        links.for_each(
            &mut jobs,
            |job| job.key,
            |job, link| {
                if job.resume {
                    link.wake();
                }
            },
        );
        jobs.clear();
        tokio::task::yield_now().await;
    }
}
