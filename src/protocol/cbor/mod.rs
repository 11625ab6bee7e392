//! Version 2 of the protocol: commands and events in CBOR (RFC 8949), pure.
//!
//! Reads commands and writes events and errors. Does not decide which connection speaks CBOR, and
//! builds no tree of values: what is read is written at once, as JSON or as CBOR. The rules
//! between the two are told to authors of clients in `docs/protocol.md`.
//!
//! - `command`: a client's bytes read into a [`super::Command`].
//! - `event`: events and errors written as binary frames.
//! - `reader`: the items of an encoded value, one after the other.
//! - `to_json`, `from_json`, `from_cbor`: values written in another encoding, or in the same one
//!   tidied.
//! - `builder`: CBOR whose arrays and maps are counted while they are written.
//! - `maps`: entries of a map that a later one overrides.

mod builder;
mod command;
mod event;
mod from_cbor;
mod from_json;
mod maps;
mod reader;
mod to_json;

pub use command::parse;
pub use event::{Source, TooLarge, error, error_code, event_frame, too_large};

/// The tag that marks what follows as CBOR (RFC 8949, 3.4.6).
const SELF_DESCRIBED: [u8; 3] = [0xd9, 0xd9, 0xf7];

/// Whether `bytes` begin like a command in CBOR, an array. A binary message that does turns its
/// connection to version 2.
pub fn begins_array(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(&SELF_DESCRIBED).unwrap_or(bytes);
    matches!(bytes.first(), Some(0x80..=0x9f))
}
