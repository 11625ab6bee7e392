//! Version 2, CBOR in binary frames, beside version 1 on the same hub.

use serde_json::json;

use crate::api::{self, Caller};
use crate::support::{
    TestApp, config,
    raw::{BINARY, CONTINUATION, Raw, TEXT, fragment, frame, masked, parsed, publication},
    unhurried, with_app,
};
use crate::value::Cbor;

fn text(text: &str) -> Cbor {
    Cbor::text(text)
}

fn command(kind: &str, what: Cbor) -> Vec<u8> {
    Cbor::Array(vec![text(kind), what]).encode()
}

fn message(channel: &str, message: Cbor) -> Vec<u8> {
    let fields = vec![(text("channel"), text(channel)), (text("message"), message)];
    command("message", Cbor::Map(fields))
}

async fn send(client: &mut Raw, bytes: &[u8]) {
    client.write(&masked(BINARY, bytes)).await;
}

/// The next frame, which must be an array in CBOR.
async fn array(client: &mut Raw) -> Vec<Cbor> {
    let frame = client.frame().await;
    assert_eq!(frame.opcode, BINARY, "a binary frame, not {frame:?}");
    match Cbor::parse(&frame.payload) {
        Ok(Cbor::Array(parts)) => parts,
        other => panic!("an array, not {other:?}"),
    }
}

/// The next event: its fields.
async fn event(client: &mut Raw) -> Cbor {
    let mut parts = array(client).await;
    assert_eq!((parts.len(), &parts[0]), (2, &text("message")), "{parts:?}");
    parts.remove(1)
}

/// The code and the words of the next error.
async fn error(client: &mut Raw) -> (String, String) {
    match &array(client).await[..] {
        [kind, Cbor::Text(code), Cbor::Text(words)] if *kind == text("error") => {
            (code.clone(), words.clone())
        }
        other => panic!("an error, not {other:?}"),
    }
}

/// A client of version 2 with a channel open; what it sent before has been carried out.
async fn listener(app: &TestApp, channel: Cbor) -> Raw {
    let mut client = app.client().await;
    send(&mut client, &command("open", channel)).await;
    carried_out(&mut client).await;
    client
}

/// Waits until all that the client has sent is carried out: nothing is answered but what is wrong.
async fn carried_out(client: &mut Raw) {
    send(client, &command("mark", Cbor::Null)).await;
    let (code, words) = error(client).await;
    assert_eq!(code, "deserialization_failure");
    assert!(words.contains("unknown variant `mark`"), "{words}");
}

#[tokio::test]
async fn both_versions_hear_each_other() {
    with_app(config(), async |app| {
        let mut v2 = listener(app, text("x")).await;
        let mut v1 = app.listener("\"x\"").await;
        send(&mut v2, &message("x", text("from v2"))).await;
        let heard = v1.event().await;
        assert_eq!(heard.text_of("message"), "from v2");
        assert!(heard.is("message"));
        let sent = v1.publish("\"x\"", r#"{"n":[1,2.5,"é"]}"#).await;
        let heard = event(&mut v2).await;
        let numbers = Cbor::Array(vec![Cbor::Integer(1), Cbor::Float(2.5), text("é")]);
        assert_eq!(heard.get("message"), Some(&Cbor::Map(vec![(text("n"), numbers)])));
        assert_eq!(heard.get("channel"), Some(&text("x")));
        assert_eq!(heard.get("ID"), Some(&text(&sent.text_of("ID"))));
        let Some(Cbor::Text(time)) = heard.get("time") else { panic!("{heard:?}") };
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        // The sender of the first message has not heard itself.
        carried_out(&mut v2).await;
    })
    .await;
}

#[tokio::test]
async fn bytes_are_whole_between_clients_of_version_2_and_latin_1_for_the_others() {
    with_app(config(), async |app| {
        let every: Vec<u8> = (0..=255).collect();
        // A channel given as bytes is the channel of the text that they spell.
        let mut v2 = listener(app, Cbor::Bytes(b"x\xe9".to_vec())).await;
        let mut v1 = app.listener("\"xé\"").await;
        let mut sender = app.client().await;
        send(&mut sender, &message("xé", Cbor::Bytes(every.clone()))).await;
        assert_eq!(event(&mut v2).await.get("message"), Some(&Cbor::Bytes(every.clone())));
        let latin: String = every.iter().map(|&byte| char::from(byte)).collect();
        let heard = v1.event().await;
        assert_eq!((heard.text_of("message"), heard.text_of("channel")), (latin, "xé".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn what_succeeds_is_not_answered_and_to_close_what_is_not_open_is_no_error() {
    with_app(config(), async |app| {
        let mut client = app.client().await;
        for name in ["open", "close", "close"] {
            send(&mut client, &command(name, text("x"))).await;
        }
        send(&mut client, &message("x", Cbor::Null)).await;
        carried_out(&mut client).await;
        app.metric_is("skynet_commands_total", &[("result", "ok")], 4.0).await;
        app.metric_is("skynet_messages_total", &[], 1.0).await;
    })
    .await;
}

#[tokio::test]
async fn a_connection_turns_with_its_channels_open_and_what_is_queued_in_its_place() {
    with_app(api::config(), async |app| {
        let mut client = app.listener("\"x\"").await;
        let mut publisher = app.client().await;
        publisher.publish("\"x\"", "1").await;
        // JSON in a binary frame is of version 1 still.
        client.write(&masked(BINARY, br#"{"type":"open","channel":"y"}"#)).await;
        assert!(client.event().await.is("message"));
        assert!(parsed(&client.reply_text().await).is("result"));
        let before = api_protocol(app).await;
        send(&mut client, &command("open", text("z"))).await;
        carried_out(&mut client).await;
        assert_eq!((before, api_protocol(app).await), (1, 2));
        for channel in ["x", "y", "z"] {
            publisher.publish(&format!("\"{channel}\""), "2").await;
            assert_eq!(event(&mut client).await.get("channel"), Some(&text(channel)));
        }
        // From now on nothing but an array in CBOR is understood, in whatever frame.
        for (opcode, bytes) in
            [(TEXT, &br#"{"type":"log"}"#[..]), (BINARY, br#"{"type":"log"}"#), (BINARY, b"")]
        {
            client.write(&masked(opcode, bytes)).await;
            assert_eq!(error(&mut client).await.0, "deserialization_failure");
        }
        app.metric_is("skynet_clients", &[("protocol", "v2")], 1.0).await;
        app.metric_is("skynet_clients", &[("protocol", "v1")], 1.0).await;
    })
    .await;
}

async fn api_protocol(app: &TestApp) -> u64 {
    let clients = Caller::owner(app).get("/clients?channel=x").await;
    clients["clients"][0]["protocol"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_command_in_fragments_and_one_marked_as_cbor_turn_a_connection() {
    with_app(config(), async |app| {
        let open = command("open", text("x"));
        let (one, rest) = open.split_at(1);
        let mut fragmented = app.client().await;
        fragmented.write(&fragment(BINARY, one)).await;
        fragmented.write(&frame(0x80 | CONTINUATION, rest, Some([1, 2, 3, 4]))).await;
        carried_out(&mut fragmented).await;
        let mut marked = app.client().await;
        send(&mut marked, &[&b"\xd9\xd9\xf7"[..], &open].concat()).await;
        carried_out(&mut marked).await;
        app.client().await.publish("\"x\"", "1").await;
        for client in [&mut fragmented, &mut marked] {
            assert_eq!(event(client).await.get("message"), Some(&Cbor::Integer(1)));
        }
        // The same bytes as text are no command of version 2.
        let mut as_text = app.client().await;
        as_text.write(&masked(TEXT, &open)).await;
        assert!(parsed(&as_text.reply_text().await).is("error"));
    })
    .await;
}

#[tokio::test]
async fn an_event_too_large_in_cbor_is_told_by_its_id_and_counted() {
    with_app(config(), async |app| {
        let mut v2 = listener(app, text("x")).await;
        let mut v1 = app.listener("\"x\"").await;
        // Four bytes each in JSON, nine in CBOR.
        let numbers = format!("[0{}]", ",0.1".repeat(25_000));
        let sent = app.client().await.publish("\"x\"", &numbers).await;
        let (code, words) = error(&mut v2).await;
        assert_eq!(code, "too_large");
        assert!(words.contains(&sent.text_of("ID")), "{words}");
        assert!(words.contains("131072"), "{words}");
        assert_eq!(v1.event().await.text_of("ID"), sent.text_of("ID"));
        app.metric_is("skynet_dropped_frames_total", &[("reason", "too_large")], 1.0).await;
        app.metric_is("skynet_deliveries_total", &[], 1.0).await;
    })
    .await;
}

#[tokio::test]
async fn refusals_are_told_by_a_code() {
    let mut settings = unhurried();
    settings.limits.max_channels_per_client = 1;
    with_app(settings, async |app| {
        let mut client = listener(app, text("x")).await;
        for (sent, code) in [
            (command("open", text("y")), "too_many_channels"),
            (command("open", text(&"n".repeat(256))), "channel_name_too_long"),
            (message("x", text(&"m".repeat(130_048))), "too_large"),
            (command("log", Cbor::Null), "deserialization_failure"),
        ] {
            send(&mut client, &sent).await;
            assert_eq!(error(&mut client).await.0, code);
        }
    })
    .await;
    let mut settings = config();
    (settings.limits.messages_per_second, settings.limits.message_burst) = (1, 1);
    with_app(settings, async |app| {
        let mut client = app.client().await;
        for _ in 0..2 {
            send(&mut client, &command("open", text("x"))).await;
        }
        assert_eq!(error(&mut client).await.0, "rate_limit_exceeded");
    })
    .await;
}

#[tokio::test]
async fn batches_and_a_pace_end_with_the_first_version_and_nothing_is_lost() {
    with_app(unhurried(), async |app| {
        for keys in [r#""batch":true,"pace":1"#, r#""pace":2"#] {
            let mut client = app.client().await;
            client.command(&format!(r#"{{"type":"open","channel":"x",{keys}}}"#)).await;
            let mut publisher = app.client().await;
            for n in 0..6 {
                publisher.publish("\"x\"", &n.to_string()).await;
            }
            send(&mut client, &command("open", text("y"))).await;
            send(&mut client, &command("mark", Cbor::Null)).await;
            publisher.publish("\"x\"", "6").await;
            let (mut seen, mut last) = (0, None);
            while last != Some(6) {
                let frame = client.frame().await;
                if frame.opcode == TEXT {
                    let event = parsed(&frame.text());
                    let events = match event.is("batch") {
                        true => event.array_of("events").to_vec(),
                        false => vec![event],
                    };
                    for event in events {
                        let dropped = event.get("dropped").and_then(|dropped| dropped.as_number());
                        seen += 1 + dropped.unwrap_or(0.0) as u32;
                    }
                } else if let Ok(Cbor::Array(parts)) = Cbor::parse(&frame.payload)
                    && parts[0] == text("message")
                {
                    seen += 1;
                    last = Some(6);
                }
            }
            assert_eq!(seen, 7, "{keys}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_owner_can_close_a_channel_and_a_connection_of_version_2() {
    with_app(api::config(), async |app| {
        let (mut client, owner) = (listener(app, text("x")).await, Caller::owner(app));
        let id = owner.get("/clients").await["clients"][0]["id"].clone();
        owner.delete(&format!("/clients/{id}/channels/x")).await;
        owner.post("/messages", &json!({"channel": "x", "message": 1}).to_string(), 201).await;
        // Its clients know no such event as a closed channel, and none of the message came.
        carried_out(&mut client).await;
        owner.delete(&format!("/clients/{id}?reason=enough")).await;
        let (code, reason) = client.closed_after(|_| {}).await;
        assert_eq!((code, reason.as_str()), (Some(4500), "enough"));
    })
    .await;
}

/// What version 1 sends is told to both, the own message to neither.
#[tokio::test]
async fn a_sender_of_either_version_with_everything_open_does_not_hear_itself() {
    with_app(config(), async |app| {
        let mut v2 = listener(app, text("*")).await;
        let mut v1 = app.listener("\"*\"").await;
        send(&mut v2, &message("a", Cbor::Integer(1))).await;
        v1.write(&masked(TEXT, publication("\"b\"", "2").as_bytes())).await;
        assert_eq!(event(&mut v2).await.get("message"), Some(&Cbor::Integer(2)));
        let first = v1.event().await;
        assert_eq!(first.number_of("message"), 1.0);
        carried_out(&mut v2).await;
    })
    .await;
}
