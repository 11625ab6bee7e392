//! The websocket gateway: from a request for `/connect` to the end of the connection.
//!
//! Knows the hub, the protocol and the metrics; carries out nothing itself.
//!
//! - `handshake`: requests, and the upgrade of those that are a client's.
//! - `identity`: who a client says it is; `entrance`: whether it comes in, and what it may do.
//! - `session`: one client's reading loop; `farewell`: how it is closed.
//! - `link`: a client's connection; `socket`: what carries it, TLS (`tls`) or not; `flusher`: the one
//!   task that writes to all of them; `ring`: how it makes many writes by one system call.
//! - `rate`: how many commands a client may send.

mod entrance;
mod farewell;
mod flusher;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handshake;
mod identity;
mod link;
mod rate;
mod ring;
mod session;
mod socket;
mod tls;

use crate::access::AddressLimits;
use crate::config::LimitsConfig;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::protocol::CommandLimits;
use crate::protocol::event::EVENT_RESERVE_BYTES;
pub use entrance::Entrance;
use flusher::Flusher;
use link::Links;
use poem::error::NotFoundError;
use poem::{Endpoint, EndpointExt, Response, Route};
use rate::Rate;
pub use ring::Ring;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Rounds of the keepalive in a ping interval: a client is pinged at most a twenty-fifth late.
const ROUNDS_PER_INTERVAL: u32 = 25;

/// The gateway; cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    entrance: Arc<Entrance>,
    hub: Hub,
    ping_interval: Duration,
}

/// What all sessions share.
#[derive(Debug)]
struct Shared {
    limits: SessionLimits,
    links: Arc<Links>,
    addresses: Arc<AddressLimits>,
    metrics: Arc<Metrics>,
    /// Whether the flusher has a ring.
    uses_ring: Arc<AtomicBool>,
}

#[derive(Debug)]
struct SessionLimits {
    max_frame_bytes: usize,
    command: CommandLimits,
    rate: Rate,
}

impl Gateway {
    /// A gateway to `hub`, into which clients come by `entrance`.
    pub fn new(hub: Hub, limits: &LimitsConfig, entrance: Entrance, metrics: Arc<Metrics>) -> Self {
        let command = CommandLimits {
            max_channel_name_bytes: limits.max_channel_name_bytes,
            max_event_bytes: limits.max_message_bytes - EVENT_RESERVE_BYTES,
        };
        let rate = Rate { per_second: limits.messages_per_second, burst: limits.message_burst };
        let limits_of_sessions =
            SessionLimits { max_frame_bytes: limits.max_frame_bytes, command, rate };
        let links = Arc::new(Links::new(limits.total_partial_bytes));
        let addresses = Arc::new(AddressLimits::new(limits));
        Self {
            shared: Arc::new(Shared {
                limits: limits_of_sessions,
                links,
                addresses,
                metrics,
                uses_ring: Arc::default(),
            }),
            entrance: Arc::new(entrance),
            hub,
            ping_interval: limits.ping_interval,
        }
    }

    /// The routes of clients: `/connect` and `/connect/`.
    pub fn routes(&self) -> Route {
        let connect = Arc::new(handshake::Connect::new(
            self.shared.clone(),
            self.hub.clone(),
            self.entrance.clone(),
        ));
        Route::new().at("/connect", connect.clone()).at("/connect/", connect)
    }

    /// `route`, and a sentence for whoever asks for anything else.
    pub fn or_sentence(&self, route: Route) -> impl Endpoint<Output = Response> + 'static {
        let metrics = self.shared.metrics.clone();
        let no_such_page = move |_: NotFoundError| {
            let response = handshake::no_such_page(&metrics);
            async move { response }
        };
        route.catch_error(no_such_page).map_to_response()
    }

    /// Writes to all clients, by `ring` if there is one and with at least `interval` between two
    /// passes, and pings them, for ever.
    pub fn run(self, ring: Option<Ring>, interval: Duration) -> impl Future<Output = ()> {
        let keepalive = keepalive(self.hub.clone(), self.ping_interval);
        let (links, uses_ring) = (self.shared.links.clone(), self.shared.uses_ring.clone());
        let flusher = Flusher::new(self.hub, links, ring, uses_ring);
        async move {
            tokio::join!(flusher.run(interval), keepalive);
        }
    }

    /// What tells, while it runs, whether many writes are made by one system call.
    pub fn uses_ring(&self) -> impl Fn() -> bool + use<> {
        let uses_ring = self.shared.uses_ring.clone();
        move || uses_ring.load(Ordering::Relaxed)
    }

    /// What bounds a command, whoever sends it.
    pub fn command_limits(&self) -> CommandLimits {
        self.shared.limits.command
    }

    /// Addresses whose pace was forgotten since the start, to make room for that of others.
    pub fn addresses_forgotten(&self) -> u64 {
        self.shared.addresses.forgotten()
    }

    /// Bytes of unfinished frames of all clients together.
    pub fn partial_bytes(&self) -> usize {
        self.shared.links.partial_bytes()
    }
}

async fn keepalive(hub: Hub, ping_interval: Duration) {
    let mut rounds = tokio::time::interval(ping_interval / ROUNDS_PER_INTERVAL);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        hub.ping_round(ping_interval);
    }
}
