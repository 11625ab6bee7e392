//! One client's socket, as the flusher and the client's session share it.
//!
//! The flusher writes to all sockets in turn, which costs no wake-up and no task for a delivery.
//! Only when a socket is full does its session take over and write until it is empty again; the
//! hub's outbox knows whose turn it is, so the two never write at once.

use super::socket::Socket;
use crate::hub::{Batch, ClientKey, Closing, Written};
use crate::protocol::Frame;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// What those are told whose unfinished frames are too much for all together.
pub const TOO_MUCH_PARTIAL: &str =
    "unfinished frames and waiting commands of all clients are too many bytes, and most are yours";

/// A client's socket.
#[derive(Debug)]
pub struct Link {
    key: ClientKey,
    socket: Socket,
    state: Mutex<State>,
    /// Bytes of unfinished frames that the session keeps.
    partial: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// What the socket has not taken yet.
    left: Batch,
    /// Bytes that the socket has taken and cannot send, after a write that met that.
    held: usize,
    waker: Option<Waker>,
    /// Whether the session is to write though the system has not said that it can.
    insist: bool,
    closing: Option<Closing>,
    /// Whether a write has failed for good.
    lost: bool,
}

impl Link {
    /// A link to the client `key` over `socket`.
    pub fn new(key: ClientKey, socket: Socket) -> Self {
        Self { key, socket, state: Mutex::default(), partial: AtomicUsize::new(0) }
    }

    /// The client.
    pub fn key(&self) -> ClientKey {
        self.key
    }

    /// The socket.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The socket, for a write that is made beside [`Self::send`] while nothing is left; none if bytes
    /// may not be written to it as they are.
    #[cfg(target_os = "linux")]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.socket.descriptor()
    }

    /// Reads what the socket has into `buffer`, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; else the connection is broken.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }

    /// Writes `batch` as far as the socket takes it, and keeps the rest.
    pub fn send(&self, batch: Batch) -> Written {
        let mut state = self.state();
        debug_assert!(state.left.is_empty(), "the hub hands out one batch at a time");
        state.left = batch;
        self.write(&mut state)
    }

    /// Goes on with what is left.
    pub fn flush(&self) -> Written {
        self.write(&mut self.state())
    }

    /// Has the session try to write what is left, though the system has not said that the socket takes
    /// more: Linux says so only when a third of what it keeps for the client has left, which can be
    /// more than a megabyte, and minutes for a slow one.
    pub fn insist(&self) {
        let mut state = self.state();
        state.insist = true;
        wake(&state);
    }

    /// Goes on with what is left if [`Self::insist`] has been called since; else it is as it was.
    pub fn flush_insisting(&self) -> Option<Written> {
        let mut state = self.state();
        if !std::mem::take(&mut state.insist) {
            return None;
        }
        // What is wrong with the socket shows where it is waited for.
        if let Ok(written) = self.socket.insist(&state.left) {
            state.left.advance(written);
        }
        state.held = self.socket.held();
        Some(Written::Left(state.left.bytes() + state.held))
    }

    /// Adds a frame behind what is left, for [`Self::flush`] to write.
    pub fn append(&self, frame: &Frame) {
        self.state().left.push(frame);
    }

    /// Drops what is left but for a frame begun; returns how many frames were dropped.
    pub fn cut(&self) -> usize {
        self.state().left.cut()
    }

    /// Bytes that the socket has not taken yet.
    ///
    /// # Errors
    /// Writing has failed: the connection is lost.
    pub fn left(&self) -> io::Result<usize> {
        let state = self.state();
        if state.lost {
            Err(io::ErrorKind::BrokenPipe.into())
        } else {
            Ok(state.left.bytes() + state.held)
        }
    }

    /// Tells the session that the connection is to be closed.
    pub fn close(&self, closing: Closing) {
        let mut state = self.state();
        state.closing.get_or_insert(closing);
        wake(&state);
    }

    /// Wakes the session.
    pub fn wake(&self) {
        wake(&self.state());
    }

    /// Registers the session's waker; returns how to close the connection, if it is to be closed.
    pub fn register(&self, waker: &Waker) -> Option<Closing> {
        let mut state = self.state();
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        state.closing.clone()
    }

    fn write(&self, state: &mut State) -> Written {
        loop {
            let written = match state.left.is_empty() {
                false => self.socket.write(&state.left),
                true => match self.socket.flush() {
                    Ok(()) => break,
                    Err(error) => Err(error),
                },
            };
            match written {
                Ok(written) => state.left.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.held = self.socket.held();
                    // The session waits for the socket, so it must look at it.
                    wake(state);
                    return Written::Left(state.left.bytes() + state.held);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    state.lost = true;
                    state.left = Batch::default();
                    wake(state);
                    return Written::Lost;
                }
            }
        }
        state.left = Batch::default();
        state.held = 0;
        Written::All
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(state: &State) {
    if let Some(waker) = &state.waker {
        waker.wake_by_ref();
    }
}

/// The links of all clients by slot, and the budget for their unfinished frames.
#[derive(Debug)]
pub struct Links {
    by_slot: Mutex<Vec<Option<Arc<Link>>>>,
    /// Bytes of unfinished frames of all clients together.
    partial: AtomicUsize,
    max_partial: AtomicUsize,
}

impl Links {
    /// No links; all clients together may keep `max_partial` bytes of unfinished frames.
    pub fn new(max_partial: usize) -> Self {
        Self {
            by_slot: Mutex::default(),
            partial: AtomicUsize::new(0),
            max_partial: max_partial.into(),
        }
    }

    /// Sets how many bytes of unfinished frames all clients together may keep; returns those that
    /// must go, as [`Self::note_partial`] does.
    pub fn set_max_partial(&self, max_partial: usize) -> Vec<ClientKey> {
        self.max_partial.store(max_partial, Ordering::Relaxed);
        self.too_much()
    }

    /// Adds a client's link.
    pub fn insert(&self, link: &Arc<Link>) {
        let slot = link.key.slot();
        let mut by_slot = self.by_slot();
        if by_slot.len() <= slot {
            by_slot.resize(slot + 1, None);
        }
        by_slot[slot] = Some(link.clone());
    }

    /// Removes a client's link. To be called before its slot can be used again.
    pub fn remove(&self, link: &Link) {
        self.note_partial(link, 0);
        self.by_slot()[link.key.slot()] = None;
    }

    /// Calls `act` for those of `items` whose client, named by `key`, has a link.
    pub fn for_each<T>(
        &self,
        items: &mut [T],
        key: impl Fn(&T) -> ClientKey,
        mut act: impl FnMut(&mut T, &Link),
    ) {
        let open = self.open();
        for item in items {
            if let Some(link) = open.get(key(item)) {
                act(item, link);
            }
        }
    }

    /// The links as they are now; none comes or goes while this is kept.
    pub fn open(&self) -> Open<'_> {
        Open(self.by_slot())
    }

    /// Takes note of how many bytes of unfinished frames a session keeps. If that is too much for
    /// all together, returns those that keep the most, as many as must go; their bytes count no
    /// more, since their sessions throw them away.
    pub fn note_partial(&self, link: &Link, bytes: usize) -> Vec<ClientKey> {
        let before = link.partial.swap(bytes, Ordering::Relaxed);
        self.partial.fetch_add(bytes, Ordering::Relaxed);
        self.partial.fetch_sub(before, Ordering::Relaxed);
        if bytes > before { self.too_much() } else { Vec::new() }
    }

    fn too_much(&self) -> Vec<ClientKey> {
        let mut too_much = Vec::new();
        while self.partial_bytes() > self.max_partial.load(Ordering::Relaxed) {
            let by_slot = self.by_slot();
            let most = by_slot.iter().flatten();
            let Some(most) = most.max_by_key(|link| link.partial.load(Ordering::Relaxed)) else {
                break;
            };
            self.partial.fetch_sub(most.partial.swap(0, Ordering::Relaxed), Ordering::Relaxed);
            too_much.push(most.key);
        }
        too_much
    }

    /// Bytes of unfinished frames of all clients together.
    pub fn partial_bytes(&self) -> usize {
        self.partial.load(Ordering::Relaxed)
    }

    fn by_slot(&self) -> MutexGuard<'_, Vec<Option<Arc<Link>>>> {
        self.by_slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The links, held as they are.
pub struct Open<'a>(MutexGuard<'a, Vec<Option<Arc<Link>>>>);

impl Open<'_> {
    /// The link of a client, if it has one.
    pub fn get(&self, key: ClientKey) -> Option<&Link> {
        self.0.get(key.slot())?.as_deref().filter(|link| link.key == key)
    }
}
