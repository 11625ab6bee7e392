//! What the program tells systemd, or another supervisor that speaks its protocol (sd_notify): that it
//! is ready, that it reads its settings again, that it stops, how it does, and that it lives.
//!
//! Without `NOTIFY_SOCKET` nothing is told. A supervisor that is behind with reading has a second for
//! the news; what it then does not take is dropped, and said in the log, as are signs of life and
//! status lines that it does not take at once.

use crate::hub::Hub;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, error, info, warn};

/// How often the status line is looked at.
const STATUS_EVERY: Duration = Duration::from_secs(15);

/// How long a supervisor that is behind with reading is waited for, and how often it is tried anew.
const PATIENCE: Duration = Duration::from_secs(1);
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// A line to the supervisor; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Supervisor {
    socket: Option<Arc<sys::Socket>>,
    /// A sign of life is due this often, at the latest.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The supervisor that the environment names: `NOTIFY_SOCKET`, and `WATCHDOG_USEC` where signs of
    /// life are wanted of this process (`WATCHDOG_PID`). What cannot be used is told in the log, and
    /// the program goes on without.
    pub fn from_variables(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let (mut address, mut usec, mut pid) = (None, None, None);
        for (name, value) in variables {
            match name.to_str() {
                Some("NOTIFY_SOCKET") => address = Some(value),
                Some("WATCHDOG_USEC") => usec = value.to_str().and_then(|text| text.parse().ok()),
                Some("WATCHDOG_PID") => pid = value.to_str().and_then(|text| text.parse().ok()),
                _ => {}
            }
        }
        let Some(address) = address else { return Self::default() };
        let socket = match sys::Socket::open(&address) {
            Ok(socket) => socket,
            Err(error) => {
                warn!(?address, %error, "the supervisor of NOTIFY_SOCKET cannot be told anything");
                return Self::default();
            }
        };
        let ours = pid.is_none_or(|pid: u32| pid == std::process::id());
        let usec = usec.filter(|&usec: &u64| usec > 0 && ours);
        Self { socket: Some(Arc::new(socket)), watchdog: usec.map(Duration::from_micros) }
    }

    /// All listeners are bound and served; or what was read again is in force.
    pub async fn ready(&self) {
        self.insist("READY=1").await;
    }

    /// The settings are read again, until [`Self::ready`].
    pub async fn reloading(&self) {
        let Some(usec) = sys::monotonic_usec() else { return };
        self.insist(&format!("RELOADING=1\nMONOTONIC_USEC={usec}")).await;
    }

    /// The program stops.
    pub async fn stopping(&self) {
        self.insist("STOPPING=1\nSTATUS=Stopping: closing every client").await;
    }

    /// Tells how the hub does, and that it lives as long as it does, for ever.
    pub async fn watch(self, hub: Hub) {
        if self.socket.is_none() {
            return;
        }
        tokio::join!(self.keep_status(&hub), self.keep_alive(&hub));
    }

    async fn keep_status(&self, hub: &Hub) {
        let mut rounds = interval(STATUS_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = String::new();
        loop {
            rounds.tick().await;
            let stats = hub.stats();
            let status = format!("{} clients, {} channels", stats.clients, stats.channels);
            if status != told {
                self.tell(&format!("STATUS={status}"));
                told = status;
            }
        }
    }

    /// A sign of life twice as often as it is due: only when the runtime has come to it, the hub's
    /// lock was to be had, and the flusher has taken a turn.
    async fn keep_alive(&self, hub: &Hub) {
        let Some(due) = self.watchdog else { return };
        info!(?due, "the supervisor wants signs of life");
        let mut rounds = interval(due / 2);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            match timeout(due / 2, hub.pulse()).await {
                Ok(()) => self.tell("WATCHDOG=1"),
                Err(_) => error!("the hub has no pulse: the supervisor is told nothing"),
            }
        }
    }

    /// Tells what counts for something only once, and so waits a little for a supervisor that is
    /// behind.
    async fn insist(&self, text: &str) {
        let Some(socket) = &self.socket else { return };
        let told = async {
            loop {
                match socket.send(text) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        sleep(RETRY_EVERY).await;
                    }
                    sent => return sent,
                }
            }
        };
        let behind = || Err(ErrorKind::TimedOut.into());
        if let Err(error) = timeout(PATIENCE, told).await.unwrap_or_else(|_| behind()) {
            warn!(%error, text, "the supervisor was not told");
        }
    }

    fn tell(&self, text: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(text) {
            debug!(%error, text, "the supervisor was not told");
        }
    }
}

#[cfg(unix)]
mod sys {
    use std::ffi::OsStr;
    use std::io;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    /// A datagram socket, and where it sends to.
    #[derive(Debug)]
    pub struct Socket {
        socket: UnixDatagram,
        to: SocketAddr,
    }

    impl Socket {
        /// A path; or, on Linux, a name that begins with `@` and is none of the file system's.
        pub fn open(address: &OsStr) -> io::Result<Self> {
            let to = match address.as_bytes() {
                [b'@', name @ ..] => abstract_address(name)?,
                [b'/', ..] => SocketAddr::from_pathname(address)?,
                _ => return Err(unsupported("neither a path nor a name after @")),
            };
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Ok(Self { socket, to })
        }

        pub fn send(&self, text: &str) -> io::Result<()> {
            self.socket.send_to_addr(text.as_bytes(), &self.to).map(|_| ())
        }
    }

    fn unsupported(what: &'static str) -> io::Error {
        io::Error::new(io::ErrorKind::Unsupported, what)
    }

    #[cfg(target_os = "linux")]
    fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
        <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
    }

    #[cfg(not(target_os = "linux"))]
    fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
        Err(unsupported("this system has no such names"))
    }

    /// The clock by which systemd tells whether a reload came after it had asked for one.
    #[cfg(target_os = "linux")]
    pub fn monotonic_usec() -> Option<u64> {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let (seconds, nanos) = (u64::try_from(now.tv_sec).ok()?, u64::try_from(now.tv_nsec).ok()?);
        Some(seconds * 1_000_000 + nanos / 1_000)
    }

    /// Only systemd asks for it, and it is on Linux.
    #[cfg(not(target_os = "linux"))]
    pub fn monotonic_usec() -> Option<u64> {
        None
    }
}

#[cfg(not(unix))]
mod sys {
    use std::ffi::OsStr;
    use std::io;

    /// There is no such socket on this system.
    #[derive(Debug)]
    pub enum Socket {}

    impl Socket {
        pub fn open(_: &OsStr) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub fn send(&self, _: &str) -> io::Result<()> {
            match *self {}
        }
    }

    pub fn monotonic_usec() -> Option<u64> {
        None
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::hub::LIMITS;
    use std::os::unix::net::UnixDatagram;

    fn hub() -> Hub {
        Hub::new(LIMITS)
    }

    /// A supervisor's socket, and who talks to it.
    fn supervised(more: &[(&str, &str)]) -> (tempfile::TempDir, UnixDatagram, Supervisor) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let given = [("NOTIFY_SOCKET", path.to_str().unwrap())];
        let given = given.iter().chain(more).map(|(name, value)| (name.into(), value.into()));
        (folder, socket, Supervisor::from_variables(given))
    }

    fn told(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_supervisor_is_told_in_its_own_words() {
        let (_folder, socket, supervisor) = supervised(&[]);
        supervisor.ready().await;
        assert_eq!(told(&socket), "READY=1");
        supervisor.reloading().await;
        if cfg!(target_os = "linux") {
            let text = told(&socket);
            let usec = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(usec.parse::<u64>().unwrap() > 0, "{text}");
        }
        supervisor.stopping().await;
        assert!(told(&socket).starts_with("STOPPING=1\nSTATUS="));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_name_that_is_none_of_the_file_systems_is_told_too() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("skynet-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let given = [("NOTIFY_SOCKET".into(), format!("@{name}").into())];
        Supervisor::from_variables(given).ready().await;
        assert_eq!(told(&socket), "READY=1");
    }

    #[tokio::test]
    async fn without_a_supervisor_nothing_is_told_and_nothing_kept_up() {
        for given in [vec![], vec![("NOTIFY_SOCKET", "vsock:2:1234")], vec![("WATCHDOG_USEC", "1")]]
        {
            let given = given.into_iter().map(|(name, value)| (name.into(), value.into()));
            let supervisor = Supervisor::from_variables(given);
            supervisor.ready().await;
            supervisor.watch(hub()).await;
        }
    }

    /// A supervisor whose socket takes nothing more.
    fn behind() -> (tempfile::TempDir, UnixDatagram, Supervisor) {
        let (folder, socket, supervisor) = supervised(&[]);
        let line = supervisor.socket.as_ref().unwrap();
        while line.send("STATUS=again").is_ok() {}
        (folder, socket, supervisor)
    }

    #[tokio::test]
    async fn a_supervisor_that_reads_nothing_or_has_gone_holds_nobody_up() {
        let (_folder, socket, supervisor) = behind();
        timeout(Duration::from_secs(10), supervisor.ready()).await.expect("it is given up");
        drop(socket);
        timeout(PATIENCE / 2, supervisor.ready()).await.expect("nobody is there to wait for");
    }

    #[tokio::test]
    async fn a_supervisor_that_is_behind_hears_the_news_all_the_same() {
        let (_folder, socket, supervisor) = behind();
        let mut news = std::pin::pin!(supervisor.ready());
        assert!(futures_util::poll!(news.as_mut()).is_pending(), "nothing more is taken");
        let heard = tokio::task::spawn_blocking(move || while told(&socket) != "READY=1" {});
        let ((), heard) = tokio::join!(news, heard);
        heard.unwrap();
    }

    #[test]
    fn signs_of_life_are_given_where_they_are_wanted_of_this_process() {
        let pid = std::process::id().to_string();
        let wanted = |more: &[(&str, &str)]| supervised(more).2.watchdog;
        let usec = ("WATCHDOG_USEC", "3000000");
        let due = Some(Duration::from_secs(3));
        assert_eq!(wanted(&[usec]), due);
        assert_eq!(wanted(&[usec, ("WATCHDOG_PID", &pid)]), due);
        assert_eq!(wanted(&[usec, ("WATCHDOG_PID", "1")]), None);
        assert_eq!(wanted(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(wanted(&[("WATCHDOG_USEC", "soon")]), None);
    }

    #[tokio::test]
    async fn a_sign_of_life_takes_a_flusher_that_takes_its_turns() {
        let (_folder, socket, supervisor) = supervised(&[("WATCHDOG_USEC", "20000")]);
        let hub = hub();
        let watching = tokio::spawn(supervisor.watch(hub.clone()));
        let told_first = tokio::task::spawn_blocking(move || {
            assert!(told(&socket).starts_with("STATUS=0 clients"));
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let error = socket.recv(&mut [0; 256]).expect_err("nobody writes to clients");
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            socket
        });
        let socket = told_first.await.unwrap();
        let flusher = tokio::spawn(async move {
            let mut jobs = Vec::new();
            loop {
                hub.jobs_ready().await;
                hub.take_jobs(&mut jobs, 1);
            }
        });
        let told_then = tokio::task::spawn_blocking(move || {
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            (0..3).map(|_| told(&socket)).collect::<Vec<_>>()
        });
        assert_eq!(told_then.await.unwrap(), ["WATCHDOG=1"; 3]);
        flusher.abort();
        watching.abort();
    }
}
