//! Reads the configuration again while the program runs.
//!
//! One task does it, one request after the other. First everything that can fail is tried: the
//! settings, the owner's token, the certificates, the file of bans. Only then the parts take over what is new, and
//! nothing of that fails; what would take long is done in steps, between which the hub serves.

use super::{StartError, counted_channels, hub_limits, worker};
use crate::access::{AdminToken, AdminTokens, BansFile, Place};
use crate::config::{Config, ConfigError, Loaded, Problem, Reread};
use crate::descriptors;
use crate::gateway::{Entrance, Gateway};
use crate::http::{Certificates, Changed, ReadAnew, TlsError};
use crate::hub::{Hub, KeptBans};
use crate::metrics::Metrics;
use crate::reload::{InForce, Outcome, Reloads, Report, Request};
use crate::systemd::Supervisor;
use crate::telemetry::{self, FilterError};
use crate::worker::Worker;
use ipnet::IpNet;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, watch};
use tokio::task::yield_now;
use tracing::{error, info, warn};

/// What reads the settings again, and holds those in force.
pub(super) struct Reloader {
    in_force: watch::Sender<Arc<Loaded>>,
    /// The settings of the start.
    first: Arc<Loaded>,
    head_timeout: watch::Sender<Duration>,
    trusted_proxies: watch::Sender<Arc<[IpNet]>>,
    announcing_proxies: watch::Sender<Arc<[IpNet]>>,
    hub: Hub,
    gateway: Gateway,
    metrics: Arc<Metrics>,
    /// None while the owner's API is off.
    tokens: Option<watch::Sender<AdminTokens>>,
    bans_file: Option<Arc<Mutex<BansFile>>>,
    certificates: Vec<Certificates>,
    /// Reads the files.
    worker: Worker,
    requests: mpsc::Receiver<Request>,
}

/// What was read and is good, but for what the hub's part of the settings says.
struct Read {
    reread: Reread,
    owner: Option<AdminToken>,
    entrance: Entrance,
    certificates: Vec<ReadAnew>,
    bans: Option<ReadBans>,
}

/// The bans of a file that somebody has changed, and the file, which nobody writes meanwhile.
struct ReadBans {
    bans: KeptBans,
    _file: OwnedMutexGuard<BansFile>,
}

/// The setting that names the file of bans.
const BANS_FILE: &str = "admin.bans_file";

/// Settings that say who the owner is: of no use while the API is off, as it is from the start on.
const OWNERS_TOKENS: [&str; 5] = [
    "admin.token",
    "admin.token_file",
    "admin.read_token",
    "admin.read_token_file",
    "admin.state_dir",
];

impl Reloader {
    pub fn new(
        loaded: Loaded,
        hub: Hub,
        gateway: Gateway,
        metrics: Arc<Metrics>,
        tokens: Option<watch::Sender<AdminTokens>>,
        bans_file: Option<Arc<Mutex<BansFile>>>,
        certificates: Vec<Certificates>,
    ) -> Result<(Self, Reloads), StartError> {
        let (reloads, requests) = Reloads::channel();
        let head_timeout = watch::Sender::new(loaded.config.limits.handshake_timeout);
        let trusted_proxies = watch::Sender::new(loaded.config.hub.trusted_proxies.clone().into());
        let announcing_proxies = watch::Sender::new(announcing_proxies(&loaded.config));
        let first = Arc::new(loaded);
        let reloader = Self {
            in_force: watch::Sender::new(first.clone()),
            first,
            head_timeout,
            trusted_proxies,
            announcing_proxies,
            hub,
            gateway,
            metrics,
            tokens,
            bans_file,
            certificates,
            worker: worker("reload")?,
            requests,
        };
        Ok((reloader, reloads))
    }

    /// The settings in force.
    pub fn in_force(&self) -> InForce {
        self.in_force.subscribe()
    }

    /// `limits.handshake_timeout`, as it is in force.
    pub fn head_timeout(&self) -> watch::Receiver<Duration> {
        self.head_timeout.subscribe()
    }

    /// `hub.trusted_proxies`, as it is in force.
    pub fn trusted_proxies(&self) -> watch::Receiver<Arc<[IpNet]>> {
        self.trusted_proxies.subscribe()
    }

    /// Proxies that speak the PROXY protocol, as they are in force.
    pub fn announcing_proxies(&self) -> watch::Receiver<Arc<[IpNet]>> {
        self.announcing_proxies.subscribe()
    }

    /// Serves requests, for ever. `supervisor` is told when each begins and ends.
    pub async fn run(mut self, supervisor: Supervisor) {
        while let Some(answer) = self.requests.recv().await {
            if self.hub.is_stopping() {
                // Who asked learns of that by the end of the channel.
                continue;
            }
            supervisor.reloading().await;
            let outcome = self.reload().await;
            // Once it stops, that is the last of what it is told.
            if !self.hub.is_stopping() {
                supervisor.ready().await;
            }
            self.metrics.config_reloaded(outcome.is_ok());
            match &outcome {
                Ok(report) => told(report),
                Err(error) => error!("the settings stay as they are: {}", error.in_one_line()),
            }
            // Who asked may have gone.
            let _ = answer.send(outcome);
        }
    }

    async fn reload(&self) -> Outcome {
        let Read { reread, owner, entrance, certificates, bans } = self.read().await?;
        let Reread { mut loaded, mut changed, mut applied, mut needs_restart } = reread;
        if let Some(limit) = descriptors::limit() {
            descriptors::fit(&mut loaded, limit);
            // What it has lowered may be what it was.
            let differs = loaded.differs_from(&self.in_force.borrow());
            changed.retain(|key| differs.contains(key));
            applied.retain(|key| differs.contains(key));
        }
        if self.tokens.is_none() {
            let is_owners = |key: &String| OWNERS_TOKENS.contains(&key.as_str());
            applied.retain(|key| !is_owners(key));
            needs_restart.extend(loaded.differs_from(&self.first).into_iter().filter(is_owners));
        }
        self.warn(&loaded.config);
        if applied.iter().any(|key| key == "telemetry.log") {
            set_filter(&loaded.config.telemetry.log);
        }
        // Settings that are as they were, and their files are not.
        let mut also = |key: String| {
            if !changed.contains(&key) {
                changed.push(key.clone());
                applied.push(key);
            }
        };
        let tokens = owner.map(|owner| {
            if self.kept_anew(&owner) {
                info!("{}", owner.place);
                also("admin.state_dir".to_owned());
            }
            AdminTokens::new(&owner.secret, loaded.config.admin.read_token())
        });
        for read in certificates {
            let key = format!("{}.certificate", read.section());
            if read.serve() == Changed::Yes {
                also(key);
            }
        }
        if bans.is_some() {
            also(BANS_FILE.to_owned());
        }
        let closed_clients = self.apply(Arc::new(loaded), entrance, tokens, bans).await;
        Ok(Report { changed, applied, needs_restart, closed_clients })
    }

    /// Reads all that has to be read, off this thread, and changes nothing.
    async fn read(&self) -> Result<Read, ConfigError> {
        let loaded = self.in_force.borrow().clone();
        let api_is_on = self.tokens.is_some();
        let certificates = self.certificates.clone();
        let read = self.worker.run(move || {
            let reread = loaded.reread()?;
            let admin = &reread.loaded.config.admin;
            let owner = api_is_on.then(|| AdminToken::find(admin)).transpose();
            let owner = owner.map_err(|error| problem("admin.token", &error))?;
            let read_anew = |of: &Certificates| {
                let wrong = |error: TlsError| {
                    ConfigError::Invalid(vec![Problem::new(error.setting(), error.complaint())])
                };
                of.read_anew().map_err(wrong)
            };
            // Whoever names other files may have removed those of before.
            let stay = certificates.iter().filter(|of| !moved(of.section(), &reread.needs_restart));
            let certificates = stay.map(read_anew).collect::<Result<_, _>>()?;
            // Here, as many tokens take a while.
            let entrance = Entrance::new(&reread.loaded.config);
            Ok(Read { reread, owner, entrance, certificates, bans: None })
        });
        let read = read.await.unwrap_or_else(|error| Err(problem("the configuration", &error)))?;
        // Who names another file may have moved that of before, or removed it; its bans stay.
        if read.reread.needs_restart.iter().any(|key| key == BANS_FILE) {
            return Ok(read);
        }
        // Last, as the file takes note of what has been read of it.
        Ok(Read { bans: self.read_bans().await?, ..read })
    }

    /// Reads the file of bans, if somebody has changed it.
    async fn read_bans(&self) -> Result<Option<ReadBans>, ConfigError> {
        let Some(file) = &self.bans_file else { return Ok(None) };
        let mut file = file.clone().lock_owned().await;
        let read = self.worker.run(move || {
            file.read_changed().map(|bans| bans.map(|bans| ReadBans { bans, _file: file }))
        });
        let read = read.await.map_err(|error| problem(BANS_FILE, &error))?;
        read.map_err(|error| problem(BANS_FILE, &error))
    }

    /// Has all parts take over what is new; returns how many clients were closed.
    async fn apply(
        &self,
        loaded: Arc<Loaded>,
        entrance: Entrance,
        tokens: Option<AdminTokens>,
        bans: Option<ReadBans>,
    ) -> usize {
        let config = &loaded.config;
        if let (Some(keep), Some(tokens)) = (&self.tokens, tokens) {
            keep.send_replace(tokens);
        }
        self.head_timeout.send_replace(config.limits.handshake_timeout);
        self.trusted_proxies.send_replace(config.hub.trusted_proxies.clone().into());
        self.announcing_proxies.send_replace(announcing_proxies(config));
        self.in_force.send_replace(loaded.clone());
        let withdrawn = self.gateway.set(&config.limits, entrance);
        let newest = self.hub.newest_client();
        self.hub.count_channels(counted_channels(config));
        let mut closed = 0;
        if !withdrawn.is_empty() {
            closed += in_steps(|from| self.hub.close_proven(&withdrawn, newest, from)).await;
        }
        if let Some(ReadBans { bans, _file }) = bans {
            self.hub.restore_bans(bans.clone());
            closed += in_steps(|from| self.hub.close_banned(bans.as_slice(), from)).await;
        }
        let limits = hub_limits(config);
        while !self.hub.set_limits(&limits) {
            yield_now().await;
        }
        closed
    }

    /// Whether the owner's token is another now, and one that the program keeps.
    fn kept_anew(&self, owner: &AdminToken) -> bool {
        let is_known = self.tokens.as_ref().is_some_and(|t| t.borrow().is_admin(&owner.secret));
        !is_known && matches!(owner.place, Place::Kept { .. })
    }

    /// Tells what is allowed and yet should be known, as far as it is new.
    fn warn(&self, config: &Config) {
        let known: HashSet<_> = self.in_force.borrow().config.warnings().into_iter().collect();
        for warning in config.warnings().iter().filter(|warning| !known.contains(*warning)) {
            warn!("{warning}");
        }
    }
}

/// Goes through all clients, and lets others run in between; returns how many were closed.
async fn in_steps(step: impl Fn(usize) -> (usize, Option<usize>)) -> usize {
    let (mut closed, mut from) = (0, Some(0));
    while let Some(place) = from {
        let (more, next) = step(place);
        closed += more;
        from = next;
        yield_now().await;
    }
    closed
}

/// Proxies that must say by the PROXY protocol whose connections they pass on.
fn announcing_proxies(config: &Config) -> Arc<[IpNet]> {
    match config.hub.proxy_protocol {
        true => config.hub.trusted_proxies.clone().into(),
        false => Arc::default(),
    }
}

fn problem(key: &str, error: &impl ToString) -> ConfigError {
    ConfigError::Invalid(vec![Problem::new(key, format!("cannot be used: {}", error.to_string()))])
}

/// Whether the settings in `section` name other files than before, which wait for a restart.
fn moved(section: &str, waiting: &[String]) -> bool {
    let of_section =
        |key: &String| key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
    waiting.iter().any(of_section)
}

fn set_filter(log: &str) {
    match telemetry::set_filter(log) {
        Ok(()) => {}
        // A program that has this one within it and writes its own log.
        Err(FilterError::NotStarted) => {
            info!("telemetry.log applies to nothing: no log is written")
        }
        Err(FilterError::Wrong(words)) => error!("telemetry.log stays as it is: {words}"),
    }
}

fn told(report: &Report) {
    info!(
        applied = report.applied.join(", "),
        closed_clients = report.closed_clients,
        "the settings have been read again"
    );
    if !report.needs_restart.is_empty() {
        warn!(settings = report.needs_restart.join(", "), "only a restart changes these");
    }
}
