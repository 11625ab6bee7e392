//! `X-Forwarded-For`: where a request comes from behind proxies.

use crate::access::{Traced, trace};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

static TRUSTED: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network")).into()
});

static PEERS: LazyLock<Vec<SocketAddr>> = LazyLock::new(|| {
    ["10.0.0.1:5", "203.0.113.9:5", "[fd00::1]:5", "[::ffff:10.0.0.1]:5", "[::ffff:203.0.113.9]:5"]
        .map(|peer| peer.parse().expect("an address"))
        .into()
});

/// Reads the lines of a header, the first byte choosing who has sent it: nobody is believed but a
/// trusted proxy, what stands left of what such a proxy has read changes nothing, and it is one list
/// however it is cut into lines.
///
/// # Panics
/// That does not hold.
pub fn forwarded(data: &[u8]) {
    let Some((&who, rest)) = data.split_first() else { return };
    let peer = PEERS[usize::from(who) % PEERS.len()];
    let lines: Vec<&[u8]> = rest.split(|&byte| byte == b'\n').collect();
    let traced = |lines: &[&[u8]]| trace(peer, lines.iter().copied(), &TRUSTED);
    let found = traced(&lines);
    let Traced { address, unreadable } = found;

    let itself = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    if !is_trusted(itself.ip()) {
        assert_eq!(
            found,
            Traced { address: itself, unreadable: false },
            "nobody's word but its own"
        );
        return;
    }
    assert_eq!(address.ip(), address.ip().to_canonical());
    assert!(address == itself || elements(&lines).any(|told| told == address), "nobody told it");
    assert_eq!(traced(&[&lines.join(&b","[..])]), found, "lines are one list");
    let before = |element| traced(&[&[element], &lines[..]].concat());
    if unreadable || !is_trusted(address.ip()) {
        for forged in [&b"198.51.100.1"[..], b"10.1.1.1", b"\xff", b""] {
            assert_eq!(before(forged), found, "what is forged changes nothing");
        }
    } else {
        let all = elements(&lines).all(|told| is_trusted(told.ip()));
        assert!(all, "somebody who is not trusted was passed over");
        let client = Traced { address: "198.51.100.1:7".parse().expect("an address"), unreadable };
        assert_eq!(before(b"198.51.100.1:7"), client, "the leftmost is who asked");
    }
    let through_another = traced(&[&lines[..], &[b"10.2.2.2"]].concat());
    let alone = through_another.address.ip() == IpAddr::from([10, 2, 2, 2]);
    // It may have been told of, too.
    if address != itself || elements(&lines).any(|told| told == itself) && !alone {
        assert_eq!(through_another, found, "another proxy of the owner's makes no difference");
    } else {
        assert!(alone, "nobody else was told of");
    }
}

fn is_trusted(ip: IpAddr) -> bool {
    TRUSTED.iter().any(|network| network.contains(&ip))
}

/// The addresses in the header, as the standard library reads them.
fn elements<'a>(lines: &'a [&[u8]]) -> impl Iterator<Item = SocketAddr> + 'a {
    let elements = lines.iter().flat_map(|line| line.split(|&byte| byte == b','));
    elements.filter_map(|element| {
        let text = std::str::from_utf8(element.trim_ascii()).ok()?;
        let read = text.parse::<SocketAddr>();
        let ported = read.or_else(|_| format!("{text}:0").parse());
        let address = ported.or_else(|_| format!("[{text}]:0").parse()).ok()?;
        Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
    })
}
