//! Rules for addresses as CC: Tweaked has them.
//!
//! They are gone through from the top; each property comes from the first rule that matches and sets
//! it, and what no rule allows is denied. A rule matches the host as the program wrote it, or the
//! address that it leads to, and its port if it has one.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Something, and the line it stands on, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At<T> {
    pub line: usize,
    pub value: T,
}

/// One `[[http.rules]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// The line it begins on; `None` for one of the mod's own.
    pub line: Option<usize>,
    /// As it is written.
    pub host: String,
    pub pattern: Pattern,
    pub port: Option<i64>,
    pub action: Option<Action>,
    pub max_message: Option<At<i64>>,
    pub max_download: Option<At<i64>>,
    /// Why the mod cannot read it. It then denies everything in its place.
    pub malformed: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    Deny,
}

/// What a rule's `host` matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    /// `$private`: by address.
    Private,
    /// Such as `127.0.0.0/8`: by address.
    Network(IpNet),
    /// Any other text, `*` for any characters: by name, or by the text of the address.
    Text(String),
}

/// What a program asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    /// The host as it is written, one of IPv6 in brackets.
    pub domain: String,
    /// Where that leads; `None` when it is not known.
    pub address: Option<IpAddr>,
    pub port: u16,
}

/// The rules that decide about a destination, by what they decide.
#[derive(Debug, Default)]
pub(super) struct Outcome<'r> {
    pub action: Option<&'r Rule>,
    pub max_message: Option<At<i64>>,
    pub max_download: Option<At<i64>>,
}

impl Outcome<'_> {
    pub fn is_allowed(&self) -> bool {
        self.action.is_some_and(|rule| rule.action == Some(Action::Allow))
    }
}

/// Which rules decide.
pub(super) fn apply<'r>(rules: &'r [Rule], to: &Destination) -> Outcome<'r> {
    let mut outcome = Outcome::default();
    for rule in rules.iter().filter(|rule| rule.matches(to)) {
        outcome.action = outcome.action.or(rule.action.map(|_| rule));
        outcome.max_message = outcome.max_message.or(rule.max_message);
        outcome.max_download = outcome.max_download.or(rule.max_download);
    }
    outcome
}

impl Rule {
    /// A rule that sets nothing.
    pub fn new(line: Option<usize>, host: &str) -> Result<Self, String> {
        Ok(Self {
            line,
            pattern: Pattern::parse(host)?,
            host: host.to_owned(),
            port: None,
            action: None,
            max_message: None,
            max_download: None,
            malformed: None,
        })
    }

    /// What the mod has when its file has no list of rules.
    pub fn defaults() -> Vec<Self> {
        let rule = |host: &str, pattern, action| Self {
            line: None,
            host: host.to_owned(),
            pattern,
            port: None,
            action: Some(action),
            max_message: None,
            max_download: None,
            malformed: None,
        };
        vec![
            rule("$private", Pattern::Private, Action::Deny),
            rule("*", Pattern::Text("*".to_owned()), Action::Allow),
        ]
    }

    pub fn matches(&self, to: &Destination) -> bool {
        self.port.is_none_or(|port| port == i64::from(to.port))
            && (self.pattern.matches_name(&to.domain)
                || to.address.is_some_and(|address| {
                    let address = address.to_canonical();
                    self.pattern.matches_address(address)
                        || within_6to4(address).is_some_and(|ip| self.pattern.matches_address(ip))
                }))
    }
}

impl Pattern {
    /// Reads a `host`.
    pub fn parse(host: &str) -> Result<Self, String> {
        if let Some((address, length)) = host.rsplit_once('/') {
            let length: i32 =
                length.parse().map_err(|_| format!("{host:?} has no length after its slash"))?;
            let address: IpAddr = address
                .parse()
                .map_err(|_| format!("{host:?} has no IP address before its slash"))?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            // The mod takes a length that is too large for the largest.
            let length = u8::try_from(length.clamp(0, longest)).unwrap_or_default();
            let network = IpNet::new(address, length).map_err(|error| error.to_string())?;
            return Ok(Self::Network(network));
        }
        Ok(match host.eq_ignore_ascii_case("$private") {
            true => Self::Private,
            false => Self::Text(host.to_owned()),
        })
    }

    fn matches_name(&self, name: &str) -> bool {
        matches!(self, Self::Text(pattern) if matches_text(pattern, name))
    }

    fn matches_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Private => is_private(address),
            Self::Network(network) => network.contains(&address),
            Self::Text(pattern) => matches_text(pattern, &java_text(address)),
        }
    }
}

/// Whether `$private` means this address.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_private()
                || ip.is_multicast()
                || (a == 100 && (64..128).contains(&b))
                || ip == Ipv4Addr::new(192, 0, 0, 192)
        }
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_multicast()
                || first & 0xffc0 == 0xfe80
                || first & 0xffc0 == 0xfec0
                || first >> 8 == 0xfd
        }
    }
}

/// The IPv4 address within one of IPv6 that stands for it (6to4).
fn within_6to4(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V6(ip) if ip.segments()[0] == 0x2002 => {
            let [_, _, a, b, c, d, ..] = ip.octets();
            Some(Ipv4Addr::new(a, b, c, d).into())
        }
        _ => None,
    }
}

/// An address as the mod writes it: of IPv6 with all eight numbers.
fn java_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => in_full(ip),
    }
}

fn in_full(ip: Ipv6Addr) -> String {
    ip.segments().map(|segment| format!("{segment:x}")).join(":")
}

/// Whether a text is as the pattern says, in which `*` stands for any characters. Case of letters
/// does not count.
fn matches_text(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on when the last `*` has to take one more.
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(c) if c.eq_ignore_ascii_case(&text[t]) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, taken)) = retry else { return false };
                retry = Some((star, taken + 1));
                p = star + 1;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(domain: &str, address: &str, port: u16) -> Destination {
        Destination { domain: domain.to_owned(), address: address.parse().ok(), port }
    }

    fn matches(host: &str, domain: &str, address: &str) -> bool {
        Rule::new(None, host).unwrap().matches(&to(domain, address, 80))
    }

    #[test]
    fn a_host_matches_the_name_as_written_and_the_address_it_leads_to() {
        for (host, domain, address, expected) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "localhost", "127.0.0.1", true),
            ("localhost", "localhost", "127.0.0.1", true),
            ("localhost", "127.0.0.1", "127.0.0.1", false),
            ("LocalHost", "localhost", "", true),
            ("127.*", "some", "127.9.9.9", true),
            ("*", "any", "", true),
            ("*.example.com", "a.b.example.com", "", true),
            ("*.example.com", "example.com", "", false),
            ("*.example.com", "example.com.evil", "", false),
            ("a*b*c", "aXbYbZc", "", true),
            ("a*b*c", "aXbYbZ", "", false),
            ("a.c", "abc", "", false),
            ("127.0.0.0/8", "some", "127.255.0.1", true),
            ("127.0.0.0/8", "127.0.0.1", "", false),
            ("127.0.0.0/99", "x", "127.0.0.0", true),
            ("127.0.0.0/99", "x", "127.0.0.1", false),
            ("127.0.0.1/0", "x", "8.8.8.8", true),
            ("127.0.0.1/-5", "x", "8.8.8.8", true),
            ("0.0.0.0/0", "x", "2001:db8::1", false),
            // Of IPv6 neither the short text nor brackets around the long one match.
            ("::1", "[::1]", "::1", false),
            ("[::1]", "[::1]", "::1", true),
            ("0:0:0:0:0:0:0:1", "[::1]", "::1", true),
            ("::1/128", "[::1]", "::1", true),
            ("127.0.0.1", "x", "::ffff:127.0.0.1", true),
            ("10.0.0.1", "x", "2002:a00:1::", true),
        ] {
            assert_eq!(matches(host, domain, address), expected, "{host} {domain} {address}");
        }
    }

    #[test]
    fn private_means_what_it_means_to_the_mod() {
        for private in [
            "0.0.0.0",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.1.1",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.9.9",
            "224.0.0.1",
            "100.64.0.1",
            "100.127.0.1",
            "192.0.0.192",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
            assert!(matches("$PRIVATE", "x", private), "{private}");
        }
        for public in
            ["8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.0.1", "2001:db8::1", "fc00::1"]
        {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
        assert!(!matches("$private", "localhost", ""), "a name alone is not private");
        assert!(matches("$private", "x", "2002:7f00:1::"), "6to4");
    }

    #[test]
    fn each_property_comes_from_the_first_rule_that_sets_it() {
        let at = |line, value| Some(At { line, value });
        let mut rules = Rule::defaults();
        rules[1].max_message = at(9, 5);
        let first = Rule { max_download: at(1, 7), ..Rule::new(Some(1), "127.0.0.1").unwrap() };
        let second = Rule {
            port: Some(4567),
            action: Some(Action::Allow),
            ..Rule::new(Some(2), "127.*").unwrap()
        };
        rules.splice(..0, [first, second]);
        let outcome = apply(&rules, &to("127.0.0.1", "127.0.0.1", 4567));
        assert!(outcome.is_allowed() && outcome.action.unwrap().line == Some(2));
        assert_eq!((outcome.max_download, outcome.max_message), (at(1, 7), at(9, 5)));
        let other_port = apply(&rules, &to("127.0.0.1", "127.0.0.1", 4568));
        assert_eq!(other_port.action.unwrap().host, "$private");
        assert!(!other_port.is_allowed());
        assert!(!apply(&[], &to("a", "8.8.8.8", 80)).is_allowed(), "no rule: denied");
    }

    #[test]
    fn a_network_that_is_none_is_an_error() {
        for host in ["127.0.0.0/", "127.0.0.0/x", "local/8", "/8", "http://127.0.0.1", "[::1]/128"]
        {
            assert!(Pattern::parse(host).is_err(), "{host}");
        }
    }
}
