//! Events and errors written as binary frames.
//!
//! An event exists as JSON; its CBOR is written when the first listener is to get it, from what
//! the sender wrote if that was CBOR, else from the JSON.

use super::builder::Builder;
use super::from_cbor;
use super::from_json::FromJson;
use super::reader::{Head, Reader};
use super::to_json::latin_1;
use crate::protocol::channel::ChannelName;
use crate::protocol::event::Event;
use crate::protocol::refusal::{Refusal, RefusalReason};
use crate::protocol::stamp::{ID_LENGTH, Stamp};
use crate::protocol::websocket::{Frame, HEADROOM};
use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

/// The code of the error that stands in for an event.
const TOO_LARGE: &str = "too_large";

/// The last millisecond of the year 9999, the last that RFC 3339 can write.
const LAST_TIME_MS: u64 = 253_402_300_799_999;

/// The map of a message as its sender wrote it in CBOR, found to be a message. One that takes more
/// than the message's event in JSON is tidied: of keys that are equal in CBOR, the last is left. What
/// is kept may take more than the event all the same, as floats and keys that are equal in JSON alone
/// do; the frame that was sent bounds it, and it is gone when the message is on its way.
#[derive(PartialEq)]
pub struct Source(Box<[u8]>);

impl Source {
    /// Keeps the map of a message whose event in JSON has `event_bytes`.
    pub(super) fn new(map: &[u8], event_bytes: usize) -> Result<Self, RefusalReason> {
        if map.len() <= event_bytes {
            return Ok(Self(map.into()));
        }
        let mut out = Builder::new(event_bytes);
        let fields = out.map();
        fields_of_cbor(map, &mut out)?;
        out.end_map(fields);
        Ok(Self(out.finish()[HEADROOM..].into()))
    }

    /// Bytes that it keeps.
    pub fn kept_bytes(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({} bytes)", self.kept_bytes())
    }
}

/// An event whose CBOR is larger than a frame may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge {
    /// Its bytes.
    pub bytes: usize,
    /// The limit.
    pub limit: usize,
}

/// The event in CBOR: `["message", {…, "ID": …, "time": …}]`. `source` is what the sender wrote,
/// if it wrote CBOR ([`crate::protocol::Draft::take_cbor`]); it keeps what JSON cannot hold.
///
/// # Errors
/// It would have more than `max_bytes`; [`too_large`] is what its listeners get instead.
pub fn event_frame(
    event: &Event,
    source: Option<&Source>,
    max_bytes: usize,
) -> Result<Frame, TooLarge> {
    let json = event.frame.payload();
    let from_source = source.and_then(|source| {
        let mut out = Builder::new(source.0.len() + 128);
        // A source has been read before: the JSON is there in any case, but never needed.
        message(event.stamp, &mut out, |out| fields_of_cbor(&source.0, out)).ok().map(|()| out)
    });
    let out = from_source.unwrap_or_else(|| {
        let mut out = Builder::new(json.len() + 16);
        let Ok(()) = message(event.stamp, &mut out, |out| {
            fields_of_json(json, out);
            Ok::<(), std::convert::Infallible>(())
        });
        out
    });
    let bytes = out.finish();
    let length = bytes.len() - HEADROOM;
    if length > max_bytes {
        return Err(TooLarge { bytes: length, limit: max_bytes });
    }
    Ok(Frame::binary(bytes))
}

/// What listeners in CBOR get in place of an event that is too large for them.
pub fn too_large(stamp: Stamp, size: TooLarge) -> Frame {
    let TooLarge { bytes, limit } = size;
    error_frame(
        TOO_LARGE,
        &format!(
            "The message {} is too large for you: {bytes} bytes in CBOR; at most {limit} are sent",
            stamp.id
        ),
    )
}

/// The error that answers a refused command: `["error", code, text]`.
pub fn error(refusal: &Refusal) -> Frame {
    error_frame(error_code(&refusal.reason), &refusal.reason.to_string())
}

/// What an error in CBOR calls `reason`.
pub fn error_code(reason: &RefusalReason) -> &'static str {
    match reason {
        RefusalReason::Syntax(_)
        | RefusalReason::Cbor(_)
        | RefusalReason::UnknownVariant(_)
        | RefusalReason::NotAnObject { .. }
        | RefusalReason::TooDeep { .. }
        | RefusalReason::UnknownCommand(_)
        | RefusalReason::ChannelType { .. }
        | RefusalReason::ChannelNotFinite
        | RefusalReason::LogSlice { .. }
        | RefusalReason::MessageId { .. }
        // Of commands and keys that only JSON has.
        | RefusalReason::CatchUpTwice
        | RefusalReason::CatchUpLast { .. }
        | RefusalReason::AlreadyReceived(_)
        | RefusalReason::Batch { .. }
        | RefusalReason::Pace { .. }
        | RefusalReason::NonceSize { .. } => "deserialization_failure",
        RefusalReason::ChannelName { .. } => "channel_name_too_long",
        RefusalReason::TooManyChannels { .. } | RefusalReason::TooManyInAll { .. } => {
            "too_many_channels"
        }
        // To close what is not open is no error in this version.
        RefusalReason::NotOpen(_) => "not_open",
        RefusalReason::MessageSize { .. } => TOO_LARGE,
        RefusalReason::RateLimit { .. } => "rate_limit_exceeded",
        RefusalReason::NotAllowed(_) => "not_allowed",
    }
}

fn error_frame(code: &str, text: &str) -> Frame {
    let mut out = Builder::new(text.len() + 64);
    let array = out.array();
    out.text("error");
    out.text(code);
    out.text(text);
    out.end_array(array, 3);
    Frame::binary(out.finish())
}

/// Writes an event whose fields, but for ID and time, are written by `fields`.
fn message<E>(
    stamp: Stamp,
    out: &mut Builder,
    fields: impl FnOnce(&mut Builder) -> Result<(), E>,
) -> Result<(), E> {
    let array = out.array();
    out.text("message");
    let map = out.map();
    fields(out)?;
    key("ID", out);
    out.text(stamp.id.as_hyphenated().encode_lower(&mut [0; ID_LENGTH]));
    key("time", out);
    let time = UNIX_EPOCH + Duration::from_millis(stamp.time_ms.min(LAST_TIME_MS));
    out.text(&humantime::format_rfc3339_millis(time).to_string());
    out.end_map(map);
    out.end_array(array, 2);
    Ok(())
}

fn key(name: &str, out: &mut Builder) {
    let start = out.at();
    out.text(name);
    out.key_written(start);
}

/// Writes the fields of an event in JSON. Its type is said by the array.
fn fields_of_json(json: &[u8], out: &mut Builder) {
    let mut json = FromJson::new(json);
    json.take(b'{');
    loop {
        let name = json.string();
        json.take(b':');
        let start = out.at();
        if matches!(&*name, "type" | "ID" | "time") {
            // All three are strings or numbers, which are taken back without a trace.
            json.value(out);
            out.take_back(start);
        } else {
            key(&name, out);
            json.value(out);
        }
        if !json.take(b',') {
            return;
        }
    }
}

/// Writes the fields of a message in CBOR, but for those that the hub gives. A channel that is a
/// number is written as the one number that channel has.
fn fields_of_cbor(map: &[u8], out: &mut Builder) -> Result<(), RefusalReason> {
    let mut reader = Reader::new(map);
    let Head::Map(mut left) = reader.head()? else { return Err(reader.wrong("no map")) };
    while reader.more(&mut left) {
        let mut after_key = reader.clone();
        let name = match after_key.head()? {
            Head::Text(length) => after_key.text(length)?,
            Head::Bytes(length) => latin_1(&after_key.byte_string(length)?).into_owned().into(),
            _ => Cow::Borrowed(""),
        };
        match &*name {
            "ID" | "time" => {
                reader = after_key;
                from_cbor::value(&mut reader, &mut Builder::new(0), 2)?;
            }
            "channel" => {
                reader = after_key;
                key("channel", out);
                channel(&mut reader, out)?;
            }
            "message" => {
                reader = after_key;
                key("message", out);
                from_cbor::value(&mut reader, out, 2)?;
            }
            _ => {
                let start = out.at();
                from_cbor::key(&mut reader, out, 2)?;
                out.key_written(start);
                from_cbor::value(&mut reader, out, 2)?;
            }
        }
    }
    Ok(())
}

/// Writes the channel of a message: text and bytes as they are, a number as the channel's name has
/// it.
fn channel(reader: &mut Reader, out: &mut Builder) -> Result<(), RefusalReason> {
    let mut after = reader.clone();
    let Some(number) = after.head()?.number() else {
        return from_cbor::value(reader, out, 2);
    };
    *reader = after;
    let name = ChannelName::from_number(number).ok_or(RefusalReason::ChannelNotFinite)?;
    FromJson::new(name.as_json().as_bytes()).value(out);
    Ok(())
}
