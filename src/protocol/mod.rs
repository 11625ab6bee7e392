//! The protocol, pure: what a client may send, what it is answered, and the bytes of both.
//!
//! Knows nothing of sockets, locks, clocks or the rest of the program; whatever depends on the
//! time or on the hub's state is handed in. The rules are written for authors of clients in
//! `docs/protocol.md`.
//!
//! - [`cbor`]: the same commands and events in CBOR.
//! - [`channel`]: names of channels, in one canonical spelling.
//! - [`command`]: a client's text read into a [`Command`].
//! - [`event`]: messages and replies written as frames, each once.
//! - [`stamp`]: IDs and times that never go back.
//! - [`refusal`]: why a command was refused, in words.
//! - [`closing`]: the closed list of reasons why a connection ended.
//! - [`kind`]: the commands by name.
//! - [`json`]: JSON values rewritten in compact form with their numbers as spelled.
//! - [`websocket`]: frames of RFC 6455, both directions.

pub mod cbor;
pub mod channel;
pub mod closing;
pub mod command;
pub mod event;
pub mod json;
pub mod kind;
pub mod refusal;
pub mod stamp;
pub mod websocket;

pub use channel::ChannelName;
pub use closing::CloseReason;
pub use command::{Command, CommandLimits, LogSlice};
pub use event::{Draft, Event};
pub use kind::CommandKind;
pub use refusal::{Refusal, RefusalReason};
pub use stamp::{Stamp, Stamper};
pub use websocket::Frame;
