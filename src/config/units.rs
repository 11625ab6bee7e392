//! Values as people write them: counts, sizes, durations, addresses; and how they are shown again.
//!
//! Everything arrives as [`Spelled`]: a TOML number and the text of an environment variable mean
//! the same. The messages made here say what was written and what is allowed; which setting it was,
//! and where it came from, is added by whoever knows.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, de};

use super::error::Problem;

/// What is said of settings within a single value.
pub(super) const IS_A_SECTION: &str =
    "is a section here; it is a single value, written NAME = VALUE";

/// A single value as it was written.
pub(super) struct Spelled {
    /// The value's text; for a number of a file, its decimal form.
    pub(super) text: String,
    /// Whether it was a text already, so that no spelling was lost.
    pub(super) is_text: bool,
}

impl<'de> Deserialize<'de> for Spelled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpelledVisitor)
    }
}

struct SpelledVisitor;

impl SpelledVisitor {
    fn bare<E>(value: impl ToString) -> Result<Spelled, E> {
        Ok(Spelled { text: value.to_string(), is_text: false })
    }
}

impl<'de> de::Visitor<'de> for SpelledVisitor {
    type Value = Spelled;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a single value")
    }

    fn visit_str<E>(self, value: &str) -> Result<Spelled, E> {
        Ok(Spelled { text: value.to_owned(), is_text: true })
    }

    fn visit_i64<E>(self, value: i64) -> Result<Spelled, E> {
        Self::bare(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Spelled, E> {
        Self::bare(value)
    }

    fn visit_u128<E>(self, value: u128) -> Result<Spelled, E> {
        Self::bare(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Spelled, E> {
        Self::bare(value)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Spelled, E> {
        Self::bare(value)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, _: A) -> Result<Spelled, A::Error> {
        Err(de::Error::custom(IS_A_SECTION))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, _: A) -> Result<Spelled, A::Error> {
        Err(de::Error::custom("is a list here; it is a single value, written without brackets"))
    }
}

/// Shows a text of the owner's in quotes, without what would upset a terminal, and not endlessly.
pub(super) fn quoted(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Says in plain words why a file could not be read.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "it does not exist".into(),
        std::io::ErrorKind::PermissionDenied => "this user may not read it".into(),
        std::io::ErrorKind::IsADirectory => "it is a folder".into(),
        _ => error.to_string(),
    }
}

/// Reads a whole number; `1_000` means 1000 as it does in TOML.
pub(super) fn count<'de, D: Deserializer<'de>, T: TryFrom<u64>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = Spelled::deserialize(deserializer)?.text;
    let digits = text.trim().replace('_', "");
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain {
        return Err(de::Error::custom(format_args!(
            "{} is not a whole number; write digits alone, such as 500",
            quoted(&text)
        )));
    }
    digits.parse().ok().and_then(|number: u64| T::try_from(number).ok()).ok_or_else(|| {
        de::Error::custom(format_args!("{} is far too large a number", quoted(&text)))
    })
}

/// Reads a whole number, for a setting that may be absent.
pub(super) fn optional_count<'de, D: Deserializer<'de>, T: TryFrom<u64>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    count(deserializer).map(Some)
}

/// A size in bytes.
pub(super) mod size {
    use super::*;
    use serde::Serializer;

    /// Reads `131072`, `128KiB` or `1 MiB`.
    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<usize, D::Error> {
        let text = Spelled::deserialize(deserializer)?.text;
        parse(&text).map_err(de::Error::custom)
    }

    /// Writes what [`deserialize`] reads back to the same number of bytes.
    pub(in super::super) fn serialize<S: Serializer>(
        bytes: &usize,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match unit(*bytes) {
            Some(_) => serializer.serialize_str(&show_bytes(*bytes)),
            None => serializer.serialize_u64(*bytes as u64),
        }
    }

    pub(super) fn parse(text: &str) -> Result<usize, String> {
        let compact = text.trim().replace('_', "");
        let too_large = || format!("{} is far too large a size", quoted(text));
        let bytes: ByteSize = compact.parse().map_err(|_| {
            if !compact.is_empty() && compact.bytes().all(|byte| byte.is_ascii_digit()) {
                return too_large();
            }
            format!(
                "{} is not a size; write bytes as a plain number, or a number with KiB, MiB or \
                 GiB, such as 128KiB",
                quoted(text)
            )
        })?;
        // The parser stops at the largest number it can hold instead of refusing more.
        usize::try_from(bytes.as_u64())
            .ok()
            .filter(|size| *size < isize::MAX as usize)
            .ok_or_else(too_large)
    }

    /// The largest binary unit that a size is a whole multiple of.
    pub(super) fn unit(bytes: usize) -> Option<(usize, &'static str)> {
        [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
            .into_iter()
            .find(|(unit, _)| bytes != 0 && bytes.is_multiple_of(*unit))
    }
}

/// Shows a size as it would be written: `128KiB`, or plain bytes if no unit fits exactly.
pub(super) fn show_bytes(bytes: usize) -> String {
    match size::unit(bytes) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// A span of time.
pub(super) mod duration {
    use super::*;
    use serde::Serializer;

    /// Reads `25s`, `500ms` or `1m 30s`.
    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let text = Spelled::deserialize(deserializer)?.text;
        parse(&text).map_err(de::Error::custom)
    }

    /// Writes what [`deserialize`] reads back to the same span.
    pub(in super::super) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&show_duration(*value))
    }

    pub(super) fn parse(text: &str) -> Result<Duration, String> {
        let text = text.trim();
        // A bare 0 is read as no time at all by the parser; here every duration has its unit.
        humantime::parse_duration(text)
            .ok()
            .filter(|_| text.contains(|c: char| c.is_ascii_alphabetic()))
            .ok_or_else(|| match text.parse::<u64>() {
                Ok(number) => format!(
                    "{} has no unit; write {number}s for seconds or {number}ms for milliseconds",
                    quoted(text)
                ),
                Err(_) => format!(
                    "{} is not a duration; write numbers with their units, such as 25s, 500ms or \
                     1m 30s",
                    quoted(text)
                ),
            })
    }
}

/// Shows a span of time as it would be written.
pub(super) fn show_duration(value: Duration) -> String {
    humantime::format_duration(value).to_string()
}

/// Reads a listen address: an IP address and a port.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = Spelled::deserialize(deserializer)?.text;
    parse_address(&text).map_err(de::Error::custom)
}

/// Reads such an address of a text.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port_alone = text.strip_prefix(':').unwrap_or(text);
    let wrong = if text.is_empty() {
        "is empty".to_owned()
    } else if let Ok(port) = port_alone.parse::<u16>() {
        format!("is a port without an address (127.0.0.1:{port}?)")
    } else if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
        format!("is an address without a port ({}?)", SocketAddr::new(ip, 4567))
    } else {
        match text.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => match host {
                "localhost" => format!("names a host instead of an address (127.0.0.1:{port}?)"),
                "*" => format!("is not an address (0.0.0.0:{port}?)"),
                _ => "names no IP address".to_owned(),
            },
            _ => "is not an IP address and a port".to_owned(),
        }
    };
    Err(format!(
        "{} {wrong}; write an IP address and a port: 127.0.0.1:4567 for this machine alone, \
         0.0.0.0:4567 for every network it is on, [::1]:4567 for IPv6",
        quoted(text)
    ))
}

/// The problem of a listen address that no connection can be made to.
pub(super) fn multicast(key: &'static str, address: SocketAddr) -> Problem {
    Problem::new(
        key,
        format!("{address} is a multicast address, to which nobody can connect; use another"),
    )
}

/// Reads any text.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Spelled::deserialize(deserializer)?.text)
}

/// Reads `true` or `false`, for a setting that may be absent.
pub(super) fn optional_switch<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<bool>, D::Error> {
    switch(deserializer).map(Some)
}

/// Reads the path of a file or folder, for a setting that may be absent.
pub(super) fn optional_path<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    match Spelled::deserialize(deserializer)? {
        Spelled { text, .. } if text.is_empty() => {
            Err(de::Error::custom("is empty; give a path, or leave the setting out"))
        }
        Spelled { text, is_text: true } => Ok(Some(text.into())),
        _ => Err(de::Error::custom("is not a path; write it in quotes")),
    }
}

/// Reads `true` or `false`.
pub(super) fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let text = Spelled::deserialize(deserializer)?.text;
    text.trim()
        .parse()
        .map_err(|_| de::Error::custom(format_args!("{} is neither true nor false", quoted(&text))))
}

/// Refuses a value outside `least..=most`, both of which are allowed.
pub(super) fn within<T: PartialOrd + Copy>(
    key: &'static str,
    value: T,
    least: T,
    most: T,
    show: impl Fn(T) -> String,
) -> Option<Problem> {
    (value < least || value > most).then(|| {
        let text = format!("is {}; allowed are {} to {}", show(value), show(least), show(most));
        Problem::new(key, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("131072", 131_072),
            ("131_072", 131_072),
            ("128KiB", 131_072),
            ("128 kib", 131_072),
            ("1 MiB", 1 << 20),
            ("1.5MiB", 3 << 19),
            ("1GiB", 1 << 30),
            ("2kB", 2_000),
            (" 7 B ", 7),
        ] {
            assert_eq!(size::parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "-1", "KiB", "12 apples", "1e3", "nan", "inf", "0x10", "1,5MiB", "²"] {
            let error = size::parse(text).unwrap_err();
            assert!(error.contains("such as 128KiB"), "{text}: {error}");
        }
        for text in ["99999999999999999999", "99999999TiB", "18446744073709551615"] {
            let error = size::parse(text).unwrap_err();
            assert!(error.contains("far too large"), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_and_durations_are_shown_so_that_they_read_back_the_same() {
        for bytes in [0, 1, 255, 1023, 1024, 1025, 131_072, 397_312, 1 << 20, 3 << 30] {
            assert_eq!(size::parse(&show_bytes(bytes)), Ok(bytes));
        }
        assert_eq!(show_bytes(397_312), "388KiB");
        for millis in [1, 100, 25_000, 90_000, 90_500, 3_600_000] {
            let value = Duration::from_millis(millis);
            assert_eq!(duration::parse(&show_duration(value)), Ok(value));
        }
        assert_eq!(show_duration(Duration::from_secs(90)), "1m 30s");
    }

    #[test]
    fn yes_and_no_are_true_and_false_as_values_or_as_text() {
        let read = |json: &str| {
            switch(&mut serde_json::Deserializer::from_str(json)).map_err(|e| e.to_string())
        };
        for (json, value) in [("true", true), ("false", false), (r#""true""#, true)] {
            assert_eq!(read(json), Ok(value));
        }
        for json in ["1", r#""yes""#, r#""""#, r#""True""#] {
            assert!(read(json).unwrap_err().contains("is neither true nor false"), "{json}");
        }
    }

    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!(duration::parse("25s"), Ok(Duration::from_secs(25)));
        assert_eq!(duration::parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration::parse("1m 30s"), Ok(Duration::from_secs(90)));
        let error = duration::parse("25").unwrap_err();
        assert!(error.contains("write 25s for seconds"), "{error}");
        for text in ["", "0", "-5s", "soon", "5 parsecs", "1.5.5s", "99999999999999999999y"] {
            assert!(duration::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bad_address_is_answered_with_the_likely_right_one() {
        for (text, hint) in [
            ("localhost:4567", "127.0.0.1:4567?"),
            ("4567", "127.0.0.1:4567?"),
            (":4567", "127.0.0.1:4567?"),
            ("127.0.0.1", "127.0.0.1:4567?"),
            ("::1", "[::1]:4567?"),
            ("[::1]", "[::1]:4567?"),
            ("*:80", "0.0.0.0:80?"),
            ("example.org:4567", "names no IP address"),
            ("127.0.0.1:70000", "is not an IP address and a port"),
            ("http://127.0.0.1:4567", "names no IP address"),
            ("", "is empty"),
        ] {
            let error = parse_address(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
            assert!(error.contains("write an IP address and a port"), "{text}: {error}");
        }
        assert!(parse_address(" [::1]:0 ").is_ok());
    }

    #[test]
    fn a_quoted_text_is_short_and_harmless_to_a_terminal() {
        assert_eq!(quoted("a\u{1b}[31mb"), r#""a\u{1b}[31mb""#);
        assert_eq!(quoted(&"é".repeat(200)).chars().count(), 83);
    }
}
