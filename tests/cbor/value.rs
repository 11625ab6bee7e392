//! CBOR values for comparing: a reader that takes only what the hub is to write (lengths known,
//! heads and floats in their shortest form, no tags, no key twice), a writer, and a reader of the
//! notation in which the original's answers were recorded.

use std::fmt;

/// A value in CBOR.
#[derive(Clone, PartialEq)]
pub enum Cbor {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Cbor>),
    Map(Vec<(Cbor, Cbor)>),
}

impl Cbor {
    pub fn text(text: &str) -> Cbor {
        Cbor::Text(text.to_owned())
    }

    /// The value of a key that is a text.
    pub fn get(&self, key: &str) -> Option<&Cbor> {
        let Cbor::Map(entries) = self else { return None };
        entries.iter().find(|(name, _)| *name == Cbor::text(key)).map(|(_, value)| value)
    }

    /// Removes a key that is a text, and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Cbor> {
        let Cbor::Map(entries) = self else { return None };
        let place = entries.iter().position(|(name, _)| *name == Cbor::text(key))?;
        Some(entries.remove(place).1)
    }

    /// The same value with the entries of its maps in one order.
    pub fn sorted(self) -> Cbor {
        match self {
            Cbor::Array(items) => Cbor::Array(items.into_iter().map(Cbor::sorted).collect()),
            Cbor::Map(entries) => {
                let sort = |(key, value): (Cbor, Cbor)| (key.sorted(), value.sorted());
                let mut entries: Vec<_> = entries.into_iter().map(sort).collect();
                entries.sort_by_key(|(key, _)| key.encode());
                Cbor::Map(entries)
            }
            other => other,
        }
    }

    /// Reads a whole value, strictly.
    pub fn parse(bytes: &[u8]) -> Result<Cbor, String> {
        let mut reader = Reader { bytes, at: 0 };
        let value = reader.value()?;
        if reader.at == bytes.len() { Ok(value) } else { Err(reader.wrong("more than a value")) }
    }

    /// Writes the value; floats in 64 bits.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Cbor::Null => vec![0xf6],
            Cbor::Bool(value) => vec![0xf4 + u8::from(*value)],
            Cbor::Integer(number @ 0..) => head(0, *number as u64),
            Cbor::Integer(number) => head(1, (-1 - number) as u64),
            Cbor::Float(number) => [&[0xfb][..], &number.to_be_bytes()].concat(),
            Cbor::Bytes(bytes) => [head(2, bytes.len() as u64), bytes.clone()].concat(),
            Cbor::Text(text) => [&head(3, text.len() as u64), text.as_bytes()].concat(),
            Cbor::Array(items) => {
                let bytes = items.iter().flat_map(Cbor::encode);
                head(4, items.len() as u64).into_iter().chain(bytes).collect()
            }
            Cbor::Map(entries) => {
                let mut bytes = head(5, entries.len() as u64);
                for (key, value) in entries {
                    bytes.extend(key.encode());
                    bytes.extend(value.encode());
                }
                bytes
            }
        }
    }

    /// Reads a value as Python writes it.
    pub fn from_python(text: &str) -> Cbor {
        let mut python = Python { rest: text };
        let value = python.value();
        assert!(python.rest.is_empty(), "a whole value: {text}");
        value
    }
}

impl fmt::Debug for Cbor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cbor::Null => f.write_str("null"),
            Cbor::Bool(value) => write!(f, "{value}"),
            Cbor::Integer(number) => write!(f, "{number}"),
            Cbor::Float(number) => write!(f, "{number:?}f"),
            Cbor::Bytes(bytes) => write!(f, "b{bytes:02x?}"),
            Cbor::Text(text) => write!(f, "{text:?}"),
            Cbor::Array(items) => f.debug_list().entries(items).finish(),
            Cbor::Map(entries) => {
                f.debug_map().entries(entries.iter().map(|(key, value)| (key, value))).finish()
            }
        }
    }
}

/// The head of an item in its shortest form.
pub fn head(major: u8, argument: u64) -> Vec<u8> {
    let bytes = argument.to_be_bytes();
    let (info, length) = match argument {
        0..=23 => return vec![major << 5 | argument as u8],
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    [&[major << 5 | info], &bytes[8 - length..]].concat()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn wrong(&self, what: &str) -> String {
        format!("{what} at byte {} of {:02x?}", self.at, self.bytes)
    }

    fn take(&mut self, length: u64) -> Result<&[u8], String> {
        let end = self.at + length as usize;
        let bytes = self.bytes.get(self.at..end).ok_or_else(|| self.wrong("the end"))?;
        self.at = end;
        Ok(bytes)
    }

    fn value(&mut self) -> Result<Cbor, String> {
        let start = self.at;
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 0x1f);
        let width = match info {
            0..=23 => 0,
            24..=27 => 1 << (info - 24),
            _ => return Err(self.wrong("a reserved head, or an unknown length")),
        };
        let argument = match self.take(width)? {
            [] => u64::from(info),
            bytes => bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)),
        };
        if major < 7 && self.bytes[start..self.at] != head(major, argument) {
            return Err(self.wrong("a head that is not in its shortest form"));
        }
        Ok(match major {
            0 => Cbor::Integer(argument.into()),
            1 => Cbor::Integer(-1 - i128::from(argument)),
            2 => Cbor::Bytes(self.take(argument)?.to_vec()),
            3 => {
                let text = String::from_utf8(self.take(argument)?.to_vec());
                Cbor::Text(text.map_err(|_| self.wrong("text that is not UTF-8"))?)
            }
            4 => {
                let items = (0..argument).map(|_| self.value());
                Cbor::Array(items.collect::<Result<_, _>>()?)
            }
            5 => {
                let mut entries: Vec<(Cbor, Cbor)> = Vec::new();
                for _ in 0..argument {
                    let key = self.value()?;
                    if entries.iter().any(|(known, _)| known.encode() == key.encode()) {
                        return Err(self.wrong("a key that was there before"));
                    }
                    entries.push((key, self.value()?));
                }
                Cbor::Map(entries)
            }
            7 => self.simple(info, argument)?,
            _ => return Err(self.wrong("a tag")),
        })
    }

    fn simple(&self, info: u8, argument: u64) -> Result<Cbor, String> {
        let single = f32::from_bits(argument as u32);
        Ok(match info {
            20 => Cbor::Bool(false),
            21 => Cbor::Bool(true),
            22 => Cbor::Null,
            25 => Cbor::Float(half(argument as u16)),
            26 if half_holds(single.into()) => return Err(self.wrong("a float too wide")),
            26 => Cbor::Float(single.into()),
            27 => {
                let number = f64::from_bits(argument);
                if f64::from(number as f32) == number {
                    return Err(self.wrong("a float too wide"));
                }
                Cbor::Float(number)
            }
            _ => return Err(self.wrong("a simple value")),
        })
    }
}

/// RFC 8949, appendix D.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 => panic!("no float that is not finite is sent"),
        _ => (fraction + 1024.0) * 2_f64.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { size } else { -size }
}

/// Whether 16 bits hold the number: up to 65504, and a multiple of the last of eleven binary
/// digits, or of 2^-24 if that is more.
fn half_holds(number: f64) -> bool {
    let size = number.abs();
    let digit = (size.log2().floor() as i32 - 10).max(-24);
    size == 0.0 || size <= 65504.0 && (size * 2_f64.powi(-digit)).fract() == 0.0
}

struct Python<'a> {
    rest: &'a str,
}

impl Python<'_> {
    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self) -> Cbor {
        if self.take("None") {
            return Cbor::Null;
        }
        if self.take("<time>") {
            return Cbor::text("<time>");
        }
        if self.take("b'") {
            return Cbor::Bytes(self.string().into_iter().map(|unit| unit as u8).collect());
        }
        if self.take("'") {
            return Cbor::Text(self.string().into_iter().collect());
        }
        if self.take("[") {
            let mut items = Vec::new();
            while !self.take("]") {
                items.push(self.value());
                self.take(", ");
            }
            return Cbor::Array(items);
        }
        if self.take("{") {
            let mut entries = Vec::new();
            while !self.take("}") {
                let key = self.value();
                assert!(self.take(": "), "a value: {}", self.rest);
                entries.push((key, self.value()));
                self.take(", ");
            }
            return Cbor::Map(entries);
        }
        let end = self.rest.find([',', ']', '}', ':']).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        match number.parse() {
            Ok(integer) => Cbor::Integer(integer),
            Err(_) => Cbor::Float(number.parse().expect("a number")),
        }
    }

    /// The rest of a string, without its quotes.
    fn string(&mut self) -> Vec<char> {
        let mut characters = Vec::new();
        let mut rest = self.rest.chars();
        loop {
            match rest.next().expect("a string has an end") {
                '\'' => break,
                '\\' => match rest.next().expect("an escape") {
                    'x' => {
                        let digits: String = rest.by_ref().take(2).collect();
                        let unit = u32::from_str_radix(&digits, 16).expect("hex digits");
                        characters.push(char::from_u32(unit).expect("a character"));
                    }
                    other => characters.push(other),
                },
                other => characters.push(other),
            }
        }
        self.rest = rest.as_str();
        characters
    }
}
