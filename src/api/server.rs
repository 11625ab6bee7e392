//! What the server is, how it does, what it was told, and what it logs.

use super::answer::Answer;
use super::auth::{Owner, Reader};
use super::body::JsonText;
use super::models::{Info, LogLevel, Reload, Setting, Settings, Stats};
use super::problem::{Code, Problem, failures};
use super::types::Time;
use super::{Shared, Tag};
use crate::protocol::Version;
use crate::telemetry;
use poem::http::StatusCode;
use poem_openapi::OpenApi;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Most characters of a filter.
const MAX_FILTER: usize = 1024;

failures!(
    /// What may go wrong with what is only looked at.
    LookFailure:
);
failures!(
    /// What may go wrong with the filter.
    LogLevelFailure: 400, 403, 408, 413, 415, 500
);
failures!(
    /// What may go wrong when the settings are read again.
    ReloadFailure: 403, 409, 413, 503
);

/// The operations.
pub(super) struct Server(pub Arc<Shared>);

#[OpenApi(tag = "Tag::Server")]
impl Server {
    /// See the figures
    ///
    /// What the hub holds, and what has happened since it started. `/metrics` has more, for
    /// Prometheus.
    #[oai(path = "/stats", method = "get", operation_id = "getStats")]
    async fn stats(&self, _reader: Reader) -> Result<Answer<Stats>, LookFailure> {
        Ok(Answer::of(&self.0.hub.stats().into()))
    }

    /// See what this is
    ///
    /// Version, protocol, since when it runs, and what of the system it uses.
    #[oai(path = "/info", method = "get", operation_id = "getInfo")]
    async fn info(&self, _reader: Reader) -> Result<Answer<Info>, LookFailure> {
        let since = self.0.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Answer::of(&Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_versions: Version::ALL.map(Version::number).to_vec(),
            started_at: Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            uptime_seconds: self.0.started_instant.elapsed().as_secs(),
            stopping: self.0.hub.is_stopping(),
            io_uring: (self.0.uses_io_uring)(),
        }))
    }

    /// See the settings
    ///
    /// What applies and where each value came from, as `skynet check-config` prints it, and what
    /// waits for a restart; secrets are masked.
    #[oai(path = "/config", method = "get", operation_id = "getConfig")]
    async fn config(&self, _reader: Reader) -> Result<Answer<Settings>, LookFailure> {
        let loaded = self.0.in_force.borrow().clone();
        let settings = loaded.effective.settings().iter().map(|setting| Setting {
            setting: format!("{}.{}", setting.section, setting.name),
            value: setting.value.clone(),
            source: setting.source.clone(),
            after_restart: setting.after_restart.clone(),
        });
        Ok(Answer::of(&Settings { settings: settings.collect() }))
    }

    /// Read the settings again
    ///
    /// From the file, the environment and the flags that the program was started with, token files and
    /// the file of bans included, as SIGHUP does. What can take effect does so at once, without
    /// loss; the answer names what waits for a restart. If anything is wrong, nothing is changed.
    #[oai(path = "/config/reload", method = "post", operation_id = "reloadConfig")]
    async fn reload(&self, _owner: Owner) -> Result<Answer<Reload>, ReloadFailure> {
        let Some(outcome) = self.0.reloads.reload().await else {
            let (status, detail) = (StatusCode::SERVICE_UNAVAILABLE, "the hub is stopping");
            return Err(Problem::new(status, Code::Stopping, detail).into());
        };
        let report = outcome.map_err(|error| Problem::config(&error))?;
        Ok(Answer::of(&Reload {
            changed: report.changed,
            applied: report.applied,
            needs_restart: report.needs_restart,
            closed_clients: report.closed_clients as u64,
        }))
    }

    /// Change what is logged
    ///
    /// Until the next start, or until `telemetry.log` changes and the settings are read again: a level (`off`, `error`, `warn`, `info`, `debug`, `trace`), and
    /// `TARGET=LEVEL` for single modules, as in `info,skynet::gateway=debug`.
    #[oai(path = "/log-level", method = "put", operation_id = "setLogLevel")]
    async fn set_log_level(
        &self,
        _owner: Owner,
        body: JsonText<LogLevel>,
    ) -> Result<Answer<LogLevel>, LogLevelFailure> {
        let mut fields = body.fields()?;
        let log = fields.text("log", MAX_FILTER)?;
        fields.finish()?;
        let log = log.ok_or_else(|| Problem::field("log", "it must be given"))?;
        match telemetry::set_filter(&log) {
            Ok(()) => {
                tracing::info!(log, "what is logged has been changed");
                Ok(Answer::of(&LogLevel { log }))
            }
            Err(telemetry::FilterError::Wrong(words)) => Err(Problem::field("log", words).into()),
            Err(telemetry::FilterError::NotStarted) => {
                tracing::error!("what is logged cannot be changed: this program writes no log");
                Err(Problem::internal().into())
            }
        }
    }
}
