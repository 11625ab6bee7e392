//! Commands in JSON, as a session takes them.

use super::LIMITS;
use super::cbor::Sent;
use super::naive::{self, Object};
use crate::protocol::{Command, Draft, RefusalReason, Stamp, command};
use serde::de::IgnoredAny;
use serde_json::Value;

/// Reads a text as a command: it is refused for what is wrong with it, or is what it says; a
/// message arrives in both encodings as it was sent.
///
/// # Panics
/// That does not hold.
pub fn json(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = command::parse(&text, LIMITS);
    // The owner's API reads messages too, which need no type.
    let posted = command::parse_message(&text, LIMITS);
    if serde_json::from_str::<IgnoredAny>(&text).is_err() {
        assert!(read.is_err() && posted.is_err(), "what is no JSON is refused");
        return;
    }
    match Object::read(&text) {
        Ok(Some(object)) => {
            match &read {
                Ok(request) => naive::check(&object, request),
                Err(refusal) => {
                    assert!(refusal.reason.to_string().len() < 1024);
                    let known =
                        refusal.command.is_none_or(|kind| Some(kind) == naive::kind(&object));
                    assert!(known && naive::explains(&object, &refusal.reason), "{refusal:?}");
                }
            }
            if let Ok(draft) = &posted {
                assert_eq!(Some(draft.channel()), object.channel("channel").as_ref());
            }
            for sent in messages(read.ok().map(|request| request.command), posted.ok()) {
                as_it_was(&object, &sent);
                sent.in_other_encodings();
            }
        }
        Ok(None) => {
            let reason = read.expect_err("no object").reason;
            assert!(matches!(reason, RefusalReason::NotAnObject { .. }), "{reason:?}");
        }
        // Too much for a tree of values; that the bytes are JSON is known.
        Err(_) => {
            for sent in messages(read.ok().map(|request| request.command), posted.ok()) {
                sent.in_other_encodings();
            }
        }
    }
}

fn messages(command: Option<Command>, posted: Option<Draft>) -> impl Iterator<Item = Sent> {
    let sent = match command {
        Some(Command::Message(draft)) => Some(draft),
        _ => None,
    };
    sent.into_iter().chain(posted).map(Sent::new)
}

/// The event and the result hold what the object does.
fn as_it_was(object: &Object, sent: &Sent) {
    let Stamp { id, time_ms, .. } = sent.event.stamp;
    let mut due = naive::event(object);
    due["ID"] = id.to_string().into();
    due["time"] = time_ms.into();
    assert_eq!(sent.json(), due);
    due["type"] = "result".into();
    due["for"] = "message".into();
    let result: Value = serde_json::from_slice(sent.result.payload()).expect("JSON");
    assert_eq!(result, due);
}
