//! One request and its answer: over a port, over TLS, over a Unix socket. Blocks.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::target::{Place, Target};
use crate::config::{Host, PublicUrl};

/// Bytes of an answer that are read; what comes after them is of no interest.
const MAX_ANSWER: u64 = 4096;

/// What a proxy says of a connection that is its own.
const OWN_CONNECTION: &[u8] = b"PROXY UNKNOWN\r\n";

/// The answer of the first address that can be connected to.
pub(super) fn exchange(target: &Target, timeout: Duration) -> io::Result<Vec<u8>> {
    let url = match &target.place {
        Place::Web(url) => url,
        Place::Unix(path) => return over_unix(path, timeout),
    };
    let mut stream = connect(url, timeout)?;
    // So that the thread ends even where the process does not.
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let ip = stream.local_addr()?.ip().to_canonical();
    if target.announced_by.iter().any(|network| network.contains(&ip)) {
        stream.write_all(OWN_CONNECTION)?;
    }
    let host = url.authority.to_string();
    if url.secure {
        return request(StreamOwned::new(tls(&url.authority.host)?, stream), &host);
    }
    request(stream, &host)
}

#[cfg(unix)]
fn over_unix(path: &Path, timeout: Duration) -> io::Result<Vec<u8>> {
    let stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    request(stream, "localhost")
}

#[cfg(not(unix))]
fn over_unix(_: &Path, _: Duration) -> io::Result<Vec<u8>> {
    Err(io::ErrorKind::Unsupported.into())
}

fn request(mut stream: impl Read + Write, host: &str) -> io::Result<Vec<u8>> {
    let version = env!("CARGO_PKG_VERSION");
    stream.write_all(
        format!(
            "GET /readyz HTTP/1.1\r\nHost: {host}\r\nUser-Agent: skynet-healthcheck/{version}\r\n\
             Accept: text/plain\r\nConnection: close\r\n\r\n"
        )
        .as_bytes(),
    )?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.take(MAX_ANSWER).read_to_end(&mut answer) {
        // Over TLS an end without a goodbye is an error; what was said before it counts.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof || answer.is_empty() => {
            Err(error)
        }
        _ => Ok(answer),
    }
}

fn connect(url: &PublicUrl, timeout: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = match &url.authority.host {
        Host::Ip(ip) => vec![(*ip, url.port()).into()],
        Host::Name(name) => (name.as_str(), url.port()).to_socket_addrs()?.collect(),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "that name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A client of TLS that takes whatever certificate there is.
fn tls(host: &Host) -> io::Result<ClientConnection> {
    let name = match host {
        Host::Ip(ip) => ServerName::from(*ip),
        // A name that TLS has no room for, such as one with an underscore, is not asked for.
        Host::Name(name) => ServerName::try_from(name.clone())
            .or_else(|_| ServerName::try_from("localhost"))
            .map_err(io::Error::other)?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)
}

/// Takes every certificate: the hub's is for the name by which clients know it, not for the address by
/// which its own machine does, and no secret is sent to whoever answers here.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
