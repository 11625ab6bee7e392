//! The names of all settings, and the nearest one to a name that is wrong.
//!
//! The names are read out of the embedded `config.toml`, in its order: a line `name = …`, or
//! `#name = …` for a setting without a default, below its `[section]`. A list of tables is a line
//! `#[[section.name]]` and what an entry may hold below it.

use figment::value::Value;

use super::{
    DEFAULT_FILE,
    error::{Origin, Problem},
    given::{Given, VARIABLE_PREFIX},
    nearest::{allowed, folded, nearest_word},
    tables::{Field, Tables},
    units,
};

/// The names of all settings.
pub(super) struct Settings {
    /// Section and name, in the order of the file; a section within another is named `hub.tls`.
    known: Vec<(&'static str, &'static str)>,
    /// Those of them that are lists of tables.
    tables: Vec<Tables>,
}

impl Settings {
    pub(super) fn new() -> Self {
        let mut section = "";
        let (mut known, mut tables) = (Vec::new(), Vec::<Tables>::new());
        let mut in_tables = false;
        for line in DEFAULT_FILE.lines() {
            if let Some(path) = line.strip_prefix("#[[").and_then(|rest| rest.strip_suffix("]]"))
                && let Some((section, name)) = path.split_once('.')
            {
                in_tables = true;
                known.push((section, name));
                tables.push(Tables { section, name, fields: Vec::new() });
            } else if let Some(name) =
                line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
            {
                section = name;
                in_tables = false;
            } else if let Some((name, example)) = line.split_once(" = ") {
                // What explains a setting begins with a hash and a space.
                let name = name.strip_prefix('#').unwrap_or(name);
                match tables.last_mut() {
                    _ if name.contains(' ') => {}
                    Some(tables) if in_tables => tables.fields.push(Field::new(name, example)),
                    _ => known.push((section, name)),
                }
            }
        }
        Self { known, tables }
    }

    /// Section and name of every setting, in the order of the file.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.known.iter().copied()
    }

    /// How many parts at the beginning of `key` name a setting.
    pub(super) fn length_of_setting(&self, key: &[String]) -> Option<usize> {
        let mut settings = self.iter();
        settings.find_map(|(section, name)| {
            let parts = section.split('.').chain([name]);
            let length = parts.clone().count();
            key.get(..length).is_some_and(|key| parts.eq(key)).then_some(length)
        })
    }

    fn section(&self, section: &str) -> Vec<&'static str> {
        self.iter().filter(|(of, _)| *of == section).map(|(_, name)| name).collect()
    }

    fn sections(&self) -> Vec<&'static str> {
        let mut sections: Vec<_> = self.iter().map(|(section, _)| section).collect();
        sections.dedup();
        sections
    }

    /// What is wrong with the name of a setting, and with the names within it.
    pub(super) fn check(&self, given: &Given) -> Vec<Problem> {
        if let Some(tables) = self.tables.iter().find(|tables| tables.holds(&given.key)) {
            return tables.check(given);
        }
        match self.length_of_setting(&given.key) {
            Some(length) if length == given.key.len() => return Vec::new(),
            Some(length) if matches!(given.origin, Origin::File { .. }) => {
                let key = given.key[..length].join(".");
                return vec![Problem::new(key, units::IS_A_SECTION).at(given.origin.clone())];
            }
            _ => {}
        }
        let section = self.sections().into_iter().find(|section| is_named(&given.key, section));
        let text = match section {
            Some(_) if matches!(given.value, Value::Dict(..)) => return Vec::new(),
            Some(section) => self.section_is_not_a_value(section, &given.origin),
            None => self.unknown(given),
        };
        let key = given.key.join(".");
        vec![Problem::new(key, text).at(given.origin.clone())]
    }

    fn section_is_not_a_value(&self, section: &str, origin: &Origin) -> String {
        let first = self.section(section)[0];
        let how = match origin {
            Origin::Variable(_) | Origin::Flag(_) => {
                format!("name one of its settings, such as {}", spelled(section, first, origin))
            }
            _ => format!("write [{section}] on a line of its own and its settings below"),
        };
        format!("is a section and takes no value; {how}")
    }

    fn unknown(&self, given: &Given) -> String {
        // A section of a file is wrong as a whole: its settings may well be right.
        let of_a_file = matches!(given.origin, Origin::File { .. } | Origin::Default);
        let section = &given.key[0];
        let wrong_section = of_a_file && !self.sections().contains(&section.as_str());
        if wrong_section && let Some(nearest) = nearest_word(section, &self.sections()) {
            return format!(
                "is not a setting: there is no section [{section}]; did you mean [{nearest}]?"
            );
        }
        if let Some((section, name)) = self.nearest(&given.key) {
            let spelled = spelled(section, name, &given.origin);
            let why = match &given.origin {
                Origin::Variable(wrong) if wrong.replace('_', "") == spelled.replace('_', "") => {
                    " (two underscores between section and name)"
                }
                _ => "",
            };
            return format!("is not a setting; did you mean {spelled}?{why}");
        }
        let settings = self.section(section);
        let there_are = if settings.is_empty() {
            format!("the sections are {}", self.sections().join(", "))
        } else {
            format!("[{section}] has {}", settings.join(", "))
        };
        let why = match &given.origin {
            Origin::Variable(_) => {
                format!(" (every variable that begins with {VARIABLE_PREFIX} is read as a setting)")
            }
            _ => String::new(),
        };
        format!("is not a setting; {there_are}{why}")
    }

    /// The setting whose name is likest to `key`, if any is like it.
    fn nearest(&self, key: &[String]) -> Option<(&'static str, &'static str)> {
        let wrong = folded(&key.join("."));
        let last = folded(key.last()?);
        self.iter()
            .map(|(section, name)| {
                let whole =
                    strsim::damerau_levenshtein(&wrong, &folded(&format!("{section}.{name}")));
                // The right name in the wrong section is near as well.
                let part = 1 + strsim::damerau_levenshtein(&last, &folded(name));
                (whole.min(part), (section, name))
            })
            .min_by_key(|(distance, _)| *distance)
            .filter(|(distance, _)| *distance <= allowed(&last))
            .map(|(_, setting)| setting)
    }
}

/// Whether the parts of `key` are those of a section's name.
fn is_named(key: &[String], section: &str) -> bool {
    section.split('.').eq(key)
}

/// A setting as it is named in the place where it was given.
fn spelled(section: &str, name: &str, origin: &Origin) -> String {
    match origin {
        Origin::Variable(_) => variable(section, name),
        Origin::Flag(_) => format!("--set {section}.{name}=VALUE"),
        Origin::File { .. } | Origin::Default => format!("{section}.{name}"),
    }
}

/// The environment variable of a setting.
pub(super) fn variable(section: &str, name: &str) -> String {
    format!("{VARIABLE_PREFIX}{}__{name}", section.replace('.', "__")).to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AdminConfig, Config, HubToken, RightsConfig, Secret};

    fn complaint(key: &str, origin: Origin) -> String {
        let given = Given {
            key: key.split('.').map(str::to_owned).collect(),
            value: Value::from("x"),
            origin,
        };
        Settings::new().check(&given).iter().map(Problem::to_string).collect()
    }

    fn in_file() -> Origin {
        Origin::File { path: "f".into(), line: 1 }
    }

    #[test]
    fn the_embedded_file_and_the_types_have_the_same_settings() {
        let mut config = Config::default();
        config.admin.token = Some(Secret::new("x"));
        config.admin.token_file = Some("x".into());
        config.admin.read_token = Some(Secret::new("x"));
        config.admin.read_token_file = Some("x".into());
        config.admin.state_dir = Some("x".into());
        config.admin.bans_file = Some("x".into());
        config.hub.public_url = "http://x".parse().ok();
        config.hub.allowed_origins = Some(Vec::new());
        config.limits.max_clients_per_address = Some(1);
        config.limits.connections_per_second_per_address = Some(1);
        for tls in [&mut config.hub.tls, &mut config.admin.tls] {
            (tls.certificate, tls.key) = (Some("x".into()), Some("x".into()));
        }
        let rights = RightsConfig {
            read: Some(Vec::new()),
            write: Some(Vec::new()),
            hear_all: Some(true),
            log: Some(true),
        };
        config.guests = rights.clone();
        let mut token = HubToken::new("x", Secret::new("x"));
        token.token_file = Some("x".into());
        token.rights = rights;
        config.hub.tokens = vec![token];
        let table = toml::Table::try_from(&config).unwrap();
        let mut fields = Vec::new();
        for (section, settings) in &table {
            for (name, value) in settings.as_table().unwrap() {
                match value {
                    toml::Value::Table(within) => {
                        fields.extend(within.keys().map(|key| format!("{section}.{name}.{key}")));
                    }
                    _ => fields.push(format!("{section}.{name}")),
                }
            }
        }
        let mut known: Vec<_> =
            Settings::new().iter().map(|(section, name)| format!("{section}.{name}")).collect();
        known.sort();
        fields.sort();
        assert_eq!(known, fields);

        let entry = table["hub"]["tokens"][0].as_table().unwrap();
        let settings = Settings::new();
        let [tokens] = settings.tables.as_slice() else { panic!("one list of tables") };
        let mut fields: Vec<_> = tokens.fields.iter().map(|field| field.name).collect();
        fields.sort();
        assert_eq!(fields, entry.keys().collect::<Vec<_>>());
    }

    #[test]
    fn every_setting_that_holds_a_token_is_marked_as_secret() {
        for (section, name) in Settings::new().iter() {
            let key = format!("{section}.{name}");
            assert_eq!(
                AdminConfig::SECRETS.contains(&key.as_str()),
                name.ends_with("token") && name != "require_token",
                "{key}"
            );
        }
    }

    #[test]
    fn every_setting_is_explained_in_one_line_above_it() {
        let lines: Vec<_> = DEFAULT_FILE.lines().collect();
        let settings = Settings::new();
        let single = settings.iter().map(|(_, name)| name);
        let of_entries = settings.tables.iter().flat_map(|tables| &tables.fields);
        for name in single.chain(of_entries.map(|field| field.name)) {
            let explained = lines.windows(2).any(|pair| {
                let setting = pair[1].strip_prefix('#').unwrap_or(pair[1]);
                let here = setting.starts_with(&format!("{name} = "))
                    || (setting.starts_with("[[") && setting.ends_with(&format!(".{name}]]")));
                pair[0].starts_with("# ") && here
            });
            assert!(explained, "{name}");
        }
    }

    #[test]
    fn the_nearest_name_is_offered_in_the_spelling_of_the_place() {
        for (key, nearest) in [
            ("limits.max_client", "did you mean limits.max_clients?"),
            ("limits.max-clients", "did you mean limits.max_clients?"),
            ("limits.MaxClients", "did you mean limits.max_clients?"),
            ("hub.max_clients", "did you mean limits.max_clients?"),
            ("max_clients", "did you mean limits.max_clients?"),
            ("hub.lisen", "did you mean hub.listen?"),
            ("limit.max_clients", "did you mean [limits]?"),
            ("message-log.max_bytes", "did you mean [message_log]?"),
            ("telemetry.level", "[telemetry] has log, format"),
            (
                "database.url",
                "the sections are hub, hub.tls, guests, admin, admin.tls, limits, delivery, message_log, metrics, telemetry",
            ),
        ] {
            let text = complaint(key, in_file());
            assert!(text.contains(nearest), "{key}: {text}");
        }
        let variable = |name: &str| Origin::Variable(name.to_owned());
        let text = complaint("hub_listen", variable("SKYNET_HUB_LISTEN"));
        assert!(text.contains("did you mean SKYNET_HUB__LISTEN? (two underscores"), "{text}");
        let text = complaint("limits.max_client", variable("SKYNET_LIMITS__MAX_CLIENT"));
        assert!(text.ends_with("did you mean SKYNET_LIMITS__MAX_CLIENTS?"), "{text}");
        let text = complaint("limits.max_client", Origin::Flag("--set".into()));
        assert!(text.contains("did you mean --set limits.max_clients=VALUE?"), "{text}");
    }

    #[test]
    fn a_section_is_not_taken_for_a_setting() {
        let text = complaint("limits", in_file());
        assert!(text.contains("write [limits] on a line of its own"), "{text}");
        let text = complaint("limits", Origin::Variable("SKYNET_LIMITS".into()));
        assert!(text.contains("SKYNET_LIMITS__MAX_CLIENTS"), "{text}");
    }

    #[test]
    fn known_names_pass() {
        assert_eq!(complaint("limits.max_clients", in_file()), "");
        assert_eq!(complaint("admin.token", in_file()), "");
    }
}
