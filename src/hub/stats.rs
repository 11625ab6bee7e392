//! Figures of the hub: what it holds now, and what has happened since the start.

use crate::protocol::{CloseReason, CommandKind, RefusalReason};

/// What the hub holds, and what has happened since the start.
#[derive(Debug, Clone)]
pub struct Stats {
    /// Clients connected, those being closed included.
    pub clients: usize,
    /// Streams of the log that are being read.
    pub taps: usize,
    /// Channels with listeners or logged messages.
    pub channels: usize,
    /// Open channels of all clients together.
    pub subscriptions: usize,
    /// Messages in the log.
    pub log_messages: usize,
    /// Bytes charged to the log.
    pub log_bytes: usize,
    /// Bytes queued for all clients together.
    pub queued_bytes: usize,
    /// Bytes of the longest queue.
    pub longest_queue_bytes: usize,
    /// What has happened since the start.
    pub totals: Totals,
}

/// What has happened since the start; each figure only grows.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Messages sent to channels.
    pub messages: u64,
    /// Events queued for listeners.
    pub delivered: u64,
    /// Messages that have gone from the log.
    pub evicted: u64,
    /// Bytes of commands.
    pub bytes_in: u64,
    /// Bytes written to clients, frame headers included.
    pub bytes_out: u64,
    /// Commands carried out, by [`CommandKind`].
    pub commands: [u64; CommandKind::ALL.len()],
    /// Commands refused, by [`RefusalReason::label_index`].
    pub refused: [u64; RefusalReason::LABELS.len()],
    /// Frames queued for clients and not sent, by [`CloseReason`].
    pub dropped: [u64; CloseReason::ALL.len()],
    /// Events left out for clients that want so many frames a second and no batches.
    pub paced: u64,
    /// Connections that ended, by [`CloseReason`].
    pub disconnects: [u64; CloseReason::ALL.len()],
}
