//! Where is listened: an address and a port, or a Unix socket.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::units::{self, Spelled, quoted};

/// What the text of a Unix socket begins with.
const UNIX: &str = "unix:";

/// Longest path of a Unix socket, in bytes: what every system has room for, with a zero at its end.
const MAX_PATH: usize = 103;

/// Where is listened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address and a port; port 0 lets the system choose one.
    Tcp(SocketAddr),
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
}

impl ListenAddress {
    /// The address and port, if it has them.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(path) = text.trim().strip_prefix(UNIX) else {
            return units::parse_address(text).map(Self::Tcp);
        };
        let wrong = if !cfg!(unix) {
            "is a Unix socket, which this system does not have; write an IP address and a port"
        } else if !path.starts_with('/') || path.ends_with('/') {
            "names no file by its whole path; write one such as unix:/run/skynet/admin.sock"
        } else if path.len() > MAX_PATH {
            "is longer than the 103 bytes that systems allow for the path of a socket"
        } else if path.contains('\0') {
            "holds a zero byte, which no path does"
        } else {
            return Ok(Self::Unix(path.into()));
        };
        Err(format!("{} {wrong}", quoted(text)))
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spelled::deserialize(deserializer)?.text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_the_path_of_a_socket_is_read_and_shown_as_it_was() {
        for text in ["127.0.0.1:4568", "[::1]:1"] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.tcp(), text.parse().ok());
            assert_eq!(address.to_string(), text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_is_named_by_its_whole_path() {
        let socket: ListenAddress = " unix:/run/skynet/admin.sock".parse().unwrap();
        assert_eq!(socket, ListenAddress::Unix("/run/skynet/admin.sock".into()));
        assert_eq!(socket.to_string(), "unix:/run/skynet/admin.sock");
        assert_eq!(socket.tcp(), None);
        let long = format!("unix:/{}", "x".repeat(MAX_PATH));
        for (text, why) in [
            ("unix:", "whole path"),
            ("unix:admin.sock", "whole path"),
            ("unix:/run/", "whole path"),
            ("unix:/a\0b", "zero byte"),
            (long.as_str(), "103 bytes"),
        ] {
            let error = text.parse::<ListenAddress>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
