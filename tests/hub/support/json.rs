//! A JSON reader for comparing: strings are UTF-16 so that lone surrogates survive, numbers are
//! doubles, of a key given twice the last counts. It is strict: what it takes is JSON.

use std::{collections::BTreeMap, fmt};

/// A JSON value.
#[derive(Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(Vec<u16>),
    Array(Vec<Json>),
    Object(BTreeMap<Vec<u16>, Json>),
}

impl Json {
    /// Reads a whole text.
    pub fn parse(text: &str) -> Result<Json, String> {
        let mut reader = Reader { text, at: 0 };
        reader.space();
        let value = reader.value()?;
        reader.space();
        if reader.at == text.len() { Ok(value) } else { Err(reader.wrong("the end")) }
    }

    /// A string value.
    pub fn string(text: &str) -> Json {
        Json::Text(text.encode_utf16().collect())
    }

    /// The value of a key of an object.
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.get(&key.encode_utf16().collect::<Vec<_>>()),
            _ => None,
        }
    }

    /// The text of a string; lone surrogates become U+FFFD.
    pub fn as_text(&self) -> Option<String> {
        match self {
            Json::Text(units) => Some(String::from_utf16_lossy(units)),
            _ => None,
        }
    }

    /// The value of a number.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Json::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn as_array(&self) -> Option<&[Json]> {
        match self {
            Json::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// The text of a key that must be there and a string.
    pub fn text_of(&self, key: &str) -> String {
        self.get(key)
            .and_then(Json::as_text)
            .unwrap_or_else(|| panic!("{self:?} has a string {key:?}"))
    }

    /// The number of a key that must be there and a number.
    pub fn number_of(&self, key: &str) -> f64 {
        self.get(key)
            .and_then(Json::as_number)
            .unwrap_or_else(|| panic!("{self:?} has a number {key:?}"))
    }

    /// The elements of a key that must be there and an array.
    pub fn array_of(&self, key: &str) -> &[Json] {
        self.get(key)
            .and_then(Json::as_array)
            .unwrap_or_else(|| panic!("{self:?} has an array {key:?}"))
    }

    /// Whether this is an object with this `type`.
    pub fn is(&self, kind: &str) -> bool {
        self.get("type") == Some(&Json::string(kind))
    }
}

/// The keys of an object in order, each with the raw text of its value, duplicates included.
pub fn members(text: &str) -> Result<Vec<(String, &str)>, String> {
    let mut reader = Reader { text, at: 0 };
    let mut found = Vec::new();
    reader.object(|reader, key| {
        let start = reader.at;
        reader.value()?;
        found.push((String::from_utf16_lossy(&key), &text[start..reader.at]));
        Ok(())
    })?;
    Ok(found)
}

impl fmt::Debug for Json {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => out.write_str("null"),
            Json::Bool(value) => write!(out, "{value}"),
            Json::Number(number) => write!(out, "{number}"),
            Json::Text(units) => quoted(units, out),
            Json::Array(elements) => out.debug_list().entries(elements).finish(),
            Json::Object(members) => {
                out.write_str("{")?;
                for (place, (key, value)) in members.iter().enumerate() {
                    out.write_str(if place == 0 { "" } else { "," })?;
                    quoted(key, out)?;
                    write!(out, ":{value:?}")?;
                }
                out.write_str("}")
            }
        }
    }
}

fn quoted(units: &[u16], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    out.write_str("\"")?;
    for unit in char::decode_utf16(units.iter().copied()) {
        match unit {
            Ok(character) => write!(out, "{}", character.escape_debug())?,
            Err(lone) => write!(out, "\\u{:04x}", lone.unpaired_surrogate())?,
        }
    }
    out.write_str("\"")
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn wrong(&self, wanted: &str) -> String {
        // A part of it: wrong turns are taken often, and a text may be long.
        let bytes = self.text.as_bytes();
        let rest = &bytes[self.at..bytes.len().min(self.at + 200)];
        let rest = String::from_utf8_lossy(rest);
        format!("wanted {wanted} at byte {} of {}, before {rest:?}", self.at, bytes.len())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, literal: &str) -> Result<(), String> {
        if self.text.as_bytes()[self.at..].starts_with(literal.as_bytes()) {
            self.at += literal.len();
            Ok(())
        } else {
            Err(self.wrong(literal))
        }
    }

    fn value(&mut self) -> Result<Json, String> {
        match self.peek() {
            Some(b'n') => self.expect("null").map(|()| Json::Null),
            Some(b't') => self.expect("true").map(|()| Json::Bool(true)),
            Some(b'f') => self.expect("false").map(|()| Json::Bool(false)),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'[') => self.array(),
            Some(b'{') => {
                let mut members = BTreeMap::new();
                self.object(|reader, key| {
                    let value = reader.value()?;
                    members.insert(key, value);
                    Ok(())
                })?;
                Ok(Json::Object(members))
            }
            _ => self.number(),
        }
    }

    fn array(&mut self) -> Result<Json, String> {
        let mut elements = Vec::new();
        self.expect("[")?;
        self.space();
        if self.expect("]").is_ok() {
            return Ok(Json::Array(elements));
        }
        loop {
            self.space();
            elements.push(self.value()?);
            self.space();
            if self.expect("]").is_ok() {
                return Ok(Json::Array(elements));
            }
            self.expect(",")?;
        }
    }

    fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Vec<u16>) -> Result<(), String>,
    ) -> Result<(), String> {
        self.expect("{")?;
        self.space();
        if self.expect("}").is_ok() {
            return Ok(());
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.expect(":")?;
            self.space();
            member(self, key)?;
            self.space();
            if self.expect("}").is_ok() {
                return Ok(());
            }
            self.expect(",")?;
        }
    }

    fn string(&mut self) -> Result<Vec<u16>, String> {
        let mut units = Vec::new();
        self.expect("\"")?;
        loop {
            let rest = &self.text[self.at..];
            let character = rest.chars().next().ok_or_else(|| self.wrong("a quote"))?;
            match character {
                '"' => {
                    self.at += 1;
                    return Ok(units);
                }
                '\\' => {
                    self.at += 1;
                    units.push(self.escape()?);
                }
                '\0'..='\u{1f}' => return Err(self.wrong("an escaped control character")),
                _ => {
                    self.at += character.len_utf8();
                    units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<u16, String> {
        let kind = self.peek().ok_or_else(|| self.wrong("an escape"))?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => kind.into(),
            b'b' => 8,
            b'f' => 12,
            b'n' => 10,
            b'r' => 13,
            b't' => 9,
            b'u' => {
                let digits = self.text.get(self.at..self.at + 4);
                let digits = digits.filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()));
                let digits = digits.ok_or_else(|| self.wrong("four hex digits"))?;
                self.at += 4;
                u16::from_str_radix(digits, 16).expect("four hex digits are a number")
            }
            _ => return Err(self.wrong("a known escape")),
        })
    }

    fn digits(&mut self) -> Result<(), String> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.wrong("a digit")) }
    }

    fn number(&mut self) -> Result<Json, String> {
        let start = self.at;
        let _ = self.expect("-");
        if self.expect("0").is_err() {
            self.digits()?;
        }
        if self.expect(".").is_ok() {
            self.digits()?;
        }
        if self.expect("e").is_ok() || self.expect("E").is_ok() {
            let _ = self.expect("+").or_else(|_| self.expect("-"));
            self.digits()?;
        }
        let number = self.text[start..self.at].parse();
        Ok(Json::Number(number.map_err(|_| self.wrong("a number"))?))
    }
}
