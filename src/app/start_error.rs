//! Why the program cannot start, and what its owner can do about it.

use crate::access::BansFileError;
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why the program cannot start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Listen {
        /// The setting that asks for it.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The file of bans cannot be read: to start without it would let the banned in.
    Bans(BansFileError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (setting, address, error) = match self {
            Self::Listen { setting, address, error } => (setting, address, error),
            Self::Bans(error) => return write!(f, "{error}"),
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
