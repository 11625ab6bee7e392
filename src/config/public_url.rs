//! Where a hub is, as others write it: a host and a port (`Host`, the middle of a URL), and the
//! address that the owner gives for players (`hub.public_url`).
//!
//! Resolves no names: what is read here is what was written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::units::{Spelled, quoted};

/// Longest name of a host, in bytes (RFC 1035).
const MAX_NAME: usize = 253;

/// Longest part of such a name between two dots, in bytes.
const MAX_LABEL: usize = 63;

/// A host and, if one is written, a port.
///
/// Its text holds ASCII letters in lower case, digits and `-`, `_`, `.`, `:`, `[`, `]` alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port, 1 to 65535; `None` means that of the scheme.
    pub port: Option<u16>,
}

/// A host, as it is written in a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name in lower case, without a dot at its end.
    Name(String),
    /// An address; one of IPv6 stands in brackets.
    Ip(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// What was to be a host and a port is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoAuthority;

impl FromStr for Authority {
    type Err = NoAuthority;

    /// Reads a name, an IPv4 address or an IPv6 address in brackets, with or without a port.
    fn from_str(text: &str) -> Result<Self, NoAuthority> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (ip, port) = rest.split_once(']').ok_or(NoAuthority)?;
                let ip: Ipv6Addr = ip.parse().map_err(|_| NoAuthority)?;
                (Host::Ip(ip.into()), port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                (text[..end].parse()?, &text[end..])
            }
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => Some(port_number(digits).ok_or(NoAuthority)?),
            None if port.is_empty() => None,
            None => return Err(NoAuthority),
        };
        Ok(Self { host, port })
    }
}

impl FromStr for Host {
    type Err = NoAuthority;

    /// Reads a name or an IPv4 address.
    fn from_str(text: &str) -> Result<Self, NoAuthority> {
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(ip.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        // Containers may be named with an underscore.
        let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        let label = |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(fits);
        // What ends in a number is an address that programs read in different ways.
        let numeric = |label: &str| {
            label.bytes().all(|c| c.is_ascii_digit())
                || label.strip_prefix("0x").is_some_and(|hex| u128::from_str_radix(hex, 16).is_ok())
        };
        let last = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
        if name.len() <= MAX_NAME && name.split('.').all(label) && !numeric(&last) {
            return Ok(Self::Name(name.to_ascii_lowercase()));
        }
        Err(NoAuthority)
    }
}

/// A port that can be connected to.
fn port_number(digits: &str) -> Option<u16> {
    let plain = (1..=5).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_digit());
    digits.parse().ok().filter(|&port| plain && port != 0)
}

/// The address that players use: `http://` or `https://`, a host and perhaps a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublicUrl {
    /// Whether it is `https`, so that the websocket is `wss`.
    pub secure: bool,
    /// Host and port, the port as it was written.
    pub authority: Authority,
}

impl PublicUrl {
    /// The URL of the websocket, with the slash at its end that old programs write.
    pub fn websocket(&self) -> String {
        format!("{}://{}/connect/", if self.secure { "wss" } else { "ws" }, self.authority)
    }

    /// Whether a browser would take both for one origin: scheme, host and port are the same.
    pub fn is_same_origin(&self, other: &Self) -> bool {
        self.secure == other.secure
            && self.authority.host == other.authority.host
            && self.port() == other.port()
    }

    /// The port, or that of the scheme.
    pub fn port(&self) -> u16 {
        self.authority.port.unwrap_or(if self.secure { 443 } else { 80 })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority)
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    /// Reads a URL that has nothing but scheme, host and port; a slash at its end does no harm.
    fn from_str(text: &str) -> Result<Self, String> {
        // A user's password is not to be shown, nor the token of a query.
        let may_hold_a_secret = text.contains(['@', '?', '#']);
        let shown = if may_hold_a_secret { "this address".to_owned() } else { quoted(text) };
        let wrong = |what: &str| {
            format!(
                "{shown} {what}; write http:// or https://, a host and perhaps a port, such as \
                 https://skynet.example.org or http://203.0.113.7:4567"
            )
        };
        let trimmed = text.trim();
        let (scheme, rest) = trimmed.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("is neither http nor https")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if !matches!(&rest[end..], "" | "/") {
            return Err(wrong(
                "has a path, a query or a fragment, where nothing may follow the host",
            ));
        }
        if rest[..end].contains('@') {
            return Err(wrong("holds a user"));
        }
        let authority: Authority = rest[..end]
            .parse()
            .map_err(|_| wrong("names no host, or a port that is none, after its scheme"))?;
        if authority.host == Host::Ip(Ipv4Addr::UNSPECIFIED.into())
            || authority.host == Host::Ip(Ipv6Addr::UNSPECIFIED.into())
        {
            return Err(wrong("means every address of a machine, to which nobody can connect"));
        }
        Ok(Self { secure, authority })
    }
}

impl Serialize for PublicUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spelled::deserialize(deserializer)?.text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for (text, shown) in [
            ("hub.example.org", "hub.example.org"),
            ("HUB.example.ORG:8443", "hub.example.org:8443"),
            ("hub.example.org.:80", "hub.example.org:80"),
            ("localhost:4567", "localhost:4567"),
            ("hub_1", "hub_1"),
            ("3d.example.org", "3d.example.org"),
            ("127.0.0.1", "127.0.0.1"),
            ("192.168.1.5:65535", "192.168.1.5:65535"),
            ("[::1]", "[::1]"),
            ("[2001:DB8:0::1]:4567", "[2001:db8::1]:4567"),
        ] {
            assert_eq!(
                text.parse::<Authority>().map(|a| a.to_string()),
                Ok(shown.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = format!("{}.org", "a".repeat(64));
        let longer = "abcdefghi.".repeat(26) + "org";
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:+80",
            "a:-1",
            "a:80:80",
            "a:x",
            "::1",
            "[::1",
            "[]",
            "[::1]x",
            "[::1]:",
            "[127.0.0.1]",
            "[::1%eth0]",
            "127.1",
            "1.2.3.256",
            "2130706433",
            "0x7f000001",
            "user@a",
            "a/b",
            "a?b",
            "a#b",
            "a b",
            " a",
            "a\"b",
            "a\\b",
            "a\nb",
            "<b>",
            "é.org",
            "a,b",
            "a;b",
            "a%41",
            &long,
            &longer,
        ] {
            assert_eq!(text.parse::<Authority>(), Err(NoAuthority), "{text:?}");
        }
    }

    #[test]
    fn a_public_url_has_a_scheme_a_host_and_perhaps_a_port() {
        for (text, shown, websocket, port) in [
            ("http://a.org", "http://a.org", "ws://a.org/connect/", 80),
            ("HTTPS://A.org/", "https://a.org", "wss://a.org/connect/", 443),
            ("https://a.org:443", "https://a.org:443", "wss://a.org:443/connect/", 443),
            ("http://[::1]:4567", "http://[::1]:4567", "ws://[::1]:4567/connect/", 4567),
        ] {
            let url: PublicUrl = text.parse().unwrap();
            assert_eq!(
                (url.to_string().as_str(), url.websocket().as_str(), url.port()),
                (shown, websocket, port)
            );
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same =
            |a: &str, b: &str| a.parse::<PublicUrl>().unwrap().is_same_origin(&b.parse().unwrap());
        assert!(same("https://a.org", "HTTPS://A.ORG:443"));
        assert!(same("http://[::1]", "http://[0::1]:80"));
        assert!(!same("https://a.org", "http://a.org"));
        assert!(!same("https://a.org", "https://b.a.org"));
        assert!(!same("https://a.org", "https://a.org:8443"));
    }

    #[test]
    fn a_public_url_with_anything_else_is_refused_with_an_example() {
        for (text, why) in [
            ("", "has no scheme"),
            ("a.org:4567", "has no scheme"),
            ("ws://a.org", "is neither http nor https"),
            ("ftp://a.org", "is neither http nor https"),
            ("http://", "names no host"),
            ("http://:80", "names no host"),
            ("http://a.org:port", "names no host, or a port"),
            ("http://a.org/hub", "has a path"),
            ("http://a.org//", "has a path"),
            ("http://a.org?x", "has a path, a query"),
            ("http://a.org/#x", "has a path, a query or a fragment"),
            ("http://me:secret@a.org", "holds a user"),
            ("http://me:secret@a.org/hub", "has a path"),
            ("http://0.0.0.0:4567", "to which nobody can connect"),
            ("http://[::]:4567", "to which nobody can connect"),
        ] {
            let error = text.parse::<PublicUrl>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
            assert!(error.contains("such as https://skynet.example.org"), "{text}: {error}");
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }
}
