//! The signals: the first that ends the program asks it to stop, the second makes it; another has it
//! read its settings again.
//!
//! Ctrl-C ends it everywhere, on Unix SIGTERM too. SIGHUP means to read the settings again, as with
//! other servers; but when it comes because the terminal has gone in which the program was started,
//! it ends it, unless the program was told to outlive that, as `nohup` does. What stopping and reading again mean is not
//! decided here.
//!
//! They are heard on a thread of their own, so that a second one ends the program whatever holds up
//! the others: a start that waits for a disk, an end that does.

use crate::worker;
#[cfg(target_os = "linux")]
use std::fs::{self, File};
use std::io;
#[cfg(not(target_os = "linux"))]
use std::io::IsTerminal;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};

/// What the signals ask for; from [`listen`].
#[derive(Debug)]
pub struct Asked {
    stop: oneshot::Receiver<()>,
    reload: mpsc::Receiver<()>,
}

/// Listens for the signals from now on. A second one of those that end the program ends it at once,
/// with 128 and the number of the signal as its exit code.
///
/// # Errors
///
/// The system refuses to report signals to this process, or allows no thread.
pub fn listen() -> io::Result<Asked> {
    // Asked first, as nobody can tell once the signal is listened for.
    let ends_with_terminal = has_terminal() && !ignores_hangups();
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let signals = {
        let _within = runtime.enter();
        Signals::new()?
    };
    let (asks_stop, stop) = oneshot::channel();
    let (asks_reload, reload) = mpsc::channel(1);
    let hear = hear(signals, ends_with_terminal, asks_stop, asks_reload);
    worker::thread("signals", move || runtime.block_on(hear))?;
    Ok(Asked { stop, reload })
}

impl Asked {
    /// What resolves when the program is to stop, and what tells each time that its settings are to be
    /// read again.
    pub fn split(self) -> (impl Future<Output = ()>, mpsc::Receiver<()>) {
        let stop = async {
            // The thread holds the other end until it has sent something.
            let _ = self.stop.await;
        };
        (stop, self.reload)
    }
}

/// Hears signals, for ever.
async fn hear(
    mut signals: Signals,
    ends_with_terminal: bool,
    stop: oneshot::Sender<()>,
    reload: mpsc::Sender<()>,
) {
    let mut stop = Some(stop);
    loop {
        let signal = signals.next().await;
        let nothing_has_gone = !ends_with_terminal || has_terminal();
        let goes_on = signal == Signal::Hangup && nothing_has_gone;
        match stop.take() {
            asks if goes_on => {
                stop = asks;
                // One that waits to be looked at reads what is there then.
                let _ = reload.try_send(());
            }
            Some(stop) => {
                let signal = signal.name();
                tracing::info!(signal, "stopping; a second signal ends the program at once");
                // Who is starting still looks at it then.
                let _ = stop.send(());
            }
            // Of a terminal that goes there may be several.
            None if signal == Signal::Hangup => {}
            None => {
                tracing::warn!(signal = signal.name(), "ended by a second signal");
                std::process::exit(signal.exit_code());
            }
        }
    }
}

/// A signal that asks the program for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(unix), expect(dead_code, reason = "there is one alone on other systems"))]
enum Signal {
    Interrupt,
    Terminate,
    Hangup,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "Ctrl-C",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP: the terminal has gone",
        }
    }

    /// What a shell reports for a process that the signal has ended.
    fn exit_code(self) -> i32 {
        match self {
            Self::Hangup => 129,
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// The streams of signals, registered once so that none is missed between two.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.hangup.recv() => Signal::Hangup,
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
