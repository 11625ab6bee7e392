//! Who may not come in.
//!
//! Plain data: a list, and what it says of a client. Kept in memory; whoever keeps it elsewhere too
//! (the owner's API, in a file) takes a copy out and puts it back at the next start.

use super::clients::{ClientInfo, ClientName};
use crate::network;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de};

/// Most bans at a time.
pub const MAX_BANS: usize = 10_000;

/// Largest ID of a ban that was kept elsewhere: half of those that every reader of JSON takes for
/// what they are, so that counting on from it never comes to an end.
const MAX_KEPT_ID: u64 = 1 << 52;

/// Whom a ban keeps out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BanTarget {
    /// Clients that claim this name; worth as much as the claim.
    Name(String),
    /// Clients that prove this name by their token.
    Token(String),
    /// Clients from this network. A whole Minecraft server is one address.
    #[serde(deserialize_with = "read_network")]
    Network(IpNet),
}

/// A ban.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Its ID: grows with each ban.
    #[serde(deserialize_with = "read_id")]
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

/// Reads an ID that leaves room for those to come: each is one that the owner's API can be asked for.
fn read_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let id = u64::deserialize(deserializer)?;
    if id > MAX_KEPT_ID {
        return Err(de::Error::custom(format!("an ID is {MAX_KEPT_ID} at most")));
    }
    Ok(id)
}

/// Reads a network as the addresses of clients are compared with it.
fn read_network<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpNet, D::Error> {
    let text = String::deserialize(deserializer)?;
    network::parse(&text).ok_or_else(|| {
        de::Error::custom("this is no network, such as 192.0.2.0/24, and no address")
    })
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

/// All bans, oldest first.
#[derive(Debug, Default)]
pub(super) struct Bans {
    list: Vec<Ban>,
    next_id: u64,
}

impl Bans {
    /// Takes the place of all bans there were.
    pub fn restore(&mut self, list: Vec<Ban>) {
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
    use super::super::Identity;
    use super::*;

    fn kept(id: u64, network: &str) -> String {
        format!(
            r#"{{"id":{id},"target":{{"network":"{network}"}},"reason":"r","created_at_ms":0}}"#
        )
    }

    #[test]
    fn a_kept_ban_keeps_out_whom_it_names_however_the_network_is_written() {
        let info = ClientInfo {
            address: "[::ffff:192.0.2.7]:1".parse().unwrap(),
            user_agent: None,
            identity: Identity::default(),
            rights: None,
        };
        for network in ["192.0.2.0/24", "192.0.2.9/24", "::ffff:192.0.2.0/120"] {
            let ban: Ban = serde_json::from_str(&kept(1, network)).unwrap();
            assert!(ban.target.matches(&info), "{network}");
        }
    }

    #[test]
    fn an_id_that_leaves_no_room_for_others_is_refused() {
        let read = |id| serde_json::from_str::<Ban>(&kept(id, "192.0.2.0/24"));
        assert!(read(u64::MAX).unwrap_err().to_string().contains("an ID is 4503599627370496 at"));
        let mut bans = Bans::default();
        bans.restore(vec![read(MAX_KEPT_ID).unwrap()]);
        let made = bans.add(BanTarget::Name("a".into()), String::new(), None, 0).unwrap();
        assert_eq!(made.id, MAX_KEPT_ID + 1);
    }
}
