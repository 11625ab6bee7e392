//! Recorded conversations of version 2, replayed: what the original server answered in CBOR. One
//! case a line, each on a fresh app: `send` as [connection, hex of a binary frame, or `t:` and a
//! text frame] in order, `recv` as [connection, the value as Python writes it].

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{
    config,
    raw::{BINARY, PING, PONG, Raw, TEXT, masked, upgrade},
    with_app,
};
use crate::value::Cbor;

const RECORDED: &str = include_str!("../reference/skynet-v2.jsonl");

/// The recorded refusals that the decisions page overrides, and why.
const ACCEPTED: [(&str, &str); 3] = [
    ("open float 1.5", "a channel is any finite number"),
    ("open float 2.0", "a channel is any finite number"),
    ("message float channel", "a channel is any finite number"),
];

/// `["mark", null]`, which is always refused in words of its own: it turns a connection to version
/// 2, and its answer tells that all before it has been carried out.
const MARK: &[u8] = b"\x82\x64mark\xf6";

/// What came before the answer to a mark, each a whole binary frame in CBOR.
async fn until_mark(client: &mut Raw) -> Vec<Cbor> {
    client.write(&masked(BINARY, MARK)).await;
    let mut received = Vec::new();
    loop {
        let frame = client.frame().await;
        if frame.opcode == PING {
            client.write(&masked(PONG, &frame.payload)).await;
            continue;
        }
        assert_eq!(frame.opcode, BINARY, "a binary frame, not {frame:?}");
        let value = Cbor::parse(&frame.payload).unwrap_or_else(|wrong| panic!("{wrong}"));
        if let Cbor::Array(parts) = &value
            && let Some(Cbor::Text(text)) = parts.last()
            && text.contains("`mark`")
        {
            return received;
        }
        received.push(value);
    }
}

fn pairs(case: &Value, key: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let pairs = case[key].as_array().expect("a list");
    pairs.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

fn encoded(frame: &str) -> Vec<u8> {
    if let Some(text) = frame.strip_prefix("t:") {
        return masked(TEXT, text.as_bytes());
    }
    let digits = |at: usize| u8::from_str_radix(&frame[at..at + 2], 16).expect("hex digits");
    let bytes: Vec<u8> = (0..frame.len()).step_by(2).map(digits).collect();
    masked(BINARY, &bytes)
}

/// Compares a whole value: an error may be worded freely, and an event has an ID and a time.
fn compare(due: &Cbor, got: Cbor) -> Result<(), String> {
    let wrong = || format!("{due:?} was due, {got:?} came");
    let (Cbor::Array(due_parts), Cbor::Array(got_parts)) = (due, &got) else {
        return Err(wrong());
    };
    match (&due_parts[..], &got_parts[..]) {
        ([due_error, due_code, _], [error, code, Cbor::Text(text)])
            if due_error == error && due_code == code && !text.is_empty() =>
        {
            Ok(())
        }
        ([due_variant, due_fields], [variant, fields]) if due_variant == variant => {
            let (mut due, mut fields) = (due_fields.clone(), fields.clone());
            let (Some(Cbor::Text(time)), Some(Cbor::Text(id))) =
                (fields.remove("time"), fields.remove("ID"))
            else {
                return Err(wrong());
            };
            let shape: String =
                time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            if shape != "0000-00-00T00:00:00.000Z" || id.len() != 36 || &id[14..15] != "7" {
                return Err(format!("a time and a UUIDv7, not {time} and {id}"));
            }
            if due.get("time") != Some(&Cbor::text("<time>")) {
                return Err(wrong());
            }
            due.remove("time");
            // The original let a sender's ID pass and gave none itself.
            due.remove("ID");
            if due.sorted() == fields.sorted() { Ok(()) } else { Err(wrong()) }
        }
        _ => Err(wrong()),
    }
}

async fn replay(line: &str) {
    let case: Value = serde_json::from_str(line).expect("a case is JSON");
    let name = case["name"].as_str().expect("a case has a name").to_owned();
    let (send, mut due) = (pairs(&case, "send"), pairs(&case, "recv"));
    if ACCEPTED.iter().any(|(accepted, _)| *accepted == name) {
        due.clear();
    }
    with_app(config(), async |app| {
        let mut clients = BTreeMap::new();
        for (connection, _) in send.iter().chain(&due) {
            if !clients.contains_key(connection) {
                let mut client = Raw::tcp(app.hub()).await;
                client.write(upgrade("/connect").as_bytes()).await;
                client.accepted().await;
                assert!(until_mark(&mut client).await.is_empty());
                clients.insert(connection.clone(), (client, Vec::new()));
            }
        }
        for (connection, frame) in &send {
            let (client, received) = clients.get_mut(connection).expect("it is connected");
            client.write(&encoded(frame)).await;
            received.extend(until_mark(client).await);
        }
        for (connection, (client, received)) in &mut clients {
            received.extend(until_mark(client).await);
            let due = due.iter().filter(|(to, _)| to == connection);
            let due: Vec<Cbor> = due.map(|(_, value)| Cbor::from_python(value)).collect();
            let heading = format!("{name} at {connection}: got {received:?}, due {due:?}");
            assert_eq!(due.len(), received.len(), "{heading}");
            for (due, got) in due.iter().zip(received.drain(..)) {
                compare(due, got).unwrap_or_else(|wrong| panic!("{heading}: {wrong}"));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_hub_answers_in_cbor_what_the_original_answered() {
    for line in RECORDED.lines() {
        replay(line).await;
    }
}
