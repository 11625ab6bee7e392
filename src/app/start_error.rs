//! Why the program cannot start, said to its owner.

use crate::access::BansFileError;
use crate::config::ListenAddress;
use crate::exit::Exit;
use crate::http::TlsError;
use std::fmt;
use std::io;
use std::path::Path;

/// Why the program cannot start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Listen {
        /// The setting that asks for it.
        setting: &'static str,
        /// The address.
        address: ListenAddress,
        /// What the system says.
        error: io::Error,
    },
    /// A listener that was handed over does not go with the settings; a sentence says why.
    HandedOver(&'static str),
    /// A certificate cannot be used.
    Tls(TlsError),
    /// The file of bans cannot be read: to start without it would let the banned in.
    Bans(BansFileError),
    /// io_uring is asked for and cannot be had.
    IoUring(io::Error),
    /// No thread can be made; the error says so, and what to do.
    Thread(io::Error),
}

impl StartError {
    /// The code that the program ends with.
    pub fn exit(&self) -> Exit {
        match self {
            // Files are put right, ports come free, and systems allow more, without the settings being
            // touched.
            Self::Listen { .. }
            | Self::Tls(_)
            | Self::Bans(_)
            | Self::IoUring(_)
            | Self::Thread(_) => Exit::Unavailable,
            Self::HandedOver(_) => Exit::Configuration,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (setting, address, error) = match self {
            Self::Listen { setting, address, error } => (setting, address, error),
            Self::Bans(error) => return error.fmt(f),
            Self::HandedOver(why) => return f.write_str(why),
            Self::Tls(error) => return error.fmt(f),
            Self::Thread(error) => return error.fmt(f),
            Self::IoUring(error) => {
                return write!(
                    f,
                    "io_uring cannot be had here: {error}; containers and \
                     kernel.io_uring_disabled forbid it, and old kernels have none; \
                     delivery.io_uring = \"auto\" does without it"
                );
            }
        };
        let address = match address {
            ListenAddress::Tcp(address) => address,
            ListenAddress::Unix(path) => return cannot_make_socket(f, setting, path, error),
        };
        match error.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {address}: port {} is in use by another program; stop that \
                 program or change {setting}",
                address.port()
            ),
            io::ErrorKind::AddrNotAvailable => write!(
                f,
                "cannot listen on {address}: this machine has no address {}; change {setting}",
                address.ip()
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "cannot listen on {address}: port {} is reserved for the system; change {setting}",
                address.port()
            ),
            _ => write!(f, "cannot listen on {address}, which {setting} asks for: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Why there can be no Unix socket at a path.
fn cannot_make_socket(
    f: &mut fmt::Formatter<'_>,
    setting: &str,
    path: &Path,
    error: &io::Error,
) -> fmt::Result {
    let path = path.display();
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "another program answers there; stop it or change",
        io::ErrorKind::AlreadyExists => {
            "there is a file that is no socket; remove it if nobody needs it, or change"
        }
        io::ErrorKind::NotFound => "its folder does not exist; make it, or change",
        io::ErrorKind::PermissionDenied => "this user may not make files in its folder; change",
        _ => return write!(f, "cannot listen on {path}, which {setting} asks for: {error}"),
    };
    write!(f, "cannot listen on {path}: {why} {setting}")
}
