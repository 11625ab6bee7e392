//! Skynet: a message hub for ComputerCraft computers.
//!
//! The map of the crate, in reading order:
//!
//! - [`protocol`]: what a client may send, and what it is answered; pure.
//! - [`hub`]: clients, channels, the message log, and what is on its way to whom.
//! - [`gateway`]: websocket sessions, from the handshake to the end of the connection.
//! - [`metrics`]: what Prometheus is told.
//! - [`ops`]: health, readiness and the metrics' endpoint.
//! - [`api`]: the owner's API.
//! - [`pages`]: what the hub serves to players: a page, the installer, the library.
//! - [`http`]: the accept loop under every listener.
//! - [`config`]: every setting: type, default, validation, and where its value came from.
//! - [`access`]: who may do what: tokens, names of hosts, and the files that keep them and bans.
//! - [`telemetry`]: log lines, where they go and how they look.
//! - [`descriptors`]: the system's limit on open files, of which every client needs one.
//! - `network`: networks, as addresses are compared with them.
//! - `sync`: the locks and notifications of the hub, in a place where others can be put.
//! - [`reload`]: asking for the settings to be read again while the program runs.
//! - [`shutdown`]: the signals that end the program, and the one that has it read its settings again.
//! - [`systemd`]: what a supervisor is told.
//! - [`app`]: the composition root; in what order the program starts and stops.
//! - [`cli`]: the command line.
//! - [`exit`]: the exit codes.
//! - [`healthcheck`]: asks a running hub whether it is ready.
//! - [`manual`]: the manual page and the completions of shells.
//! - [`cc_config`]: what the game's own configuration must say, and whether it does.
//! - `fuzzing`: what must hold for any bytes; for tests and fuzzing alone.
//!
//! Imports run one way: `protocol` and `config` know nothing of the rest; `hub` knows `protocol` and
//! `sync`; everybody may know `network`; `access` and `reload` know `config`; `metrics` reads the hub's figures; `gateway`, `ops`, `pages` and `api` know
//! those and not each other; `app` knows all. `cc_config` is beside them: it knows `config`, and of
//! `pages` how large they are.

pub mod access;
pub mod api;
pub mod app;
pub mod cc_config;
pub mod cli;
pub mod config;
pub mod descriptors;
pub mod exit;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gateway;
pub mod healthcheck;
pub mod http;
pub mod hub;
pub mod manual;
pub mod metrics;
mod network;
pub mod ops;
pub mod pages;
pub mod protocol;
pub mod reload;
pub mod shutdown;
mod sync;
pub mod systemd;
pub mod telemetry;
