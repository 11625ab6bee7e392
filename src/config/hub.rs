//! `[hub]`: the public listener, where computers connect, and the tokens that prove a client's name.
//!
//! Tokens are read here, from the setting or from a file; who presents them is checked elsewhere,
//! and what their holders may do stands in `rights`.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    AdminConfig, LimitsConfig, PublicUrl, RightsConfig, Secret, TlsConfig, error::Problem, lists,
    networks, token, units,
};

/// The setting that holds the tokens.
const TOKENS: &str = "hub.tokens";

/// Most characters of a client's name.
const MAX_NAME_CHARS: usize = 64;

/// The public listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubConfig {
    /// The address and port that computers connect to. Port 0 lets the system choose one.
    #[serde(deserialize_with = "units::address")]
    pub listen: SocketAddr,
    /// Where players reach the hub, when that is not what they ask for: `http` or `https`, a host
    /// and perhaps a port.
    #[serde(default)]
    pub public_url: Option<PublicUrl>,
    /// Networks of proxies in front of either listener, whose `X-Forwarded-For` and
    /// `X-Forwarded-Proto` are believed.
    #[serde(default, deserialize_with = "networks::deserialize")]
    pub trusted_proxies: Vec<IpNet>,
    /// Origins of the web pages that may connect: scheme, host and perhaps a port, as in
    /// `public_url`; without it, those of all. An empty list is none.
    #[serde(default, deserialize_with = "lists::optional_origins")]
    pub allowed_origins: Option<Vec<PublicUrl>>,
    /// Whether connections from `trusted_proxies` begin with a header of the PROXY protocol.
    #[serde(deserialize_with = "units::switch")]
    pub proxy_protocol: bool,
    /// Whether a client without a good token is turned away.
    #[serde(deserialize_with = "units::switch")]
    pub require_token: bool,
    /// The names that a token proves, in the order of the file; names and tokens are unique.
    #[serde(default)]
    pub tokens: Vec<HubToken>,
    /// The certificate of this listener, if it speaks TLS.
    #[serde(default)]
    pub tls: TlsConfig,
}

/// A name, the token that proves it, and what a client that shows it may do.
// Names that are none are found before an entry is read; serde cannot both refuse them and flatten.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HubToken {
    /// The name, as [`is_client_name`] allows it.
    #[serde(default)]
    pub name: String,
    /// The token as it was given directly. [`HubToken::secret`] is the one that applies.
    pub token: Option<Secret>,
    /// A file that holds the token alone. [`load`](super::load()) reads it; a path set later in
    /// code is not read.
    pub token_file: Option<PathBuf>,
    /// What a client that shows the token may do.
    #[serde(flatten)]
    pub rights: RightsConfig,
    /// What `token_file` held when it was read.
    #[serde(skip)]
    from_file: Option<Secret>,
}

impl HubToken {
    /// A name, and the token itself; who shows it may do everything.
    pub fn new(name: impl Into<String>, token: Secret) -> Self {
        Self {
            name: name.into(),
            token: Some(token),
            token_file: None,
            rights: RightsConfig::default(),
            from_file: None,
        }
    }

    /// The token, wherever it was given. Only what was not read by [`load`](super::load()) can be
    /// without one.
    pub fn secret(&self) -> Option<&Secret> {
        self.token.as_ref().or(self.from_file.as_ref())
    }

    /// What is wrong with this entry alone.
    fn check(&self) -> Option<String> {
        match (&self.token, &self.token_file) {
            _ if !is_client_name(&self.name) => Some(format!(
                "its name is {}; allowed are 1 to {MAX_NAME_CHARS} printable characters without \
                 a space at either end",
                units::quoted(&self.name)
            )),
            (None, None) => Some("it has no token; give it token or token_file".into()),
            (Some(_), Some(_)) => {
                Some("it has token and token_file; give it one of them".to_owned())
            }
            (Some(token), None) => token.check().err().map(|what| format!("its token {what}")),
            (None, Some(_)) => None,
        }
    }
}

/// Whether a client may be called so: 1 to 64 characters, none of them a control character or a
/// separator of lines, no space at either end.
pub fn is_client_name(name: &str) -> bool {
    let separator = |c| matches!(c, '\u{2028}' | '\u{2029}');
    (1..=MAX_NAME_CHARS).contains(&name.chars().count())
        && !name.contains(|c: char| c.is_control() || separator(c))
        && name.trim() == name
}

impl HubConfig {
    /// Reads the token files.
    pub(super) fn read_token_files(&mut self, problems: &mut Vec<Problem>) {
        for (index, entry) in self.tokens.iter_mut().enumerate() {
            match token::from_file(entry.token.as_ref(), entry.token_file.as_ref()) {
                Ok(secret) => entry.from_file = secret,
                Err(text) => {
                    problems.push(in_entry(index, &entry.name, format!("its token_file {text}")));
                }
            }
        }
    }

    pub(super) fn validate(
        &self,
        admin: &AdminConfig,
        limits: &LimitsConfig,
        problems: &mut Vec<Problem>,
    ) {
        if self.listen.ip().is_multicast() {
            problems.push(units::multicast("hub.listen", self.listen));
        }
        self.tls.validate("hub.tls.certificate", "hub.tls.key", problems);
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            let text = "is true, and there is no proxy whose word counts; list it in \
                        hub.trusted_proxies";
            let problem = Problem::new("hub.proxy_protocol", text);
            problems.push(problem.beside("hub.trusted_proxies"));
        }
        if self.require_token && self.tokens.is_empty() {
            let text =
                format!("is true, and there is no token: nobody could connect; add {TOKENS}");
            problems.push(Problem::new("hub.require_token", text).beside(TOKENS));
        }
        // The first entry with each name, and with each token.
        let (mut names, mut secrets) = (HashMap::new(), HashMap::new());
        for (index, entry) in self.tokens.iter().enumerate() {
            let same_name = *names.entry(entry.name.as_str()).or_insert(index);
            let secret = entry.secret().map(Secret::expose);
            let same_token = secret.map(|text| *secrets.entry(text).or_insert(index));
            let text = entry.check().or_else(|| {
                if same_name < index {
                    return Some(format!("entry {} has this name already", same_name + 1));
                }
                let text = secret?;
                let is_it = |secret: Option<&Secret>| secret.is_some_and(|s| s.expose() == text);
                if let Some(other) = same_token.filter(|&other| other < index) {
                    return Some(format!("its token is that of entry {}", other + 1));
                }
                [("admin.token", admin.admin_token()), ("admin.read_token", admin.read_token())]
                    .into_iter()
                    .find(|(_, secret)| is_it(*secret))
                    .map(|(key, _)| format!("its token is that of {key}; give it one of its own"))
            });
            problems.extend(text.map(|text| in_entry(index, &entry.name, text)));
            let rights = entry.rights.problems(limits).into_iter();
            problems
                .extend(rights.map(|(list, text)| {
                    in_entry(index, &entry.name, format!("its {list} {text}"))
                }));
        }
    }
}

/// A problem of one of the tokens. The place of the setting is that of its first entry, so the text
/// says which one it is.
fn in_entry(index: usize, name: &str, text: String) -> Problem {
    let named =
        if is_client_name(name) { format!(" ({})", units::quoted(name)) } else { String::new() };
    Problem::new(TOKENS, format!("has a problem in entry {}{named}: {text}", index + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn entry(name: &str, token: &str) -> HubToken {
        HubToken::new(name, Secret::new(token))
    }

    fn problems(tokens: Vec<HubToken>) -> String {
        let mut config = Config::default();
        config.hub.tokens = tokens;
        config.admin.read_token = Some(Secret::new("of-the-owner"));
        config.validate().err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_name_is_short_and_printable() {
        for name in ["x", "turtle-1", "Mining Turtle", "schildkröte", &"é".repeat(64)] {
            assert_eq!(problems(vec![entry(name, "t")]), "", "{name:?}");
        }
        for name in ["", " x", "x ", "a\nb", "a\u{7f}", "a\u{2028}b", &"é".repeat(65)] {
            let text = problems(vec![entry(name, "t")]);
            assert!(text.contains("entry 1: its name is"), "{name:?}: {text}");
        }
    }

    #[test]
    fn names_and_tokens_are_unique() {
        let text = problems(vec![entry("a", "t1"), entry("b", "t2"), entry("a", "t3")]);
        assert!(text.contains("entry 3 (\"a\"): entry 1 has this name already"), "{text}");
        let text = problems(vec![entry("a", "t1"), entry("b", "t1")]);
        assert!(text.contains("entry 2 (\"b\"): its token is that of entry 1"), "{text}");
        let text = problems(vec![entry("a", "of-the-owner")]);
        assert!(text.contains("its token is that of admin.read_token"), "{text}");
    }

    #[test]
    fn an_entry_has_exactly_one_of_token_and_token_file() {
        let none = HubToken { token: None, ..entry("a", "t") };
        assert!(problems(vec![none]).contains("it has no token; give it token or token_file"));
        let both = HubToken { token_file: Some("f".into()), ..entry("a", "t") };
        assert!(problems(vec![both]).contains("it has token and token_file; give it one"));
        assert!(problems(vec![entry("a", "two words")]).contains("its token holds something"));
    }
}
