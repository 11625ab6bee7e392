//! The hub and the protocol as they are, on locks and notifications that shuttle schedules.
//!
//! `tests/` has scenes of several tasks that use the hub at once; shuttle tries many orders in
//! which their steps can come. README.md says how to run them and how to read what they find.

#[path = "../../src/hub/mod.rs"]
pub mod hub;
#[path = "../../src/network.rs"]
pub mod network;
#[path = "../../src/protocol/mod.rs"]
pub mod protocol;
pub mod sync;
