//! The way in: which requests become websockets, and what the others are told.

use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::support::{
    DEADLINE, config, http,
    raw::{PING, PONG, Raw, TEXT, masked, parsed, upgrade},
    wait_until, with_app,
};

/// The request of a proper handshake with one of its lines changed.
fn changed(from: &str, to: &str) -> String {
    let request = upgrade("/connect");
    assert!(request.contains(from), "{from:?} is in the request");
    request.replace(from, to)
}

#[tokio::test]
async fn connect_with_and_without_a_slash_and_with_any_query_is_the_way_in() {
    with_app(config(), async |app| {
        let paths = ["/connect", "/connect/", "/connect?", "/connect?a=1&b", "/connect/?name=%2F"];
        for path in paths {
            let mut client = Raw::tcp(app.hub()).await;
            client.write(upgrade(path).as_bytes()).await;
            client.accepted().await;
            client.open("\"x\"").await;
        }
    })
    .await;
}

#[tokio::test]
async fn every_other_path_is_refused_with_404() {
    with_app(config(), async |app| {
        let paths =
            ["/", "/peer", "/connect/x", "/connect//", "/Connect", "/connectx", "/x/connect"];
        for path in paths {
            let mut client = Raw::tcp(app.hub()).await;
            client.write(upgrade(path).as_bytes()).await;
            let response = client.answer().await.expect("an answer");
            assert_eq!(response.status, 404, "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_browser_is_told_what_this_is() {
    with_app(config(), async |app| {
        for path in ["/connect", "/connect/", "/connect?x"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let response = http::send(app.hub(), &request).await;
            assert_eq!(response.status, 426, "{path}");
            assert_eq!(response.header("sec-websocket-version"), Some("13"));
            let upgrade = response.header("upgrade").map(str::to_lowercase);
            assert_eq!(upgrade.as_deref(), Some("websocket"), "426 says what to upgrade to");
            let body = response.body.to_lowercase();
            assert!(body.contains("websocket"), "a sentence says what this is: {body:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn only_get_becomes_a_websocket() {
    with_app(config(), async |app| {
        for method in ["HEAD", "POST", "PUT", "OPTIONS", "DELETE"] {
            let response = http::send(app.hub(), &changed("GET", method)).await;
            let status = response.status;
            assert!((400..500).contains(&status), "{method} is refused: {status}");
        }
        let old = http::send(app.hub(), &changed("HTTP/1.1", "HTTP/1.0")).await;
        assert!((400..500).contains(&old.status), "HTTP/1.0: {}", old.status);
    })
    .await;
}

#[tokio::test]
async fn upgrade_and_connection_are_taken_in_any_case_and_in_lists() {
    let upgrades = [
        "Upgrade: WebSocket",
        "Upgrade: WEBSOCKET",
        "upgrade: wEbSoCkEt",
        "Upgrade: h2c, websocket",
        "Upgrade: websocket , h2c",
        "Upgrade: h2c\r\nUpgrade: websocket",
    ];
    let connections = [
        "Connection: upgrade",
        "Connection: keep-alive, Upgrade",
        "CONNECTION: Upgrade ,keep-alive",
        "Connection: keep-alive\r\nConnection: UPGRADE",
    ];
    let upgrades = upgrades.map(|line| changed("Upgrade: websocket", line));
    let connections = connections.map(|line| changed("Connection: Upgrade", line));
    with_app(config(), async |app| {
        for request in upgrades.iter().chain(&connections) {
            let mut client = Raw::tcp(app.hub()).await;
            client.write(request.as_bytes()).await;
            client.accepted().await;
            client.open("\"x\"").await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_asks_for_no_websocket_gets_426() {
    with_app(config(), async |app| {
        let requests = [
            changed("Upgrade: websocket\r\n", ""),
            changed("Upgrade: websocket", "Upgrade: h2c"),
            changed("Upgrade: websocket", "Upgrade: websockets"),
            changed("Connection: Upgrade", "Connection: keep-alive"),
        ];
        for request in requests {
            let response = http::send(app.hub(), &request).await;
            assert_eq!(response.status, 426, "{request}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_bad_key_is_refused_with_400() {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let bad = [
        "",
        "abc",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZSBsb25n",
        "!Ghl!HNhbXBsZSBub25jZQ==",
    ];
    with_app(config(), async |app| {
        let mut requests = vec![changed(&format!("{key}\r\n"), "")];
        requests.extend(bad.map(|bad| changed(key, &format!("Sec-WebSocket-Key: {bad}"))));
        for request in requests {
            let response = http::send(app.hub(), &request).await;
            assert_eq!(response.status, 400, "{request}");
            assert!(!response.body.is_empty(), "the answer says what was wrong");
        }
    })
    .await;
}

#[tokio::test]
async fn the_answer_to_a_key_is_the_one_of_the_standard() {
    with_app(config(), async |app| {
        let request = changed("dGhlIHNhbXBsZSBub25jZQ==", "AAECAwQFBgcICQoLDA0ODw==");
        let mut client = Raw::tcp(app.hub()).await;
        client.write(request.as_bytes()).await;
        let response = client.answer().await.expect("an answer");
        let accept = response.header("sec-websocket-accept");
        assert_eq!(accept, Some("Bz3qJYTGdOe8gUSpLosEdiLKDrk="));
    })
    .await;
}

#[tokio::test]
async fn another_version_is_refused_with_the_one_there_is() {
    with_app(config(), async |app| {
        for version in ["8", "0", "14", "thirteen"] {
            let line = format!("Sec-WebSocket-Version: {version}");
            let request = changed("Sec-WebSocket-Version: 13", &line);
            let response = http::send(app.hub(), &request).await;
            assert_eq!(response.status, 426, "{version}");
            assert_eq!(response.header("sec-websocket-version"), Some("13"));
        }
    })
    .await;
}

#[tokio::test]
async fn no_extension_and_no_subprotocol_is_ever_negotiated() {
    let offers = [
        "Sec-WebSocket-Extensions: permessage-deflate",
        "Sec-WebSocket-Extensions: permessage-deflate;client_no_context_takeover;\
         client_max_window_bits,deflate-frame,x-webkit-deflate-frame",
        "Sec-WebSocket-Protocol: skynet, chat",
    ];
    with_app(config(), async |app| {
        for offer in offers {
            let request = changed("Upgrade: websocket", &format!("Upgrade: websocket\r\n{offer}"));
            let mut client = Raw::tcp(app.hub()).await;
            client.write(request.as_bytes()).await;
            client.accepted().await;
            client.publish("\"x\"", &format!("\"{}\"", "a".repeat(5000))).await;
        }
    })
    .await;
}

#[tokio::test]
async fn frames_sent_together_with_the_handshake_are_answered() {
    with_app(config(), async |app| {
        let open = masked(TEXT, br#"{"type":"open","channel":"x"}"#);
        let mut bytes = upgrade("/connect").into_bytes();
        bytes.extend([&open, &masked(PING, b"early"), &open[..5]].concat());
        let mut client = Raw::tcp(app.hub()).await;
        client.write(&bytes).await;
        client.accepted().await;
        assert_eq!(parsed(&client.text().await).array_of("channels").len(), 1);
        let pong = client.frame().await;
        assert_eq!((pong.opcode, pong.payload.as_slice()), (PONG, &b"early"[..]));
        client.write(&open[5..]).await;
        assert_eq!(parsed(&client.text().await).array_of("channels").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let mut settings = config();
    settings.limits.handshake_timeout = Duration::from_millis(300);
    with_app(settings, async |app| {
        let mut silent = Raw::tcp(app.hub()).await;
        let begun = Instant::now();
        if let Some(response) = silent.answer().await {
            assert_eq!(response.status, 408);
        }
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(250), "not before its time: {took:?}");
        assert!(took < Duration::from_secs(5), "not long after its time: {took:?}");
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_dribbles_its_headers_is_closed() {
    let mut settings = config();
    settings.limits.handshake_timeout = Duration::from_millis(300);
    with_app(settings, async |app| {
        let mut slow = Raw::tcp(app.hub()).await;
        let mut pace = interval(Duration::from_millis(20));
        let begun = Instant::now();
        slow.write(b"GET /connect HTTP/1.1\r\nX-Endless: ").await;
        // The hub has hung up when it no longer takes bytes.
        while slow.try_write(b"a").await.is_ok() {
            pace.tick().await;
            assert!(begun.elapsed() < DEADLINE, "it is closed however busy it looks");
        }
        let mut client = app.client().await;
        client.open("\"x\"").await;
    })
    .await;
}

#[tokio::test]
async fn a_full_hub_answers_503_and_says_when_to_come_back() {
    let mut settings = config();
    settings.limits.max_clients = 2;
    with_app(settings, async |app| {
        let mut first = app.client().await;
        let second = app.client().await;
        let mut third = Raw::tcp(app.hub()).await;
        third.write(upgrade("/connect").as_bytes()).await;
        let response = third.answer().await.expect("an answer");
        assert_eq!(response.status, 503);
        let pause = response.header("retry-after").expect("when to come back");
        assert!(pause.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{pause}");
        app.metric_is("skynet_rejections_total", &[("reason", "full")], 1.0).await;
        first.open("\"x\"").await;
        drop(second);
        wait_until("there is room again", async || {
            let mut next = Raw::tcp(app.hub()).await;
            next.write(upgrade("/connect").as_bytes()).await;
            next.answer().await.is_some_and(|response| response.status == 101)
        })
        .await;
    })
    .await;
}
