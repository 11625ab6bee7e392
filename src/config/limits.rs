//! `[limits]`: what one client may use, and what all clients together may.
//!
//! Nothing here is enforced here. The validation makes sure that the limits fit each other, so that
//! the parts that enforce them need no special cases: a reply always fits into the half of a queue
//! that is kept free, a single client can always use its own limit, a channel's name always fits
//! into a message.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    error::Problem,
    networks,
    units::{self, show_bytes, show_duration},
};

/// Largest frame that a computer in the game accepts; one byte more ends its connection.
pub(super) const COMPUTER_FRAME_BYTES: usize = 128 * 1024;

/// What clients may use. Nothing is unlimited, and zero is never allowed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Clients connected at once: 1 to 1,000,000.
    #[serde(deserialize_with = "units::count")]
    pub max_clients: usize,
    /// Channels one client may have open: 1 to 1,000,000.
    #[serde(deserialize_with = "units::count")]
    pub max_channels_per_client: usize,
    /// Channels all clients together may have open: `max_channels_per_client` to 100,000,000.
    #[serde(deserialize_with = "units::count")]
    pub total_open_channels: usize,
    /// Length of a channel's name in bytes: 1 to a sixteenth of `max_message_bytes`.
    #[serde(with = "units::size")]
    pub max_channel_name_bytes: usize,
    /// Largest frame the hub sends, in bytes: 4 KiB to 16 MiB.
    #[serde(with = "units::size")]
    pub max_message_bytes: usize,
    /// Largest frame or joined message a client may send, in bytes: `max_message_bytes` to 64 MiB.
    #[serde(with = "units::size")]
    pub max_frame_bytes: usize,
    /// Bytes queued for one client: at least twice `max_message_bytes`.
    #[serde(with = "units::size")]
    pub max_queue_bytes: usize,
    /// Bytes queued for all clients: at least `max_queue_bytes`.
    #[serde(with = "units::size")]
    pub total_queue_bytes: usize,
    /// Bytes of unfinished frames and messages of all clients: at least `max_frame_bytes`.
    #[serde(with = "units::size")]
    pub total_partial_bytes: usize,
    /// Commands a second that a client may send for long: 1 to 1,000,000.
    #[serde(deserialize_with = "units::count")]
    pub messages_per_second: u32,
    /// Commands a client may send at once: 1 to 1,000,000.
    #[serde(deserialize_with = "units::count")]
    pub message_burst: u32,
    /// Time from the connection to a finished handshake, and for taking an answer that is none:
    /// 100 ms to 10 minutes.
    #[serde(with = "units::duration")]
    pub handshake_timeout: Duration,
    /// Pause between pings: 100 ms to one hour.
    #[serde(with = "units::duration")]
    pub ping_interval: Duration,
    /// Clients of one address connected at once: 1 to 1,000,000; without it, as many as there may be.
    /// Of IPv6, the first 64 bits are the address.
    #[serde(default, deserialize_with = "units::optional_count")]
    pub max_clients_per_address: Option<usize>,
    /// Handshakes a second that one address may begin for long: 1 to 1,000,000; without it, any.
    #[serde(default, deserialize_with = "units::optional_count")]
    pub connections_per_second_per_address: Option<u32>,
    /// Handshakes that one address may begin at once before that holds it back: 1 to 1,000,000.
    #[serde(deserialize_with = "units::count")]
    pub connection_burst_per_address: u32,
    /// Networks whose addresses are not limited.
    #[serde(default, deserialize_with = "networks::deserialize")]
    pub exempt_addresses: Vec<IpNet>,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const MILLION: usize = 1_000_000;
const MAX_FRAME_BYTES: usize = 64 * MIB;
const SHORTEST: Duration = Duration::from_millis(100);

impl LimitsConfig {
    pub(super) fn validate(&self, problems: &mut Vec<Problem>) {
        problems.extend(self.counts());
        problems.extend(self.sizes());
        let (most, least) = (self.total_open_channels, self.max_channels_per_client);
        if !(least..=100 * MILLION).contains(&most) {
            let text = format!(
                "is {most}; allowed are {least}, which is limits.max_channels_per_client, to {}",
                100 * MILLION
            );
            let problem = Problem::new("limits.total_open_channels", text);
            problems.push(problem.beside("limits.max_channels_per_client"));
        }
        problems.extend(
            [
                ("limits.handshake_timeout", self.handshake_timeout, Duration::from_secs(600)),
                ("limits.ping_interval", self.ping_interval, Duration::from_secs(3600)),
            ]
            .into_iter()
            .filter_map(|(key, value, most)| {
                units::within(key, value, SHORTEST, most, show_duration)
            }),
        );
    }

    fn counts(&self) -> impl Iterator<Item = Problem> {
        [
            ("limits.max_clients", self.max_clients),
            ("limits.max_channels_per_client", self.max_channels_per_client),
            ("limits.messages_per_second", self.messages_per_second as usize),
            ("limits.message_burst", self.message_burst as usize),
            ("limits.connection_burst_per_address", self.connection_burst_per_address as usize),
        ]
        .into_iter()
        .chain(self.max_clients_per_address.map(|count| ("limits.max_clients_per_address", count)))
        .chain(
            self.connections_per_second_per_address
                .map(|count| ("limits.connections_per_second_per_address", count as usize)),
        )
        .filter_map(|(key, value)| units::within(key, value, 1, MILLION, |count| count.to_string()))
    }

    fn sizes(&self) -> impl Iterator<Item = Problem> {
        let message = ("limits.max_message_bytes", self.max_message_bytes);
        let frame = ("limits.max_frame_bytes", self.max_frame_bytes);
        let queue = ("limits.max_queue_bytes", self.max_queue_bytes);
        let name = ("limits.max_channel_name_bytes", self.max_channel_name_bytes);
        let total_queue = ("limits.total_queue_bytes", self.total_queue_bytes);
        let total_partial = ("limits.total_partial_bytes", self.total_partial_bytes);
        let longest_name = message.1 / 16;
        [
            (name.1 == 0 || name.1 > longest_name).then(|| {
                let text = format!(
                    "is {}; allowed are 1 to {}, a sixteenth of {} ({}): a name may grow sixfold \
                     when it is written in JSON",
                    show_bytes(name.1),
                    show_bytes(longest_name),
                    message.0,
                    show_bytes(message.1),
                );
                Problem::new(name.0, text).beside(message.0)
            }),
            units::within(message.0, message.1, 4 * KIB, 16 * MIB, show_bytes),
            at_least(frame, message, 1, "what the hub may send, a client may send too"),
            (frame.1 > MAX_FRAME_BYTES).then(|| {
                let text = format!(
                    "is {}; it must be at most {}",
                    show_bytes(frame.1),
                    show_bytes(MAX_FRAME_BYTES)
                );
                Problem::new(frame.0, text)
            }),
            at_least(queue, message, 2, "a reply must fit into the half that events leave free"),
            at_least(total_queue, queue, 1, "one client may fill its own queue"),
            at_least(total_partial, frame, 1, "one client may be half way through a frame"),
        ]
        .into_iter()
        .flatten()
    }
}

/// Refuses a size that is smaller than `times` another one.
fn at_least(
    (key, value): (&'static str, usize),
    (other, size): (&'static str, usize),
    times: usize,
    because: &str,
) -> Option<Problem> {
    let least = size.saturating_mul(times);
    (value < least).then(|| {
        let text = format!(
            "is {}; it must be at least {}, {} {other} ({}): {because}",
            show_bytes(value),
            show_bytes(least),
            if times == 1 { "the same as" } else { "twice" },
            show_bytes(size),
        );
        Problem::new(key, text).beside(other)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError};

    /// The keys that are refused after `change`.
    fn refused(change: impl FnOnce(&mut LimitsConfig)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config.limits);
        match config.validate() {
            Ok(()) => Vec::new(),
            Err(ConfigError::Invalid(problems)) => {
                problems.into_iter().map(|problem| problem.key).collect()
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn zero_is_refused_for_every_limit() {
        let zero = |change: fn(&mut LimitsConfig), key: &str| {
            let keys = refused(change);
            assert!(keys.iter().any(|found| found == key), "{key}: {keys:?}");
        };
        zero(|limits| limits.max_clients = 0, "limits.max_clients");
        zero(|limits| limits.max_channels_per_client = 0, "limits.max_channels_per_client");
        zero(|limits| limits.max_channel_name_bytes = 0, "limits.max_channel_name_bytes");
        zero(|limits| limits.max_message_bytes = 0, "limits.max_message_bytes");
        zero(|limits| limits.max_frame_bytes = 0, "limits.max_frame_bytes");
        zero(|limits| limits.max_queue_bytes = 0, "limits.max_queue_bytes");
        zero(|limits| limits.total_queue_bytes = 0, "limits.total_queue_bytes");
        zero(|limits| limits.total_partial_bytes = 0, "limits.total_partial_bytes");
        zero(|limits| limits.messages_per_second = 0, "limits.messages_per_second");
        zero(|limits| limits.message_burst = 0, "limits.message_burst");
        zero(|limits| limits.handshake_timeout = Duration::ZERO, "limits.handshake_timeout");
        zero(|limits| limits.ping_interval = Duration::ZERO, "limits.ping_interval");
        zero(|limits| limits.max_clients_per_address = Some(0), "limits.max_clients_per_address");
        zero(
            |limits| limits.connections_per_second_per_address = Some(0),
            "limits.connections_per_second_per_address",
        );
        zero(
            |limits| limits.connection_burst_per_address = 0,
            "limits.connection_burst_per_address",
        );
    }

    #[test]
    fn each_bound_itself_is_allowed_and_one_step_beyond_is_not() {
        let most = 16 * MIB;
        let large = move |limits: &mut LimitsConfig| {
            limits.max_message_bytes = most;
            limits.max_frame_bytes = MAX_FRAME_BYTES;
            limits.max_queue_bytes = 2 * most;
        };
        assert_eq!(refused(large), [""; 0]);
        assert_eq!(refused(|limits| limits.max_clients = MILLION), [""; 0]);
        assert_eq!(refused(|limits| limits.max_clients = MILLION + 1), ["limits.max_clients"]);
        assert_eq!(
            refused(|limits| {
                large(limits);
                limits.max_frame_bytes += 1;
            }),
            ["limits.max_frame_bytes", "limits.total_partial_bytes"],
        );
        let channels = |each, all| {
            refused(|limits| {
                limits.max_channels_per_client = each;
                limits.total_open_channels = all;
            })
        };
        assert_eq!(channels(500, 500), [""; 0]);
        assert_eq!(channels(500, 499), ["limits.total_open_channels"]);
        assert_eq!(channels(500, 100 * MILLION), [""; 0]);
        assert_eq!(channels(500, 100 * MILLION + 1), ["limits.total_open_channels"]);
        assert_eq!(refused(|limits| limits.ping_interval = SHORTEST), [""; 0]);
        assert_eq!(
            refused(|limits| limits.ping_interval = SHORTEST - Duration::from_nanos(1)),
            ["limits.ping_interval"],
        );
        assert_eq!(
            refused(|limits| limits.handshake_timeout = Duration::from_secs(601)),
            ["limits.handshake_timeout"],
        );
    }

    #[test]
    fn limits_that_do_not_fit_each_other_are_refused() {
        let small = |limits: &mut LimitsConfig| {
            limits.max_message_bytes = 4096;
            limits.max_channel_name_bytes = 256;
            limits.max_frame_bytes = 4096;
            limits.max_queue_bytes = 8192;
            limits.total_queue_bytes = 8192;
            limits.total_partial_bytes = 4096;
        };
        assert_eq!(refused(small), [""; 0]);
        let after = |change: fn(&mut LimitsConfig)| {
            refused(|limits| {
                small(limits);
                change(limits);
            })
        };
        assert_eq!(after(|l| l.max_channel_name_bytes += 1), ["limits.max_channel_name_bytes"]);
        assert_eq!(after(|l| l.max_queue_bytes -= 1), ["limits.max_queue_bytes"]);
        assert_eq!(after(|l| l.total_queue_bytes -= 1), ["limits.total_queue_bytes"]);
        assert_eq!(after(|l| l.total_partial_bytes -= 1), ["limits.total_partial_bytes"]);
        assert_eq!(after(|l| l.max_frame_bytes = 4095), ["limits.max_frame_bytes"]);
    }

    #[test]
    fn absurdly_large_sizes_are_compared_without_overflow() {
        let keys = refused(|limits| limits.max_message_bytes = usize::MAX);
        assert!(keys.contains(&"limits.max_message_bytes".to_owned()), "{keys:?}");
        assert!(keys.contains(&"limits.max_queue_bytes".to_owned()), "{keys:?}");
    }
}
