//! `[admin]`: the owner's listener and the token that opens it.
//!
//! The token is read here, from the setting or from its file; who presents it is checked elsewhere.

use std::{
    fs::File,
    io::Read,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{HubConfig, Secret, error::Problem, units};

/// A token file larger than this holds no token; reading stops here.
const MAX_TOKEN_FILE_BYTES: u64 = 64 * 1024;

/// The owner's listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// The address and port of the admin API. Port 0 lets the system choose one.
    #[serde(deserialize_with = "units::address")]
    pub listen: SocketAddr,
    /// The token as it was given directly. [`AdminConfig::bearer_token`] is the one that applies.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A file that holds the token alone. [`load`](super::load()) reads it; a path set later in
    /// code is not read.
    #[serde(default, deserialize_with = "units::optional_path")]
    pub token_file: Option<PathBuf>,
    /// What `token_file` held when it was read.
    #[serde(skip)]
    token_from_file: Option<Secret>,
}

impl AdminConfig {
    /// The settings of this section that hold a secret.
    pub(super) const SECRETS: &'static [&'static str] = &["admin.token"];

    /// The token that opens the admin API, wherever it was given; `None` when none was.
    pub fn bearer_token(&self) -> Option<&Secret> {
        self.token.as_ref().or(self.token_from_file.as_ref())
    }

    /// Reads `token_file` if one is set and no token stands beside it.
    pub(super) fn read_token_file(&mut self, problems: &mut Vec<Problem>) {
        let (Some(path), None) = (&self.token_file, &self.token) else {
            return;
        };
        let mut refuse = |text: String| problems.push(Problem::new("admin.token_file", text));
        let shown = units::quoted(&path.to_string_lossy());
        let mut bytes = Vec::new();
        let read = File::open(path)
            .and_then(|file| file.take(MAX_TOKEN_FILE_BYTES + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            return refuse(format!("{shown} cannot be read: {}", units::reason(&error)));
        }
        if bytes.len() as u64 > MAX_TOKEN_FILE_BYTES {
            return refuse(format!(
                "{shown} is larger than {}; it may hold the token and nothing else",
                units::show_bytes(MAX_TOKEN_FILE_BYTES as usize)
            ));
        }
        let Ok(text) = String::from_utf8(bytes) else {
            return refuse(format!("{shown} is not a text file; it may hold the token alone"));
        };
        let secret = Secret::new(text.trim());
        match secret.check() {
            Ok(()) => self.token_from_file = Some(secret),
            Err(what) => refuse(format!("the token in {shown} {what}")),
        }
    }

    pub(super) fn validate(&self, hub: &HubConfig, problems: &mut Vec<Problem>) {
        if self.listen.ip().is_multicast() {
            problems.push(units::multicast("admin.listen", self.listen));
        }
        if let Some(text) = clash(hub.listen, self.listen) {
            problems.push(Problem::new("admin.listen", text).beside("hub.listen"));
        }
        if self.token.is_some() && self.token_file.is_some() {
            problems.push(
                Problem::new("admin.token", "is given, and token_file too; give one of them")
                    .beside("admin.token_file"),
            );
        } else if let Some(Err(what)) = self.token.as_ref().map(Secret::check) {
            problems.push(Problem::new("admin.token", what));
        }
    }
}

/// Says why two listeners cannot have these addresses, if they cannot.
///
/// Systems differ in whether the second bind fails or silently takes part of the connections;
/// either way the owner would not know which listener answers.
fn clash(hub: SocketAddr, admin: SocketAddr) -> Option<String> {
    if hub.port() != admin.port() || hub.port() == 0 {
        return None;
    }
    let (hub_ip, admin_ip) = (hub.ip().to_canonical(), admin.ip().to_canonical());
    if hub_ip == admin_ip {
        Some(format!(
            "{admin} is where the hub listens already; give the two listeners different ports"
        ))
    } else if covers(hub_ip, admin_ip) || covers(admin_ip, hub_ip) {
        Some(format!(
            "{admin} overlaps with hub.listen, which is {hub}: {} means every address of this \
             machine; give the two listeners different ports",
            if hub_ip.is_unspecified() { hub_ip } else { admin_ip }
        ))
    } else {
        None
    }
}

/// Whether listening on `wide` includes `narrow`: `0.0.0.0` means all of IPv4, `::` both families.
fn covers(wide: IpAddr, narrow: IpAddr) -> bool {
    wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError};

    fn clashes(hub: &str, admin: &str) -> bool {
        clash(hub.parse().unwrap(), admin.parse().unwrap()).is_some()
    }

    #[test]
    fn listeners_that_would_share_a_port_are_refused() {
        assert!(clashes("127.0.0.1:4567", "127.0.0.1:4567"));
        assert!(clashes("0.0.0.0:4567", "127.0.0.1:4567"));
        assert!(clashes("127.0.0.1:4567", "0.0.0.0:4567"));
        assert!(clashes("[::]:4567", "127.0.0.1:4567"));
        assert!(clashes("[::1]:4567", "[::]:4567"));
        assert!(clashes("[::]:4567", "0.0.0.0:4567"));
        assert!(clashes("[::ffff:127.0.0.1]:4567", "127.0.0.1:4567"));
    }

    #[test]
    fn listeners_with_ports_or_addresses_of_their_own_are_accepted() {
        assert!(!clashes("127.0.0.1:4567", "127.0.0.1:4568"));
        assert!(!clashes("127.0.0.1:4567", "127.0.0.2:4567"));
        assert!(!clashes("0.0.0.0:4567", "[::1]:4567"));
        assert!(!clashes("127.0.0.1:0", "127.0.0.1:0"));
        assert!(!clashes("0.0.0.0:0", "127.0.0.1:0"));
    }

    #[test]
    fn a_token_and_a_token_file_together_are_refused() {
        let mut config = Config::default();
        config.admin.token = Some(Secret::new("one"));
        config.admin.token_file = Some("another".into());
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("admin.token is given, and token_file too"), "{error}");
    }

    #[test]
    fn a_token_file_is_read_and_trimmed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "  0042\r\n").unwrap();
        let mut admin = Config::default().admin;
        admin.token_file = Some(file.path().to_owned());
        let mut problems = Vec::new();
        admin.read_token_file(&mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(admin.bearer_token().unwrap().expose(), "0042");
    }

    #[test]
    fn a_token_file_that_holds_no_token_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let big = vec![b'a'; MAX_TOKEN_FILE_BYTES as usize + 1];
        let cases: [(&str, Option<&[u8]>, &str); 5] = [
            ("missing", None, "does not exist"),
            ("empty", Some(b" \n"), "is empty"),
            ("lines", Some(b"one\ntwo\n"), "line breaks"),
            ("binary", Some(b"\xff\xfe"), "not a text file"),
            ("big", Some(&big), "larger than 64KiB"),
        ];
        for (name, contents, expected) in cases {
            let path = folder.path().join(name);
            if let Some(contents) = contents {
                std::fs::write(&path, contents).unwrap();
            }
            let mut admin = Config::default().admin;
            admin.token_file = Some(path);
            let mut problems = Vec::new();
            admin.read_token_file(&mut problems);
            let text = ConfigError::Invalid(problems).to_string();
            assert!(text.contains("admin.token_file"), "{text}");
            assert!(text.contains(name), "{text}");
            assert!(text.contains(expected), "{text}");
            assert!(admin.bearer_token().is_none());
        }
    }
}
