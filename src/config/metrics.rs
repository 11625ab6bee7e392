//! `[metrics]`: who may see the metrics, and which channels are counted one by one.

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{
    AdminConfig, HubConfig, LimitsConfig, admin,
    error::Problem,
    lists,
    units::{self, Spelled},
};

/// Most channels that can be listed: each has three series of its own.
const MAX_CHANNELS: usize = 100;

/// What the metrics show, and to whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// Whether a token opens the metrics on a listener of the owner's own. On a shared one it
    /// always does.
    #[serde(deserialize_with = "units::switch")]
    pub require_token: bool,
    /// Channels that are counted one by one: at most 100, no two the same. Their names are seen by
    /// whoever sees the metrics, so a token must be asked for.
    #[serde(deserialize_with = "channels")]
    pub channels: Vec<ListedChannel>,
}

/// A channel that the configuration names.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ListedChannel {
    /// The channel whose name is this text.
    Text(String),
    /// The channel whose name is this number.
    Number(f64),
}

impl MetricsConfig {
    pub(super) fn validate(
        &self,
        hub: &HubConfig,
        admin: &AdminConfig,
        limits: &LimitsConfig,
        problems: &mut Vec<Problem>,
    ) {
        let mut problem = |text: String, beside| {
            problems.push(Problem::new("metrics.channels", text).beside(beside));
        };
        let count = self.channels.len();
        if count > MAX_CHANNELS {
            problem(
                format!("lists {count} channels; at most {MAX_CHANNELS} are allowed"),
                "metrics.channels",
            );
        }
        let open = !self.require_token && !admin::shared(hub.listen, &admin.listen);
        if count > 0 && open {
            problem(
                "names channels, and anybody who can reach the admin listener could read the names \
                 in /metrics; set metrics.require_token = true, or list none"
                    .to_owned(),
                "metrics.require_token",
            );
        }
        for (index, channel) in self.channels.iter().enumerate().take(MAX_CHANNELS) {
            match channel {
                ListedChannel::Text(text) if text.len() > limits.max_channel_name_bytes => {
                    problem(
                        format!(
                            "holds {}, which has {} bytes; at most {} are allowed",
                            units::quoted(text),
                            text.len(),
                            limits.max_channel_name_bytes
                        ),
                        "limits.max_channel_name_bytes",
                    );
                }
                ListedChannel::Number(number) if !number.is_finite() => {
                    problem(
                        format!("holds {number}, which names no channel; give a finite number"),
                        "metrics.channels",
                    );
                }
                _ if self.channels[..index].contains(channel) => {
                    let shown = match channel {
                        ListedChannel::Text(text) => units::quoted(text),
                        ListedChannel::Number(number) => number.to_string(),
                    };
                    problem(format!("holds {shown} twice; list it once"), "metrics.channels");
                }
                _ => {}
            }
        }
    }
}

/// Reads a list of channels, each a text or a number.
fn channels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ListedChannel>, D::Error> {
    lists::deserialize(deserializer)?.into_iter().map(listed_channel).collect()
}

fn listed_channel<E: de::Error>(name: Spelled) -> Result<ListedChannel, E> {
    if name.is_text {
        return Ok(ListedChannel::Text(name.text));
    }
    let number = name.text.parse().map(ListedChannel::Number);
    number.map_err(|_| {
        E::custom(format_args!(
            "holds {}, which is no name of a channel; write texts in quotes, and numbers",
            units::quoted(&name.text)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn listing(channels: Vec<ListedChannel>) -> Config {
        let mut config = Config::default();
        config.metrics.require_token = true;
        config.metrics.channels = channels;
        config
    }

    fn text(name: &str) -> ListedChannel {
        ListedChannel::Text(name.to_owned())
    }

    #[test]
    fn channels_are_named_only_behind_a_token() {
        let mut config = listing(vec![text("chat")]);
        config.validate().unwrap();
        config.metrics.require_token = false;
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("set metrics.require_token = true"), "{error}");
        config.admin.listen = config.hub.listen.into();
        config.validate().unwrap();
    }

    #[test]
    fn channels_are_a_list_or_a_text_with_commas() {
        let read = |json: &str| {
            channels(&mut serde_json::Deserializer::from_str(json)).map_err(|e| e.to_string())
        };
        let five = || ListedChannel::Number(5.0);
        assert_eq!(read(r#"["5", 5, 5.0]"#).unwrap(), [text("5"), five(), five()]);
        let all = [text("chat"), five(), text("5"), text("-x")];
        assert_eq!(read(r#""chat, 5,\"5\", -x""#).unwrap(), all);
        assert_eq!(read(r#"" ""#).unwrap(), []);
        assert!(read("[true]").unwrap_err().contains("\"true\", which is no name of a channel"));
        assert!(read("[[1]]").unwrap_err().contains("is a list here"));
        assert!(read("7").unwrap_err().contains("a list of names"));
    }

    #[test]
    fn a_text_and_a_number_that_look_alike_are_two_channels() {
        listing(vec![text("5"), ListedChannel::Number(5.0)]).validate().unwrap();
    }

    #[test]
    fn names_that_no_channel_has_are_refused() {
        for (channels, expected) in [
            (vec![text("a"), text("a")], "holds \"a\" twice"),
            (vec![ListedChannel::Number(0.0), ListedChannel::Number(-0.0)], "holds -0 twice"),
            (vec![ListedChannel::Number(f64::NAN)], "holds NaN, which names no channel"),
            (vec![text(&"é".repeat(128))], "which has 256 bytes; at most 255 are allowed"),
            ((0..101).map(|n| text(&n.to_string())).collect(), "lists 101 channels; at most 100"),
        ] {
            let error = listing(channels).validate().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
