//! Settings that are a list of tables, `[[section.name]]`, which a file alone can hold.
//!
//! The names, and that every value is a text, are checked before anything is merged, so that all
//! problems of all entries are found and reading them cannot fail. What the texts mean is for the
//! section to say.

use figment::value::{Dict, Value};

use super::{
    error::{Origin, Problem},
    given::Given,
    settings, units,
};

/// One such setting.
pub(super) struct Tables {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// What an entry may hold, each a text.
    pub(super) fields: Vec<&'static str>,
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
            if !self.fields.contains(&name.as_str()) {
                let advice = match settings::nearest_word(name, &self.fields) {
                    Some(nearest) => format!("did you mean {nearest}?"),
                    None => format!("an entry has {}", self.fields.join(", ")),
                };
                return Some(format!("{} is not a setting; {advice}", units::quoted(name)));
            }
            match value {
                Value::String(..) => None,
                _ => Some(format!("{name} is not a text; write it in quotes")),
            }
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
