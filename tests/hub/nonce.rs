//! What a client gives to know its replies by, the hub's answer to `ping`, and the log of one
//! channel.

use crate::support::{
    config,
    json::Json,
    raw::{Raw, parsed},
    unhurried, with_app,
};

/// Sends a command and returns its reply as it was sent.
async fn asked(client: &mut Raw, command: &str) -> String {
    client.send(command).await;
    client.reply_text().await
}

#[tokio::test]
async fn a_nonce_comes_back_in_the_reply_as_it_was_spelled() {
    with_app(config(), async |app| {
        let mut client = app.client().await;
        for nonce in ["1.0", "null", r#""é""#, r#"{"a":[1e300,true]}"#, "12345678901234567890"] {
            for (command, name) in [
                (r#"{"type":"open","channel":"x""#, "open"),
                (r#"{"type":"log""#, "log"),
                (r#"{"type":"ping""#, "ping"),
                (r#"{"type":"close","channel":"x""#, "close"),
                (r#"{"type":"close","channel":"x""#, "close"),
                (r#"{"type":"open","channel":[]"#, "open"),
                (r#"{"type":"log","start":true"#, "log"),
            ] {
                let reply = asked(&mut client, &format!(r#"{command}, "nonce" : {nonce}}}"#)).await;
                let expected = format!(r#","for":"{name}","nonce":{nonce},"#);
                assert!(reply.contains(&expected), "{expected} in {reply}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_nonce_no_reply_has_one() {
    with_app(config(), async |app| {
        let mut client = app.client().await;
        for command in [
            r#"{"type":"open","channel":"x"}"#,
            r#"{"type":"log"}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"close","channel":"y"}"#,
        ] {
            assert_eq!(client.ask(command).await.get("nonce"), None, "{command}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_nonce_of_256_bytes_is_taken_and_a_longer_one_is_an_error_without_it() {
    with_app(config(), async |app| {
        let mut client = app.client().await;
        let ping =
            |bytes: usize| format!(r#"{{"type":"ping","nonce":"{}"}}"#, "n".repeat(bytes - 2));
        assert_eq!(client.command(&ping(256)).await.text_of("nonce").len(), 254);
        let error = client.ask(&ping(257)).await;
        assert!(error.is("error"));
        assert_eq!(error.get("nonce"), None);
        assert_eq!(error.text_of("for"), "ping");
        let words = error.text_of("error");
        assert!(words.contains("257") && words.contains("256"), "both numbers are in {words}");
        app.metric_is("skynet_refused_commands_total", &[("reason", "nonce")], 1.0).await;
    })
    .await;
}

#[tokio::test]
async fn the_nonce_of_a_message_travels_like_any_key() {
    with_app(config(), async |app| {
        let mut listener = app.listener("\"x\"").await;
        let mut client = app.client().await;
        let nonce = "n".repeat(1000);
        let command = format!(r#"{{"type":"message","channel":"x","nonce":"{nonce}"}}"#);
        assert_eq!(client.command(&command).await.text_of("nonce"), nonce);
        assert_eq!(listener.event().await.text_of("nonce"), nonce);
    })
    .await;
}

#[tokio::test]
async fn an_error_for_too_many_commands_has_the_nonce_too() {
    let mut settings = config();
    settings.limits.messages_per_second = 1;
    settings.limits.message_burst = 1;
    with_app(settings, async |app| {
        let mut client = app.client().await;
        client.command(r#"{"type":"ping","nonce":1}"#).await;
        let error = client.ask(r#"{"type":"ping","nonce":2}"#).await;
        assert!(error.is("error"));
        assert_eq!(error.number_of("nonce"), 2.0);
    })
    .await;
}

#[tokio::test]
async fn a_ping_is_answered_with_the_hubs_time() {
    with_app(config(), async |app| {
        let mut client = app.client().await;
        let sent = client.publish("\"x\"", "1").await.number_of("time");
        let reply = client.command(r#"{"type":"ping"}"#).await;
        assert_eq!(reply.text_of("for"), "ping");
        let time = reply.number_of("time");
        assert!(time >= sent && time < sent + 60_000.0, "{time} is soon after {sent}");
        let labels = [("command", "ping")];
        app.metric_is("skynet_commands_total", &labels, 1.0).await;
    })
    .await;
}

/// The messages of a log reply.
fn messages(reply: &Json) -> Vec<f64> {
    reply.array_of("log").iter().map(|entry| entry.number_of("message")).collect()
}

#[tokio::test]
async fn the_log_of_a_channel_is_sliced_like_that_of_all() {
    let mut settings = unhurried();
    settings.message_log.max_messages = 20;
    with_app(settings, async |app| {
        let mut client = app.client().await;
        let mut ids = Vec::new();
        for number in 0..30 {
            let channel = ["\"a\"", "5", "\"5\""][number % 3];
            ids.push(client.publish(channel, &number.to_string()).await.text_of("ID"));
        }
        for (arguments, expected) in [
            (r#""channel":"a""#, &[27.0, 24.0, 21.0, 18.0, 15.0, 12.0][..]),
            (r#""channel":5.0,"start":1,"end":3"#, &[25.0, 22.0]),
            (r#""channel":"5","start":-2"#, &[14.0, 11.0]),
            (r#""channel":"nobody""#, &[]),
        ] {
            let reply = client.command(&format!(r#"{{"type":"log",{arguments}}}"#)).await;
            assert_eq!(messages(&reply), expected, "{arguments}");
        }
        let before = format!(r#"{{"type":"log","channel":"a","before":"{}"}}"#, ids[20]);
        assert_eq!(messages(&client.command(&before).await), [18.0, 15.0, 12.0]);
        for all in ["\"*\"", "null"] {
            let reply = client.command(&format!(r#"{{"type":"log","channel":{all}}}"#)).await;
            assert_eq!(messages(&reply).len(), 20);
        }
        let error = parsed(&asked(&mut client, r#"{"type":"log","channel":{}}"#).await);
        assert!(error.text_of("error").contains("channel"));
    })
    .await;
}
