//! Who may not come in.
//!
//! Plain data: a list, and what it says of a client. Kept in memory; whoever keeps it elsewhere too
//! (the owner's API, in a file) takes a copy out and puts it back at the next start.

use super::clients::{ClientInfo, ClientName};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Most bans at a time.
pub const MAX_BANS: usize = 10_000;

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
