//! A Unix socket to listen on: made at the start, removed at the end.
//!
//! A program that dies leaves its socket behind, and nobody answers there; such a one is removed. One
//! that somebody answers at, and a file that is no socket, is left alone.

use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// The socket's owner and group may connect.
const MODE: u32 = 0o660;

/// A bound socket.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and file number of a socket that is this program's to remove.
    made: Option<(u64, u64)>,
}

impl UnixSocket {
    /// Makes the socket. To be called within a tokio runtime.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        remove_dead(path)?;
        let made = std::os::unix::net::UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
        let metadata = fs::symlink_metadata(path)?;
        Self::given(made, path.to_owned(), Some((metadata.dev(), metadata.ino())))
    }

    /// Takes a socket that is bound already; `made` when its file is to be removed at the end.
    pub(super) fn given(
        listener: std::os::unix::net::UnixListener,
        path: PathBuf,
        made: Option<(u64, u64)>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener: UnixListener::from_std(listener)?, path, made })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for UnixSocket {
    /// Removes the socket, unless another program has put its own in the place.
    fn drop(&mut self) {
        let here = fs::symlink_metadata(&self.path).map(|found| (found.dev(), found.ino()));
        if let (Ok(here), Some(made)) = (here, self.made)
            && here == made
        {
            // At the end of the program nobody is left to be told.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket of a program that has died.
fn remove_dead(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // Of one that has many waiting already a connection would wait too.
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Whoever is there answers, or has no time to.
        Ok(()) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::AddrInUse.into())
        }
        Err(error) => Err(error),
    }
}
