//! What is done with a connection before HTTP is spoken on it: the proxy's header, TLS.
//!
//! Both are for the listener's settings to ask for. How long they may take is for the caller to say.

use super::certificates::Certificates;
use super::listener::Peer;
use super::proxy_header;
use crate::metrics::ConnectionFailure;
use ipnet::IpNet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 22;

/// Most bytes that are read of somebody who does not speak TLS, so that the answer is not lost with
/// them.
const MAX_UNREAD: u64 = 64 * 1024;

const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 66\r\n\
    Connection: close\r\n\
    \r\n\
    TLS is spoken here: https:// or wss:// in the place of http or ws\n";

/// What a listener asks of a connection before HTTP.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// The certificate, if TLS is to be spoken.
    pub certificates: Option<Certificates>,
    /// Proxies that must say whose connection they pass on, by the PROXY protocol; asked anew for
    /// each connection.
    pub announced_by: Option<watch::Receiver<Arc<[IpNet]>>>,
}

/// A connection on which HTTP can be spoken.
pub(super) enum Opened {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why a connection cannot be used.
pub(super) struct NotOpened {
    pub failure: ConnectionFailure,
    pub error: io::Error,
}

impl Opening {
    /// Does what the listener asks for; returns whose connection it is.
    pub(super) async fn open(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<(Opened, Peer), NotOpened> {
        let failed = |failure| move |error| NotOpened { failure, error };
        let ip = peer.ip().to_canonical();
        let announced = self
            .announced_by
            .as_ref()
            .is_some_and(|all| all.borrow().iter().any(|network| network.contains(&ip)));
        let peer = if announced {
            let read = proxy_header::read(&mut stream).await;
            let read = read.map_err(failed(ConnectionFailure::ProxyHeader))?;
            Peer::Announced(read.unwrap_or(peer))
        } else {
            Peer::Tcp(peer)
        };
        let Some(certificates) = &self.certificates else {
            return Ok((Opened::Plain(stream), peer));
        };
        let mut first = [0];
        let known = stream.peek(&mut first).await.map_err(failed(ConnectionFailure::Tls))?;
        if known == 1 && first[0] != HANDSHAKE {
            let error = refuse(&mut stream).await.err();
            let error = error.unwrap_or_else(|| io::ErrorKind::InvalidData.into());
            return Err(NotOpened { failure: ConnectionFailure::NotTls, error });
        }
        let accepted = TlsAcceptor::from(certificates.config()).accept(stream).await;
        let stream = accepted.map_err(failed(ConnectionFailure::Tls))?;
        Ok((Opened::Tls(Box::new(stream)), peer))
    }
}

/// Says that TLS is spoken here, and waits until it has been read.
async fn refuse(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(NOT_TLS).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(MAX_UNREAD), &mut tokio::io::sink()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_of_plain_http_announces_its_own_length() {
        let text = std::str::from_utf8(NOT_TLS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
