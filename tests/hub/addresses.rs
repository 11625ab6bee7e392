//! Where clients come from: behind proxies, as many as an address may have, from web pages.

use std::net::SocketAddr;

use skynet::config::Config;

use crate::api::{Caller, config as with_tokens};
use crate::support::{
    TestApp, config,
    http::Response,
    json::Json,
    process::Process,
    raw::{Raw, upgrade},
    wait_until, with_app,
};

/// A handshake with further headers.
fn with_headers(headers: &str) -> String {
    upgrade("/connect").replacen("\r\n", &format!("\r\n{headers}"), 1)
}

/// A client whose handshake, with these headers, is accepted.
async fn accepted(app: &TestApp, headers: &str) -> Raw {
    let mut client = Raw::tcp(app.hub()).await;
    client.write(with_headers(headers).as_bytes()).await;
    client.accepted().await;
    client
}

/// The answer to a handshake with these headers, which is not accepted.
async fn refused(hub: SocketAddr, headers: &str) -> Response {
    let mut client = Raw::tcp(hub).await;
    client.write(with_headers(headers).as_bytes()).await;
    let mut response = client.answer().await.expect("an answer");
    assert_ne!(response.status, 101, "{headers}");
    response.body = client.rest().await;
    response
}

fn behind_a_proxy() -> Config {
    let mut settings = with_tokens();
    settings.hub.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    settings
}

/// The addresses of all clients, oldest first, as the owner sees them.
async fn addresses(app: &TestApp) -> Vec<String> {
    let list = Caller::owner(app).get("/clients").await;
    let mut clients = list["clients"].as_array().expect("a list").clone();
    clients.sort_by_key(|client| client["id"].as_u64());
    clients.iter().map(|client| client["address"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_address_is_the_one_that_the_proxy_has_appended() {
    with_app(behind_a_proxy(), async |app| {
        let headers = [
            "X-Forwarded-For: 198.51.100.1\r\n",
            "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 198.51.100.2:4711, 127.0.0.1\r\n",
            "X-Forwarded-For: 6.6.6.6, [2001:db8::7]\r\nX-Real-IP: 6.6.6.6\r\n",
            // What nobody's proxy of ours has written.
            "X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nCF-Connecting-IP: 6.6.6.6\r\n",
        ];
        let mut clients = Vec::new();
        for headers in headers {
            clients.push(accepted(app, headers).await);
            let count = clients.len();
            wait_until("it is there", async || app.stats().clients == count).await;
        }
        let seen = addresses(app).await;
        assert_eq!(seen[..3], ["198.51.100.1:0", "198.51.100.2:4711", "[2001:db8::7]:0"]);
        assert!(seen[3].starts_with("127.0.0.1:"), "{seen:?}");
        app.metric_is("skynet_unreadable_forwards_total", &[], 0.0).await;
        clients.push(accepted(app, "X-Forwarded-For: 198.51.100.1, unknown\r\n").await);
        wait_until("it is there", async || app.stats().clients == 5).await;
        assert!(addresses(app).await[4].starts_with("127.0.0.1:"));
        app.metric_is("skynet_unreadable_forwards_total", &[], 1.0).await;
    })
    .await;
}

#[tokio::test]
async fn nobody_but_a_trusted_proxy_can_say_where_a_client_comes_from() {
    let mut settings = with_tokens();
    settings.hub.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    with_app(settings, async |app| {
        let forged = "X-Forwarded-For: 10.0.0.1, 198.51.100.1\r\n";
        let _client = accepted(app, forged).await;
        wait_until("it is there", async || app.stats().clients == 1).await;
        assert!(addresses(app).await[0].starts_with("127.0.0.1:"));
    })
    .await;
}

#[tokio::test]
async fn a_banned_address_is_kept_out_behind_a_proxy_and_no_forged_one_helps_it() {
    with_app(behind_a_proxy(), async |app| {
        let body = r#"{"address":"198.51.100.0/24","reason":"not you"}"#;
        Caller::owner(app).post("/bans", body, 201).await;
        for headers in [
            "X-Forwarded-For: 198.51.100.1\r\n",
            "X-Forwarded-For: 203.0.113.7, 198.51.100.1\r\n",
            "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: ::ffff:198.51.100.1\r\n",
        ] {
            let mut client = accepted(app, headers).await;
            assert_eq!(client.close_code().await, Some(4501), "{headers}");
        }
        accepted(app, "X-Forwarded-For: 198.51.100.1, 203.0.113.7\r\n").await.open("1").await;
    })
    .await;
}

#[tokio::test]
async fn one_address_has_as_many_clients_as_it_may_and_the_others_are_not_touched() {
    let mut settings = behind_a_proxy();
    settings.limits.max_clients_per_address = Some(2);
    with_app(settings, async |app| {
        let (v4, v6) = ("X-Forwarded-For: 198.51.100.1\r\n", "X-Forwarded-For: 2001:db8::1\r\n");
        let first = accepted(app, v4).await;
        let mut rest = vec![accepted(app, v4).await, accepted(app, v6).await];
        rest.push(accepted(app, "X-Forwarded-For: 2001:db8::ffff:2\r\n").await);
        let network = "X-Forwarded-For: 2001:db8::aaaa:0:0:3\r\n";
        for headers in [v4, network] {
            let response = refused(app.hub(), headers).await;
            assert_eq!(response.status, 429, "{headers}");
            assert_eq!(response.header("retry-after"), Some("5"));
            assert!(response.body.contains("as many connections to this hub as one may"));
        }
        let reason = [("reason", "address_clients")];
        app.metric_is("skynet_rejections_total", &reason, 2.0).await;
        rest.push(accepted(app, "X-Forwarded-For: 198.51.100.2\r\n").await);
        drop(first);
        wait_until("the place is free again", async || {
            let mut next = Raw::tcp(app.hub()).await;
            next.write(with_headers(v4).as_bytes()).await;
            next.answer().await.is_some_and(|response| response.status == 101)
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn an_address_that_connects_too_often_is_told_to_wait() {
    let mut settings = behind_a_proxy();
    settings.limits.connections_per_second_per_address = Some(1);
    settings.limits.connection_burst_per_address = 2;
    with_app(settings, async |app| {
        let headers = "X-Forwarded-For: 198.51.100.1\r\n";
        let begun = std::time::Instant::now();
        let (mut let_in, mut told) = (Vec::new(), 0);
        while told == 0 {
            let mut client = Raw::tcp(app.hub()).await;
            client.write(with_headers(headers).as_bytes()).await;
            match client.answer().await.expect("an answer").status {
                101 => let_in.push(client),
                status => {
                    assert_eq!(status, 429);
                    told += 1;
                }
            }
            let most = 2 + begun.elapsed().as_secs() as usize;
            assert!(let_in.len() <= most + 1, "{} after {:?}", let_in.len(), begun.elapsed());
        }
        app.metric_is("skynet_rejections_total", &[("reason", "address_rate")], 1.0).await;
        accepted(app, "X-Forwarded-For: 198.51.100.2\r\n").await.open("1").await;
    })
    .await;
}

#[tokio::test]
async fn handshakes_that_are_none_count_for_the_pace_of_their_address_too() {
    let mut settings = config();
    settings.limits.connections_per_second_per_address = Some(1);
    settings.limits.connection_burst_per_address = 1;
    with_app(settings, async |app| {
        let (mut seen, begun) = (Vec::new(), std::time::Instant::now());
        wait_until("it is told to wait", async || {
            let mut client = Raw::tcp(app.hub()).await;
            client.write(b"GET /connect HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            seen.push(client.answer().await.expect("an answer").status);
            seen.last() == Some(&429)
        })
        .await;
        assert_eq!(seen[0], 426);
        let most = 2 + begun.elapsed().as_secs() as usize;
        assert!(seen.len() <= most + 1, "{seen:?} after {:?}", begun.elapsed());
    })
    .await;
}

#[tokio::test]
async fn an_address_that_the_owner_exempts_is_not_limited() {
    let mut settings = config();
    settings.limits.max_clients_per_address = Some(1);
    settings.limits.connections_per_second_per_address = Some(1);
    settings.limits.connection_burst_per_address = 1;
    settings.limits.exempt_addresses = vec!["127.0.0.1/32".parse().unwrap()];
    with_app(settings, async |app| {
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(app.client().await);
        }
        // Another address of this machine, which is not exempt.
        let elsewhere = "127.0.0.2:0".parse().unwrap();
        let _first = Raw::connect_from(elsewhere, app.hub()).await;
        let mut second = Raw::tcp_from(elsewhere, app.hub()).await;
        second.write(upgrade("/connect").as_bytes()).await;
        assert_eq!(second.answer().await.expect("an answer").status, 429);
    })
    .await;
}

#[tokio::test]
async fn a_web_page_connects_from_the_origins_that_are_listed_and_programs_always() {
    let mut settings = config();
    settings.hub.allowed_origins = Some(vec![
        "https://map.example.org".parse().unwrap(),
        "http://localhost:8080".parse().unwrap(),
    ]);
    with_app(settings, async |app| {
        for headers in [
            "",
            "Origin: https://map.example.org\r\n",
            "Origin: https://MAP.example.org:443\r\n",
            "Origin: http://localhost:8080\r\n",
        ] {
            accepted(app, headers).await.open("1").await;
        }
        let wrong = [
            "Origin: https://evil.example\r\n",
            "Origin: http://map.example.org\r\n",
            "Origin: https://map.example.org.evil.example\r\n",
            "Origin: https://map.example.org:8443\r\n",
            "Origin: http://localhost\r\n",
            "Origin: null\r\n",
            "Origin:\r\n",
            "Origin: https://map.example.org\r\nOrigin: https://evil.example\r\n",
            "Origin: \u{e9}\r\n",
        ];
        for headers in wrong {
            let response = refused(app.hub(), headers).await;
            assert_eq!(response.status, 403, "{headers}");
            assert!(response.body.contains("hub.allowed_origins"), "{}", response.body);
            assert!(!response.body.contains("evil"), "nothing of the request is repeated");
        }
        let count = wrong.len() as f64;
        app.metric_is("skynet_rejections_total", &[("reason", "origin")], count).await;
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_refusals_is_one_line_of_the_log() {
    let mut hub = Process::start(&[
        ("SKYNET_HUB__ALLOWED_ORIGINS", "https://map.example.org"),
        ("SKYNET_ADMIN__TOKEN", "a-token-that-is-long-enough"),
    ]);
    for _ in 0..30 {
        refused(hub.hub(), "Origin: https://evil.example\r\n").await;
    }
    hub.signal("TERM");
    hub.exit().await;
    let log = hub.log();
    let told = log.iter().filter(|line| {
        line.get("reason").is_some_and(|reason| reason.as_text().as_deref() == Some("origin"))
    });
    let told: Vec<_> = told.collect();
    // Thirty refusals take less than the ten seconds after which one more would be told.
    assert!((1..=2).contains(&told.len()), "{told:?}");
    assert!(told[0].text_of("address").starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn no_kind_of_refusal_and_no_client_closed_at_once_fills_the_log() {
    let mut hub = Process::start(&[]);
    let requests = [
        ("bad_handshake", "GET /connect HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 426),
        ("bad_name", upgrade("/connect?name=%07"), 400),
        ("bad_token", upgrade("/connect?token=of-nobody"), 101),
    ];
    for (reason, request, status) in &requests {
        for _ in 0..30 {
            let mut client = Raw::tcp(hub.hub()).await;
            client.write(request.as_bytes()).await;
            assert_eq!(client.answer().await.expect("an answer").status, *status, "{reason}");
            if *status == 101 {
                assert_eq!(client.close_code().await, Some(4502));
            }
        }
    }
    hub.signal("TERM");
    hub.exit().await;
    let log = hub.log();
    let lines = |key: &str, text: &str| {
        let is = |line: &&Json| line.get(key).and_then(Json::as_text).as_deref() == Some(text);
        log.iter().filter(is).count()
    };
    // One more is told when ten seconds have gone by.
    for (reason, ..) in &requests {
        assert!((1..=3).contains(&lines("reason", reason)), "{reason}");
    }
    assert!((1..=3).contains(&lines("message", "client connected")));
}
