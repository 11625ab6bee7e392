//! Locks, and waiting for others: what the hub shares between tasks and threads.
//!
//! In one place, so that `schedules/` can build the hub with others in their stead, which try many
//! orders in which things can happen. Nothing here is more than the library's own.

use std::future::Future;
use std::time::Instant;
use tokio::time::Timeout;

pub use std::sync::{Mutex, MutexGuard, PoisonError};
pub use tokio::sync::Notify;

/// Waits for `future`, until `due` at the latest.
pub fn timeout_at<F: Future>(due: Instant, future: F) -> Timeout<F> {
    tokio::time::timeout_at(due.into(), future)
}
