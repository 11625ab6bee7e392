//! `[telemetry]`: what the program logs and how it looks.
//!
//! The filter is checked here and used by [`crate::telemetry`].

use serde::{Deserialize, Deserializer, Serialize, de};
use tracing_subscriber::EnvFilter;

use super::{
    error::Problem,
    units::{self, Spelled},
};

/// What the program says about itself, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Which log lines are written: a level, and `TARGET=LEVEL` for single modules, separated by
    /// commas, as in `info,skynet::gateway=debug`.
    #[serde(deserialize_with = "units::text")]
    pub log: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people, in colour when standard error is a terminal.
    Auto,
    /// For people, never in colour.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    const ALL: [(&str, Self); 3] =
        [("auto", Self::Auto), ("human", Self::Human), ("json", Self::Json)];
}

impl<'de> Deserialize<'de> for LogFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Spelled::deserialize(deserializer)?.text;
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, format)| *format).ok_or_else(
            || {
                de::Error::custom(format_args!(
                    "{} is not a format; allowed are auto, human and json",
                    units::quoted(&text)
                ))
            },
        )
    }
}

impl TelemetryConfig {
    /// The filter that `log` describes.
    ///
    /// # Errors
    ///
    /// A sentence about the first directive that cannot be used.
    pub(crate) fn filter(&self) -> Result<EnvFilter, String> {
        let directives: Vec<_> = self.log.split(',').map(str::trim).collect();
        for directive in &directives {
            check_directive(directive)?;
        }
        EnvFilter::builder().with_regex(false).parse(directives.join(",")).map_err(|error| {
            format!("{} is not a log filter: {error}; {ALLOWED}", units::quoted(&self.log))
        })
    }

    pub(super) fn validate(&self, problems: &mut Vec<Problem>) {
        if let Err(text) = self.filter() {
            problems.push(Problem::new("telemetry.log", text));
        }
    }
}

const ALLOWED: &str = "allowed are off, error, warn, info, debug and trace, and TARGET=LEVEL for \
                       single modules after a comma, such as info,skynet::gateway=debug";

/// Refuses a word that is not a level: the filter itself would take `inof` for the name of a module
/// and silence everything else.
fn check_directive(directive: &str) -> Result<(), String> {
    let (target, level) = match directive.rsplit_once('=') {
        Some((target, level)) => (target, level),
        None => ("-", directive),
    };
    // What is in brackets selects spans by their fields and has a grammar of its own.
    let of_spans = directive.contains(['[', ']', '{', '}']);
    let known = ["off", "error", "warn", "info", "debug", "trace"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(level));
    if of_spans || (known && !target.trim().is_empty()) {
        Ok(())
    } else {
        Err(format!("{} is not a log level; {ALLOWED}", units::quoted(directive)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(log: &str) -> Result<String, String> {
        let config = TelemetryConfig { log: log.into(), format: LogFormat::Auto };
        config.filter().map(|filter| filter.to_string())
    }

    #[test]
    fn the_level_can_be_set_for_each_module() {
        assert_eq!(filter("info").unwrap(), "info");
        assert_eq!(filter("OFF").unwrap(), "off");
        let both = filter("warn, skynet::gateway=debug").unwrap();
        assert!(both.contains("skynet::gateway=debug") && both.contains("warn"), "{both}");
        assert!(filter("info,[session{client=7}]=trace").is_ok());
    }

    #[test]
    fn a_misspelt_level_is_refused_and_not_taken_for_a_module() {
        for log in ["inof", "", "info,", "info,skynet", "skynet=loud", "=info", "info,,warn", "["] {
            assert!(filter(log).is_err(), "{log:?} was accepted");
        }
        let error = filter("info,skynet=loud").unwrap_err();
        assert!(error.starts_with("\"skynet=loud\" is not a log level"), "{error}");
    }
}
