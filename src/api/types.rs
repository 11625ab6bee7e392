//! Small types of parameters and answers that the framework does not have.

use crate::network;
use crate::protocol::ChannelName;
use ipnet::IpNet;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{
    ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type,
};
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};
use uuid::Uuid;

/// Most characters of a text that a parameter holds.
pub(super) const MAX_PARAMETER: usize = 1024;

/// Most characters of a time, a duration, a network.
const MAX_PLAIN: usize = 64;

/// Longest duration: a hundred years.
const MAX_DURATION: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A type whose values have no parts, with its schema.
macro_rules! plain_type {
    ($name:ident, $schema:expr) => {
        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new($schema))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }
    };
}

/// A text with a bound on its length and an example.
fn text(max_length: usize, example: &str) -> MetaSchema {
    MetaSchema {
        min_length: Some(1),
        max_length: Some(max_length),
        example: Some(Value::from(example)),
        ..MetaSchema::new("string")
    }
}

/// A channel in an answer or a body: a JSON string or a JSON number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelValue(pub ChannelName);

plain_type!(
    ChannelValue,
    MetaSchema {
        description: Some("A channel: a text or a number. `5` and `\"5\"` are two channels."),
        one_of: ["string", "number"]
            .map(|ty| MetaSchemaRef::Inline(Box::new(MetaSchema::new(ty))))
            .to_vec(),
        example: Some(Value::from("doors")),
        ..MetaSchema::ANY
    }
);

impl Serialize for ChannelValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // As it is spelled everywhere else: lone surrogates and numbers would suffer otherwise.
        let spelled: &RawValue =
            serde_json::from_str(self.0.as_json()).map_err(serde::ser::Error::custom)?;
        spelled.serialize(serializer)
    }
}

impl ToJSON for ChannelValue {
    fn to_json(&self) -> Option<Value> {
        serde_json::from_str(self.0.as_json()).ok()
    }
}

impl ParseFromJSON for ChannelValue {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let spelled = value.unwrap_or_default().to_string();
        ChannelName::from_json(&spelled, usize::MAX).map(Self).map_err(ParseError::custom)
    }
}

/// A pattern of channels in an answer: the JSON text of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternValue(pub String);

plain_type!(
    PatternValue,
    MetaSchema {
        description: Some(
            "A text channel, `*` in it standing for any characters and `*` alone for every \
             channel; a number channel; or two numbers, and the channels between them."
        ),
        one_of: ["string", "number"]
            .map(|ty| MetaSchemaRef::Inline(Box::new(MetaSchema::new(ty))))
            .into_iter()
            .chain([MetaSchemaRef::Inline(Box::new(MetaSchema {
                items: Some(Box::new(MetaSchemaRef::Inline(Box::new(MetaSchema::new("number"))))),
                min_items: Some(2),
                max_items: Some(2),
                ..MetaSchema::new("array")
            }))])
            .collect(),
        example: Some(Value::from("public.*")),
        ..MetaSchema::ANY
    }
);

impl Serialize for PatternValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let spelled: &RawValue =
            serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        spelled.serialize(serializer)
    }
}

impl ToJSON for PatternValue {
    fn to_json(&self) -> Option<Value> {
        serde_json::from_str(&self.0).ok()
    }
}

impl ParseFromJSON for PatternValue {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Ok(Self(value.unwrap_or_default().to_string()))
    }
}

/// A moment, in milliseconds since 1970 UTC; in answers as RFC 3339 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

plain_type!(
    Time,
    MetaSchema {
        example: Some(Value::from("2026-01-31T12:00:00.000Z")),
        ..MetaSchema::new_with_format("string", "date-time")
    }
);

impl Time {
    /// Reads RFC 3339, in UTC.
    pub fn parse(text: &str) -> Option<Self> {
        let time = humantime::parse_rfc3339(text).ok()?;
        let since = time.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok().map(Self)
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The last moment of the year 9999, which is the last that RFC 3339 can write.
        let time = Duration::from_millis(self.0.min(253_402_300_799_999));
        humantime::format_rfc3339_millis(UNIX_EPOCH + time).fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl ToJSON for Time {
    fn to_json(&self) -> Option<Value> {
        Some(Value::from(self.to_string()))
    }
}

impl ParseFromJSON for Time {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let value = value.unwrap_or_default();
        let time = value.as_str().and_then(Self::parse);
        time.ok_or_else(|| ParseError::expected_type(value))
    }
}

/// A moment or a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Milliseconds since 1970 UTC.
    Time(u64),
    /// The ID of a message, which may be gone.
    Message(Uuid),
}

plain_type!(Moment, text(MAX_PLAIN, "2026-01-31T12:00:00Z"));

impl Moment {
    fn parse(text: &str) -> Option<Self> {
        let milliseconds = || text.parse().ok().filter(|_| text.len() <= MAX_PLAIN);
        let id = || Uuid::try_parse(text).ok();
        let time = || Time::parse(text).map(|time| time.0);
        id().map(Self::Message).or_else(|| milliseconds().or_else(time).map(Self::Time))
    }
}

impl ParseFromParameter for Moment {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        Self::parse(value).ok_or_else(|| {
            ParseError::custom(
                "it must be a time such as 2026-01-31T12:00:00Z, a number of milliseconds since \
                 1970, or the ID of a message",
            )
        })
    }
}

/// A network, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub IpNet);

plain_type!(Network, text(MAX_PLAIN, "192.0.2.0/24"));

impl Network {
    /// Reads an address, or a network as CIDR has it.
    pub fn parse(text: &str) -> Option<Self> {
        network::parse(text).map(Self)
    }

    /// What is allowed, in words.
    pub const ALLOWED: &str = "it must be an address such as 192.0.2.7, or a network such as \
                               192.0.2.0/24";
}

impl ParseFromParameter for Network {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        Self::parse(value).ok_or_else(|| ParseError::custom(Self::ALLOWED))
    }
}

/// A duration as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

plain_type!(Span, text(MAX_PLAIN, "10m"));

impl Span {
    /// Reads a duration of a second or more.
    pub fn parse(text: &str) -> Option<Self> {
        let text = Some(text).filter(|text| text.len() <= MAX_PLAIN)?;
        let duration = humantime::parse_duration(text).ok()?;
        (Duration::from_secs(1)..=MAX_DURATION).contains(&duration).then_some(Self(duration))
    }

    /// In milliseconds.
    pub fn milliseconds(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// What is allowed, in words.
    pub const ALLOWED: &str = "it must be a duration such as 10m, 2h or 7days, between a second \
                               and a hundred years";
}

impl ParseFromParameter for Span {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        Self::parse(value).ok_or_else(|| ParseError::custom(Self::ALLOWED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written_in_utc_to_the_millisecond() {
        let time = Time::parse("2026-01-31T12:00:00.123Z").unwrap();
        assert_eq!(time.0, 1_769_860_800_123);
        assert_eq!(time.to_string(), "2026-01-31T12:00:00.123Z");
        assert_eq!(Time(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Time::parse("1960-01-01T00:00:00Z"), None);
    }

    #[test]
    fn a_moment_is_a_time_or_a_message() {
        let moment = |text| Moment::parse_from_parameter(text).ok();
        assert_eq!(moment("1700000000000"), Some(Moment::Time(1_700_000_000_000)));
        assert_eq!(moment("2023-11-14T22:13:20Z"), Some(Moment::Time(1_700_000_000_000)));
        let id = "018bcfe5-687b-7000-8a11-0c5f3e1d2b47";
        assert_eq!(moment(id), Some(Moment::Message(id.parse().unwrap())));
        assert_eq!(moment("yesterday"), None);
    }

    #[test]
    fn a_network_is_what_a_connection_from_it_matches() {
        let network = |text| Network::parse(text).map(|network| network.0.to_string());
        assert_eq!(network("192.0.2.7").as_deref(), Some("192.0.2.7/32"));
        assert_eq!(network("::ffff:192.0.2.7").as_deref(), Some("192.0.2.7/32"));
        assert_eq!(network("192.0.2.7/24").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(network("::ffff:192.0.2.7/120").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(network("192.0.2.0/33"), None);
        assert_eq!(network("everybody"), None);
    }

    #[test]
    fn a_duration_is_bounded() {
        assert_eq!(Span::parse("10m").map(Span::milliseconds), Some(600_000));
        for wrong in ["0s", "10", "-1m", "101years", "999999999999999999years", ""] {
            assert_eq!(Span::parse(wrong), None, "{wrong}");
        }
    }
}
