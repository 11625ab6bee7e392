//! What Prometheus is told: one struct, one registry of its own.
//!
//! Labels come from closed sets, and every combination stands at zero from the start; no client and
//! no address is a label, and of channels those alone that the owner has listed. What happens rarely
//! is counted here as it happens; what the hub counts itself, under its own lock, becomes metrics
//! only when somebody asks ([`Metrics::render`]).
//!
//! - `readings`: what is kept elsewhere, as metrics.
//! - `families`: how plain figures are written as metrics.

mod families;
mod readings;

pub use readings::{Capacities, Readings};

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Why a handshake was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// `limits.max_clients` are connected.
    Full,
    /// The hub is stopping.
    Stopping,
    /// It was no websocket handshake, or a wrong one.
    BadHandshake,
    /// The client gave itself a name that is no name.
    BadName,
    /// It asked for another path.
    NotFound,
    /// Its address has as many clients as one address may have.
    AddressClients,
    /// Its address connects more often than one address may.
    AddressRate,
    /// It came from a web page that may not connect.
    Origin,
}

impl Rejection {
    /// All of them, in their order.
    pub(crate) const ALL: [Self; 8] = [
        Self::Full,
        Self::Stopping,
        Self::BadHandshake,
        Self::BadName,
        Self::NotFound,
        Self::AddressClients,
        Self::AddressRate,
        Self::Origin,
    ];

    /// The rejection as metrics and logs name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Stopping => "stopping",
            Self::BadHandshake => "bad_handshake",
            Self::BadName => "bad_name",
            Self::NotFound => "not_found",
            Self::AddressClients => "address_clients",
            Self::AddressRate => "address_rate",
            Self::Origin => "origin",
        }
    }
}

/// Why a connection ended before it had asked for anything whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionFailure {
    /// What comes before the first request, its head, or the taking of a last answer, took longer
    /// than `limits.handshake_timeout`.
    Timeout,
    /// It was at no request when another wanted its place.
    Crowded,
    /// What came was not HTTP, or its head was too large, or the connection broke.
    Broken,
    /// The TLS handshake failed.
    Tls,
    /// Something else than TLS came to a listener that speaks it.
    NotTls,
    /// A proxy that must say whose connection it passes on did not, or not rightly.
    ProxyHeader,
}

impl ConnectionFailure {
    const ALL: [Self; 6] =
        [Self::Timeout, Self::Crowded, Self::Broken, Self::Tls, Self::NotTls, Self::ProxyHeader];

    /// The failure as metrics and logs name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Crowded => "crowded",
            Self::Broken => "broken",
            Self::Tls => "tls",
            Self::NotTls => "not_tls",
            Self::ProxyHeader => "proxy_header",
        }
    }
}

/// The names of the listeners.
const LISTENERS: [&str; 2] = ["hub", "admin"];

/// Edges of the time to the answer of a ping, in seconds: players are far away.
const ROUND_TRIP_SECONDS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Edges of the time to the answer of a request, in seconds; few, as there are many routes.
const HTTP_SECONDS: [f64; 6] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5];

/// Methods of requests by name; all others are [`OTHER_METHOD`].
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What has become of a configuration that was read again.
const APPLIED: &str = "applied";
const REFUSED: &str = "refused";

/// What the methods that have no name here are called.
const OTHER_METHOD: &str = "other";

/// What is counted as it happens.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Connections accepted as clients.
    pub connections: IntCounter,
    /// Clients without the token that they, or the name they claimed, needed.
    pub client_auth_failures: IntCounter,
    /// Text frames that were not UTF-8.
    pub invalid_utf8: IntCounter,
    /// Times that no connection could be accepted, by lack of descriptors or memory.
    pub accept_errors: IntCounter,
    /// Requests of trusted proxies whose `X-Forwarded-For` held something that is no address.
    pub unreadable_forwards: IntCounter,
    /// Seconds between a ping and its answer.
    pub ping_round_trip: Histogram,
    config_good: IntGauge,
    config_good_since: IntGauge,
    config_reloads: IntCounterVec,
    rejections: IntCounterVec,
    connection_failures: IntCounterVec,
    http_requests: IntCounterVec,
    http_seconds: HistogramVec,
}

/// Makes metrics and registers them; each name is written once, here.
struct Maker(Registry);

impl Maker {
    fn add<T: Collector + Clone + 'static>(&self, made: prometheus::Result<T>) -> T {
        // Names are literals, each used once: a test makes all of them.
        let metric = made.expect("a valid name");
        self.0.register(Box::new(metric.clone())).expect("a new name");
        metric
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }
}

impl Metrics {
    /// All metrics at zero, in a registry of their own.
    pub fn new() -> Self {
        let make = Maker(Registry::new());
        #[cfg(target_os = "linux")]
        make.0
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("new names");
        let info = Opts::new("skynet_build_info", "Always 1; the version is a label.");
        make.add(IntGaugeVec::new(info, &["version"]))
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let round_trip = HistogramOpts::new(
            "skynet_ping_round_trip_seconds",
            "Time between a ping of the hub and its answer.",
        );
        let http_seconds = HistogramOpts::new(
            "skynet_http_request_duration_seconds",
            "Time from a request's head to the beginning of its answer.",
        );
        let metrics = Self {
            connections: make
                .counter("skynet_connections_total", "Connections accepted as clients."),
            // One half of skynet_auth_failures_total, so it is not registered by itself.
            client_auth_failures: IntCounter::new("client_auth_failures", "Of clients.")
                .expect("a valid name"),
            invalid_utf8: make.counter(
                "skynet_invalid_utf8_total",
                "Commands that were not UTF-8 and were taken with U+FFFD for what was wrong.",
            ),
            accept_errors: make.counter(
                "skynet_accept_errors_total",
                "Times that no connection could be accepted, by lack of descriptors or memory.",
            ),
            unreadable_forwards: make.counter(
                "skynet_unreadable_forwards_total",
                "Requests of trusted proxies whose X-Forwarded-For held something that is no address.",
            ),
            ping_round_trip: make
                .add(Histogram::with_opts(round_trip.buckets(ROUND_TRIP_SECONDS.to_vec()))),
            config_good: make.gauge(
                "skynet_config_last_reload_successful",
                "Whether the configuration could be used when it was read last.",
            ),
            config_good_since: make.gauge(
                "skynet_config_last_reload_success_timestamp_seconds",
                "When a configuration was last read that could be used; seconds since 1970 UTC.",
            ),
            config_reloads: make.counters(
                "skynet_config_reloads_total",
                "Readings of the configuration after the start, by whether it could be used.",
                &["result"],
            ),
            rejections: make.counters(
                "skynet_rejections_total",
                "Handshakes refused, by reason.",
                &["reason"],
            ),
            connection_failures: make.counters(
                "skynet_connection_failures_total",
                "Connections that ended before they had asked for anything whole, or were too slow with it.",
                &["listener", "reason"],
            ),
            http_requests: make.counters(
                "skynet_http_requests_total",
                "Requests answered, by the route they matched, method and status.",
                &["route", "method", "status"],
            ),
            http_seconds: make.add(HistogramVec::new(
                http_seconds.buckets(HTTP_SECONDS.to_vec()),
                &["route", "method"],
            )),
            registry: make.0,
        };
        // The program has started with one that could be used.
        metrics.config_is_good();
        for result in [APPLIED, REFUSED] {
            metrics.config_reloads.with_label_values(&[result]);
        }
        for rejection in Rejection::ALL {
            metrics.rejections.with_label_values(&[rejection.label()]);
        }
        for (listener, failure) in
            LISTENERS.into_iter().flat_map(|name| ConnectionFailure::ALL.map(|f| (name, f)))
        {
            metrics.connection_failures.with_label_values(&[listener, failure.label()]);
        }
        metrics
    }

    /// Counts that the configuration was read again, and whether it could be used.
    pub fn config_reloaded(&self, good: bool) {
        let result = if good { APPLIED } else { REFUSED };
        self.config_reloads.with_label_values(&[result]).inc();
        match good {
            true => self.config_is_good(),
            false => self.config_good.set(0),
        }
    }

    fn config_is_good(&self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.config_good_since.set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        self.config_good.set(1);
    }

    /// Counts a refused handshake.
    pub fn reject(&self, rejection: Rejection) {
        self.rejections.with_label_values(&[rejection.label()]).inc();
    }

    /// Counts a connection to the listener of that name that failed.
    pub fn connection_failed(&self, listener: &str, failure: ConnectionFailure) {
        self.connection_failures.with_label_values(&[listener, failure.label()]).inc();
    }

    /// Makes a request's counter stand at zero before the first request. `route` is from a closed
    /// set.
    pub fn expect_http(&self, route: &str, method: &str, status: &str) {
        let method = method_label(method);
        self.http_requests.with_label_values(&[route, method, status]);
        self.http_seconds.with_label_values(&[route, method]);
    }

    /// Counts a request whose answer began after `took`. `route` is from a closed set.
    pub fn http_answered(&self, route: &str, method: &str, status: &str, took: Duration) {
        let method = method_label(method);
        self.http_requests.with_label_values(&[route, method, status]).inc();
        self.http_seconds.with_label_values(&[route, method]).observe(took.as_secs_f64());
    }

    /// All metrics in Prometheus's text format, `readings` among them.
    pub fn render(&self, readings: &Readings) -> Vec<u8> {
        let mut families = self.registry.gather();
        families.extend(readings.families(self.client_auth_failures.get()));
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = Vec::new();
        // Writing into memory cannot fail, and no family is without a metric.
        let _ = TextEncoder::new().encode(&families, &mut text);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn method_label(method: &str) -> &'static str {
    METHODS.into_iter().find(|&known| known == method).unwrap_or(OTHER_METHOD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Hub, LIMITS, Source, Stats, Totals};
    use crate::protocol::ChannelName;
    use std::collections::HashSet;

    fn readings(totals: Totals, counted: &[ChannelName]) -> Readings {
        let hub = Hub::new(LIMITS);
        hub.count_channels(counted.to_vec());
        let capacities = Capacities {
            clients: 1,
            log_messages: 1,
            log_bytes: 8192,
            queue_bytes: 8192,
            queued_bytes: 8192,
            partial_bytes: 4096,
        };
        Readings {
            hub: Stats { totals, ..hub.stats() },
            capacities,
            partial_bytes: 0,
            log_lines_dropped: 0,
            api_auth_failures: 0,
            api_held_back: 0,
            addresses_forgotten: 0,
            certificates: Vec::new(),
        }
    }

    fn rendered(metrics: &Metrics, readings: &Readings) -> String {
        String::from_utf8(metrics.render(readings)).expect("text")
    }

    #[track_caller]
    fn assert_lines(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|other| other == *line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn every_metric_has_a_name_of_its_own_and_stands_at_zero_from_the_start() {
        let text = rendered(&Metrics::new(), &readings(Totals::default(), &[]));
        let mut seen = HashSet::new();
        for name in text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next())
        {
            assert!(seen.insert(name), "{name} is there twice");
        }
        assert!(seen.len() > 40, "{seen:?}");
        assert_lines(
            &text,
            &[
                "skynet_clients{protocol=\"v1\"} 0",
                "skynet_clients{protocol=\"v2\"} 0",
                "skynet_clients_limit 1",
                "skynet_messages_total{source=\"api\"} 0",
                "skynet_rejections_total{reason=\"full\"} 0",
                "skynet_refused_commands_total{reason=\"syntax\"} 0",
                "skynet_commands_total{command=\"unknown\",result=\"refused\"} 0",
                "skynet_message_bytes_bucket{le=\"131072\"} 0",
                "skynet_delivery_duration_seconds_bucket{le=\"0.0001\"} 0",
                "skynet_command_duration_seconds_count{command=\"open\"} 0",
            ],
        );
        assert!(!text.contains("command=\"unknown\",result=\"ok\""));
    }

    #[test]
    fn what_the_hub_has_counted_is_shown_in_base_units() {
        let mut totals = Totals { delivered: 5, ..Totals::default() };
        totals.count_message(Source::Api, 300, 2);
        totals.delivery_nanos.observe(1_500_000);
        let text = rendered(&Metrics::new(), &readings(totals, &[]));
        assert_lines(
            &text,
            &[
                "skynet_messages_total{source=\"api\"} 1",
                "skynet_deliveries_total 7",
                "skynet_message_bytes_bucket{le=\"256\"} 0",
                "skynet_message_bytes_bucket{le=\"1024\"} 1",
                "skynet_message_bytes_sum 300",
                "skynet_message_listeners_bucket{le=\"2\"} 1",
                "skynet_delivery_duration_seconds_bucket{le=\"0.001\"} 0",
                "skynet_delivery_duration_seconds_bucket{le=\"0.0025\"} 1",
                "skynet_delivery_duration_seconds_bucket{le=\"+Inf\"} 1",
                "skynet_delivery_duration_seconds_sum 0.0015",
            ],
        );
    }

    #[test]
    fn a_request_is_counted_by_route_known_method_and_status() {
        let metrics = Metrics::new();
        metrics.expect_http("/a", "GET", "404");
        metrics.http_answered("/a", "GET", "200", Duration::from_millis(30));
        metrics.http_answered("/a", "BREW", "405", Duration::ZERO);
        assert_lines(
            &rendered(&metrics, &readings(Totals::default(), &[])),
            &[
                r#"skynet_http_requests_total{method="GET",route="/a",status="200"} 1"#,
                r#"skynet_http_requests_total{method="GET",route="/a",status="404"} 0"#,
                r#"skynet_http_requests_total{method="other",route="/a",status="405"} 1"#,
                r#"skynet_http_request_duration_seconds_bucket{method="GET",route="/a",le="0.025"} 0"#,
                r#"skynet_http_request_duration_seconds_bucket{method="GET",route="/a",le="0.1"} 1"#,
            ],
        );
    }

    #[test]
    fn listed_channels_have_labels_that_differ_however_their_names_look() {
        let number = ChannelName::from_json("5", 255).expect("a channel");
        let names = ["5", "\"5\"", "chat"].map(ChannelName::from_text);
        let names = [&names[..], &[number]].concat();
        let text = rendered(&Metrics::new(), &readings(Totals::default(), &names));
        assert_lines(
            &text,
            &[
                r#"skynet_channel_messages_total{channel="\"5\""} 0"#,
                r#"skynet_channel_messages_total{channel="\"\\\"5\\\"\""} 0"#,
                r#"skynet_channel_messages_total{channel="chat"} 0"#,
                r#"skynet_channel_messages_total{channel="5"} 0"#,
                r#"skynet_channel_listeners{channel="chat"} 0"#,
            ],
        );
        let none = rendered(&Metrics::new(), &readings(Totals::default(), &[]));
        assert!(!none.contains("skynet_channel_"));
    }
}
