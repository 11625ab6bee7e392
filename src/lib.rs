//! Skynet: a message hub for ComputerCraft computers.
//!
//! The map of the crate, in reading order; imports run downwards only:
//!
//! - [`config`]: every setting: type, default, validation, and where its value came from.

pub mod app;
pub mod config;
pub mod gateway;
pub mod http;
pub mod hub;
pub mod metrics;
pub mod ops;
pub mod protocol;
