//! What goes wrong around a hub, made to go wrong on purpose, and what must hold all the same.
//! Linux only.
//!
//! `skynet-faults` runs the real program, lets one thing after the other go wrong, and audits it after
//! each. `skynet-soak` keeps it under mixed load for as long as it is told to, and judges whether
//! memory, descriptors and delays stay flat.
//!
//! In reading order:
//!
//! - [`proxy`]: a network that delays, splits, throttles, cuts, resets and goes silent, by plan.
//! - [`client`], [`http`]: clients that can do what no websocket library would.
//! - [`server`]: the program as a process, and what the system tells about it.
//! - [`ledger`]: what was acknowledged and what was heard, held against the log.
//! - [`listener`]: who hears, in each manner there is.
//! - [`feed`]: who talks.
//! - [`bystanders`]: clients that talk all the while and must not notice.
//! - [`audit`]: what must be so after each scene.
//! - [`table`]: what RFC 6455 forbids, and the close code of each.
//! - [`scenes`]: what goes wrong.
//! - [`soak`]: the long run.

pub mod audit;
pub mod bystanders;
pub mod client;
pub mod feed;
pub mod http;
pub mod ledger;
pub mod listener;
pub mod problem;
pub mod proxy;
pub mod scenes;
pub mod server;
pub mod soak;
pub mod table;
