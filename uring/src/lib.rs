//! Sends to many sockets by one system call, through Linux's io_uring.
//!
//! A [`Ring`] takes a list of sends, hands all of them to the system together, and returns when
//! every one of them has come to its end: nothing is under way between two calls. No send waits for
//! a socket that is full; it then says `WouldBlock`, as on a socket that does not block.
//!
//! It does nothing else: no reading, no accepting, no waiting, no vectored sends. On other systems
//! than Linux the crate is empty.
//!
//! The one `unsafe` of the program is here. What makes it sound is that [`Ring::send_all`] borrows
//! sockets and bytes until it returns, and that it does not return, nor unwind, while the system may
//! still look at them.

#![cfg(target_os = "linux")]

#[cfg(test)]
mod tests;

use io_uring::{IoUring, Probe, opcode, squeue, types};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Sends that the system is handed at once; more are handed over in several calls.
pub const AT_ONCE: usize = 256;

/// Something to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Send<'a> {
    /// By what the caller knows it again.
    pub tag: usize,
    /// The socket; a stream's.
    pub socket: BorrowedFd<'a>,
    /// The bytes; of more than 4 GiB only the first are sent.
    pub bytes: &'a [u8],
}

/// What became of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The tag of its [`Send`].
    pub tag: usize,
    /// Bytes sent, or an error's number below zero.
    result: i32,
}

impl Sent {
    /// How many bytes the socket has taken, possibly not all.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full; else what the system says.
    pub fn bytes(&self) -> io::Result<usize> {
        usize::try_from(self.result).map_err(|_| io::Error::from_raw_os_error(-self.result))
    }
}

/// A ring, with room for [`AT_ONCE`] sends. It takes one descriptor and 32 KiB of memory.
pub struct Ring {
    /// None when the system has refused to go on.
    ring: Option<IoUring>,
    entries: Vec<squeue::Entry>,
    sent: Vec<Sent>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("usable", &self.is_usable()).finish_non_exhaustive()
    }
}

impl Ring {
    /// A ring, after a test that it does what it is for: a send that arrives, and one to a full
    /// socket that does not wait.
    ///
    /// # Errors
    /// The system has no io_uring (`ENOSYS`), forbids it (`EPERM`, as containers do), has no memory to
    /// lock for it (`ENOMEM`), or has one that does not do it.
    pub fn new() -> io::Result<Self> {
        let ring = IoUring::new(AT_ONCE as u32)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Send::CODE) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "its io_uring sends nothing"));
        }
        let mut ring = Self { ring: Some(ring), entries: Vec::new(), sent: Vec::new() };
        ring.try_out()?;
        Ok(ring)
    }

    /// Whether it can be used; after it has failed it sends nothing.
    pub fn is_usable(&self) -> bool {
        self.ring.is_some()
    }

    /// Sends all of `sends`, each as far as its socket takes it at once, and returns what became of
    /// them, in whatever order. No signal is raised by a socket whose peer is gone. A send that
    /// nothing is said of has not been made: the system would not go on, and the ring
    /// [is not usable](Self::is_usable) any more.
    pub fn send_all<'a>(&mut self, sends: impl IntoIterator<Item = Send<'a>>) -> &[Sent] {
        // Nothing of the caller runs between here and the last result but this iterator, and that
        // before the ring is told anything.
        self.entries.clear();
        self.entries.extend(sends.into_iter().map(entry));
        self.sent.clear();
        self.sent.reserve(self.entries.len());
        for entries in self.entries.chunks(AT_ONCE) {
            let Some(ring) = &mut self.ring else { break };
            if !send_some(ring, entries, &mut self.sent) {
                // With it goes what it was handed and has not begun.
                self.ring = None;
            }
        }
        &self.sent
    }

    fn try_out(&mut self) -> io::Result<()> {
        let (mut ours, theirs) = UnixStream::pair()?;
        let hello = [Send { tag: 7, socket: ours.as_fd(), bytes: b"hello" }];
        let arrives = matches!(self.send_all(hello), [Sent { tag: 7, result: 5 }]);
        ours.set_nonblocking(true)?;
        while ours.write(&[0; 16 * 1024]).is_ok() {}
        let late = [Send { tag: 8, socket: ours.as_fd(), bytes: b"late" }];
        let full = self.send_all(late).first().map(Sent::bytes);
        let returns = matches!(full, Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock);
        drop(theirs);
        match arrives && returns {
            true => Ok(()),
            false => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "its io_uring does not send as it should",
            )),
        }
    }
}

/// The system's form of a send.
fn entry(send: Send<'_>) -> squeue::Entry {
    let socket = types::Fd(send.socket.as_raw_fd());
    let length = u32::try_from(send.bytes.len()).unwrap_or(u32::MAX);
    opcode::Send::new(socket, send.bytes.as_ptr(), length)
        .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
        .build()
        .user_data(send.tag as u64)
}

/// Makes these sends, at most [`AT_ONCE`]; appends what became of them. False if the ring is to be
/// dropped, since the system has not taken all of them; none is under way then either.
fn send_some(ring: &mut IoUring, entries: &[squeue::Entry], sent: &mut Vec<Sent>) -> bool {
    // SAFETY: what the entries point to, sockets and bytes, is borrowed until `send_all` returns.
    // From here on nothing of the caller runs and nothing panics (`sent` has its room), and this
    // function returns only when each entry that the system has taken has had its result, after
    // which the system does not look at it any more. One that it has not taken it looks at only
    // when asked to by the ring, which the caller drops on `false`.
    let pushed = unsafe { ring.submission().push_multiple(entries) };
    if pushed.is_err() {
        return false;
    }
    let (mut taken, mut ended) = (0, 0);
    loop {
        for result in ring.completion() {
            sent.push(Sent { tag: result.user_data() as usize, result: result.result() });
            ended += 1;
        }
        if ended == entries.len() {
            return true;
        }
        match ring.submit_and_wait(entries.len() - ended) {
            Ok(more) => taken += more,
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(_) if ended == taken => return false,
            // What is under way must end first. It does not wait for anything, so it does soon.
            Err(_) => std::thread::yield_now(),
        }
    }
}
