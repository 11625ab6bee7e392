//! The composition root: builds the hub and what serves it, binds, runs, and stops in order.
//!
//! Start: bind both listeners, then serve. Stop: no new connections, then the hub closes every
//! client with 1001, then the admin listener goes, so that readiness can be asked for to the end.

use crate::access::HubTokens;
use crate::access::{AdminToken, AdminTokens, Failures};
use crate::api::{self, Access, Api, Placement};
use crate::config::{Effective, Loaded};
use crate::gateway::Gateway;
use crate::http::{self, Service};
use crate::hub::{Hub, HubLimits};
use crate::metrics::Metrics;
use crate::ops;
use crate::protocol::CloseReason;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

/// How long clients may take to be closed in order when the program stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The program, bound and ready to run.
pub struct App {
    hub: Hub,
    gateway: Gateway,
    metrics: Arc<Metrics>,
    head_timeout: Duration,
    hub_listener: TcpListener,
    admin_listener: TcpListener,
    hub_address: SocketAddr,
    admin_address: SocketAddr,
    effective: Effective,
    max_body_bytes: usize,
    /// None without a token: then the API stays off.
    access: Option<(Access, watch::Sender<AdminTokens>)>,
}

/// Why the program cannot start.
#[derive(Debug)]
pub struct StartError {
    setting: &'static str,
    address: SocketAddr,
    error: io::Error,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, address, error } = self;
        match error.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {address}: port {} is in use by another program; stop that \
                 program or change {setting}",
                address.port()
            ),
            io::ErrorKind::AddrNotAvailable => write!(
                f,
                "cannot listen on {address}: this machine has no address {}; change {setting}",
                address.ip()
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "cannot listen on {address}: port {} is reserved for the system; change {setting}",
                address.port()
            ),
            _ => write!(f, "cannot listen on {address}, which {setting} asks for: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl App {
    /// Builds the program and binds its listeners; port 0 takes a free port. To be called within
    /// a tokio runtime.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub async fn build(loaded: impl Into<Loaded>) -> Result<Self, StartError> {
        let Loaded { config, effective } = loaded.into();
        let bind = |setting, address| {
            let failed = |error| StartError { setting, address, error };
            let listener = http::bind(address).map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            Ok((listener, bound))
        };
        let (hub_listener, hub_address) = bind("hub.listen", config.hub.listen)?;
        let (admin_listener, admin_address) = bind("admin.listen", config.admin.listen)?;
        let limits = &config.limits;
        let hub = Hub::new(HubLimits {
            max_clients: limits.max_clients,
            max_channels_per_client: limits.max_channels_per_client,
            max_message_bytes: limits.max_message_bytes,
            max_queue_bytes: limits.max_queue_bytes,
            total_queue_bytes: limits.total_queue_bytes,
            max_log_messages: config.message_log.max_messages,
            max_log_bytes: config.message_log.max_bytes,
        });
        let metrics = Arc::new(Metrics::new());
        let access = match AdminToken::find(&config.admin) {
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
        };
        Ok(Self {
            effective,
            max_body_bytes: limits.max_frame_bytes,
            access,
            gateway: Gateway::new(
                hub.clone(),
                limits,
                HubTokens::new(&config.hub.tokens),
                metrics.clone(),
            ),
            hub,
            metrics,
            head_timeout: limits.handshake_timeout,
            hub_listener,
            admin_listener,
            hub_address,
            admin_address,
        })
    }

    /// The address that clients connect to.
    pub fn hub_address(&self) -> SocketAddr {
        self.hub_address
    }

    /// The address of the owner's listener.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Serves until `shutdown` resolves; then stops accepting, closes every client with 1001, and
    /// returns when they have gone, or after ten seconds.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        info!(version = env!("CARGO_PKG_VERSION"), "skynet starts");
        info!(listener = "hub", address = %self.hub_address, "listening");
        info!(listener = "admin", address = %self.admin_address, "listening");
        info!("{}", who_can_reach(self.hub_address));

        // Dropped at the end, which ends whatever still runs.
        let mut tasks = JoinSet::new();
        let (stop_hub, hub_stops) = watch::channel(false);
        let (_stop_admin, admin_stops) = watch::channel(false);
        let service = |endpoint| Service::new(endpoint, self.head_timeout, self.metrics.clone());
        let mut admin = ops::routes(self.hub.clone(), self.gateway.clone(), self.metrics.clone());
        let (stop_streams, streams_stop) = watch::channel(false);
        if let Some((access, _)) = &self.access {
            let api = api::routes(Api {
                hub: self.hub.clone(),
                access: access.clone(),
                effective: self.effective,
                command_limits: self.gateway.command_limits(),
                max_body_bytes: self.max_body_bytes,
                stopping: streams_stop,
                placement: Placement::Own,
            });
            admin = admin.nest_no_strip("/", api);
        }
        let admin = poem::EndpointExt::map_to_response(admin);
        tasks.spawn(
            service(poem::EndpointExt::boxed(admin)).serve(self.admin_listener, admin_stops),
        );
        let connect = poem::EndpointExt::boxed(self.gateway.routes());
        tasks.spawn(service(connect).serve(self.hub_listener, hub_stops));
        tasks.spawn(self.gateway.run());

        shutdown.await;

        let clients = self.hub.client_count();
        info!(clients, "stopping: closing every client");
        // Nobody may be listening any more, which is as good.
        let _ = stop_hub.send(true);
        let _ = stop_streams.send(true);
        self.hub.stop(CloseReason::ServerStopping);
        if tokio::time::timeout(DRAIN_TIMEOUT, self.hub.emptied()).await.is_err() {
            let left = self.hub.client_count();
            warn!(clients = left, "stopping without waiting any longer for the last clients");
        }
        info!("stopped");
    }
}

/// In one line, who can reach the hub, and which setting changes that.
fn who_can_reach(hub: SocketAddr) -> String {
    let ip = hub.ip();
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
    format!(
        "{whom} can reach the hub, read its channels and write to them; hub.listen changes that"
    )
}
