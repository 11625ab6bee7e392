//! What waits to be sent to one client.
//!
//! An [`Outbox`] is plain data inside the hub's state; it knows no socket. Frames are appended
//! under the hub's lock, in the one order that all clients see; whoever writes to the socket takes
//! them out as a [`Batch`], writes without the lock, and reports back.

use super::backlog::Backlog;
use super::batch::Batch;
use std::num::NonZeroU64;

/// Who is to write what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Writer {
    /// Nothing waits.
    #[default]
    Nobody,
    /// The client stands on the list of those with something to send.
    Listed,
    /// The flusher has taken a batch and has not reported back.
    Flusher,
    /// The socket was full: the client's session goes on when it can be written to.
    Session,
}

/// A client's frames on their way, and who writes them.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub queue: Batch,
    /// Bytes taken by the writer and not reported as written.
    pub in_flight: usize,
    pub writer: Writer,
    /// What waits before the queue. Most clients have none, which makes the difference to them
    /// one branch.
    pub backlog: Option<Box<Backlog>>,
    /// Bytes that will have been written when the message under measurement has been.
    pub mark: Option<NonZeroU64>,
}

impl Outbox {
    /// Bytes that the client has yet to be sent.
    pub fn queued(&self) -> usize {
        self.on_the_way() + self.backlog.as_ref().map_or(0, |backlog| backlog.bytes())
    }

    /// Bytes queued and taken by the writer.
    pub fn on_the_way(&self) -> usize {
        self.queue.bytes() + self.in_flight
    }

    /// Whether something waits before the queue.
    pub fn has_backlog(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| !backlog.is_empty())
    }
}
