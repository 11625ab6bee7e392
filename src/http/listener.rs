//! What is bound: a TCP port or a Unix socket, and who comes in by it.
//!
//! Accepts and nothing else: what is spoken on a connection is for others to know.

use crate::config::ListenAddress;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

/// Connections that may wait to be accepted.
pub(super) const BACKLOG: u32 = 4096;

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    /// A port.
    Tcp(TcpListener),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(super::unix::UnixSocket),
}

/// Listeners that were bound by whoever started the program.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For computers.
    pub hub: Option<Listener>,
    /// For the owner.
    pub admin: Option<Listener>,
}

/// A connection that has come in, and who is at its other end.
#[derive(Debug)]
pub enum Accepted {
    /// By a port.
    Tcp(TcpStream, SocketAddr),
    /// By a Unix socket: a program of this machine, which has no address.
    #[cfg(unix)]
    Local(tokio::net::UnixStream),
}

impl Accepted {
    /// The address at its other end, where there is one.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            #[cfg(unix)]
            Self::Local(_) => None,
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Whoever has this address.
    Tcp(SocketAddr),
    /// Whoever has this address as a proxy says that passes on connections and speaks no HTTP.
    Announced(SocketAddr),
    /// A program of this machine, over a Unix socket.
    Local,
}

impl Listener {
    /// Listens where `address` says; port 0 takes a free port. To be called within a tokio runtime.
    ///
    /// # Errors
    /// The address is in use, is none of this machine's, or may not be used.
    pub fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => bind(*address).map(Self::Tcp),
            #[cfg(unix)]
            ListenAddress::Unix(path) => super::unix::UnixSocket::bind(path).map(Self::Unix),
            #[cfg(not(unix))]
            ListenAddress::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Where it listens, the port known.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            #[cfg(unix)]
            Self::Unix(socket) => Ok(ListenAddress::Unix(socket.path().to_owned())),
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted::Tcp(stream, peer))
            }
            #[cfg(unix)]
            Self::Unix(socket) => socket.accept().await.map(Accepted::Local),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Announced(address) => address.fmt(f),
            Self::Local => f.write_str("this machine"),
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    // So that a restart need not wait for the last run's connections; on Windows this would allow
    // two programs to share the port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
