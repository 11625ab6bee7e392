//! What clients may do: `[guests]` for those without a token, and the same four settings for each
//! entry of `[[hub.tokens]]`.
//!
//! Read and checked here; what a pattern meets is decided elsewhere.

use figment::value::Value;
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{
    LimitsConfig,
    error::Problem,
    lists,
    units::{self, Spelled},
};

/// Most patterns of a list.
const MAX_PATTERNS: usize = 100;

/// What is allowed in a list of patterns, in words for an error.
const ALLOWED: &str = "a list holds texts, in which * stands for any characters, numbers, and \
                       ranges of numbers, such as [\"public.*\", 5, [100, 199]]";

/// What a client may do. Whoever sets nothing allows everything.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RightsConfig {
    /// The channels it may read; all if absent.
    #[serde(default, deserialize_with = "patterns")]
    pub read: Option<Vec<ChannelPattern>>,
    /// The channels it may send to; all if absent.
    #[serde(default, deserialize_with = "patterns")]
    pub write: Option<Vec<ChannelPattern>>,
    /// Whether it may open `*`. [`RightsConfig::may_hear_all`] is what applies.
    #[serde(default, deserialize_with = "units::optional_switch")]
    pub hear_all: Option<bool>,
    /// Whether it may ask for the log; yes, if absent.
    #[serde(default, deserialize_with = "units::optional_switch")]
    pub log: Option<bool>,
}

/// One channel, or some that have something in common.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum ChannelPattern {
    /// The text channel of this name; with `*` in it, those whose name fits; `*` alone, every
    /// channel.
    Text(String),
    /// The number channel.
    Number(f64),
    /// The number channels between these two, both included.
    Range(f64, f64),
}

impl RightsConfig {
    /// Whether it may open `*`: as `hear_all` says, else if `read` allows every channel. So nobody
    /// for whom `read` is restricted reads more by a setting that was left out.
    pub fn may_hear_all(&self) -> bool {
        self.hear_all.unwrap_or_else(|| self.reads_every_channel())
    }

    /// Whether `read` allows every channel.
    fn reads_every_channel(&self) -> bool {
        let every = |pattern: &ChannelPattern| {
            matches!(pattern, ChannelPattern::Text(text)
                if !text.is_empty() && text.bytes().all(|byte| byte == b'*'))
        };
        self.read.as_ref().is_none_or(|list| list.iter().any(every))
    }

    /// Whether something is set that does not allow everything.
    pub(super) fn is_set(&self) -> bool {
        let Self { read, write, hear_all, log } = self;
        read.is_some() || write.is_some() || hear_all.is_some() || log.is_some()
    }

    /// Whether `read` is restricted to no purpose.
    pub(super) fn hears_more_than_it_reads(&self) -> bool {
        self.hear_all == Some(true) && !self.reads_every_channel()
    }

    /// Every list that cannot be used: its name, and what is wrong.
    pub(super) fn problems(&self, limits: &LimitsConfig) -> Vec<(&'static str, String)> {
        let lists = [("read", &self.read), ("write", &self.write)];
        let check = |(name, list): (&'static str, &Option<Vec<ChannelPattern>>)| {
            list.as_ref().and_then(|list| check(list, limits)).map(|text| (name, text))
        };
        lists.into_iter().filter_map(check).collect()
    }

    /// Checks `[guests]`.
    pub(super) fn validate_guests(&self, limits: &LimitsConfig, problems: &mut Vec<Problem>) {
        let found = self.problems(limits).into_iter();
        problems.extend(found.map(|(name, text)| {
            Problem::new(format!("guests.{name}"), text).beside("limits.max_channel_name_bytes")
        }));
    }
}

/// What is wrong with the patterns of a list.
fn check(list: &[ChannelPattern], limits: &LimitsConfig) -> Option<String> {
    if list.len() > MAX_PATTERNS {
        return Some(format!(
            "holds {} patterns; at most {MAX_PATTERNS} are allowed: let one with * stand for several",
            list.len()
        ));
    }
    let most = limits.max_channel_name_bytes;
    list.iter().enumerate().find_map(|(index, pattern)| {
        let what = match pattern {
            ChannelPattern::Text(text) if text.len() > most => format!(
                "{} has {} bytes; the name of a channel has at most {most} \
                 (limits.max_channel_name_bytes)",
                units::quoted(text),
                text.len()
            ),
            ChannelPattern::Number(n) if !n.is_finite() => {
                format!("{n} is no channel; a number must be finite")
            }
            ChannelPattern::Range(first, last) if !first.is_finite() || !last.is_finite() => {
                format!("[{first}, {last}] is no range of channels; both ends must be finite")
            }
            ChannelPattern::Range(first, last) if first > last => {
                format!("[{first}, {last}] holds no number; write the smaller end first")
            }
            _ => return None,
        };
        Some(format!("holds a problem in place {}: {what}", index + 1))
    })
}

/// Reads a list of patterns, or a text that spells one, as an environment variable does: as a file
/// does, or texts and numbers separated by commas.
///
/// # Errors
///
/// What is wrong; reads on from the name of the setting.
pub(super) fn read(value: &Value) -> Result<Vec<ChannelPattern>, String> {
    let no_list = || format!("is not a list; write it in brackets: {ALLOWED}");
    let spelled;
    let list = match value {
        Value::Array(_, list) => list,
        Value::String(_, text) if !text.trim_start().starts_with('[') => {
            return Ok(lists::between_commas(text).into_iter().map(separated).collect());
        }
        Value::String(_, text) => {
            let list: toml::Value = text.parse().map_err(|_| no_list())?;
            spelled = Value::serialize(list).map_err(|_| no_list())?;
            spelled.as_array().ok_or_else(no_list)?
        }
        _ => return Err(no_list()),
    };
    let pattern = |(index, value): (usize, &Value)| {
        value.deserialize().map_err(|_| {
            let number = index + 1;
            format!("holds neither a text, a number nor a range in place {number}; {ALLOWED}")
        })
    };
    list.iter().enumerate().map(pattern).collect()
}

/// A pattern that stands between commas.
fn separated(spelled: Spelled) -> ChannelPattern {
    match spelled.text.parse() {
        Ok(number) if !spelled.is_text => ChannelPattern::Number(number),
        _ => ChannelPattern::Text(spelled.text),
    }
}

fn patterns<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<ChannelPattern>>, D::Error> {
    let value = <Value as Deserialize>::deserialize(deserializer)?;
    read(&value).map(Some).map_err(de::Error::custom)
}

impl Serialize for ChannelPattern {
    /// As a file spells it: a whole number without a point.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Whole numbers up to here are exact.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        struct Number(f64);
        impl Serialize for Number {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if self.0.fract() == 0.0 && self.0.abs() <= EXACT {
                    serializer.serialize_i64(self.0 as i64)
                } else {
                    serializer.serialize_f64(self.0)
                }
            }
        }
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => Number(*number).serialize(serializer),
            Self::Range(first, last) => {
                let mut ends = serializer.serialize_seq(Some(2))?;
                ends.serialize_element(&Number(*first))?;
                ends.serialize_element(&Number(*last))?;
                ends.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ChannelPattern::{Number, Range, Text};
    use super::*;
    use crate::config::Config;

    fn spelled(text: &str) -> Result<Vec<ChannelPattern>, String> {
        read(&Value::from(text))
    }

    #[test]
    fn a_list_holds_texts_numbers_and_ranges() {
        let expected =
            vec![Text("a.*".into()), Text("5".into()), Number(5.0), Number(0.5), Range(1.0, 9.5)];
        assert_eq!(spelled(r#"["a.*", "5", 5, 0.5, [1, 9.5]]"#), Ok(expected));
        assert_eq!(spelled("[]"), Ok(vec![]));
        let expected = vec![Text("a.*".into()), Number(5.0), Text("5".into()), Text("-".into())];
        assert_eq!(spelled(r#"a.*, 5,"5" , -"#), Ok(expected));
        assert_eq!(spelled(" "), Ok(vec![]));
        for wrong in ["[true]", "[[1]]", "[[1, 2, 3]]", "[{}]", "[[\"a\", \"b\"]]", "[2020-01-01]"]
        {
            let text = spelled(&format!("[\"a\", {}", &wrong[1..])).unwrap_err();
            assert!(text.contains("in place 2; a list holds texts"), "{wrong}: {text}");
        }
        for wrong in ["[a]", "[", "[\"a\"], [\"b\"]", "[\"a\"]\nx = 5"] {
            let text = spelled(wrong).unwrap_err();
            assert!(text.contains("is not a list; write it in brackets"), "{wrong}: {text}");
        }
        assert!(read(&Value::from(true)).unwrap_err().contains("is not a list"));
    }

    #[test]
    fn what_was_left_out_opens_no_more_than_what_may_be_read() {
        let rights = |read: Option<&str>, hear_all| RightsConfig {
            read: read.map(|text| spelled(text).unwrap()),
            hear_all,
            ..RightsConfig::default()
        };
        assert!(rights(None, None).may_hear_all());
        assert!(rights(Some(r#"["a", "*"]"#), None).may_hear_all());
        for restricted in ["[]", r#"["a*"]"#, r#"[""]"#, "[[-1e300, 1e300]]"] {
            assert!(!rights(Some(restricted), None).may_hear_all(), "{restricted}");
            assert!(rights(Some(restricted), Some(true)).may_hear_all());
            assert!(rights(Some(restricted), Some(true)).hears_more_than_it_reads());
        }
        assert!(!rights(None, Some(false)).may_hear_all());
        assert!(!rights(None, Some(true)).hears_more_than_it_reads());
    }

    #[test]
    fn lists_have_bounds_and_so_have_their_patterns() {
        let problem = |list: Vec<ChannelPattern>| {
            let mut config = Config::default();
            config.guests.write = Some(list);
            config.validate().err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(problem(vec![Text("x".into()); 100]), "");
        let text = problem(vec![Text("x".into()); 101]);
        assert!(text.starts_with("guests.write holds 101 patterns; at most 100"), "{text}");
        assert_eq!(problem(vec![Text("é".repeat(127) + "x"), Range(1.0, 1.0)]), "");
        for (pattern, expected) in [
            (Text("é".repeat(128)), "has 256 bytes; the name of a channel has at most 255"),
            (Number(f64::NAN), "NaN is no channel"),
            (Range(0.0, f64::INFINITY), "both ends must be finite"),
            (Range(2.0, 1.0), "[2, 1] holds no number; write the smaller end first"),
        ] {
            let text = problem(vec![Number(1.0), pattern]);
            assert!(text.contains("guests.write holds a problem in place 2: "), "{text}");
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_list_is_shown_so_that_it_reads_back_the_same() {
        let list = r#"["a.*", 5, -1, 0.5, 1e+300, [0, 65535]]"#;
        let rights = RightsConfig { read: Some(spelled(list).unwrap()), ..Default::default() };
        let shown = toml::Table::try_from(&rights).unwrap()["read"].to_string();
        assert_eq!(spelled(&shown), spelled(list), "{shown}");
        assert!(shown.contains("5, -1, 0.5"), "{shown}");
    }
}
