//! The game's side of the configuration: which rule of `computercraft-server.toml` lets computers
//! reach this hub, and whether a server's file does.
//!
//! - `place`: where computers find the hub, and by which ways they might find the admin API.
//! - `rules`: rules as CC: Tweaked has them, and which of them decides.
//! - `server_file`: the file, with the line of everything in it.
//! - `findings`: what is right and what is wrong with it.
//! - `advice`: the rule to add.
//!
//! Reads that file and, for a check, asks the system for the addresses of a name. Changes nothing.

mod advice;
mod findings;
mod place;
mod rules;
mod server_file;

use crate::config::Config;
use place::Place;
use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

pub use findings::Report;

/// Why there is nothing to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CannotTell(String);

impl fmt::Display for CannotTell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CannotTell {}

/// The rule for this configuration and where it belongs, as TOML with comments.
///
/// # Errors
/// The hub's port is left to the system, so that no rule can name it.
pub fn advice(config: &Config) -> Result<String, CannotTell> {
    Ok(advice::text(config, &Place::of_hub(config)?))
}

/// Whether the computers of a server with this file reach the hub, and what else they may do.
/// `resolve` finds the addresses of a name.
///
/// # Errors
/// The file cannot be read, is of another kind, or the hub's port is left to the system.
pub fn check(
    config: &Config,
    file: &Path,
    resolve: impl Fn(&str) -> Vec<IpAddr>,
) -> Result<Report, CannotTell> {
    let place = Place::of_hub(config)?;
    let server = server_file::read(file)?;
    Ok(findings::find(config, &place, file, &server, resolve))
}

/// The addresses that this system knows of a name; may wait for the network.
pub fn resolve(name: &str) -> Vec<IpAddr> {
    let addresses = (name, 0).to_socket_addrs();
    addresses.map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default()
}
