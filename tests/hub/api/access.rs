//! Who may call, and what is answered to who may not, or asks for what is not there.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::{sync::oneshot, time::timeout};

use super::{Caller, config, problem};
use crate::support::{DEADLINE, http, wait_until, with_app};

#[tokio::test]
async fn without_a_known_token_nothing_is_answered() {
    with_app(config(), async |app| {
        let admin = app.admin();
        for (path, authorization) in [
            ("/api/v1/channels", ""),
            ("/api/v1/nowhere", ""),
            ("/api/v1/info", "Authorization: Basic b3duZXI6b3duZXI=\r\n"),
            ("/api/v1/info", "Authorization: Bearer wrong\r\n"),
            ("/api/v1/info?token=the-owner-of-this-test-0123456789", ""),
        ] {
            let request = format!("GET {path} HTTP/1.0\r\nHost: {admin}\r\n{authorization}\r\n");
            let response = http::send(admin, &request).await;
            assert_eq!(problem(&response, 401, None), "unauthorized");
            assert!(response.header("www-authenticate").unwrap().starts_with("Bearer"));
        }
    })
    .await;
}

#[tokio::test]
async fn wrong_tokens_wait_and_only_so_many_and_the_right_one_does_not() {
    with_app(config(), async |app| {
        let admin = app.admin();
        let wrong = format!(
            "GET /api/v1/info HTTP/1.0\r\nHost: {admin}\r\nAuthorization: Bearer wrong\r\n\r\n"
        );
        // The fastest of some: a machine that dawdles must not be taken for the hub that waits.
        let fastest = async |request: &str, status: u16| {
            let mut fastest = Duration::MAX;
            for _ in 0..5 {
                let began = Instant::now();
                assert_eq!(http::send(admin, request).await.status, status);
                fastest = fastest.min(began.elapsed());
            }
            fastest
        };
        let late = Duration::from_millis(250);
        let right = format!("{}\r\n", Caller::owner(app).head("GET", "/info"));
        assert!(fastest(&right, 200).await < late && fastest(&wrong, 401).await >= late);
        let mut refused = None;
        wait_until("there are more than may wait", async || {
            let mut answers = join_all((0..64).map(|_| http::send(admin, &wrong))).await;
            let late = answers.iter().filter(|answer| answer.status == 401).count();
            assert!(late >= 32, "{late} were answered late");
            refused = answers.drain(..).find(|answer| answer.status == 429);
            refused.is_some()
        })
        .await;
        let refused = refused.expect("it was waited for");
        assert_eq!(problem(&refused, 429, None), "too_many_failures");
        assert!(refused.header("retry-after").is_some());
        // While others are turned away, before the first call and after the last one.
        let (stop, mut stopped) = oneshot::channel();
        let flood = async {
            while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                join_all((0..64).map(|_| http::send(admin, &wrong))).await;
            }
        };
        let owner = async {
            let turned_away = async || {
                let labels = [("surface", "api")];
                app.metric("skynet_rate_limited_total", &labels).await
            };
            let (first, mut calls) = (turned_away().await, 0);
            while calls < 20 || turned_away().await == first {
                assert_eq!(Caller::owner(app).get("/info").await["stopping"], false);
                calls += 1;
            }
            stop.send(()).expect("it floods");
        };
        let both = async { tokio::join!(flood, owner) };
        timeout(DEADLINE, both).await.expect("some are turned away in time");
    })
    .await;
}

#[tokio::test]
async fn a_token_for_reading_reads_and_changes_nothing() {
    with_app(config(), async |app| {
        let reader = Caller::reader(app);
        for path in ["/channels", "/log", "/clients", "/bans", "/stats", "/info", "/config"] {
            reader.get(path).await;
        }
        let id = "018bcfe5-687b-7000-8a11-0c5f3e1d2b47";
        for (method, path, body) in [
            ("DELETE", "/log?all=true", ""),
            ("DELETE", &format!("/log/{id}"), ""),
            ("DELETE", "/clients/1", ""),
            ("DELETE", "/clients/1/channels/x", ""),
            ("DELETE", "/bans/1", ""),
            ("POST", "/messages", r#"{"channel":"x"}"#),
            ("POST", "/clients/kick", r#"{"all":true}"#),
            ("POST", "/bans", r#"{"name":"x"}"#),
            ("PUT", "/log-level", r#"{"log":"off"}"#),
        ] {
            let response = reader.tell(method, path, "", body).await;
            assert_eq!(problem(&response, 403, None), "forbidden", "{method} {path}");
        }
        assert_eq!(reader.get("/log").await["log"].as_array().unwrap().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_host_that_this_is_not_is_refused_but_for_health_and_metrics() {
    let mut config = config();
    config.admin.allowed_hosts = vec!["hub.example.org".to_owned()];
    with_app(config, async |app| {
        let ask = async |host: &str, path: &str| {
            let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
            http::send(app.admin(), &request).await
        };
        for path in ["/", "/docs", "/openapi.json", "/api/v1/info"] {
            let response = ask("attacker.example", path).await;
            assert_eq!(problem(&response, 421, None), "misdirected", "{path}");
            let expected = if path.starts_with("/api") { 401 } else { 200 };
            for host in ["127.0.0.1:4568", "localhost", "[::1]", "hub.example.org:80"] {
                assert_eq!(ask(host, path).await.status, expected, "{host} {path}");
            }
        }
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(ask("attacker.example", path).await.status, 200, "{path}");
        }
    })
    .await;
}

/// The first of them alone once was looked at.
#[tokio::test]
async fn a_request_that_names_two_hosts_is_a_bad_one() {
    with_app(config(), async |app| {
        let hosts = "Host: 127.0.0.1\r\nHost: attacker.example\r\n";
        for path in ["/docs", "/api/v1/info", "/healthz"] {
            let request = format!("GET {path} HTTP/1.0\r\n{hosts}\r\n");
            assert_eq!(http::send(app.admin(), &request).await.status, 400, "{path}");
        }
        let request = format!("GET /connect HTTP/1.1\r\nConnection: close\r\n{hosts}\r\n");
        assert_eq!(http::send(app.hub(), &request).await.status, 400);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_and_a_wrong_method_names_the_right_ones() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        for path in ["/nowhere", "/channels/", "/clients/1/channels", "/"] {
            assert_eq!(problem(&owner.call("GET", path).await, 404, None), "not_found", "{path}");
        }
        for (method, path, allowed) in [
            ("PUT", "/channels", "GET, HEAD"),
            ("POST", "/log", "DELETE, GET, HEAD"),
            ("GET", "/messages", "POST"),
            ("GET", "/clients/kick", "POST"),
            ("PATCH", "/clients/7", "DELETE, GET, HEAD"),
            ("OPTIONS", "/log-level", "PUT"),
        ] {
            let response = owner.call(method, path).await;
            assert_eq!(problem(&response, 405, None), "method_not_allowed");
            assert_eq!(response.header("allow"), Some(allowed), "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_wrong_parameter_is_named_and_what_is_allowed_is_said() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        for (path, field) in [
            ("/channels?limit=0", "limit"),
            ("/channels?limit=1001", "limit"),
            ("/channels?limit=many", "limit"),
            ("/channels?sort=size", "sort"),
            ("/channels?order=up", "order"),
            ("/channels?cursor=x", "cursor"),
            ("/channels?min_listeners=-1", "min_listeners"),
            ("/channels/1e999", "channel"),
            ("/channels/1e999/listeners", "channel"),
            ("/clients?address=everybody", "address"),
            ("/clients?state=asleep", "state"),
            ("/clients?state=closed&channel=x", "channel"),
            ("/clients/seven", "id"),
            ("/log?since=yesterday", "since"),
            ("/log?before=5", "before"),
            ("/log?start=1.5", "start"),
            ("/log?channel=1e999", "channel"),
            ("/log/5", "id"),
            ("/log/stream?count=0", "count"),
            ("/log/stream?last=1001", "last"),
        ] {
            let response = owner.call("GET", path).await;
            assert_eq!(problem(&response, 400, Some(field)), "invalid_parameter", "{path}");
            for internal in ["verification", "occurred while", "failed to parse"] {
                assert!(!response.body.contains(internal), "{path}: {}", response.body);
            }
        }
        for (path, field) in [
            ("/log", "channel"),
            ("/log?channel=x&all=true", "channel"),
            ("/clients/1?ban=soon", "ban"),
            ("/clients/1/channels/1e999", "channel"),
            ("/clients/x/channels/y", "id"),
        ] {
            let response = owner.call("DELETE", path).await;
            assert_eq!(problem(&response, 400, Some(field)), "invalid_parameter", "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_wrong_body_is_refused_and_its_field_is_named() {
    let mut config = config();
    config.limits.max_message_bytes = 8 * 1024;
    config.limits.max_frame_bytes = 16 * 1024;
    with_app(config, async |app| {
        let owner = Caller::owner(app);
        for (path, body, field) in [
            ("/messages", "", None),
            ("/messages", "[1]", None),
            ("/messages", "{", None),
            ("/messages", r#"{"message":1}"#, Some("channel")),
            ("/messages", r#"{"channel":null}"#, Some("channel")),
            ("/clients/kick", "{}", None),
            ("/clients/kick", r#"{"all":false}"#, Some("all")),
            ("/clients/kick", r#"{"all":false,"name":"x"}"#, Some("all")),
            ("/clients/kick", r#"{"all":true,"name":"x"}"#, None),
            ("/clients/kick", r#"{"all":"yes"}"#, Some("all")),
            ("/clients/kick", r#"{"all":true,"dryrun":true}"#, Some("dryrun")),
            ("/clients/kick", r#"{"address":"x"}"#, Some("address")),
            ("/clients/kick", r#"{"channel":[]}"#, Some("channel")),
            ("/bans", r#"{"name":""}"#, Some("name")),
            ("/bans", r#"{"name":"x","token":"x"}"#, None),
            ("/bans", r#"{"name":"x","duration":"soon"}"#, Some("duration")),
            ("/bans", r#"{"name":"x","expires_at":"2001-01-01T00:00:00Z"}"#, Some("expires_at")),
            (
                "/bans",
                r#"{"name":"x","duration":"1h","expires_at":"2100-01-01T00:00:00Z"}"#,
                Some("expires_at"),
            ),
        ] {
            let response = owner.tell("POST", path, "", body).await;
            assert_eq!(problem(&response, 400, field), "invalid_body", "{path} {body}");
        }
        let large = format!(r#"{{"channel":1,"message":"{}"}}"#, "x".repeat(8 * 1024));
        let response = owner.tell("POST", "/messages", "", &large).await;
        assert_eq!(problem(&response, 413, None), "too_large");
        let larger = "x".repeat(16 * 1024 + 1);
        let response = owner.tell("POST", "/bans", "", &larger).await;
        assert_eq!(problem(&response, 413, None), "too_large");
        let head = owner.head("POST", "/messages");
        let request = format!("{head}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}");
        let response = http::send(app.admin(), &request).await;
        assert_eq!(problem(&response, 415, None), "unsupported_media_type");
    })
    .await;
}

#[tokio::test]
async fn without_a_token_the_listener_serves_health_and_metrics_alone() {
    with_app(crate::support::config(), async |app| {
        assert_eq!(http::get(app.admin(), "/healthz").await.status, 200);
        assert_eq!(http::get(app.admin(), "/api/v1/info").await.status, 404);
        assert_eq!(http::get(app.admin(), "/docs").await.status, 404);
    })
    .await;
}
