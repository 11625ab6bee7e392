//! `[delivery]`: how what is queued for clients is written to their sockets.

use serde::{Deserialize, Deserializer, Serialize, de};
use std::time::Duration;

use super::{
    error::Problem,
    units::{self, Spelled, show_duration},
};

/// The longest pause between two passes: a turn of the game takes half of it.
const MOST_INTERVAL: Duration = Duration::from_millis(100);

/// How what is queued for clients is written to their sockets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryConfig {
    /// Whether many writes are made by one system call.
    pub io_uring: IoUring,
    /// Least time between two passes of writing, 0 to 100 ms; what is queued meanwhile leaves
    /// together.
    #[serde(with = "units::duration")]
    pub interval: Duration,
}

/// Whether Linux's io_uring is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IoUring {
    /// Where a test at the start shows that it can be.
    Auto,
    /// Yes; without it the program does not start.
    On,
    /// No.
    Off,
}

impl IoUring {
    const ALL: [(&str, Self); 3] = [("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)];
}

impl<'de> Deserialize<'de> for IoUring {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Spelled::deserialize(deserializer)?.text;
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, wanted)| *wanted).ok_or_else(
            || {
                de::Error::custom(format_args!(
                    "{} is none of auto, on and off",
                    units::quoted(&text)
                ))
            },
        )
    }
}

impl DeliveryConfig {
    pub(super) fn validate(&self, problems: &mut Vec<Problem>) {
        problems.extend(units::within(
            "delivery.interval",
            self.interval,
            Duration::ZERO,
            MOST_INTERVAL,
            show_duration,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_pause_of_a_tenth_of_a_second_is_the_longest() {
        let mut config = Config::default();
        config.delivery.interval = MOST_INTERVAL;
        config.validate().unwrap();
        config.delivery.interval += Duration::from_nanos(1);
        let error = config.validate().unwrap_err().to_string();
        assert!(
            error.contains("delivery.interval is 100ms 1ns; allowed are 0s to 100ms"),
            "{error}"
        );
    }
}
