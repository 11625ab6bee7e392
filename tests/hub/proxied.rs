//! Proxies that say whose connection they pass on, by the PROXY protocol.

use std::time::Duration;

use skynet::config::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    api::{self, Caller},
    support::{
        DEADLINE, TestApp,
        raw::{Raw, upgrade},
        tls::{exchange, with_tls},
        wait_until, with_app,
    },
};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n";

/// The tests' own address is that of a proxy.
fn announced() -> Config {
    let mut config = api::config();
    config.hub.proxy_protocol = true;
    config.hub.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    config
}

/// How many clients have an address within a network.
async fn clients_of(app: &TestApp, network: &str) -> u64 {
    let page = Caller::owner(app).get(&format!("/clients?address={network}")).await;
    page["clients"].as_array().expect("a list of clients").len() as u64
}

async fn failures(app: &TestApp, reason: &str, times: f64) {
    let labels = [("listener", "hub"), ("reason", reason)];
    app.metric_is("skynet_connection_failures_total", &labels, times).await;
}

#[tokio::test]
async fn a_client_has_the_address_that_its_proxy_says() {
    with_app(announced(), async |app| {
        let mut client = Raw::tcp(app.hub()).await;
        client.write(LINE).await;
        let mut client = client.shaken("/connect").await;
        client.publish("\"x\"", "1").await;
        assert_eq!(clients_of(app, "192.0.2.7").await, 1);
        assert_eq!(clients_of(app, "127.0.0.1").await, 0);

        // The binary form, in one piece with the handshake.
        let v2 =
            [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[192, 0, 2, 8, 10, 0, 0, 1, 1, 2, 3, 4]];
        let mut binary = Raw::tcp(app.hub()).await;
        binary.write(&[&v2.concat(), upgrade("/connect").as_bytes()].concat()).await;
        binary.accepted().await;
        binary.publish("\"x\"", "1").await;
        assert_eq!(clients_of(app, "192.0.2.8").await, 1);

        // The proxy's own, as it looks whether the hub lives.
        let check = TcpStream::connect(app.hub()).await.expect("connects");
        let request = "PROXY UNKNOWN\r\nGET /healthz HTTP/1.0\r\nHost: a\r\n\r\n";
        assert!(exchange(check, request).await.starts_with("HTTP/1.0 200"));
    })
    .await;
}

#[tokio::test]
async fn a_proxy_that_says_nothing_or_nonsense_is_refused_and_counted() {
    let mut settings = announced();
    settings.limits.handshake_timeout = Duration::from_millis(500);
    with_app(settings, async |app| {
        for (index, wrong) in
            [upgrade("/connect").as_str(), "PROXY TCP4 a b c d\r\n"].iter().enumerate()
        {
            let mut stream = TcpStream::connect(app.hub()).await.expect("connects");
            stream.write_all(wrong.as_bytes()).await.expect("it is taken");
            let mut answer = Vec::new();
            let read = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
            // What was not read may make the end a reset.
            assert!(read.expect("an end in time").is_err() || answer.is_empty(), "{answer:?}");
            failures(app, "proxy_header", index as f64 + 1.0).await;
        }
        let mut slow = TcpStream::connect(app.hub()).await.expect("connects");
        slow.write_all(&LINE[..20]).await.expect("it is taken");
        timeout(DEADLINE, slow.read(&mut [0])).await.expect("an end in time").ok();
        failures(app, "timeout", 1.0).await;
    })
    .await;
}

#[tokio::test]
async fn whoever_is_no_proxy_is_not_believed() {
    let mut settings = announced();
    settings.hub.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
    with_app(settings, async |app| {
        let mut direct = app.client().await;
        direct.publish("\"x\"", "1").await;
        assert_eq!(clients_of(app, "127.0.0.1").await, 1);
        // To everybody else that line is no HTTP.
        let mut liar = Raw::tcp(app.hub()).await;
        liar.write(&[LINE, upgrade("/connect").as_bytes()].concat()).await;
        let answer = liar.answer().await;
        assert!(answer.is_none_or(|answer| answer.status == 400));
        assert_eq!(clients_of(app, "192.0.2.7").await, 0);
    })
    .await;
}

/// They once were believed where the header has no address, or one of a trusted proxy.
#[tokio::test]
async fn forwarding_headers_on_an_announced_connection_are_the_clients_own() {
    with_app(announced(), async |app| {
        let forged = upgrade("/connect").replacen("\r\n", "\r\nX-Forwarded-For: 192.0.2.66\r\n", 1);
        for line in [
            "PROXY UNKNOWN\r\n",
            "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
            "\r\n\r\n\0\r\nQUIT\n\x21\0\0\0",
            "PROXY TCP4 127.0.0.1 10.0.0.1 1 2\r\n",
        ] {
            let mut client = Raw::tcp(app.hub()).await;
            client.write(format!("{line}{forged}").as_bytes()).await;
            client.accepted().await;
            client.publish("\"x\"", "1").await;
            assert_eq!(clients_of(app, "192.0.2.66").await, 0, "{line:?}");
            assert_eq!(clients_of(app, "127.0.0.1").await, 1, "{line:?}");
            drop(client);
            let gone = async || clients_of(app, "127.0.0.1").await == 0;
            wait_until("the client has gone", gone).await;

            let page = TcpStream::connect(app.hub()).await.expect("connects");
            let headers = "Host: a\r\nX-Forwarded-Proto: https\r\n";
            let answer = exchange(page, &format!("{line}GET / HTTP/1.0\r\n{headers}\r\n")).await;
            assert!(answer.contains("http://a/") && !answer.contains("https://a/"), "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_header_stands_before_tls() {
    let (_files, trust, settings) = with_tls(announced());
    with_app(settings, async |app| {
        let mut stream = TcpStream::connect(app.hub()).await.expect("connects");
        stream.write_all(LINE).await.expect("it is taken");
        let stream = trust.try_over(stream).await.expect("the certificate is trusted");
        let mut client = Raw::over(stream).shaken("/connect").await;
        client.publish("\"x\"", "1").await;
        assert_eq!(clients_of(app, "192.0.2.7").await, 1);
    })
    .await;
}
