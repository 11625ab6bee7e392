//! The composition root: builds the hub and what serves it, binds, runs, and stops in order.
//!
//! Start: bind both listeners, then serve. Stop: no new connections, those that ask at that moment are
//! told so, and the hub closes every client with 1001, then the admin listener goes, so that readiness
//! can be asked for to the end.
//!
//! - `listening`: binds the listeners.
//! - `reloading`: reads the configuration again and has the parts take it over.
//! - `plan`: routes and how they are counted; `start_error`: why the program cannot start.

mod listening;
mod plan;
mod reloading;
mod start_error;

pub use start_error::StartError;

use crate::access::{AdminToken, AdminTokens, BansFile, Failures};
use crate::api::{self, Access, Api, Placement};
use crate::config::{Config, IoUring, ListedChannel, ListenAddress, Loaded};
use crate::gateway::{Entrance, Gateway, Ring};
use crate::http::{Certificates, Inherited, Limits, Opening, Service, Traced};
use crate::hub::{Hub, HubLimits};
use crate::metrics::{Capacities, Metrics, Readings};
use crate::ops;
use crate::pages;
use crate::protocol::{ChannelName, CloseReason};
use crate::reload::{InForce, Reloads};
use crate::systemd::Supervisor;
use crate::telemetry;
use crate::worker::Worker;
use listening::Listening;
use plan::Plan;
use poem::endpoint::{BoxEndpoint, make};
use poem::{Endpoint, EndpointExt, Response};
use reloading::Reloader;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tracing::{error, info, warn};

/// How long clients may take to be closed in order when the program stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Unfinished handshakes at a time; for one more, another goes. With [`ADMIN_CONNECTIONS`] this keeps within the descriptors
/// that `descriptors::clamp` leaves beside the clients'.
const HANDSHAKES: usize = 128;

/// Connections to the admin listener at a time.
const ADMIN_CONNECTIONS: usize = 96;

/// How slowly an answer may be taken, beside the time for a head.
const ANSWER_BYTES_PER_SECOND: u64 = 16 * 1024;

/// What the API answers on the hub's listener; all else there is the hub's.
const SHARED_PATHS: [&str; 4] = ["/admin", "/api", "/docs", "/openapi.json"];

/// Why the program has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Asked,
    /// A part of it has failed, which is a mistake in the program.
    Fault,
}

/// The program, bound and ready to run.
pub struct App {
    hub: Hub,
    gateway: Gateway,
    /// What makes many writes by one system call.
    ring: Option<Ring>,
    /// Least time between two passes of writing.
    pass_interval: Duration,
    metrics: Arc<Metrics>,
    /// Reads on from who can reach the hub.
    what_guests_may: &'static str,
    /// Who may use the owner's API; without a token it stays off.
    access: Option<Access>,
    /// Reads the settings again when it is asked to.
    reloader: Reloader,
    /// What asks it.
    reloads: Reloads,
    /// Writes the metrics.
    writer: Worker,
    supervisor: Supervisor,
    listening: Listening,
}

impl App {
    /// Builds the program and binds its listeners; port 0 takes a free port. To be called within
    /// a tokio runtime. May make the file that keeps the owner's token.
    ///
    /// # Errors
    /// An address cannot be bound, a certificate cannot be used, the file of bans cannot be read,
    /// io_uring is asked for and cannot be had, or no thread can be made.
    pub async fn build(loaded: impl Into<Loaded>) -> Result<Self, StartError> {
        Self::build_on(loaded, Inherited::default()).await
    }

    /// [`Self::build`], on listeners that were bound already; what is not among them is bound.
    ///
    /// # Errors
    /// As [`Self::build`], or a listener does not go with the settings.
    pub async fn build_on(
        loaded: impl Into<Loaded>,
        inherited: Inherited,
    ) -> Result<Self, StartError> {
        info!(version = env!("CARGO_PKG_VERSION"), "skynet starts");
        let loaded = loaded.into();
        let config = loaded.config.clone();
        let listening = Listening::bind(&config, inherited)?;
        let hub = Hub::new(hub_limits(&config));
        let mut bans_file = config.admin.bans_file.as_ref().map(BansFile::new);
        if let Some(file) = &mut bans_file {
            hub.restore_bans(file.read().map_err(StartError::Bans)?);
        }
        let bans_file = bans_file.map(|file| Arc::new(Mutex::new(file)));
        hub.count_channels(counted_channels(&config));
        let ring = ring(config.delivery.io_uring).map_err(StartError::IoUring)?;
        let metrics = Arc::new(Metrics::new());
        let entrance = Entrance::new(&config);
        let what_guests_may = what_guests_may(&entrance);
        let gateway = Gateway::new(hub.clone(), &config.limits, entrance, metrics.clone());
        let (tokens, tokens_read) = admin_tokens(&config).map(watch::channel).unzip();
        let (reloader, reloads) = Reloader::new(
            loaded,
            hub.clone(),
            gateway.clone(),
            metrics.clone(),
            tokens,
            bans_file.clone(),
            listening.certificates(),
        )?;
        // Not the thread of the reloads: a file of those that hangs must not keep a ban from being saved.
        let bans_file = bans_file.map(|file| Ok((file, worker("bans")?))).transpose()?;
        let access = tokens_read
            .map(|tokens| Access::new(reloader.in_force(), tokens, bans_file, Failures::new()));
        Ok(Self {
            gateway,
            ring,
            pass_interval: config.delivery.interval,
            hub,
            metrics,
            what_guests_may,
            access,
            reloader,
            reloads,
            writer: worker("metrics")?,
            supervisor: Supervisor::default(),
            listening,
        })
    }

    /// The hub that it serves.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The program, which tells `supervisor` how it does.
    pub fn supervised_by(self, supervisor: Supervisor) -> Self {
        Self { supervisor, ..self }
    }

    /// What has the settings read again while the program runs.
    pub fn reloads(&self) -> Reloads {
        self.reloads.clone()
    }

    /// The address that clients connect to.
    pub fn hub_address(&self) -> SocketAddr {
        self.listening.hub_address
    }

    /// The address of the owner's listener, which may be the hub's.
    pub fn admin_address(&self) -> ListenAddress {
        let own = self.listening.admin.as_ref().map(|(_, address)| address.clone());
        own.unwrap_or(self.listening.hub_address.into())
    }

    /// The certificates that the listeners speak TLS with, to be read anew while the program runs.
    pub fn certificates(&self) -> Vec<Certificates> {
        self.listening.certificates()
    }

    /// Serves until `shutdown` resolves, or a part of the program fails; then stops accepting, closes
    /// every client with 1001, and returns when they have gone, or after ten seconds.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Ended {
        info!(listener = "hub", address = %self.hub_address(), "listening");
        info!(listener = "admin", address = %self.admin_address(), "listening");
        info!("{}", who_can_reach(self.hub_address(), self.what_guests_may));

        // Dropped at the end, which ends whatever still runs.
        let mut tasks = JoinSet::new();
        let (stop_hub, hub_stops) = watch::channel(false);
        let (_stop_admin, admin_stops) = watch::channel(false);
        let (hub_pages, admin_pages) = self.pages(&hub_stops);
        let service = |endpoint, listener, max_connections, opening| {
            let (head_timeout, answer_rate) =
                (self.reloader.head_timeout(), ANSWER_BYTES_PER_SECOND);
            let limits = Limits { listener, head_timeout, answer_rate, max_connections };
            let metrics = self.metrics.clone();
            let traced = Traced::new(endpoint, self.reloader.trusted_proxies(), metrics.clone());
            Service::new(traced, limits, opening, metrics)
        };
        let mut max_connections = HANDSHAKES;
        let Listening { hub, hub_certificates, admin, admin_certificates, .. } = self.listening;
        match admin {
            Some((listener, _)) => {
                let opening = Opening { certificates: admin_certificates, announced_by: None };
                let admin = service(admin_pages, "admin", ADMIN_CONNECTIONS, opening);
                tasks.spawn(admin.serve(listener, admin_stops));
            }
            None => max_connections += ADMIN_CONNECTIONS,
        }
        let announced_by = Some(self.reloader.announcing_proxies());
        let opening = Opening { certificates: hub_certificates, announced_by };
        let hub_service = service(hub_pages, "hub", max_connections, opening);
        let (tell_served, served) = oneshot::channel();
        tasks.spawn(async move {
            hub_service.serve(hub, hub_stops).await;
            // Nobody listens when the program has been ended.
            let _ = tell_served.send(());
        });
        tasks.spawn(self.gateway.run(self.ring, self.pass_interval));
        tasks.spawn(self.reloader.run(self.supervisor.clone()));
        tasks.spawn(self.supervisor.clone().watch(self.hub.clone()));
        self.supervisor.ready().await;

        let ended = tokio::select! {
            () = shutdown => Ended::Asked,
            fault = failed(&mut tasks) => {
                // Half a hub would answer some and leave others waiting: a new start is better.
                error!("a part of the hub has failed: {fault}");
                Ended::Fault
            }
        };

        let clients = self.hub.client_count();
        info!(clients, "stopping: closing every client");
        // Nobody may be listening any more, which is as good.
        let _ = stop_hub.send(true);
        self.hub.stop(CloseReason::ServerStopping);
        let emptied = tokio::time::timeout(DRAIN_TIMEOUT, self.hub.emptied());
        let (emptied, (), _) = tokio::join!(emptied, self.supervisor.stopping(), served);
        if emptied.is_err() {
            let left = self.hub.client_count();
            warn!(clients = left, "stopping without waiting any longer for the last clients");
        }
        info!("stopped");
        ended
    }

    /// What each listener serves. Where they are one, the hub's serves both, and what holds no
    /// content but would tell players of the owner's business asks for the token.
    fn pages(&self, stopping: &watch::Receiver<bool>) -> (Pages, Pages) {
        let shared = self.listening.admin.is_none();
        let api = self.access.as_ref().map(|access| {
            api::routes(Api {
                hub: self.hub.clone(),
                access: access.clone(),
                in_force: self.reloader.in_force(),
                reloads: self.reloads.clone(),
                stopping: stopping.clone(),
                uses_io_uring: Box::new(self.gateway.uses_ring()),
                placement: if shared { Placement::WithTheHub } else { Placement::Own },
            })
        });
        let metrics = self.metrics_page();
        let mut hub_routes = Plan::new(&self.metrics);
        hub_routes.serve(&["/healthz", "/readyz", "/connect"]);
        hub_routes.serve(&pages::PATHS);
        let hub = pages::add(self.gateway.routes(), self.reloader.in_force());
        let hub = ops::health(hub, &self.hub);
        if !shared {
            let mut routes = Plan::new(&self.metrics);
            routes.serve(&["/healthz", "/readyz", "/metrics"]);
            let metrics = Arc::new(metrics);
            let guarded = match &self.access {
                Some(access) => api::behind_token(access, metrics.clone()).boxed(),
                None => api::without_token().boxed(),
            };
            let metrics = guarded_if_wanted(metrics, guarded, self.reloader.in_force());
            let mut admin = ops::health(poem::Route::new(), &self.hub).at("/metrics", metrics);
            if let Some(api) = api {
                routes.serve_api("/");
                admin = admin.nest_no_strip("/", api);
            }
            let hub = self.gateway.or_sentence(hub);
            return (hub_routes.count(hub), routes.count(admin.map_to_response()));
        }
        let hub = match (api, &self.access) {
            (Some(api), Some(access)) => {
                hub_routes.serve(&["/metrics"]);
                hub_routes.serve_api("/admin");
                let hub = hub.at("/metrics", api::behind_token(access, metrics));
                let api = Arc::new(api);
                SHARED_PATHS.iter().fold(hub, |hub, path| hub.nest_no_strip(path, api.clone()))
            }
            _ => hub,
        };
        let hub = hub_routes.count(self.gateway.or_sentence(hub));
        (hub, poem::Route::new().map_to_response().boxed())
    }

    fn metrics_page(&self) -> poem::RouteMethod {
        let (hub, gateway, access) = (self.hub.clone(), self.gateway.clone(), self.access.clone());
        let (in_force, certificates) = (self.reloader.in_force(), self.listening.certificates());
        ops::metrics(self.metrics.clone(), self.writer.clone(), move || Readings {
            hub: hub.stats(),
            capacities: capacities(&in_force.borrow().config),
            partial_bytes: gateway.partial_bytes(),
            log_lines_dropped: telemetry::dropped_lines(),
            api_auth_failures: access.as_ref().map_or(0, Access::failures),
            api_held_back: access.as_ref().map_or(0, Access::turned_away),
            addresses_forgotten: gateway.addresses_forgotten(),
            certificates: certificates.iter().map(|of| (of.listener(), of.not_after())).collect(),
        })
    }
}

/// Waits until one of the tasks has panicked; some end in order long before the program does.
async fn failed(tasks: &mut JoinSet<()>) -> JoinError {
    loop {
        match tasks.join_next().await {
            Some(Ok(())) => {}
            Some(Err(error)) => return error,
            None => std::future::pending().await,
        }
    }
}

/// What makes many writes by one system call, if it is wanted and can be had.
fn ring(wanted: IoUring) -> io::Result<Option<Ring>> {
    let (ring, why_not) = Ring::find(wanted)?;
    match why_not {
        None => info!(io_uring = ring.is_some(), "delivery"),
        Some(error) => info!(io_uring = false, %error, "delivery: io_uring cannot be had here"),
    }
    Ok(ring)
}

/// A thread for what takes long.
fn worker(name: &str) -> Result<Worker, StartError> {
    Worker::start(name).map_err(StartError::Thread)
}

type Pages = BoxEndpoint<'static, Response>;

fn hub_limits(config: &Config) -> HubLimits {
    let limits = &config.limits;
    HubLimits {
        max_clients: limits.max_clients,
        max_channels_per_client: limits.max_channels_per_client,
        total_open_channels: limits.total_open_channels,
        max_message_bytes: limits.max_message_bytes,
        max_queue_bytes: limits.max_queue_bytes,
        total_queue_bytes: limits.total_queue_bytes,
        max_log_messages: config.message_log.max_messages,
        max_log_bytes: config.message_log.max_bytes,
    }
}

fn capacities(config: &Config) -> Capacities {
    Capacities {
        clients: config.limits.max_clients,
        log_messages: config.message_log.max_messages,
        log_bytes: config.message_log.max_bytes,
        queue_bytes: config.limits.max_queue_bytes,
        queued_bytes: config.limits.total_queue_bytes,
        partial_bytes: config.limits.total_partial_bytes,
    }
}

/// The channels that are counted one by one, as the protocol knows them.
fn counted_channels(config: &Config) -> Vec<ChannelName> {
    let names = config.metrics.channels.iter().filter_map(|channel| match channel {
        ListedChannel::Text(text) => Some(ChannelName::from_text(text)),
        ListedChannel::Number(number) => ChannelName::from_number(*number),
    });
    names.collect()
}

/// The metrics on a listener of the owner's own: behind a token while `metrics.require_token` says so.
fn guarded_if_wanted(
    open: Arc<poem::RouteMethod>,
    guarded: Pages,
    in_force: InForce,
) -> impl Endpoint<Output = Response> + 'static {
    let (open, guarded) = (Arc::new(open.map_to_response()), Arc::new(guarded));
    make(move |request| {
        let needs_token = in_force.borrow().config.metrics.require_token;
        let (open, guarded) = (open.clone(), guarded.clone());
        async move {
            match needs_token {
                true => guarded.call(request).await,
                false => open.call(request).await,
            }
        }
    })
}

/// The tokens of the owner's API; none, so that it stays off, if there is none and none can be kept.
fn admin_tokens(config: &Config) -> Option<AdminTokens> {
    match AdminToken::find(&config.admin) {
        Ok(token) => {
            info!("{}", token.place);
            Some(AdminTokens::new(&token.secret, config.admin.read_token()))
        }
        Err(error) => {
            warn!("the admin API stays off: {error}");
            None
        }
    }
}

/// What whoever reaches the hub may do there; reads on from that.
fn what_guests_may(entrance: &Entrance) -> &'static str {
    match entrance.guest() {
        None => ", and use it with a token of hub.tokens",
        Some(Some(_)) => ", and do there what [guests] allows",
        Some(None) => ", read its channels and write to them",
    }
}

/// In one line, who can reach the hub and do there what guests may, and which setting changes that.
fn who_can_reach(hub: SocketAddr, what_guests_may: &str) -> String {
    let ip = hub.ip().to_canonical();
    if ip.is_loopback() {
        return "only programs on this machine can reach the hub, the Minecraft server's computers \
                among them once its owner has allowed it; hub.listen changes that"
            .to_owned();
    }
    let whom = if ip.is_unspecified() {
        "every machine that can reach this one".to_owned()
    } else {
        format!("every machine that can reach {ip}")
    };
    format!("{whom} can reach the hub{what_guests_may}; hub.listen changes that")
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn a_part_that_panics_is_noticed_and_one_that_ends_in_order_is_not() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        tokio::task::yield_now().await;
        assert!(failed(&mut tasks).now_or_never().is_none(), "none has failed");
        tasks.spawn(async {});
        tasks.spawn(async { panic!("of the test") });
        assert!(failed(&mut tasks).await.is_panic());
    }
}
