//! The addresses whose connections have held places and said nothing while others wanted them.
//!
//! One that does it now and then has a bad network, or has closed a browser; one that keeps doing it is
//! remembered for [`MEMORY`]. Decides about nobody.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How long after the last time an address is known for its silence.
const MEMORY: Duration = Duration::from_secs(10);

/// Most addresses that are remembered.
const MAX_ADDRESSES: usize = 1024;

/// One in so many of a listener's places, held in silence, makes an address known.
const PART: usize = 8;

/// Who has been silent, and how often.
#[derive(Debug)]
pub(super) struct Silence {
    known_from: usize,
    addresses: HashMap<Option<IpAddr>, Times>,
}

#[derive(Debug)]
struct Times {
    count: usize,
    last: Instant,
}

impl Times {
    fn is_recent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < MEMORY
    }
}

impl Silence {
    /// That of a listener with so many places.
    pub fn of_places(places: usize) -> Self {
        Self { known_from: (places / PART).max(1), addresses: HashMap::new() }
    }

    /// A connection from `address` has ended that held a wanted place and never asked.
    pub fn noticed(&mut self, address: Option<IpAddr>, now: Instant) {
        if !self.addresses.contains_key(&address) && self.addresses.len() >= MAX_ADDRESSES {
            self.addresses.retain(|_, times| times.is_recent(now));
            if self.addresses.len() >= MAX_ADDRESSES {
                return;
            }
        }
        let times = self.addresses.entry(address).or_insert(Times { count: 0, last: now });
        times.count = if times.is_recent(now) { times.count + 1 } else { 1 };
        times.last = now;
    }

    /// Whether `address` is known for it.
    pub fn is_known_of(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let times = self.addresses.get(&address).filter(|times| times.is_recent(now));
        times.is_some_and(|times| times.count >= self.known_from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(number.into()))
    }

    #[test]
    fn an_address_is_known_after_an_eighth_of_the_places_and_until_it_has_stopped_for_a_while() {
        let (mut silence, start) = (Silence::of_places(128), Instant::now());
        for time in 1..=16 {
            assert!(!silence.is_known_of(ip(1), start), "{time}");
            silence.noticed(ip(1), start);
        }
        assert!(silence.is_known_of(ip(1), start));
        assert!(!silence.is_known_of(ip(2), start) && !silence.is_known_of(None, start));
        silence.noticed(ip(1), start + MEMORY / 2);
        assert!(silence.is_known_of(ip(1), start + MEMORY));
        let later = start + MEMORY * 2;
        assert!(!silence.is_known_of(ip(1), later));
        silence.noticed(ip(1), later);
        assert!(!silence.is_known_of(ip(1), later), "it begins anew");
    }

    #[test]
    fn the_memory_is_bounded_and_has_room_again_when_it_has_faded() {
        let (mut silence, start) = (Silence::of_places(1), Instant::now());
        for number in 0..5000 {
            silence.noticed(ip(number), start);
        }
        assert_eq!(silence.addresses.len(), MAX_ADDRESSES);
        assert!(silence.is_known_of(ip(0), start) && !silence.is_known_of(ip(4999), start));
        silence.noticed(ip(4999), start + MEMORY);
        assert!(silence.is_known_of(ip(4999), start + MEMORY));
        assert_eq!(silence.addresses.len(), 1);
    }
}
