//! Where a request comes from, when proxies stand in front of the hub.
//!
//! A proxy appends the address that it was asked from to `X-Forwarded-For`; what stands left of that
//! was written by whoever asked. So the list counts from the right, and only as far as the owner's own
//! proxies have written it. Nothing else that a request says about its address is believed. Pure: no
//! request, no clock, nothing kept.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traced {
    /// The address. One that a header tells has port 0, unless the header tells a port too; an IPv4
    /// address in the form of an IPv6 one is the IPv4 address.
    pub address: SocketAddr,
    /// Whether a trusted proxy told something that is no address, at which the search ended.
    pub unreadable: bool,
}

/// Finds where a request comes from: `peer` is at the other end of the connection, `lines` are the
/// values of all `X-Forwarded-For` headers in their order, `trusted` the networks of the proxies.
///
/// The address is the first from the right, the peer's before them all, that is not trusted; the
/// leftmost one, when all are; and the last one that could be read, when something in between is no
/// address. A list may have empty elements, which say nothing.
pub fn trace<'a>(
    peer: SocketAddr,
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: &[IpNet],
) -> Traced {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(&ip));
    let mut address = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let elements = lines.rev().flat_map(|line| line.rsplit(|&byte| byte == b','));
    for element in elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()) {
        if !is_trusted(address.ip()) {
            break;
        }
        match read(element) {
            Some(before) => address = before,
            None => return Traced { address, unreadable: true },
        }
    }
    Traced { address, unreadable: false }
}

/// Reads an address, one of IPv6 with or without brackets, with or without a port.
fn read(element: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(element).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let alone = match bare {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    };
    let address = alone.map(|ip| SocketAddr::new(ip, 0)).or_else(|| text.parse().ok())?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn networks(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|network| network.parse().unwrap()).collect()
    }

    fn traced(peer: &str, lines: &[&str]) -> (String, bool) {
        let trusted = networks(&["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"]);
        let lines = lines.iter().map(|line| line.as_bytes());
        let found = trace(peer.parse().unwrap(), lines, &trusted);
        (found.address.to_string(), found.unreadable)
    }

    #[test]
    fn the_first_untrusted_address_from_the_right_counts() {
        for (peer, lines, address) in [
            // Nobody's word but a trusted proxy's.
            ("203.0.113.9:5", &["198.51.100.1"][..], "203.0.113.9:5"),
            ("[2001:db8::1]:5", &["198.51.100.1"], "[2001:db8::1]:5"),
            ("10.0.0.1:5", &[], "10.0.0.1:5"),
            ("10.0.0.1:5", &[""], "10.0.0.1:5"),
            ("10.0.0.1:5", &["198.51.100.1"], "198.51.100.1:0"),
            // What the client has written itself stands on the left.
            ("10.0.0.1:5", &["1.1.1.1, 198.51.100.1"], "198.51.100.1:0"),
            ("10.0.0.1:5", &["1.1.1.1", "198.51.100.1"], "198.51.100.1:0"),
            ("10.0.0.1:5", &["198.51.100.1", "1.1.1.1"], "1.1.1.1:0"),
            ("10.0.0.1:5", &["127.0.0.1, 198.51.100.1"], "198.51.100.1:0"),
            ("10.0.0.1:5", &["nonsense, 198.51.100.1"], "198.51.100.1:0"),
            // Several proxies.
            ("10.0.0.1:5", &["1.1.1.1, 198.51.100.1, 10.9.9.9"], "198.51.100.1:0"),
            ("10.0.0.1:5", &["198.51.100.1, 10.9.9.9", "fd00::7,10.1.1.1"], "198.51.100.1:0"),
            ("10.0.0.1:5", &["10.3.3.3, 10.2.2.2"], "10.3.3.3:0"),
            // As programs write them.
            ("10.0.0.1:5", &["198.51.100.1:4711"], "198.51.100.1:4711"),
            ("10.0.0.1:5", &["2001:db8::1"], "[2001:db8::1]:0"),
            ("10.0.0.1:5", &["[2001:db8::1]"], "[2001:db8::1]:0"),
            ("10.0.0.1:5", &["[2001:db8::1]:4711"], "[2001:db8::1]:4711"),
            ("10.0.0.1:5", &["\t198.51.100.1 ,, , "], "198.51.100.1:0"),
            ("10.0.0.1:5", &["198.51.100.1, ::ffff:10.2.2.2"], "198.51.100.1:0"),
            ("10.0.0.1:5", &["::ffff:198.51.100.1"], "198.51.100.1:0"),
            ("[::ffff:10.0.0.1]:5", &["198.51.100.1"], "198.51.100.1:0"),
            ("[::ffff:203.0.113.9]:5", &["198.51.100.1"], "203.0.113.9:5"),
        ] {
            assert_eq!(traced(peer, lines), (address.to_owned(), false), "{peer} {lines:?}");
        }
    }

    #[test]
    fn at_what_is_no_address_the_last_trusted_one_counts() {
        let long = "9".repeat(16_000);
        for element in [
            "unknown",
            "_hidden",
            "198.51.100",
            "198.51.100.1.1",
            "198.51.100.1:",
            "198.51.100.1:65536",
            "[198.51.100.1]",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]4711",
            "fe80::1%eth0",
            "\"198.51.100.1\"",
            "for=198.51.100.1",
            "198.51.100.1 1.1.1.1",
            "198.51.100.1;1.1.1.1",
            "localhost",
            "é",
            &long,
        ] {
            let before = format!("1.1.1.1, {element}");
            assert_eq!(traced("10.0.0.1:5", &[&before]), ("10.0.0.1:5".into(), true), "{element}");
            let between = format!("1.1.1.1, {element}, 10.2.2.2");
            assert_eq!(traced("10.0.0.1:5", &[&between]), ("10.2.2.2:0".into(), true), "{element}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_no_address() {
        let found = trace(
            "10.0.0.1:5".parse().unwrap(),
            [&b"1.1.1.1, \xff\xfe"[..]].into_iter(),
            &networks(&["10.0.0.0/8"]),
        );
        assert_eq!(found, Traced { address: "10.0.0.1:5".parse().unwrap(), unreadable: true });
    }

    proptest! {
        #[test]
        fn whatever_a_header_holds_an_untrusted_peer_is_itself(
            ip: std::net::Ipv6Addr,
            lines: Vec<Vec<u8>>,
        ) {
            let peer = SocketAddr::new(IpAddr::V6(ip).to_canonical(), 1);
            let found = trace(peer, lines.iter().map(Vec::as_slice), &[]);
            prop_assert_eq!(found, Traced { address: peer, unreadable: false });
        }

        #[test]
        fn what_a_client_writes_does_not_change_what_its_proxy_wrote(
            client: std::net::Ipv4Addr,
            forged: Vec<Vec<u8>>,
            addresses: Vec<std::net::Ipv6Addr>,
            in_one_line in "[ -~]{0,40}",
        ) {
            prop_assume!(!client.octets().starts_with(&[10]));
            let listed: String = addresses.iter().map(|address| format!("{address},")).collect();
            let appended = format!("{in_one_line},{listed} {client}");
            let lines = forged.iter().map(Vec::as_slice).chain([appended.as_bytes()]);
            let lines: Vec<_> = lines.collect();
            let peer = "10.0.0.1:5".parse().unwrap();
            let found = trace(peer, lines.into_iter(), &networks(&["10.0.0.0/8"]));
            prop_assert_eq!(found.address.ip(), IpAddr::from(client));
        }

        #[test]
        fn the_result_is_the_peer_or_stands_in_the_header(
            elements in proptest::collection::vec(any::<std::net::Ipv4Addr>(), 0..6),
        ) {
            let line = elements.iter().map(|ip| ip.to_string()).collect::<Vec<_>>().join(",");
            let everything = networks(&["0.0.0.0/0"]);
            let peer: SocketAddr = "10.0.0.1:5".parse().unwrap();
            let found = trace(peer, [line.as_bytes()].into_iter(), &everything);
            let leftmost = elements.first().map_or(peer.ip(), |&ip| ip.into());
            prop_assert_eq!(found.address.ip(), leftmost);
        }
    }
}
