//! Reads a TOML file into single settings, each with the line it stands on.
//!
//! Knows nothing of which settings exist.

use std::{io, path::Path};

use figment::value::{Dict, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    error::{ConfigError, Origin},
    given::Given,
    units,
};
use crate::files;

/// A configuration larger than this is some other file; reading stops here.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Reads the file that was asked for, be it a pipe.
pub(super) fn read(path: &Path) -> Result<Vec<Given>, ConfigError> {
    settings(&text(path)?, path)
}

/// Reads the file again, of which `held` says whether it held settings before. Refuses what could be
/// read only once, and a file without settings in the place of one with some, which is somebody's that
/// is not written yet, or lost: the defaults would open the hub.
pub(super) fn read_again(path: &Path, held: bool) -> Result<Vec<Given>, ConfigError> {
    let given = settings(&checked(path, files::read(path, MAX_FILE_BYTES))?, path)?;
    let says_nothing = |given: &Given| given.value.as_dict().is_some_and(Dict::is_empty);
    if held && given.iter().all(says_nothing) {
        let reason = "it holds no setting any more; if that is meant, restart".to_owned();
        return Err(ConfigError::Unreadable { path: path.to_owned(), reason });
    }
    Ok(given)
}

fn settings(text: &str, path: &Path) -> Result<Vec<Given>, ConfigError> {
    parse(text, path, |line| Origin::File { path: path.to_owned(), line })
}

/// The text of a configuration file, at most 1 MiB.
///
/// # Errors
/// [`ConfigError::Unreadable`]: it cannot be opened, is larger, or is not UTF-8.
pub(crate) fn text(path: &Path) -> Result<String, ConfigError> {
    checked(path, files::read_any(path, MAX_FILE_BYTES))
}

/// The text of what was read.
fn checked(path: &Path, read: io::Result<Vec<u8>>) -> Result<String, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let bytes = read.map_err(|error| unreadable(units::reason(&error)))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable("it is larger than 1MiB, so it is no configuration".into()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let end = error.utf8_error().valid_up_to();
        let line = line_of(&error.as_bytes()[..end]);
        unreadable(format!("it is not UTF-8 text (line {line}); save it as UTF-8"))
    })
}

/// Reads a TOML text; `origin` makes the origin of a setting from the number of its line.
pub(super) fn parse(
    text: &str,
    path: &Path,
    origin: impl Fn(usize) -> Origin,
) -> Result<Vec<Given>, ConfigError> {
    let document = document(text, path)?;
    let at = |start: usize| origin(line_of(&text.as_bytes()[..start]));
    let mut given = Vec::new();
    flatten(document.get_ref(), &[], &at, &mut given);
    Ok(given)
}

/// Adds the settings of a table, and of the tables within it. The parser bounds how deep they go.
fn flatten(
    table: &DeTable<'_>,
    path: &[String],
    at: &impl Fn(usize) -> Origin,
    given: &mut Vec<Given>,
) {
    for (name, value) in table {
        let key = [path, &[name.get_ref().to_string()]].concat();
        match value.get_ref() {
            // A section without settings is reported too, since its name may be wrong.
            DeValue::Table(section) if !section.is_empty() => flatten(section, &key, at, given),
            other => {
                given.push(Given { key, value: convert(other), origin: at(name.span().start) });
            }
        }
    }
}

/// A TOML text, taken apart.
///
/// # Errors
/// [`ConfigError::NotToml`], with the place at which reading stopped.
pub(crate) fn document<'t>(
    text: &'t str,
    path: &Path,
) -> Result<Spanned<DeTable<'t>>, ConfigError> {
    DeTable::parse(text).map_err(|error| {
        // The message of the parser is used, never its display: that repeats the line, and the line
        // may hold a token.
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let before = &text.as_bytes()[..start];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let line = &before[line_start..];
        ConfigError::NotToml {
            path: path.to_owned(),
            line: line_of(before),
            column: String::from_utf8_lossy(line).chars().count() + 1,
            reason: explain(error.message(), line.contains(&b'=')),
        }
    })
}

/// The parser's words, and what an owner most likely has to do about them.
fn explain(message: &str, in_a_value: bool) -> String {
    let words = message.replace('\n', ", ").replace(", expected nothing", "");
    let advice = match (in_a_value, words.contains("escape")) {
        (true, true) => "; a text with backslashes, such as a path, stands in single quotes",
        (true, false) => {
            "; addresses, durations, sizes with a unit and all other text stand in quotes, such as \
             \"127.0.0.1:4567\" or \"25s\""
        }
        (false, _) => "",
    };
    words + advice
}

/// The number of the line that follows these bytes, from 1.
pub(crate) fn line_of(before: &[u8]) -> usize {
    1 + memchr::memchr_iter(b'\n', before).count()
}

/// Numbers that fit nowhere, and dates, become text, which most settings refuse by what was written.
fn convert(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::from(number),
            // No setting takes so large a number; but it is one, and no token without its quotes.
            Err(_) => match u128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::from(number),
                Err(_) => Value::from(number.as_str()),
            },
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) => Value::from(number),
            Err(_) => Value::from(number.as_str()),
        },
        DeValue::Boolean(value) => Value::from(*value),
        DeValue::Datetime(value) => Value::from(value.to_string()),
        DeValue::Array(values) => {
            Value::from(values.iter().map(|value| convert(value.get_ref())).collect::<Vec<_>>())
        }
        DeValue::Table(table) => Value::from(
            table
                .iter()
                .map(|(name, value)| (name.get_ref().to_string(), convert(value.get_ref())))
                .collect::<Dict>(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Result<Vec<(String, usize)>, String> {
        let origin = |line| Origin::File { path: "x".into(), line };
        let given = parse(text, Path::new("x"), origin).map_err(|error| error.to_string())?;
        let mut lines: Vec<_> = given
            .into_iter()
            .map(|given| match given.origin {
                Origin::File { line, .. } => (given.key.join("."), line),
                other => panic!("{other:?}"),
            })
            .collect();
        lines.sort_by_key(|(_, line)| *line);
        Ok(lines)
    }

    #[test]
    fn every_setting_knows_its_line_however_it_is_written() {
        let text = "\n[hub]\nlisten = 'a' # é\n\n[limits]\r\nx = {\n y = 1 }\r\n[empty]\n";
        let expected = [("hub.listen", 3), ("limits.x.y", 7), ("empty", 8)];
        assert_eq!(lines(text).unwrap(), expected.map(|(key, line)| (key.to_owned(), line)));
        let dotted = lines("hub.listen = 1\n\"a.b\" = 2\n").unwrap();
        assert_eq!(dotted, [("hub.listen".to_owned(), 1), ("a.b".to_owned(), 2)]);
    }

    #[test]
    fn a_byte_order_mark_and_carriage_returns_do_no_harm() {
        let text = "\u{feff}[hub]\r\nlisten = 'a'\r\n";
        assert_eq!(lines(text).unwrap(), [("hub.listen".to_owned(), 2)]);
    }

    #[test]
    fn what_is_not_toml_is_reported_with_line_and_column_and_without_its_text() {
        let error = lines("[admin]\n# é\ntoken = \"hunter2\nx = 1\n").unwrap_err();
        assert!(error.starts_with("x, line 3, column 17: this is not TOML: "), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        let error = lines("[hub]\nlisten 5\n").unwrap_err();
        assert!(error.contains("line 2, column"), "{error}");
        let error = lines("[hub]\nlisten = 127.0.0.1:4567\n").unwrap_err();
        assert!(error.contains("stand in quotes, such as \"127.0.0.1:4567\""), "{error}");
        let error = lines("[admin]\ntoken_file = \"C:\\owner\\token\"\n").unwrap_err();
        assert!(error.contains("stands in single quotes"), "{error}");
        let error = lines("[hub]\n[hub]\n").unwrap_err();
        assert!(error.contains("line 2") && error.contains("duplicate"), "{error}");
    }

    #[test]
    fn a_deeply_nested_file_is_refused_and_does_not_end_the_process() {
        let error = lines(&format!("x = {}", "[".repeat(100_000))).unwrap_err();
        assert!(error.contains("this is not TOML"), "{error}");
    }
}
