//! Why a command was refused, in words for the player who wrote the program.
//!
//! A refused command has changed nothing and the connection stays open. The beginnings of the
//! texts are the original server's, for programs that look at them; what follows says what is
//! allowed.

use super::kind::CommandKind;
use super::nonce::Nonce;
use std::fmt;

/// A refused command: its kind, where it was a known one, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The command, if `type` named one.
    pub command: Option<CommandKind>,
    /// What the client wants to know the error by.
    pub nonce: Option<Nonce>,
    /// What was wrong.
    pub reason: RefusalReason,
}

impl From<RefusalReason> for Refusal {
    /// The refusal of what names no command.
    fn from(reason: RefusalReason) -> Self {
        Self { command: None, nonce: None, reason }
    }
}

/// What was wrong with a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusalReason {
    /// Not JSON; the parser's own words.
    Syntax(String),
    /// Not a command in CBOR; what is wrong and, where it helps, at which byte.
    Cbor(String),
    /// An array in CBOR that names no command; the name as it was given, shortened.
    UnknownVariant(String),
    /// JSON, but not an object.
    NotAnObject {
        /// What it was.
        found: &'static str,
    },
    /// Nested deeper than [`super::json::MAX_DEPTH`].
    TooDeep {
        /// The depth found, or that at which reading has stopped.
        depth: usize,
    },
    /// `type` names no command; the type as it was given, shortened.
    UnknownCommand(String),
    /// `channel` is neither a string nor a number.
    ChannelType {
        /// What it was.
        found: &'static str,
    },
    /// `channel` is a number beyond the range of IEEE doubles.
    ChannelNotFinite,
    /// `channel` is longer than `limits.max_channel_name_bytes`.
    ChannelName {
        /// Its length in bytes of UTF-8.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The client has `limits.max_channels_per_client` channels open.
    TooManyChannels {
        /// The limit.
        limit: usize,
    },
    /// All clients together have `limits.total_open_channels` channels open.
    TooManyInAll {
        /// The limit.
        limit: usize,
    },
    /// The channel to close, as an error names it, is not open.
    NotOpen(String),
    /// The message's event would exceed what a listener accepts.
    MessageSize {
        /// Bytes of the event.
        bytes: usize,
        /// The most that is accepted.
        limit: usize,
    },
    /// `start` or `end` of a log command is not a number.
    LogSlice {
        /// The key.
        key: &'static str,
        /// What its value was.
        found: &'static str,
    },
    /// A key that is to hold the ID of a message holds something else.
    MessageId {
        /// The key, with its quotes.
        key: &'static str,
        /// What its value was.
        found: &'static str,
    },
    /// `last` and `since` are both given.
    CatchUpTwice,
    /// `last` is no number from 0 on.
    CatchUpLast {
        /// What it was.
        found: &'static str,
    },
    /// A client wants to catch up on a channel, as an error names it, that it receives already.
    AlreadyReceived(String),
    /// `batch` is not a boolean.
    Batch {
        /// What it was.
        found: &'static str,
    },
    /// `pace` is no number from 1 to [`super::options::MAX_PACE`].
    Pace {
        /// What it was.
        found: &'static str,
    },
    /// `nonce` is longer than [`super::nonce::MAX_NONCE_BYTES`].
    NonceSize {
        /// Its length in bytes of compact JSON.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Over the rate of commands.
    RateLimit {
        /// `limits.messages_per_second`.
        per_second: u32,
        /// `limits.message_burst`.
        burst: u32,
    },
    /// The hub's owner has not allowed it to this client.
    NotAllowed(Forbidden),
}

/// What a client may not do. Channels are as an error names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forbidden {
    /// To read this channel, live or in the log.
    Read(String),
    /// To open `*`.
    HearAll,
    /// To send to this channel.
    Write(String),
    /// To see the log.
    Log,
}

impl RefusalReason {
    /// Every label, in the order of the metrics.
    pub const LABELS: [&'static str; 15] = [
        "syntax",
        "not_an_object",
        "depth",
        "unknown_command",
        "channel_type",
        "channel_name",
        "channels",
        "not_open",
        "message_size",
        "log_slice",
        "rate_limit",
        "nonce",
        "catch_up",
        "pace",
        "not_allowed",
    ];

    /// The place of this reason's label in [`Self::LABELS`].
    pub fn label_index(&self) -> usize {
        match self {
            Self::Syntax(_) | Self::Cbor(_) => 0,
            Self::NotAnObject { .. } => 1,
            Self::TooDeep { .. } => 2,
            Self::UnknownCommand(_) | Self::UnknownVariant(_) => 3,
            Self::ChannelType { .. } | Self::ChannelNotFinite => 4,
            Self::ChannelName { .. } => 5,
            Self::TooManyChannels { .. } | Self::TooManyInAll { .. } => 6,
            Self::NotOpen(_) => 7,
            Self::MessageSize { .. } => 8,
            Self::MessageId { key: "\"since\"", .. }
            | Self::CatchUpTwice
            | Self::CatchUpLast { .. }
            | Self::AlreadyReceived(_) => 12,
            Self::LogSlice { .. } | Self::MessageId { .. } => 9,
            Self::RateLimit { .. } => 10,
            Self::NonceSize { .. } => 11,
            Self::Batch { .. } | Self::Pace { .. } => 13,
            Self::NotAllowed(_) => 14,
        }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(words) => write!(f, "SyntaxError: this is not JSON: {words}"),
            Self::Cbor(words) => f.write_str(words),
            Self::UnknownVariant(given) => {
                write!(f, "unknown variant `{given}`, expected one of `open`, `close`, `message`")
            }
            Self::NotAnObject { found } => write!(
                f,
                "Error: Message must be object, such as {{\"type\":\"log\"}}; this is {found}"
            ),
            Self::TooDeep { depth } => write!(
                f,
                "Error: Nested {depth} levels deep; at most {} are allowed",
                super::json::MAX_DEPTH
            ),
            Self::UnknownCommand(given) => {
                write!(f, "Error: No such command {given}; \"type\" is one of")?;
                for (index, kind) in CommandKind::ALL.into_iter().enumerate() {
                    let separator = if index == 0 { " " } else { ", " };
                    write!(f, "{separator}{}", kind.label())?;
                }
                Ok(())
            }
            Self::ChannelType { found } => write!(
                f,
                "Error: Invalid type for channel! It must be a string or a number; it is {found}"
            ),
            Self::ChannelNotFinite => f.write_str(
                "Error: Invalid type for channel! A number must be finite (an IEEE double)",
            ),
            Self::ChannelName { bytes, limit } => write!(
                f,
                "Error: The name of the channel has {bytes} bytes; at most {limit} are allowed"
            ),
            Self::TooManyChannels { limit } => {
                write!(
                    f,
                    "Error: Too many channels: a client may have {limit} open; close one first"
                )
            }
            Self::TooManyInAll { limit } => write!(
                f,
                "Error: Too many channels: the clients of this hub have {limit} open together, the most there may be; try again later"
            ),
            Self::NotOpen(channel) => write!(f, "Error: Channel {channel} not open."),
            Self::MessageSize { bytes, limit } => write!(
                f,
                "Error: The message is too large: {bytes} bytes as an event; at most {limit} are allowed"
            ),
            Self::LogSlice { key, found } => {
                write!(f, "Error: \"{key}\" of a log command must be an integer, not {found}")
            }
            Self::MessageId { key, found } => write!(
                f,
                "Error: {key} must be the ID of a message, such as the log's entries have, not {found}"
            ),
            Self::CatchUpTwice => {
                f.write_str("Error: \"last\" and \"since\" exclude each other; give one of them")
            }
            Self::CatchUpLast { found } => {
                write!(f, "Error: \"last\" must be a whole number from 0 on; it is {found}")
            }
            Self::AlreadyReceived(channel) => write!(
                f,
                "Error: Channel {channel} is received already, by itself or by \"*\"; close that before you catch up"
            ),
            Self::Batch { found } => {
                write!(f, "Error: \"batch\" must be true or false; it is {found}")
            }
            Self::Pace { found } => write!(
                f,
                "Error: \"pace\" must be a number of frames a second from 1 to {}, or null for no limit; it is {found}",
                super::options::MAX_PACE
            ),
            Self::NonceSize { bytes, limit } => {
                write!(f, "Error: The nonce has {bytes} bytes as JSON; at most {limit} are allowed")
            }
            Self::RateLimit { per_second, burst } => write!(
                f,
                "Error: Rate limit exceeded: at most {per_second} commands a second, {burst} at once"
            ),
            Self::NotAllowed(forbidden) => {
                f.write_str("Error: Not allowed: ")?;
                match forbidden {
                    Forbidden::Read(channel) => write!(f, "you may not read channel {channel}")?,
                    Forbidden::HearAll => {
                        f.write_str("you may not open channel *, which hears every channel")?;
                    }
                    Forbidden::Write(channel) => {
                        write!(f, "you may not send to channel {channel}")?;
                    }
                    Forbidden::Log => f.write_str("you may not read the log")?,
                }
                f.write_str("; ask the owner of this hub for a token that may")
            }
        }
    }
}
