//! What becomes of each setting when the configuration is read again while the program runs.
//!
//! One table, [`RELOADS`], says it for every setting; a test fails while one is missing. Reading
//! again is all or nothing: what is wrong anywhere leaves everything as it was. Nothing is applied
//! here.

use std::fmt;

use super::{Config, ConfigError, Effective, Loaded, Problem, Secret, load::load_again};

/// When a changed setting takes effect.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// At once, for everybody.
    AtOnce,
    /// For clients that connect from then on.
    Connecting,
    /// At the next start. Until then the value of before is kept, by this function from the
    /// configuration in force (second) into the new one (first).
    Restart(fn(&mut Config, &Config)),
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtOnce => "at once",
            Self::Connecting => "new connections",
            Self::Restart(_) => "restart",
        })
    }
}

use Takes::{AtOnce, Connecting, Restart};

/// Every setting, when a change of it takes effect, and what else there is to say.
pub const RELOADS: &[(&str, Takes, &str)] = &[
    ("hub.listen", Restart(|new, old| new.hub.listen = old.hub.listen), ""),
    ("hub.public_url", AtOnce, ""),
    ("hub.trusted_proxies", AtOnce, ""),
    ("hub.allowed_origins", Connecting, ""),
    ("hub.proxy_protocol", Connecting, ""),
    ("hub.require_token", Connecting, "who is there without a token stays"),
    (
        "hub.tokens",
        Connecting,
        "who is there by a token that is gone or another now is closed with 4502 at once; changed \
         rights meet those who connect from then on",
    ),
    (
        "hub.tls.certificate",
        Restart(|new, old| new.hub.tls.certificate.clone_from(&old.hub.tls.certificate)),
        "the files are read again; who connects from then on gets what they hold",
    ),
    ("hub.tls.key", Restart(|new, old| new.hub.tls.key.clone_from(&old.hub.tls.key)), ""),
    ("guests.read", Connecting, ""),
    ("guests.write", Connecting, ""),
    ("guests.hear_all", Connecting, ""),
    ("guests.log", Connecting, ""),
    ("admin.listen", Restart(|new, old| new.admin.listen.clone_from(&old.admin.listen)), ""),
    ("admin.token", AtOnce, "streams by a token that is gone end"),
    ("admin.token_file", AtOnce, "the file is read again"),
    ("admin.read_token", AtOnce, "streams by a token that is gone end"),
    ("admin.read_token_file", AtOnce, "the file is read again"),
    ("admin.state_dir", AtOnce, "the token that is kept there is read again"),
    ("admin.allowed_hosts", AtOnce, ""),
    (
        "admin.bans_file",
        Restart(|new, old| new.admin.bans_file.clone_from(&old.admin.bans_file)),
        "a file that you have changed is read again, and whom it bans is closed with 4501 at once",
    ),
    (
        "admin.tls.certificate",
        Restart(|new, old| new.admin.tls.certificate.clone_from(&old.admin.tls.certificate)),
        "the files are read again; who connects from then on gets what they hold",
    ),
    ("admin.tls.key", Restart(|new, old| new.admin.tls.key.clone_from(&old.admin.tls.key)), ""),
    ("limits.max_clients", AtOnce, "nobody is closed; nobody comes in until there are fewer"),
    ("limits.max_channels_per_client", AtOnce, "no channel is closed; no further one is opened"),
    ("limits.total_open_channels", AtOnce, "no channel is closed; no further one is opened"),
    (
        "limits.max_channel_name_bytes",
        AtOnce,
        "channels with longer names stay while they are open",
    ),
    (
        "limits.max_message_bytes",
        Restart(|new, old| new.limits.max_message_bytes = old.limits.max_message_bytes),
        "the log holds messages of the size that was allowed when they came",
    ),
    ("limits.max_frame_bytes", Connecting, "bodies of the API at once"),
    (
        "limits.max_queue_bytes",
        AtOnce,
        "whose queue is longer is closed with 4000 at its next event",
    ),
    ("limits.total_queue_bytes", AtOnce, "the longest queues go first, with 4000"),
    ("limits.total_partial_bytes", AtOnce, "who keeps most goes first, with 1009"),
    ("limits.messages_per_second", AtOnce, ""),
    ("limits.message_burst", AtOnce, ""),
    ("limits.handshake_timeout", Connecting, ""),
    ("limits.ping_interval", AtOnce, ""),
    (
        "limits.max_clients_per_address",
        Connecting,
        "who connected while there was no such limit is not counted",
    ),
    ("limits.connections_per_second_per_address", Connecting, ""),
    ("limits.connection_burst_per_address", Connecting, ""),
    ("limits.exempt_addresses", Connecting, ""),
    ("delivery.io_uring", Restart(|new, old| new.delivery.io_uring = old.delivery.io_uring), ""),
    ("delivery.interval", Restart(|new, old| new.delivery.interval = old.delivery.interval), ""),
    ("message_log.max_messages", AtOnce, "the oldest messages go"),
    ("message_log.max_bytes", AtOnce, "the oldest messages go"),
    ("metrics.require_token", AtOnce, ""),
    ("metrics.channels", AtOnce, "a channel that stays in the list keeps its counts"),
    ("telemetry.log", AtOnce, "a filter set by the API is kept unless this setting changes"),
    ("telemetry.format", Restart(|new, old| new.telemetry.format = old.telemetry.format), ""),
];

/// A configuration read again, of which nothing is applied yet.
#[derive(Debug)]
pub struct Reread {
    /// What is to apply now: what only a restart changes has its value of before.
    pub loaded: Loaded,
    /// The settings that differ from what was read before, in the order of `config.toml`.
    pub changed: Vec<String>,
    /// Those of them that can take effect.
    pub applied: Vec<String>,
    /// All settings that wait for a restart, since this reading or an earlier one.
    pub needs_restart: Vec<String>,
}

impl Loaded {
    /// Reads the configuration again from where it came from: the file, the files of tokens, the
    /// environment and flags of this process. Blocks on the files.
    ///
    /// # Errors
    ///
    /// As those of [`load()`](super::load()); the configuration was made in code; its file is none that
    /// could be read twice, or has lost all its settings; or what can take effect now does not fit the
    /// values that only a restart changes.
    pub fn reread(&self) -> Result<Reread, ConfigError> {
        let sources = self.sources.as_ref().ok_or(ConfigError::NoSources)?;
        let mut loaded = load_again(sources, &self.effective)?;
        let changed = loaded.differs_from(self);
        for keep in RELOADS.iter().filter_map(|(key, ..)| keeper(key)) {
            keep(&mut loaded.config, &self.config);
        }
        loaded.effective = Effective::until_restart(&self.effective, loaded.effective, |key| {
            keeper(key).is_some()
        });
        let waiting = loaded.effective.settings().iter().filter(|s| s.after_restart.is_some());
        let needs_restart: Vec<_> = waiting.map(|s| format!("{}.{}", s.section, s.name)).collect();
        loaded.config.validate().map_err(|error| only_after_a_restart(error, &needs_restart))?;
        let applied = changed.iter().filter(|key| keeper(key).is_none()).cloned().collect();
        Ok(Reread { loaded, changed, applied, needs_restart })
    }

    /// The settings that an owner wants otherwise than in `old`, in the order of `config.toml`.
    pub fn differs_from(&self, old: &Self) -> Vec<String> {
        let pairs = old.effective.settings().iter().zip(self.effective.settings());
        let changed = pairs.filter_map(|(before, now)| {
            let key = format!("{}.{}", now.section, now.name);
            let differs =
                before.wanted() != now.wanted() || secret_differs(&key, &old.config, &self.config);
            differs.then_some(key)
        });
        changed.collect()
    }
}

/// What keeps the value of a setting that only a restart changes.
fn keeper(key: &str) -> Option<fn(&mut Config, &Config)> {
    RELOADS.iter().find(|(of, ..)| *of == key).and_then(|(_, takes, _)| match takes {
        Restart(keep) => Some(*keep),
        AtOnce | Connecting => None,
    })
}

/// Whether a setting stands for another secret than before, which its shown value does not tell.
fn secret_differs(key: &str, old: &Config, new: &Config) -> bool {
    let differs = |old: Option<&Secret>, new: Option<&Secret>| {
        old.map(Secret::expose) != new.map(Secret::expose)
    };
    match key {
        "admin.token" => differs(old.admin.token.as_ref(), new.admin.token.as_ref()),
        "admin.read_token" => differs(old.admin.read_token.as_ref(), new.admin.read_token.as_ref()),
        "admin.token_file" => {
            new.admin.token_file.is_some()
                && differs(old.admin.admin_token(), new.admin.admin_token())
        }
        "admin.read_token_file" => {
            new.admin.read_token_file.is_some()
                && differs(old.admin.read_token(), new.admin.read_token())
        }
        "hub.tokens" => {
            let (old, new) = (&old.hub.tokens, &new.hub.tokens);
            old.len() != new.len()
                || old.iter().zip(new).any(|(old, new)| differs(old.secret(), new.secret()))
        }
        _ => false,
    }
}

/// What does not fit the values of before may fit those of the file, of which some wait.
fn only_after_a_restart(error: ConfigError, waiting: &[String]) -> ConfigError {
    let ConfigError::Invalid(problems) = error else { return error };
    let waiting = waiting.join(", ");
    let told = problems.into_iter().map(|problem| {
        let text = format!(
            "{}; the file is right, but only a restart changes {waiting}: restart to apply it all",
            problem.text
        );
        Problem { text, ..problem }
    });
    ConfigError::Invalid(told.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HubToken, Sources, load, settings::Settings};
    use std::path::Path;

    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
    }

    /// A configuration of a file, and the file, to be changed.
    fn loaded(text: &str) -> (Loaded, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), text);
        let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
        (load(&sources).unwrap(), file)
    }

    #[test]
    fn every_setting_is_in_the_table_once_and_in_the_order_of_the_file() {
        let known: Vec<_> = Settings::new().iter().map(|(s, name)| format!("{s}.{name}")).collect();
        let listed: Vec<_> = RELOADS.iter().map(|(key, ..)| (*key).to_owned()).collect();
        assert_eq!(listed, known);
    }

    #[test]
    fn the_table_of_the_documentation_is_this_one() {
        let page = include_str!("../../docs/reload.md");
        let table = page.split("| setting | takes effect |").nth(1).unwrap_or_default();
        let table = table.split("\n\n").next().unwrap_or_default();
        let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<_> = RELOADS
            .iter()
            .map(|(key, takes, note)| {
                format!("| `{key}` | {takes} | {note} |").replace("  |", " |")
            })
            .collect();
        assert_eq!(rows, expected, "docs/reload.md:\n{}", expected.join("\n"));
    }

    #[test]
    fn what_can_take_effect_is_told_from_what_waits_and_the_old_value_is_kept() {
        let (before, file) = loaded("[limits]\nmax_clients = 5\n");
        write(
            file.path(),
            "[hub]\nlisten = \"127.0.0.1:9\"\n[limits]\nmax_clients = 6\nping_interval = \"1s\"\n",
        );
        let Reread { loaded, changed, applied, needs_restart } = before.reread().unwrap();
        assert_eq!(changed.len(), 3);
        assert_eq!(applied, ["limits.max_clients", "limits.ping_interval"]);
        assert_eq!(needs_restart, ["hub.listen"]);
        assert_eq!(loaded.config.limits.max_clients, 6);
        assert_eq!(loaded.config.hub.listen, before.config.hub.listen);
        let listen = &loaded.effective.settings()[0];
        assert_eq!(listen.value.as_deref(), Some("\"127.0.0.1:4567\""));
        assert_eq!(listen.source.as_deref(), Some("default"));
        assert_eq!(listen.after_restart.as_deref(), Some("\"127.0.0.1:9\""));
        // It waits on, is no change any more, and is one when it is taken back.
        let again = loaded.reread().unwrap();
        assert!(again.changed.is_empty(), "{again:?}");
        assert_eq!(again.needs_restart, ["hub.listen"]);
        write(file.path(), "[limits]\nmax_clients = 6\nping_interval = \"1s\"\n");
        let back = again.loaded.reread().unwrap();
        assert_eq!(back.changed, ["hub.listen"]);
        assert!(back.applied.is_empty() && back.needs_restart.is_empty(), "{back:?}");
    }

    #[test]
    fn a_bad_file_is_refused_as_it_is_at_the_start() {
        let (before, file) = loaded("");
        write(file.path(), "[limits]\nmax_clients = 0\nmax_client = 1\n");
        let again = before.reread().unwrap_err().to_string();
        let sources = before.sources.as_deref().unwrap();
        assert_eq!(again, load(sources).unwrap_err().to_string());
        assert!(again.contains("limits.max_clients") && again.contains("line 2"), "{again}");
        let in_code = Loaded::from(Config::default()).reread().unwrap_err().to_string();
        assert!(in_code.contains("made in code"), "{in_code}");
    }

    #[test]
    fn a_file_that_has_lost_its_settings_is_refused_as_the_defaults_would_open_the_hub() {
        let (before, file) = loaded("[guests]\nread = []\n");
        for lost in ["", "# [guests]\n", "[guests]\n[hub]\n"] {
            write(file.path(), lost);
            let error = before.reread().unwrap_err().to_string();
            assert!(
                error.contains("holds no setting any more; if that is meant, restart"),
                "{error}"
            );
        }
        write(file.path(), "[limits]\nmax_clients = 5\n");
        assert_eq!(before.reread().unwrap().applied, ["guests.read", "limits.max_clients"]);
        // One that never held any is as it was.
        let (empty, _file) = loaded("# Nothing yet.\n");
        assert!(empty.reread().unwrap().changed.is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn what_can_be_read_once_alone_is_refused_when_it_is_to_be_read_again() {
        let path = std::path::PathBuf::from("/dev/null");
        let sources = Sources { file: Some(path), ..Sources::default() };
        let error = load(&sources).unwrap().reread().unwrap_err().to_string();
        assert!(error.ends_with("/dev/null cannot be read: it is not a regular file"), "{error}");
    }

    #[test]
    fn another_secret_is_a_change_though_it_looks_the_same() {
        let token = tempfile::NamedTempFile::new().unwrap();
        write(token.path(), "the-first-long-token");
        let text = |owner: &str, player: &str| {
            format!(
                "[admin]\ntoken = \"{owner}\"\nread_token_file = {:?}\n[[hub.tokens]]\nname = \
                 \"p\"\ntoken = \"{player}\"\n",
                token.path()
            )
        };
        let (before, file) = loaded(&text("owner-owner-owner", "player"));
        assert!(before.reread().unwrap().applied.is_empty());
        write(file.path(), &text("owner-owner-other", "other"));
        write(token.path(), "the-second-long-token");
        let after = before.reread().unwrap();
        assert_eq!(after.applied, ["hub.tokens", "admin.token", "admin.read_token_file"]);
        let shown = format!("{after:?}");
        assert!(!shown.contains("owner-owner-other") && !shown.contains("the-second"), "{shown}");
        let secret = after.loaded.config.hub.tokens[0].secret().map(Secret::expose);
        assert_eq!(secret, HubToken::new("p", Secret::new("other")).secret().map(Secret::expose));
    }

    #[test]
    fn what_fits_only_after_a_restart_changes_nothing() {
        let (before, file) = loaded("");
        let small = "[limits]\nmax_message_bytes = \"8KiB\"\nmax_queue_bytes = \"16KiB\"\n";
        write(file.path(), small);
        let error = before.reread().unwrap_err().to_string();
        assert!(error.contains("limits.max_queue_bytes is 16KiB"), "{error}");
        assert!(error.contains("only a restart changes limits.max_message_bytes"), "{error}");
    }
}
