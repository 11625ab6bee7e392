//! Names of channels.
//!
//! A channel is a string or a finite number, and `5` and `"5"` are two channels. A name is kept
//! as the one canonical JSON text of that string or number, so that equal names are equal bytes
//! and a name is ready to be written into a reply. Numbers are IEEE doubles, as in Lua and in the
//! original: `5`, `5.0` and `5e0` are one channel, printed as ECMAScript prints it.

use super::json;
use super::refusal::RefusalReason;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The name of a channel in its canonical JSON spelling; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// Reads a name from the JSON text of a value, as a command holds it; `max_bytes` bounds the
    /// UTF-8 of a string.
    ///
    /// # Errors
    /// The value is neither a string nor a number, is not finite, or is too long.
    pub fn from_json(value: &str, max_bytes: usize) -> Result<Self, RefusalReason> {
        match value.as_bytes().first() {
            Some(b'"') => {
                let mut spelled = Vec::with_capacity(value.len());
                json::write_string(value, &mut spelled);
                // Canonical spelling of text is text; the fallback only spares a panic path.
                let spelled = String::from_utf8(spelled)
                    .map_err(|_| RefusalReason::ChannelType { found: "broken text" })?;
                let bytes = json::string_bytes(&spelled);
                if bytes > max_bytes {
                    return Err(RefusalReason::ChannelName { bytes, limit: max_bytes });
                }
                Ok(Self(spelled.into()))
            }
            Some(b'-' | b'0'..=b'9') => {
                let number = value.parse().ok().and_then(Self::from_number);
                number.ok_or(RefusalReason::ChannelNotFinite)
            }
            first => Err(RefusalReason::ChannelType { found: kind_of(first.copied()) }),
        }
    }

    /// The channel whose name is the string `name`, of any length.
    pub fn from_text(name: &str) -> Self {
        let mut spelled = Vec::with_capacity(name.len() + 2);
        json::write_text(name, &mut spelled);
        Self(String::from_utf8_lossy(&spelled).into())
    }

    /// The channel whose name is a number; none if it is not finite.
    pub fn from_number(number: f64) -> Option<Self> {
        number.is_finite().then(|| Self(ryu_js::Buffer::new().format_finite(number).into()))
    }

    /// The UTF-8 of a name that is a text, a lone surrogate in it being bytes that no UTF-8 holds;
    /// none of one that is a number.
    pub fn text_bytes(&self) -> Option<Cow<'_, [u8]>> {
        self.0.starts_with('"').then(|| json::string_contents(&self.0))
    }

    /// The JSON text of the name: `"chat"` with its quotes, `5`.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// Whether this is `"*"`, whose listeners hear every channel.
    pub fn is_wildcard(&self) -> bool {
        &*self.0 == r#""*""#
    }
}

/// As the original names a channel in its errors: a string without its quotes.
impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A lone surrogate cannot be shown but in its spelling.
        match serde_json::from_str::<String>(&self.0) {
            Ok(text) => f.write_str(&text),
            Err(_) => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a JSON value is, by its first byte, in words for an error.
pub(super) fn kind_of(first: Option<u8>) -> &'static str {
    match first {
        None => "missing",
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        Some(_) => "a number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(value: &str) -> String {
        ChannelName::from_json(value, 255).expect("a channel").as_json().to_owned()
    }

    #[test]
    fn a_number_has_one_name_however_it_is_spelled() {
        for spelling in ["5", "5.0", "5e0", "50E-1"] {
            assert_eq!(name(spelling), "5");
        }
        assert_eq!(name("-0"), "0");
        assert_eq!(name("-0.0"), "0");
        assert_eq!(name("1e21"), "1e+21");
        assert_eq!(name("1e-7"), "1e-7");
        assert_eq!(name("9007199254740993"), "9007199254740992");
        assert_eq!(name("100000000000000000000"), "100000000000000000000");
    }

    #[test]
    fn a_string_has_one_name_however_it_is_escaped() {
        assert_eq!(name(r#""\u0063hat""#), r#""chat""#);
        assert_eq!(name(r#""5""#), r#""5""#);
        assert_eq!(name(r#""""#), r#""""#);
        assert!(ChannelName::from_json(r#""\u002a""#, 255).unwrap().is_wildcard());
        assert_eq!(ChannelName::from_text("a\"\u{0}é").as_json(), name(r#""a\"\u0000é""#));
    }

    #[test]
    fn an_error_shows_the_name_itself() {
        let shown = |value| ChannelName::from_json(value, 255).unwrap().to_string();
        assert_eq!(shown(r#""a\n\"x""#), "a\n\"x");
        assert_eq!(shown("5.0"), "5");
        assert_eq!(shown(r#""\ud800""#), r#""\ud800""#);
    }

    #[test]
    fn what_is_no_channel_is_refused_in_words() {
        assert_eq!(ChannelName::from_json("1e400", 255), Err(RefusalReason::ChannelNotFinite));
        for value in ["null", "true", "[1]", "{}", ""] {
            assert!(matches!(
                ChannelName::from_json(value, 255),
                Err(RefusalReason::ChannelType { .. })
            ));
        }
        assert_eq!(
            ChannelName::from_json(r#""éé""#, 3),
            Err(RefusalReason::ChannelName { bytes: 4, limit: 3 })
        );
    }
}
