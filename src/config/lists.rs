//! Lists of names: as a file holds them, or as a text with commas, as an environment variable does.
//!
//! What the names mean is for others to say, but for names of hosts.

use std::fmt;

use serde::{Deserializer, de};

use super::PublicUrl;
use super::units::{Spelled, quoted};

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

/// Reads a list of host names, or a text that holds them separated by commas, as an environment
/// variable does; into lower case, without the dot that may end a name.
pub(super) fn host_names<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    let names = deserialize(deserializer)?;
    names.iter().map(|name| host_name(&name.text).map_err(de::Error::custom)).collect()
}

/// Reads a list of origins, or a text that holds them separated by commas, for a setting that may be
/// absent.
pub(super) fn optional_origins<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<PublicUrl>>, D::Error> {
    let origins = deserialize(deserializer)?;
    let origins = origins.iter().map(|origin| {
        let read = origin.text.parse();
        read.map_err(|why: String| {
            de::Error::custom(format_args!("holds what is no origin: {why}"))
        })
    });
    origins.collect::<Result<_, _>>().map(Some)
}

fn host_name(text: &str) -> Result<String, String> {
    const MOST: usize = 253;
    let name = text.trim();
    let name = name.strip_suffix('.').unwrap_or(name);
    // Containers may be named with an underscore.
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !name.is_empty() && name.len() <= MOST && name.chars().all(fits) {
        return Ok(name.to_ascii_lowercase());
    }
    Err(format!(
        "holds {}, which is not the name of a host; write names alone, without scheme, port or path, \
         in ASCII, such as skynet.example.org",
        quoted(text)
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_a_list_or_a_text_with_commas() {
        let read = |json: &str| {
            let read = optional_origins(&mut serde_json::Deserializer::from_str(json));
            let shown = |url: &PublicUrl| url.to_string();
            let origins =
                read.map(|origins| origins.unwrap().iter().map(shown).collect::<Vec<_>>());
            origins.map_err(|error| error.to_string())
        };
        let both = ["https://a.example.org", "http://b:8080"];
        assert_eq!(read(r#"["https://A.example.org/", "http://b:8080"]"#).unwrap(), both);
        assert_eq!(read(r#""https://a.example.org, http://b:8080""#).unwrap(), both);
        assert_eq!(read("[]").unwrap(), [""; 0]);
        for json in [r#"["*"]"#, r#"["a.org"]"#, r#"["null"]"#, r#"["https://a.org/x"]"#] {
            let error = read(json).unwrap_err();
            assert!(error.starts_with("holds what is no origin: "), "{json}: {error}");
            assert!(error.contains("write http:// or https://"), "{json}: {error}");
        }
    }

    #[test]
    fn host_names_are_a_list_or_a_text_with_commas() {
        let read = |json: &str| {
            host_names(&mut serde_json::Deserializer::from_str(json)).map_err(|e| e.to_string())
        };
        assert_eq!(read(r#"["A.example.org.", "hub_1"]"#).unwrap(), ["a.example.org", "hub_1"]);
        assert_eq!(read(r#""a.example.org, B""#).unwrap(), ["a.example.org", "b"]);
        assert_eq!(read(r#""""#).unwrap(), [""; 0]);
        assert_eq!(read("[]").unwrap(), [""; 0]);
        for json in
            [r#"["http://a"]"#, r#""a:80""#, r#""a,,b""#, r#"["*"]"#, r#"["."]"#, r#"["schö.de"]"#]
        {
            assert!(read(json).unwrap_err().contains("not the name of a host"), "{json}");
        }
        assert!(read("5").unwrap_err().contains("a list of names"));
    }
}
