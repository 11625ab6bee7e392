//! `skynet healthcheck`, as a container runs it beside the hub: with the hub's own configuration.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
};

use tempfile::TempDir;

use crate::{
    shutdown::stuck,
    support::{
        process::{Process, program},
        tls::Files,
    },
};

/// What `skynet healthcheck` ends with, prints and says.
fn health(arguments: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = program(settings);
    let done = command.arg("healthcheck").args(arguments).stdout(Stdio::piped()).output();
    let done = done.expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[track_caller]
fn is_ready(arguments: &[&str], settings: &[(&str, &str)]) {
    let asked = health(arguments, settings);
    assert_eq!(asked, (Some(0), "ready\n".into(), String::new()));
}

/// What it says of a hub that is not well.
#[track_caller]
fn is_not_ready(arguments: &[&str], settings: &[(&str, &str)]) -> String {
    let (code, printed, said) = health(arguments, settings);
    assert_eq!((code, printed.as_str()), (Some(1), ""), "{said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

#[tokio::test]
async fn the_health_check_follows_the_hub_from_ready_to_stopping_to_gone() {
    let running = Process::start(&[]);
    is_ready(&[], &[("SKYNET_ADMIN__LISTEN", &running.admin().to_string())]);
    let (mut hub, _slow) = stuck().await;
    let address = hub.admin().to_string();
    let settings = [("SKYNET_ADMIN__LISTEN", address.as_str())];
    assert_eq!(
        is_not_ready(&[], &settings),
        format!("skynet: not ready: http://{address}/readyz answers 503 (stopping)\n")
    );
    hub.signal("TERM");
    hub.exit().await;
    let said = is_not_ready(&[], &settings);
    assert!(said.contains("cannot be asked"), "{said}");
}

#[tokio::test]
async fn a_unix_socket_is_asked_by_the_configuration_and_by_its_name() {
    let folder = TempDir::new().expect("a folder");
    let socket = format!("unix:{}", text(&folder.path().join("admin.sock")));
    let settings = [("SKYNET_ADMIN__LISTEN", socket.as_str())];
    let mut hub = Process::start(&settings);
    is_ready(&[], &settings);
    is_ready(&["--url", &socket], &[]);
    hub.signal("TERM");
    assert!(hub.exit().await.success());
    let said = is_not_ready(&[], &settings);
    assert!(said.starts_with(&format!("skynet: /readyz at {socket} cannot be asked: ")), "{said}");
}

#[test]
fn over_tls_the_certificate_need_not_be_one_for_the_address_that_is_asked() {
    // It is for localhost, and nobody has signed it.
    let (files, _) = Files::new();
    let (certificate, key) = (files.certificate(), files.key());
    let tls = [
        ("SKYNET_ADMIN__TLS__CERTIFICATE", text(&certificate)),
        ("SKYNET_ADMIN__TLS__KEY", text(&key)),
    ];
    let hub = Process::start(&tls);
    let address = hub.admin().to_string();
    is_ready(&[], &[&tls[..], &[("SKYNET_ADMIN__LISTEN", &address)]].concat());
    is_ready(&["--url", &format!("https://{address}")], &[]);
    is_ready(&["--url", &format!("https://localhost:{}", hub.admin().port())], &[]);
    let said = is_not_ready(&["--url", &format!("http://{address}")], &[]);
    assert!(said.contains("answers 400 (TLS is spoken here"), "{said}");
    let said = is_not_ready(&["--url", &format!("https://{}", hub.hub())], &[]);
    assert!(said.contains("cannot be asked"), "{said}");
}

#[test]
fn a_listener_for_both_is_asked_as_its_proxies_and_its_certificate_want() {
    let (files, _) = Files::new();
    let (certificate, key) = (files.certificate(), files.key());
    let address = free().to_string();
    let settings = [
        ("SKYNET_HUB__LISTEN", address.as_str()),
        ("SKYNET_ADMIN__LISTEN", &address),
        ("SKYNET_HUB__TLS__CERTIFICATE", text(&certificate)),
        ("SKYNET_HUB__TLS__KEY", text(&key)),
        ("SKYNET_HUB__TRUSTED_PROXIES", "127.0.0.1"),
        ("SKYNET_HUB__PROXY_PROTOCOL", "true"),
    ];
    let _hub = Process::start(&settings);
    is_ready(&[], &settings);
    // Without the header of the proxy nobody is heard from there.
    is_not_ready(&["--url", &format!("https://{address}")], &[]);
}
