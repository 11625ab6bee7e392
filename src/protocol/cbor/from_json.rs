//! A value in JSON written as CBOR.
//!
//! Input is JSON as the hub writes it: valid, compact, its strings in canonical form. A number
//! spelled as an integer stays one where CBOR can hold it, others become floats. A lone surrogate
//! becomes U+FFFD; of equal keys the last is left.

use super::builder::Builder;
use memchr::memchr;
use std::borrow::Cow;

/// The least integer that CBOR holds: -2^64.
const LEAST: i128 = -1 - u64::MAX as i128;

/// Reads values one after the other. Of what is not valid the output is unspecified (but never a
/// panic).
#[derive(Debug)]
pub struct FromJson<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> FromJson<'a> {
    /// A reader of `bytes` from their beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Takes the next byte if it is `byte`.
    pub fn take(&mut self, byte: u8) -> bool {
        let is_next = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Takes the next byte if it is `,`; if it is anything else, the container ends with it.
    fn goes_on(&mut self) -> bool {
        let comma = self.bytes.get(self.at) == Some(&b',');
        self.at += 1;
        comma
    }

    /// Takes a string.
    pub fn string(&mut self) -> Cow<'a, str> {
        let bytes = self.bytes;
        let start = self.at + 1;
        let mut end = start;
        let mut escaped = false;
        loop {
            let rest = bytes.get(end..).unwrap_or_default();
            match memchr::memchr2(b'"', b'\\', rest) {
                Some(at) if rest[at] == b'\\' => {
                    escaped = true;
                    end += at + 2;
                }
                Some(at) => {
                    end += at;
                    break;
                }
                None => {
                    end += rest.len();
                    break;
                }
            }
        }
        self.at = end + 1;
        let inner = bytes.get(start..end).unwrap_or_default();
        if escaped {
            return unescaped(inner).into();
        }
        // Quicker than the other alone, which looks at each byte.
        std::str::from_utf8(inner).map_or_else(|_| String::from_utf8_lossy(inner), Cow::Borrowed)
    }

    /// Takes a value and writes it.
    pub fn value(&mut self, out: &mut Builder) {
        match self.bytes.get(self.at) {
            Some(b'"') => out.text(&self.string()),
            Some(b'[') => {
                self.at += 1;
                let (array, mut count) = (out.array(), 0);
                let mut more = !self.take(b']');
                while more {
                    self.value(out);
                    count += 1;
                    more = self.goes_on();
                }
                out.end_array(array, count);
            }
            Some(b'{') => {
                self.at += 1;
                let map = out.map();
                let mut more = !self.take(b'}');
                while more {
                    let start = out.at();
                    out.text(&self.string());
                    out.key_written(start);
                    self.take(b':');
                    self.value(out);
                    more = self.goes_on();
                }
                out.end_map(map);
            }
            _ => {
                let rest = self.bytes.get(self.at..).unwrap_or_default();
                let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}');
                let length = rest.iter().position(ends).unwrap_or(rest.len());
                self.at += length;
                scalar(&rest[..length], out);
            }
        }
    }
}

/// Writes a literal or a number.
fn scalar(spelled: &[u8], out: &mut Builder) {
    match spelled {
        b"true" => out.bool(true),
        b"false" => out.bool(false),
        _ => match std::str::from_utf8(spelled) {
            Ok(number) => write_number(number, out),
            Err(_) => out.null(),
        },
    }
}

/// Writes a number as it is spelled: an integer as one, if CBOR holds it.
fn write_number(spelled: &str, out: &mut Builder) {
    // No integer in CBOR is -0.
    if spelled != "-0"
        && let Ok(integer) = spelled.parse::<i128>()
    {
        if let Ok(number) = u64::try_from(integer) {
            return out.unsigned(number);
        }
        if (LEAST..0).contains(&integer) {
            return out.negative((-1 - integer) as u64);
        }
    }
    match spelled.parse::<f64>() {
        Ok(number) => out.float(number),
        Err(_) => out.null(),
    }
}

/// The text that the inside of a canonical literal spells.
fn unescaped(inner: &[u8]) -> String {
    let mut text = Vec::with_capacity(inner.len());
    let mut at = 0;
    while let Some(offset) = memchr(b'\\', inner.get(at..).unwrap_or_default()) {
        text.extend_from_slice(&inner[at..at + offset]);
        at += offset + 2;
        match inner.get(at - 1) {
            Some(b'b') => text.push(0x08),
            Some(b'f') => text.push(0x0c),
            Some(b'n') => text.push(b'\n'),
            Some(b'r') => text.push(b'\r'),
            Some(b't') => text.push(b'\t'),
            Some(b'u') => {
                let digits = inner.get(at..at + 4).and_then(|hex| std::str::from_utf8(hex).ok());
                let unit = digits.and_then(|hex| u32::from_str_radix(hex, 16).ok());
                // A canonical literal escapes no surrogate that has its other half.
                let character =
                    unit.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                at += 4;
            }
            Some(&other) => text.push(other),
            None => {}
        }
    }
    text.extend_from_slice(inner.get(at..).unwrap_or_default());
    String::from_utf8_lossy(&text).into_owned()
}
