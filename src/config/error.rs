//! What is wrong with a configuration, said to the owner of a server.
//!
//! One error type for everything between the command line and a usable [`Config`](super::Config).
//! Each problem names the setting, the place where its value was given, and what is allowed. No
//! message ever holds a secret.

use std::{error::Error, fmt, path::PathBuf};

use figment::{Metadata, Source};

/// Why a configuration cannot be used.
#[derive(Debug, Clone)]
pub enum ConfigError {
    /// The file that was asked for cannot be read.
    Unreadable {
        /// The file, as it was given.
        path: PathBuf,
        /// Why it cannot be read.
        reason: String,
    },
    /// The file is not TOML.
    NotToml {
        /// The file, as it was given.
        path: PathBuf,
        /// The line at which reading stopped, from 1.
        line: usize,
        /// The character in that line, from 1.
        column: usize,
        /// What was expected there.
        reason: String,
    },
    /// It is to be read again and was made in code.
    NoSources,
    /// Settings are unknown, malformed, or do not fit each other.
    Invalid(Vec<Problem>),
}

/// What is wrong with one setting.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The setting as it is named in a file, such as `limits.max_clients`.
    pub key: String,
    /// Where the value was given, when that is known.
    pub origin: Option<Origin>,
    /// What is wrong and what is allowed; reads on from the key.
    pub text: String,
    /// Another setting that the problem is about.
    pub(super) beside: Option<&'static str>,
}

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the embedded `config.toml` has it.
    Default,
    /// A configuration file.
    File {
        /// The file, as it was given.
        path: PathBuf,
        /// The line of the setting, from 1.
        line: usize,
    },
    /// An environment variable, by its name.
    Variable(String),
    /// A flag of the command line, such as `--listen`.
    Flag(String),
}

impl Problem {
    pub(crate) fn new(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { key: key.into(), origin: None, text: text.into(), beside: None }
    }

    /// Names another setting that the problem depends on.
    pub(super) fn beside(mut self, key: &'static str) -> Self {
        self.beside = Some(key);
        self
    }

    /// Says where the value was given.
    pub(super) fn at(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }
}

impl ConfigError {
    /// `Ok` when there is nothing to complain about.
    pub(super) fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self::Invalid(problems)) }
    }
}

impl ConfigError {
    /// The same in one line, for a log.
    pub fn in_one_line(&self) -> String {
        match self {
            Self::Invalid(problems) if problems.len() > 1 => {
                let told =
                    (1..).zip(problems).map(|(number, problem)| format!("({number}) {problem}"));
                format!("{} problems: {}", problems.len(), told.collect::<Vec<_>>().join(" "))
            }
            other => other.to_string(),
        }
    }
}

impl Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, reason } => {
                let path = plain(&path.to_string_lossy());
                write!(f, "the configuration file {path} cannot be read: {reason}")
            }
            Self::NotToml { path, line, column, reason } => {
                let path = plain(&path.to_string_lossy());
                write!(f, "{path}, line {line}, column {column}: this is not TOML: {reason}")
            }
            Self::NoSources => f.write_str(
                "this configuration was made in code, so there is nothing that could be read again",
            ),
            Self::Invalid(problems) => match problems.as_slice() {
                [problem] => problem.fmt(f),
                problems => {
                    write!(f, "the configuration has {} problems:", problems.len())?;
                    problems.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
                }
            },
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plain(&self.key))?;
        if let Some(origin) = &self.origin {
            write!(f, " ({})", origin.place())?;
        }
        write!(f, " {}", self.text)
    }
}

impl Origin {
    /// The place to look at: like the display, and the line of a file.
    pub(super) fn place(&self) -> String {
        match self {
            Self::File { line, .. } => format!("{self}, line {line}"),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, .. } => f.write_str(&plain(&path.to_string_lossy())),
            Self::Variable(name) | Self::Flag(name) => f.write_str(&plain(name)),
        }
    }
}

/// Replaces what could break a line or upset a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

const DEFAULT: &str = "default";
const LINE: &str = "line ";
const VARIABLE: &str = "variable";
const FLAG: &str = "flag";

impl Origin {
    /// How figment carries this origin through a merge.
    pub(super) fn to_metadata(&self) -> Metadata {
        match self {
            Self::Default => Metadata::named(DEFAULT),
            Self::File { path, line } => {
                Metadata::from(format!("{LINE}{line}"), Source::File(path.clone()))
            }
            Self::Variable(name) => Metadata::from(VARIABLE, Source::Custom(name.clone())),
            Self::Flag(name) => Metadata::from(FLAG, Source::Custom(name.clone())),
        }
    }

    /// Reads back what [`Origin::to_metadata`] wrote.
    pub(super) fn from_metadata(metadata: &Metadata) -> Self {
        match &metadata.source {
            Some(Source::File(path)) => {
                let line = metadata.name.strip_prefix(LINE).and_then(|line| line.parse().ok());
                Self::File { path: path.clone(), line: line.unwrap_or(1) }
            }
            Some(Source::Custom(name)) if metadata.name == FLAG => Self::Flag(name.clone()),
            Some(Source::Custom(name)) => Self::Variable(name.clone()),
            _ => Self::Default,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_survives_the_way_through_a_layers_metadata() {
        for origin in [
            Origin::Default,
            Origin::File { path: "a folder/skynet.toml".into(), line: 17 },
            Origin::Variable("SKYNET_HUB__LISTEN".into()),
            Origin::Flag("--listen".into()),
        ] {
            assert_eq!(Origin::from_metadata(&origin.to_metadata()), origin);
        }
    }

    #[test]
    fn several_problems_are_several_lines_for_a_terminal_and_one_for_a_log() {
        let problems = vec![Problem::new("a.b", "is wrong"), Problem::new("c.d", "is too")];
        let error = ConfigError::Invalid(problems);
        assert_eq!(error.to_string().lines().count(), 3);
        assert_eq!(error.in_one_line(), "2 problems: (1) a.b is wrong (2) c.d is too");
    }

    #[test]
    fn names_from_outside_cannot_break_the_line_or_the_terminal() {
        let problem = Problem::new("hub.\u{1b}[2Jx\ny", "is wrong")
            .at(Origin::File { path: "a\nb".into(), line: 1 });
        assert_eq!(problem.to_string(), "hub.�[2Jx�y (a�b, line 1) is wrong");
    }
}
