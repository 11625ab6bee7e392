//! A value in CBOR written as JSON.
//!
//! Text is text; bytes are the text whose code points they are (Latin-1). Integers keep every
//! digit, floats keep a point or an exponent. What JSON cannot hold is null. Keys that are not
//! strings become text; the last of equal keys counts.

use super::maps::{self, Entry};
use super::reader::{Head, Length, Reader};
use crate::protocol::json;
use crate::protocol::refusal::RefusalReason;
use std::borrow::Cow;
use std::io::Write;
use std::ops::Range;

/// A place in what is written.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its index.
    pub out: usize,
    removed: usize,
}

/// Writes values as JSON one after the other into a buffer. What the ranges in `removed` hold is
/// not part of the JSON: an entry of a map and the comma behind it.
#[derive(Debug)]
pub struct ToJson<'a> {
    /// What is read.
    pub reader: Reader<'a>,
    /// What is written.
    pub out: Vec<u8>,
    /// Ranges of `out` that do not count.
    removed: Vec<Range<usize>>,
    /// Entries of the maps that are being written, those of inner maps behind those of outer ones.
    entries: Vec<Entry>,
    /// Whether the key of a map is being written.
    in_key: bool,
}

impl<'a> ToJson<'a> {
    /// Writes what `reader` is about to read, about `length` bytes.
    pub fn new(reader: Reader<'a>, length: usize) -> Self {
        let out = Vec::with_capacity(length);
        Self { reader, out, removed: Vec::new(), entries: Vec::new(), in_key: false }
    }

    /// Writes the next item. An array or map is level `level` of the nesting, and the deepest level
    /// is [`json::MAX_DEPTH`].
    pub fn value(&mut self, level: usize) -> Result<(), RefusalReason> {
        match self.reader.head()? {
            Head::Unsigned(number) => write(&mut self.out, number),
            Head::Negative(number) => write(&mut self.out, -1 - i128::from(number)),
            Head::Float(number) => write_float(number, &mut self.out),
            Head::Bool(value) => write(&mut self.out, value),
            Head::Null => self.out.extend_from_slice(b"null"),
            Head::Text(length) => json::write_text(&self.reader.text(length)?, &mut self.out),
            Head::Bytes(length) => {
                json::write_text(&latin_1(&self.reader.byte_string(length)?), &mut self.out);
            }
            Head::Array(left) => {
                check_level(level)?;
                self.array(left, level)?;
            }
            Head::Map(left) => {
                check_level(level)?;
                self.map(left, level)?;
            }
        }
        Ok(())
    }

    fn array(&mut self, mut left: Length, level: usize) -> Result<(), RefusalReason> {
        self.out.push(b'[');
        let mut first = true;
        while self.reader.more(&mut left) {
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            self.value(level + 1)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn map(&mut self, mut left: Length, level: usize) -> Result<(), RefusalReason> {
        let outer = self.entries.len();
        self.out.push(b'{');
        while self.reader.more(&mut left) {
            if self.entries.len() > outer {
                self.out.push(b',');
            }
            let start = self.out.len();
            self.key(level)?;
            self.entries.push(Entry { start, key_end: self.out.len() });
            self.out.push(b':');
            self.value(level + 1)?;
        }
        self.out.push(b'}');
        self.override_earlier(outer);
        Ok(())
    }

    /// Writes the key of an entry of a map that is level `level`.
    pub fn key(&mut self, level: usize) -> Result<(), RefusalReason> {
        let before = self.reader.clone();
        match self.reader.head()? {
            Head::Text(length) => json::write_text(&self.reader.text(length)?, &mut self.out),
            Head::Bytes(length) => {
                json::write_text(&latin_1(&self.reader.byte_string(length)?), &mut self.out);
            }
            // As ECMAScript and Lua print it: a table's 1 is "1", however it was encoded.
            Head::Float(number) if number.is_finite() => {
                write(
                    &mut self.out,
                    format_args!("\"{}\"", ryu_js::Buffer::new().format_finite(number)),
                );
            }
            Head::Array(_) | Head::Map(_) => {
                self.reader = before;
                self.container_key(level)?;
            }
            _ => {
                self.reader = before;
                self.out.push(b'"');
                self.value(level)?;
                self.out.push(b'"');
            }
        }
        Ok(())
    }

    /// Writes a key that is an array or a map. None may lie within another: the escapes of each
    /// would be escaped again by the next, and the text would grow beyond all bounds.
    fn container_key(&mut self, level: usize) -> Result<(), RefusalReason> {
        if std::mem::replace(&mut self.in_key, true) {
            return Err(self.reader.wrong("an array or map as a key within such a key"));
        }
        let start = self.place();
        self.value(level + 1)?;
        self.in_key = false;
        let text = self.cut(start);
        json::write_text(&String::from_utf8_lossy(&text), &mut self.out);
        Ok(())
    }

    /// Where writing goes on.
    pub fn place(&self) -> Place {
        Place { out: self.out.len(), removed: self.removed.len() }
    }

    /// Takes back what has been written since `place`.
    pub fn forget(&mut self, place: Place) {
        self.out.truncate(place.out);
        self.removed.truncate(place.removed);
    }

    /// What is written, as much of it as counts.
    pub fn kept(&mut self) -> impl Iterator<Item = &[u8]> {
        let removed = std::mem::take(&mut self.removed);
        maps::kept(0..self.out.len(), removed).into_iter().map(|range| &self.out[range])
    }

    /// Takes back what has been written since `place`, and returns as much of it as counts.
    pub fn cut(&mut self, place: Place) -> Vec<u8> {
        let removed = self.removed.split_off(place.removed);
        let kept = maps::kept(place.out..self.out.len(), removed);
        let mut cut = Vec::with_capacity(kept.iter().map(Range::len).sum());
        for range in kept {
            cut.extend_from_slice(&self.out[range]);
        }
        self.out.truncate(place.out);
        cut
    }

    /// Notes an entry of a map that is not written by this module itself.
    pub fn note_entry(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Ends the map whose entries were noted from the `outer`th on.
    pub fn override_earlier(&mut self, outer: usize) {
        maps::override_earlier(&self.out, &self.entries[outer..], &mut self.removed);
        self.entries.truncate(outer);
    }
}

/// Refuses an array or map that is level `level` of the nesting, if that is too deep.
pub fn check_level(level: usize) -> Result<(), RefusalReason> {
    if level > json::MAX_DEPTH {
        return Err(RefusalReason::TooDeep { depth: level });
    }
    Ok(())
}

/// The text whose code points are `bytes`.
pub fn latin_1(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.is_ascii() => Cow::Borrowed(text),
        _ => bytes.iter().map(|&byte| char::from(byte)).collect::<String>().into(),
    }
}

fn write(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{value}");
}

/// Writes a float so that it is read as one again, in the fewest digits.
fn write_float(number: f64, out: &mut Vec<u8>) {
    if !number.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    if number == 0.0 && number.is_sign_negative() {
        out.push(b'-');
    }
    let start = out.len();
    out.extend_from_slice(ryu_js::Buffer::new().format_finite(number).as_bytes());
    if !out[start..].iter().any(|byte| matches!(byte, b'.' | b'e')) {
        out.extend_from_slice(b".0");
    }
}
