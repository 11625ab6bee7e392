//! The certificate of a listener that speaks TLS: read from its files, and read anew while it is
//! served.
//!
//! Says in a sentence what is wrong with files that cannot be used; while such a file is there, what
//! was read before is served on.

use crate::files;
use sha2::{Digest, Sha256};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{PemObject, SectionKind};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tracing::warn;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// Larger files hold something else.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The one protocol that is spoken within TLS.
const ALPN: &[u8] = b"http/1.1";

/// The files of a listener's certificate, and the settings that name them.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The section of the settings, such as `hub.tls`.
    pub section: &'static str,
    /// The certificates, the listener's own first, in PEM.
    pub certificate: PathBuf,
    /// The private key, in PEM.
    pub key: PathBuf,
}

/// Why a certificate and its key cannot be used: the setting, the file, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsError {
    setting: String,
    path: PathBuf,
    what: String,
}

/// What reading the files anew has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Another certificate or key, which every connection from now on is served with.
    Yes,
    /// What was there before.
    No,
}

/// The certificate that new connections are served with; clones share it.
#[derive(Debug, Clone)]
pub struct Certificates {
    files: Arc<TlsFiles>,
    current: Arc<Mutex<Served>>,
}

/// Files that were read anew and can be used; nobody is served with them yet.
#[derive(Debug)]
#[must_use = "nobody is served with it before `serve`"]
pub struct ReadAnew {
    of: Certificates,
    read: Served,
}

#[derive(Debug, Clone)]
struct Served {
    config: Arc<ServerConfig>,
    /// Of both files, to know them again.
    digest: [u8; 32],
    /// Until when the listener's own certificate holds: seconds since 1970 UTC.
    not_after: u64,
}

impl Certificates {
    /// Reads the files. Warns in the log of a certificate that has expired or does not apply yet.
    ///
    /// # Errors
    /// A file cannot be read, does not hold what it should, or the key is another certificate's.
    pub fn read(files: TlsFiles) -> Result<Self, TlsError> {
        let served = files.read()?;
        Ok(Self { files: Arc::new(files), current: Arc::new(Mutex::new(served)) })
    }

    /// Reads the files anew. Connections that are open stay as they are; those that come are served
    /// with what was read. May block for as long as reading two small files takes.
    ///
    /// # Errors
    /// As [`Self::read`]; then what was there before is served on.
    pub fn reload(&self) -> Result<Changed, TlsError> {
        self.read_anew().map(ReadAnew::serve)
    }

    /// Reads the files anew, and leaves it to the caller when connections are served with them. May
    /// block for as long as reading two small files takes.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_anew(&self) -> Result<ReadAnew, TlsError> {
        Ok(ReadAnew { of: self.clone(), read: self.files.read()? })
    }

    /// The section of the settings that names the files, such as `hub.tls`.
    pub fn section(&self) -> &'static str {
        self.files.section
    }

    /// The listener that is served with them, by its name: `hub` or `admin`.
    pub fn listener(&self) -> &'static str {
        let section = self.section();
        section.strip_suffix(".tls").unwrap_or(section)
    }

    /// Until when the certificate that is served holds: seconds since 1970 UTC.
    pub fn not_after(&self) -> u64 {
        self.current().not_after
    }

    /// What a connection is to be served with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.current().config.clone()
    }

    fn current(&self) -> MutexGuard<'_, Served> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadAnew {
    /// Serves connections from now on with what was read; those that are open stay as they are.
    pub fn serve(self) -> Changed {
        let mut current = self.of.current();
        if current.digest == self.read.digest {
            return Changed::No;
        }
        *current = self.read;
        Changed::Yes
    }

    /// The section of the settings that names the files, such as `hub.tls`.
    pub fn section(&self) -> &'static str {
        self.of.section()
    }
}

impl TlsFiles {
    fn read(&self) -> Result<Served, TlsError> {
        let of_certificate = |what| self.error("certificate", &self.certificate, what);
        let of_key = |what| self.error("key", &self.key, what);
        let certificate_text = text(&self.certificate).map_err(of_certificate)?;
        let key_text = text(&self.key).map_err(of_key)?;
        let chain = chain(&certificate_text).map_err(of_certificate)?;
        let key = key(&key_text).map_err(of_key)?;
        let leaf = Certificate::from_der(&chain[0]);
        let Ok(leaf) = leaf else {
            return Err(of_certificate("holds a certificate that cannot be read".to_owned()));
        };
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .and_then(std::convert::identity);
        let mut config = config.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => of_key(format!(
                "is not the key of the first certificate in {:?}; the listener's own certificate \
                 comes first there, those of its issuers after it",
                self.certificate
            )),
            rustls::Error::InvalidCertificate(error) => {
                of_certificate(format!("holds a certificate that cannot be used: {error}"))
            }
            _ => of_key(
                "holds a key of a kind that cannot be used; RSA from 2048 bits, ECDSA with P-256 or \
                 P-384, and Ed25519 can"
                    .to_owned(),
            ),
        })?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        self.warn_of_dates(&leaf);
        self.warn_of_readers();
        let mut digest = Sha256::new();
        for text in [certificate_text, key_text] {
            digest.update(Sha256::digest(text));
        }
        let not_after = leaf.tbs_certificate().validity().not_after.to_unix_duration().as_secs();
        Ok(Served { config: Arc::new(config), digest: digest.finalize().into(), not_after })
    }

    fn warn_of_dates(&self, leaf: &Certificate) {
        let validity = leaf.tbs_certificate().validity();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let file = self.certificate.display();
        if validity.not_after.to_unix_duration() < now {
            let since = validity.not_after;
            warn!(setting = self.section, %file, %since, "the certificate has expired; clients will refuse it");
        } else if validity.not_before.to_unix_duration() > now {
            let from = validity.not_before;
            warn!(setting = self.section, %file, %from, "the certificate does not apply yet; clients will refuse it");
        }
    }

    /// A key that every user of the machine can read is served all the same: where a container or a
    /// volume sets the mode, the owner cannot.
    #[cfg(unix)]
    fn warn_of_readers(&self) {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&self.key).map_or(0, |of| of.permissions().mode());
        if mode & 0o004 != 0 {
            let (setting, file) = (format!("{}.key", self.section), self.key.display());
            warn!(setting, %file, "every user of this machine may read the private key; `chmod o-r` ends that");
        }
    }

    /// Other systems have other rights.
    #[cfg(not(unix))]
    fn warn_of_readers(&self) {}

    fn error(&self, name: &str, path: &Path, what: String) -> TlsError {
        TlsError { setting: format!("{}.{name}", self.section), path: path.to_owned(), what }
    }
}

impl TlsError {
    /// The setting that names the file, such as `hub.tls.key`.
    pub fn setting(&self) -> &str {
        &self.setting
    }

    /// The file and what is wrong with it.
    pub fn complaint(&self) -> String {
        format!("{:?} {}", self.path, self.what)
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.setting, self.path, self.what)
    }
}

impl std::error::Error for TlsError {}

/// The bytes of a file, at most 1 MiB.
fn text(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = files::read(path, MAX_FILE_BYTES).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        io::ErrorKind::IsADirectory => "is a folder".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err("is larger than 1MiB, so it is some other file".to_owned());
    }
    Ok(bytes)
}

/// The blocks of a PEM file.
fn blocks(text: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, String> {
    // What some editors of Windows put before everything.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    // The first byte of every certificate and key in DER.
    if text.first() == Some(&0x30) {
        return Err("is DER, not PEM; `openssl x509 -inform der` and `openssl pkey -inform der` \
                    turn the one into the other"
            .to_owned());
    }
    let blocks: Result<_, _> = PemObject::pem_slice_iter(text).collect();
    blocks.map_err(|error| format!("is broken PEM: {error}"))
}

/// The certificates of a file.
fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let blocks = blocks(text)?;
    let is_key = blocks.iter().any(|(kind, _)| is_private_key(*kind));
    let chain: Vec<_> = blocks
        .into_iter()
        .filter(|(kind, _)| *kind == SectionKind::Certificate)
        .map(|(_, der)| CertificateDer::from(der))
        .collect();
    match chain.is_empty() {
        false => Ok(chain),
        true if is_key => {
            Err("holds a private key and no certificate; the key's file belongs into \
                               the setting beside this one"
                .to_owned())
        }
        true => {
            Err("holds no certificate, which begins with -----BEGIN CERTIFICATE-----".to_owned())
        }
    }
}

/// The private key of a file.
fn key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    // In PKCS#8 the block says so, in what was before it a line within the block.
    if text.windows(9).any(|word| word == b"ENCRYPTED") {
        return Err("holds a key that is encrypted, and there is nobody to type its password; \
                    `openssl pkey -in FILE -out NEW` decrypts it"
            .to_owned());
    }
    let blocks = blocks(text)?;
    let is_certificate = blocks.iter().any(|(kind, _)| *kind == SectionKind::Certificate);
    let key = blocks.into_iter().find_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der));
    key.ok_or_else(|| match is_certificate {
        true => "holds a certificate and no private key; the certificate's file belongs into the \
                 setting beside this one"
            .to_owned(),
        false => "holds no private key, which begins with -----BEGIN PRIVATE KEY-----".to_owned(),
    })
}

fn is_private_key(kind: SectionKind) -> bool {
    matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
}
