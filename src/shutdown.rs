//! The signals: the first that ends the program asks it to stop, the second makes it; another has it
//! read its settings again.
//!
//! Ctrl-C ends it everywhere, on Unix SIGTERM too. SIGHUP means to read the settings again, as with
//! other servers; but when it comes because the terminal has gone in which the program was started,
//! it ends it. What stopping and reading again mean is not decided here.

use std::io::{self, IsTerminal};

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
    /// Whether somebody looks on.
    on_a_terminal: bool,
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
            #[cfg(unix)]
            signals: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
            on_a_terminal: io::stderr().is_terminal(),
        })
    }

    /// The next one. Never, on systems that have no such signal.
    pub async fn next(&mut self) -> Hangup {
        #[cfg(unix)]
        let heard = self.signals.recv().await;
        #[cfg(not(unix))]
        let heard: Option<()> = None;
        match heard {
            // What was a terminal is none any more when it has been closed.
            Some(()) if self.on_a_terminal && !io::stderr().is_terminal() => Hangup::TerminalGone,
            Some(()) => Hangup::Reload,
            None => std::future::pending().await,
        }
    }
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
