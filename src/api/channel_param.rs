//! A channel in a path or a query.
//!
//! What reads as a JSON number is the number, what reads as a JSON string is that string, and
//! anything else is the string as it stands: `5`, `"5"`, `chat`.

use super::types::MAX_PARAMETER;
use crate::protocol::ChannelName;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromParameter, ParseResult, ToJSON, Type};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A channel in a path or a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelParam(pub ChannelName);

impl ChannelParam {
    /// Reads it.
    ///
    /// # Errors
    /// It is a number beyond the range of IEEE doubles, or longer than any channel.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_json = serde_json::from_str::<&RawValue>(text)
            .is_ok_and(|value| value.get().len() == text.len());
        let literal =
            text.starts_with(['"', '-']) || text.starts_with(|c: char| c.is_ascii_digit());
        if text.chars().count() > MAX_PARAMETER {
            return Err(format!("it must have at most {MAX_PARAMETER} characters"));
        }
        if is_json && literal {
            let name = ChannelName::from_json(text, usize::MAX);
            return name.map(Self).map_err(|reason| super::problem::words(&reason));
        }
        Ok(Self(ChannelName::from_text(text)))
    }
}

impl Type for ChannelParam {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "ChannelParam".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            max_length: Some(MAX_PARAMETER),
            example: Some(Value::from("doors")),
            ..MetaSchema::new("string")
        }))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromParameter for ChannelParam {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        Self::parse(value).map_err(ParseError::custom)
    }
}

/// For the default of a list of channels, which is in the documentation.
impl ToJSON for ChannelParam {
    fn to_json(&self) -> Option<Value> {
        Some(Value::from(self.0.as_json()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        ChannelParam::parse(text).unwrap().0.as_json().to_owned()
    }

    #[test]
    fn numbers_and_literals_are_what_json_says_and_all_else_is_text() {
        assert_eq!(read("5"), "5");
        assert_eq!(read("5.0"), "5");
        assert_eq!(read("-1e3"), "-1000");
        assert_eq!(read("\"5\""), "\"5\"");
        assert_eq!(read(r#""\u0063hat""#), "\"chat\"");
        assert_eq!(read(r#""""#), r#""""#);
        assert_eq!(read(r#""\ud800""#), r#""\ud800""#);
        for text in ["chat", "05", "+5", " 5", "5 ", "0x5", "true", "null", "[1]", "*", "a/b", "-"]
        {
            assert_eq!(read(text), format!("\"{text}\""), "{text}");
        }
        assert_eq!(read("\"open"), r#""\"open""#);
        assert_eq!(read(""), r#""""#);
    }

    #[test]
    fn a_number_that_is_not_finite_and_a_name_too_long_are_refused() {
        assert!(ChannelParam::parse("1e999").unwrap_err().contains("finite"));
        let long = "é".repeat(MAX_PARAMETER + 1);
        assert!(ChannelParam::parse(&long).unwrap_err().contains("at most 1024"));
        assert!(ChannelParam::parse(&long[2..]).is_ok());
    }
}
