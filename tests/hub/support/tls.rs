//! Certificates made for a test, and clients that speak TLS.

use std::{net::SocketAddr, ops::Range, path::PathBuf, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use skynet::config::{Config, TlsConfig};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore, SupportedProtocolVersion,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
        version::{TLS12, TLS13},
    },
};

use super::{DEADLINE, raw::Raw};

/// A client that speaks TLS.
pub type Secure = Raw<TlsStream<TcpStream>>;

/// A block of PEM.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A certificate for `localhost`, signed by itself, and its key, both in PEM.
pub struct Made {
    pub certificate: String,
    pub key: String,
    pub der: CertificateDer<'static>,
}

/// Makes a certificate that is good for long.
pub fn made() -> Made {
    made_for(1975..4096)
}

/// Makes a certificate that is good in some years.
pub fn made_for(years: Range<i32>) -> Made {
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]);
    let mut params = params.expect("a name");
    params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key can be made");
    let certificate = params.self_signed(&key).expect("a certificate can be made");
    Made {
        certificate: pem("CERTIFICATE", certificate.der()),
        key: pem("PRIVATE KEY", &key.serialize_der()),
        der: certificate.der().clone(),
    }
}

/// The files of a certificate, in a folder of the test's own.
pub struct Files {
    folder: TempDir,
}

impl Files {
    /// Writes the files; returns them and the certificate.
    pub fn new() -> (Files, CertificateDer<'static>) {
        let files = Files { folder: TempDir::new().expect("a folder") };
        let made = made();
        files.write(&made.certificate, &made.key);
        (files, made.der)
    }

    /// Writes others in their place.
    pub fn write(&self, certificate: &str, key: &str) {
        std::fs::write(self.certificate(), certificate).expect("the folder takes a file");
        std::fs::write(self.key(), key).expect("the folder takes a file");
    }

    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// What a listener is told of them.
    pub fn config(&self) -> TlsConfig {
        TlsConfig { certificate: Some(self.certificate()), key: Some(self.key()) }
    }
}

/// A certificate for the hub's listener, and `config` with it.
pub fn with_tls(mut config: Config) -> (Files, Trust, Config) {
    let (files, der) = Files::new();
    config.hub.tls = files.config();
    (files, Trust::new(&der), config)
}

/// What a client trusts, and which versions it speaks.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// A client that trusts one certificate and speaks every version.
    pub fn new(der: &CertificateDer<'static>) -> Trust {
        Trust::speaking(der, &[&TLS13, &TLS12])
    }

    /// A client that speaks some versions alone.
    pub fn speaking(
        der: &CertificateDer<'static>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(der.clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions that are known")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Trust(Arc::new(config))
    }

    /// The same, offering protocols within TLS.
    pub fn offering(&self, protocols: &[&str]) -> Trust {
        let mut config = ClientConfig::clone(&self.0);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Trust(Arc::new(config))
    }

    /// Shakes hands over a connection.
    pub async fn try_over(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").expect("a name");
        let shaken = timeout(DEADLINE, TlsConnector::from(self.0.clone()).connect(name, stream));
        shaken.await.expect("an answer in time")
    }

    /// A connection on which TLS is spoken.
    pub async fn stream(&self, address: SocketAddr) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(address).await.expect("connects");
        stream.set_nodelay(true).expect("nodelay can be set");
        self.try_over(stream).await.expect("the certificate is trusted")
    }

    /// A client of the hub.
    pub async fn client(&self, address: SocketAddr) -> Secure {
        Raw::over(self.stream(address).await).shaken("/connect").await
    }

    /// A client whose system takes little in before its program reads.
    pub async fn narrow(&self, address: SocketAddr) -> Secure {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let stream = socket.connect(address).await.expect("connects");
        let stream = self.try_over(stream).await.expect("the certificate is trusted");
        Raw::over(stream).shaken("/connect").await
    }
}

/// Sends a request and reads to the end of the connection.
pub async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    let exchange = async {
        stream.write_all(request.as_bytes()).await.expect("the request is taken");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer and a proper end");
        String::from_utf8(answer).expect("text")
    };
    timeout(DEADLINE, exchange).await.expect("an answer in time")
}
