//! Reads and writes of a TCP socket that tokio has no words for; plain sockets and TLS are made of them.

#[cfg(unix)]
use socket2::SockRef;
use std::io::{self, IoSlice};
#[cfg(unix)]
use std::io::{Read, Write};
#[cfg(unix)]
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Reads what the system has.
#[cfg(unix)]
pub(super) fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = None;
    let read = stream.try_io(Interest::READABLE, || {
        let read = (&*SockRef::from(stream)).read(buffer)?;
        // What is left for the next read is what this error says: the system tells of it anew.
        if 0 < read && read < buffer.len() {
            got = Some(read);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(read)
    });
    got.map_or(read, Ok)
}

/// Writes what the system takes, whatever it has said of it.
#[cfg(unix)]
pub(super) fn insist(stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    (&*SockRef::from(stream)).write_vectored(slices)
}

/// Elsewhere the system says so as soon as it takes anything.
#[cfg(not(unix))]
pub(super) fn insist(_: &TcpStream, _: &[IoSlice<'_>]) -> io::Result<usize> {
    Err(io::ErrorKind::WouldBlock.into())
}

/// As on Unix, but that the system is asked again.
#[cfg(not(unix))]
pub(super) fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    stream.try_read(buffer)
}
