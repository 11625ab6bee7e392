//! `[admin]`: the owner's listener, the tokens that open it, and what it keeps.
//!
//! Tokens are read here, from the setting or from a file; who presents them is checked elsewhere.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{HubConfig, ListenAddress, Secret, TlsConfig, error::Problem, lists, token, units};

/// The owner's listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// The address and port of the admin API, or its Unix socket. Port 0 lets the system choose one.
    /// The same as `hub.listen` means one listener for both.
    pub listen: ListenAddress,
    /// The token that may do everything, as it was given directly. [`AdminConfig::admin_token`] is
    /// the one that applies.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A file that holds that token alone. [`load`](super::load()) reads it; a path set later in
    /// code is not read.
    #[serde(default, deserialize_with = "units::optional_path")]
    pub token_file: Option<PathBuf>,
    /// The token that may look and change nothing, as it was given directly.
    /// [`AdminConfig::read_token`] is the one that applies.
    #[serde(default)]
    pub read_token: Option<Secret>,
    /// A file that holds that token alone, read like `token_file`.
    #[serde(default, deserialize_with = "units::optional_path")]
    pub read_token_file: Option<PathBuf>,
    /// The state folder, where a generated token is kept. [`AdminConfig::state_folder`] is the one
    /// that applies.
    #[serde(default, deserialize_with = "units::optional_path")]
    pub state_dir: Option<PathBuf>,
    /// Names by which this listener may be asked, beside IP addresses and `localhost`: in lower
    /// case, without a dot at the end, without a port.
    #[serde(default, deserialize_with = "lists::host_names")]
    pub allowed_hosts: Vec<String>,
    /// A file that keeps bans; without one they end with the process.
    #[serde(default, deserialize_with = "units::optional_path")]
    pub bans_file: Option<PathBuf>,
    /// The certificate of this listener, if it speaks TLS. A listener shared with the hub has the
    /// hub's.
    #[serde(default)]
    pub tls: TlsConfig,
    /// What `token_file` held when it was read.
    #[serde(skip)]
    token_from_file: Option<Secret>,
    /// What `read_token_file` held when it was read.
    #[serde(skip)]
    read_token_from_file: Option<Secret>,
    /// The state folder that the environment suggests.
    #[serde(skip)]
    pub(super) usual_state_folder: Option<PathBuf>,
}

impl AdminConfig {
    /// The settings of this section that hold a secret.
    pub(super) const SECRETS: &'static [&'static str] = &["admin.token", "admin.read_token"];

    /// The token that may do everything, wherever it was given; `None` when none was.
    pub fn admin_token(&self) -> Option<&Secret> {
        self.token.as_ref().or(self.token_from_file.as_ref())
    }

    /// The token that may look and change nothing, wherever it was given; `None` when none was.
    pub fn read_token(&self) -> Option<&Secret> {
        self.read_token.as_ref().or(self.read_token_from_file.as_ref())
    }

    /// The state folder: `state_dir`, else what the environment suggests to [`load`](super::load()):
    /// `$STATE_DIRECTORY`, or the system's folder for the state of programs. `None` when neither
    /// names one.
    pub fn state_folder(&self) -> Option<&Path> {
        self.state_dir.as_deref().or(self.usual_state_folder.as_deref())
    }

    /// Reads the token files that are set and have no token beside them.
    pub(super) fn read_token_files(&mut self, problems: &mut Vec<Problem>) {
        for (key, token, file, into) in [
            ("admin.token_file", &self.token, &self.token_file, &mut self.token_from_file),
            (
                "admin.read_token_file",
                &self.read_token,
                &self.read_token_file,
                &mut self.read_token_from_file,
            ),
        ] {
            match token::from_file(token.as_ref(), file.as_ref()) {
                Ok(secret) => *into = secret,
                Err(text) => problems.push(Problem::new(key, text)),
            }
        }
    }

    pub(super) fn validate(&self, hub: &HubConfig, problems: &mut Vec<Problem>) {
        if let ListenAddress::Tcp(listen) = self.listen {
            if listen.ip().is_multicast() {
                problems.push(units::multicast("admin.listen", listen));
            }
            if let Some(text) = clash(hub.listen, listen) {
                problems.push(Problem::new("admin.listen", text).beside("hub.listen"));
            }
        }
        self.validate_tls(hub, problems);
        for (key, file_key, token, file) in [
            ("admin.token", "admin.token_file", &self.token, &self.token_file),
            ("admin.read_token", "admin.read_token_file", &self.read_token, &self.read_token_file),
        ] {
            if token.is_some() && file.is_some() {
                let text = format!("is given, and {file_key} too; give one of them");
                problems.push(Problem::new(key, text).beside(file_key));
            } else if let Some(Err(what)) = token.as_ref().map(Secret::check) {
                problems.push(Problem::new(key, what));
            }
        }
        if let (Some(admin), Some(read)) = (self.admin_token(), self.read_token())
            && admin.expose() == read.expose()
        {
            let key = |direct, file, given: bool| if given { direct } else { file };
            let text = "is the same text as the token that may do everything; give it one of its own, \
                        or leave it out";
            let read_key =
                key("admin.read_token", "admin.read_token_file", self.read_token.is_some());
            let admin_key = key("admin.token", "admin.token_file", self.token.is_some());
            problems.push(Problem::new(read_key, text).beside(admin_key));
        }
    }
}

impl AdminConfig {
    fn validate_tls(&self, hub: &HubConfig, problems: &mut Vec<Problem>) {
        let key = "admin.tls.certificate";
        self.tls.validate(key, "admin.tls.key", problems);
        if !self.tls.is_set() {
            return;
        }
        if let ListenAddress::Unix(_) = self.listen {
            let text = "is given, and admin.listen is a Unix socket, which needs no TLS: nobody but \
                        programs of this machine reaches it; leave [admin.tls] out";
            problems.push(Problem::new(key, text).beside("admin.listen"));
        } else if shared(hub.listen, &self.listen) && self.tls != hub.tls {
            let text = "is given, and admin.listen is the listener of the hub, which has the \
                        certificate of [hub.tls]; leave [admin.tls] out, or give the owner a port of \
                        its own";
            problems.push(Problem::new(key, text).beside("admin.listen"));
        }
    }
}

/// Whether two listeners are meant to be one: the same address and port, and the port is not left
/// to the system.
pub(super) fn shared(hub: SocketAddr, admin: &ListenAddress) -> bool {
    admin.tcp().is_some_and(|admin| same(hub, admin))
}

fn same(hub: SocketAddr, admin: SocketAddr) -> bool {
    hub.port() != 0 && canonical(hub) == canonical(admin)
}

/// An IPv4 address that is written as an IPv6 one is the IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Says why two listeners cannot have these addresses, if they cannot.
///
/// Systems differ in whether the second bind fails or silently takes part of the connections;
/// either way the owner would not know which listener answers.
fn clash(hub: SocketAddr, admin: SocketAddr) -> Option<String> {
    if hub.port() != admin.port() || hub.port() == 0 || same(hub, admin) {
        return None;
    }
    let (hub_ip, admin_ip) = (hub.ip().to_canonical(), admin.ip().to_canonical());
    (covers(hub_ip, admin_ip) || covers(admin_ip, hub_ip)).then(|| {
        format!(
            "{admin} overlaps with hub.listen, which is {hub}: {} means every address of this \
             machine; give the two listeners different ports, or the same address for one listener",
            if hub_ip.is_unspecified() { hub_ip } else { admin_ip }
        )
    })
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
    fn listeners_that_overlap_are_refused() {
        assert!(clashes("0.0.0.0:4567", "127.0.0.1:4567"));
        assert!(clashes("127.0.0.1:4567", "0.0.0.0:4567"));
        assert!(clashes("[::]:4567", "127.0.0.1:4567"));
        assert!(clashes("[::1]:4567", "[::]:4567"));
        assert!(clashes("[::]:4567", "0.0.0.0:4567"));
    }

    #[test]
    fn listeners_with_ports_or_addresses_of_their_own_are_accepted() {
        for (hub, admin) in [
            ("127.0.0.1:4567", "127.0.0.1:4568"),
            ("127.0.0.1:4567", "127.0.0.2:4567"),
            ("0.0.0.0:4567", "[::1]:4567"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("0.0.0.0:0", "127.0.0.1:0"),
        ] {
            assert!(!clashes(hub, admin), "{hub} {admin}");
            assert!(!shared(hub.parse().unwrap(), &admin.parse().unwrap()), "{hub} {admin}");
        }
    }

    #[test]
    fn the_same_address_and_port_mean_one_listener() {
        for (hub, admin) in [
            ("127.0.0.1:4567", "127.0.0.1:4567"),
            ("0.0.0.0:4567", "0.0.0.0:4567"),
            ("[::]:4567", "[::]:4567"),
            ("[::ffff:127.0.0.1]:4567", "127.0.0.1:4567"),
        ] {
            assert!(shared(hub.parse().unwrap(), &admin.parse().unwrap()), "{hub} {admin}");
            assert!(!clashes(hub, admin), "{hub} {admin}");
        }
    }

    #[test]
    fn a_token_and_a_token_file_together_are_refused() {
        let mut config = Config::default();
        config.admin.token = Some(Secret::new("one"));
        config.admin.token_file = Some("another".into());
        config.admin.read_token = Some(Secret::new("two"));
        config.admin.read_token_file = Some("yet another".into());
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("admin.token is given, and admin.token_file too"), "{error}");
        assert!(
            error.contains("admin.read_token is given, and admin.read_token_file too"),
            "{error}"
        );
    }

    #[test]
    fn the_same_token_for_both_scopes_is_refused_wherever_it_was_given() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "same\n").unwrap();
        let mut config = Config::default();
        config.admin.token = Some(Secret::new("same"));
        config.admin.read_token_file = Some(file.path().to_owned());
        let mut problems = Vec::new();
        config.admin.read_token_files(&mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        let error = config.validate().unwrap_err().to_string();
        assert!(error.starts_with("admin.read_token_file is the same text"), "{error}");
        config.admin.token = Some(Secret::new("another"));
        config.validate().unwrap();
    }

    #[test]
    fn a_token_file_that_cannot_be_read_is_refused_by_its_setting() {
        let mut admin = Config::default().admin;
        admin.token_file = Some("/nowhere/at/all".into());
        admin.read_token_file = Some("/nowhere/either".into());
        let mut problems = Vec::new();
        admin.read_token_files(&mut problems);
        let text = ConfigError::Invalid(problems).to_string();
        assert!(text.contains("admin.token_file names a file that cannot be read"), "{text}");
        assert!(text.contains("admin.read_token_file names a file that cannot"), "{text}");
        assert!(admin.admin_token().is_none() && admin.read_token().is_none());
    }
}
