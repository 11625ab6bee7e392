//! Fuzzing: what must hold for any bytes from outside, one function for each reader of them.
//!
//! Built for tests and with `--cfg fuzzing`, never into the program. Each function takes the bytes
//! of one input and panics when something does not hold. Knows nothing of how inputs are found: in
//! `fuzz/`, libFuzzer looks for new ones; `corpus` has every test run try those that were kept.
//! What needs a look inside a module lives there (`hub::fuzzing`, `gateway::fuzzing`, …).
//!
//! - `naive`: JSON commands read the obvious way, through a tree of values.
//! - `json`, `cbor`: commands, and what becomes of messages in the other encoding.
//! - `websocket`: frames, in one piece and in many, beside another implementation.
//! - `bans_file`: the list of bans that outlives the program.
//! - `forwarded`: where a request comes from, behind proxies.
//! - `host`: where a hub is, as URLs and `Host` headers say it.

mod bans_file;
mod cbor;
#[cfg(test)]
mod corpus;
mod forwarded;
mod host;
mod json;
mod naive;
mod websocket;

pub use crate::api::fuzzing::{body, channel, query};
pub use crate::config::fuzzing::config;
pub use crate::gateway::fuzzing::handshake;
pub use crate::http::fuzzing::proxy_header;
pub use crate::hub::fuzzing::hub;
pub use bans_file::bans_file;
pub use cbor::cbor;
pub use forwarded::forwarded;
pub use host::host;
pub use json::json;
pub use websocket::websocket;

use crate::protocol::{CommandLimits, Stamp, Stamper};

/// A function that tries one input.
pub type Target = fn(&[u8]);

/// All targets by name, which is that of the folder of their corpus too.
pub const TARGETS: [(&str, Target); 13] = [
    ("bans_file", bans_file),
    ("body", body),
    ("cbor", cbor),
    ("channel", channel),
    ("config", config),
    ("forwarded", forwarded),
    ("handshake", handshake),
    ("host", host),
    ("hub", hub),
    ("json", json),
    ("proxy_header", proxy_header),
    ("query", query),
    ("websocket", websocket),
];

/// Small, so that small inputs reach them.
const LIMITS: CommandLimits = CommandLimits { max_channel_name_bytes: 32, max_event_bytes: 1024 };

/// Larger than any event of [`LIMITS`] becomes in CBOR.
const MAX_FRAME: usize = 1 << 20;

fn stamp() -> Stamp {
    Stamper::new(1).next(1_700_000_000_123)
}
