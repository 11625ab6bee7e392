//! CBOR as programs of version 2 send and receive it, at the level of bytes: no socket, no hub.
//!
//! - `replay`: what the original server answered.
//! - `cases`: commands with what becomes of them in both encodings, or why they are refused.
//! - `properties`: what holds for any value and any bytes.
//! - `value`: a strict reader, so that nothing is judged by the code under test.

mod cases;
mod properties;
mod replay;
mod value;

use skynet::protocol::{
    Command, CommandLimits, Draft, Event, Refusal, Stamp, Stamper,
    cbor::{self, Source, TooLarge},
    command,
};
use value::Cbor;

const LIMITS: CommandLimits =
    CommandLimits { max_channel_name_bytes: 255, max_event_bytes: 130_048 };
const MAX_FRAME: usize = 131_072;
const TIME: &str = "2023-11-14T22:13:20.123Z";

fn stamp() -> Stamp {
    Stamper::new(1).next(1_700_000_000_123)
}

/// A command in CBOR.
fn read(bytes: &[u8]) -> Result<Command, Refusal> {
    cbor::parse(bytes, LIMITS).map(|request| request.command)
}

/// A message as it is delivered: its event, and what its sender wrote in CBOR.
struct Sent {
    event: Event,
    source: Option<Source>,
}

impl Sent {
    fn new(mut draft: Draft) -> Sent {
        let bytes = draft.event_bytes();
        let source = draft.take_cbor();
        let event = draft.stamp(stamp());
        assert_eq!(event.frame.payload().len(), bytes, "the size it is judged by");
        Sent { event, source }
    }

    /// A message that was sent in CBOR.
    fn cbor(bytes: &[u8]) -> Result<Sent, Refusal> {
        match read(bytes)? {
            Command::Message(draft) => Ok(Sent::new(draft)),
            other => panic!("a message, not {other:?}"),
        }
    }

    /// A message that was sent in JSON.
    fn json(text: &str) -> Sent {
        match command::parse(text, LIMITS).map(|request| request.command) {
            Ok(Command::Message(draft)) => Sent::new(draft),
            other => panic!("a message, not {other:?}"),
        }
    }

    /// The event as a listener in JSON gets it, which must be JSON.
    fn to_json(&self) -> String {
        let text = String::from_utf8(self.event.frame.payload().to_vec()).expect("UTF-8");
        serde_json::from_str::<serde::de::IgnoredAny>(&text).expect("JSON");
        text
    }

    /// The value of a key of the event as a listener in JSON gets it, as it is spelled.
    fn json_of(&self, key: &str) -> String {
        type Members<'a> = std::collections::BTreeMap<String, &'a serde_json::value::RawValue>;
        let text = self.to_json();
        let members: Members = serde_json::from_str(&text).expect("an object");
        members.get(key).map_or("", |value| value.get()).to_owned()
    }

    fn frame(&self, source: Option<&Source>) -> Result<Cbor, TooLarge> {
        let frame = cbor::event_frame(&self.event, source, MAX_FRAME)?;
        assert_eq!(frame.wire()[0], 0x82, "a whole binary frame");
        assert!(frame.payload().len() <= MAX_FRAME);
        let Ok(Cbor::Array(parts)) = Cbor::parse(frame.payload()) else {
            panic!("an array: {:02x?}", frame.payload())
        };
        let [variant, mut fields] = parts.try_into().expect("an array of two");
        assert_eq!(variant, Cbor::text("message"));
        assert_eq!(fields.remove("time"), Some(Cbor::text(TIME)));
        let id = self.event.stamp.id.to_string();
        assert_eq!(fields.remove("ID"), Some(Cbor::Text(id)));
        Ok(fields)
    }

    /// The fields of the event as a listener in CBOR gets it, but for ID and time.
    fn to_cbor(&self) -> Cbor {
        self.frame(self.source.as_ref()).expect("it fits")
    }

    /// The same if the sender had not written CBOR.
    fn to_cbor_from_json(&self) -> Cbor {
        self.frame(None).expect("it fits")
    }
}

/// The bytes that `hex` spells; blanks are for the eye.
fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// The command that sends `message` to the channel `x`, as bytes.
fn message_of(message: &[u8]) -> Vec<u8> {
    let head = b"\x82\x67message\xa2\x67channel\x61x\x67message";
    [&head[..], message].concat()
}
