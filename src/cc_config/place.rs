//! Where computers find the hub, and by which ways they might find the admin API.

use super::CannotTell;
use super::rules::{Destination, is_private};
use crate::config::{Authority, Config, Host, PublicUrl};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A public address that nobody has (RFC 5737), in the place of one that is not known.
const SOME_PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

/// A name that no rule mentions: anybody can have a name that leads to any address.
const SOME_NAME: &str = "some-name.invalid";

/// Where computers find the hub.
pub(super) struct Place {
    /// What they type, without a path.
    pub url: PublicUrl,
    /// The setting that says so.
    pub setting: &'static str,
    /// The hub listens on every address, and this one is that of the same machine.
    pub is_a_guess: bool,
}

impl Place {
    pub fn of_hub(config: &Config) -> Result<Self, CannotTell> {
        if let Some(url) = &config.hub.public_url {
            return Ok(Self { url: url.clone(), setting: "hub.public_url", is_a_guess: false });
        }
        let listen = config.hub.listen;
        if listen.port() == 0 {
            return Err(CannotTell(format!(
                "hub.listen is {listen}: with port 0 the system chooses another port at each start, \
                 which no rule can name; set a port, or hub.public_url"
            )));
        }
        let ip = listen.ip().to_canonical();
        let is_a_guess = ip.is_unspecified();
        let ip = if is_a_guess { loopback(ip) } else { ip };
        let authority = Authority { host: Host::Ip(ip), port: Some(listen.port()) };
        let secure = config.hub.tls.is_set();
        Ok(Self { url: PublicUrl { secure, authority }, setting: "hub.listen", is_a_guess })
    }

    pub fn host(&self) -> &Host {
        &self.url.authority.host
    }

    /// Whether the mod refuses this address by default; `None` when that depends on where a name
    /// leads.
    pub fn is_private(&self) -> Option<bool> {
        match self.host() {
            Host::Ip(ip) => Some(is_private(*ip)),
            Host::Name(name) => {
                (name == "localhost" || name.ends_with(".localhost")).then_some(true)
            }
        }
    }

    /// What the mod compares with its rules.
    pub fn destination(&self, resolve: impl Fn(&str) -> Vec<IpAddr>) -> Destination {
        let address = match self.host() {
            Host::Ip(ip) => Some(*ip),
            // Java takes the first, IPv4 before IPv6.
            Host::Name(name) => {
                let found = resolve(name);
                found.iter().find(|ip| ip.is_ipv4()).or(found.first()).copied()
            }
        };
        Destination { domain: self.host().to_string(), address, port: self.url.port() }
    }
}

/// A way to the admin API, and how it is told.
pub(super) struct Way {
    pub destination: Destination,
    pub told: String,
}

impl Way {
    /// Whether it is by a public address of the machine, which is not known.
    pub fn is_public(&self) -> bool {
        self.destination.address == Some(SOME_PUBLIC)
    }
}

/// The ways to the admin API from the machine that it runs on, and by what leads to the `hub`, which is
/// the same machine. Port 0 stands for one that no rule names.
pub(super) fn ways_to_admin(config: &Config, hub: &Destination) -> Vec<Way> {
    // Nothing in the game reaches a Unix socket.
    let Some(listen) = config.admin.listen.tcp() else { return Vec::new() };
    let ip = listen.ip().to_canonical();
    let addresses = match ip {
        _ if ip.is_unspecified() && ip.is_ipv6() => {
            vec![loopback(ip), Ipv4Addr::LOCALHOST.into(), SOME_PUBLIC]
        }
        _ if ip.is_unspecified() => vec![loopback(ip), SOME_PUBLIC],
        // To connect to no address in particular is to connect to this machine.
        IpAddr::V4(_) if ip.is_loopback() => vec![ip, Ipv4Addr::UNSPECIFIED.into()],
        IpAddr::V6(_) if ip.is_loopback() => vec![ip, Ipv6Addr::UNSPECIFIED.into()],
        _ => vec![ip],
    };
    let port = listen.port();
    let way = |domain: String, address: IpAddr, told: String| Way {
        destination: Destination { domain, address: Some(address), port },
        told,
    };
    let mut ways = Vec::new();
    for address in addresses {
        if address == SOME_PUBLIC {
            let told = format!("port {port} of a public address of this machine");
            ways.push(way(SOME_NAME.to_owned(), address, told));
            continue;
        }
        let host = Host::Ip(address).to_string();
        ways.push(way(host.clone(), address, format!("{host}:{port}")));
        if address.is_loopback() {
            ways.push(way("localhost".to_owned(), address, format!("localhost:{port}")));
        }
        let told = format!("port {port} of a name that leads to {address}");
        ways.push(way(SOME_NAME.to_owned(), address, told));
    }
    if ip.is_unspecified() || hub.address.is_some_and(|address| address.to_canonical() == ip) {
        let told = format!("{}:{port}", hub.domain);
        ways.push(Way { destination: Destination { port, ..hub.clone() }, told });
    }
    ways
}

fn loopback(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_hub_is_a_way_to_the_admin_api_where_it_leads_to_its_address() {
        let mut config = Config::default();
        let ways = |config: &Config, address: &str| {
            let hub = Destination {
                domain: "hub.lan".to_owned(),
                address: address.parse().ok(),
                port: 4567,
            };
            let ways = ways_to_admin(config, &hub);
            let named = ways.iter().find(|way| way.destination.domain == "hub.lan");
            named.map(|way| (way.destination.port, way.told.clone()))
        };
        let way = Some((4568, "hub.lan:4568".to_owned()));
        assert_eq!(ways(&config, "127.0.0.1"), way);
        assert_eq!(ways(&config, "192.168.1.5"), None);
        assert_eq!(ways(&config, "unknown"), None);
        config.admin.listen = "0.0.0.0:4568".parse().unwrap();
        assert_eq!(ways(&config, "192.168.1.5"), way);
        assert_eq!(ways(&config, "unknown"), way);
    }
}
