//! The hub as its clients meet it: every test here talks to it through real sockets.
//!
//! A file per subject; `support` holds what they share: an app in the test's own runtime or a
//! process of its own, a client that writes any bytes it likes and reads strictly, a JSON reader
//! that keeps lone surrogates. The expectations come from the text of the protocol, never from
//! the code under test.

mod addresses;
mod api;
mod batching;
mod catch_up;
mod clients;
mod delivery;
mod fairness;
mod faults;
mod fragments;
mod frames;
mod handshake;
#[cfg(unix)]
mod health;
mod limits;
mod log;
mod many;
#[cfg(target_os = "linux")]
mod memory;
mod metrics;
mod nonce;
mod order;
mod pages;
mod partial;
mod pings;
mod proxied;
mod queues;
mod rate;
mod reload;
mod replay;
mod replay_v2;
mod rights;
mod secrets;
mod security;
mod shutdown;
mod slow;
#[cfg(unix)]
mod sockets;
mod support;
mod tls;
mod tls_files;
mod v2;
#[path = "../cbor/value.rs"]
mod value;
