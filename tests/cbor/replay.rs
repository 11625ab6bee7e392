//! Recorded conversations with the original server, as far as they can be had without a hub: which
//! commands are refused, and what a message becomes.

use crate::{Sent, bytes, value::Cbor};
use serde_json::Value;
use skynet::protocol::{Command, cbor};

const RECORDED: &str = include_str!("../reference/skynet-v2.jsonl");

/// The recorded refusals that the decisions page overrides.
const ACCEPTED: [(&str, &str); 3] = [
    ("open float 1.5", "a channel is any finite number"),
    ("open float 2.0", "a channel is any finite number"),
    ("message float channel", "a channel is any finite number"),
];

/// Pairs of connection and text.
fn pairs(case: &Value, key: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let pairs = case[key].as_array().expect("a list");
    pairs.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

#[test]
fn commands_are_refused_and_messages_arrive_as_the_original_had_it() {
    let (mut refused, mut arrived) = (0, 0);
    for line in RECORDED.lines() {
        let case: Value = serde_json::from_str(line).expect("a case is JSON");
        let name = case["name"].as_str().expect("a case has a name");
        let (send, mut due) = (pairs(&case, "send"), pairs(&case, "recv"));
        if ACCEPTED.iter().any(|(accepted, _)| *accepted == name) {
            due.clear();
        }
        let error = due.iter().find(|(_, reply)| reply.starts_with("['error'"));
        let mut messages = Vec::new();
        for (connection, frame) in &send {
            let sent = match frame.strip_prefix("t:") {
                Some(text) => text.as_bytes().to_vec(),
                None => bytes(frame),
            };
            match (crate::read(&sent), error) {
                (Err(refusal), Some((to, _))) if to == connection => {
                    assert_eq!(cbor::error_code(&refusal.reason), "deserialization_failure");
                    refused += 1;
                }
                (Ok(Command::Message(draft)), _) => messages.push(Sent::new(draft)),
                (Ok(_), _) => {}
                (Err(refusal), _) => panic!("{name}: {}", refusal.reason),
            }
        }
        let due = due.iter().filter(|(_, reply)| reply.starts_with("['message'"));
        for (reply, sent) in due.zip(&messages) {
            let Cbor::Array(parts) = Cbor::from_python(&reply.1) else { panic!("an array") };
            let mut fields = parts[1].clone();
            assert_eq!(fields.remove("time"), Some(Cbor::text("<time>")));
            // The original let a sender's ID pass and gave none itself.
            fields.remove("ID");
            assert_eq!(sent.to_cbor().sorted(), fields.sorted(), "{name}");
            arrived += 1;
        }
    }
    assert_eq!((refused, arrived), (22 - ACCEPTED.len(), 20));
}
