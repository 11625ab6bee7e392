//! Asking for the configuration to be read again, and what is answered.
//!
//! Whoever asks (a signal, the owner's API) has a [`Reloads`]; one task of [`crate::app`] takes what
//! is asked for in turn, so that of two at once the second finds what the first has made, and what
//! one has begun is finished even when nobody waits for the answer any more.

use crate::config::{ConfigError, Loaded};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// The configuration in force, for whoever looks at it anew each time.
pub type InForce = watch::Receiver<Arc<Loaded>>;

/// Who may wait for an answer at a time; further ones wait for their turn to ask.
const WAITING: usize = 8;

/// What has become of a configuration that was read again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The settings that differ from what was read before, such as `limits.max_clients`.
    pub changed: Vec<String>,
    /// Those of them that have taken effect.
    pub applied: Vec<String>,
    /// All settings that wait for a restart.
    pub needs_restart: Vec<String>,
    /// Clients that were closed: their token is gone, or a ban in the file concerns them.
    pub closed_clients: usize,
}

/// What is answered: a report, or why everything is as it was before.
pub type Outcome = Result<Report, ConfigError>;

/// A request, and where its answer goes.
pub type Request = oneshot::Sender<Outcome>;

/// Asks for the configuration to be read again; cheap to clone.
#[derive(Debug, Clone)]
pub struct Reloads(mpsc::Sender<Request>);

impl Reloads {
    /// Who asks, and what comes of it.
    pub fn channel() -> (Self, mpsc::Receiver<Request>) {
        let (ask, asked) = mpsc::channel(WAITING);
        (Self(ask), asked)
    }

    /// Has the configuration read again, and waits until that is done; none if the program is about
    /// to end.
    pub async fn reload(&self) -> Option<Outcome> {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.ok()?;
        answered.await.ok()
    }
}
