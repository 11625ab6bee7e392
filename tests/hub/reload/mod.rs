//! Settings that change while the hub runs: what takes effect, what waits, what is refused, and that
//! nobody who talks meanwhile notices.

mod files;
mod listeners;
#[cfg(target_os = "linux")]
mod process;

use std::{net::SocketAddr, path::PathBuf};

use serde_json::{Value, json};
use skynet::config::{Loaded, Sources, load};
use tempfile::TempDir;

use crate::api::{Caller, READ_TOKEN, TOKEN, json, problem};
use crate::support::{
    TestApp, http,
    raw::{PING, PONG, Raw, masked, publication, upgrade},
    wait_until, with_app,
};

/// A folder with a configuration file that the test changes.
struct Owner {
    folder: TempDir,
}

impl Owner {
    fn new(text: &str) -> Owner {
        let owner = Owner { folder: tempfile::tempdir().expect("a folder") };
        owner.writes(text);
        owner
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the file is written");
    }

    /// Writes the file anew: this, behind ports that the system chooses and the owner's tokens.
    fn writes(&self, text: &str) {
        self.puts_tokens(TOKEN, text);
    }

    fn puts_tokens(&self, token: &str, text: &str) {
        let admin = format!(
            "[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{token}\"\nread_token = \"{READ_TOKEN}\"\n"
        );
        // What the test wants of the section comes behind its head.
        let (of_admin, rest) =
            text.split_once("[admin]\n").map_or(("", text), |(before, after)| {
                assert_eq!(before, "", "[admin] stands first");
                after.split_once("\n\n").unwrap_or((after, ""))
            });
        let hub = "[hub]\nlisten = \"127.0.0.1:0\"\n";
        let (of_hub, rest) = match rest.strip_prefix("[hub]\n") {
            Some(rest) => rest.split_once("\n\n").unwrap_or((rest, "")),
            None => ("", rest),
        };
        self.put("skynet.toml", &format!("{admin}{of_admin}\n{hub}{of_hub}\n{rest}\n"));
    }

    fn loaded(&self) -> Loaded {
        let sources = Sources { file: Some(self.path("skynet.toml")), ..Sources::default() };
        load(&sources).expect("the file is good")
    }
}

/// Has the settings read again, which must succeed.
async fn reloaded(app: &TestApp) -> Value {
    json(&Caller::owner(app).call("POST", "/config/reload").await, 200)
}

/// A client that shows a token.
async fn holder(hub: SocketAddr, token: &str) -> Raw {
    let mut client = Raw::tcp(hub).await;
    client.write(upgrade(&format!("/connect?token={token}")).as_bytes()).await;
    client.accepted().await;
    client
}

async fn setting(app: &TestApp, name: &str) -> Value {
    let all = Caller::reader(app).get("/config").await;
    let all = all["settings"].as_array().expect("a list").clone();
    all.into_iter().find(|one| one["setting"] == name).expect("a known setting")
}

#[tokio::test]
async fn limits_apply_to_those_who_are_there_and_the_answer_names_them() {
    let owner = Owner::new("");
    with_app(owner.loaded(), async |app| {
        let mut client = app.listener("1").await;
        client.open(r#""0123456789""#).await;
        owner.writes(
            "[limits]\nmax_channels_per_client = 2\nmax_clients = 2\nmax_channel_name_bytes = 9\n",
        );
        let report = reloaded(app).await;
        let names = json!([
            "limits.max_clients",
            "limits.max_channels_per_client",
            "limits.max_channel_name_bytes"
        ]);
        assert_eq!((&report["changed"], &report["applied"]), (&names, &names));
        assert_eq!((&report["needs_restart"], &report["closed_clients"]), (&json!([]), &json!(0)));
        // Or nobody who has it open could get rid of it.
        client.command(r#"{"type":"close","channel":"0123456789"}"#).await;
        client.open("2").await;
        let text = client.refused(r#"{"type":"open","channel":3}"#).await;
        assert!(text.contains('2'), "{text}");
        let text = client.refused(r#"{"type":"open","channel":"0123456789"}"#).await;
        assert!(text.contains('9'), "{text}");
        let _second = app.client().await;
        let mut third = Raw::tcp(app.hub()).await;
        third.write(upgrade("/connect").as_bytes()).await;
        assert_eq!(third.answer().await.map(|answer| answer.status), Some(503));
        assert_eq!(setting(app, "limits.max_clients").await["value"], "2");
        let metrics = http::fresh_metrics(app.admin()).await;
        assert_eq!(http::sample(&metrics, "skynet_clients_limit", &[]), 2.0);
        assert_eq!(reloaded(app).await["changed"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_bad_file_is_refused_with_all_that_is_wrong_and_nothing_changes() {
    let owner = Owner::new("");
    with_app(owner.loaded(), async |app| {
        owner.writes("[limits]\nmax_clients = 0\nping_interval = \"1s\"\nmax_client = 5\n");
        let refused = Caller::owner(app).call("POST", "/config/reload").await;
        assert_eq!(problem(&refused, 409, Some("limits.max_client")), "invalid_config");
        let answer: Value = serde_json::from_str(&refused.body).expect("JSON");
        assert_eq!(answer["errors"][1]["field"], "limits.max_clients");
        let detail = answer["errors"][1]["detail"].as_str().expect("a text");
        assert!(detail.contains("allowed are 1 to") && detail.contains("line "), "{detail}");
        assert_eq!(setting(app, "limits.ping_interval").await["value"], "\"25s\"");
        let seen = async |name, labels: &[(&str, &str)]| app.metric(name, labels).await;
        assert_eq!(seen("skynet_config_last_reload_successful", &[]).await, 0.0);
        assert_eq!(seen("skynet_config_reloads_total", &[("result", "refused")]).await, 1.0);
        let since = seen("skynet_config_last_reload_success_timestamp_seconds", &[]).await;
        assert!(since > 1e9, "the start was good: {since}");
        owner.put("skynet.toml", "hub = [");
        let refused = Caller::owner(app).call("POST", "/config/reload").await;
        assert!(refused.body.contains("this is not TOML"), "{}", refused.body);
        std::fs::remove_file(owner.path("skynet.toml")).expect("it was there");
        let refused = Caller::owner(app).call("POST", "/config/reload").await;
        assert!(refused.body.contains("it does not exist"), "{}", refused.body);
        owner.writes("");
        reloaded(app).await;
        assert_eq!(seen("skynet_config_last_reload_successful", &[]).await, 1.0);
        assert_eq!(seen("skynet_config_reloads_total", &[("result", "applied")]).await, 1.0);
    })
    .await;
}

#[tokio::test]
async fn only_the_full_token_has_the_settings_read() {
    let owner = Owner::new("");
    with_app(owner.loaded(), async |app| {
        let refused = Caller::reader(app).call("POST", "/config/reload").await;
        assert_eq!(problem(&refused, 403, None), "forbidden");
        let refused = Caller::with(app, "nobody").call("POST", "/config/reload").await;
        assert_eq!(refused.status, 401);
    })
    .await;
}

#[tokio::test]
async fn what_only_a_restart_changes_waits_and_is_shown() {
    let owner = Owner::new("");
    with_app(owner.loaded(), async |app| {
        owner.writes("[telemetry]\nformat = \"json\"\n\n[limits]\nping_interval = \"20s\"\n");
        let report = reloaded(app).await;
        assert_eq!(report["needs_restart"], json!(["telemetry.format"]));
        assert_eq!(report["applied"], json!(["limits.ping_interval"]));
        let shown = setting(app, "telemetry.format").await;
        assert_eq!(
            (&shown["value"], &shown["after_restart"]),
            (&json!("\"auto\""), &json!("\"json\""))
        );
        let again = reloaded(app).await;
        assert_eq!(
            (&again["changed"], &again["needs_restart"]),
            (&json!([]), &json!(["telemetry.format"]))
        );
    })
    .await;
}

fn tokens(of: &[(&str, &str)]) -> String {
    let entry = |(name, token): &(&str, &str)| {
        format!("[[hub.tokens]]\nname = \"{name}\"\ntoken = \"{token}\"\n")
    };
    of.iter().map(entry).collect()
}

#[tokio::test]
async fn who_came_by_a_token_that_is_gone_is_closed_at_once_and_nobody_else() {
    let kept = ("kept", "the-token-that-is-kept-0123");
    let owner = Owner::new(&tokens(&[
        ("gone", "the-token-that-is-gone-0123"),
        kept,
        ("new", "old-0123456789-0123"),
    ]));
    with_app(owner.loaded(), async |app| {
        let mut guest = app.listener("1").await;
        let mut gone = holder(app.hub(), "the-token-that-is-gone-0123").await;
        let mut stays = holder(app.hub(), kept.1).await;
        let mut renewed = holder(app.hub(), "old-0123456789-0123").await;
        owner.writes(&tokens(&[kept, ("new", "another-0123456789-0123")]));
        let report = reloaded(app).await;
        assert_eq!(
            (&report["applied"], &report["closed_clients"]),
            (&json!(["hub.tokens"]), &json!(2))
        );
        for client in [&mut gone, &mut renewed] {
            let (code, reason) = client.closed_after(|_| ()).await;
            assert_eq!((code, reason.as_str()), (Some(4502), "the token is accepted no more"));
        }
        stays.publish("1", "5").await;
        assert_eq!(guest.event().await.number_of("message"), 5.0);
        for refused in ["the-token-that-is-gone-0123", "old-0123456789-0123"] {
            assert_eq!(holder(app.hub(), refused).await.close_code().await, Some(4502));
        }
        holder(app.hub(), "another-0123456789-0123").await.publish("1", "6").await;
        assert_eq!(guest.event().await.number_of("message"), 6.0);
    })
    .await;
}

#[tokio::test]
async fn changed_rights_meet_those_who_connect_from_then_on() {
    let owner = Owner::new("");
    with_app(owner.loaded(), async |app| {
        let mut before = app.client().await;
        owner.writes("[guests]\nread = [\"public\"]\n");
        assert_eq!(reloaded(app).await["applied"], json!(["guests.read"]));
        before.open("\"private\"").await;
        let mut after = app.client().await;
        after.open("\"public\"").await;
        let text = after.refused(r#"{"type":"open","channel":"private"}"#).await;
        assert!(text.contains("Not allowed"), "{text}");
        owner.writes(&format!(
            "[hub]\nrequire_token = true\n\n{}",
            tokens(&[("a", "the-token-of-a-0123456789")])
        ));
        reloaded(app).await;
        assert_eq!(app.client().await.close_code().await, Some(4502));
        before.publish("\"private\"", "1").await;
    })
    .await;
}

#[tokio::test]
async fn the_owners_tokens_change_and_streams_by_the_old_one_end() {
    const ANOTHER: &str = "the-owner-of-this-test-has-another";
    let owner = Owner::new("");
    with_app(owner.loaded(), async |app| {
        let head = Caller::owner(app).head("GET", "/log/stream");
        let request = format!("{head}\r\n");
        let admin = app.admin();
        let stream = tokio::spawn(async move { http::send(admin, &request).await });
        wait_until("the stream is read", async || app.stats().taps == 1).await;
        owner.puts_tokens(ANOTHER, "");
        assert_eq!(reloaded(app).await["applied"], json!(["admin.token"]));
        assert_eq!(stream.await.expect("it ends").status, 200);
        assert_eq!(Caller::owner(app).call("GET", "/info").await.status, 401);
        assert_eq!(Caller::with(app, ANOTHER).call("GET", "/info").await.status, 200);
        assert_eq!(Caller::reader(app).call("GET", "/info").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_log_that_shrinks_gives_up_its_oldest_messages() {
    let owner = Owner::new("[limits]\nmessages_per_second = 1000000\nmessage_burst = 1000000\n");
    with_app(owner.loaded(), async |app| {
        let mut client = app.client().await;
        for number in 0..2_000 {
            client.send(&publication("1", &number.to_string())).await;
        }
        wait_until("all are logged", async || app.stats().log_messages == 2_000).await;
        // More than goes in one step.
        owner.writes(
            "[limits]\nmessages_per_second = 1000000\n\n[message_log]\nmax_messages = 10\n",
        );
        reloaded(app).await;
        assert_eq!(app.stats().log_messages, 10);
        let log = Caller::reader(app).get("/log").await;
        assert_eq!(log["log"][9]["message"], 1_990, "{log}");
        client.publish("1", "5").await;
        assert_eq!(app.stats().log_messages, 10);
    })
    .await;
}

#[tokio::test]
async fn a_queue_that_is_too_long_for_the_new_total_goes_and_the_others_stay() {
    let roomy = "[limits]\nmessages_per_second = 1000000\nmax_queue_bytes = \"16MiB\"\n";
    let owner = Owner::new(roomy);
    with_app(owner.loaded(), async |app| {
        let mut slow = Raw::narrow(app.hub()).await;
        slow.open("1").await;
        let mut publisher = app.client().await;
        let text = format!("\"{}\"", "m".repeat(100_000));
        wait_until("much is queued", async || {
            publisher.publish("1", &text).await;
            app.stats().queued_bytes > 8 << 20
        })
        .await;
        owner.writes("[limits]\nmax_queue_bytes = \"1MiB\"\ntotal_queue_bytes = \"1MiB\"\n");
        reloaded(app).await;
        assert!(app.stats().queued_bytes <= 1 << 20);
        assert_eq!(slow.closed_or_reset_after(|_| ()).await.and_then(|(code, _)| code), Some(4000));
        publisher.publish("1", "1").await;
    })
    .await;
}

#[tokio::test]
async fn a_shorter_ping_interval_and_another_rate_hold_for_those_who_are_there() {
    let owner = Owner::new("[limits]\nmessages_per_second = 1\nmessage_burst = 1\n");
    with_app(owner.loaded(), async |app| {
        let mut client = app.client().await;
        client.command(r#"{"type":"ping"}"#).await;
        assert!(client.refused(r#"{"type":"ping"}"#).await.contains("1 "));
        owner.writes("[limits]\nping_interval = \"100ms\"\nmessages_per_second = 1000000\n");
        reloaded(app).await;
        let frame = client.frame().await;
        assert_eq!(frame.opcode, PING);
        client.write(&masked(PONG, &frame.payload)).await;
        for _ in 0..5 {
            client.command(r#"{"type":"ping"}"#).await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_may_see_the_metrics_and_which_channels_they_name_can_change() {
    let owner = Owner::new("");
    with_app(owner.loaded(), async |app| {
        let mut client = app.listener("\"chat\"").await;
        assert_eq!(http::get(app.admin(), "/metrics").await.status, 200);
        owner.writes("[metrics]\nrequire_token = true\nchannels = [\"chat\"]\n");
        reloaded(app).await;
        assert_eq!(http::get(app.admin(), "/metrics").await.status, 401);
        client.publish("\"chat\"", "1").await;
        let counted = async || {
            let (admin, token) = (app.admin(), TOKEN);
            let request = format!(
                "GET /metrics HTTP/1.0\r\nHost: {admin}\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            let page = http::send(admin, &request).await.body;
            http::sample(&page, "skynet_channel_messages_total", &[("channel", "chat")]) == 1.0
        };
        wait_until("the channel is counted", counted).await;
        owner.writes("");
        reloaded(app).await;
        assert_eq!(http::get(app.admin(), "/metrics").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn names_of_hosts_and_the_address_for_players_can_change() {
    let owner = Owner::new("");
    with_app(owner.loaded(), async |app| {
        let asked = async |host: &str| {
            let request = format!("GET /openapi.json HTTP/1.0\r\nHost: {host}\r\n\r\n");
            http::send(app.admin(), &request).await.status
        };
        assert_eq!(asked("hub.example.org").await, 421);
        owner.writes("[admin]\nallowed_hosts = [\"hub.example.org\"]\n\n[hub]\npublic_url = \"https://play.example.org\"\n\n");
        reloaded(app).await;
        assert_eq!(asked("hub.example.org").await, 200);
        let page = http::get(app.hub(), "/install.lua").await;
        assert!(page.body.contains("https://play.example.org"), "{}", page.body);
    })
    .await;
}

#[tokio::test]
async fn those_who_ask_at_once_are_served_one_after_the_other() {
    let owner = Owner::new("");
    with_app(owner.loaded(), async |app| {
        owner.writes("[limits]\nmax_clients = 50\n");
        let all = (0..20).map(|_| reloaded(app));
        let reports = futures_util::future::join_all(all).await;
        let changed = reports.iter().filter(|report| report["changed"] != json!([])).count();
        assert_eq!(changed, 1, "the first finds a change, the others what it has made");
    })
    .await;
}

#[tokio::test]
async fn nothing_is_lost_while_settings_are_read_again_and_again() {
    const LISTENERS: usize = 50;
    let base = "messages_per_second = 1000000\nmessage_burst = 1000000\n";
    let owner = Owner::new(&format!("[limits]\n{base}"));
    with_app(owner.loaded(), async |app| {
        let mut listeners = Vec::new();
        for _ in 0..LISTENERS {
            listeners.push(app.listener("\"x\"").await);
        }
        let reading: Vec<_> = listeners
            .into_iter()
            .map(|mut listener| {
                tokio::spawn(async move {
                    let mut expected = 0.0;
                    loop {
                        let event = listener.event().await;
                        let Some(number) = event.get("message").and_then(|m| m.as_number()) else {
                            return (listener, expected);
                        };
                        assert_eq!(number, expected, "in order, none left out");
                        expected += 1.0;
                    }
                })
            })
            .collect();
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let mut publisher = app.client().await;
        let publishing = tokio::spawn(async move {
            let mut sent = 0_u32;
            while stopped.try_recv().is_err() {
                publisher.publish("\"x\"", &sent.to_string()).await;
                sent += 1;
            }
            publisher.publish("\"x\"", "\"end\"").await;
            (publisher, sent)
        });
        for round in 0..20 {
            let before = app.stats().totals.messages.iter().sum::<u64>();
            wait_until("messages go on", async || {
                app.stats().totals.messages.iter().sum::<u64>() > before + 5
            })
            .await;
            if round % 2 == 0 {
                let (log, clients) = (5 + round * 40, 100 + round);
                owner.writes(&format!(
                    "[limits]\n{base}max_clients = {clients}\nping_interval = \"{}s\"\n\n\
                     [message_log]\nmax_messages = {log}\n\n[guests]\nread = [\"x\", {round}]\n",
                    10 + round
                ));
                assert_eq!(reloaded(app).await["needs_restart"], json!([]));
            } else {
                owner.writes("[limits]\nmax_clients = 0\n");
                let refused = Caller::owner(app).call("POST", "/config/reload").await;
                assert_eq!(refused.status, 409);
            }
        }
        stop.send(()).expect("it publishes still");
        let (_publisher, sent) = publishing.await.expect("it came through");
        assert!(sent > 100, "{sent}");
        for listener in reading {
            let (_listener, seen) = listener.await.expect("it came through");
            assert_eq!(seen, f64::from(sent), "each message reached each listener once");
        }
    })
    .await;
}

#[tokio::test]
async fn a_lower_bound_for_unfinished_frames_closes_those_who_keep_the_most_at_once() {
    let frames =
        |total| format!("[limits]\nmax_frame_bytes = 131072\ntotal_partial_bytes = {total}\n");
    let owner = Owner::new(&frames(400_000));
    with_app(owner.loaded(), async |app| {
        let frame = masked(1, &[b' '; 131_000]);
        let (mut small, mut large) = (app.client().await, app.client().await);
        small.write(&frame[..50_000]).await;
        large.write(&frame[..120_000]).await;
        app.metric_is("skynet_partial_bytes", &[], 170_000.0).await;
        owner.writes(&frames(150_000));
        reloaded(app).await;
        assert_eq!(large.close_code().await, Some(1009));
        app.metric_is("skynet_partial_bytes", &[], 50_000.0).await;
    })
    .await;
}
