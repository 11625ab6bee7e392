//! Who may do what: tokens, the file that keeps one, wrong ones, names of hosts, addresses, the file
//! of bans.
//!
//! Knows the configuration and nothing else of ours: no HTTP, no hub. Everything here is
//! synchronous; what reads or writes a file says so, and is to be called where that may block.
//!
//! - [`AdminTokens`], [`HubTokens`]: what a presented token opens or proves.
//! - [`AdminToken`]: the owner's token, configured, or generated at the first start and kept.
//! - [`StateDir`]: the folder it is kept in.
//! - [`Failures`]: how many wrong tokens may wait for their answer.
//! - [`trace`]: the client's address behind trusted proxies; [`AddressLimits`]: what an address may use.
//! - [`Seldom`]: what is told in the log now and then.
//! - [`host_is_allowed`]: the check against DNS rebinding.
//! - [`BansFile`]: a list that survives a restart.

mod addresses;
mod admin_token;
mod bans_file;
mod failures;
mod forwarded;
mod host;
mod seldom;
mod state_dir;
mod tokens;

pub use addresses::{AddressLimits, GENERATION, Place as AddressPlace, TooMany, counted_as};
pub use admin_token::{AdminToken, AdminTokenError, Place};
pub use bans_file::{BansFile, BansFileError};
pub use failures::{FAILURE_DELAY, Failures, MAX_WAITING, Waiting};
pub use forwarded::{Traced, trace};
pub use host::host_is_allowed;
pub use seldom::Seldom;
pub use state_dir::{StateDir, StateDirError};
pub use tokens::{AdminTokens, HubTokens, Scope};
