//! By which names the owner's listener may be asked.
//!
//! A web page of somebody else can make a browser ask this machine under a name of that page's own
//! (DNS rebinding), and would then read the answer as its own. Such a request carries that name in
//! `Host`; an address, `localhost`, or a name that the owner has listed cannot be made to point
//! here by others.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether `host`, as the header or the authority of a request has it, may be answered: an IPv4
/// address, an IPv6 address in brackets, `localhost`, or one of `allowed`. A port, the case of
/// letters and a dot at the end of the name do not count.
pub fn host_is_allowed(host: &str, allowed: &[String]) -> bool {
    let Some(name) = without_port(host) else {
        return false;
    };
    if let Some(address) = name.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    }
    let name = without_dot(name);
    if name.is_empty() {
        return false;
    }
    name.parse::<Ipv4Addr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|allowed| without_dot(allowed).eq_ignore_ascii_case(name))
}

/// The name or address; `None` when what follows it is no port.
fn without_port(host: &str) -> Option<&str> {
    let start = host.rfind(']').unwrap_or(0);
    match host[start..].find(':') {
        None => Some(host),
        Some(colon) => {
            let (name, port) = host.split_at(start + colon);
            let port = &port[1..];
            // A colon without a port is allowed and means the usual one.
            let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
                && (port.is_empty() || port.parse::<u16>().is_ok());
            is_port.then_some(name)
        }
    }
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_listed_names_are_allowed() {
        let allowed = ["hub.example.org".to_owned(), "Mixed.Example.".to_owned()];
        for host in [
            "127.0.0.1",
            "127.0.0.1:4568",
            "192.168.1.5:80",
            "[::1]",
            "[::1]:4568",
            "[2001:db8::1]:1",
            "localhost",
            "LocalHost:4568",
            "localhost.",
            "localhost.:4568",
            "localhost:",
            "hub.example.org",
            "HUB.example.ORG:8443",
            "hub.example.org.:65535",
            "mixed.example",
            "mixed.example.",
        ] {
            assert!(host_is_allowed(host, &allowed), "{host:?}");
        }
    }

    #[test]
    fn every_other_name_and_all_nonsense_is_refused() {
        let allowed = ["hub.example.org".to_owned()];
        for host in [
            "",
            ".",
            ":80",
            "[",
            "]",
            "[]",
            "[]:80",
            "evil.example",
            "evil.example:4568",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "hub.example.org.evil.example",
            "xhub.example.org",
            "sub.hub.example.org",
            "hub.example.org..",
            "hub.example.org:x",
            "hub.example.org:-1",
            "hub.example.org:+80",
            "hub.example.org:65536",
            "hub.example.org:80:80",
            "hub.example.org@evil.example",
            "user@localhost",
            "localhost ",
            " localhost",
            "localhost/",
            "::1",
            "2130706433",
            "127.1",
            "0x7f.0.0.1",
            "[127.0.0.1]",
            "[::1",
            "[::1]x",
            "[::1]80",
            "[::1]]",
            "[::1%eth0]",
            "é]:80",
            "[é",
        ] {
            assert!(!host_is_allowed(host, &allowed), "{host:?}");
        }
        assert!(!host_is_allowed("hub.example.org", &[]));
        assert!(!host_is_allowed("", &[String::new()]));
    }
}
