//! Fuzzing of what is asked by a body.

use super::world::{CLIENTS, World, ip};
use crate::api::types::{Span, Time};
use crate::hub::{BanTarget, Membership};
use crate::protocol::CloseReason;
use poem::http::Method;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the fields of a ban and of a kick are.
const OF_A_BAN: [&str; 6] = ["name", "token", "address", "reason", "duration", "expires_at"];
const OF_A_KICK: [&str; 6] = ["channel", "address", "name", "all", "reason", "dry_run"];

thread_local! {
    static WORLD: World = World::new();
}

/// Reads a text as the body that the first byte says, of a ban, a kick, or a message: it is refused,
/// or does what reading it into a tree of values says.
///
/// # Panics
/// That does not hold.
pub fn body(data: &[u8]) {
    let Some((&what, body)) = data.split_first() else { return };
    WORLD.with(|world| {
        let clients = world.join();
        let tree = serde_json::from_slice::<Map<String, Value>>(body);
        match what % 3 {
            0 => ban(world, &clients, body, tree.as_ref().ok()),
            1 => kick(world, &clients, body, tree.as_ref().ok()),
            _ => message(world, body, tree.as_ref().ok()),
        }
        for ban in world.hub.bans() {
            world.hub.unban(ban.id);
        }
        world.hub.clear_log(None);
    });
}

type Tree<'a> = Option<&'a Map<String, Value>>;

fn ban(world: &World, clients: &[Membership], body: &[u8], tree: Tree) {
    let before = unix_ms();
    let answered = world.ask_at(Method::POST, "bans", body);
    let after = unix_ms();
    let made = world.hub.bans();
    if answered.status != 201 {
        assert_eq!((answered.status, made.len()), (400, 0), "{:?}", answered.document);
        assert!(answered.names().is_none_or(|field| named(field, &OF_A_BAN, body)));
        let expected = tree.and_then(|tree| ban_of(tree, after));
        assert!(expected.is_none(), "it is refused: {:?}", answered.document);
        return;
    }
    // It may end at once.
    let Some(ban) = made.first() else { return };
    let document = answered.document();
    assert_eq!(document["ban"]["id"], ban.id);
    if let Some(tree) = tree {
        let (field, text, reason, end) = ban_of(tree, before).expect("it is refused by a loop");
        assert_eq!(ban.reason, reason.unwrap_or(CloseReason::Banned.text()));
        match (end, ban.expires_at_ms) {
            (End::Never, None) => {}
            (End::At(due), Some(end)) => assert_eq!(end, due),
            (End::In(ms), Some(end)) => assert!((before + ms..=after + ms).contains(&end)),
            (_, end) => panic!("it ends at {end:?}"),
        }
        let meets = |&client: &usize| {
            let (name, proven, ..) = CLIENTS[client];
            match field {
                "name" => !proven && name == Some(text),
                "token" => proven && name == Some(text),
                _ => covers(text, ip(client)) == Some(true),
            }
        };
        let met: Vec<usize> = (0..CLIENTS.len()).filter(meets).collect();
        assert_eq!(document["disconnected"], met.len());
        assert_eq!(closed(world, clients), met);
        let warns = field == "address" && !met.is_empty();
        assert_eq!(document["warning"].is_string(), warns);
        match &ban.target {
            BanTarget::Name(name) => assert_eq!((field, &**name), ("name", text)),
            BanTarget::Token(name) => assert_eq!((field, &**name), ("token", text)),
            BanTarget::Network(network) => {
                assert_eq!(field, "address");
                let own = network.addr().to_canonical();
                assert!(network.contains(&own), "{network} keeps nobody out");
            }
        }
    }
    let path = format!("bans/{}", ban.id);
    assert_eq!(world.ask_at(Method::DELETE, &path, &[]).status, 204);
    assert_eq!(world.ask_at(Method::DELETE, &path, &[]).status, 404);
}

/// When a ban ends.
enum End {
    Never,
    At(u64),
    In(u64),
}

/// The ban that a tree is: the field that says whom, what it says, why, and until when.
fn ban_of(tree: &Map<String, Value>, now: u64) -> Option<(&str, &str, Option<&str>, End)> {
    let known = tree.keys().all(|key| OF_A_BAN.contains(&&**key));
    let field = one_of(tree, &["name", "token", "address"]).filter(|_| known)?;
    let text = tree[field].as_str()?;
    let fits = match field {
        "address" => covers(text, ip(0)).is_some(),
        _ => (1..=64).contains(&text.chars().count()),
    };
    let reason = reason(tree)?;
    let end = match (tree.get("duration"), tree.get("expires_at")) {
        (None, None) => End::Never,
        (Some(duration), None) => End::In(Span::parse(duration.as_str()?)?.milliseconds()),
        (None, Some(end)) => End::At(Time::parse(end.as_str()?)?.0),
        (Some(_), Some(_)) => return None,
    };
    let to_come = !matches!(end, End::At(end) if end <= now);
    (fits && to_come).then_some((field, text, reason, end))
}

fn kick(world: &World, clients: &[Membership], body: &[u8], tree: Tree) {
    let answered = world.ask_at(Method::POST, "clients/kick", body);
    if answered.status != 200 {
        assert_eq!(answered.status, 400);
        assert!(answered.names().is_none_or(|field| named(field, &OF_A_KICK, body)));
        assert!(closed(world, clients).is_empty());
        let expected = tree.and_then(kick_of);
        assert!(expected.is_none(), "it is refused: {:?}", answered.document);
        return;
    }
    let document = answered.document();
    let listed = document["clients"].as_array().expect("a list");
    let ids: Vec<u64> = listed.iter().filter_map(|client| client["id"].as_u64()).collect();
    let met: Vec<usize> =
        (0..clients.len()).filter(|&at| ids.contains(&clients[at].key().id())).collect();
    assert_eq!(document["total"], met.len());
    if let Some(tree) = tree {
        let (expected, dry_run) = kick_of(tree).expect("it is refused by a loop");
        assert_eq!((met.clone(), &document["dry_run"]), (expected, &dry_run.into()));
    }
    let due = if document["dry_run"] == true { vec![] } else { met };
    assert_eq!(closed(world, clients), due);
}

/// The kick that a tree is: whom it means, and whether it is a trial.
fn kick_of(tree: &Map<String, Value>) -> Option<(Vec<usize>, bool)> {
    let known = tree.keys().all(|key| OF_A_KICK.contains(&&**key));
    let field = one_of(tree, &["channel", "address", "name", "all"]).filter(|_| known)?;
    let value = &tree[field];
    let text = value.as_str();
    let fits = match field {
        "channel" => value.is_number() || value.is_string(),
        "address" => covers(text?, ip(0)).is_some(),
        "name" => (1..=64).contains(&text?.chars().count()),
        _ => *value == true,
    };
    reason(tree)?;
    let dry_run = tree.get("dry_run").map_or(Some(false), Value::as_bool)?;
    let meets = |&client: &usize| {
        let (name, _, _, channels) = CLIENTS[client];
        match field {
            "channel" => channels.iter().any(|open| {
                let open: Value = serde_json::from_str(open).expect("JSON");
                open == *value || value.as_f64().is_some_and(|number| open.as_f64() == Some(number))
            }),
            "address" => text.and_then(|text| covers(text, ip(client))) == Some(true),
            "name" => name.is_some() && name == text,
            _ => true,
        }
    };
    fits.then(|| ((0..CLIENTS.len()).filter(meets).collect(), dry_run))
}

fn message(world: &World, body: &[u8], tree: Tree) {
    let answered = world.ask_at(Method::POST, "messages", body);
    let Some(tree) = tree.filter(|_| answered.status == 201) else {
        assert!([201, 400, 413].contains(&answered.status), "{:?}", answered.document);
        assert!(answered.names().is_none_or(|field| field == "channel"));
        return;
    };
    let document = answered.document();
    let sent = &document["message"];
    let same = |key: &str, value: &Value| match key {
        "type" => sent[key] == "message",
        "ID" | "time" => true,
        "channel" => sent[key] == *value || sent[key].as_f64() == value.as_f64(),
        _ => sent[key] == *value,
    };
    assert!(tree.iter().all(|(key, value)| same(key, value)), "{tree:?} is sent as {sent}");
    let listens = |&client: &usize| {
        let mut open = CLIENTS[client].3.iter().map(|open| serde_json::from_str::<Value>(open));
        open.any(|open| open.is_ok_and(|open| open == sent["channel"] || open == "*"))
    };
    assert_eq!(document["received_by"], (0..CLIENTS.len()).filter(listens).count());
    let path = format!("log/{}", sent["ID"].as_str().expect("an ID"));
    assert_eq!(world.ask_at(Method::GET, &path, &[]).document(), sent);
}

/// Which clients the hub has decided to close since this was last asked.
fn closed(world: &World, clients: &[Membership]) -> Vec<usize> {
    let mut jobs = vec![];
    world.hub.take_jobs(&mut jobs, usize::MAX);
    let closing = |&at: &usize| {
        jobs.iter().any(|job| job.close.is_some() && job.key.id() == clients[at].key().id())
    };
    let closed = (0..clients.len()).filter(closing).collect();
    world.hub.settle(&mut jobs);
    closed
}

/// The only one of these fields that is there.
fn one_of<'a>(tree: &Map<String, Value>, fields: &[&'a str]) -> Option<&'a str> {
    let mut given = fields.iter().copied().filter(|field| tree.contains_key(*field));
    given.next().filter(|_| given.next().is_none())
}

/// The reason, if one is given; none if it is no good.
fn reason(tree: &Map<String, Value>) -> Option<Option<&str>> {
    let Some(reason) = tree.get("reason") else { return Some(None) };
    let reason = reason.as_str()?;
    (1..=123).contains(&reason.chars().count()).then_some(Some(reason))
}

/// Whether a refusal may name this field: it is a known one, or stands in the body.
fn named(field: &str, known: &[&str], body: &[u8]) -> bool {
    let keys = serde_json::from_slice::<HashMap<String, IgnoredAny>>(body);
    known.contains(&field) || keys.is_ok_and(|keys| keys.contains_key(field))
}

/// Whether a network or an address contains an address; none if it is neither.
fn covers(network: &str, ip: IpAddr) -> Option<bool> {
    // As all are in version 6, where those of version 4 have a network of their own.
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_ipv6_mapped()),
        IpAddr::V6(ip) => u128::from(ip),
    };
    let (text, length) = match network.split_once('/') {
        None => (network, None),
        Some((text, length)) => {
            (text, Some((0..=128u32).find(|known| known.to_string() == length)?))
        }
    };
    let address: IpAddr = text.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = length.unwrap_or(most) + 128 - most;
    if length > 128 {
        return None;
    }
    // Larger than the one of version 4, it is one of version 6 alone.
    if length < 96 && ip.is_ipv4() {
        return Some(false);
    }
    let differ = number(address) ^ number(ip);
    Some(differ.checked_shr(128 - length).unwrap_or(0) == 0)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}
