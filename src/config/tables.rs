//! Settings that are a list of tables, `[[section.name]]`, which a file alone can hold.
//!
//! The names, and that every value is of the kind that belongs there, are checked before anything is
//! merged, so that all problems of all entries are found and reading them cannot fail. What the values
//! mean is for the section to say.

use figment::value::{Dict, Value};

use super::{
    error::{Origin, Problem},
    given::Given,
    rights, settings, units,
};

/// What kind of value a setting of an entry takes.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Truth,
    /// A list of patterns of channels.
    Patterns,
}

/// A setting of an entry.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    kind: Kind,
}

impl Field {
    /// The setting whose example in the embedded file is `example`.
    pub(super) fn new(name: &'static str, example: &str) -> Self {
        let kind = match example.as_bytes().first() {
            Some(b'"') => Kind::Text,
            Some(b'[') => Kind::Patterns,
            _ => Kind::Truth,
        };
        Self { name, kind }
    }

    /// What is wrong with the kind of a value.
    fn check(self, value: &Value) -> Option<String> {
        let name = self.name;
        match (self.kind, value) {
            (Kind::Text, Value::String(..)) | (Kind::Truth, Value::Bool(..)) => None,
            (Kind::Text, _) => Some(format!("{name} is not a text; write it in quotes")),
            (Kind::Truth, _) => Some(format!("{name} is neither true nor false")),
            (Kind::Patterns, _) => rights::read(value).err().map(|text| format!("{name} {text}")),
        }
    }
}

/// One such setting.
pub(super) struct Tables {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// What an entry may hold.
    pub(super) fields: Vec<Field>,
}

impl Tables {
    /// Whether the key is this setting, or leads into it.
    pub(super) fn holds(&self, key: &[String]) -> bool {
        matches!(key, [section, name, ..] if section == self.section && name == self.name)
    }

    /// What is wrong with the names and types of what was given.
    pub(super) fn check(&self, given: &Given) -> Vec<Problem> {
        let mut texts = Vec::new();
        if let Origin::Variable(_) | Origin::Flag(_) = given.origin {
            texts.push(format!(
                "is a list of tables, which a file alone can hold: write {} there, one for each \
                 entry, and name the file by --config",
                self.header()
            ));
        } else {
            match entries(&given.value) {
                Some(entries) => {
                    for (index, entry) in entries.into_iter().enumerate() {
                        let in_entry =
                            |text| format!("has a problem in entry {}: {text}", index + 1);
                        texts.extend(self.check_entry(entry).map(in_entry));
                    }
                }
                None => texts.push(format!(
                    "is a list of tables; write {} on a line of its own and the settings of one \
                     entry below",
                    self.header()
                )),
            }
        }
        let key = format!("{}.{}", self.section, self.name);
        let problem = |text| Problem::new(key.clone(), text).at(given.origin.clone());
        texts.into_iter().map(problem).collect()
    }

    fn check_entry<'a>(&'a self, entry: &'a Dict) -> impl Iterator<Item = String> + 'a {
        entry.iter().filter_map(|(name, value)| {
            if let Some(field) = self.fields.iter().find(|field| field.name == name) {
                return field.check(value);
            }
            let names: Vec<_> = self.fields.iter().map(|field| field.name).collect();
            let advice = match settings::nearest_word(name, &names) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => format!("an entry has {}", names.join(", ")),
            };
            Some(format!("{} is not a setting; {advice}", units::quoted(name)))
        })
    }

    fn header(&self) -> String {
        format!("[[{}.{}]]", self.section, self.name)
    }
}

/// The tables of a list; `None` when something else stands among them or in its place.
fn entries(value: &Value) -> Option<Vec<&Dict>> {
    value.as_array()?.iter().map(Value::as_dict).collect()
}
