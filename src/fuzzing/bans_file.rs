//! The file of bans, which is read at the start, and again whenever the settings are.

use crate::access::BansFile;
use crate::hub::{Ban, BanTarget, Hub, KeptBans, LIMITS, MAX_BANS};
use serde_json::Value;
use std::collections::HashSet;
use std::net::IpAddr;

/// Reads bytes as a file of bans: it is refused in words that name the file and a line that it has,
/// or holds what reading it into a tree of values says, keeps out whom it names, and stays the same
/// when the hub writes it again with one ban more.
///
/// # Panics
/// That does not hold.
pub fn bans_file(data: &[u8]) {
    let file = BansFile::new("bans.json");
    let tree = serde_json::from_slice::<Value>(data).ok();
    let read = match file.parse::<KeptBans>(data) {
        Ok(read) => read,
        Err(error) => {
            let words = error.to_string();
            assert!(words.contains("bans.json\" (admin.bans_file), line "), "{words}");
            let line = words.split_once(", line ").and_then(|(_, rest)| rest.split(',').next());
            let line: usize = line.and_then(|line| line.parse().ok()).expect("a line");
            let lines = 1 + data.iter().filter(|&&byte| byte == b'\n').count();
            assert!((1..=lines).contains(&line), "line {line} of {lines}");
            // A tree does not know of what stood there twice.
            let tree = tree.filter(|tree| members(tree) == colons(data));
            assert!(tree.and_then(|tree| list(&tree)).is_none(), "a loop reads it: {words}");
            return;
        }
    };
    let bans = read.as_slice();
    if let Some(tree) = tree {
        assert_eq!(list(&tree).as_deref(), Some(bans));
    }
    for ban in bans {
        if let BanTarget::Network(network) = &ban.target {
            let own = network.addr().to_canonical();
            assert!(network.contains(&own), "{network} keeps nobody out");
        }
    }
    let hub = Hub::new(LIMITS);
    hub.restore_bans(read.clone());
    let mut kept = hub.bans();
    let mut all = bans.iter();
    assert!(kept.iter().all(|ban| all.any(|other| other == ban)), "a ban that nobody made");
    assert!(bans.iter().filter(|ban| ban.expires_at_ms.is_none()).all(|ban| kept.contains(ban)));
    let target = BanTarget::Name("one more".to_owned());
    if let Some((made, _)) = hub.ban(target, String::new(), None) {
        assert!(bans.iter().all(|ban| ban.id < made.id), "an ID is given once");
        kept.push(made);
    }
    let written = BansFile::text(&kept).expect("it can be written");
    assert_eq!(file.parse::<KeptBans>(&written).expect("it can be read").as_slice(), kept);
}

/// The bans that a tree is; none if it is no list of bans.
fn list(tree: &Value) -> Option<Vec<Ban>> {
    let bans: Vec<Ban> = tree.as_array()?.iter().map(ban).collect::<Option<_>>()?;
    let ids: HashSet<u64> = bans.iter().map(|ban| ban.id).collect();
    Some(bans).filter(|bans| bans.len() <= MAX_BANS && ids.len() == bans.len())
}

fn ban(value: &Value) -> Option<Ban> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let time = |value: &Value| if value.is_null() { Some(None) } else { value.as_u64().map(Some) };
    const NAMES: [&str; 5] = ["id", "target", "reason", "created_at_ms", "expires_at_ms"];
    // In order, or by name, and none by another.
    let known = |object: &serde_json::Map<_, _>| object.keys().all(|key| NAMES.contains(&&**key));
    let field = |at: usize| match value {
        Value::Array(values) if values.len() == NAMES.len() => values.get(at),
        Value::Object(object) if known(object) => object.get(NAMES[at]),
        _ => None,
    };
    Some(Ban {
        id: field(0)?.as_u64().filter(|&id| id <= 1_000_000_000_000_000)?,
        target: target(field(1)?)?,
        reason: text(field(2)?)?,
        created_at_ms: field(3)?.as_u64()?,
        expires_at_ms: field(4).map_or(Some(None), time)?,
    })
}

fn target(value: &Value) -> Option<BanTarget> {
    let (kind, whom) = value.as_object().filter(|target| target.len() == 1)?.iter().next()?;
    let whom = whom.as_str()?;
    match &**kind {
        "name" => Some(BanTarget::Name(whom.to_owned())),
        "token" => Some(BanTarget::Token(whom.to_owned())),
        "network" => network(whom),
        _ => None,
    }
}

fn network(text: &str) -> Option<BanTarget> {
    let text = text.trim();
    let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let address: IpAddr = address.parse().ok()?;
    let own = address.to_canonical();
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    let length =
        length.map_or(Some(most), |length| (0..=most).find(|known| known.to_string() == length))?;
    // The network of IPv4 within IPv6 is the one of IPv4, and no larger one.
    let length = if own == address { length } else { length.checked_sub(96)? };
    let address = own;
    Some(BanTarget::Network(ipnet::IpNet::new(address, length).ok()?.trunc()))
}

fn members(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(members).sum(),
        Value::Object(object) => object.values().map(|value| 1 + members(value)).sum(),
        _ => 0,
    }
}

/// The colons outside of texts: one for each member.
fn colons(data: &[u8]) -> usize {
    let (mut count, mut in_text, mut escaped) = (0, false, false);
    for &byte in data {
        let ends = in_text && escaped;
        escaped = in_text && !ends && byte == b'\\';
        in_text ^= byte == b'"' && !ends;
        count += usize::from(byte == b':' && !in_text);
    }
    count
}
