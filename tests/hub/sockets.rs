//! Listeners that are no port of the program's own: Unix sockets, and what a service manager hands over.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::{
        fd::OwnedFd,
        unix::{
            fs::PermissionsExt,
            net::{UnixDatagram, UnixListener, UnixStream as StdStream},
        },
    },
    path::{Path, PathBuf},
    process::Command,
};

use skynet::{
    app::App,
    config::{Config, ListenAddress},
};
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};

use crate::{
    api::{self, TOKEN},
    support::{
        TestApp,
        process::{Process, program},
        raw::Raw,
        tls::exchange,
        wait_until,
    },
};

/// A configuration whose admin listener is a Unix socket in a folder of the test's own.
fn local() -> (TempDir, PathBuf, Config) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("admin.sock");
    let mut config = api::config();
    config.admin.listen = ListenAddress::Unix(path.clone());
    (folder, path, config)
}

async fn ask(path: &Path, request: &str) -> String {
    exchange(UnixStream::connect(path).await.expect("connects"), request).await
}

async fn why_not(config: Config) -> String {
    App::build(config).await.err().expect("it does not start").to_string()
}

#[tokio::test]
async fn the_owner_is_served_over_a_unix_socket_that_goes_with_the_program() {
    let (_folder, path, config) = local();
    let app = TestApp::start(config).await;
    let mode = fs::metadata(&path).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let ready = ask(&path, "GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert!(ready.starts_with("HTTP/1.0 200"), "{ready}");
    for (token, status) in [(TOKEN, "200"), ("wrong", "401")] {
        let request = format!(
            "GET /api/v1/info HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        let answer = ask(&path, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.0 {status}")), "{answer}");
    }
    let request = "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n";
    assert!(ask(&path, request).await.contains("skynet_clients"));
    // Names that lead here by somebody else's doing count on a socket too.
    let request = "GET /api/v1/info HTTP/1.0\r\nHost: evil.example\r\n\r\n";
    assert!(ask(&path, request).await.starts_with("HTTP/1.0 421"));
    app.stop().await;
    assert!(!path.exists(), "the socket is removed");
}

#[tokio::test]
async fn a_living_program_that_takes_no_further_connection_does_not_hold_up_a_start() {
    let (_folder, path, config) = local();
    let busy = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
    let busy = busy.expect("a socket");
    busy.bind(&socket2::SockAddr::unix(&path).expect("a path")).expect("the path is free");
    busy.listen(0).expect("it listens");
    let mut waiting = Vec::new();
    wait_until("nobody else fits into its queue", async || {
        let connected = UnixStream::connect(&path).await;
        let full = connected.is_err();
        waiting.extend(connected);
        full
    })
    .await;
    assert!(why_not(config).await.contains("another program answers there"));
    assert!(path.exists());
}

#[tokio::test]
async fn the_socket_of_a_dead_program_is_replaced_and_that_of_a_living_one_is_not() {
    let (_folder, path, config) = local();
    drop(UnixListener::bind(&path).expect("the path is free"));
    assert!(path.exists() && StdStream::connect(&path).is_err(), "a socket and nobody there");
    let app = TestApp::start(config.clone()).await;
    let error = why_not(config.clone()).await;
    assert!(error.contains("another program answers there"), "{error}");
    let ready = ask(&path, "GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert!(ready.starts_with("HTTP/1.0 200"), "the first one goes on: {ready}");
    app.stop().await;

    fs::write(&path, "a file of somebody's").expect("the path is free");
    let error = why_not(config.clone()).await;
    assert!(error.contains("a file that is no socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("it is still there"), "a file of somebody's");
    let mut nowhere = config;
    nowhere.admin.listen = ListenAddress::Unix(path.join("admin.sock"));
    assert!(why_not(nowhere).await.contains("cannot listen on"));
}

/// The program, started as a service manager starts it: the sockets are its descriptors 3 and 4.
fn handed(names: &str, hub: OwnedFd, admin: Option<OwnedFd>, settings: &[(&str, &str)]) -> Command {
    let told = program(settings);
    let count = 1 + usize::from(admin.is_some());
    let script = format!(
        "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS={count} exec \"$0\""
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(told.get_program()).env("LISTEN_FDNAMES", names);
    for (name, value) in told.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(hub).stderr(std::process::Stdio::piped());
    match admin {
        Some(admin) => command.stdout(admin),
        None => command.stdout(std::process::Stdio::null()),
    };
    command
}

fn port() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

fn copy(listener: &TcpListener) -> OwnedFd {
    listener.try_clone().expect("a copy").into()
}

#[tokio::test]
async fn whoever_connects_while_the_program_is_down_is_served_by_its_next_start() {
    let ((hub, hub_address), (admin, admin_address)) = (port(), port());
    let start = || Process::run(handed("admin:hub", copy(&admin), Some(copy(&hub)), &[]));
    let mut first = start();
    assert_eq!((first.hub(), first.admin()), (hub_address, admin_address));
    Raw::connect(hub_address).await.publish("\"x\"", "1").await;
    first.signal("TERM");
    assert!(first.exit().await.success());

    // The system takes the connection in and keeps it.
    let waiting = TcpStream::connect(hub_address).await.expect("nobody is refused");
    let _second = start();
    let mut client = Raw::over(waiting).shaken("/connect").await;
    client.publish("\"x\"", "1").await;
}

#[tokio::test]
async fn a_handed_over_unix_socket_stays_when_the_program_ends() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("admin.sock");
    let socket = UnixListener::bind(&path).expect("the path is free");
    let (hub, hub_address) = port();
    let command = handed("", hub.into(), Some(socket.into()), &[]);
    let mut process = Process::run(command);
    assert_eq!(process.hub(), hub_address);
    let ready = ask(&path, "GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert!(ready.starts_with("HTTP/1.0 200"), "{ready}");
    process.signal("TERM");
    assert!(process.exit().await.success());
    assert!(path.exists(), "it is the service manager's");
}

#[tokio::test]
async fn a_wrong_socket_ends_the_start_in_words() {
    let (datagrams, _) = UnixDatagram::pair().expect("a pair");
    let mut command = handed("hub", datagrams.into(), None, &[]);
    let output = command.output().expect("it runs to its end");
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("handed over for hub is no stream"), "{said}");
}

#[tokio::test]
async fn a_number_of_sockets_beyond_all_sense_ends_the_start_in_words() {
    let told = program(&[]);
    let script = "LISTEN_PID=$$ LISTEN_FDS=2147483647 exec \"$0\"";
    let output = Command::new("sh").args(["-c", script]).arg(told.get_program()).output();
    let output = output.expect("it runs to its end");
    assert_eq!(output.status.code(), Some(78), "{}", output.status);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("2147483647 sockets were handed over"), "{said}");
}

#[tokio::test]
async fn a_socket_that_the_settings_have_no_place_for_ends_the_start_in_words() {
    let ((hub, _), (admin, _)) = (port(), port());
    let both = [("SKYNET_HUB__LISTEN", "127.0.0.1:9"), ("SKYNET_ADMIN__LISTEN", "127.0.0.1:9")];
    let output = handed("hub:admin", hub.into(), Some(admin.into()), &both).output();
    let output = output.expect("it runs to its end");
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("a socket was handed over for admin"), "{said}");
}
