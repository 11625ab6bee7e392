//! `[message_log]`: how much the message log keeps.

use serde::{Deserialize, Serialize};

use super::{
    LimitsConfig,
    error::Problem,
    units::{self, show_bytes},
};

/// What an entry is charged beside its JSON event, in bytes.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// How much the message log keeps; beyond either bound the oldest messages go.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageLogConfig {
    /// Messages kept: 1 to 10,000,000.
    #[serde(deserialize_with = "units::count")]
    pub max_messages: usize,
    /// Bytes kept, each message charged its JSON event and 256 more; room for the largest message
    /// at least.
    #[serde(with = "units::size")]
    pub max_bytes: usize,
}

impl MessageLogConfig {
    pub(super) fn validate(&self, limits: &LimitsConfig, problems: &mut Vec<Problem>) {
        problems.extend(units::within(
            "message_log.max_messages",
            self.max_messages,
            1,
            10_000_000,
            |value| value.to_string(),
        ));
        let least = limits.max_message_bytes.saturating_add(ENTRY_OVERHEAD_BYTES);
        if self.max_bytes < least {
            let text = format!(
                "is {}; it must be at least {}, so that the log can hold a message of \
                 limits.max_message_bytes ({}) and {ENTRY_OVERHEAD_BYTES} bytes beside it",
                show_bytes(self.max_bytes),
                show_bytes(least),
                show_bytes(limits.max_message_bytes),
            );
            problems.push(
                Problem::new("message_log.max_bytes", text).beside("limits.max_message_bytes"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_log_has_room_for_the_largest_message() {
        let mut config = Config::default();
        config.message_log.max_bytes = config.limits.max_message_bytes + 256;
        config.message_log.max_messages = 1;
        config.validate().unwrap();
        config.message_log.max_bytes -= 1;
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("message_log.max_bytes"), "{error}");
        assert!(error.contains("at least 131328"), "{error}");
    }

    #[test]
    fn a_log_of_no_messages_is_refused() {
        let mut config = Config::default();
        config.message_log.max_messages = 0;
        let error = config.validate().unwrap_err().to_string();
        assert!(
            error.contains("message_log.max_messages is 0; allowed are 1 to 10000000"),
            "{error}"
        );
    }
}
