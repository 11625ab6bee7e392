//! Log lines: where they go and how they look.
//!
//! All lines go to standard error, so that standard output holds what a command was asked to print.
//! Everything is decided by the `[telemetry]` section; no environment variable is read here.
//!
//! Lines are written by a thread of their own: whoever should read them and does not (a full pipe, a
//! stalled journal) must not hold up the hub. When too many wait, further ones are dropped and
//! counted.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, fmt, fmt::MakeWriter, util::SubscriberInitExt};

use crate::config::{LogFormat, TelemetryConfig};
use crate::worker;

/// Lines that may wait to be written.
const WAITING_LINES: usize = 8192;

/// Counts dropped lines; one for the process, as its subscriber is.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Changes what the lines of this process are filtered by; one, as its subscriber is.
static FILTER: OnceLock<Filter> = OnceLock::new();

type Filter = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// Why the filter was not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterError {
    /// It is none; a sentence that says what is allowed.
    Wrong(String),
    /// This process writes no log lines: [`start`] was not called, or has failed.
    NotStarted,
}

/// Changes which log lines are written, from now on; `log` is as `telemetry.log` has it.
///
/// # Errors
///
/// It is no filter, or nothing is filtered.
pub fn set_filter(log: &str) -> Result<(), FilterError> {
    let config = TelemetryConfig { log: log.to_owned(), format: LogFormat::Auto };
    let filter = config.filter().map_err(FilterError::Wrong)?;
    let set = FILTER.get().ok_or(FilterError::NotStarted)?;
    set(filter).map_err(|_| FilterError::NotStarted)
}

/// Sends the log lines of this process to standard error, from now on. Dropping the guard waits,
/// for a second at most, until those that wait have been written.
///
/// # Errors
///
/// A sentence that says why: the filter cannot be read (which
/// [`Config::validate`](crate::config::Config::validate) finds before), log lines go somewhere
/// already, or the system allows no thread.
pub fn start(config: &TelemetryConfig) -> Result<WorkerGuard, String> {
    // What follows makes one, and panics when there is none to be had.
    worker::thread("log", || {}).map_err(|error| error.to_string())?;
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("log")
        // Flushed whenever no line waits, so that a burst of lines is few writes.
        .finish(io::BufWriter::new(io::stderr()));
    DROPPED.get_or_init(|| writer.error_counter());
    let (subscriber, filter) = subscriber(config, writer, io::stderr().is_terminal())?;
    subscriber.try_init().map_err(|error| error.to_string())?;
    FILTER.get_or_init(|| filter);
    Ok(guard)
}

/// Log lines dropped since the start, because they were not taken as fast as they came.
pub fn dropped_lines() -> usize {
    DROPPED.get().map_or(0, ErrorCounter::dropped_lines)
}

/// What writes the lines that the filter lets through to `writer`, and what changes that filter.
fn subscriber(
    config: &TelemetryConfig,
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
    on_a_terminal: bool,
) -> Result<(Box<dyn Subscriber + Send + Sync>, Filter), String> {
    let lines = fmt()
        .with_env_filter(config.filter()?)
        .with_writer(writer)
        .with_ansi(on_a_terminal && config.format == LogFormat::Auto)
        // Standard error may be closed. The subscriber would report that to standard error, by a
        // macro that panics when it cannot write.
        .log_internal_errors(false);
    Ok(match config.format {
        LogFormat::Auto | LogFormat::Human => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            let filter = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            (Box::new(lines.finish()), Box::new(filter))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let handle = lines.reload_handle();
            let filter = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            (Box::new(lines.finish()), Box::new(filter))
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is written for two lines, one of which is of a debug level.
    fn written(log: &str, format: LogFormat, on_a_terminal: bool) -> String {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let writer = {
            let bytes = bytes.clone();
            move || Shared(bytes.clone())
        };
        let config = TelemetryConfig { log: log.into(), format };
        let (subscriber, _) = subscriber(&config, writer, on_a_terminal).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(client = 7, "connected");
            tracing::debug!(target: "skynet::gateway", "half a frame");
        });
        let bytes = bytes.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_is_one_object_a_line_with_its_fields() {
        let text = written("info", LogFormat::Json, true);
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "connected");
        assert_eq!(line["client"], 7);
    }

    #[test]
    fn colour_appears_on_a_terminal_alone() {
        let coloured = |format, terminal| written("info", format, terminal).contains('\u{1b}');
        assert!(coloured(LogFormat::Auto, true));
        assert!(!coloured(LogFormat::Auto, false));
        assert!(!coloured(LogFormat::Human, true));
        assert!(!coloured(LogFormat::Json, true));
    }

    #[test]
    fn the_level_of_one_module_is_its_own() {
        let text = written("info", LogFormat::Human, false);
        assert!(text.contains("connected") && !text.contains("half a frame"), "{text}");
        let text = written("warn,skynet::gateway=debug", LogFormat::Human, false);
        assert!(!text.contains("connected") && text.contains("half a frame"), "{text}");
    }

    #[test]
    fn what_is_logged_can_be_changed_while_it_is() {
        for format in [LogFormat::Human, LogFormat::Json] {
            let bytes = Arc::new(Mutex::new(Vec::new()));
            let kept = bytes.clone();
            let config = TelemetryConfig { log: "warn".into(), format };
            let (lines, filter) = subscriber(&config, move || Shared(kept.clone()), false).unwrap();
            tracing::subscriber::with_default(lines, || {
                tracing::info!("before");
                filter(EnvFilter::new("info")).unwrap();
                tracing::info!("after");
            });
            let text = String::from_utf8(bytes.lock().unwrap().clone()).unwrap();
            assert!(!text.contains("before") && text.contains("after"), "{text}");
        }
    }
}
