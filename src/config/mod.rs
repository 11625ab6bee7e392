//! Every setting: its type, its default, its validation, and where its value came from.
//!
//! `config.toml` at the root of the repository is built into the program: it is the documentation,
//! the default and the list of known settings in one. [`load()`] lays a file, the environment and
//! the command line over it, refuses what it does not know, and reports every problem it finds with
//! the setting, the place where it was given, and what is allowed.
//!
//! This module decides what a setting means. It builds nothing and binds nothing, and no other one
//! looks at the environment. One file per section holds type and validation side by side:
//!
//! - [`HubConfig`], [`AdminConfig`], [`LimitsConfig`], [`MessageLogConfig`], [`TelemetryConfig`]
//!
//! The rest serves them: `load` layers the sources, `file` reads TOML and remembers lines,
//! `settings` knows the names, `units` reads sizes and durations as people write them, [`Secret`]
//! keeps tokens out of every output, [`ConfigError`] speaks to the owner, and [`Effective`] shows
//! what applies and why.
//!
//! To add a setting: a field in its section and a line in `config.toml`; a test fails while only
//! one of the two is there.

mod admin;
mod error;
mod file;
mod given;
mod hub;
mod limits;
mod load;
mod message_log;
mod report;
mod secret;
mod settings;
mod telemetry;
mod units;

use serde::{Deserialize, Serialize};

pub use admin::AdminConfig;
pub use error::{ConfigError, Origin, Problem};
pub use hub::HubConfig;
pub use limits::LimitsConfig;
pub use load::{Flag, Loaded, Sources, load};
pub use message_log::MessageLogConfig;
pub use report::{Effective, Setting};
pub use secret::Secret;
pub use telemetry::{LogFormat, TelemetryConfig};

/// The commented `config.toml` that is built into the program: every setting with its default.
pub const DEFAULT_FILE: &str = include_str!("../../config.toml");

/// All settings, each with a value that applies.
///
/// [`Config::default()`] holds what `config.toml` says; [`load()`] what the owner wants. A
/// configuration changed in code should pass [`Config::validate`] before it is used.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The public listener, for computers.
    pub hub: HubConfig,
    /// The owner's listener.
    pub admin: AdminConfig,
    /// What clients may use, and what all of them together may.
    pub limits: LimitsConfig,
    /// How much the message log keeps.
    pub message_log: MessageLogConfig,
    /// What the program says about itself, and how.
    pub telemetry: TelemetryConfig,
}

impl Default for Config {
    /// What the embedded `config.toml` says.
    fn default() -> Self {
        load(&Sources::default())
            .expect("the embedded config.toml is valid: a test of this module reads it")
            .config
    }
}

impl Config {
    /// Checks the settings against their bounds and against each other.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] with every problem found, not only the first. Only [`load()`] knows
    /// where values came from, so the problems reported here name settings and no places.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        self.hub.validate(&mut problems);
        self.admin.validate(&self.hub, &mut problems);
        self.limits.validate(&mut problems);
        self.message_log.validate(&self.limits, &mut problems);
        self.telemetry.validate(&mut problems);
        ConfigError::unless_empty(problems)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_embedded_file_is_valid_and_holds_the_documented_defaults() {
        let config = Config::default();
        config.validate().unwrap();
        assert_eq!(config.hub.listen, "127.0.0.1:4567".parse().unwrap());
        assert_eq!(config.admin.listen, "127.0.0.1:4568".parse().unwrap());
        assert!(config.admin.bearer_token().is_none());
        let limits = &config.limits;
        assert_eq!(limits.max_clients, 10_000);
        assert_eq!(limits.max_channels_per_client, 1_024);
        assert_eq!(limits.max_channel_name_bytes, 255);
        assert_eq!(limits.max_message_bytes, 131_072);
        assert_eq!(limits.max_frame_bytes, 397_312);
        assert_eq!(limits.max_queue_bytes, 1 << 20);
        assert_eq!(limits.total_queue_bytes, 256 << 20);
        assert_eq!(limits.total_partial_bytes, 64 << 20);
        assert_eq!(limits.messages_per_second, 500);
        assert_eq!(limits.message_burst, 1_000);
        assert_eq!(limits.handshake_timeout, Duration::from_secs(10));
        assert_eq!(limits.ping_interval, Duration::from_secs(25));
        assert_eq!(config.message_log.max_messages, 10_000);
        assert_eq!(config.message_log.max_bytes, 64 << 20);
        assert_eq!(config.telemetry.log, "info");
        assert_eq!(config.telemetry.format, LogFormat::Auto);
    }

    #[test]
    fn a_configuration_changed_in_code_reports_all_its_problems_at_once() {
        let mut config = Config::default();
        config.limits.max_clients = 0;
        config.message_log.max_messages = 0;
        config.telemetry.log = "loud".into();
        let ConfigError::Invalid(problems) = config.validate().unwrap_err() else {
            panic!("expected a list of problems");
        };
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["limits.max_clients", "message_log.max_messages", "telemetry.log"]);
    }
}
