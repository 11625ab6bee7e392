//! TLS over a client's socket, driven by whoever reads and writes, without a task of its own.
//!
//! What is held back is bounded: one record of what is to be sent, and of what has come no more than
//! one record that is not whole. So what a slow client is sent waits in the hub's queue, where it
//! counts, as it does without TLS.

use super::tcp;
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConnection;

/// Most bytes that are encrypted and not sent: one full record.
const MAX_HELD: usize = 16 * 1024;

/// Most bytes that may come without anything to hand on: more than a record may have. rustls joins
/// what is said of the handshake up to four times as much, and after the handshake nobody has so
/// much to say of it.
const MAX_SILENT: usize = 20 * 1024;

/// After so many bytes of records that bring less than an eighth of what they are the others have
/// their turn: of records of one byte each, a buffer full would take milliseconds.
const MAX_HOLLOW: usize = 4 * 1024;

/// A socket on which TLS is spoken.
#[derive(Debug)]
pub(super) struct Tls {
    stream: TcpStream,
    /// The flusher writes and the session reads, on one thread: the lock is always free.
    session: Mutex<Session>,
}

#[derive(Debug)]
struct Session {
    connection: ServerConnection,
    /// Bytes that were encrypted last, while some of them may not have been sent.
    held: usize,
    /// Bytes that have come since there was something to hand on.
    silent: usize,
    /// Whether there may be something to read that is not the system's any more.
    read_ahead: bool,
    /// Why nothing more can be read, once what was read before has been handed on.
    ended: Option<io::ErrorKind>,
}

/// The socket as rustls reads it and writes to it.
struct Wire<'a>(&'a TcpStream);

/// The socket as it is written to whatever the system has said of it.
struct Insisting<'a>(&'a TcpStream);

impl Tls {
    pub fn new(stream: TcpStream, mut connection: ServerConnection) -> Self {
        connection.set_buffer_limit(Some(MAX_HELD));
        // The handshake may have left something.
        let session = Session { connection, held: 0, silent: 0, read_ahead: true, ended: None };
        Self { stream, session: Mutex::new(session) }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.session().read_ahead {
            return Poll::Ready(Ok(()));
        }
        self.stream.poll_read_ready(cx)
    }

    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.session().read(&self.stream, buffer)
    }

    pub fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = self.session();
        session.flush(&self.stream)?;
        let taken = session.connection.writer().write_vectored(slices)?;
        session.held = taken;
        match session.flush(&self.stream) {
            // It is taken all the same: the next one to come sends the rest.
            Err(error) if !is_transient(&error) => Err(error),
            _ => Ok(taken),
        }
    }

    pub fn flush(&self) -> io::Result<()> {
        self.session().flush(&self.stream)
    }

    /// As [`Self::flush`], though the system has not said that it takes more.
    pub fn insist(&self) -> io::Result<()> {
        self.session().flush_to(&mut Insisting(&self.stream))
    }

    pub fn held(&self) -> usize {
        let session = self.session();
        // A word of TLS itself may wait alone.
        if session.connection.wants_write() { session.held.max(1) } else { 0 }
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tls {
    /// Says that nothing more comes, so that the client knows that nobody has cut it off.
    fn drop(&mut self) {
        let session = self.session.get_mut().unwrap_or_else(PoisonError::into_inner);
        session.connection.send_close_notify();
        // Whoever does not take it in time goes without.
        let _ = session.flush(&self.stream);
    }
}

impl Session {
    fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        self.flush_to(&mut Wire(stream))
    }

    fn flush_to(&mut self, wire: &mut impl Write) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(wire)?;
        }
        self.held = 0;
        Ok(())
    }

    /// Reads until the buffer is half full, as much has come, or there is nothing more: of what has
    /// come, nothing may stay here that the system would not tell of again. Records of one byte each
    /// cost a thousand times what they bring, so that what has come counts too.
    fn read(&mut self, stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_ahead = false;
        let (mut filled, mut received) = (0, 0);
        loop {
            filled += self.take(&mut buffer[filled..]);
            if filled == buffer.len() {
                self.read_ahead = true;
                return Ok(filled);
            }
            let is_hollow = received >= MAX_HOLLOW && filled < received / 8;
            if self.ended.is_some() || is_hollow || filled.max(received) >= buffer.len() / 2 {
                break;
            }
            match self.receive(stream) {
                Ok(bytes) => received += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    // What came before that is taken first.
                    self.ended = Some(error.kind());
                }
                Err(_) => {}
            }
        }
        match self.ended {
            ended if filled > 0 => {
                self.read_ahead = ended.is_some();
                Ok(filled)
            }
            // In the game a client that goes may say nothing of it, as without TLS.
            Some(io::ErrorKind::UnexpectedEof) => Ok(0),
            Some(kind) => Err(kind.into()),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Takes what has been decrypted.
    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let end = match self.connection.reader().read(buffer) {
            Ok(0) => io::ErrorKind::UnexpectedEof,
            Ok(taken) => {
                self.silent = 0;
                return taken;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.silent <= MAX_SILENT {
                    return 0;
                }
                io::ErrorKind::InvalidData
            }
            Err(error) => error.kind(),
        };
        self.ended.get_or_insert(end);
        0
    }

    /// Reads from the socket and decrypts it; returns how many bytes came.
    fn receive(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let received = self.connection.read_tls(&mut Wire(stream))?;
        self.silent += received;
        let processed = self.connection.process_new_packets();
        // An answer of TLS itself, or what is wrong with what came; what does not leave now leaves
        // with the next record.
        let _ = self.flush(stream);
        processed
            .map(|_| received)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        tcp::read(self.0, buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Insisting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        tcp::insist(self.0, &[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        tcp::insist(self.0, slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
