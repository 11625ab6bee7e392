//! What the tests share: an app that is started, watched and stopped by the test, and waiting for
//! a condition with a deadline.

pub mod http;
pub mod json;
pub mod pair;
pub mod process;
pub mod raw;
pub mod tls;

use std::{future::Future, net::SocketAddr, time::Duration};

use skynet::{
    app::{App, Ended},
    config::{Config, Loaded},
    http::Certificates,
    hub::{Hub, Stats},
};
use tokio::{
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::{interval, timeout},
};

use raw::Raw;

/// How long a test waits for anything that must happen.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The defaults, on ports that the system chooses.
pub fn config() -> Config {
    let mut config = Config::default();
    config.hub.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.admin.listen = SocketAddr::from(([127, 0, 0, 1], 0)).into();
    config
}

/// [`config`] for tests that send more than a computer may: the rate limit is out of the way.
pub fn unhurried() -> Config {
    let mut config = config();
    config.limits.messages_per_second = 1_000_000;
    config.limits.message_burst = 1_000_000;
    config
}

/// An app that runs in the runtime of the test.
pub struct TestApp {
    hub: SocketAddr,
    admin: SocketAddr,
    state: Hub,
    certificates: Vec<Certificates>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Ended>,
}

impl TestApp {
    /// Builds and runs an app. [`with_app`] is for tests that do not stop it themselves.
    pub async fn start(config: impl Into<Loaded>) -> TestApp {
        let app = App::build(config).await.expect("the app starts");
        let certificates = app.certificates();
        let (hub, state) = (app.hub_address(), app.hub().clone());
        // A test with a Unix socket knows where it is, and asks for no address.
        let admin = app.admin_address().tcp().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(app.run(async move {
            let _ = stopped.await;
        }));
        TestApp { hub, admin, state, certificates, stop, task }
    }

    /// Where computers connect.
    pub fn hub(&self) -> SocketAddr {
        self.hub
    }

    /// Where the owner looks.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The certificates of its listeners.
    pub fn certificates(&self) -> &[Certificates] {
        &self.certificates
    }

    /// What the hub counts, as it is now.
    pub fn stats(&self) -> Stats {
        self.state.stats()
    }

    /// A connected client.
    pub async fn client(&self) -> Raw {
        Raw::connect(self.hub).await
    }

    /// A connected client that has opened one channel, written as JSON.
    pub async fn listener(&self, channel: &str) -> Raw {
        let mut client = self.client().await;
        client.open(channel).await;
        client
    }

    /// The sum of the samples of a metric that have all of these labels, as they are now; 0 when
    /// there is none.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        http::metric(self.admin, name, labels).await
    }

    /// Waits until a metric has a value.
    pub async fn metric_is(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        // What only grows cannot have been so before.
        let grows = name.ends_with("_total");
        wait_until(&format!("{name} {labels:?} is {value}"), async || {
            let page = http::metrics(self.admin).await;
            http::sample(&page, name, labels) == value
                && (grows || self.metric(name, labels).await == value)
        })
        .await;
    }

    /// Waits until a connection has ended for a reason, this many times in all.
    pub async fn disconnects(&self, reason: &str, times: u32) {
        let labels = [("reason", reason)];
        self.metric_is("skynet_disconnects_total", &labels, times.into()).await;
    }

    /// Waits until nobody is connected any more and nothing of them is left.
    pub async fn is_empty(&self) {
        wait_until("no client and nothing of one is left", async || {
            let stats = self.stats();
            (stats.clients, stats.subscriptions, stats.queued_bytes) == (0, 0, 0)
        })
        .await;
    }

    /// Asks the app to stop; what is returned ends when it has.
    pub fn stop(self) -> impl Future<Output = ()> {
        self.stop.send(()).expect("the app still runs");
        async move {
            let ended = timeout(DEADLINE, self.task)
                .await
                .expect("the app stops within the deadline")
                .expect("the app does not panic");
            assert_eq!(ended, Ended::Asked, "no part of it has failed");
        }
    }
}

/// Runs a test against an app of its own; afterwards, when the test has dropped its clients, the
/// app must hold nothing of them, must stop, and must have given its port back.
pub async fn with_app(config: impl Into<Loaded>, test: impl AsyncFnOnce(&TestApp)) {
    let app = TestApp::start(config).await;
    test(&app).await;
    app.is_empty().await;
    let hub = app.hub();
    app.stop().await;
    assert!(TcpStream::connect(hub).await.is_err(), "nobody listens after the app has stopped");
}

/// Waits until a condition holds; panics, naming it, when it does not within the deadline.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let mut again = interval(Duration::from_millis(10));
    let wait = async {
        loop {
            again.tick().await;
            if condition().await {
                return;
            }
        }
    };
    if timeout(DEADLINE, wait).await.is_err() {
        panic!("waited {DEADLINE:?} in vain until {what}");
    }
}
