//! What differs between hubs: how a client greets, subscribes and publishes, and which part of what a
//! hub sends is one of our messages.
//!
//! Skynet's own, spoken by our small servers too, has one JSON object in each frame. NATS and MQTT
//! are streams that ride on websockets: their records need not begin and end where frames do.

use clap::ValueEnum;

use crate::marker::Marker;
use crate::websocket;

/// A way of talking to a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// JSON in text frames: Skynet, and what speaks as it does.
    Skynet,
    /// The text protocol of NATS in binary frames.
    Nats,
    /// MQTT 3.1.1 in binary frames, messages at most once.
    Mqtt,
}

/// What something that a hub sent is.
#[derive(Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// One of our messages: its text, or what the text stands in.
    Delivery(&'a [u8]),
    /// The answer to the last step of the greeting, or to a message.
    Answer,
    /// The hub says that something was wrong.
    Refusal(&'a [u8]),
    /// To be answered with these bytes.
    Reply(&'static [u8]),
    /// Nothing to a load generator.
    Other,
}

const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const SUBACK: u8 = 9;

impl Dialect {
    /// What the client asks for in the handshake.
    pub fn subprotocol(self) -> Option<&'static str> {
        (self == Dialect::Mqtt).then_some("mqtt")
    }

    /// What its frames hold.
    pub fn opcode(self) -> u8 {
        if self == Dialect::Skynet { websocket::TEXT } else { websocket::BINARY }
    }

    /// The name of the channel that hears all others.
    pub fn everything(self) -> &'static str {
        match self {
            Dialect::Skynet => "*",
            Dialect::Nats => ">",
            Dialect::Mqtt => "#",
        }
    }

    /// Whether each message is answered.
    pub fn answers(self) -> bool {
        self == Dialect::Skynet
    }

    /// What a client says before it is ready, each part after the answer to the one before: a
    /// subscription of `channel`, where it is to have one.
    pub fn greeting(self, channel: Option<&str>, client: usize) -> Vec<Vec<u8>> {
        match self {
            Dialect::Skynet => channel
                .map(|channel| format!(r#"{{"type":"open","channel":"{channel}"}}"#).into_bytes())
                .into_iter()
                .collect(),
            Dialect::Nats => {
                let subscription =
                    channel.map(|channel| format!("SUB {channel} 1\r\n")).unwrap_or_default();
                let connect = r#"{"verbose":false,"pedantic":false,"lang":"rust","version":"0","protocol":1,"echo":false}"#;
                vec![format!("CONNECT {connect}\r\n{subscription}PING\r\n").into_bytes()]
            }
            Dialect::Mqtt => {
                // Level 4, a clean session, no keep-alive.
                let mut body = mqtt_text("MQTT");
                body.extend_from_slice(&[4, 2, 0, 0]);
                body.extend(mqtt_text(&format!("load-{}-{client}", std::process::id())));
                let connect = mqtt_packet(0x10, &body);
                let subscribe = channel.map(|channel| {
                    let mut body = vec![0, 1];
                    body.extend(mqtt_text(channel));
                    body.push(0);
                    mqtt_packet(0x82, &body)
                });
                [Some(connect), subscribe].into_iter().flatten().collect()
            }
        }
    }

    /// A message of `size` bytes, not yet in a frame.
    pub fn publish(self, channel: &str, marker: Marker, size: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(size + channel.len() + 64);
        match self {
            Dialect::Skynet => {
                out.extend_from_slice(br#"{"type":"message","channel":""#);
                out.extend_from_slice(channel.as_bytes());
                out.extend_from_slice(br#"","message":""#);
                marker.write(size, &mut out);
                out.extend_from_slice(br#""}"#);
                out
            }
            Dialect::Nats => {
                out.extend_from_slice(format!("PUB {channel} {size}\r\n").as_bytes());
                marker.write(size, &mut out);
                out.extend_from_slice(b"\r\n");
                out
            }
            Dialect::Mqtt => {
                out.extend(mqtt_text(channel));
                marker.write(size, &mut out);
                mqtt_packet(PUBLISH << 4, &out)
            }
        }
    }

    /// What a whole frame is, where a frame is a record; None where records are to be [`cut`].
    ///
    /// [`cut`]: Dialect::cut
    #[inline]
    pub fn frame(self, payload: &[u8]) -> Option<Record<'_>> {
        if self != Dialect::Skynet {
            return None;
        }
        Some(if payload.starts_with(br#"{"type":"message""#) {
            Record::Delivery(payload)
        } else if payload.starts_with(br#"{"type":"result""#) {
            Record::Answer
        } else if payload.starts_with(br#"{"type":"error""#) {
            Record::Refusal(payload)
        } else {
            Record::Other
        })
    }

    /// The record that a stream begins with, once all of it is there, and its length.
    pub fn cut(self, stream: &[u8]) -> Option<(Record<'_>, usize)> {
        match self {
            Dialect::Skynet => Some((self.frame(stream)?, stream.len())),
            Dialect::Nats => cut_nats(stream),
            Dialect::Mqtt => cut_mqtt(stream),
        }
    }

    /// Whether a delivery holds all it should; looked at for a sample of them.
    pub fn complete(self, delivery: &[u8], size: usize) -> bool {
        if self != Dialect::Skynet {
            return delivery.len() == size;
        }
        let parsed: Result<serde_json::Value, _> = serde_json::from_slice(delivery);
        parsed.is_ok_and(|event| {
            event["message"].as_str().is_some_and(|text| text.len() == size)
                && event["channel"].is_string()
                && event["ID"].is_string()
                && event["time"].is_u64()
        })
    }
}

/// A request for the newest `count` messages of the log.
pub fn log_request(count: usize) -> Vec<u8> {
    format!(r#"{{"type":"log","start":0,"end":{count}}}"#).into_bytes()
}

fn cut_nats(stream: &[u8]) -> Option<(Record<'_>, usize)> {
    let length = stream.iter().position(|&byte| byte == b'\n')? + 1;
    let line = stream[..length].trim_ascii_end();
    if line.starts_with(b"MSG ") {
        let size = line.rsplit(|&byte| byte == b' ').next()?;
        let size: usize = std::str::from_utf8(size).ok()?.parse().ok()?;
        let end = length.checked_add(size)?;
        // Two bytes more end the line of the text.
        return (stream.len() >= end + 2)
            .then(|| (Record::Delivery(&stream[length..end]), end + 2));
    }
    let record = if line.starts_with(b"PONG") {
        Record::Answer
    } else if line.starts_with(b"PING") {
        Record::Reply(b"PONG\r\n")
    } else if line.starts_with(b"-ERR") {
        Record::Refusal(line)
    } else {
        Record::Other
    };
    Some((record, length))
}

fn cut_mqtt(stream: &[u8]) -> Option<(Record<'_>, usize)> {
    let (mut length, mut start) = (0, 1);
    // Seven bits in each byte, the lowest first, four bytes at most.
    for shift in [0, 7, 14, 21] {
        let byte = *stream.get(start)?;
        length |= usize::from(byte & 0x7f) << shift;
        start += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let body = stream.get(start..start + length)?;
    let record = match (stream[0] >> 4, body) {
        (PUBLISH, [high, low, rest @ ..]) => {
            let topic = usize::from(u16::from_be_bytes([*high, *low]));
            rest.get(topic..).map_or(Record::Other, Record::Delivery)
        }
        (CONNACK, [_, 0]) => Record::Answer,
        (SUBACK, [.., 0]) => Record::Answer,
        (CONNACK | SUBACK, _) => Record::Refusal(body),
        _ => Record::Other,
    };
    Some((record, start + length))
}

fn mqtt_packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![head];
    let mut length = body.len();
    loop {
        let more = if length > 0x7f { 0x80 } else { 0 };
        packet.push((length & 0x7f) as u8 | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// A text with its length before it. Ours are short.
fn mqtt_text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKER: Marker = Marker { publisher: 1, number: 2, due: 3 };

    fn text(size: usize) -> Vec<u8> {
        let mut text = Vec::new();
        MARKER.write(size, &mut text);
        text
    }

    #[test]
    fn records_of_a_stream_are_cut_only_when_all_of_them_is_there() {
        for size in [30, 127, 128, 20_000] {
            let message = text(size);
            let mut nats = format!("MSG room0 1 {size}\r\n").into_bytes();
            nats.extend_from_slice(&message);
            nats.extend_from_slice(b"\r\n");
            let mqtt = Dialect::Mqtt.publish("room0", MARKER, size);
            for (dialect, bytes) in [(Dialect::Nats, nats), (Dialect::Mqtt, mqtt)] {
                let whole = Some((Record::Delivery(&message[..]), bytes.len()));
                assert_eq!(dialect.cut(&bytes), whole);
                for cut in [0, 1, 2, 10, bytes.len() - 1] {
                    assert_eq!(dialect.cut(&bytes[..cut]), None, "{dialect:?} of {cut} bytes");
                }
            }
        }
    }

    #[test]
    fn every_dialect_tells_an_answer_from_a_refusal() {
        use Dialect::{Mqtt, Nats, Skynet};
        let cases: [(Dialect, &[u8], bool); 8] = [
            (Skynet, br#"{"type":"result","for":"open","channels":["a"]}"#, true),
            (Skynet, br#"{"type":"error","error":"Invalid type for channel!"}"#, false),
            (Nats, b"PONG\r\n", true),
            (Nats, b"-ERR 'Unknown Protocol Operation'\r\n", false),
            (Mqtt, &[0x20, 2, 0, 0], true),
            (Mqtt, &[0x20, 2, 0, 5], false),
            (Mqtt, &[0x90, 3, 0, 1, 0], true),
            (Mqtt, &[0x90, 3, 0, 1, 0x80], false),
        ];
        for (dialect, bytes, good) in cases {
            let (record, length) = dialect.cut(bytes).expect("a whole record");
            assert_eq!(length, bytes.len());
            assert_eq!(record == Record::Answer, good, "{record:?}");
            assert_eq!(matches!(record, Record::Refusal(_)), !good, "{record:?}");
        }
    }

    #[test]
    fn a_delivery_with_something_missing_is_not_complete() {
        let event = |text: &str| {
            format!(r#"{{"type":"message","channel":"a","message":"{text}","ID":"i","time":5}}"#)
        };
        assert!(Dialect::Skynet.complete(event("abc").as_bytes(), 3));
        assert!(!Dialect::Skynet.complete(event("ab").as_bytes(), 3));
        let event = event("abc");
        assert!(!Dialect::Skynet.complete(event.replace("\"ID\"", "\"id\"").as_bytes(), 3));
        assert!(!Dialect::Skynet.complete(&event.as_bytes()[..event.len() - 1], 3));
        assert!(Dialect::Nats.complete(b"abc", 3) && !Dialect::Nats.complete(b"ab", 3));
    }

    #[test]
    fn greetings_subscribe_only_when_they_are_to() {
        for dialect in [Dialect::Skynet, Dialect::Nats, Dialect::Mqtt] {
            let with = dialect.greeting(Some("room0"), 7).concat();
            let without = dialect.greeting(None, 7).concat();
            let names = |bytes: &[u8]| bytes.windows(5).any(|window| window == b"room0");
            assert!(names(&with) && !names(&without), "{dialect:?}");
        }
    }
}
