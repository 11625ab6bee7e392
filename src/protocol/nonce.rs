//! What a client wants to know a reply by.

use super::json;
use super::refusal::RefusalReason;

/// Most bytes of a nonce in compact JSON.
pub const MAX_NONCE_BYTES: usize = 256;

/// A JSON value in compact form that a client gave with a command and gets back with its reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(Box<str>);

impl Nonce {
    /// Takes the JSON text of a value, as a command holds it.
    ///
    /// # Errors
    /// It is longer than [`MAX_NONCE_BYTES`], or nested so deeply that no reply could hold it.
    pub fn from_json(value: &str) -> Result<Self, RefusalReason> {
        let depth = json::depth(value) + 1;
        if depth > json::MAX_DEPTH {
            return Err(RefusalReason::TooDeep { depth });
        }
        let mut compact = Vec::with_capacity(value.len().min(MAX_NONCE_BYTES));
        json::write_compact(value, &mut compact);
        let bytes = compact.len();
        if bytes > MAX_NONCE_BYTES {
            return Err(RefusalReason::NonceSize { bytes, limit: MAX_NONCE_BYTES });
        }
        Ok(Self(String::from_utf8_lossy(&compact).into()))
    }

    /// The value as compact JSON.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_kept_as_it_was_spelled_but_for_white_space() {
        let nonce = |value| Nonce::from_json(value).map(|nonce| nonce.as_json().to_owned());
        assert_eq!(nonce(r#"{ "a" : [1.0, null] }"#), Ok(r#"{"a":[1.0,null]}"#.to_owned()));
        assert_eq!(nonce("null"), Ok("null".to_owned()));
    }

    #[test]
    fn the_limit_counts_bytes_of_compact_json() {
        let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
        assert!(Nonce::from_json(&text(256)).is_ok());
        assert!(Nonce::from_json(&format!("[{}{}]", " ".repeat(500), text(254))).is_ok());
        let refused = RefusalReason::NonceSize { bytes: 257, limit: 256 };
        assert_eq!(Nonce::from_json(&text(257)), Err(refused));
    }

    #[test]
    fn a_nonce_that_no_reply_could_hold_is_too_deep() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(Nonce::from_json(&nested(127)).is_ok());
        let refused = Err(RefusalReason::TooDeep { depth: 129 });
        assert_eq!(Nonce::from_json(&nested(128)), refused);
    }
}
