//! The protocol, pure: what a client may send, what it is answered, and the bytes of both.
//!
//! Knows nothing of sockets, locks, clocks or the rest of the program; whatever depends on the
//! time or on the hub's state is handed in. The rules are written for authors of clients in
//! `docs/protocol.md`.
//!
//! - [`cbor`]: the same commands and events in CBOR.
//! - [`channel`]: names of channels, in one canonical spelling.
//! - [`command`]: a client's text read into a [`Command`]; `fields` reads its keys.
//! - [`options`]: what an `open` may carry beside its channel.
//! - [`nonce`]: what a client wants to know a reply by.
//! - [`event`]: messages and replies written as frames, each once.
//! - [`feed`]: events marked, in batches, and the notice of a gap.
//! - [`stamp`]: IDs and times that never go back.
//! - [`refusal`]: why a command was refused, in words.
//! - [`closing`]: the closed list of reasons why a connection ended.
//! - [`kind`]: the commands by name; [`version`]: the versions by number.
//! - [`json`]: JSON values rewritten in compact form with their numbers as spelled.
//! - [`websocket`]: frames of RFC 6455, both directions.

pub mod cbor;
pub mod channel;
pub mod closing;
pub mod command;
pub mod event;
pub mod feed;
mod fields;
pub mod json;
pub mod kind;
pub mod nonce;
pub mod options;
pub mod refusal;
pub mod stamp;
pub mod version;
pub mod websocket;

pub use channel::ChannelName;
pub use closing::CloseReason;
pub use command::{Command, CommandLimits, LogSlice, Request};
pub use event::{Draft, Event};
pub use kind::CommandKind;
pub use nonce::Nonce;
pub use options::{CatchUp, OpenOptions};
pub use refusal::{Forbidden, Refusal, RefusalReason};
pub use stamp::{Stamp, Stamper};
pub use version::Version;
pub use websocket::Frame;
