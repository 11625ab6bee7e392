//! The signals: the first that ends the program asks it to stop, the second makes it; another has it
//! read its settings again.
//!
//! Ctrl-C ends it everywhere, on Unix SIGTERM too. SIGHUP means to read the settings again, as with
//! other servers; but when it comes because the terminal has gone in which the program was started,
//! it ends it, unless the program was told to outlive that, as `nohup` does. What stopping and reading again mean is not decided here.

#[cfg(target_os = "linux")]
use std::fs::{self, File};
use std::io;
#[cfg(not(target_os = "linux"))]
use std::io::IsTerminal;

/// Listens for the signals from now on, and returns a future that resolves at the first one. A
/// second one ends the process at once, with 128 and the number of the signal as its exit code.
///
/// # Errors
///
/// The system refuses to report signals to this process.
///
/// # Panics
///
/// Outside a tokio runtime with IO enabled.
pub fn requested() -> io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::new()?;
    Ok(async move {
        let name = signals.next().await.name();
        tracing::info!(signal = name, "stopping; a second signal ends the program at once");
        tokio::spawn(async move {
            let signal = signals.next().await;
            tracing::warn!(signal = signal.name(), "ended by a second signal");
            std::process::exit(signal.exit_code());
        });
    })
}

/// A signal that asks the program to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Interrupt,
    #[cfg(unix)]
    Terminate,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "Ctrl-C",
            #[cfg(unix)]
            Self::Terminate => "SIGTERM",
        }
    }

    /// What a shell reports for a process that the signal has ended.
    fn exit_code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            #[cfg(unix)]
            Self::Terminate => 143,
        }
    }
}

/// The streams of signals, registered once so that none is missed between two.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

/// Waits for SIGHUP, from when it is made.
#[derive(Debug)]
pub struct Hangups {
    #[cfg(unix)]
    signals: tokio::signal::unix::Signal,
    /// Whether the program is to end with the terminal that it has.
    ends_with_terminal: bool,
}

/// What a SIGHUP means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hangup {
    /// The settings are to be read again.
    Reload,
    /// The terminal has gone, and with it who started the program.
    TerminalGone,
}

impl Hangups {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// The system refuses to report signals to this process.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with IO enabled.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            // Asked first, as nobody can tell once the signal is listened for.
            ends_with_terminal: has_terminal() && !ignores_hangups(),
            #[cfg(unix)]
            signals: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
        })
    }

    /// The next one. Never, on systems that have no such signal.
    pub async fn next(&mut self) -> Hangup {
        #[cfg(unix)]
        let heard = self.signals.recv().await;
        #[cfg(not(unix))]
        let heard: Option<()> = None;
        match heard {
            Some(()) if self.ends_with_terminal && !has_terminal() => Hangup::TerminalGone,
            Some(()) => Hangup::Reload,
            None => std::future::pending().await,
        }
    }
}

/// Whether the program belongs to a terminal that is there, wherever its output goes. The system takes
/// a terminal from its programs before it sends them SIGHUP.
#[cfg(target_os = "linux")]
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether SIGHUP was to do nothing when the program was started.
#[cfg(target_os = "linux")]
fn ignores_hangups() -> bool {
    /// The first signal of the mask.
    const HANGUP: u64 = 1;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & HANGUP != 0)
}

/// Whether errors are told on a terminal that is there; what was one is none when it has been closed.
#[cfg(not(target_os = "linux"))]
fn has_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Not to be known here; but `nohup` takes errors off the terminal too.
#[cfg(not(target_os = "linux"))]
fn ignores_hangups() -> bool {
    false
}

#[cfg(windows)]
struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
}

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: tokio::signal::windows::ctrl_c()? })
    }

    async fn next(&mut self) -> Signal {
        self.interrupt.recv().await;
        Signal::Interrupt
    }
}
