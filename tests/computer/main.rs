//! The library and programs of `lua/` on a computer, against the real hub.
//!
//! `machine` is a stand-in for the game's computer, and `stand_in` holds it to the documentation.
//! The scenes are in a file per subject. Programs run under Lua 5.2 on a thread of their own; sockets
//! are real, time is real, and nothing here waits for time to pass but a computer made slow on purpose.

mod flow;
mod library;
mod machine;
mod modem;
mod programs;
mod scenes;
mod stand_in;
#[allow(dead_code, reason = "it is shared with tests/hub, which uses the rest")]
#[path = "../hub/support/mod.rs"]
mod support;
#[allow(dead_code, reason = "it is shared with tests/cbor, which uses the rest")]
#[path = "../cbor/value.rs"]
mod value;
mod values;
