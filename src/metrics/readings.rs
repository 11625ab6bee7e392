//! Figures that are kept elsewhere, as metrics.

use super::families::{Families, counter, histogram};
use crate::hub::{ChannelCounts, Source, Stats};
use crate::protocol::{ChannelName, CloseReason, CommandKind, RefusalReason, Version};
use prometheus::proto::MetricFamily;

/// Nanoseconds in a second.
const NANOS: f64 = 1e9;

/// What a command that names none is called.
const UNKNOWN: &str = "unknown";

/// Figures that are kept elsewhere, as they are when somebody asks.
#[derive(Debug)]
pub struct Readings {
    /// The hub's.
    pub hub: Stats,
    /// What there is room for.
    pub capacities: Capacities,
    /// Bytes of unfinished frames.
    pub partial_bytes: usize,
    /// Lines of the program's own log dropped since the start.
    pub log_lines_dropped: usize,
    /// Calls of the owner's API with a wrong token since the start.
    pub api_auth_failures: u64,
    /// Those of them that were turned away because too many waited for their answer.
    pub api_held_back: u64,
    /// Addresses whose pace was forgotten to make room for that of others.
    pub addresses_forgotten: u64,
    /// Listeners that speak TLS, and until when their certificates hold: seconds since 1970 UTC.
    pub certificates: Vec<(&'static str, u64)>,
}

/// What there is room for, by the settings that apply.
#[derive(Debug, Clone, Copy)]
pub struct Capacities {
    /// Clients.
    pub clients: usize,
    /// Messages in the log.
    pub log_messages: usize,
    /// Bytes charged to the log.
    pub log_bytes: usize,
    /// Bytes queued for one client.
    pub queue_bytes: usize,
    /// Bytes queued for all clients together.
    pub queued_bytes: usize,
    /// Bytes of unfinished frames of all clients together.
    pub partial_bytes: usize,
}

impl Readings {
    /// All of it; `client_auth_failures` are clients that had a wrong token.
    pub(super) fn families(&self, client_auth_failures: u64) -> Vec<MetricFamily> {
        let mut families = Families::default();
        self.gauges(&mut families);
        self.limits(&mut families);
        self.counters(&mut families, client_auth_failures);
        self.by_command(&mut families);
        self.histograms(&mut families);
        of_channels(&mut families, &self.hub.counted);
        families.0
    }

    fn gauges(&self, to: &mut Families) {
        let hub = &self.hub;
        let protocols = Version::ALL.map(Version::label).into_iter().zip(hub.clients_by_version);
        to.gauges("skynet_clients", "Clients connected.", "protocol", protocols);
        for (name, help, value) in [
            ("channels", "Channels with listeners or logged messages.", hub.channels),
            ("subscriptions", "Open channels of all clients together.", hub.subscriptions),
            ("log_messages", "Messages in the log.", hub.log_messages),
            ("log_bytes", "Bytes charged to the log.", hub.log_bytes),
            ("queued_bytes", "Bytes queued for all clients together.", hub.queued_bytes),
            (
                "longest_queue_bytes",
                "Bytes of the longest queue of a client.",
                hub.longest_queue_bytes,
            ),
            ("partial_bytes", "Bytes kept of frames that are not whole yet.", self.partial_bytes),
            ("bans", "Bans in force.", hub.bans),
            ("log_streams", "Readers of the live log by the API.", hub.taps),
        ] {
            to.gauge(&format!("skynet_{name}"), help, value);
        }
        to.gauges(
            "skynet_tls_certificate_expiry_timestamp_seconds",
            "When the certificate that a listener serves expires; seconds since 1970 UTC.",
            "listener",
            // Of a time that no figure here reaches it is told that it is far.
            self.certificates
                .iter()
                .map(|&(of, at)| (of, usize::try_from(at).unwrap_or(usize::MAX))),
        );
    }

    fn limits(&self, to: &mut Families) {
        let room = &self.capacities;
        for (name, help, value) in [
            ("clients", "Most clients at a time.", room.clients),
            ("log_messages", "Most messages in the log.", room.log_messages),
            ("log_bytes", "Most bytes charged to the log.", room.log_bytes),
            ("queue_bytes", "Most bytes queued for one client.", room.queue_bytes),
            ("queued_bytes", "Most bytes queued for all clients together.", room.queued_bytes),
            ("partial_bytes", "Most bytes of frames that are not whole yet.", room.partial_bytes),
        ] {
            to.gauge(&format!("skynet_{name}_limit"), help, value);
        }
    }

    fn counters(&self, to: &mut Families, client_auth_failures: u64) {
        let totals = &self.hub.totals;
        let reasons = CloseReason::ALL.map(CloseReason::label);
        let over_rate = RefusalReason::RateLimit { per_second: 0, burst: 0 }.label_index();
        for (name, help, value) in [
            ("deliveries", "Events queued for listening clients.", totals.delivered),
            ("received_bytes", "Bytes of commands.", totals.bytes_in),
            ("sent_bytes", "Bytes written to clients.", totals.bytes_out),
            (
                "addresses_forgotten",
                "Addresses whose pace of connecting was forgotten to make room for others.",
                self.addresses_forgotten,
            ),
            ("log_evictions", "Messages that made room in the log.", totals.evicted),
            (
                "log_lines_dropped",
                "Lines of the program's own log dropped because they were not taken in time.",
                self.log_lines_dropped as u64,
            ),
        ] {
            to.counter(&format!("skynet_{name}_total"), help, value);
        }
        to.counters(
            "skynet_messages_total",
            "Messages taken into channels and the log, by where they came from.",
            "source",
            Source::ALL.map(Source::label).into_iter().zip(totals.messages),
        );
        to.counters(
            "skynet_disconnects_total",
            "Connections that ended, by reason.",
            "reason",
            reasons.into_iter().zip(totals.disconnects),
        );
        to.counters(
            "skynet_dropped_frames_total",
            "Frames due to a client and not sent: by the reason its connection ended, left out at the pace it wants (paced), or too large in its encoding (too_large).",
            "reason",
            totals.dropped_frames(),
        );
        to.counters(
            "skynet_refused_commands_total",
            "Commands refused with an error, by reason.",
            "reason",
            RefusalReason::LABELS.into_iter().zip(totals.refused),
        );
        to.counters(
            "skynet_auth_failures_total",
            "Wrong tokens: clients closed for theirs, and requests to the owner's listener.",
            "surface",
            [("hub", client_auth_failures), ("api", self.api_auth_failures)],
        );
        to.counters(
            "skynet_rate_limited_total",
            "Commands refused over the rate, and requests turned away after too many wrong tokens.",
            "surface",
            [("hub", totals.refused[over_rate]), ("api", self.api_held_back)],
        );
    }

    fn by_command(&self, to: &mut Families) {
        let totals = &self.hub.totals;
        let done = commands().zip(totals.commands).map(|of| (of, "ok"));
        let refused = commands().zip(totals.refused_commands).map(|of| (of, "refused"));
        let counters = done.chain(refused).map(|((command, count), result)| {
            counter(&[("command", command), ("result", result)], count)
        });
        to.of_counters(
            "skynet_commands_total",
            "Commands taken, by command and by whether they were carried out.",
            counters.collect(),
        );
        let times = commands().zip(&totals.command_nanos);
        to.histograms(
            "skynet_command_duration_seconds",
            "Time from a command's whole frame to its queued answer.",
            times
                .map(|(command, tally)| histogram(&[("command", command)], tally, NANOS))
                .collect(),
        );
    }

    fn histograms(&self, to: &mut Families) {
        let totals = &self.hub.totals;
        to.histograms(
            "skynet_message_bytes",
            "Bytes of the events of messages.",
            vec![histogram(&[], &totals.message_bytes, 1.0)],
        );
        to.histograms(
            "skynet_message_listeners",
            "Listeners that messages reached.",
            vec![histogram(&[], &totals.message_listeners, 1.0)],
        );
        to.histograms(
            "skynet_delivery_duration_seconds",
            "Time from a message's receipt to the write of it to its last listener, of one message \
             at a time.",
            vec![histogram(&[], &totals.delivery_nanos, NANOS)],
        );
    }
}

/// The commands, and last what names none.
fn commands() -> impl Iterator<Item = &'static str> {
    CommandKind::ALL.into_iter().map(CommandKind::label).chain([UNKNOWN])
}

fn of_channels(to: &mut Families, channels: &[ChannelCounts]) {
    let labels: Vec<String> = channels.iter().map(|channel| label(&channel.name)).collect();
    let labels = || labels.iter().map(String::as_str);
    to.counters(
        "skynet_channel_messages_total",
        "Messages sent to a listed channel.",
        "channel",
        labels().zip(channels.iter().map(|channel| channel.messages)),
    );
    to.counters(
        "skynet_channel_deliveries_total",
        "Events of a listed channel queued for listening clients.",
        "channel",
        labels().zip(channels.iter().map(|channel| channel.deliveries)),
    );
    to.gauges(
        "skynet_channel_listeners",
        "Clients that have a listed channel open.",
        "channel",
        labels().zip(channels.iter().map(|channel| channel.listeners)),
    );
}

/// A channel as the API's paths have it: a number, a text as it stands, or in its JSON spelling
/// where it could be taken for a number or for such a spelling.
fn label(name: &ChannelName) -> String {
    let text = name.to_string();
    let literal = text.starts_with(['"', '-']) || text.starts_with(|c: char| c.is_ascii_digit());
    if literal { name.as_json().to_owned() } else { text }
}
