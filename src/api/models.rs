//! What answers look like.

use super::types::{ChannelValue, PatternValue, Time};
use crate::hub::{self, ClientSummary, Departed};
use crate::protocol::{CloseReason, CommandKind, RefusalReason};
use poem_openapi::{Enum, Object};
use serde::Serialize;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A channel: somebody listens to it, or the log holds messages of it.
#[derive(Debug, Object, Serialize)]
pub struct Channel {
    /// Its name.
    pub channel: ChannelValue,
    /// Clients that have it open.
    pub listeners: u64,
    /// Messages sent to it since somebody first listened or wrote to it.
    pub messages: u64,
    /// Messages of it in the log.
    pub logged: u64,
    /// When the last message was sent to it, or when it began.
    pub last_activity: Time,
}

impl Channel {
    pub(super) fn new(view: hub::ChannelView) -> Self {
        Self {
            channel: ChannelValue(view.name().clone()),
            listeners: view.listeners() as u64,
            messages: view.messages(),
            logged: view.logged() as u64,
            last_activity: Time(view.last_activity_ms()),
        }
    }
}

/// A page of channels.
#[derive(Debug, Object, Serialize)]
pub struct ChannelPage {
    /// The channels of this page.
    pub channels: Vec<Channel>,
    /// How many there are on all pages together.
    pub total: u64,
    /// What to give as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Whether a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum, Serialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ClientState {
    /// It is connected.
    #[default]
    Open,
    /// It has gone.
    Closed,
}

/// Why a client has gone.
#[derive(Debug, Object, Serialize)]
pub struct Closed {
    /// When.
    pub at: Time,
    /// Why, in a word that does not change.
    pub reason: String,
    /// The close code that was sent to it, if the hub closed the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// The words that went with the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A client.
#[derive(Debug, Object, Serialize)]
pub struct Client {
    /// Its ID: 1 for the first client since the hub started, and so on.
    pub id: u64,
    /// Whether it is connected.
    pub state: ClientState,
    /// Where its connection comes from, with port 0 where a trusted proxy told the address. All computers
    /// of a Minecraft server share one address.
    pub address: String,
    /// Its name. Anybody can claim a name; see `proven`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether its name is proven by a token of the configuration.
    pub proven: bool,
    /// The number of its computer, as it claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub computer_id: Option<String>,
    /// The label of its computer, as it claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub computer_label: Option<String>,
    /// Its `User-Agent`, which tells players from programs, if they let it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The version of the protocol that it speaks.
    pub protocol: u32,
    /// When it connected.
    pub connected_at: Time,
    /// When it last sent a command.
    pub last_activity: Time,
    /// Channels it has open.
    pub channels: u64,
    /// Bytes that wait to be sent to it.
    pub queued_bytes: u64,
    /// The time that its last answered ping took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
    /// Commands it has sent, refused ones included.
    pub commands: u64,
    /// Commands refused.
    pub refused: u64,
    /// Messages it has sent.
    pub messages_in: u64,
    /// Messages queued for it.
    pub messages_out: u64,
    /// Bytes of its commands.
    pub bytes_in: u64,
    /// Bytes written to it.
    pub bytes_out: u64,
    /// Frames that were queued for it and dropped.
    pub dropped: u64,
    /// The channels it has open, in the order of opening; in the answer about one client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<Vec<ChannelValue>>,
    /// What it may do; in the answer about one client that is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rights: Option<ClientRights>,
    /// Why it has gone, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
}

/// What a client may do.
#[derive(Debug, Object, Serialize)]
pub struct ClientRights {
    /// Whether anything is denied to it; if not, it may do everything.
    pub restricted: bool,
    /// The channels that it may open and see in the log.
    pub read: Vec<PatternValue>,
    /// The channels that it may send to.
    pub write: Vec<PatternValue>,
    /// Whether it may open `*` and so read every channel, whatever `read` says.
    pub hear_all: bool,
    /// Whether it may ask for the log.
    pub log: bool,
}

impl ClientRights {
    /// What a client may do; everything, if it has no rights of its own.
    pub(super) fn new(rights: Option<&hub::Rights>) -> Self {
        let everything = hub::Patterns::every();
        let list = |patterns: Option<&hub::Patterns>| {
            let patterns = patterns.unwrap_or(&everything).as_json();
            patterns.map(|pattern| PatternValue(pattern.to_owned())).collect()
        };
        Self {
            restricted: rights.is_some(),
            read: list(rights.map(|rights| &rights.read)),
            write: list(rights.map(|rights| &rights.write)),
            hear_all: rights.is_none_or(|rights| rights.hear_all),
            log: rights.is_none_or(|rights| rights.log),
        }
    }
}

impl Client {
    /// A connected client.
    pub(super) fn open(client: ClientSummary) -> Self {
        let (info, counters) = (client.info, client.counters);
        let name = info.identity.name;
        Self {
            id: client.key.id(),
            state: ClientState::Open,
            address: info.address.to_string(),
            proven: name.as_ref().is_some_and(hub::ClientName::is_proven),
            name: name.map(|name| name.as_str().to_owned()),
            computer_id: info.identity.computer_id.map(Into::into),
            computer_label: info.identity.label.map(Into::into),
            user_agent: info.user_agent.map(Into::into),
            protocol: client.version.number(),
            connected_at: Time(client.connected_at_ms),
            last_activity: Time(client.last_activity_ms),
            channels: client.channels as u64,
            queued_bytes: client.queued_bytes as u64,
            round_trip_ms: client.round_trip.map(|time| time.as_secs_f64() * 1000.0),
            commands: counters.commands,
            refused: counters.refused,
            messages_in: counters.messages_in,
            messages_out: counters.messages_out,
            bytes_in: counters.bytes_in,
            bytes_out: counters.bytes_out,
            dropped: counters.dropped,
            open: None,
            rights: None,
            closed: None,
        }
    }

    /// A client that has gone.
    pub(super) fn closed(departed: Departed) -> Self {
        let closed = Closed {
            at: Time(departed.closed_at_ms),
            reason: departed.reason.label().to_owned(),
            code: departed.reason.code(),
            text: departed.text,
        };
        Self { state: ClientState::Closed, closed: Some(closed), ..Self::open(departed.client) }
    }
}

/// A page of clients.
#[derive(Debug, Object, Serialize)]
pub struct ClientPage {
    /// The clients of this page.
    pub clients: Vec<Client>,
    /// How many there are on all pages together.
    pub total: u64,
    /// What to give as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Whom a kick has met.
#[derive(Debug, Object, Serialize)]
pub struct Kicked {
    /// Whether this was a trial, and nobody has been kicked.
    pub dry_run: bool,
    /// How many.
    pub total: u64,
    /// Who: the first thousand.
    pub clients: Vec<Client>,
}

/// What has been removed from the log.
#[derive(Debug, Object, Serialize)]
pub struct Cleared {
    /// How many messages.
    pub removed: u64,
}

/// A ban.
#[derive(Debug, Object, Serialize)]
pub struct Ban {
    /// Its ID.
    pub id: u64,
    /// The claimed name that it keeps out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The proven name that it keeps out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The network that it keeps out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Why; the client is told.
    pub reason: String,
    /// When it was made.
    pub created_at: Time,
    /// When it ends; never, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

impl From<hub::Ban> for Ban {
    fn from(ban: hub::Ban) -> Self {
        use hub::BanTarget::{Name, Network, Token};
        let (name, token, address) = match ban.target {
            Name(name) => (Some(name), None, None),
            Token(token) => (None, Some(token), None),
            Network(network) => (None, None, Some(network.to_string())),
        };
        Self {
            id: ban.id,
            name,
            token,
            address,
            reason: ban.reason,
            created_at: Time(ban.created_at_ms),
            expires_at: ban.expires_at_ms.map(Time),
        }
    }
}

/// All bans.
#[derive(Debug, Object, Serialize)]
pub struct BanList {
    /// The bans in force, oldest first.
    pub bans: Vec<Ban>,
}

/// A ban that has been made.
#[derive(Debug, Object, Serialize)]
pub struct NewBan {
    /// The ban.
    pub ban: Ban,
    /// How many clients it has disconnected.
    pub disconnected: u64,
    /// What to think of, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// A message of the log, exactly as clients see it: with whatever keys its sender gave it.
#[derive(Debug, Object)]
pub struct Message {
    /// Always `message`.
    #[oai(rename = "type")]
    pub kind: String,
    /// Its channel.
    pub channel: ChannelValue,
    /// What was sent; a message may be without it.
    pub message: Option<poem_openapi::types::Any<serde_json::Value>>,
    /// Its ID.
    #[oai(rename = "ID")]
    pub id: Uuid,
    /// When it was sent, in milliseconds since 1970 UTC.
    pub time: u64,
}

/// A part of the log.
#[derive(Debug, Object)]
pub struct LogPage {
    /// Messages, exactly as clients see them.
    pub log: Vec<Message>,
    /// The ID to go on from, as `before`, or as `after` when the oldest come first; absent at the
    /// end.
    pub next: Option<Uuid>,
}

/// A message that has been sent.
#[derive(Debug, Object)]
pub struct Sent {
    /// The message, exactly as clients see it.
    pub message: Message,
    /// How many clients were to receive it.
    pub received_by: u64,
}

/// What the hub holds, and what has happened since it started.
#[derive(Debug, Object, Serialize)]
pub struct Stats {
    /// Clients connected, those being closed included.
    pub clients: u64,
    /// Streams of the log that are being read.
    pub streams: u64,
    /// Channels with listeners or logged messages.
    pub channels: u64,
    /// Open channels of all clients together.
    pub subscriptions: u64,
    /// Messages in the log.
    pub log_messages: u64,
    /// Memory charged to the log, in bytes.
    pub log_bytes: u64,
    /// Bytes that wait to be sent to clients.
    pub queued_bytes: u64,
    /// Bytes of the longest queue.
    pub longest_queue_bytes: u64,
    /// What has happened since the start.
    pub totals: Totals,
}

/// What has happened since the start; each figure only grows.
#[derive(Debug, Object, Serialize)]
pub struct Totals {
    /// Messages sent.
    pub messages: u64,
    /// Messages queued for listeners, once for each.
    pub delivered: u64,
    /// Messages that the log had no more room for.
    pub evicted: u64,
    /// Bytes of commands.
    pub bytes_in: u64,
    /// Bytes written to clients.
    pub bytes_out: u64,
    /// Commands carried out, by command.
    pub commands: BTreeMap<String, u64>,
    /// Commands refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Frames queued for clients and dropped, by the reason of the connection's end; `paced` are
    /// events left out for clients that want so many frames a second.
    pub dropped: BTreeMap<String, u64>,
    /// Connections that ended, by reason.
    pub disconnects: BTreeMap<String, u64>,
}

impl From<hub::Stats> for Stats {
    fn from(stats: hub::Stats) -> Self {
        let totals = stats.totals;
        let messages = totals.all_messages();
        let by_reason = |figures: [u64; CloseReason::ALL.len()]| {
            labelled(CloseReason::ALL.map(CloseReason::label), figures)
        };
        Self {
            clients: stats.clients as u64,
            streams: stats.taps as u64,
            channels: stats.channels as u64,
            subscriptions: stats.subscriptions as u64,
            log_messages: stats.log_messages as u64,
            log_bytes: stats.log_bytes as u64,
            queued_bytes: stats.queued_bytes as u64,
            longest_queue_bytes: stats.longest_queue_bytes as u64,
            totals: Totals {
                messages,
                delivered: totals.delivered,
                evicted: totals.evicted,
                bytes_in: totals.bytes_in,
                bytes_out: totals.bytes_out,
                commands: labelled(CommandKind::ALL.map(CommandKind::label), totals.commands),
                refused: labelled(RefusalReason::LABELS, totals.refused),
                dropped: totals
                    .dropped_frames()
                    .map(|(reason, frames)| (reason.to_owned(), frames))
                    .collect(),
                disconnects: by_reason(totals.disconnects),
            },
        }
    }
}

fn labelled<const N: usize>(labels: [&str; N], figures: [u64; N]) -> BTreeMap<String, u64> {
    labels.into_iter().map(str::to_owned).zip(figures).collect()
}

/// What this server is.
#[derive(Debug, Object, Serialize)]
pub struct Info {
    /// Its version.
    pub version: String,
    /// The versions of the protocol that it speaks with clients.
    pub protocol_versions: Vec<u32>,
    /// When it started.
    pub started_at: Time,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// Whether it is stopping, and takes no new clients.
    pub stopping: bool,
    /// Whether it writes to many clients by one system call, with Linux's io_uring.
    pub io_uring: bool,
}

/// A setting that applies.
#[derive(Debug, Object, Serialize)]
pub struct Setting {
    /// Its name, such as `limits.max_clients`.
    pub setting: String,
    /// Its value as TOML, a secret masked; absent if it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where it came from: `default`, a file, a variable, a flag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The value that it waits to take at the next start, `unset` for none; absent if it would not
    /// change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_restart: Option<String>,
}

/// The settings that apply.
#[derive(Debug, Object, Serialize)]
pub struct Settings {
    /// All of them, in the order of `skynet default-config`.
    pub settings: Vec<Setting>,
}

/// What has become of the settings that were read again. Each is named as in `getConfig`.
#[derive(Debug, Object, Serialize)]
pub struct Reload {
    /// Those that differ from what was read before.
    pub changed: Vec<String>,
    /// Those of them that have taken effect.
    pub applied: Vec<String>,
    /// All that wait for a restart, since now or an earlier time.
    pub needs_restart: Vec<String>,
    /// Clients that were closed: their token is gone, or a ban in the file concerns them.
    pub closed_clients: u64,
}

/// What is logged.
#[derive(Debug, Object, Serialize)]
pub struct LogLevel {
    /// A level, and `TARGET=LEVEL` for single modules, separated by commas.
    #[oai(validator(min_length = 1, max_length = 1024))]
    pub log: String,
}
