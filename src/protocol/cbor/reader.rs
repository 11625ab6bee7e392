//! The items of an encoded value, one after the other.
//!
//! Checks what RFC 8949 calls well-formed, and that text is UTF-8. Allocates nothing by announced
//! lengths: a string is borrowed, or joined from chunks that are there. Tags are passed over, since
//! a tagged value counts as the value.

use crate::protocol::refusal::RefusalReason;
use std::borrow::Cow;

/// How much a string, an array or a map holds; `None` if it goes on until a break.
pub type Length = Option<u64>;

/// The head of an item: all of it but for what strings and containers hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Head {
    /// An integer from 0 on.
    Unsigned(u64),
    /// The integer -1 - n.
    Negative(u64),
    /// A byte string of so many bytes, which follow.
    Bytes(Length),
    /// A text of so many bytes, which follow.
    Text(Length),
    /// An array of so many items, which follow.
    Array(Length),
    /// A map of so many pairs of items, which follow.
    Map(Length),
    /// False or true.
    Bool(bool),
    /// Null or undefined.
    Null,
    /// A float of any width.
    Float(f64),
}

impl Head {
    /// The number as an IEEE double, if this is one.
    pub fn number(self) -> Option<f64> {
        match self {
            Self::Unsigned(number) => Some(number as f64),
            Self::Negative(number) => Some((-1 - i128::from(number)) as f64),
            Self::Float(number) => Some(number),
            _ => None,
        }
    }

    /// What the item is, in words for an error.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Unsigned(_) | Self::Negative(_) | Self::Float(_) => "a number",
            Self::Bytes(_) => "a byte string",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Map(_) => "a map",
            Self::Bool(_) => "a boolean",
            Self::Null => "null",
        }
    }
}

/// Reads items from bytes. What is wrong is an error that tells the byte.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

const BREAK: u8 = 0xff;

const BYTES: u8 = 2;
const TEXT: u8 = 3;

impl<'a> Reader<'a> {
    /// A reader of `bytes` from their beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The bytes that have not been read.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// An error at the byte to be read next.
    pub fn wrong(&self, what: &str) -> RefusalReason {
        wrong_at(what, self.at)
    }

    /// The head of the next item, without its tags.
    pub fn head(&mut self) -> Result<Head, RefusalReason> {
        loop {
            let start = self.at;
            let (major, info) = self.initial()?;
            return Ok(match major {
                0 => Head::Unsigned(self.argument(info, start)?),
                1 => Head::Negative(self.argument(info, start)?),
                BYTES => Head::Bytes(self.length(info, start)?),
                TEXT => Head::Text(self.length(info, start)?),
                4 => Head::Array(self.length(info, start)?),
                5 => Head::Map(self.length(info, start)?),
                6 => {
                    self.argument(info, start)?;
                    continue;
                }
                _ => self.simple(info, start)?,
            });
        }
    }

    /// Whether another item comes in a container of which `left` items are left; takes the break
    /// that ends it.
    pub fn more(&mut self, left: &mut Length) -> bool {
        match left {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => {
                let ends = self.rest().first() == Some(&BREAK);
                self.at += usize::from(ends);
                !ends
            }
        }
    }

    /// What a text of `length` holds.
    pub fn text(&mut self, length: Length) -> Result<Cow<'a, str>, RefusalReason> {
        if let Some(length) = length {
            return self.chunk_of_text(length).map(Cow::Borrowed);
        }
        let mut joined = String::new();
        while let Some(length) = self.chunk(TEXT)? {
            joined.push_str(self.chunk_of_text(length)?);
        }
        Ok(Cow::Owned(joined))
    }

    /// What a byte string of `length` holds.
    pub fn byte_string(&mut self, length: Length) -> Result<Cow<'a, [u8]>, RefusalReason> {
        if let Some(length) = length {
            return self.take(length).map(Cow::Borrowed);
        }
        let mut joined = Vec::new();
        while let Some(length) = self.chunk(BYTES)? {
            joined.extend_from_slice(self.take(length)?);
        }
        Ok(Cow::Owned(joined))
    }

    /// The length of the next chunk of a string of unknown length, which must be of the string's
    /// own type; `None` at its end.
    fn chunk(&mut self, major: u8) -> Result<Length, RefusalReason> {
        if !self.more(&mut None) {
            return Ok(None);
        }
        let start = self.at;
        let (found, info) = self.initial()?;
        if found != major {
            return Err(wrong_at("a chunk of another type than its string", start));
        }
        match self.length(info, start)? {
            None => Err(wrong_at("a chunk of unknown length", start)),
            length => Ok(length),
        }
    }

    fn chunk_of_text(&mut self, length: u64) -> Result<&'a str, RefusalReason> {
        let start = self.at;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes)
            .map_err(|error| wrong_at("invalid UTF-8 in a text", start + error.valid_up_to()))
    }

    /// Major type and additional information of the byte to be read next.
    fn initial(&mut self) -> Result<(u8, u8), RefusalReason> {
        let [byte] = *self.take(1)? else { return Err(self.wrong("the end")) };
        Ok((byte >> 5, byte & 0x1f))
    }

    /// The argument of the head that begins at `start`.
    fn argument(&mut self, info: u8, start: usize) -> Result<u64, RefusalReason> {
        let bytes = match info {
            0..=23 => return Ok(info.into()),
            24..=27 => self.take(1 << (info - 24))?,
            28..=30 => return Err(wrong_at("a reserved kind of head", start)),
            _ => return Err(wrong_at("an unknown length where none may be", start)),
        };
        Ok(bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn length(&mut self, info: u8, start: usize) -> Result<Length, RefusalReason> {
        if info == 31 { Ok(None) } else { self.argument(info, start).map(Some) }
    }

    fn simple(&mut self, info: u8, start: usize) -> Result<Head, RefusalReason> {
        if info == 31 {
            return Err(wrong_at("a break where an item is due", start));
        }
        let argument = self.argument(info, start)?;
        Ok(match (info, argument) {
            (20, _) => Head::Bool(false),
            (21, _) => Head::Bool(true),
            (22 | 23, _) => Head::Null,
            (25, bits) => Head::Float(half(bits as u16)),
            (26, bits) => Head::Float(f32::from_bits(bits as u32).into()),
            (27, bits) => Head::Float(f64::from_bits(bits)),
            _ => return Err(wrong_at("a simple value without a meaning", start)),
        })
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], RefusalReason> {
        let rest = self.rest();
        match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => Err(wrong_at("the bytes end within an item", self.bytes.len())),
        }
    }
}

fn wrong_at(what: &str, at: usize) -> RefusalReason {
    RefusalReason::Cbor(format!("Error in CBOR: {what}, at byte {at}"))
}

/// The value of a float of 16 bits.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (fraction + 1024.0) * 2_f64.powi(exponent - 25),
    };
    if bits >> 15 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_of_16_bits_has_the_value_that_rfc_8949_gives() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0x3e00, 1.5),
            (0x7bff, 65504.0),
            (0x0001, 5.960464477539063e-8),
            (0x0400, 0.00006103515625),
            (0xc400, -4.0),
            (0x7c00, f64::INFINITY),
            (0xfc00, f64::NEG_INFINITY),
        ] {
            assert_eq!(half(bits), value, "{bits:04x}");
        }
        assert!(half(0x8000).is_sign_negative());
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn what_is_not_well_formed_is_refused_with_its_place() {
        let refused = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes);
            let read = reader.head().and_then(|head| match head {
                Head::Text(length) => reader.text(length).map(drop),
                Head::Bytes(length) => reader.byte_string(length).map(drop),
                _ => Ok(()),
            });
            read.expect_err("it is refused").to_string()
        };
        for (bytes, what) in [
            (&b""[..], "end within an item, at byte 0"),
            (b"\x19\x01", "end within an item, at byte 2"),
            (b"\x1c", "reserved kind of head, at byte 0"),
            (b"\x1f", "unknown length where none may be"),
            (b"\xdf\x00", "unknown length where none may be"),
            (b"\xff", "a break where an item is due"),
            (b"\xc1\xff", "a break where an item is due, at byte 1"),
            (b"\xe0", "a simple value without a meaning"),
            (b"\xf8\x16", "a simple value without a meaning"),
            (b"\xfd", "reserved kind of head"),
            (b"\x62a\xff", "invalid UTF-8 in a text, at byte 2"),
            (b"\x7b\xff\xff\xff\xff\xff\xff\xff\xff", "end within an item, at byte 9"),
            (b"\x7f\x41a\xff", "a chunk of another type than its string, at byte 1"),
            (b"\x7f\xc0\x61a\xff", "a chunk of another type"),
            (b"\x5f\x5f\xff\xff", "a chunk of unknown length, at byte 1"),
            (b"\x7f\x61\xc3\x61\xa9\xff", "invalid UTF-8 in a text"),
            (b"\x7f\x61a", "end within an item, at byte 3"),
        ] {
            let words = refused(bytes);
            assert!(words.contains(what), "{bytes:02x?}: {words}");
        }
    }

    #[test]
    fn chunks_are_joined() {
        let mut reader = Reader::new(b"\x7f\x62he\x60\x61y\xff");
        assert_eq!(reader.head(), Ok(Head::Text(None)));
        assert_eq!(reader.text(None).unwrap(), "hey");
        assert!(reader.rest().is_empty());
    }
}
