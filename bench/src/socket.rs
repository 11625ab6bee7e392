//! Sockets without blocking, epoll, the clock and limits: the calls of Linux that the generator and
//! the floor need, with errors in words. Nothing here knows websockets.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::num::NonZeroU64;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit};
use rustix::time::{ClockId, clock_gettime};

pub use rustix::event::epoll::EventFlags as Interest;

/// Events taken from the kernel at once.
const EVENTS: usize = 1024;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// Files of a process beside its connections.
const OTHER_FILES: u64 = 32;
/// Timers fire this late at most, in nanoseconds. By default it is 50 µs, which would make every
/// paced message late.
const TIMER_SLACK: NonZeroU64 = NonZeroU64::new(1000).unwrap();

/// The monotonic clock, in nanoseconds.
#[inline]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What reading or writing came to.
pub enum Moved {
    /// So many bytes; none at all when reading means that the other side has ended.
    Bytes(usize),
    /// The socket would block.
    Nothing,
}

fn moved(result: Result<usize, Errno>) -> Result<Moved, String> {
    match result {
        Ok(bytes) => Ok(Moved::Bytes(bytes)),
        Err(Errno::WOULDBLOCK) => Ok(Moved::Nothing),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads what is there, as much as fits.
pub fn read(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Moved, String> {
    moved(rustix::io::read(socket, buffer))
}

/// Writes what the socket takes.
pub fn write(socket: &OwnedFd, bytes: &[u8]) -> Result<Moved, String> {
    moved(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL))
}

/// Begins a connection, from `source` where one is given; `receive_buffer` in bytes, where given,
/// is what the kernel keeps for it unread.
pub fn connect(
    to: SocketAddrV4,
    source: Option<Ipv4Addr>,
    receive_buffer: Option<usize>,
) -> Result<OwnedFd, String> {
    let begin = || {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        if let Some(bytes) = receive_buffer {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        if let Some(source) = source {
            rustix::net::bind(&socket, &SocketAddrV4::new(source, 0))?;
        }
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error),
        }
    };
    begin().map_err(|error: Errno| format!("cannot connect to {to}: {error}"))
}

/// Whether a connection that was begun has come about.
pub fn connected(socket: &OwnedFd) -> Result<(), String> {
    sockopt::socket_error(socket)
        .and_then(|outcome| outcome)
        .map_err(|error| format!("cannot connect: {error}"))
}

/// Closes with a reset, so that no ports stay taken for the minute that TCP waits after an end.
pub fn reset(socket: OwnedFd) {
    // A socket that takes no option is closed all the same.
    let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
}

/// Listens on 127.0.0.1, without blocking.
pub fn listen(port: u16) -> Result<TcpListener, String> {
    let listen = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(listener)
    };
    listen().map_err(|error: std::io::Error| format!("cannot listen on 127.0.0.1:{port}: {error}"))
}

/// Takes the next connection that waits, if one does. Small writes leave it at once.
pub fn accept(listener: &TcpListener) -> Result<Option<OwnedFd>, String> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    match rustix::net::accept_with(listener, flags) {
        Ok(socket) => sockopt::set_tcp_nodelay(&socket, true)
            .map(|()| Some(socket))
            .map_err(|error| format!("cannot set up a connection: {error}")),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(format!("cannot accept: {error}")),
    }
}

/// What became ready.
pub struct Event {
    /// The token that the socket was added with.
    pub token: u64,
    /// What it is ready for, its errors included.
    pub ready: Interest,
}

/// An epoll set.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    /// An empty set.
    pub fn new() -> Result<Poller, String> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| format!("no epoll: {error}"))?;
        Ok(Poller { epoll, events: Vec::with_capacity(EVENTS) })
    }

    /// Watches a socket from now on. It leaves the set when it is closed.
    pub fn add(
        &self,
        socket: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> Result<(), String> {
        epoll::add(&self.epoll, socket, epoll::EventData::new_u64(token), interest)
            .map_err(|error| format!("cannot watch a socket: {error}"))
    }

    /// Watches a socket for something else.
    pub fn change(
        &self,
        socket: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> Result<(), String> {
        epoll::modify(&self.epoll, socket, epoll::EventData::new_u64(token), interest)
            .map_err(|error| format!("cannot watch a socket: {error}"))
    }

    /// Waits for events, at most so many nanoseconds where a bound is given.
    pub fn wait(&mut self, timeout: Option<u64>) -> Result<(), String> {
        let timeout = timeout.map(|nanoseconds| Timespec {
            tv_sec: (nanoseconds / 1_000_000_000) as i64,
            tv_nsec: (nanoseconds % 1_000_000_000) as i64,
        });
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(format!("cannot wait for sockets: {error}")),
        }
    }

    /// How many events the last wait brought.
    pub fn count(&self) -> usize {
        self.events.len()
    }

    /// One of them.
    ///
    /// # Panics
    ///
    /// When there are not so many.
    #[inline]
    pub fn event(&self, index: usize) -> Event {
        let event = self.events[index];
        let (token, ready) = (event.data, event.flags);
        Event { token: token.u64(), ready }
    }
}

/// Lets this process have as many files open as it may, and timers fire in time.
pub fn prepare() -> Result<(), String> {
    let files = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit { current: files.maximum, maximum: files.maximum },
    )
    .map_err(|error| format!("cannot raise the limit of open files: {error}"))?;
    rustix::thread::set_current_timer_slack(Some(TIMER_SLACK))
        .map_err(|error| format!("cannot set the slack of timers: {error}"))
}

/// Whether this process may have so many sockets beside its other files.
pub fn room_for(sockets: usize) -> Result<(), String> {
    let most = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = sockets as u64 + OTHER_FILES;
    if needed <= most {
        return Ok(());
    }
    Err(format!(
        "{sockets} connections need {needed} open files, and the limit is {most} (`ulimit -Hn`): \
         raise it, or connect fewer"
    ))
}
