//! Where a health check asks: what the configuration stands for, or what `--url` says.
//!
//! Knows how a listener is reached and what it wants before HTTP; asks nobody.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    str::FromStr,
};

use ipnet::IpNet;

use crate::config::{Authority, Config, Host, ListenAddress, PublicUrl};

/// Where a hub is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(super) place: Place,
    /// Whoever connects from there must begin with a header of the PROXY protocol.
    pub(super) announced_by: Vec<IpNet>,
}

/// How a listener is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// By a port, with TLS or without.
    Web(PublicUrl),
    /// By a Unix socket.
    Unix(PathBuf),
}

impl Target {
    /// Where the hub with this configuration is asked: its admin listener. One on every address of the
    /// machine is asked by its loopback address.
    ///
    /// # Errors
    ///
    /// The port is left to the system, so that nobody but the running hub knows it.
    pub fn of(config: &Config) -> Result<Self, String> {
        let listen = match &config.admin.listen {
            ListenAddress::Tcp(listen) => *listen,
            ListenAddress::Unix(path) => return Ok(Place::Unix(path.clone()).into()),
        };
        let shared = config.shares_listener();
        let tls = if shared { &config.hub.tls } else { &config.admin.tls };
        let secure = tls.is_set();
        let host = Host::Ip(reachable(listen.ip()));
        if listen.port() == 0 {
            let scheme = if secure { "https" } else { "http" };
            return Err(format!(
                "admin.listen is {listen}, so the system chose the port; say it with --url \
                 {scheme}://{host}:PORT"
            ));
        }
        let authority = Authority { host, port: Some(listen.port()) };
        let announced_by = match shared && config.hub.proxy_protocol {
            true => config.hub.trusted_proxies.clone(),
            false => Vec::new(),
        };
        Ok(Self { place: Place::Web(PublicUrl { secure, authority }), announced_by })
    }
}

impl From<Place> for Target {
    fn from(place: Place) -> Self {
        Self { place, announced_by: Vec::new() }
    }
}

impl FromStr for Target {
    type Err = String;

    /// Reads scheme, host and perhaps a port, or `unix:` and the path of a socket.
    fn from_str(text: &str) -> Result<Self, String> {
        if !text.trim().starts_with("unix:") {
            return text.parse().map(|url| Place::Web(url).into());
        }
        match text.parse()? {
            ListenAddress::Unix(path) => Ok(Place::Unix(path).into()),
            ListenAddress::Tcp(_) => Err("write unix: and the path of a socket".into()),
        }
    }
}

impl fmt::Display for Target {
    /// What is asked there, as a URL or, of a Unix socket, what comes closest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Web(url) => write!(f, "{url}/readyz"),
            Place::Unix(path) => write!(f, "/readyz at unix:{}", path.display()),
        }
    }
}

/// The address by which this machine reaches what listens on `ip`.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsConfig;

    fn config(listen: &str) -> Config {
        let mut config = Config::default();
        config.admin.listen = listen.parse().unwrap();
        config
    }

    fn asked(config: &Config) -> String {
        Target::of(config).unwrap().to_string()
    }

    #[test]
    fn a_listener_on_every_address_is_asked_by_the_loopback() {
        assert_eq!(asked(&config("127.0.0.1:4568")), "http://127.0.0.1:4568/readyz");
        assert_eq!(asked(&config("0.0.0.0:4568")), "http://127.0.0.1:4568/readyz");
        assert_eq!(asked(&config("[::]:80")), "http://[::1]:80/readyz");
        assert_eq!(asked(&config("192.0.2.1:9")), "http://192.0.2.1:9/readyz");
    }

    #[cfg(unix)]
    #[test]
    fn a_unix_socket_is_asked_by_its_path() {
        let text = "unix:/run/skynet/admin.sock";
        assert_eq!(asked(&config(text)), "/readyz at unix:/run/skynet/admin.sock");
        assert_eq!(text.parse(), Target::of(&config(text)));
    }

    #[test]
    fn a_port_that_the_system_chose_is_not_guessed() {
        let mut config = config("0.0.0.0:0");
        let text = Target::of(&config).unwrap_err();
        assert!(text.contains("--url http://127.0.0.1:PORT"), "{text}");
        config.admin.tls = TlsConfig { certificate: Some("a".into()), key: Some("b".into()) };
        let text = Target::of(&config).unwrap_err();
        assert!(text.contains("--url https://127.0.0.1:PORT"), "{text}");
    }

    #[test]
    fn the_certificate_and_the_proxies_that_count_are_those_of_the_listener_that_is_asked() {
        let mut config = config("127.0.0.1:4568");
        config.hub.tls = TlsConfig { certificate: Some("a".into()), key: Some("b".into()) };
        config.hub.proxy_protocol = true;
        config.hub.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        let own = Target::of(&config).unwrap();
        assert_eq!(own, "http://127.0.0.1:4568".parse().unwrap(), "the owner's own");
        config.admin.listen = config.hub.listen.into();
        let shared = Target::of(&config).unwrap();
        assert_eq!(shared.to_string(), format!("https://{}/readyz", config.hub.listen));
        assert_eq!(shared.announced_by, config.hub.trusted_proxies);
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["127.0.0.1:4568", "ftp://127.0.0.1", "http://a/readyz", "", "unix:", "unix:a"]
        {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
