//! The effective configuration: what applies, and where each value came from.
//!
//! Its text is TOML that reads back to the same settings, except for tokens: those are masked.

use std::{fmt, path::Path};

use super::{Config, error::Origin, settings::Settings};

/// Every setting with its value and its origin, in the order of `config.toml`.
#[derive(Debug, Clone)]
pub struct Effective {
    settings: Vec<Setting>,
}

/// One line of the effective configuration.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The section, such as `limits` or `hub.tls`.
    pub section: &'static str,
    /// The name within the section, such as `max_clients`.
    pub name: &'static str,
    /// The value as TOML, a secret masked; `None` for an optional setting that is not set.
    pub value: Option<String>,
    /// Where it came from: `default`, a file, a variable, a flag. `None` when it is not set.
    pub source: Option<String>,
    /// The value that the next start would give it, where that differs and is known; `unset` where
    /// it would have none.
    pub after_restart: Option<String>,
}

impl Setting {
    /// What the owner wants: what waits for a restart, else what applies.
    pub(super) fn wanted(&self) -> &str {
        self.after_restart.as_deref().or(self.value.as_deref()).unwrap_or(UNSET)
    }
}

/// What stands for the value of a setting that has none.
const UNSET: &str = "unset";

impl Effective {
    pub(super) fn new(
        config: &Config,
        settings: &Settings,
        origin: impl Fn(&str) -> Option<Origin>,
    ) -> Self {
        let table = toml::Table::try_from(config)
            .expect("every setting is a text, a number or absent, and was read from such a one");
        let settings = settings
            .iter()
            .map(|(section, name)| {
                let mut parts = section.split('.').skip(1).chain([name]);
                let top = section.split('.').next().and_then(|top| table.get(top));
                let value = parts.try_fold(top, |within, part| Some(within?.get(part)));
                let value = value.flatten();
                Setting {
                    section,
                    name,
                    value: value.map(toml::Value::to_string),
                    source: value
                        .and_then(|_| origin(&format!("{section}.{name}")))
                        .map(|origin| origin.to_string()),
                    after_restart: None,
                }
            })
            .collect();
        Self { settings }
    }

    /// What applies when `new` has been read and the settings that `wait` keep their values of
    /// `old` until a restart.
    pub(super) fn until_restart(old: &Self, new: Self, wait: impl Fn(&str) -> bool) -> Self {
        let pairs = old.settings.iter().zip(new.settings);
        let settings = pairs.map(|(old, new)| {
            if !wait(&format!("{}.{}", new.section, new.name)) || old.value == new.value {
                return new;
            }
            let after_restart = Some(new.value.unwrap_or_else(|| UNSET.to_owned()));
            Setting { after_restart, ..old.clone() }
        });
        Self { settings: settings.collect() }
    }

    /// Puts the value that applies in the place of the one that was asked for; `source` says why.
    pub(crate) fn put(&mut self, key: &str, value: String, source: &str) {
        let is_it = |of: &&mut Setting| key.split('.').eq([of.section, of.name]);
        if let Some(setting) = self.settings.iter_mut().find(is_it) {
            setting.value = Some(value);
            setting.source = Some(source.to_owned());
        }
    }

    /// Whether a value that applies came from this file.
    pub(super) fn has_settings_of(&self, path: &Path) -> bool {
        let file = Origin::File { path: path.to_owned(), line: 1 }.to_string();
        self.settings.iter().any(|setting| setting.source.as_ref() == Some(&file))
    }

    /// The settings, in the order of `config.toml`.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("# What applies, and where each value came from.\n")?;
        let mut section = "";
        for setting in &self.settings {
            if setting.section != section {
                section = setting.section;
                write!(f, "\n[{section}]\n")?;
            }
            match (&setting.value, &setting.source) {
                (Some(value), Some(source)) => {
                    writeln!(f, "{} = {value}  # {source}", setting.name)?;
                }
                _ => writeln!(f, "# {} is not set", setting.name)?,
            }
        }
        Ok(())
    }
}
