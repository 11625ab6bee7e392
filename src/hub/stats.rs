//! Figures of the hub: what it holds now, and what has happened since the start.
//!
//! Plain integers that are counted under the hub's lock, which is held anyway, and copied when
//! somebody asks.

use super::tally::Tally;
use crate::protocol::{ChannelName, CloseReason, CommandKind, RefusalReason, Version};
use std::time::Duration;

/// What the hub holds, and what has happened since the start.
#[derive(Debug, Clone)]
pub struct Stats {
    /// Clients connected, those being closed included.
    pub clients: usize,
    /// Of them, those that speak each [`Version`] of the protocol.
    pub clients_by_version: [usize; Version::ALL.len()],
    /// Streams of the log that are being read.
    pub taps: usize,
    /// Bans in force.
    pub bans: usize,
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
    /// The channels that are counted one by one.
    pub counted: Vec<ChannelCounts>,
}

/// What is counted of a channel by itself.
#[derive(Debug, Clone)]
pub struct ChannelCounts {
    /// Its name.
    pub name: ChannelName,
    /// Messages sent to it since the start.
    pub messages: u64,
    /// Events of those queued for listeners since the start.
    pub deliveries: u64,
    /// Clients that have it open now.
    pub listeners: usize,
}

/// Where a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A client.
    Client,
    /// The owner, by the API.
    Api,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 2] = [Self::Client, Self::Api];

    /// The source as metrics name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Api => "api",
        }
    }
}

/// Places for commands: one for each kind, in its order, and a last one for those that name none.
pub const COMMANDS: usize = CommandKind::ALL.len() + 1;

/// The place of a command.
pub(super) fn place(kind: Option<CommandKind>) -> usize {
    kind.map_or(COMMANDS - 1, |kind| kind as usize)
}

/// Edges of the bytes of a message's event; the last but one is the largest frame that a computer
/// takes.
const MESSAGE_BYTES: [u64; 8] = [64, 256, 1024, 4096, 16_384, 65_536, 131_072, 1_048_576];

/// Edges of the listeners that a message reaches.
const LISTENERS: [u64; 14] = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];

/// Edges of the nanoseconds that a command takes: 10 µs to 1 s.
const COMMAND_NANOS: [u64; 11] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    1_000_000,
    2_500_000,
    10_000_000,
    50_000_000,
    250_000_000,
    1_000_000_000,
];

/// Edges of the nanoseconds that a delivery takes: 100 µs to 10 s.
const DELIVERY_NANOS: [u64; 14] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];

/// What has happened since the start; each figure only grows.
#[derive(Debug, Clone)]
pub struct Totals {
    /// Messages sent to channels, by [`Source`].
    pub messages: [u64; Source::ALL.len()],
    /// Events queued for listeners.
    pub delivered: u64,
    /// Messages that have gone from the log to make room.
    pub evicted: u64,
    /// Bytes of commands.
    pub bytes_in: u64,
    /// Bytes written to clients, frame headers included.
    pub bytes_out: u64,
    /// Commands carried out, by [`CommandKind`].
    pub commands: [u64; CommandKind::ALL.len()],
    /// Commands refused, by [`CommandKind`], and last those that named none.
    pub refused_commands: [u64; COMMANDS],
    /// Commands refused, by [`RefusalReason::label_index`].
    pub refused: [u64; RefusalReason::LABELS.len()],
    /// Frames queued for clients and not sent, by [`CloseReason`].
    pub dropped: [u64; CloseReason::ALL.len()],
    /// Events left out for clients that want so many frames a second and no batches.
    pub paced: u64,
    /// Events that were too large in the encoding of their listener.
    pub too_large: u64,
    /// Connections that ended, by [`CloseReason`].
    pub disconnects: [u64; CloseReason::ALL.len()],
    /// Bytes of the events of messages.
    pub message_bytes: Tally<{ MESSAGE_BYTES.len() }>,
    /// Listeners that messages reached.
    pub message_listeners: Tally<{ LISTENERS.len() }>,
    /// Nanoseconds from the receipt of a command to its queued answer, placed as
    /// [`Self::refused_commands`] are.
    pub command_nanos: [Tally<{ COMMAND_NANOS.len() }>; COMMANDS],
    /// Nanoseconds from the receipt of a message to the write of it to its last listener, of the
    /// messages that were measured.
    pub delivery_nanos: Tally<{ DELIVERY_NANOS.len() }>,
}

impl Totals {
    /// All messages, wherever they came from.
    pub fn all_messages(&self) -> u64 {
        self.messages.iter().sum()
    }

    /// Frames that were due to clients and not sent, by reason: why the connection ended, `paced` or
    /// `too_large`.
    pub fn dropped_frames(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let ended = CloseReason::ALL.map(CloseReason::label).into_iter().zip(self.dropped);
        ended.chain([("paced", self.paced), ("too_large", self.too_large)])
    }

    /// Counts a message whose event has so many bytes and that reached so many listeners.
    pub fn count_message(&mut self, source: Source, bytes: usize, reached: usize) {
        self.messages[source as usize] += 1;
        self.delivered += reached as u64;
        self.message_bytes.observe(bytes as u64);
        self.message_listeners.observe(reached as u64);
    }

    /// Counts the time that a command took; without a kind, it named none.
    pub fn count_command_time(&mut self, kind: Option<CommandKind>, took: Duration) {
        self.command_nanos[place(kind)].observe(nanos(took));
    }
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            messages: Default::default(),
            delivered: 0,
            evicted: 0,
            bytes_in: 0,
            bytes_out: 0,
            commands: Default::default(),
            refused_commands: Default::default(),
            refused: Default::default(),
            dropped: Default::default(),
            paced: 0,
            too_large: 0,
            disconnects: Default::default(),
            message_bytes: Tally::new(&MESSAGE_BYTES),
            message_listeners: Tally::new(&LISTENERS),
            command_nanos: [Tally::new(&COMMAND_NANOS); COMMANDS],
            delivery_nanos: Tally::new(&DELIVERY_NANOS),
        }
    }
}

/// A span in nanoseconds; five hundred years are the most there is.
pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
