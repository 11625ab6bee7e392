//! Skynet: a message hub for ComputerCraft computers.
//!
//! The map of the crate, in reading order:
//!
//! - [`protocol`]: what a client may send, and what it is answered; pure.
//! - [`hub`]: clients, channels, the message log, and what is on its way to whom.
//! - [`gateway`]: websocket sessions, from the handshake to the end of the connection.
//! - [`metrics`]: what Prometheus is told.
//! - [`ops`]: health, readiness and the metrics' endpoint.
//! - [`http`]: the accept loop under every listener.
//! - [`config`]: every setting: type, default, validation, and where its value came from.
//! - [`app`]: the composition root; in what order the program starts and stops.
//!
//! Imports run one way: `protocol`, `config` and `metrics` know nothing of the rest; `hub` knows
//! `protocol`; `gateway` and `ops` know those; `app` knows all.

pub mod app;
pub mod config;
pub mod gateway;
pub mod http;
pub mod hub;
pub mod metrics;
pub mod ops;
pub mod protocol;
