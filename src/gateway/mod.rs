//! The websocket gateway: from a request for `/connect` to the end of the connection.
//!
//! Knows the hub, the protocol and the metrics; carries out nothing itself.
//!
//! - `handshake`: requests, and the upgrade of those that are a client's.
//! - `identity`: who a client says it is; `entrance`: whether it comes in, and what it may do.
//! - `session`: one client's reading loop; `farewell`: how it is closed.
//! - `link`: a client's connection; `socket`: what carries it, TLS (`tls`) or plain TCP (`tcp`); `flusher`: the one
//!   task that writes to all of them; `ring`: how it makes many writes by one system call.
//! - `rate`: how many commands a client may send; `limits`: what bounds a session.

mod entrance;
mod farewell;
mod flusher;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handshake;
mod identity;
mod limits;
mod link;
mod rate;
mod ring;
mod session;
mod socket;
mod tcp;
mod tls;

use crate::access::AddressLimits;
use crate::config::LimitsConfig;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::protocol::CloseReason;
pub use entrance::Entrance;
use flusher::Flusher;
use limits::SessionLimits;
use link::{Links, TOO_MUCH_PARTIAL};
use poem::error::NotFoundError;
use poem::{Endpoint, EndpointExt, Response, Route};
pub use ring::Ring;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Rounds of the keepalive in a ping interval: a client is pinged at most a twenty-fifth late.
const ROUNDS_PER_INTERVAL: u32 = 25;

/// The gateway; cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    entrance: Arc<watch::Sender<Arc<Entrance>>>,
    hub: Hub,
    ping_interval: Arc<watch::Sender<Duration>>,
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

impl Gateway {
    /// A gateway to `hub`, into which clients come by `entrance`.
    pub fn new(hub: Hub, limits: &LimitsConfig, entrance: Entrance, metrics: Arc<Metrics>) -> Self {
        let links = Arc::new(Links::new(limits.total_partial_bytes));
        let addresses = Arc::new(AddressLimits::new(limits));
        Self {
            shared: Arc::new(Shared {
                limits: SessionLimits::new(limits),
                links,
                addresses,
                metrics,
                uses_ring: Arc::default(),
            }),
            entrance: Arc::new(watch::Sender::new(Arc::new(entrance))),
            hub,
            ping_interval: Arc::new(watch::Sender::new(limits.ping_interval)),
        }
    }

    /// Lets clients in by `entrance` and bounds them by `limits` from now on. Returns the names whose token is
    /// accepted no more; who is there by one of them is to be closed by the caller, who joins after
    /// this is closed here.
    pub fn set(&self, limits: &LimitsConfig, entrance: Entrance) -> Vec<String> {
        self.shared.limits.set(limits);
        self.shared.addresses.set(limits);
        for key in self.shared.links.set_max_partial(limits.total_partial_bytes) {
            self.hub.close(key, CloseReason::FrameTooLarge, TOO_MUCH_PARTIAL);
        }
        self.ping_interval.send_replace(limits.ping_interval);
        let entrance = Arc::new(entrance);
        let before = self.entrance.send_replace(entrance.clone());
        before.withdrawn(&entrance)
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
        let (links, uses_ring) = (self.shared.links.clone(), self.shared.uses_ring.clone());
        let ping_interval = self.ping_interval.subscribe();
        let keepalive = keepalive(self.hub.clone(), links.clone(), ping_interval);
        let flusher = Flusher::new(self.hub, links, ring, uses_ring);
        async move {
            // Kept, as it changes the interval.
            let _ping_interval = self.ping_interval;
            tokio::join!(flusher.run(interval), keepalive);
        }
    }

    /// What tells, while it runs, whether many writes are made by one system call.
    pub fn uses_ring(&self) -> impl Fn() -> bool + use<> {
        let uses_ring = self.shared.uses_ring.clone();
        move || uses_ring.load(Ordering::Relaxed)
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

async fn keepalive(hub: Hub, links: Arc<Links>, mut ping_interval: watch::Receiver<Duration>) {
    loop {
        let interval = *ping_interval.borrow_and_update();
        let mut rounds = tokio::time::interval(interval / ROUNDS_PER_INTERVAL);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = rounds.tick() => {
                    let mut unsure = hub.ping_round(interval);
                    links.for_each(&mut unsure, |&key| key, |_, link| link.insist());
                }
                // The sender is the gateway's, whose task this is.
                Ok(()) = ping_interval.changed() => break,
            }
        }
    }
}
