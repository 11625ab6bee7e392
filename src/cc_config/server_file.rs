//! `computercraft-server.toml`: what of it decides who reaches what, each with its line.
//!
//! A setting that is missing has the mod's default, and so has one of the wrong type, which the mod
//! puts right when it loads the file. A rule that the mod cannot read is kept as what the mod makes of
//! it.

use super::CannotTell;
use super::rules::{Action, At, Pattern, Rule};
use crate::config::file::{document, line_of, text};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What the file says.
pub(super) struct ServerFile {
    pub enabled: Setting<bool>,
    pub websocket_enabled: Setting<bool>,
    /// 0: no limit.
    pub max_requests: Setting<i64>,
    /// 0: no limit.
    pub max_websockets: Setting<i64>,
    /// Bytes a second to all computers together.
    pub download: Setting<i64>,
    /// Bytes a second from all computers together.
    pub upload: Setting<i64>,
    pub rules: Vec<Rule>,
    /// What the mod will not take as it stands.
    pub oddities: Vec<String>,
}

/// A value, and the line it stands on; without one it is the mod's default.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<T> {
    pub value: T,
    pub line: Option<usize>,
}

/// Lists of names, which the mod had before it had rules.
const OLDER: [&str; 4] = ["whitelist", "blacklist", "allowed_domains", "blocked_domains"];

const MIB: i64 = 1024 * 1024;

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<ServerFile, CannotTell> {
    let text = text(path).map_err(|error| CannotTell(error.to_string()))?;
    if is_cfg(path, &text) {
        return Err(CannotTell(format!(
            "{} is a file of Minecraft 1.12 (.cfg), another format, which cannot be checked. There are \
             no rules with a port in it: a network that is taken out of S:blocked_domains (S:blacklist \
             in some versions) is open to players on every port, the admin API's among them",
            path.display()
        )));
    }
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<ServerFile, CannotTell> {
    let document = document(text, path).map_err(|error| CannotTell(error.to_string()))?;
    let http = document.get_ref().get("http").and_then(|http| http.get_ref().as_table());
    let mut reader = Reader { text, oddities: Vec::new() };
    let empty = DeTable::new();
    let http = http.unwrap_or_else(|| {
        let text = "there is no section [http] in this file, so the mod's defaults were taken; is it \
                    computercraft-server.toml?";
        reader.oddities.push(text.to_owned());
        &empty
    });
    let older = OLDER.iter().find_map(|name| http.get_key_value(*name));
    if let (Some((name, _)), None) = (older, http.get("rules")) {
        return Err(CannotTell(format!(
            "{}, line {}: {} is of CC: Tweaked 1.86 or older, which had no rules, and cannot be \
             checked. A network that is taken out of its list of what is blocked is open to players on \
             every port, the admin API's among them; newer versions have [[http.rules]] with a port",
            path.display(),
            reader.line(name.span().start),
            name.get_ref()
        )));
    }
    let bandwidth = http.get("bandwidth").and_then(|table| table.get_ref().as_table());
    let bandwidth = bandwidth.unwrap_or(&empty);
    Ok(ServerFile {
        enabled: reader.truth(http, "enabled"),
        websocket_enabled: reader.truth(http, "websocket_enabled"),
        max_requests: reader.count(http, "max_requests", 16),
        max_websockets: reader.count(http, "max_websockets", 4),
        download: reader.count(bandwidth, "global_download", 32 * MIB),
        upload: reader.count(bandwidth, "global_upload", 32 * MIB),
        rules: reader.rules(http),
        oddities: reader.oddities,
    })
}

/// Whether this is the format of Forge for Minecraft 1.12: `B:name=value` in `section {`.
fn is_cfg(path: &Path, text: &str) -> bool {
    let typed = |line: &str| {
        let line = line.trim_start();
        ["B:", "I:", "S:", "D:"].iter().any(|kind| line.starts_with(kind))
    };
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("cfg"))
        || text.lines().any(typed)
}

struct Reader<'t> {
    text: &'t str,
    oddities: Vec<String>,
}

impl Reader<'_> {
    fn line(&self, start: usize) -> usize {
        line_of(&self.text.as_bytes()[..start.min(self.text.len())])
    }

    fn truth(&mut self, table: &DeTable, name: &str) -> Setting<bool> {
        self.setting(table, name, true, "true or false", |value| value.as_bool())
    }

    fn count(&mut self, table: &DeTable, name: &str, default: i64) -> Setting<i64> {
        self.setting(table, name, default, "a number", number)
    }

    fn setting<T>(
        &mut self,
        table: &DeTable,
        name: &str,
        default: T,
        kind: &str,
        read: impl Fn(&DeValue) -> Option<T>,
    ) -> Setting<T> {
        let Some((key, value)) = table.get_key_value(name) else {
            return Setting { value: default, line: None };
        };
        let line = self.line(key.span().start);
        match read(value.get_ref()) {
            Some(value) => Setting { value, line: Some(line) },
            None => {
                let odd =
                    format!("line {line}: {name} is not {kind}, so the mod takes its default");
                self.oddities.push(odd);
                Setting { value: default, line: Some(line) }
            }
        }
    }

    fn rules(&mut self, http: &DeTable) -> Vec<Rule> {
        let Some((key, list)) = http.get_key_value("rules") else { return Rule::defaults() };
        let Some(list) = list.get_ref().as_array() else {
            let line = self.line(key.span().start);
            let odd = format!("line {line}: rules is not a list, so the mod takes its own rules");
            self.oddities.push(odd);
            return Rule::defaults();
        };
        list.iter().map(|entry| self.rule(entry)).collect()
    }

    fn rule(&self, entry: &Spanned<DeValue>) -> Rule {
        let start = entry.span().start;
        let read = match entry.get_ref().as_table() {
            Some(table) => {
                // The header of the list, or the first thing in the braces.
                self.readable(table, self.line(start))
            }
            None => Err("it is not a table".to_owned()),
        };
        read.unwrap_or_else(|why| Rule {
            line: Some(self.line(start)),
            host: "*".to_owned(),
            pattern: Pattern::Text("*".to_owned()),
            port: None,
            action: Some(Action::Deny),
            max_message: None,
            max_download: None,
            malformed: Some(why),
        })
    }

    /// A rule as the mod reads it; else why it cannot.
    fn readable(&self, table: &DeTable, line: usize) -> Result<Rule, String> {
        let host = table.get("host").ok_or("it has no host")?;
        let host = host.get_ref().as_str().ok_or("its host is not a text")?;
        let action = match table.get("action").map(|action| action.get_ref().as_str()) {
            None => None,
            Some(Some(text)) if text.eq_ignore_ascii_case("allow") => Some(Action::Allow),
            Some(Some(text)) if text.eq_ignore_ascii_case("deny") => Some(Action::Deny),
            Some(_) => return Err("its action is neither \"allow\" nor \"deny\"".to_owned()),
        };
        let number = |name: &str| match table.get_key_value(name) {
            None => Ok(None),
            Some((key, value)) => match number(value.get_ref()) {
                Some(value) => Ok(Some(At { line: self.line(key.span().start), value })),
                None => Err(format!("its {name} is not a number")),
            },
        };
        number("max_upload")?;
        // Some versions know the limit by the second name.
        let max_message = number("max_websocket_message")?;
        let max_message = max_message.or(number("websocket_message")?);
        let port = number("port")?.map(|port| port.value);
        let max_download = number("max_download")?;
        if table.get("use_proxy").is_some_and(|value| value.get_ref().as_bool().is_none()) {
            return Err("its use_proxy is neither true nor false".to_owned());
        }
        let rule = Rule::new(Some(line), host)?;
        Ok(Rule { port, action, max_message, max_download, ..rule })
    }
}

/// A number as the mod takes it: one with a fraction loses it, a larger one than fits is the largest.
fn number(value: &DeValue) -> Option<i64> {
    match value {
        DeValue::Integer(number) => {
            Some(i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(i64::MAX))
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().ok().map(|number| number as i64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> ServerFile {
        parse(text, Path::new("f.toml")).unwrap()
    }

    #[test]
    fn every_value_knows_its_line_and_what_is_missing_is_the_mods_default() {
        let read = file(
            "a = 1\n[http]\n\tenabled = false\n\tmax_websockets = 7\n\t[[http.rules]]\n\
             \t\thost = \"x\"\n\t\tport = 80.0\n\t\tmax_websocket_message = 0x10\n\t[[http.rules]]\n\
             \t\t#a comment\n\t\thost = \"$private\"\n\t\taction = \"DENY\"\n",
        );
        assert_eq!((read.enabled.value, read.enabled.line), (false, Some(3)));
        assert_eq!((read.websocket_enabled.value, read.websocket_enabled.line), (true, None));
        assert_eq!((read.max_websockets.value, read.max_websockets.line), (7, Some(4)));
        assert_eq!((read.max_requests.value, read.download.value), (16, 33_554_432));
        let [first, second] = read.rules.as_slice() else { panic!("two rules") };
        assert_eq!((first.line, first.port, first.action), (Some(5), Some(80), None));
        assert_eq!(first.max_message, Some(At { line: 8, value: 16 }));
        assert_eq!((second.line, second.action), (Some(9), Some(Action::Deny)));
        assert_eq!(second.pattern, Pattern::Private);
        assert_eq!(read.oddities, [""; 0]);
    }

    #[test]
    fn rules_in_one_line_are_read_as_well_and_no_list_means_the_mods_own() {
        let read = file("[http]\nrules = [\n  { host = \"a\", action = \"allow\" },\n]\n");
        assert_eq!((read.rules.len(), read.rules[0].line), (1, Some(3)));
        assert_eq!(file("[http]\nrules = []\n").rules, []);
        assert_eq!(file("[http]\n").rules, Rule::defaults());
        assert_eq!(file("[http]\nrules = 5\n").rules, Rule::defaults());
    }

    #[test]
    fn a_rule_that_cannot_be_read_denies_everything_and_says_why() {
        for (rule, why) in [
            ("action = \"allow\"", "has no host"),
            ("host = 5", "host is not a text"),
            ("host = \"a\"\naction = \"permit\"", "neither \"allow\" nor \"deny\""),
            ("host = \"a\"\nport = \"80\"", "port is not a number"),
            ("host = \"a\"\nmax_websocket_message = \"1\"", "is not a number"),
            ("host = \"a/b\"", "no length after its slash"),
            ("host = \"a\"\nuse_proxy = 1", "use_proxy"),
        ] {
            let read = file(&format!("[[http.rules]]\n{rule}\n"));
            let malformed = read.rules[0].malformed.as_deref().unwrap_or_default();
            assert!(malformed.contains(why), "{rule}: {malformed}");
            assert_eq!((read.rules[0].line, read.rules[0].action), (Some(1), Some(Action::Deny)));
        }
    }

    #[test]
    fn values_of_another_type_and_a_missing_section_are_told() {
        let odd = file("[http]\nenabled = \"yes\"\nmax_websockets = true\nrules = 1\n").oddities;
        for (text, about) in odd.iter().zip(["line 2: enabled", "line 3: max_web", "line 4: rules"])
        {
            assert!(text.starts_with(about), "{text}");
        }
        assert_eq!(odd.len(), 3);
        assert!(file("x = 1\n").oddities[0].contains("no section [http]"));
    }

    #[test]
    fn files_of_older_versions_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            read(&path).map(|_| ()).unwrap_err().to_string()
        };
        let cfg =
            "http {\n    B:enabled=true\n    S:blocked_domains <\n        127.0.0.0/8\n     >\n}\n";
        for name in ["ComputerCraft.cfg", "renamed.toml"] {
            assert!(refused(name, cfg).contains("Minecraft 1.12"), "{name}");
        }
        let old = refused("old.toml", "[http]\nblacklist = [\"127.0.0.0/8\"]\n");
        assert!(old.contains("line 2: blacklist is of CC: Tweaked 1.86 or older"), "{old}");
        let broken = refused("broken.toml", "[http]\nenabled = yes\n");
        assert!(broken.contains("broken.toml, line 2") && broken.contains("not TOML"), "{broken}");
        let missing = read(&folder.path().join("none.toml")).map(|_| ()).unwrap_err().to_string();
        assert!(missing.contains("none.toml") && missing.contains("does not exist"), "{missing}");
    }
}
