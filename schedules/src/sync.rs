//! What stands in for the server's `src/sync.rs`.
//!
//! Locks are shuttle's: another task may go on at each. Notifications are tokio's, which need no
//! runtime and never block; another task may go on before each of their steps.

use shuttle::sync::atomic::{AtomicU8, Ordering};
use std::future::Future;
use std::time::Instant;
use tokio::sync::futures::Notified;

pub use shuttle::sync::{Mutex, MutexGuard};
pub use std::sync::PoisonError;

/// A notification as tokio has it.
#[derive(Debug, Default)]
pub struct Notify {
    notify: tokio::sync::Notify,
    step: Step,
}

#[derive(Debug, Default)]
struct Step(AtomicU8);

impl Step {
    /// A step of a task, before which others may come.
    fn take(&self) {
        self.0.load(Ordering::SeqCst);
    }
}

impl Notify {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn notify_one(&self) {
        self.step.take();
        self.notify.notify_one();
    }

    pub fn notify_waiters(&self) {
        self.step.take();
        self.notify.notify_waiters();
    }

    pub fn notified(&self) -> Notified<'_> {
        self.step.take();
        self.notify.notified()
    }
}

/// The time of a scene goes by as fast as it can: what is due later is due when the others have
/// had a turn.
pub async fn timeout_at<F: Future>(_due: Instant, _future: F) -> Result<F::Output, Elapsed> {
    shuttle::future::yield_now().await;
    Err(Elapsed)
}

/// The time has come first.
#[derive(Debug)]
pub struct Elapsed;
