//! What carries a client's connection: a TCP socket, or TLS over one.
//!
//! Nothing here waits: what would have to says so, and the caller comes again when the system has
//! news. A plain socket takes bytes as far as the system does; TLS may hold back a record besides.

use super::tcp;
use super::tls::Tls;
use crate::hub::Batch;
use std::io::{self, IoSlice};
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConnection;

/// Most buffers in one vectored write.
const MAX_SLICES: usize = 64;

/// A client's socket.
#[derive(Debug)]
pub struct Socket(Kind);

#[derive(Debug)]
enum Kind {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

impl Socket {
    /// A socket without TLS.
    pub fn plain(stream: TcpStream) -> Self {
        Self(Kind::Plain(stream))
    }

    /// A socket on which TLS is spoken, the handshake done.
    pub fn tls(stream: TcpStream, tls: ServerConnection) -> Self {
        Self(Kind::Tls(Box::new(Tls::new(stream, tls))))
    }

    /// Waits until there may be something to read.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Kind::Plain(stream) => stream.poll_read_ready(cx),
            Kind::Tls(tls) => tls.poll_read_ready(cx),
        }
    }

    /// Waits until something may be written.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_write_ready(cx)
    }

    /// Reads what there is into `buffer`. After a read that does not fill it the socket counts as
    /// empty until the system says otherwise, which spares asking again: most reads are of one small
    /// frame.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; else the connection is broken.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Kind::Plain(stream) => tcp::read(stream, buffer),
            Kind::Tls(tls) => tls.read(buffer),
        }
    }

    /// Takes what it can of `batch`, which is not empty; returns how many bytes.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing; else the connection is broken.
    pub fn write(&self, batch: &Batch) -> io::Result<usize> {
        match &self.0 {
            Kind::Plain(stream) => {
                if let Some(single) = batch.as_single() {
                    return stream.try_write(single);
                }
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let count = batch.fill(&mut slices);
                stream.try_write_vectored(&slices[..count])
            }
            Kind::Tls(tls) => {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let count = batch.fill(&mut slices);
                tls.write(&slices[..count])
            }
        }
    }

    /// Takes what it can of what is held back and of `batch`, though the system has not said that it
    /// takes more; returns how many bytes of `batch`.
    ///
    /// # Errors
    /// It takes nothing, or the connection is broken.
    pub fn insist(&self, batch: &Batch) -> io::Result<usize> {
        match &self.0 {
            Kind::Plain(stream) => {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let count = batch.fill(&mut slices);
                tcp::insist(stream, &slices[..count])
            }
            // The rest follows when the record that is held has left.
            Kind::Tls(tls) => tls.insist().map(|()| 0),
        }
    }

    /// The system's socket, if what is written to it is what the client reads: through TLS it is not.
    #[cfg(target_os = "linux")]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Kind::Plain(stream) => Some(stream.as_fd()),
            Kind::Tls(_) => None,
        }
    }

    /// Sends what it has taken and not sent; a plain socket has nothing of that kind.
    ///
    /// # Errors
    /// `WouldBlock` when the system takes no more; else the connection is broken.
    pub fn flush(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Plain(_) => Ok(()),
            Kind::Tls(tls) => tls.flush(),
        }
    }

    /// Bytes that it has taken and not sent; no more than one record of TLS, and never 0 after a
    /// [`Self::flush`] that would block.
    pub fn held(&self) -> usize {
        match &self.0 {
            Kind::Plain(_) => 0,
            Kind::Tls(tls) => tls.held(),
        }
    }

    /// Has the connection end with a reset.
    ///
    /// # Errors
    /// The system does not allow it.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.stream().set_zero_linger()
    }

    fn stream(&self) -> &TcpStream {
        match &self.0 {
            Kind::Plain(stream) => stream,
            Kind::Tls(tls) => tls.stream(),
        }
    }
}
