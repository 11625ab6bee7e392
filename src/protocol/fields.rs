//! The keys of a JSON object and the text of their values, each key once.
//!
//! `serde_json` finds out whether the text is JSON and where its keys and values lie; nothing here
//! builds values. Of a key given twice the last counts.

use super::channel::kind_of;
use super::json;
use super::refusal::RefusalReason;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// The keys of an object (canonical literals, with their quotes), each once, with the text of
/// their values.
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Fields<'a> {
    /// Reads the object that `text` is.
    ///
    /// # Errors
    /// The text is not JSON, or another value.
    pub fn parse(text: &'a str) -> Result<Self, RefusalReason> {
        let syntax = |error: serde_json::Error| RefusalReason::Syntax(error.to_string());
        let first = text.trim_start_matches([' ', '\t', '\n', '\r']).bytes().next();
        if first == Some(b'{') {
            return serde_json::from_str(text).map_err(syntax);
        }
        serde_json::from_str::<IgnoredAny>(text).map_err(syntax)?;
        Err(RefusalReason::NotAnObject { found: kind_of(first) })
    }

    /// The value of `key`, which is given with its quotes.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// The value of `key`, which is given with its quotes; none if it is null.
    pub fn given(&self, key: &str) -> Option<&'a str> {
        self.get(key).filter(|&value| value != "null")
    }

    /// All keys and values, in the order of their first appearance.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(key, value)| (&**key, *value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Collector::default();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    fields.insert(key.get(), value.get());
                }
                Ok(Fields(fields.list))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// Collects fields, the last of equal keys winning. Few keys are searched one by one; an index
/// keeps a message of thousands of keys from costing the square of their number.
#[derive(Default)]
struct Collector<'a> {
    list: Vec<(Cow<'a, str>, &'a str)>,
    index: HashMap<Cow<'a, str>, usize>,
}

impl<'a> Collector<'a> {
    const SEARCHED: usize = 16;

    fn insert(&mut self, literal: &'a str, value: &'a str) {
        let key = canonical_key(literal);
        if let Some(place) = self.find(&key) {
            self.list[place].1 = value;
            return;
        }
        if self.list.len() == Self::SEARCHED {
            let keys = self.list.iter().enumerate();
            self.index = keys.map(|(place, (key, _))| (key.clone(), place)).collect();
        }
        if self.list.len() >= Self::SEARCHED {
            self.index.insert(key.clone(), self.list.len());
        }
        self.list.push((key, value));
    }

    fn find(&self, key: &str) -> Option<usize> {
        if self.index.is_empty() {
            self.list.iter().position(|(known, _)| known == key)
        } else {
            self.index.get(key).copied()
        }
    }
}

fn canonical_key(literal: &str) -> Cow<'_, str> {
    if !literal.contains('\\') {
        return Cow::Borrowed(literal);
    }
    let mut canonical = Vec::with_capacity(literal.len());
    json::write_string(literal, &mut canonical);
    Cow::Owned(String::from_utf8_lossy(&canonical).into_owned())
}
