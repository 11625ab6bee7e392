//! What the hub knows of a client.

use super::channels::Channels;
use super::outbox::Outbox;
use super::rights::Rights;
use crate::protocol::{ChannelName, CloseReason, Version};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Names one client for good: its slot is used again when it has gone, its ID never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey {
    pub(super) slot: usize,
    id: u64,
}

impl ClientKey {
    pub(super) fn new(slot: usize, id: u64) -> Self {
        Self { slot, id }
    }

    /// The client's ID: 1 for the first client since the start, and so on.
    pub fn id(self) -> u64 {
        self.id
    }

    /// The client's slot: small, and no other connected client's.
    pub fn slot(self) -> usize {
        self.slot
    }
}

/// What is known of a client when it joins.
#[derive(Debug, Clone)]
pub struct ClientInfo {
    /// The address its connection comes from. All computers of a Minecraft server share one.
    pub address: SocketAddr,
    /// Its User-Agent header.
    pub user_agent: Option<Box<str>>,
    /// Who it says it is.
    pub identity: Identity,
    /// What it may do; none if that is everything. Clients of the same kind share them.
    pub rights: Option<Arc<Rights>>,
}

/// Who a client says it is. Only a proven name is worth anything against somebody who lies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: Option<ClientName>,
    /// The number of its computer in the game, as it claims.
    pub computer_id: Option<Box<str>>,
    /// The label of its computer in the game, as it claims.
    pub label: Option<Box<str>>,
}

/// A client's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientName {
    /// Claimed: anybody can say it.
    Claimed(Box<str>),
    /// Proven by a token of the configuration, whose name it is.
    Proven(Box<str>),
}

impl ClientName {
    /// The name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Claimed(name) | Self::Proven(name) => name,
        }
    }

    /// Whether a token has proven it.
    pub fn is_proven(&self) -> bool {
        matches!(self, Self::Proven(_))
    }
}

/// What a client has done and been sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientCounters {
    /// Commands taken, refused ones included.
    pub commands: u64,
    /// Messages it has sent.
    pub messages_in: u64,
    /// Events queued for it.
    pub messages_out: u64,
    /// Bytes of its commands.
    pub bytes_in: u64,
    /// Bytes written to it.
    pub bytes_out: u64,
    /// Frames that were queued for it and dropped.
    pub dropped: u64,
    /// Commands refused.
    pub refused: u64,
}

/// A client as it stands.
#[derive(Debug, Clone)]
pub struct ClientSummary {
    /// Its key.
    pub key: ClientKey,
    /// What was known when it joined.
    pub info: ClientInfo,
    /// The version of the protocol that it speaks.
    pub version: Version,
    /// When it joined, in milliseconds since 1970 UTC.
    pub connected_at_ms: u64,
    /// When it last sent a command, in milliseconds since 1970 UTC.
    pub last_activity_ms: u64,
    /// Number of channels it has open.
    pub channels: usize,
    /// Bytes it has yet to be sent.
    pub queued_bytes: usize,
    /// What it has done and been sent.
    pub counters: ClientCounters,
    /// The time the last answered ping took.
    pub round_trip: Option<Duration>,
}

/// A client as it stands, seen for the time of a visit.
#[derive(Debug, Clone, Copy)]
pub struct ClientView<'a> {
    slot: usize,
    client: &'a Client,
    channels: &'a Channels,
}

impl<'a> ClientView<'a> {
    pub(super) fn new(slot: usize, client: &'a Client, channels: &'a Channels) -> Self {
        Self { slot, client, channels }
    }

    /// Its ID.
    pub fn id(&self) -> u64 {
        self.client.id
    }

    /// What was known when it joined.
    pub fn info(&self) -> &'a ClientInfo {
        &self.client.info
    }

    /// Whether it has the channel itself open.
    pub fn has_open(&self, name: &ChannelName) -> bool {
        self.channels.find(name).is_some_and(|channel| self.client.open.contains(&channel))
    }

    /// Its open channels, in the order of opening.
    pub fn open(&self) -> impl Iterator<Item = &'a ChannelName> + use<'a> {
        let channels = self.channels;
        self.client.open.iter().map(move |&channel| &channels.get(channel).name)
    }

    /// All of it but the names of its channels.
    pub fn summary(&self) -> ClientSummary {
        self.client.summary(self.slot)
    }
}

/// A client that has gone.
#[derive(Debug, Clone)]
pub struct Departed {
    /// The client as it was at the end.
    pub client: ClientSummary,
    /// Why it went.
    pub reason: CloseReason,
    /// What the close frame said, if the hub closed the connection.
    pub text: Option<String>,
    /// When, in milliseconds since 1970 UTC.
    pub closed_at_ms: u64,
}

/// Why the hub closes a connection, for the session that does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// The reason.
    pub reason: CloseReason,
    /// What the close frame says.
    pub text: String,
}

/// Pings and their answers.
#[derive(Debug)]
pub(super) struct Pings {
    pub sequence: u32,
    /// When the last ping was queued, or when the client joined.
    pub last: Instant,
    /// Pings since the last pong.
    pub unanswered: u32,
    pub round_trip: Option<Duration>,
}

/// A client in the hub's state.
#[derive(Debug)]
pub(super) struct Client {
    pub id: u64,
    pub info: ClientInfo,
    pub connected_at_ms: u64,
    pub last_activity_ms: u64,
    /// Places of its open channels, in the order of opening.
    pub open: Vec<usize>,
    /// Whether `*` is among them.
    pub hears_all: bool,
    /// The version of the protocol that it speaks: the first until it has sent CBOR.
    pub version: Version,
    pub outbox: Outbox,
    /// Whether its commands wait until its queue is shorter.
    pub reading_paused: bool,
    /// Set once, when the hub has decided to close the connection.
    pub closing: Option<Closing>,
    /// Whether its session has been told so.
    pub told: bool,
    /// Whether its session's writer is to drop what it has left.
    pub cut: bool,
    pub pings: Pings,
    pub counters: ClientCounters,
}

impl Client {
    pub fn new(id: u64, info: ClientInfo, now_ms: u64, now: Instant) -> Self {
        Self {
            id,
            info,
            connected_at_ms: now_ms,
            last_activity_ms: now_ms,
            open: Vec::new(),
            hears_all: false,
            version: Version::default(),
            outbox: Outbox::default(),
            reading_paused: false,
            closing: None,
            told: false,
            cut: false,
            pings: Pings { sequence: 0, last: now, unanswered: 0, round_trip: None },
            counters: ClientCounters::default(),
        }
    }

    pub fn summary(&self, slot: usize) -> ClientSummary {
        ClientSummary {
            key: ClientKey::new(slot, self.id),
            info: self.info.clone(),
            version: self.version,
            connected_at_ms: self.connected_at_ms,
            last_activity_ms: self.last_activity_ms,
            channels: self.open.len(),
            queued_bytes: self.outbox.queued(),
            counters: self.counters,
            round_trip: self.pings.round_trip,
        }
    }
}
