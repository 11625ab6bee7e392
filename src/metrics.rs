//! What Prometheus is told: one struct, one registry of its own.
//!
//! The doc comment of a field says what its help text says. Labels come from closed sets, and
//! every combination stands at zero from the start; no client, address or channel is a label.
//! Counters are bumped where things happen, without a lock; what the hub counts itself, under its
//! own lock, is copied here when somebody asks ([`Metrics::render`]).

use crate::hub::Stats;
use crate::protocol::{CloseReason, CommandKind, RefusalReason};
use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

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
}

impl Rejection {
    const ALL: [Self; 5] =
        [Self::Full, Self::Stopping, Self::BadHandshake, Self::BadName, Self::NotFound];

    /// The rejection as metrics and logs name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Stopping => "stopping",
            Self::BadHandshake => "bad_handshake",
            Self::BadName => "bad_name",
            Self::NotFound => "not_found",
        }
    }
}

/// Why a connection ended before it had asked for anything whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionFailure {
    /// The request's head took longer than `limits.handshake_timeout`.
    Timeout,
    /// What came was not HTTP, or its head was too large, or the connection broke.
    Broken,
}

impl ConnectionFailure {
    const ALL: [Self; 2] = [Self::Timeout, Self::Broken];

    fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Broken => "broken",
        }
    }
}

/// The names of the listeners.
const LISTENERS: [&str; 2] = ["hub", "admin"];

/// Figures that are kept elsewhere, as they are when somebody asks.
#[derive(Debug)]
pub struct Readings {
    /// The hub's.
    pub hub: Stats,
    /// Bytes of unfinished frames.
    pub partial_bytes: usize,
    /// Lines of the program's own log dropped since the start.
    pub log_lines_dropped: usize,
    /// Calls of the owner's API with a wrong token since the start.
    pub api_auth_failures: u64,
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Connections accepted as clients.
    pub connections: IntCounter,
    rejections: IntCounterVec,
    /// Clients without the token that they, or the name they claimed, needed.
    pub client_auth_failures: IntCounter,
    connection_failures: IntCounterVec,
    /// Text frames that were not UTF-8.
    pub invalid_utf8: IntCounter,
    /// Times that no connection could be accepted, by lack of descriptors or memory.
    pub accept_errors: IntCounter,
    /// Seconds between a ping and its answer.
    pub ping_round_trip: Histogram,
    disconnects: IntCounterVec,
    commands: IntCounterVec,
    refused: IntCounterVec,
    dropped: IntCounterVec,
    log_lines_dropped: IntCounter,
    api_auth_failures: IntCounter,
    messages: IntCounter,
    delivered: IntCounter,
    evicted: IntCounter,
    bytes_in: IntCounter,
    bytes_out: IntCounter,
    clients: IntGauge,
    channels: IntGauge,
    subscriptions: IntGauge,
    log_messages: IntGauge,
    log_bytes: IntGauge,
    queued_bytes: IntGauge,
    longest_queue_bytes: IntGauge,
    partial_bytes: IntGauge,
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

    fn counters(&self, name: &str, help: &str, label: &str) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), &[label]))
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
        let info = IntGaugeVec::new(Opts::new("skynet_build_info", "Always 1."), &["version"]);
        make.add(info).with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
        let round_trip = HistogramOpts::new(
            "skynet_ping_round_trip_seconds",
            "Time between a ping of the hub and its answer.",
        );
        let metrics = Self {
            connections: make
                .counter("skynet_connections_total", "Connections accepted as clients."),
            rejections: make.counters(
                "skynet_rejections_total",
                "Handshakes refused, by reason.",
                "reason",
            ),
            client_auth_failures: make.counter(
                "skynet_client_auth_failures_total",
                "Clients closed for a token that was not accepted or a name that needs one.",
            ),
            connection_failures: make.add(IntCounterVec::new(
                Opts::new(
                    "skynet_connection_failures_total",
                    "Connections that ended before they had asked for anything whole.",
                ),
                &["listener", "reason"],
            )),
            invalid_utf8: make.counter(
                "skynet_invalid_utf8_total",
                "Commands that were not UTF-8 and were taken with U+FFFD for what was wrong.",
            ),
            accept_errors: make.counter(
                "skynet_accept_errors_total",
                "Times that no connection could be accepted, by lack of descriptors or memory.",
            ),
            ping_round_trip: make.add(Histogram::with_opts(round_trip.buckets(seconds.to_vec()))),
            disconnects: make.counters(
                "skynet_disconnects_total",
                "Connections that ended, by reason.",
                "reason",
            ),
            commands: make.counters(
                "skynet_commands_total",
                "Commands carried out, by command.",
                "command",
            ),
            refused: make.counters(
                "skynet_refused_total",
                "Commands refused with an error, by reason.",
                "reason",
            ),
            dropped: make.counters(
                "skynet_dropped_total",
                "Frames queued for a client and not sent: by the reason its connection ended, or left out at the pace it wants (paced).",
                "reason",
            ),
            log_lines_dropped: make.counter(
                "skynet_log_lines_dropped_total",
                "Lines of the program's own log dropped because they were not taken in time.",
            ),
            api_auth_failures: make.counter(
                "skynet_api_auth_failures_total",
                "Calls of the owner's API with a wrong token.",
            ),
            messages: make.counter("skynet_messages_total", "Messages sent to channels."),
            delivered: make
                .counter("skynet_delivered_total", "Events queued for listening clients."),
            evicted: make
                .counter("skynet_log_evictions_total", "Messages that made room in the log."),
            bytes_in: make.counter("skynet_received_bytes_total", "Bytes of commands."),
            bytes_out: make.counter("skynet_sent_bytes_total", "Bytes written to clients."),
            clients: make.gauge("skynet_clients", "Clients connected."),
            channels: make.gauge("skynet_channels", "Channels with listeners or logged messages."),
            subscriptions: make
                .gauge("skynet_subscriptions", "Open channels of all clients together."),
            log_messages: make.gauge("skynet_log_messages", "Messages in the log."),
            log_bytes: make.gauge("skynet_log_bytes", "Bytes charged to the log."),
            queued_bytes: make
                .gauge("skynet_queued_bytes", "Bytes queued for all clients together."),
            longest_queue_bytes: make
                .gauge("skynet_longest_queue_bytes", "Bytes of the longest queue of a client."),
            partial_bytes: make
                .gauge("skynet_partial_bytes", "Bytes kept of frames that are not whole yet."),
            registry: make.0,
        };
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

    /// Counts a refused handshake.
    pub fn reject(&self, rejection: Rejection) {
        self.rejections.with_label_values(&[rejection.label()]).inc();
    }

    /// Counts a connection to the listener of that name that failed.
    pub fn connection_failed(&self, listener: &str, failure: ConnectionFailure) {
        self.connection_failures.with_label_values(&[listener, failure.label()]).inc();
    }

    /// All metrics in Prometheus's text format, `readings` among them.
    pub fn render(&self, readings: &Readings) -> String {
        self.read(readings);
        let mut text = Vec::new();
        // Writing into memory cannot fail, and what the encoder writes is UTF-8.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn read(&self, readings: &Readings) {
        let (hub, totals) = (&readings.hub, &readings.hub.totals);
        for (gauge, value) in [
            (&self.clients, hub.clients),
            (&self.channels, hub.channels),
            (&self.subscriptions, hub.subscriptions),
            (&self.log_messages, hub.log_messages),
            (&self.log_bytes, hub.log_bytes),
            (&self.queued_bytes, hub.queued_bytes),
            (&self.longest_queue_bytes, hub.longest_queue_bytes),
            (&self.partial_bytes, readings.partial_bytes),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        for (counter, total) in [
            (&self.messages, totals.messages),
            (&self.delivered, totals.delivered),
            (&self.evicted, totals.evicted),
            (&self.bytes_in, totals.bytes_in),
            (&self.bytes_out, totals.bytes_out),
            (&self.log_lines_dropped, readings.log_lines_dropped as u64),
            (&self.api_auth_failures, readings.api_auth_failures),
        ] {
            raise(counter, total);
        }
        let commands = CommandKind::ALL.map(CommandKind::label);
        let reasons = CloseReason::ALL.map(CloseReason::label);
        raise_each(&self.commands, commands, totals.commands);
        raise_each(&self.refused, RefusalReason::LABELS, totals.refused);
        raise_each(&self.dropped, reasons, totals.dropped);
        raise_each(&self.dropped, ["paced"], [totals.paced]);
        raise_each(&self.disconnects, reasons, totals.disconnects);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Raises a counter to a total that is counted elsewhere and only grows.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// Raises the counter of each label to its total.
fn raise_each<const N: usize>(counters: &IntCounterVec, labels: [&str; N], totals: [u64; N]) {
    for (label, total) in labels.into_iter().zip(totals) {
        raise(&counters.with_label_values(&[label]), total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Hub, HubLimits, Totals};

    fn readings(totals: Totals) -> Readings {
        let limits = HubLimits {
            max_clients: 1,
            max_channels_per_client: 1,
            max_message_bytes: 4096,
            max_queue_bytes: 8192,
            total_queue_bytes: 8192,
            max_log_messages: 1,
            max_log_bytes: 8192,
        };
        let hub = Stats { totals, ..Hub::new(limits).stats() };
        Readings { hub, partial_bytes: 0, log_lines_dropped: 0, api_auth_failures: 0 }
    }

    #[test]
    fn every_metric_has_a_name_of_its_own_and_stands_at_zero_from_the_start() {
        let totals = Totals { messages: 3, ..Totals::default() };
        let text = Metrics::new().render(&readings(totals));
        for line in [
            "skynet_clients 0",
            "skynet_messages_total 3",
            "skynet_rejections_total{reason=\"full\"} 0",
            "skynet_refused_total{reason=\"syntax\"} 0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_counter_follows_a_total_and_never_falls() {
        let metrics = Metrics::new();
        for (total, shown) in [(5, 5), (7, 7), (6, 7)] {
            let text = metrics.render(&readings(Totals { delivered: total, ..Totals::default() }));
            assert!(text.contains(&format!("skynet_delivered_total {shown}\n")));
        }
    }
}
