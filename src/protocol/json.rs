//! JSON values rewritten in compact form.
//!
//! Input is the text of one JSON value that `serde_json` has already found valid; output is the
//! same value without white space, with strings spelled one way and numbers left exactly as they
//! were spelled. This module does not validate and does not build values: a message passes
//! through the hub as text, so that integers of any length and `1.0` arrive as they were sent.
//!
//! Strings come out as ECMAScript's `JSON.stringify` writes them: characters beyond ASCII as
//! UTF-8 (the game's decoder spoils escaped surrogate pairs), control characters and lone
//! surrogates escaped, nothing else.

use memchr::memchr2;
use std::borrow::Cow;
use std::io::Write;

/// Deepest nesting a command may have; the command object itself is the first level.
pub const MAX_DEPTH: usize = 128;

/// Appends the compact form of the JSON value `value` to `out`.
///
/// `value` must be valid JSON; of anything else the output is unspecified (but never a panic).
pub fn write_compact(value: &str, out: &mut Vec<u8>) {
    let bytes = value.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = string_end(bytes, at);
                write_string(&value[at..end], out);
                at = end;
            }
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

/// Appends the string literal `literal` (with its quotes) in the canonical spelling.
pub fn write_string(literal: &str, out: &mut Vec<u8>) {
    let bytes = literal.as_bytes();
    let mut copied = 0;
    let mut at = 0;
    while let Some(offset) = memchr::memchr(b'\\', &bytes[at..]) {
        let escape = at + offset;
        out.extend_from_slice(&bytes[copied..escape]);
        at = write_escape(bytes, escape, out);
        copied = at;
    }
    out.extend_from_slice(&bytes[copied..]);
}

/// Appends `text` as a string literal in the canonical spelling.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = first_escaped(rest) {
        out.extend_from_slice(&rest[..at]);
        write_code_point(rest[at].into(), out);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Where the first byte is that a string literal spells with a backslash.
fn first_escaped(bytes: &[u8]) -> Option<usize> {
    /// Looked at together, without a branch for each.
    const BLOCK: usize = 32;
    let is_escaped = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let clean = |block: &&[u8]| !block.iter().fold(false, |any, byte| any | is_escaped(byte));
    let skipped = BLOCK * bytes.chunks_exact(BLOCK).take_while(clean).count();
    bytes[skipped..].iter().position(is_escaped).map(|at| skipped + at)
}

/// How deeply arrays and objects nest in the JSON text `text`; a scalar is 0.
pub fn depth(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut deepest, mut at) = (0_usize, 0, 0);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    deepest
}

/// Bytes of UTF-8 in the string that `canonical` (a literal written by this module) spells; a
/// lone surrogate counts three, as it would in UTF-8.
pub fn string_bytes(canonical: &str) -> usize {
    let inner = &canonical.as_bytes()[1..canonical.len() - 1];
    let (mut count, mut at) = (0, 0);
    while at < inner.len() {
        if inner[at] != b'\\' {
            (count, at) = (count + 1, at + 1);
        } else if inner[at + 1] == b'u' {
            let surrogate = inner[at + 2] == b'd';
            (count, at) = (count + if surrogate { 3 } else { 1 }, at + 6);
        } else {
            (count, at) = (count + 1, at + 2);
        }
    }
    count
}

/// The UTF-8 of the string that `canonical` (a literal written by this module) spells; a lone
/// surrogate is three bytes that no UTF-8 holds, those that its code point would have.
pub fn string_contents(canonical: &str) -> Cow<'_, [u8]> {
    let inner = &canonical.as_bytes()[1..canonical.len() - 1];
    if memchr::memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let (mut contents, mut at) = (Vec::with_capacity(inner.len()), 0);
    while let Some(&byte) = inner.get(at) {
        if byte != b'\\' {
            contents.push(byte);
            at += 1;
            continue;
        }
        let plain = match inner[at + 1] {
            b'u' => {
                let unit = hex4(inner, at + 2);
                if unit < 0x80 {
                    contents.push(unit as u8);
                } else {
                    contents.push(0xe0 | (unit >> 12) as u8);
                    contents.push(0x80 | (unit >> 6 & 0x3f) as u8);
                    contents.push(0x80 | (unit & 0x3f) as u8);
                }
                at += 6;
                continue;
            }
            b'b' => 0x08,
            b't' => b'\t',
            b'n' => b'\n',
            b'f' => 0x0c,
            b'r' => b'\r',
            other => other,
        };
        contents.push(plain);
        at += 2;
    }
    Cow::Owned(contents)
}

/// The index after the closing quote of the string literal that begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(offset) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += offset;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

/// Writes the escape that begins at `at` in canonical form; returns the index after it.
fn write_escape(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    let plain = |code_point: u32, out: &mut Vec<u8>| {
        write_code_point(code_point, out);
        at + 2
    };
    match bytes.get(at + 1) {
        Some(b'u') => {}
        Some(b'b') => return plain(0x08, out),
        Some(b'f') => return plain(0x0c, out),
        Some(b'n') => return plain(0x0a, out),
        Some(b'r') => return plain(0x0d, out),
        Some(b't') => return plain(0x09, out),
        Some(&other) => return plain(other.into(), out),
        None => return at + 1,
    }
    let unit = hex4(bytes, at + 2);
    if (0xd800..0xdc00).contains(&unit)
        && bytes.get(at + 6) == Some(&b'\\')
        && bytes.get(at + 7) == Some(&b'u')
    {
        let low = hex4(bytes, at + 8);
        if (0xdc00..0xe000).contains(&low) {
            write_code_point(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), out);
            return at + 12;
        }
    }
    write_code_point(unit, out);
    (at + 6).min(bytes.len())
}

fn hex4(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |digits| {
        digits
            .iter()
            .fold(0, |value, &digit| value << 4 | (digit as char).to_digit(16).unwrap_or(0))
    })
}

/// Writes one code point (or lone surrogate) as it stands inside a string literal.
fn write_code_point(code_point: u32, out: &mut Vec<u8>) {
    match code_point {
        0x08 => out.extend_from_slice(b"\\b"),
        0x09 => out.extend_from_slice(b"\\t"),
        0x0a => out.extend_from_slice(b"\\n"),
        0x0c => out.extend_from_slice(b"\\f"),
        0x0d => out.extend_from_slice(b"\\r"),
        0x22 => out.extend_from_slice(b"\\\""),
        0x5c => out.extend_from_slice(b"\\\\"),
        _ => match char::from_u32(code_point) {
            Some(character) if code_point >= 0x20 => {
                let mut buffer = [0; 4];
                out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
            }
            _ => {
                // Writing to a Vec cannot fail.
                let _ = write!(out, "\\u{code_point:04x}");
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compact(value: &str) -> String {
        let mut out = Vec::new();
        write_compact(value, &mut out);
        String::from_utf8(out).expect("canonical JSON is UTF-8")
    }

    #[test]
    fn white_space_goes_and_numbers_keep_their_spelling() {
        assert_eq!(
            compact("{ \"a b\" : [ 1.0 , 1e300,\n-0, 123456789012345678901234567890 ] }"),
            "{\"a b\":[1.0,1e300,-0,123456789012345678901234567890]}"
        );
    }

    #[test]
    fn escapes_come_out_as_utf_8_but_for_controls_and_lone_surrogates() {
        assert_eq!(compact(r#""\u00e9\u2603\ud83d\ude00\/\u0041""#), "\"é☃😀/A\"");
        assert_eq!(
            compact(r#""\u0000\u0008\u001F\n\"\\\u0022\u005c""#),
            r#""\u0000\b\u001f\n\"\\\"\\""#
        );
        assert_eq!(compact(r#""\uD800x\udc00\ud800\ud83d\ude00""#), "\"\\ud800x\\udc00\\ud800😀\"");
    }

    #[test]
    fn depth_counts_brackets_outside_of_strings_only() {
        assert_eq!(depth("5"), 0);
        assert_eq!(depth(r#"{"a[[[\"[":[[1],{}]}"#), 3);
    }

    #[test]
    fn the_bytes_of_a_name_are_those_of_its_utf_8() {
        let name = compact(r#""é\u0000\n\ud800x""#);
        assert_eq!(string_bytes(&name), 2 + 1 + 1 + 3 + 1);
        assert_eq!(&*string_contents(&name), b"\xc3\xa9\x00\n\xed\xa0\x80x");
        assert_eq!(&*string_contents(&compact(r#""\b\f\t\r\"\\\u001f""#)), b"\x08\x0c\t\r\"\\\x1f");
    }

    proptest! {
        #[test]
        fn any_text_survives_and_its_spelling_is_canonical(text: String) {
            let spelled = serde_json::to_string(&text).unwrap();
            let once = compact(&spelled);
            prop_assert_eq!(serde_json::from_str::<String>(&once).unwrap(), text.clone());
            prop_assert_eq!(compact(&once), once.clone());
            prop_assert_eq!(string_bytes(&once), text.len());
            prop_assert_eq!(string_contents(&once), text.as_bytes());
            let mut out = Vec::new();
            write_text(&text, &mut out);
            prop_assert_eq!(out, once.into_bytes());
        }

        #[test]
        fn no_input_whatever_panics(text: String) {
            write_compact(&text, &mut Vec::new());
            write_string(&text, &mut Vec::new());
            depth(&text);
        }
    }
}
