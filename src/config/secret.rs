//! A text that no output shows.
//!
//! Formatting and serializing a [`Secret`] give a mask; only [`Secret::expose`] gives the text, so
//! that every use stands out in the code. It does not compare itself to anything and does not wipe
//! its memory.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::units::Spelled;

/// What is shown in a secret's place.
const MASK: &str = "********";

/// A token of fewer characters could be guessed.
pub(super) const SHORT: usize = 16;

/// A token or another text that must not be shown.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes the text as it is. Whether it can be used as a token is checked with the configuration.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Never log it, never put it into an error.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Takes what a token file holds: the token, and white space around it that does not count.
    ///
    /// # Errors
    ///
    /// What is wrong with the token, without it; reads on from "the token".
    pub fn from_file(contents: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(contents)
            .map_err(|_| "is not text; the file may hold the token alone")?;
        let secret = Self::new(text.trim());
        secret.check().map(|()| secret)
    }

    /// Whether the text could be guessed: it has fewer than 16 characters.
    pub fn is_short(&self) -> bool {
        self.0.len() < SHORT
    }

    /// Whether the text can travel in an `Authorization` header.
    ///
    /// # Errors
    ///
    /// What is wrong, without the text; reads on from "the token" or from the setting.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.0.is_empty() {
            Err("is empty; give a long random text, or leave the setting out")
        } else if self.0 == MASK {
            Err("is the mask that `skynet check-config` prints in place of a token, not a token")
        } else if !self.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            Err("holds something other than letters, digits and punctuation of ASCII; it travels \
                 in an HTTP header, so spaces, line breaks and other characters are not allowed")
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// Takes text alone. A bare TOML number of up to 128 bits is refused because its spelling is lost
    /// (`0x10` would become `16`); text that looks like a number stays as it was written. A larger
    /// number and a date arrive as texts.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spelled = Spelled::deserialize(deserializer)?;
        if spelled.is_text {
            Ok(Self(spelled.text))
        } else {
            Err(de::Error::custom("is not a text; put the token in quotes"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_its_mask_wherever_it_is_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "********");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"********\"");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn text_that_looks_like_a_number_keeps_its_spelling() {
        for text in ["0042", "1e3", "0x10", "1_000", "true", "-0"] {
            let json = serde_json::to_string(text).unwrap();
            let secret: Secret = serde_json::from_str(&json).unwrap();
            assert_eq!(secret.expose(), text);
        }
    }

    #[test]
    fn a_bare_number_is_refused_without_being_shown() {
        let error = serde_json::from_str::<Secret>("12345").unwrap_err().to_string();
        assert!(error.contains("put the token in quotes"), "{error}");
        assert!(!error.contains("12345"), "{error}");
    }

    #[test]
    fn what_a_token_file_holds_is_trimmed_and_checked() {
        assert_eq!(Secret::from_file(b"  0042\r\n").unwrap().expose(), "0042");
        assert!(Secret::from_file(b" \n").unwrap_err().contains("is empty"));
        assert!(Secret::from_file(b"one\ntwo\n").unwrap_err().contains("line breaks"));
        assert!(Secret::from_file(b"\xff\xfe").unwrap_err().contains("not text"));
    }

    #[test]
    fn a_token_of_fewer_than_sixteen_characters_is_short() {
        assert!(Secret::new("123456789012345").is_short());
        assert!(!Secret::new("1234567890123456").is_short());
    }

    #[test]
    fn only_what_fits_into_a_header_is_a_usable_token() {
        assert!(Secret::new("aZ09-._~+/=").check().is_ok());
        for text in ["", "two words", "a\nb", "naïve", MASK] {
            assert!(Secret::new(text).check().is_err(), "{text:?}");
        }
    }
}
