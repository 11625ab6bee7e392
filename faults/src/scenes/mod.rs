//! What goes wrong, scene by scene. Each has a hub of its own, in which bystanders talk all the while,
//! and is audited at its end.

mod churn;
mod clock;
mod descriptors;
mod disk;
mod frames;
mod handshakes;
mod killed;
mod network;
mod reconnecting;
mod reloading;
mod rules;
mod slow;
mod stopping;

pub use killed::flood;

use std::{sync::Arc, time::Duration};

use clap::ValueEnum;

use crate::{
    audit::{Base, Findings},
    bystanders::Bystanders,
    ledger::Ledger,
    problem::Outcome,
    server::{Server, Setup},
};

/// How often things happened, by their names.
pub type Figures = Vec<(&'static str, u64)>;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scene {
    /// Thousands of connections that come and go, in every way of going.
    Churn,
    /// Programs with many connections that are killed while they talk.
    Killed,
    /// A network that delays, splits, cuts, resets and goes silent.
    Network,
    /// Half-open connections: the other side is gone and nobody said so.
    HalfOpen,
    /// A listener that is cut off again and again and catches up.
    Reconnecting,
    /// Readers that are slow or never read.
    SlowReaders,
    /// Senders of a byte at a time, and handshakes that never end.
    SlowSenders,
    /// A conversation that ends, or pauses, at each of its bytes.
    CutFrames,
    /// Every frame that RFC 6455 forbids, and some it allows.
    Rules,
    /// Handshakes of every wrong kind.
    Handshakes,
    /// The system's clock goes back.
    Clock,
    /// No descriptors are left.
    Descriptors,
    /// The disk with the file of bans is full.
    Disk,
    /// Settings are read again and again, good ones and bad ones.
    Reloading,
    /// SIGTERM in the middle of a flood.
    Stopping,
}

/// What a scene is played on.
pub struct Stage<'a> {
    /// The hub.
    pub server: &'a Server,
    /// Where everybody enters what was said and heard.
    pub ledger: &'a Arc<Ledger>,
    /// How further hubs are started.
    pub setup: &'a Setup,
    /// Whether there is time.
    pub long: bool,
    /// Where chance begins.
    pub seed: u64,
}

impl Stage<'_> {
    /// One of two numbers: the second where there is time.
    pub fn either(&self, short: u64, long: u64) -> u64 {
        if self.long { long } else { short }
    }
}

/// What came of a scene that held.
#[derive(Debug)]
pub struct Report {
    /// What happened how often.
    pub figures: Figures,
    /// What the audit found; none where the hub has ended.
    pub findings: Option<Findings>,
    /// The longest that a bystander waited for an acknowledgement.
    pub slowest: Duration,
}

impl Scene {
    /// Every scene, in the order in which they are played.
    pub fn all() -> &'static [Scene] {
        Scene::value_variants()
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Settings that differ from those of every hub here.
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Scene::HalfOpen => &[("SKYNET_LIMITS__PING_INTERVAL", "1s")],
            Scene::SlowReaders => &[("SKYNET_LIMITS__MAX_QUEUE_BYTES", "1MiB")],
            Scene::SlowSenders => &[("SKYNET_LIMITS__HANDSHAKE_TIMEOUT", "2s")],
            _ => &[],
        }
    }

    /// Plays it from the start of a hub to the audit.
    ///
    /// # Errors
    /// What did not hold.
    pub async fn run(self, setup: &Setup, long: bool, seed: u64) -> Outcome<Report> {
        if self == Scene::Stopping {
            return stopping::run(setup, if long { 20 } else { 2 }).await;
        }
        let server = Server::start(&setup.with(self.settings())).await?;
        let base = Base::of(&server).await?;
        let ledger = Arc::new(Ledger::default());
        let bystanders = Bystanders::start(server.hub(), ledger.clone()).await?;
        let stage = Stage { server: &server, ledger: &ledger, setup, long, seed };
        let figures = match self {
            Scene::Churn => churn::play(&stage).await,
            Scene::Killed => killed::play(&stage).await,
            Scene::Network => network::play(&stage).await,
            Scene::HalfOpen => network::half_open(&stage).await,
            Scene::Reconnecting => reconnecting::play(&stage).await,
            Scene::SlowReaders => slow::readers(&stage).await,
            Scene::SlowSenders => slow::senders(&stage).await,
            Scene::CutFrames => frames::play(&stage).await,
            Scene::Rules => rules::play(&stage).await,
            Scene::Handshakes => handshakes::play(&stage).await,
            Scene::Clock => clock::play(&stage).await,
            Scene::Descriptors => descriptors::play(&stage).await,
            Scene::Disk => disk::play(&stage).await,
            Scene::Reloading => reloading::play(&stage).await,
            Scene::Stopping => Ok(Vec::new()),
        }?;
        let slowest = bystanders.unharmed().await?;
        let findings = base.audit(&server, &ledger, &[]).await?;
        Ok(Report { figures, findings: Some(findings), slowest })
    }
}
