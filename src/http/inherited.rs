//! Sockets that the service manager has bound for the program, as systemd does (`LISTEN_FDS`).
//!
//! They stay bound while the program is down, so that whoever connects then waits for its next start
//! instead of being refused. They are used in the place of what the settings say.

use super::listener::{BACKLOG, Inherited, Listener};
use super::unix::UnixSocket;
use sd_listen_fds::OwnedFd;
use socket2::{SockRef, Type};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd as Descriptor;
use tokio::net::TcpListener;

/// The names of sockets, in the order in which they are taken without names.
const NAMES: [&str; 2] = ["hub", "admin"];

/// What is wrong with the sockets that were handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InheritedError(String);

impl Inherited {
    /// Takes what the environment says was handed over to this process; nothing, usually. To be
    /// called once, within a tokio runtime.
    ///
    /// # Errors
    /// There are too many, two of one name, or one that cannot be listened on as it must be.
    pub fn take() -> Result<Self, InheritedError> {
        // Before they are taken: for a number without sense there may be no room.
        let count = |name| std::env::var(name).ok()?.parse::<u32>().ok();
        if count("LISTEN_PID") == Some(std::process::id()) {
            refuse_many(count("LISTEN_FDS").unwrap_or_default() as usize)?;
        }
        let given = sd_listen_fds::get().map_err(|_| {
            InheritedError(
                "LISTEN_FDS or LISTEN_PID is no number; leave them to the service manager"
                    .to_owned(),
            )
        })?;
        Self::of(
            given.into_iter().map(|(name, socket)| (name, OwnedFd::into_std(socket))).collect(),
        )
    }

    fn of(given: Vec<(Option<String>, Descriptor)>) -> Result<Self, InheritedError> {
        refuse_many(given.len())?;
        let is_known = |name: &Option<String>| name.as_deref().is_some_and(|n| NAMES.contains(&n));
        let named = given.iter().any(|(name, _)| is_known(name));
        let mut taken = Self::default();
        for ((name, socket), in_order) in given.into_iter().zip(NAMES) {
            if named && !is_known(&name) {
                return Err(InheritedError(format!(
                    "a socket with the name {:?} was handed over; the names are hub and admin \
                     (FileDescriptorName=)",
                    name.unwrap_or_default()
                )));
            }
            let name = name.filter(|_| named);
            let name = name.as_deref().unwrap_or(in_order);
            let listener = listener(name, socket)?;
            let place = if name == NAMES[0] { &mut taken.hub } else { &mut taken.admin };
            if place.replace(listener).is_some() {
                return Err(InheritedError(format!(
                    "two sockets with the name {name} were handed over; each listener has one"
                )));
            }
        }
        Ok(taken)
    }
}

/// Refuses more sockets than there are listeners.
fn refuse_many(sockets: usize) -> Result<(), InheritedError> {
    if sockets <= NAMES.len() {
        return Ok(());
    }
    Err(InheritedError(format!(
        "{sockets} sockets were handed over; the hub has two listeners, hub and admin"
    )))
}

/// The socket of a listener.
fn listener(name: &str, socket: Descriptor) -> Result<Listener, InheritedError> {
    let wrong = |what: &str| {
        let allowed = match name {
            "hub" => "a TCP socket that listens (ListenStream=PORT)",
            _ => "a TCP or Unix socket that listens (ListenStream=PORT or /PATH)",
        };
        InheritedError(format!("the socket handed over for {name} {what}; it must be {allowed}"))
    };
    let failed = |error: io::Error| wrong(&format!("cannot be used ({error})"));
    let socket_ref = SockRef::from(&socket);
    if socket_ref.r#type().map_err(failed)? != Type::STREAM {
        return Err(wrong("is no stream"));
    }
    let address = socket_ref.local_addr().map_err(failed)?;
    // Again for one that listens already; one that is connected does not take it.
    socket_ref.listen(BACKLOG as i32).map_err(|_| wrong("does not listen"))?;
    if address.as_socket().is_some() {
        socket_ref.set_nonblocking(true).map_err(failed)?;
        return TcpListener::from_std(socket.into()).map(Listener::Tcp).map_err(failed);
    }
    match address.as_pathname() {
        Some(path) if name != "hub" => {
            let path = path.to_owned();
            UnixSocket::given(socket.into(), path, None).map(Listener::Unix).map_err(failed)
        }
        _ => Err(wrong("has no port")),
    }
}

impl fmt::Display for InheritedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InheritedError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpStream, UdpSocket};
    use std::os::unix::net::UnixListener;

    fn tcp() -> Descriptor {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    fn named(names: &[&str]) -> Vec<(Option<String>, Descriptor)> {
        names.iter().map(|name| (Some((*name).to_owned()), tcp())).collect()
    }

    fn refused(given: Vec<(Option<String>, Descriptor)>) -> String {
        Inherited::of(given).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn sockets_are_taken_by_name_or_else_in_order() {
        let two = Inherited::of(vec![(None, tcp()), (None, tcp())]).unwrap();
        assert!(two.hub.is_some() && two.admin.is_some());
        let admin = Inherited::of(named(&["admin"])).unwrap();
        assert!(admin.hub.is_none() && admin.admin.is_some());
        // systemd's own name for a socket without one is that of its unit.
        let hub = Inherited::of(named(&["skynet.socket"])).unwrap();
        assert!(hub.hub.is_some() && hub.admin.is_none());
        let none = Inherited::of(Vec::new()).unwrap();
        assert!(none.hub.is_none() && none.admin.is_none());
    }

    #[tokio::test]
    async fn a_unix_socket_is_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let socket = || Descriptor::from(UnixListener::bind(&path).unwrap());
        let taken = Inherited::of(vec![(Some("admin".to_owned()), socket())]).unwrap();
        assert!(taken.admin.is_some());
        drop(taken);
        // It is the service manager's to remove.
        std::fs::remove_file(&path).unwrap();
        assert!(refused(vec![(None, socket())]).contains("for hub has no port"));
    }

    #[tokio::test]
    async fn wrong_sockets_are_refused_in_words() {
        assert!(refused(named(&["a", "b", "c"])).starts_with("3 sockets were handed over"));
        assert!(refused(named(&["hub", "web"])).contains("the names are hub and admin"));
        assert!(refused(named(&["hub", "hub"])).contains("two sockets with the name hub"));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(refused(vec![(None, udp.into())]).contains("is no stream"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(refused(vec![(None, connected.into())]).contains("does not listen"));
        let file = tempfile::tempfile().unwrap();
        assert!(refused(vec![(None, file.into())]).contains("cannot be used"));
    }
}
