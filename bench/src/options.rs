//! The command line of the generator.

use std::net::SocketAddrV4;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::dialect::Dialect;
use crate::marker;

/// What is connected and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// One channel: --publishers publish, --listeners listen, --stalled open it and never read.
    Fanout,
    /// --channels channels, each with one publisher and --listeners listeners.
    Many,
    /// One channel: --publishers clients listen and publish, all of them.
    Everyone,
    /// --channels channels with one publisher each; --listeners hear all of them.
    Wildcard,
    /// As fanout, first without and then with --readers that ask for the log in a closed loop.
    Log,
    /// --connections are made and held; then one of them sends --traffic messages to the others.
    Idle,
    /// --connections are made as fast as --concurrency allows.
    Connect,
}

impl Scenario {
    /// Its name on the command line and in the report.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Load for websocket hubs: one thread; checks every delivery; prints one line of JSON.
///
/// Ends with 1 when something went wrong; losses and the like are in the report, for its reader to
/// judge.
#[derive(Clone, Debug, Parser)]
#[command(name = "skynet-load")]
pub struct Options {
    /// What is connected and sent.
    pub scenario: Scenario,
    /// Where the hub listens.
    #[arg(long, default_value = "127.0.0.1:4567")]
    pub address: SocketAddrV4,
    /// The path of its websocket.
    #[arg(long, default_value = "/connect")]
    pub path: String,
    /// How to talk to it.
    #[arg(long, value_enum, default_value = "skynet")]
    pub dialect: Dialect,
    /// The hub sends a publisher its own messages too, where it listens.
    #[arg(long)]
    pub echo: bool,
    /// The hub's process, whose CPU time and memory are read.
    #[arg(long)]
    pub server: u32,
    /// Listeners; with `many` those of each channel.
    #[arg(long, default_value_t = 100)]
    pub listeners: usize,
    /// Publishers of a single channel.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=marker::PUBLISHERS as i64))]
    pub publishers: u32,
    /// Channels of `many` and `wildcard`.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=marker::PUBLISHERS as i64))]
    pub channels: u32,
    /// Clients that open the channel and never read.
    #[arg(long, default_value_t = 0)]
    pub stalled: usize,
    /// Clients that are connected before anything is measured, each with a channel of its own.
    #[arg(long, default_value_t = 0)]
    pub crowd: usize,
    /// Messages published before anything is measured.
    #[arg(long, default_value_t = 0)]
    pub fill: u64,
    /// Messages a second of all publishers together; 0 is a closed loop.
    #[arg(long, default_value_t = 0.0, value_parser = rate)]
    pub rate: f64,
    /// With a rate: messages sent at a time, one publisher's.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub burst: u32,
    /// In a closed loop: messages on their way for each publisher.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    pub window: u64,
    /// Bytes of a message's text, at least the 30 of its marker.
    #[arg(long, default_value_t = 128, value_parser = size)]
    pub size: usize,
    /// Measured for so long.
    #[arg(long, default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    pub duration: Duration,
    /// The same load before that, unmeasured.
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = seconds)]
    pub warmup: Duration,
    /// With `idle`: how long nothing is done while CPU time is read.
    #[arg(long, default_value = "2", value_name = "SECONDS", value_parser = seconds)]
    pub rest: Duration,
    /// The delay of one delivery in so many is taken.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub sample: u32,
    /// Connections of `idle` and `connect`.
    #[arg(long, default_value_t = 10_000)]
    pub connections: usize,
    /// Connections that are begun and not yet ready.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    pub concurrency: u64,
    /// Addresses, from 127.0.0.1 on, that connections come from in turn.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub sources: u32,
    /// With `idle` and `connect`: each connection opens the channel.
    #[arg(long)]
    pub open: bool,
    /// With `idle`, which then opens: messages that one connection sends and all others receive.
    #[arg(long, default_value_t = 0)]
    pub traffic: u64,
    /// Clients that ask for the log.
    #[arg(long, default_value_t = 4)]
    pub readers: usize,
    /// Messages that they ask for.
    #[arg(long, default_value_t = 100)]
    pub entries: usize,
    /// Copied to the report.
    #[arg(long, default_value = "")]
    pub label: String,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1e7).contains(&rate) => Ok(rate),
        _ => Err("give messages a second, from 0 to 10000000".into()),
    }
}

fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ marker::LENGTH..=1_000_000) => Ok(size),
        _ => Err(format!("give a number of bytes from {} to 1000000", marker::LENGTH)),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give seconds, from 0 to 3600".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Options, String> {
        let all = "skynet-load".split(' ').chain(arguments.split(' '));
        Options::try_parse_from(all).map_err(|error| error.to_string())
    }

    #[test]
    fn values_out_of_bounds_are_refused_with_the_bounds() {
        for (arguments, told) in [
            ("fanout --server 1 --size 29", "from 30 to 1000000"),
            ("fanout --server 1 --rate -1", "unexpected argument"),
            ("fanout --server 1 --rate=-1", "from 0 to 10000000"),
            ("fanout --server 1 --rate nan", "from 0 to 10000000"),
            ("fanout --server 1 --window 0", "1.."),
            ("fanout --server 1 --duration 1h", "from 0 to 3600"),
            ("everyone --server 1 --publishers 65537", "65536"),
            ("fan --server 1", "fanout"),
            ("fanout", "--server"),
        ] {
            let error = parse(arguments).expect_err(arguments);
            assert!(error.contains(told), "{arguments}: {error}");
        }
    }

    #[test]
    fn durations_are_seconds_with_fractions() {
        let options = parse("idle --server 1 --rest 0.25").expect("options");
        assert_eq!(options.rest, Duration::from_millis(250));
        assert_eq!(options.scenario.name(), "idle");
    }
}
