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
//! - [`HubConfig`], [`RightsConfig`], [`AdminConfig`], [`LimitsConfig`], [`DeliveryConfig`],
//!   [`MessageLogConfig`], [`MetricsConfig`], [`TelemetryConfig`], and within two of them [`TlsConfig`]
//!
//! The rest serves them: `load` layers the sources, `file` reads TOML and remembers lines,
//! `settings` knows the names and `tables` those within a list, `token` reads what a file holds
//! alone, `state_dir` knows where systems keep the state of programs, `units` reads sizes and
//! durations as people write them, `lists` lists and `networks` networks, [`ListenAddress`] says where is listened, [`PublicUrl`] and [`Authority`] say where a hub is, [`Secret`]
//! keeps tokens out of every output, [`ConfigError`] speaks to the owner, [`Effective`] shows what
//! applies and why, and `reload` says what a change does while the program runs.
//!
//! To add a setting: a field in its section, a line in `config.toml`, a line in [`RELOADS`]; tests
//! fail while one of the three is missing.

mod admin;
mod delivery;
mod error;
pub(crate) mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod given;
mod hub;
mod limits;
mod listen;
mod lists;
mod load;
mod message_log;
mod metrics;
mod nearest;
mod networks;
mod public_url;
mod reload;
mod report;
mod rights;
mod secret;
mod settings;
mod state_dir;
mod tables;
mod telemetry;
mod tls;
mod token;
mod units;

use serde::{Deserialize, Serialize};

pub use admin::AdminConfig;
pub use delivery::{DeliveryConfig, IoUring};
pub use error::{ConfigError, Origin, Problem};
pub use hub::{HubConfig, HubToken, is_client_name};
pub use limits::LimitsConfig;
pub use listen::ListenAddress;
pub use load::{Flag, Loaded, Sources, load};
pub use message_log::MessageLogConfig;
pub use metrics::{ListedChannel, MetricsConfig};
pub use public_url::{Authority, Host, NoAuthority, PublicUrl};
pub use reload::{RELOADS, Reread, Takes};
pub use report::{Effective, Setting};
pub use rights::{ChannelPattern, RightsConfig};
pub use secret::Secret;
pub use telemetry::{LogFormat, TelemetryConfig};
pub use tls::TlsConfig;

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
    /// What clients without a token may do.
    pub guests: RightsConfig,
    /// The owner's listener.
    pub admin: AdminConfig,
    /// What clients may use, and what all of them together may.
    pub limits: LimitsConfig,
    /// How what is queued for clients is written to their sockets.
    pub delivery: DeliveryConfig,
    /// How much the message log keeps.
    pub message_log: MessageLogConfig,
    /// Who may see the metrics, and what they name.
    pub metrics: MetricsConfig,
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
        self.hub.validate(&self.admin, &self.limits, &mut problems);
        self.guests.validate_guests(&self.limits, &mut problems);
        self.admin.validate(&self.hub, &mut problems);
        self.limits.validate(&mut problems);
        self.delivery.validate(&mut problems);
        self.message_log.validate(&self.limits, &mut problems);
        self.metrics.validate(&self.hub, &self.admin, &self.limits, &mut problems);
        self.telemetry.validate(&mut problems);
        ConfigError::unless_empty(problems)
    }

    /// Whether one listener serves computers and owner: `hub.listen` and `admin.listen` are the
    /// same address and port.
    pub fn shares_listener(&self) -> bool {
        admin::shared(self.hub.listen, &self.admin.listen)
    }

    /// What is allowed and yet should be known, a sentence each, to be told at the start.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.shares_listener() {
            warnings.push(format!(
                "the admin API is on the listener that computers connect to ({}): whoever can \
                 reach the hub can try tokens; a port of its own in admin.listen changes that",
                self.hub.listen
            ));
        }
        if self.limits.max_message_bytes > limits::COMPUTER_FRAME_BYTES {
            warnings.push(format!(
                "limits.max_message_bytes is more than the {} bytes that a computer in the game \
                 accepts: a larger frame ends its connection",
                limits::COMPUTER_FRAME_BYTES
            ));
        }
        if self.hub.require_token && self.guests.is_set() {
            warnings.push(
                "hub.require_token keeps out everybody without a token, so that what [guests] \
                 says applies to nobody"
                    .to_owned(),
            );
        }
        let guests = ("[guests]".to_owned(), &self.guests);
        let tokens = self.hub.tokens.iter();
        let tokens = tokens.map(|entry| (format!("{:?} in hub.tokens", entry.name), &entry.rights));
        for (whose, rights) in [guests].into_iter().chain(tokens) {
            if rights.hears_more_than_it_reads() {
                warnings.push(format!(
                    "hear_all of {whose} lets it read every channel, whatever its read says"
                ));
            }
        }
        let admin = [
            ("the owner's token (admin.token or its file)".to_owned(), self.admin.admin_token()),
            (
                "the token for looking (admin.read_token or its file)".to_owned(),
                self.admin.read_token(),
            ),
        ];
        let hub =
            self.hub.tokens.iter().map(|entry| {
                (format!("the token of {:?} in hub.tokens", entry.name), entry.secret())
            });
        for (whose, secret) in admin.into_iter().chain(hub) {
            if secret.is_some_and(Secret::is_short) {
                warnings.push(format!(
                    "{whose} has fewer than {} characters and could be guessed; use a long random \
                     text",
                    secret::SHORT
                ));
            }
        }
        warnings
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
        assert!(config.admin.admin_token().is_none());
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
        assert_eq!(config.delivery.io_uring, IoUring::Auto);
        assert_eq!(config.delivery.interval, Duration::ZERO);
        assert_eq!(config.message_log.max_messages, 10_000);
        assert_eq!(config.message_log.max_bytes, 64 << 20);
        assert!(!config.metrics.require_token && config.metrics.channels.is_empty());
        assert_eq!(config.telemetry.log, "info");
        assert_eq!(config.telemetry.format, LogFormat::Auto);
    }

    #[test]
    fn short_tokens_and_a_shared_listener_are_warned_of_without_the_token() {
        let mut config = Config::default();
        config.admin.read_token = Some(Secret::new("sixteen-or-more!"));
        assert_eq!(config.warnings(), [""; 0]);
        config.admin.token = Some(Secret::new("hunter2"));
        config.admin.read_token = Some(Secret::new("fifteen-or-less"));
        config.hub.tokens = vec![HubToken::new("t", Secret::new("hunter3"))];
        config.admin.listen = config.hub.listen.into();
        config.validate().unwrap();
        let warnings = config.warnings();
        for (warning, about) in
            warnings.iter().zip(["127.0.0.1:4567", "owner's", "for looking", "\"t\" in hub.tokens"])
        {
            assert!(warning.contains(about), "{warning}");
            assert!(!warning.contains("hunter"), "{warning}");
        }
        assert_eq!(warnings.len(), 4);
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
