//! The composition root: builds the hub and what serves it, binds, runs, and stops in order.
//!
//! Start: bind both listeners, then serve. Stop: no new connections, then the hub closes every
//! client with 1001, then the admin listener goes, so that readiness can be asked for to the end.

use crate::access::{AdminToken, AdminTokens, BansFile, Failures};
use crate::api::{self, Access, Api, Placement};
use crate::config::{Config, Effective, IoUring, ListedChannel, ListenAddress, Loaded, TlsConfig};
use crate::gateway::{Entrance, Gateway, Ring};
use crate::http::{
    Certificates, Counted, Inherited, Limits, Listener, Opening, Routes, Service, TlsFiles, Traced,
};
use crate::hub::{Hub, HubLimits};
use crate::metrics::{Capacities, Metrics, Readings};
use crate::ops;
use crate::pages::{self, Addresses};
use crate::protocol::{ChannelName, CloseReason};
pub use crate::start_error::StartError;
use crate::telemetry;
use ipnet::IpNet;
use poem::endpoint::BoxEndpoint;
use poem::{Endpoint, EndpointExt, Response};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

/// How long clients may take to be closed in order when the program stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Unfinished handshakes at a time; for one more, another goes. With [`ADMIN_CONNECTIONS`] this keeps within the descriptors
/// that `descriptors::clamp` leaves beside the clients'.
const HANDSHAKES: usize = 128;

/// Connections to the admin listener at a time.
const ADMIN_CONNECTIONS: usize = 96;

/// How slowly the body of a request may come, beside the time for a head.
const BODY_BYTES_PER_SECOND: usize = 64 * 1024;

/// How slowly an answer may be taken, beside that.
const ANSWER_BYTES_PER_SECOND: u64 = 16 * 1024;

/// What the API answers on the hub's listener; all else there is the hub's.
const SHARED_PATHS: [&str; 4] = ["/admin", "/api", "/docs", "/openapi.json"];

/// The program, bound and ready to run.
pub struct App {
    hub: Hub,
    gateway: Gateway,
    /// What makes many writes by one system call.
    ring: Option<Ring>,
    /// Least time between two passes of writing.
    pass_interval: Duration,
    metrics: Arc<Metrics>,
    effective: Effective,
    /// Reads on from who can reach the hub.
    what_guests_may: &'static str,
    head_timeout: Duration,
    max_body_bytes: usize,
    capacities: Capacities,
    /// Whether the metrics ask for a token on a listener of the owner's own.
    metrics_need_token: bool,
    /// Where players reach the hub.
    addresses: Addresses,
    /// Who may say where a request comes from.
    trusted_proxies: Arc<[IpNet]>,
    /// Who may use the owner's API; without a token it stays off.
    access: Option<Access>,
    /// Kept, because tokens count as gone when nobody could change them any more.
    _tokens: Option<watch::Sender<AdminTokens>>,
    hub_listener: Listener,
    hub_address: SocketAddr,
    hub_opening: Opening,
    /// The owner's own listener, unless it is the hub's.
    admin: Option<(Listener, ListenAddress)>,
    admin_opening: Opening,
}

impl App {
    /// Builds the program and binds its listeners; port 0 takes a free port. To be called within
    /// a tokio runtime. May make the file that keeps the owner's token.
    ///
    /// # Errors
    /// An address cannot be bound, a certificate cannot be used, the file of bans cannot be read, or
    /// io_uring is asked for and cannot be had.
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
        let Loaded { config, effective } = loaded.into();
        let hub_opening = Opening {
            certificates: certificates("hub.tls", &config.hub.tls)?,
            announced_by: match config.hub.proxy_protocol {
                true => config.hub.trusted_proxies.clone().into(),
                false => Arc::default(),
            },
        };
        let (hub_listener, hub_address) =
            bind("hub.listen", &config.hub.listen.into(), inherited.hub)?;
        // The hub's listener has a port in any case.
        let hub_address = hub_address.tcp().unwrap_or(config.hub.listen);
        let (admin, admin_opening) = match config.shares_listener() {
            true if inherited.admin.is_some() => {
                return Err(StartError::HandedOver(
                    "a socket was handed over for admin, and admin.listen is the listener of the \
                     hub; give admin.listen a port of its own, or let the hub's socket be the only one",
                ));
            }
            true => (None, Opening::default()),
            false => {
                let certificates = certificates("admin.tls", &config.admin.tls)?;
                let admin = bind("admin.listen", &config.admin.listen, inherited.admin)?;
                if certificates.is_some() && admin.1.tcp().is_none() {
                    return Err(StartError::HandedOver(
                        "a Unix socket was handed over for admin, and [admin.tls] is set: nobody but \
                         programs of this machine reaches it; leave [admin.tls] out",
                    ));
                }
                (Some(admin), Opening { certificates, ..Opening::default() })
            }
        };
        let hub = Hub::new(hub_limits(&config));
        if let Some(path) = &config.admin.bans_file {
            hub.restore_bans(BansFile::new(path).read().map_err(StartError::Bans)?);
        }
        hub.count_channels(counted_channels(&config));
        let ring = ring(config.delivery.io_uring).map_err(StartError::IoUring)?;
        let metrics = Arc::new(Metrics::new());
        let entrance = Entrance::new(&config);
        let what_guests_may = what_guests_may(&entrance);
        let (access, tokens_kept) = access(&config).unzip();
        Ok(Self {
            gateway: Gateway::new(hub.clone(), &config.limits, entrance, metrics.clone()),
            ring,
            pass_interval: config.delivery.interval,
            hub,
            metrics,
            effective,
            what_guests_may,
            head_timeout: config.limits.handshake_timeout,
            max_body_bytes: config.limits.max_frame_bytes,
            capacities: capacities(&config),
            metrics_need_token: config.metrics.require_token,
            addresses: Addresses::new(&config.hub),
            trusted_proxies: config.hub.trusted_proxies.clone().into(),
            access,
            _tokens: tokens_kept,
            hub_listener,
            hub_address,
            hub_opening,
            admin,
            admin_opening,
        })
    }

    /// The hub that it serves.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The address that clients connect to.
    pub fn hub_address(&self) -> SocketAddr {
        self.hub_address
    }

    /// The address of the owner's listener, which may be the hub's.
    pub fn admin_address(&self) -> ListenAddress {
        let own = self.admin.as_ref().map(|(_, address)| address.clone());
        own.unwrap_or(self.hub_address.into())
    }

    /// The certificates that the listeners speak TLS with, to be read anew while the program runs.
    pub fn certificates(&self) -> Vec<Certificates> {
        let all = [&self.hub_opening, &self.admin_opening];
        all.into_iter().filter_map(|opening| opening.certificates.clone()).collect()
    }

    /// Serves until `shutdown` resolves; then stops accepting, closes every client with 1001, and
    /// returns when they have gone, or after ten seconds.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        info!(listener = "hub", address = %self.hub_address, "listening");
        info!(listener = "admin", address = %self.admin_address(), "listening");
        info!("{}", who_can_reach(self.hub_address, self.what_guests_may));

        // Dropped at the end, which ends whatever still runs.
        let mut tasks = JoinSet::new();
        let (stop_hub, hub_stops) = watch::channel(false);
        let (_stop_admin, admin_stops) = watch::channel(false);
        let (hub_pages, admin_pages) = self.pages(&hub_stops);
        let service = |endpoint, listener, max_connections, opening| {
            let (head_timeout, answer_rate) = (self.head_timeout, ANSWER_BYTES_PER_SECOND);
            let limits = Limits { listener, head_timeout, answer_rate, max_connections };
            let metrics = self.metrics.clone();
            let traced = Traced::new(endpoint, self.trusted_proxies.clone(), metrics.clone());
            Service::new(traced, limits, opening, metrics)
        };
        let mut max_connections = HANDSHAKES;
        match self.admin {
            Some((listener, _)) => {
                let admin = service(admin_pages, "admin", ADMIN_CONNECTIONS, self.admin_opening);
                tasks.spawn(admin.serve(listener, admin_stops));
            }
            None => max_connections += ADMIN_CONNECTIONS,
        }
        let hub = service(hub_pages, "hub", max_connections, self.hub_opening);
        tasks.spawn(hub.serve(self.hub_listener, hub_stops));
        tasks.spawn(self.gateway.run(self.ring, self.pass_interval));

        shutdown.await;

        let clients = self.hub.client_count();
        info!(clients, "stopping: closing every client");
        // Nobody may be listening any more, which is as good.
        let _ = stop_hub.send(true);
        self.hub.stop(CloseReason::ServerStopping);
        if tokio::time::timeout(DRAIN_TIMEOUT, self.hub.emptied()).await.is_err() {
            let left = self.hub.client_count();
            warn!(clients = left, "stopping without waiting any longer for the last clients");
        }
        info!("stopped");
    }

    /// What each listener serves. Where they are one, the hub's serves both, and what holds no
    /// content but would tell players of the owner's business asks for the token.
    fn pages(&self, stopping: &watch::Receiver<bool>) -> (Pages, Pages) {
        let shared = self.admin.is_none();
        let api = self.access.as_ref().map(|access| {
            api::routes(Api {
                hub: self.hub.clone(),
                access: access.clone(),
                effective: self.effective.clone(),
                command_limits: self.gateway.command_limits(),
                max_body_bytes: self.max_body_bytes,
                body_time: self.head_timeout
                    + Duration::from_secs(1) * (self.max_body_bytes / BODY_BYTES_PER_SECOND) as u32,
                stopping: stopping.clone(),
                uses_io_uring: Box::new(self.gateway.uses_ring()),
                placement: if shared { Placement::WithTheHub } else { Placement::Own },
            })
        });
        let metrics = self.metrics_page();
        let mut hub_routes = Plan::new(&self.metrics);
        hub_routes.serve(&["/healthz", "/readyz", "/connect"]);
        hub_routes.serve(&pages::PATHS);
        let hub = pages::add(self.gateway.routes(), self.addresses.clone());
        let hub = ops::health(hub, &self.hub);
        if !shared {
            let mut routes = Plan::new(&self.metrics);
            routes.serve(&["/healthz", "/readyz", "/metrics"]);
            let metrics = match (&self.access, self.metrics_need_token) {
                (_, false) => metrics.map_to_response().boxed(),
                (Some(access), true) => api::behind_token(access, metrics).boxed(),
                (None, true) => api::without_token().boxed(),
            };
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
        let capacities = self.capacities;
        ops::metrics(self.metrics.clone(), move || Readings {
            hub: hub.stats(),
            capacities,
            partial_bytes: gateway.partial_bytes(),
            log_lines_dropped: telemetry::dropped_lines(),
            api_auth_failures: access.as_ref().map_or(0, Access::failures),
            api_held_back: access.as_ref().map_or(0, Access::turned_away),
            addresses_forgotten: gateway.addresses_forgotten(),
        })
    }
}

/// The routes of a listener, as its requests are counted by them.
struct Plan {
    routes: Routes,
    metrics: Arc<Metrics>,
}

impl Plan {
    fn new(metrics: &Arc<Metrics>) -> Self {
        Self { routes: Routes::default(), metrics: metrics.clone() }
    }

    /// Adds routes that the API's document does not have.
    fn serve(&mut self, paths: &[&str]) {
        for path in paths {
            self.routes.add(path, path);
            for status in USUAL.iter().filter(|(of, _)| of == path).flat_map(|(_, all)| *all) {
                self.metrics.expect_http(path, "GET", status);
            }
        }
        // As good as without the slash at the end.
        for path in paths.iter().filter(|path| SLASHED.contains(path)) {
            self.routes.add(&format!("{path}/"), path);
        }
    }

    /// Adds the API's, whose index is `index`.
    fn serve_api(&mut self, index: &str) {
        self.serve(&[index, "/docs", "/openapi.json"]);
        for (path, method, status) in api::answers() {
            self.routes.add(&path, &path);
            self.metrics.expect_http(&path, &method, &status);
        }
    }

    fn count(self, endpoint: impl Endpoint<Output = Response> + 'static) -> Pages {
        Counted::new(endpoint, self.routes, self.metrics).boxed()
    }
}

/// What the routes that are not in the API's document may answer to GET.
const USUAL: [(&str, &[&str]); 10] = [
    ("/", &["200", "304", "400", "421"]),
    ("/admin", &["200", "421"]),
    ("/connect", &["101", "400", "403", "426", "429", "503"]),
    ("/docs", &["200", "421"]),
    ("/healthz", &["200"]),
    ("/install.lua", &["200", "304", "400"]),
    ("/metrics", &["200", "401", "429"]),
    ("/openapi.json", &["200", "421"]),
    ("/readyz", &["200", "503"]),
    ("/skynet.lua", &["200", "304", "400"]),
];

/// Routes that a slash may follow.
const SLASHED: [&str; 2] = ["/connect", "/docs"];

/// What makes many writes by one system call, if it is wanted and can be had.
fn ring(wanted: IoUring) -> io::Result<Option<Ring>> {
    let (ring, why_not) = Ring::find(wanted)?;
    match why_not {
        None => info!(io_uring = ring.is_some(), "delivery"),
        Some(error) => info!(io_uring = false, %error, "delivery: io_uring cannot be had here"),
    }
    Ok(ring)
}

type Pages = BoxEndpoint<'static, Response>;

fn bind(
    setting: &'static str,
    address: &ListenAddress,
    inherited: Option<Listener>,
) -> Result<(Listener, ListenAddress), StartError> {
    let failed = |error| StartError::Listen { setting, address: address.clone(), error };
    let listener = inherited.map_or_else(|| Listener::bind(address), Ok).map_err(failed)?;
    let bound = listener.address().map_err(failed)?;
    Ok((listener, bound))
}

/// The certificate of a listener whose settings stand in `section`, if it has one.
fn certificates(
    section: &'static str,
    config: &TlsConfig,
) -> Result<Option<Certificates>, StartError> {
    let Some((certificate, key)) = config.files() else { return Ok(None) };
    let files = TlsFiles { section, certificate: certificate.into(), key: key.into() };
    Certificates::read(files).map(Some).map_err(StartError::Tls)
}

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

/// Who may use the owner's API; nobody, if there is no token and none can be kept.
fn access(config: &Config) -> Option<(Access, watch::Sender<AdminTokens>)> {
    match AdminToken::find(&config.admin) {
        Ok(token) => {
            info!("{}", token.place);
            let tokens = AdminTokens::new(&token.secret, config.admin.read_token());
            let (keep, tokens) = watch::channel(tokens);
            Some((Access::new(&config.admin, tokens, Failures::new()), keep))
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
