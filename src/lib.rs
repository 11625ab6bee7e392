//! Skynet: a message hub for ComputerCraft computers.
//!
//! The map of the crate, in reading order; imports run downwards only:
//!
//! - [`config`]: every setting: type, default, validation, and where its value came from.

pub mod config;
pub mod app;
