//! Lists of names: as a file holds them, or as a text with commas, as an environment variable does.
//!
//! What the names mean is for others to say.

use std::fmt;

use serde::{Deserializer, de};

use super::units::Spelled;

/// Reads a list of names, or a text that holds them as [`between_commas`] reads it.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Spelled>, D::Error> {
    deserializer.deserialize_any(NamesVisitor)
}

/// The names between the commas of a text; none, if it is blank. What is a number without quotes is
/// one, as in JSON; what stands in quotes is the text in them.
pub(super) fn between_commas(text: &str) -> Vec<Spelled> {
    let names = text.split(',').map(str::trim).filter(|_| !text.trim().is_empty());
    names
        .map(|name| {
            let unquoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
            let is_text = unquoted.is_some() || !is_numeral(name);
            Spelled { text: unquoted.unwrap_or(name).to_owned(), is_text }
        })
        .collect()
}

fn is_numeral(text: &str) -> bool {
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && text.parse::<f64>().is_ok()
}

struct NamesVisitor;

impl<'de> de::Visitor<'de> for NamesVisitor {
    type Value = Vec<Spelled>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names, such as [\"one\", \"two\"]")
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(between_commas(value))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = list.next_element::<Spelled>()? {
            names.push(name);
        }
        Ok(names)
    }
}
