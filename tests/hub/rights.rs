//! Private channels on a public server: what clients without a token and with each token may do.

use serde_json::json;
use skynet::config::{ChannelPattern, Config, HubToken, RightsConfig, Secret, Sources};

use crate::api::{Caller, config};
use crate::support::{
    TestApp,
    json::Json,
    raw::{BINARY, Raw, masked, parsed, upgrade},
    with_app,
};
use crate::value::Cbor;

const BASE: &str = "the-token-of-the-base-0123456789";

fn patterns(texts: &[&str]) -> Option<Vec<ChannelPattern>> {
    Some(texts.iter().map(|&text| ChannelPattern::Text(text.into())).collect())
}

/// A hub whose channels `base.*` are for the token alone, which may do everything.
fn private() -> Config {
    let mut config = config();
    config.guests = RightsConfig {
        read: patterns(&["public.*"]),
        write: patterns(&["public.*", "inbox"]),
        ..Default::default()
    };
    config.hub.tokens = vec![HubToken::new("base", Secret::new(BASE))];
    config
}

/// A client that shows a token.
async fn holder(app: &TestApp, token: &str) -> Raw {
    let mut client = Raw::tcp(app.hub()).await;
    client.write(upgrade(&format!("/connect?token={token}")).as_bytes()).await;
    client.accepted().await;
    client
}

fn message(channel: &str) -> String {
    format!(r#"{{"type":"message","channel":{channel},"message":1}}"#)
}

fn open(channel: &str) -> String {
    format!(r#"{{"type":"open","channel":{channel}}}"#)
}

async fn is_refused(client: &mut Raw, command: &str, channel: &str) {
    let text = client.refused(command).await;
    assert!(text.starts_with("Error: Not allowed: you may not "), "{command}: {text}");
    assert!(text.contains(&format!("channel {channel}")), "{command}: {text}");
    assert!(text.contains("ask the owner of this hub for a token"), "{command}: {text}");
}

/// The channels of the entries in the log, newest first, as JSON.
async fn logged(client: &mut Raw, arguments: &str) -> Vec<String> {
    let reply = client.command(&format!(r#"{{"type":"log"{arguments}}}"#)).await;
    let entries = reply.array_of("log").iter();
    entries.map(|entry| format!("{:?}", entry.get("channel").expect("a channel"))).collect()
}

#[tokio::test]
async fn who_has_no_token_can_neither_open_nor_write_nor_overhear_nor_look_up_what_is_private() {
    with_app(private(), async |app| {
        let mut guest = app.client().await;
        let mut base = holder(app, BASE).await;
        for channel in ["base.door", "5", "public", "Public.x", "*"] {
            let json = if channel == "5" { "5".into() } else { format!("\"{channel}\"") };
            is_refused(&mut guest, &open(&json), channel).await;
            is_refused(&mut guest, &message(&json), channel).await;
            base.open(&json).await;
        }
        base.publish("\"base.door\"", "1").await;
        base.publish("\"*\"", "1").await;
        base.publish("5", "1").await;
        assert_eq!(logged(&mut guest, "").await, [""; 0]);
        assert_eq!(logged(&mut base, "").await, ["5", "\"*\"", "\"base.door\""]);
        assert_eq!(guest.received().await, [""; 0]);
        assert_eq!(base.received().await, [""; 0], "nothing of what was refused went out");
        let labels = [("reason", "not_allowed")];
        app.metric_is("skynet_refused_commands_total", &labels, 10.0).await;
    })
    .await;
}

#[tokio::test]
async fn what_is_public_is_as_open_as_ever() {
    with_app(private(), async |app| {
        let (mut one, mut two) = (app.client().await, app.client().await);
        let mut base = holder(app, BASE).await;
        base.open("\"*\"").await;
        one.open("\"public.chat\"").await;
        two.publish("\"public.chat\"", "1").await;
        base.publish("\"public.chat\"", "2").await;
        assert_eq!(one.event().await.number_of("message"), 1.0);
        assert_eq!(one.event().await.number_of("message"), 2.0);
        assert_eq!(base.event().await.number_of("message"), 1.0);
        // It may send where it may not listen, and then does not see it in the log.
        two.publish("\"inbox\"", "3").await;
        is_refused(&mut two, &open("\"inbox\""), "inbox").await;
        assert_eq!(base.event().await.number_of("message"), 3.0);
        assert_eq!(logged(&mut two, "").await, ["\"public.chat\"", "\"public.chat\""]);
        one.command(r#"{"type":"close","channel":"public.chat"}"#).await;
    })
    .await;
}

#[tokio::test]
async fn the_log_counts_what_may_be_read() {
    with_app(private(), async |app| {
        let mut base = holder(app, BASE).await;
        let mut ids = Vec::new();
        for number in 0..6 {
            base.publish("\"base.secret\"", "0").await;
            let large = format!("\"{number}{}\"", "m".repeat(60_000));
            ids.insert(0, base.publish("\"public.x\"", &large).await.text_of("ID"));
        }
        let mut guest = app.client().await;
        let mut seen = Vec::new();
        let mut start = 0.0;
        loop {
            let reply = guest.command(&format!(r#"{{"type":"log","start":{start}}}"#)).await;
            seen.extend(reply.array_of("log").iter().map(|entry| entry.text_of("ID")));
            if reply.get("truncated") != Some(&Json::Bool(true)) {
                break;
            }
            start = reply.number_of("next");
            assert_eq!(start as usize, seen.len());
        }
        assert_eq!(seen, ids);
        let of = async |guest: &mut Raw, arguments: &str| -> Vec<String> {
            let reply = guest.command(&format!(r#"{{"type":"log"{arguments}}}"#)).await;
            reply.array_of("log").iter().map(|entry| entry.text_of("ID")).collect()
        };
        assert_eq!(of(&mut guest, r#","start":-2"#).await, ids[4..]);
        assert_eq!(of(&mut guest, r#","start":1,"end":2"#).await, ids[1..2]);
        let before = format!(r#","before":"{}","end":1"#, ids[3]);
        assert_eq!(of(&mut guest, &before).await, ids[4..5]);
    })
    .await;
}

#[tokio::test]
async fn each_right_can_be_given_alone() {
    let mut settings = private();
    settings.guests =
        RightsConfig { hear_all: Some(false), log: Some(false), ..Default::default() };
    let ear = RightsConfig {
        read: Some(vec![]),
        write: Some(vec![ChannelPattern::Range(1.0, 9.0), ChannelPattern::Number(20.0)]),
        hear_all: Some(true),
        log: None,
    };
    let mut token = HubToken::new("ear", Secret::new("the-token-of-the-ear-01234567890"));
    token.rights = ear;
    settings.hub.tokens.push(token);
    with_app(settings, async |app| {
        let mut guest = app.client().await;
        let mut ear = holder(app, "the-token-of-the-ear-01234567890").await;
        ear.open("\"*\"").await;
        guest.open("\"any\"").await;
        guest.publish("\"other\"", "1").await;
        is_refused(&mut guest, &open("\"*\""), "*").await;
        assert!(guest.refused(r#"{"type":"log"}"#).await.contains("you may not read the log"));
        assert_eq!(ear.event().await.text_of("channel"), "other");
        for channel in ["1", "2.5", "9", "20"] {
            ear.publish(channel, "1").await;
        }
        for channel in ["0", "9.5", "21"] {
            is_refused(&mut ear, &message(channel), channel).await;
        }
        is_refused(&mut ear, &message("\"5\""), "5").await;
        assert_eq!(logged(&mut ear, r#","start":-1"#).await, ["\"other\""]);
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_requires_a_token_closes_who_has_none_with_4502() {
    let mut settings = private();
    settings.hub.require_token = true;
    with_app(settings, async |app| {
        for path in ["/connect", "/connect?name=somebody"] {
            let mut guest = Raw::tcp(app.hub()).await;
            guest.write(upgrade(path).as_bytes()).await;
            guest.accepted().await;
            let (code, reason) = guest.closed_after(|text| panic!("a close, not {text}")).await;
            assert_eq!(code, Some(4502), "{path}");
            assert_eq!(reason, "this hub needs a token; ask its owner for one");
        }
        let mut base = holder(app, BASE).await;
        base.open("\"*\"").await;
        app.disconnects("bad_token", 2).await;
    })
    .await;
}

#[tokio::test]
async fn the_owner_sees_what_a_client_may_do_and_may_do_everything() {
    let mut settings = private();
    settings.guests.read = Some(vec![
        ChannelPattern::Text("public.*".into()),
        ChannelPattern::Number(5.0),
        ChannelPattern::Range(100.0, 199.0),
    ]);
    with_app(settings, async |app| {
        let owner = Caller::owner(app);
        let mut guest = app.listener("150").await;
        let base = holder(app, BASE).await;
        let rights = owner.get("/clients/1").await["rights"].clone();
        let expected = json!({
            "restricted": true,
            "read": ["public.*", 5, [100, 199]],
            "write": ["public.*", "inbox"],
            "hear_all": false,
            "log": true,
        });
        assert_eq!(rights, expected);
        let rights = owner.get("/clients/2").await["rights"].clone();
        let everything =
            json!({"restricted": false, "read": ["*"], "write": ["*"], "hear_all": true, "log": true});
        assert_eq!(rights, everything);
        assert_eq!(owner.get("/clients").await["clients"][0].get("rights"), None);

        owner.post("/messages", r#"{"channel":"base.door","message":1}"#, 201).await;
        owner.post("/messages", r#"{"channel":150,"message":2}"#, 201).await;
        assert_eq!(guest.event().await.number_of("message"), 2.0);
        assert_eq!(owner.get("/log?channel=base.door").await["log"][0]["message"], 1);

        let settings = owner.get("/config").await["settings"].to_string();
        let shown = r#"{"setting":"guests.read","value":"[\"public.*\", 5, [100, 199]]"}"#;
        assert!(settings.contains(shown), "{settings}");
        drop(base);
    })
    .await;
}

/// The configuration of `docs/private-channels.md`, on ports that the system chooses.
fn documented() -> Config {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/private-channels.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let (_, rest) = page.split_once("```toml\n").expect("a configuration");
    let (text, _) = rest.split_once("```").expect("its end");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("it is written");
    let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
    let mut config = skynet::config::load(&sources).expect("it can be used").config;
    let ports = self::config();
    (config.hub.listen, config.admin) = (ports.hub.listen, ports.admin);
    config
}

#[tokio::test]
async fn the_example_of_the_documentation_does_what_it_says() {
    with_app(documented(), async |app| {
        let mut guest = app.client().await;
        let mut base = holder(app, "choose-a-long-random-text-for-the-base").await;
        let mut board = holder(app, "choose-another-one-for-the-board").await;
        let mut bot = holder(app, "choose-a-third-one-for-the-bot").await;
        bot.open("\"*\"").await;
        base.open("\"base.doors\"").await;
        base.open("150").await;
        board.open("\"questions\"").await;
        guest.open("\"public.chat\"").await;
        for channel in ["\"base.doors\"", "\"questions\"", "150", "\"*\""] {
            is_refused(&mut guest, &open(channel), channel.trim_matches('"')).await;
        }
        is_refused(&mut board, &message("\"questions\""), "questions").await;
        is_refused(&mut base, &open("\"*\""), "*").await;
        guest.publish("\"questions\"", "\"why?\"").await;
        bot.publish("\"base.doors\"", "\"open\"").await;
        base.publish("\"public.chat\"", "\"hello\"").await;
        assert_eq!(board.event().await.text_of("message"), "why?");
        assert_eq!(base.event().await.text_of("message"), "open");
        assert_eq!(guest.event().await.text_of("message"), "hello");
        assert_eq!(logged(&mut guest, "").await, ["\"public.chat\""]);
        assert_eq!(logged(&mut base, "").await, ["\"public.chat\"", "\"base.doors\""]);
        assert_eq!(logged(&mut board, "").await, ["\"questions\""]);
        assert_eq!(logged(&mut bot, "").await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn what_may_be_read_can_be_caught_up_on_and_looked_up_by_channel_and_nothing_else() {
    with_app(private(), async |app| {
        let mut base = holder(app, BASE).await;
        for number in 0..3 {
            base.publish("\"base.door\"", "0").await;
            base.publish("\"public.x\"", &number.to_string()).await;
        }
        let mut guest = app.client().await;
        for channel in ["base.door", "*"] {
            for keys in [r#""last":9"#, r#""since":"00000000-0000-0000-0000-000000000000""#] {
                let command = format!(r#"{{"type":"open","channel":"{channel}",{keys}}}"#);
                is_refused(&mut guest, &command, channel).await;
            }
        }
        let door = r#"{"type":"log","channel":"base.door"}"#;
        is_refused(&mut guest, door, "base.door").await;
        assert_eq!(logged(&mut guest, r#","channel":"public.x""#).await, ["\"public.x\""; 3]);
        assert_eq!(logged(&mut guest, r#","channel":"*""#).await, ["\"public.x\""; 3]);
        assert_eq!(logged(&mut base, r#","channel":"base.door""#).await, ["\"base.door\""; 3]);
        assert_eq!(guest.received().await, [""; 0], "nothing was opened");

        guest.command(r#"{"type":"open","channel":"public.x","last":2}"#).await;
        for number in [1.0, 2.0] {
            let event = guest.event().await;
            assert_eq!(event.number_of("message"), number);
            assert_eq!(event.get("replay"), Some(&Json::Bool(true)));
        }
        base.command(r#"{"type":"open","channel":"*","last":6}"#).await;
        for channel in ["base.door", "public.x"].repeat(3) {
            assert_eq!(base.event().await.text_of("channel"), channel);
        }
    })
    .await;
}

#[tokio::test]
async fn a_refusal_comes_back_with_the_nonce_of_its_command() {
    with_app(private(), async |app| {
        let mut guest = app.client().await;
        for command in [
            r#""type":"open","channel":"*""#,
            r#""type":"open","channel":"base.door","batch":true"#,
            r#""type":"log","channel":"base.door""#,
        ] {
            let reply = guest.ask(&format!(r#"{{{command},"nonce":"mine"}}"#)).await;
            assert!(reply.text_of("error").starts_with("Error: Not allowed: "), "{reply:?}");
            assert_eq!(reply.text_of("nonce"), "mine");
        }
        assert_eq!(guest.ask(r#"{"type":"ping","nonce":1}"#).await.number_of("nonce"), 1.0);
    })
    .await;
}

#[tokio::test]
async fn behind_a_long_queue_the_log_still_shows_what_may_be_read_and_nothing_else() {
    with_app(private(), async |app| {
        let mut base = holder(app, BASE).await;
        let mut guest = Raw::narrow(app.hub()).await;
        guest.open("\"public.x\"").await;
        let large = format!("\"{}\"", "m".repeat(60_000));
        let mut ids = Vec::new();
        // Until the guest's system takes no more and much is queued for it in the hub.
        while app.stats().queued_bytes < 200_000 {
            base.publish("\"base.secret\"", "0").await;
            ids.push(base.publish("\"public.x\"", &large).await.text_of("ID"));
            assert!(ids.len() < 1_000, "60 MB cannot be on their way");
        }
        guest.send(r#"{"type":"log","end":2,"nonce":7}"#).await;
        app.metric_is("skynet_commands_total", &[("command", "log"), ("result", "ok")], 1.0).await;
        base.publish("\"public.x\"", "1").await;
        for id in &ids {
            assert_eq!(guest.event().await.text_of("ID"), *id);
        }
        let reply = parsed(&guest.text().await);
        assert_eq!((reply.text_of("for").as_str(), reply.number_of("nonce")), ("log", 7.0));
        let found: Vec<String> =
            reply.array_of("log").iter().map(|entry| entry.text_of("ID")).collect();
        assert!(found.iter().eq(ids.iter().rev().take(2)), "the newest when it was asked for");
        assert_eq!(guest.event().await.number_of("message"), 1.0);
    })
    .await;
}

#[tokio::test]
async fn version_2_is_no_way_around() {
    with_app(private(), async |app| {
        let (mut guest, mut base) = (app.client().await, holder(app, BASE).await);
        let text = Cbor::text;
        let fields = vec![(text("channel"), text("base.door")), (text("message"), Cbor::Null)];
        for (kind, what) in
            [("open", text("base.door")), ("open", text("*")), ("message", Cbor::Map(fields))]
        {
            let command = Cbor::Array(vec![text(kind), what]).encode();
            guest.write(&masked(BINARY, &command)).await;
            let frame = guest.frame().await;
            let Ok(Cbor::Array(parts)) = Cbor::parse(&frame.payload) else { panic!("{frame:?}") };
            assert_eq!(parts[..2], [text("error"), text("not_allowed")]);
        }
        base.open("\"public.x\"").await;
        let allowed = Cbor::Array(vec![text("open"), text("public.x")]).encode();
        guest.write(&masked(BINARY, &allowed)).await;
        base.publish("\"base.door\"", "1").await;
        base.publish("\"public.x\"", "2").await;
        let frame = guest.frame().await;
        let Ok(Cbor::Array(parts)) = Cbor::parse(&frame.payload) else { panic!("{frame:?}") };
        assert_eq!(parts[1].get("message"), Some(&Cbor::Integer(2)));
    })
    .await;
}
