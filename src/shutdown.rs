//! The signals that end the program: the first asks it to stop, the second makes it.
//!
//! Ctrl-C everywhere; on Unix SIGTERM too. What stopping means is not decided here.

use std::io;

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
