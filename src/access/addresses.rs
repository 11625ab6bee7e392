//! What one address may use: connections at a time, and new ones a second.
//!
//! One address may be a whole Minecraft server, whose computers all come from it, so nothing is limited
//! unless the owner asks for it, and networks can be left out. Who holds a network of IPv6 has as many
//! addresses as it likes: of those, the first 64 bits count as one.
//!
//! What is remembered is bounded: connections by the clients that the hub takes, paces by two
//! generations of [`GENERATION`] addresses. When the younger one is full the elder is forgotten, so
//! that whoever comes from ever new addresses makes others' past visits forgotten, never their present
//! connections. Synchronous; one short lock for each handshake.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::config::LimitsConfig;

/// Addresses whose pace is remembered in a generation, of which there are two.
pub const GENERATION: usize = 8192;

/// Bits of an IPv6 address that count.
const V6_BITS: u32 = 64;

/// What one address may use.
#[derive(Debug)]
pub struct AddressLimits {
    table: Mutex<Table>,
}

/// What the owner asks for.
#[derive(Debug)]
struct Rules {
    max_clients: Option<usize>,
    pace: Option<Pace>,
    exempt: Vec<IpNet>,
}

/// New connections that an address may make.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// The time that one connection costs.
    each: Duration,
    /// The time that may be spent at once.
    burst: Duration,
}

#[derive(Debug)]
struct Table {
    rules: Rules,
    /// Connections of each address that has one.
    clients: HashMap<IpAddr, usize>,
    /// When each address may spend its whole burst again.
    young: HashMap<IpAddr, Instant>,
    old: HashMap<IpAddr, Instant>,
    forgotten: u64,
}

/// Why an address may not connect now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMany {
    /// It has as many connections as it may have.
    Clients,
    /// It connects more often than it may.
    Connections,
}

/// A connection's place among those of its address, given back when it is dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it holds no place"]
pub struct Place {
    limits: Arc<AddressLimits>,
    address: IpAddr,
}

impl AddressLimits {
    /// The limits that a configuration asks for.
    pub fn new(config: &LimitsConfig) -> Self {
        let table = Table {
            rules: Rules::new(config),
            clients: HashMap::new(),
            young: HashMap::new(),
            old: HashMap::new(),
            forgotten: 0,
        };
        Self { table: Mutex::new(table) }
    }

    /// Limits who connects from now on as `config` asks for. Who has a place keeps it; connections
    /// made while their number was not limited have none and are not counted.
    pub fn set(&self, config: &LimitsConfig) {
        self.table().rules = Rules::new(config);
    }

    /// Takes note of a connection. There is no place to hold when connections are not limited.
    ///
    /// # Errors
    /// The address has too many, or makes them too fast. A refused one costs the address nothing.
    pub fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        now: Instant,
    ) -> Result<Option<Place>, TooMany> {
        let address = address.to_canonical();
        let mut table = self.table();
        let &Rules { max_clients, pace, ref exempt } = &table.rules;
        let unlimited = max_clients.is_none() && pace.is_none();
        if unlimited || exempt.iter().any(|network| network.contains(&address)) {
            return Ok(None);
        }
        let address = counted_as(address);
        let taken = table.clients.get(&address).copied().unwrap_or(0);
        if max_clients.is_some_and(|most| taken >= most) {
            return Err(TooMany::Clients);
        }
        if pace.is_some_and(|pace| !table.spend(address, pace, now)) {
            return Err(TooMany::Connections);
        }
        if max_clients.is_none() {
            return Ok(None);
        }
        table.clients.insert(address, taken + 1);
        Ok(Some(Place { limits: self.clone(), address }))
    }

    /// Addresses forgotten, to make room for others, before they could spend their whole burst again.
    pub fn forgotten(&self) -> u64 {
        self.table().forgotten
    }

    /// Nothing can be half done under this lock, so a panic elsewhere does not spoil what it keeps.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    fn new(config: &LimitsConfig) -> Self {
        let pace = config.connections_per_second_per_address.map(|per_second| {
            let each = Duration::from_secs(1) / per_second;
            Pace { each, burst: each * config.connection_burst_per_address }
        });
        Self {
            max_clients: config.max_clients_per_address,
            pace,
            exempt: config.exempt_addresses.clone(),
        }
    }
}

impl Table {
    /// Spends one connection's time of an address, if it has it.
    fn spend(&mut self, address: IpAddr, pace: Pace, now: Instant) -> bool {
        let whole_at = self.young.get(&address).or_else(|| self.old.get(&address));
        let missing = whole_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        if missing + pace.each > pace.burst {
            return false;
        }
        if self.young.len() >= GENERATION {
            let gone = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.forgotten += gone.values().filter(|whole_at| **whole_at > now).count() as u64;
        }
        self.young.insert(address, now + missing + pace.each);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.limits.table();
        if let Some(count) = table.clients.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                table.clients.remove(&self.address);
            }
        }
    }
}

/// The address that stands for all that count as one with it: itself, or of IPv6 the network of its
/// first 64 bits.
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => {
            let mask = u128::MAX << (u128::BITS - V6_BITS);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn limits(change: impl FnOnce(&mut LimitsConfig)) -> Arc<AddressLimits> {
        let mut config = Config::default().limits;
        change(&mut config);
        Arc::new(AddressLimits::new(&config))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn without_a_setting_nothing_is_limited_and_nothing_remembered() {
        let limits = limits(|_| {});
        for _ in 0..10_000 {
            assert!(limits.enter(ip("192.0.2.1"), Instant::now()).unwrap().is_none());
        }
        let table = limits.table();
        assert!(table.clients.is_empty() && table.young.is_empty() && table.old.is_empty());
    }

    #[test]
    fn limits_that_change_meet_those_who_come_and_leave_others_their_places() {
        let limits = limits(|_| {});
        let now = Instant::now();
        let enter = || limits.enter(ip("192.0.2.1"), now);
        assert!(enter().unwrap().is_none());
        let mut config = Config::default().limits;
        config.max_clients_per_address = Some(2);
        limits.set(&config);
        let places = [enter().unwrap().unwrap(), enter().unwrap().unwrap()];
        config.max_clients_per_address = Some(1);
        limits.set(&config);
        assert_eq!(enter().unwrap_err(), TooMany::Clients);
        config.exempt_addresses = vec!["192.0.2.0/24".parse().unwrap()];
        limits.set(&config);
        assert!(enter().unwrap().is_none());
        limits.set(&Config::default().limits);
        drop(places);
        assert!(limits.table().clients.is_empty());
    }

    #[test]
    fn an_address_has_its_places_and_gets_them_back() {
        let limits = limits(|config| config.max_clients_per_address = Some(2));
        let now = Instant::now();
        let first = limits.enter(ip("192.0.2.1"), now).unwrap();
        let second = limits.enter(ip("::ffff:192.0.2.1"), now).unwrap();
        assert!(first.is_some() && second.is_some());
        assert_eq!(limits.enter(ip("192.0.2.1"), now).err(), Some(TooMany::Clients));
        let other = limits.enter(ip("192.0.2.2"), now).unwrap();
        drop(first);
        let again = limits.enter(ip("192.0.2.1"), now).unwrap();
        assert!(again.is_some() && limits.enter(ip("192.0.2.1"), now).is_err());
        drop((second, again, other));
        assert!(limits.table().clients.is_empty(), "nobody is remembered who has left");
    }

    #[test]
    fn of_ipv6_a_network_of_64_bits_counts_as_one() {
        let limits = limits(|config| config.max_clients_per_address = Some(1));
        let now = Instant::now();
        let held = limits.enter(ip("2001:db8:0:1::1"), now).unwrap();
        assert_eq!(limits.enter(ip("2001:db8:0:1:ffff::2"), now).err(), Some(TooMany::Clients));
        assert!(limits.enter(ip("2001:db8:0:2::1"), now).unwrap().is_some());
        drop(held);
    }

    #[test]
    fn an_address_spends_its_burst_and_then_keeps_its_pace() {
        let limits = limits(|config| {
            config.connections_per_second_per_address = Some(2);
            config.connection_burst_per_address = 3;
        });
        let (address, start) = (ip("192.0.2.1"), Instant::now());
        let enters = |after: u64| limits.enter(address, start + Duration::from_millis(after));
        for _ in 0..3 {
            assert!(enters(0).is_ok());
        }
        assert_eq!(enters(0).err(), Some(TooMany::Connections));
        assert!(
            enters(499).is_err(),
            "a refused one costs nothing, and half a second has not passed"
        );
        assert!(enters(500).is_ok());
        assert!(enters(900).is_err());
        assert!(limits.enter(ip("192.0.2.2"), start).is_ok(), "another address has its own");
        for _ in 0..3 {
            assert!(enters(60_000).is_ok());
        }
        assert!(enters(60_000).is_err(), "what is saved up is no more than the burst");
    }

    #[test]
    fn networks_that_are_left_out_are_not_limited() {
        let limits = limits(|config| {
            config.max_clients_per_address = Some(1);
            config.connections_per_second_per_address = Some(1);
            config.connection_burst_per_address = 1;
            config.exempt_addresses = vec!["192.0.2.0/24".parse().unwrap()];
        });
        for _ in 0..10 {
            assert!(limits.enter(ip("::ffff:192.0.2.7"), Instant::now()).unwrap().is_none());
        }
        let held = limits.enter(ip("198.51.100.1"), Instant::now());
        assert!(held.is_ok() && limits.enter(ip("198.51.100.1"), Instant::now()).is_err());
    }

    #[test]
    fn who_comes_from_ever_new_addresses_fills_no_memory_and_frees_nobody_connected() {
        let limits = limits(|config| {
            config.max_clients_per_address = Some(1);
            config.connections_per_second_per_address = Some(1);
            config.connection_burst_per_address = 1;
        });
        let (owner, now) = (ip("192.0.2.1"), Instant::now());
        let held = limits.enter(owner, now).unwrap();
        for number in 0..5 * GENERATION as u128 {
            let address = Ipv6Addr::from_bits(0x2001_0db8 << 96 | number << 64);
            drop(limits.enter(address.into(), now).unwrap());
        }
        {
            let table = limits.table();
            assert!(table.young.len() <= GENERATION && table.old.len() <= GENERATION);
            assert_eq!(table.clients.len(), 1);
        }
        assert!(limits.forgotten() >= 2 * GENERATION as u64, "{}", limits.forgotten());
        assert_eq!(limits.enter(owner, now).err(), Some(TooMany::Clients));
        drop(held);
    }
}
