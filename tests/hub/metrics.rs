//! `/metrics` over real sockets: each family moves when its thing happens, who may see it, and what
//! it never names.

use std::collections::BTreeSet;

use skynet::config::{Config, ListedChannel};

use super::api::{Caller, READ_TOKEN, TOKEN, config, problem};
use crate::support::{
    TestApp,
    http::{self, Response, sample},
    raw::Raw,
    wait_until, with_app,
};

/// A metric, its labels, and its value.
type Expected = (&'static str, &'static [(&'static str, &'static str)], f64);

/// Waits until all of these metrics have these values.
async fn are(app: &TestApp, expected: &[Expected]) {
    for (name, labels, value) in expected {
        app.metric_is(name, labels, *value).await;
    }
}

async fn ask(app: &TestApp, token: Option<&str>) -> Response {
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let bearer = bearer.unwrap_or_default();
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {}\r\n{bearer}\r\n", app.admin());
    http::send(app.admin(), &request).await
}

/// The series of a page, without their values.
fn series(page: &str) -> BTreeSet<String> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

#[tokio::test]
async fn commands_messages_and_deliveries_are_counted_and_timed() {
    with_app(config(), async |app| {
        let mut listeners = [app.listener("\"x\"").await, app.listener("\"*\"").await];
        let mut client = app.client().await;
        client.publish("\"x\"", "1").await;
        Caller::owner(app).post("/messages", r#"{"channel":"x","message":2}"#, 201).await;
        for listener in &mut listeners {
            listener.event().await;
            listener.event().await;
        }
        client.refused(r#"{"type":"close","channel":"y"}"#).await;
        client.refused(r#"{"type":"bogus"}"#).await;
        client.refused("{").await;
        are(
            app,
            &[
                ("skynet_connections_total", &[], 3.0),
                ("skynet_commands_total", &[("command", "open"), ("result", "ok")], 2.0),
                ("skynet_commands_total", &[("command", "close"), ("result", "refused")], 1.0),
                ("skynet_commands_total", &[("command", "unknown")], 2.0),
                ("skynet_commands_total", &[("command", "message"), ("result", "ok")], 1.0),
                ("skynet_refused_commands_total", &[("reason", "not_open")], 1.0),
                ("skynet_refused_commands_total", &[("reason", "unknown_command")], 1.0),
                ("skynet_refused_commands_total", &[("reason", "syntax")], 1.0),
                ("skynet_messages_total", &[("source", "client")], 1.0),
                ("skynet_messages_total", &[("source", "api")], 1.0),
                ("skynet_deliveries_total", &[], 4.0),
                ("skynet_clients", &[("protocol", "v1")], 3.0),
                ("skynet_clients", &[("protocol", "v2")], 0.0),
                ("skynet_log_messages", &[], 2.0),
            ],
        )
        .await;
        let page = http::metrics(app.admin()).await;
        for (name, count) in [
            ("skynet_message_bytes_count", 2.0),
            ("skynet_message_listeners_count", 2.0),
            ("skynet_message_listeners_sum", 4.0),
            ("skynet_delivery_duration_seconds_count", 2.0),
            ("skynet_command_duration_seconds_count", 6.0),
        ] {
            assert_eq!(sample(&page, name, &[]), count, "{name}");
        }
        for name in ["skynet_delivery_duration_seconds_sum", "skynet_command_duration_seconds_sum"]
        {
            let seconds = sample(&page, name, &[]);
            assert!((1e-9..20.0).contains(&seconds), "{name} is {seconds}");
        }
        for name in ["skynet_received_bytes_total", "skynet_sent_bytes_total"] {
            assert!(sample(&page, name, &[]) > 100.0, "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn refusals_kicks_bans_wrong_tokens_and_evictions_are_counted_by_reason() {
    let mut config = config();
    config.limits.max_clients = 2;
    config.limits.messages_per_second = 1;
    config.limits.message_burst = 4;
    config.message_log.max_messages = 2;
    with_app(config, async |app| {
        let owner = Caller::owner(app);
        let mut client = app.client().await;
        for number in 0..4 {
            client.publish("\"x\"", &number.to_string()).await;
        }
        client.refused(r#"{"type":"log"}"#).await;
        let mut kicked = app.client().await;
        assert_eq!(http::get(app.hub(), "/nowhere").await.status, 404);
        let full = http::send(app.hub(), &crate::support::raw::upgrade("/connect")).await;
        assert_eq!(full.status, 503);
        let ban = r#"{"address":"192.0.2.1","reason":"x"}"#;
        owner.post("/bans", ban, 201).await;
        owner.post("/clients/kick", r#"{"all":true,"reason":"x"}"#, 200).await;
        assert_eq!(kicked.close_code().await, Some(4500));
        let stranger = Caller::with(app, "no token of this hub at all");
        assert_eq!(stranger.call("GET", "/info").await.status, 401);
        drop(client);
        are(
            app,
            &[
                ("skynet_rejections_total", &[("reason", "full")], 1.0),
                ("skynet_rejections_total", &[("reason", "not_found")], 1.0),
                ("skynet_disconnects_total", &[("reason", "kicked")], 2.0),
                ("skynet_auth_failures_total", &[("surface", "api")], 1.0),
                ("skynet_auth_failures_total", &[("surface", "hub")], 0.0),
                ("skynet_rate_limited_total", &[("surface", "hub")], 1.0),
                ("skynet_rate_limited_total", &[("surface", "api")], 0.0),
                ("skynet_log_evictions_total", &[], 2.0),
                ("skynet_log_messages_limit", &[], 2.0),
                ("skynet_clients_limit", &[], 2.0),
                ("skynet_bans", &[], 1.0),
            ],
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn requests_are_counted_by_route_and_never_as_they_were_asked() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let at_first = series(&http::metrics(app.admin()).await);
        for id in ["1", "2", "a-word"] {
            owner.call("GET", &format!("/clients/{id}")).await;
        }
        owner.get("/channels?limit=7").await;
        owner.call("PATCH", "/channels").await;
        owner.call("BREW", "/channels").await;
        for path in ["/nowhere/a", "/nowhere/b"] {
            owner.call("GET", path).await;
        }
        http::get(app.hub(), "/healthz").await;
        let client = app.client().await;
        are(
            app,
            &[
                (
                    "skynet_http_requests_total",
                    &[("route", "/api/v1/clients/{id}"), ("method", "GET"), ("status", "404")],
                    2.0,
                ),
                (
                    "skynet_http_requests_total",
                    &[("route", "/api/v1/clients/{id}"), ("status", "400")],
                    1.0,
                ),
                (
                    "skynet_http_requests_total",
                    &[("route", "/api/v1/channels"), ("status", "200")],
                    1.0,
                ),
                (
                    "skynet_http_requests_total",
                    &[("route", "/api/v1/channels"), ("method", "PATCH"), ("status", "405")],
                    1.0,
                ),
                (
                    "skynet_http_requests_total",
                    &[("route", "/api/v1/channels"), ("method", "other"), ("status", "405")],
                    1.0,
                ),
                ("skynet_http_requests_total", &[("route", "none"), ("status", "404")], 2.0),
                ("skynet_http_requests_total", &[("route", "/healthz"), ("status", "200")], 1.0),
                ("skynet_http_requests_total", &[("route", "/connect"), ("status", "101")], 1.0),
                ("skynet_http_request_duration_seconds_count", &[("route", "/connect")], 1.0),
            ],
        )
        .await;
        let now = series(&http::metrics(app.admin()).await);
        let new: Vec<_> = now.difference(&at_first).collect();
        // Of what the document declares nothing is new: the two methods it does not know are.
        for line in &new {
            let known = line.contains("method=\"PATCH\"") || line.contains("method=\"other\"");
            assert!(known, "{line}");
        }
        for word in ["nowhere", "a-word", "BREW", "limit="] {
            let named = now.iter().find(|line| line.contains(word));
            assert_eq!(named, None);
        }
        drop(client);
    })
    .await;
}

#[tokio::test]
async fn a_stream_is_counted_when_it_begins_and_among_those_that_are_read() {
    with_app(config(), async |app| {
        let mut reader = Raw::tcp(app.admin()).await;
        let head = Caller::owner(app).head("GET", "/log/stream");
        reader.write(format!("{head}\r\n").as_bytes()).await;
        app.metric_is("skynet_log_streams", &[], 1.0).await;
        let labels = [("route", "/api/v1/log/stream"), ("status", "200")];
        app.metric_is("skynet_http_requests_total", &labels, 1.0).await;
        drop(reader);
        app.metric_is("skynet_log_streams", &[], 0.0).await;
    })
    .await;
}

#[tokio::test]
async fn clients_and_channels_change_no_series() {
    with_app(config(), async |app| {
        // What only a page that has been served counts is there from the start too.
        let before = series(&http::fresh_metrics(app.admin()).await);
        let mut clients = vec![];
        for number in 0..20 {
            let mut client = app.listener(&format!("\"channel {number}\"")).await;
            client.publish("\"everybody\"", "1").await;
            clients.push(client);
        }
        let after = series(&http::fresh_metrics(app.admin()).await);
        assert_eq!(after.symmetric_difference(&before).collect::<Vec<_>>(), [""; 0]);
        assert!(before.len() < 1000, "{} series", before.len());
    })
    .await;
}

#[tokio::test]
async fn a_second_asker_gets_the_page_of_the_first_and_a_later_one_a_new_page() {
    with_app(config(), async |app| {
        // The first of these is young, whenever the one before it was written.
        http::fresh_metrics(app.admin()).await;
        let pages = tokio::join!(http::metrics(app.admin()), http::metrics(app.admin()));
        assert!(pages.0 == pages.1, "both are written once");
        assert_ne!(http::fresh_metrics(app.admin()).await, pages.0);
    })
    .await;
}

#[tokio::test]
async fn both_tokens_open_metrics_that_ask_for_one_and_nothing_else_does() {
    let mut config = config();
    config.metrics.require_token = true;
    let app = TestApp::start(config).await;
    for token in [None, Some("not a token of this hub")] {
        let refused = ask(&app, token).await;
        assert_eq!(problem(&refused, 401, None), "unauthorized");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"skynet\""));
    }
    for token in [TOKEN, READ_TOKEN] {
        let page = ask(&app, Some(token)).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let failures = sample(&page.body, "skynet_auth_failures_total", &[("surface", "api")]);
        assert_eq!(failures, 1.0, "the wrong one");
    }
    app.stop().await;
}

#[tokio::test]
async fn where_no_token_can_be_had_metrics_that_ask_for_one_say_so() {
    let mut config = crate::support::config();
    config.metrics.require_token = true;
    let app = TestApp::start(config).await;
    let refused = ask(&app, Some(TOKEN)).await;
    assert_eq!(problem(&refused, 401, None), "unauthorized");
    assert!(refused.body.contains("the admin API is off"), "{}", refused.body);
    app.stop().await;
}

#[tokio::test]
async fn listed_channels_are_counted_one_by_one_and_others_are_not_named() {
    let mut config: Config = config();
    config.metrics.require_token = true;
    config.metrics.channels = vec![
        ListedChannel::Text("x".to_owned()),
        ListedChannel::Number(5.0),
        ListedChannel::Text("5".to_owned()),
    ];
    config.message_log.max_messages = 1;
    config.validate().expect("a good configuration");
    let app = TestApp::start(config).await;
    let mut listener = app.listener("\"x\"").await;
    let mut client = app.client().await;
    for channel in ["\"x\"", "5.0", "\"secret\"", "\"x\""] {
        client.publish(channel, "1").await;
    }
    listener.event().await;
    listener.event().await;
    // Its entry goes with the listener and the log's one place, and comes again.
    drop(listener);
    wait_until("it has gone", async || app.stats().clients == 1).await;
    client.publish("\"other\"", "1").await;
    client.publish("\"x\"", "1").await;
    let page = ask(&app, Some(TOKEN)).await.body;
    for (name, channel, value) in [
        ("messages_total", "x", 3.0),
        ("deliveries_total", "x", 2.0),
        ("listeners", "x", 0.0),
        ("messages_total", "5", 1.0),
        ("messages_total", "\\\"5\\\"", 0.0),
    ] {
        let name = format!("skynet_channel_{name}");
        assert_eq!(sample(&page, &name, &[("channel", channel)]), value, "{name} {channel}");
    }
    assert!(!page.contains("secret") && !page.contains("other\"}"), "{page}");
    drop(client);
    app.stop().await;
}
