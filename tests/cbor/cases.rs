//! Cases in a file: a `message` with what listeners in JSON and in CBOR get of it, a `command`
//! with the channel it names, or with why it is refused. The examples of RFC 8949, appendix A,
//! are among them.

use crate::{LIMITS, MAX_FRAME, Sent, bytes, message_of, stamp, value::Cbor};
use serde_json::Value;
use skynet::protocol::{
    ChannelName, Command, CommandKind, RefusalReason,
    cbor::{self, Source, TooLarge},
};

const CASES: &str = include_str!("../reference/cbor-cases.jsonl");

fn text<'a>(case: &'a Value, key: &str) -> Option<&'a str> {
    case[key].as_str()
}

#[test]
fn messages_become_what_the_cases_say_in_both_encodings() {
    let mut seen = 0;
    for line in CASES.lines() {
        let case: Value = serde_json::from_str(line).expect("a case is JSON");
        let Some(message) = text(&case, "message") else { continue };
        let name = text(&case, "name").expect("a case has a name");
        let sent = Sent::cbor(&message_of(&bytes(message)))
            .unwrap_or_else(|refusal| panic!("{name}: {}", refusal.reason));
        assert_eq!(Some(&*sent.json_of("message")), text(&case, "json"), "{name}");
        let due = Cbor::parse(&bytes(text(&case, "cbor").expect("both encodings")));
        assert_eq!(sent.to_cbor().get("message"), Some(&due.expect("strict")), "{name}");
        seen += 1;
    }
    assert!(seen > 90, "{seen} cases");
}

#[test]
fn commands_name_the_channels_that_the_cases_say() {
    let mut seen = 0;
    for line in CASES.lines() {
        let case: Value = serde_json::from_str(line).expect("a case is JSON");
        let (Some(command), Some(due)) = (text(&case, "command"), text(&case, "channel")) else {
            continue;
        };
        let name = text(&case, "name").expect("a case has a name");
        let due = ChannelName::from_json(due, 255).expect("a channel");
        match crate::read(&bytes(command)) {
            Ok(Command::Open(channel, None) | Command::Close(channel)) => {
                assert_eq!(channel, due, "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
        seen += 1;
    }
    assert!(seen > 15, "{seen} cases");
}

#[test]
fn commands_are_refused_in_the_words_and_with_the_codes_that_the_cases_say() {
    let mut seen = 0;
    for line in CASES.lines() {
        let case: Value = serde_json::from_str(line).expect("a case is JSON");
        let Some(words) = text(&case, "refused") else { continue };
        let name = text(&case, "name").expect("a case has a name");
        let command = bytes(text(&case, "command").expect("a command"));
        let refusal = cbor::parse(&command, LIMITS).expect_err(name);
        let Ok(Cbor::Array(parts)) = Cbor::parse(cbor::error(&refusal).payload()) else {
            panic!("{name}: an array")
        };
        let [Cbor::Text(error), Cbor::Text(code), Cbor::Text(said)] = &parts[..] else {
            panic!("{name}: three texts: {parts:?}")
        };
        assert_eq!((&**error, Some(&**code)), ("error", text(&case, "code")), "{name}");
        assert!(said.contains(words), "{name}: {said}");
        seen += 1;
    }
    assert!(seen > 40, "{seen} cases");
}

#[test]
fn a_command_of_unknown_length_is_known_by_its_first_byte() {
    for begins in ["80", "82 00", "9f", "9b", "d9d9f7 80", "d9d9f7 9f"] {
        assert!(cbor::begins_array(&bytes(begins)), "{begins}");
    }
    for other in ["", "7f", "a0", "00", "d9d9f7", "d9d9f7 a0", "d9d9f6 80", "7b 22", "5b 5d"] {
        assert!(!cbor::begins_array(&bytes(other)), "{other}");
    }
}

#[test]
fn a_refusal_names_the_command_where_there_was_one() {
    let command = |hex| cbor::parse(&bytes(hex), LIMITS).expect_err("a refusal").command;
    assert_eq!(command("82 00 80"), Some(CommandKind::Open));
    assert_eq!(command("82 01 f6"), Some(CommandKind::Close));
    assert_eq!(command("82 02 00"), Some(CommandKind::Message));
    assert_eq!(command("82 00 05 05"), Some(CommandKind::Open));
    assert_eq!(command("82 04 05"), None);
    assert_eq!(command("80"), None);
}

#[test]
fn what_the_hub_says_itself_replaces_what_the_sender_said() {
    // channel, ID as text, time as bytes, type, for, a key of bytes, 7, message.
    let sent = Sent::cbor(&bytes(
        "82 02 a8 476368616e6e656c 42e9ff 624944 646d696e65 4474696d65 05 6474797065 646d696e65 \
         63666f72 01 41ff 41fe 07 08 476d657373616765 41fd",
    ))
    .expect("a message");
    let id = sent.event.stamp.id;
    assert_eq!(
        sent.to_json(),
        format!(
            r#"{{"type":"message","channel":"éÿ","ÿ":"þ","7":8,"message":"ý","for":1,"ID":"{id}","time":1700000000123}}"#
        )
    );
    let key = Cbor::text;
    assert_eq!(
        sent.to_cbor(),
        Cbor::Map(vec![
            (key("channel"), Cbor::Bytes(vec![0xe9, 0xff])),
            (key("type"), key("mine")),
            (key("for"), Cbor::Integer(1)),
            (Cbor::Bytes(vec![0xff]), Cbor::Bytes(vec![0xfe])),
            (Cbor::Integer(7), Cbor::Integer(8)),
            (key("message"), Cbor::Bytes(vec![0xfd])),
        ])
    );
}

#[test]
fn of_other_keys_given_twice_the_last_counts() {
    let sent = Sent::cbor(&bytes(
        "82 02 a7 676368616e6e656c 05 6161 01 63666f72 01 676d657373616765 00 6161 02 63666f72 02 4161 03",
    ))
    .expect("a message");
    assert_eq!(sent.json_of("a"), "3");
    assert_eq!(sent.to_json().matches("\"a\"").count(), 1);
    assert_eq!(sent.json_of("for"), "2");
    let cbor = sent.to_cbor();
    assert_eq!(cbor.get("a"), Some(&Cbor::Integer(2)));
    assert_eq!(cbor.get("for"), Some(&Cbor::Integer(2)));
}

#[test]
fn a_message_in_json_keeps_its_numbers_and_its_text() {
    for (json, hex) in [
        ("5", "05"),
        ("-5", "24"),
        ("5.0", "f94500"),
        ("5e0", "f94500"),
        ("-0", "f98000"),
        ("18446744073709551615", "1bffffffffffffffff"),
        ("18446744073709551616", "fa5f800000"),
        ("-18446744073709551616", "3bffffffffffffffff"),
        ("-18446744073709551617", "fadf800000"),
        ("123456789012345678901234567890", "fb45f8ee90ff6c373e"),
        ("0.1", "fb3fb999999999999a"),
        ("1e400", "f6"),
        ("-1e400", "f6"),
        (r#""a\u0000\n\"\\\/é😀\ud83d\ude00""#, "70 61000a225c2f c3a9 f09f9880 f09f9880"),
        (r#""\ud800x""#, "64 efbfbd78"),
        ("[]", "80"),
        ("{}", "a0"),
        (r#"[1,[],{"a":[true,false,null]}]"#, "83 01 80 a1 6161 83 f5f4f6"),
        (r#"{"a":1,"b":2,"a":3}"#, "a2 6162 02 6161 03"),
        (r#"{"\u0061":1,"a":3,"\ud800":4,"\udc00":5}"#, "a2 6161 03 63efbfbd 05"),
    ] {
        let sent = Sent::json(&format!(r#"{{"type":"message","channel":"x","message":{json}}}"#));
        let due = Cbor::parse(&bytes(hex)).unwrap_or_else(|wrong| panic!("{json}: {wrong}"));
        assert_eq!(sent.to_cbor().get("message"), Some(&due), "{json}");
    }
}

#[test]
fn an_event_from_json_has_all_keys_but_its_type() {
    let sent = Sent::json(
        r#"{"type":"message","channel":5.0,"time":1,"ID":2,"for":"you","a\"b":[1,2],"message":null}"#,
    );
    let key = Cbor::text;
    let items = vec![Cbor::Integer(1), Cbor::Integer(2)];
    assert_eq!(
        sent.to_cbor(),
        Cbor::Map(vec![
            (key("channel"), Cbor::Integer(5)),
            (key("a\"b"), Cbor::Array(items)),
            (key("message"), Cbor::Null),
            (key("for"), key("you")),
        ])
    );
}

#[test]
fn a_channel_that_is_a_number_is_one_number_however_it_was_sent() {
    for (hex, due) in [
        ("05", Cbor::Integer(5)),
        ("f94500", Cbor::Integer(5)),
        ("f98000", Cbor::Integer(0)),
        ("1b0020000000000001", Cbor::Integer(1 << 53)),
        ("f93e00", Cbor::Float(1.5)),
        ("fb7e37e43c8800759c", Cbor::Float(1e300)),
        ("c1 05", Cbor::Integer(5)),
    ] {
        let head = bytes("82 02 a2 676d657373616765 00 676368616e6e656c");
        let sent = Sent::cbor(&[head, bytes(hex)].concat()).expect("a message");
        assert_eq!(sent.to_cbor().get("channel"), Some(&due), "{hex}");
        assert_eq!(sent.to_cbor_from_json().get("channel"), Some(&due), "{hex} from JSON");
    }
}

#[test]
fn a_message_is_too_large_by_the_size_of_its_event_in_json() {
    // 22,000 bytes that JSON escapes with six each.
    let large = [&b"\x59\x55\xf0"[..], &vec![0; 22_000]].concat();
    let refusal = Sent::cbor(&message_of(&large)).err().expect("a refusal");
    let RefusalReason::MessageSize { bytes, limit } = refusal.reason else {
        panic!("{}", refusal.reason)
    };
    assert!(bytes > 6 * 22_000 && limit == LIMITS.max_event_bytes);
    assert_eq!(cbor::error_code(&refusal.reason), "too_large");
    let fits = [&b"\x59\x53\xfc"[..], &vec![0; 21_500]].concat();
    assert!(Sent::cbor(&message_of(&fits)).is_ok());
}

#[test]
fn an_event_that_is_too_large_in_cbor_only_is_an_error_with_its_id() {
    let numbers = vec!["0.1"; 20_000].join(",");
    let sent = Sent::json(&format!(r#"{{"type":"message","channel":"x","message":[{numbers}]}}"#));
    let Err(size) = cbor::event_frame(&sent.event, None, MAX_FRAME) else { panic!("it fits") };
    assert!(size.bytes > 180_000 && size.limit == MAX_FRAME);
    let told = cbor::too_large(stamp(), size);
    let Ok(Cbor::Array(parts)) = Cbor::parse(told.payload()) else { panic!("an array") };
    let [error, code, Cbor::Text(text)] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!([error, code], [&Cbor::text("error"), &Cbor::text("too_large")]);
    assert!(text.contains(&stamp().id.to_string()), "{text}");
    let exact = size.bytes;
    assert!(cbor::event_frame(&sent.event, None, exact).is_ok());
    let short = cbor::event_frame(&sent.event, None, exact - 1).err();
    assert_eq!(short, Some(TooLarge { bytes: exact, limit: exact - 1 }));
}

#[test]
fn what_a_sender_wrote_takes_no_more_than_its_message_does() {
    let long = |begin: &str, unit: &[u8], end: &str| {
        [bytes(begin), unit.repeat(300_000 / unit.len()), bytes(end)].concat()
    };
    for (name, command) in [
        ("tags", long("82 02 a2 676368616e6e656c 41e9 676d657373616765", b"\xc1", "42e901")),
        (
            "an ID",
            long(
                "82 02 bf 676368616e6e656c 41e9 624944 9f",
                b"\x00",
                "ff 676d657373616765 42e901 ff",
            ),
        ),
        (
            "one key",
            long("82 02 bf 676368616e6e656c 41e9 676d657373616765 42e901", b"\x62ID\x00", "ff"),
        ),
        (
            "chunks",
            long("82 02 a2 676368616e6e656c 41e9 676d657373616765 5f", b"\x40", "42e901 ff"),
        ),
    ] {
        let sent = Sent::cbor(&command).unwrap_or_else(|refusal| panic!("{}", refusal.reason));
        let kept = sent.source.as_ref().map(Source::kept_bytes).expect("it was sent in CBOR");
        assert!(kept < 100, "{name}: {kept} bytes");
        let due = Cbor::Map(vec![
            (Cbor::text("channel"), Cbor::Bytes(vec![0xe9])),
            (Cbor::text("message"), Cbor::Bytes(vec![0xe9, 1])),
        ]);
        assert_eq!(sent.to_cbor(), due, "{name}");
    }
}

#[test]
fn every_code_is_explained_to_authors_of_clients() {
    let page = include_str!("../../docs/protocol.md");
    for reason in [
        RefusalReason::Cbor(String::new()),
        RefusalReason::UnknownVariant(String::new()),
        RefusalReason::TooDeep { depth: 129 },
        RefusalReason::ChannelType { found: "null" },
        RefusalReason::ChannelNotFinite,
        RefusalReason::ChannelName { bytes: 256, limit: 255 },
        RefusalReason::TooManyChannels { limit: 1 },
        RefusalReason::MessageSize { bytes: 2, limit: 1 },
        RefusalReason::RateLimit { per_second: 1, burst: 1 },
    ] {
        let code = cbor::error_code(&reason);
        assert!(page.contains(&format!("\n| `{code}` |")), "{code}");
    }
}
