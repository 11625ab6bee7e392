//! Who may not come in.
//!
//! Plain data: a list, and what it says of a client. Kept in memory; whoever keeps it elsewhere too
//! (the owner's API, in a file) takes a copy out and puts it back at the next start.

use super::clients::{ClientInfo, ClientName};
use ipnet::IpNet;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::HashSet;
use std::fmt;

/// Most bans at a time.
pub const MAX_BANS: usize = 10_000;

/// Largest ID that a list from elsewhere may hold. Doubles, which JSON's readers make of numbers, are
/// exact up to nine times that, so there are enough for the bans that follow.
const MAX_KEPT_ID: u64 = 1_000_000_000_000_000;

/// Whom a ban keeps out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BanTarget {
    /// Clients that claim this name; worth as much as the claim.
    Name(String),
    /// Clients that prove this name by their token.
    Token(String),
    /// Clients from this network. A whole Minecraft server is one address.
    Network(#[serde(deserialize_with = "crate::network::deserialize")] IpNet),
}

/// A ban.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ban {
    /// Its ID: grows with each ban.
    pub id: u64,
    /// Whom it keeps out.
    pub target: BanTarget,
    /// Why; the client is told.
    pub reason: String,
    /// When it was made, in milliseconds since 1970 UTC.
    pub created_at_ms: u64,
    /// When it ends, in milliseconds since 1970 UTC; never, if absent.
    pub expires_at_ms: Option<u64>,
}

impl BanTarget {
    /// Whether the ban concerns a client.
    pub fn matches(&self, info: &ClientInfo) -> bool {
        match (self, &info.identity.name) {
            (Self::Name(banned), Some(ClientName::Claimed(name)))
            | (Self::Token(banned), Some(ClientName::Proven(name))) => **banned == **name,
            (Self::Network(network), _) => network.contains(&info.address.ip().to_canonical()),
            _ => false,
        }
    }
}

impl Ban {
    /// Whether it has not ended, by the time in milliseconds since 1970 UTC.
    pub fn is_in_force(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_none_or(|end| now_ms < end)
    }
}

/// A list that was kept elsewhere, where people may have changed it, and is fit to be the hub's:
/// no more bans than there may be, each with an ID of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeptBans(Vec<Ban>);

impl KeptBans {
    /// The bans, in the order in which they were kept.
    pub fn as_slice(&self) -> &[Ban] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for KeptBans {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(KeptBansVisitor)
    }
}

/// Checks each ban as it is read, so that a file that has no end is not read to it.
struct KeptBansVisitor;

impl<'de> Visitor<'de> for KeptBansVisitor {
    type Value = KeptBans;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of bans")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut given: A) -> Result<KeptBans, A::Error> {
        let (mut list, mut ids) = (Vec::new(), HashSet::new());
        while let Some(ban) = given.next_element::<Ban>()? {
            let (number, id) = (list.len() + 1, ban.id);
            let wrong = if number > MAX_BANS {
                format!("it holds more than {MAX_BANS} bans, the most there may be")
            } else if id > MAX_KEPT_ID {
                format!("ban {number} of it has the ID {id}; the largest is {MAX_KEPT_ID}")
            } else if !ids.insert(id) {
                format!("ban {number} of it has the ID {id}, and so has one before it")
            } else {
                list.push(ban);
                continue;
            };
            return Err(A::Error::custom(wrong));
        }
        Ok(KeptBans(list))
    }
}

/// All bans, oldest first.
#[derive(Debug, Default)]
pub(super) struct Bans {
    list: Vec<Ban>,
    next_id: u64,
}

impl Bans {
    /// Takes the place of all bans there were.
    pub fn restore(&mut self, KeptBans(list): KeptBans) {
        // An ID is never used again, be its ban gone from the list.
        self.next_id = list.iter().map(|ban| ban.id).max().unwrap_or(0).max(self.next_id);
        self.list = list;
    }

    /// Adds a ban; none when there are too many.
    pub fn add(
        &mut self,
        target: BanTarget,
        reason: String,
        expires_at_ms: Option<u64>,
        now_ms: u64,
    ) -> Option<Ban> {
        self.forget_expired(now_ms);
        if self.list.len() >= MAX_BANS {
            return None;
        }
        self.next_id += 1;
        let ban = Ban { id: self.next_id, target, reason, created_at_ms: now_ms, expires_at_ms };
        self.list.push(ban.clone());
        Some(ban)
    }

    /// Removes a ban; false if there is none with this ID.
    pub fn remove(&mut self, id: u64) -> bool {
        let before = self.list.len();
        self.list.retain(|ban| ban.id != id);
        self.list.len() < before
    }

    /// The bans in force.
    pub fn list(&mut self, now_ms: u64) -> Vec<Ban> {
        self.forget_expired(now_ms);
        self.list.clone()
    }

    /// The first ban in force that keeps a client out.
    pub fn find(&self, info: &ClientInfo, now_ms: u64) -> Option<&Ban> {
        self.in_force(now_ms).find(|ban| ban.target.matches(info))
    }

    /// How many bans are in force.
    pub fn count(&self, now_ms: u64) -> usize {
        self.in_force(now_ms).count()
    }

    fn in_force(&self, now_ms: u64) -> impl Iterator<Item = &Ban> {
        self.list.iter().filter(move |ban| ban.is_in_force(now_ms))
    }

    fn forget_expired(&mut self, now_ms: u64) {
        self.list.retain(|ban| ban.is_in_force(now_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64) -> String {
        format!(
            r#"{{"id":{id},"target":{{"name":"eve"}},"reason":"r","created_at_ms":1,"expires_at_ms":null}}"#
        )
    }

    fn read(entries: &[String]) -> Result<KeptBans, String> {
        let text = format!("[\n{}\n]", entries.join(",\n"));
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_that_the_hub_could_not_have_made_is_refused_by_the_ban_that_is_wrong() {
        for (wrong, words) in [
            (entry(1), "ban 2 of it has the ID 1, and so has one before it"),
            (entry(u64::MAX), "ban 2 of it has the ID 18446744073709551615; the largest is 10000"),
            (entry(2).replace("expires_at_ms", "expires_at"), "unknown field `expires_at`"),
            (entry(2).replace("eve\"", "eve\",\"names\":\"adam\""), "expected value"),
            (entry(2).replace("\"name\"", "\"names\""), "unknown variant `names`"),
            (
                entry(2).replace(r#""name":"eve""#, r#""network":"::ffff:10.0.0.0/8""#),
                "the network is an IPv4 address written as an IPv6 one",
            ),
        ] {
            let text = read(&[entry(1), wrong, entry(3)]).unwrap_err();
            assert!(text.contains(words), "{text}");
            assert!(text.contains(" at line 3 column ") || text.contains("ban 2 of it"), "{text}");
        }
    }

    #[test]
    fn as_many_bans_are_read_as_there_may_be_and_no_more() {
        let entries: Vec<_> = (0..=MAX_BANS as u64).map(entry).collect();
        assert_eq!(read(&entries[1..]).unwrap().as_slice().len(), MAX_BANS);
        assert!(read(&entries).unwrap_err().contains("more than 10000 bans"));
    }

    #[test]
    fn the_bans_after_the_largest_id_have_ids_of_their_own() {
        let mut bans = Bans::default();
        bans.restore(read(&[entry(MAX_KEPT_ID)]).unwrap());
        let mut add = || bans.add(BanTarget::Name("adam".into()), "r".into(), None, 2).unwrap().id;
        assert_eq!([add(), add()], [MAX_KEPT_ID + 1, MAX_KEPT_ID + 2]);
    }
}
