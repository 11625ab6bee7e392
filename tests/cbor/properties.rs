//! What holds for any value and any bytes.

use crate::{LIMITS, Sent, message_of, value::Cbor};
use proptest::prelude::*;
use skynet::protocol::{Command, cbor};

/// Values as Lua and other clients send them, keys of all types and equal keys included.
fn any_value() -> impl Strategy<Value = Cbor> {
    let scalar = prop_oneof![
        Just(Cbor::Null),
        any::<bool>().prop_map(Cbor::Bool),
        any::<i64>().prop_map(|number| Cbor::Integer(number.into())),
        (-5_i128..5).prop_map(Cbor::Integer),
        (-(1_i128 << 64)..1 << 64).prop_map(Cbor::Integer),
        any::<f64>().prop_map(Cbor::Float),
        any::<f32>().prop_map(|number| Cbor::Float(number.into())),
        any::<i16>().prop_map(|number| Cbor::Float(f64::from(number) / 8.0)),
        any::<String>().prop_map(Cbor::Text),
        "[a-c]?".prop_map(Cbor::Text),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(Cbor::Bytes),
        "[a-c]?".prop_map(|text| Cbor::Bytes(text.into_bytes())),
    ];
    scalar.clone().prop_recursive(6, 200, 30, move |inner| {
        let key = prop_oneof![
            5 => scalar.clone(),
            1 => proptest::collection::vec(scalar.clone(), 0..3).prop_map(Cbor::Array),
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..30).prop_map(Cbor::Array),
            proptest::collection::vec((key, inner), 0..30).prop_map(Cbor::Map),
        ]
    })
}

/// The same value with the last of equal keys only, and null for what is not finite.
fn tidied(value: Cbor) -> Cbor {
    match value {
        Cbor::Float(number) if !number.is_finite() => Cbor::Null,
        Cbor::Array(items) => Cbor::Array(items.into_iter().map(tidied).collect()),
        Cbor::Map(entries) => last_of_equal(
            entries.into_iter().map(|(key, value)| (tidied(key), tidied(value))).collect(),
        ),
        other => other,
    }
}

fn last_of_equal(entries: Vec<(Cbor, Cbor)>) -> Cbor {
    let mut left: Vec<(Cbor, Cbor)> = Vec::new();
    for (key, value) in entries {
        // -0.0 and 0.0 are two keys: they are compared as they are written.
        left.retain(|(known, _)| known.encode() != key.encode());
        left.push((key, value));
    }
    Cbor::Map(left)
}

/// The same value as it comes back from JSON.
fn through_json(value: Cbor) -> Cbor {
    match value {
        Cbor::Bytes(bytes) => Cbor::Text(bytes.into_iter().map(char::from).collect()),
        Cbor::Array(items) => Cbor::Array(items.into_iter().map(through_json).collect()),
        Cbor::Map(entries) => last_of_equal(
            entries
                .into_iter()
                .map(|(key, value)| (Cbor::Text(key_text(key)), through_json(value)))
                .collect(),
        ),
        other => other,
    }
}

fn key_text(key: Cbor) -> String {
    match through_json(key) {
        Cbor::Text(text) => text,
        Cbor::Float(number) => ryu_js::Buffer::new().format_finite(number).to_owned(),
        other => json_text(&other),
    }
}

fn json_text(value: &Cbor) -> String {
    match value {
        Cbor::Null => "null".to_owned(),
        Cbor::Bool(value) => value.to_string(),
        Cbor::Integer(number) => number.to_string(),
        Cbor::Float(number) => {
            let text = ryu_js::Buffer::new().format_finite(*number).to_owned();
            let text = if number.is_sign_negative() && *number == 0.0 { "-0" } else { &text };
            if text.contains(['.', 'e']) { text.to_owned() } else { format!("{text}.0") }
        }
        Cbor::Text(text) => serde_json::to_string(text).expect("a text"),
        Cbor::Array(items) => {
            let items: Vec<String> = items.iter().map(json_text).collect();
            format!("[{}]", items.join(","))
        }
        other => panic!("keys hold no {other:?}"),
    }
}

proptest! {
    #[test]
    fn bytes_of_any_kind_never_panic(bytes: Vec<u8>) {
        let _ = cbor::parse(&bytes, LIMITS);
        let _ = cbor::parse(&message_of(&bytes), LIMITS);
        cbor::begins_array(&bytes);
    }

    #[test]
    fn a_message_that_is_broken_anywhere_is_refused_or_arrives(
        value in any_value(),
        place: prop::sample::Index,
        byte: u8,
        cut: bool,
    ) {
        let mut bytes = message_of(&value.encode());
        let place = place.index(bytes.len());
        if cut {
            bytes.truncate(place);
            prop_assert!(cbor::parse(&bytes, LIMITS).is_err());
        } else {
            bytes[place] = byte;
            if let Ok(Command::Message(draft)) = crate::read(&bytes) {
                let sent = Sent::new(draft);
                sent.to_json();
                sent.to_cbor();
                sent.to_cbor_from_json();
            }
        }
    }

    #[test]
    fn a_value_arrives_in_cbor_as_it_was_sent(value in any_value()) {
        let sent = Sent::cbor(&message_of(&value.encode())).expect("a message");
        let due = tidied(value);
        prop_assert_eq!(sent.to_cbor().remove("message"), Some(due));
    }

    #[test]
    fn a_value_arrives_in_json_as_the_rules_have_it(value in any_value()) {
        let sent = Sent::cbor(&message_of(&value.encode())).expect("a message");
        let due = through_json(tidied(value));
        prop_assert_eq!(sent.to_cbor_from_json().remove("message"), Some(due.clone()));
        // JSON that goes to CBOR and back to JSON stays as it is.
        let again = Sent::cbor(&message_of(&due.encode())).expect("a message");
        prop_assert_eq!(sent.json_of("message"), again.json_of("message"));
    }
}
