//! Messages and replies written as frames.
//!
//! An event is written once, as the whole websocket frame that every listener gets and that the
//! log keeps; a log reply splices the stored bytes. Everything but ID and time is written before
//! the hub is asked, so that the hub's lock covers only the copying of a short tail.

use super::cbor::Source;
use super::channel::ChannelName;
use super::json;
use super::kind::CommandKind;
use super::nonce::Nonce;
use super::refusal::Refusal;
use super::stamp::{ID_LENGTH, Stamp};
use super::websocket::{Frame, HEADROOM};
use std::io::Write;
use uuid::Uuid;

const EVENT_HEAD: &[u8] = br#"{"type":"message""#;
const NONCE_HEAD: &[u8] = br#","nonce":"#;
const RESULT_HEAD: &[u8] = br#"{"type":"result","for":"message""#;

/// Bytes of `,"ID":"…","time":…}`, the time having 13 digits (until the year 2286).
const TAIL_BYTES: usize = br#","ID":"","time":}"#.len() + ID_LENGTH + 13;

/// Bytes that a log reply needs beside its entries: its head, `truncated`, `next`, brackets.
pub const LOG_WRAPPER_BYTES: usize = 128;

/// Bytes that a message's event leaves free in a frame, for the wrapper of a result or a log.
pub const EVENT_RESERVE_BYTES: usize = 1024;

/// Most bytes of the owner's reason in [`closed`].
pub const MAX_REASON_BYTES: usize = 255;

/// A message ready but for its ID and time.
#[derive(Debug, PartialEq)]
pub struct Draft {
    channel: ChannelName,
    /// Room for a frame header, then the event as far as it is known.
    bytes: Vec<u8>,
    /// The sender's `for`, which is in the event but not in the result: its place in `bytes`.
    sender_for: Option<Vec<u8>>,
    /// What a CBOR sender wrote, until it is taken.
    cbor: Option<Source>,
}

/// A message with its ID and time: what listeners get and the log keeps.
#[derive(Debug, Clone)]
pub struct Event {
    /// ID and time.
    pub stamp: Stamp,
    /// The event as JSON in a text frame.
    pub frame: Frame,
}

impl Draft {
    /// Begins a message to `channel` of about `length` bytes.
    pub fn new(channel: ChannelName, length: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADROOM + length + TAIL_BYTES + 32);
        bytes.resize(HEADROOM, 0);
        bytes.extend_from_slice(EVENT_HEAD);
        bytes.extend_from_slice(br#","channel":"#);
        bytes.extend_from_slice(channel.as_json().as_bytes());
        Self { channel, bytes, sender_for: None, cbor: None }
    }

    /// Adds a key (a canonical literal, with its quotes) and its value.
    pub fn push(&mut self, key: &str, value: &str) {
        push_field(key, value, &mut self.bytes);
    }

    /// Sets the sender's own `for`.
    pub fn set_for(&mut self, value: &str) {
        let mut field = Vec::with_capacity(value.len() + 8);
        push_field(r#""for""#, value, &mut field);
        self.sender_for = Some(field);
    }

    /// Adds fields that stand written already: each a comma, a key and a value in canonical form.
    pub(super) fn push_written(&mut self, fields: &[u8]) {
        self.bytes.extend_from_slice(fields);
    }

    /// Sets the sender's own `for`, written already: a comma, the key and the value.
    pub(super) fn set_written_for(&mut self, field: Vec<u8>) {
        self.sender_for = Some(field);
    }

    /// Keeps what the sender wrote in CBOR, for listeners who read that.
    pub(super) fn set_cbor(&mut self, source: Source) {
        self.cbor = Some(source);
    }

    /// Takes what the sender wrote in CBOR, if it did. The event and the log are made without it:
    /// it is to live only while the message is delivered.
    pub fn take_cbor(&mut self) -> Option<Source> {
        self.cbor.take()
    }

    /// The channel the message goes to.
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// Bytes that the event's JSON will have.
    pub fn event_bytes(&self) -> usize {
        self.bytes.len() - HEADROOM + self.sender_for.as_ref().map_or(0, Vec::len) + TAIL_BYTES
    }

    /// The result that the sender of the message gets.
    pub fn result(&self, stamp: Stamp) -> Frame {
        let common = &self.bytes[HEADROOM + EVENT_HEAD.len()..];
        let mut result =
            Vec::with_capacity(HEADROOM + RESULT_HEAD.len() + common.len() + TAIL_BYTES);
        result.resize(HEADROOM, 0);
        result.extend_from_slice(RESULT_HEAD);
        result.extend_from_slice(common);
        push_tail(stamp, &mut result);
        Frame::text(result)
    }

    /// Finishes the message: its event.
    pub fn stamp(self, stamp: Stamp) -> Event {
        let Self { mut bytes, sender_for, .. } = self;
        bytes.extend_from_slice(sender_for.as_deref().unwrap_or_default());
        push_tail(stamp, &mut bytes);
        // The log keeps this buffer: what the sender's spelling took beyond the event must not
        // stay with it.
        if bytes.capacity() > bytes.len() + bytes.len() / 8 + 64 {
            bytes.shrink_to_fit();
        }
        Event { stamp, frame: Frame::text(bytes) }
    }
}

fn push_field(key: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b',');
    out.extend_from_slice(key.as_bytes());
    out.push(b':');
    json::write_compact(value, out);
}

fn push_tail(stamp: Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(br#","ID":""#);
    push_id(stamp.id, out);
    out.extend_from_slice(br#"","time":"#);
    push_number(stamp.time_ms, out);
    out.push(b'}');
}

fn push_id(id: Uuid, out: &mut Vec<u8>) {
    let mut text = [0; ID_LENGTH];
    out.extend_from_slice(id.as_hyphenated().encode_lower(&mut text).as_bytes());
}

fn push_number(number: u64, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{number}");
}

/// The result of `open` or `close`: the channels now open, in the order of opening. Where they do
/// not fit into `max_bytes`, the ones opened last are listed, with `truncated: true`. `gap` says
/// that the log no longer reaches back to where the client wants to catch up from.
pub fn channels_result<'a>(
    command: CommandKind,
    nonce: Option<&Nonce>,
    channels: impl DoubleEndedIterator<Item = &'a ChannelName> + Clone,
    gap: bool,
    max_bytes: usize,
) -> Frame {
    let mut out = result_head(command, nonce, LOG_WRAPPER_BYTES);
    let room = max_bytes.saturating_sub(out.len() - HEADROOM + LOG_WRAPPER_BYTES);
    let (mut used, mut count) = (0, 0);
    for name in channels.clone().rev() {
        used += name.as_json().len() + 1;
        if used > room {
            break;
        }
        count += 1;
    }
    let hidden = channels.clone().count() - count;
    out.extend_from_slice(br#","channels":["#);
    for (index, name) in channels.skip(hidden).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_json().as_bytes());
    }
    out.push(b']');
    if hidden > 0 {
        out.extend_from_slice(br#","truncated":true"#);
    }
    if gap {
        out.extend_from_slice(br#","gap":true"#);
    }
    out.push(b'}');
    Frame::text(out)
}

/// What the entries of a log reply are cut out of.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// The index of the first entry.
    pub start: usize,
    /// Where the log goes on behind the list that the indices count in, if not all of it was
    /// looked at: what is left is older than the message with this ID.
    pub before: Option<Uuid>,
}

/// The result of `log`: the events of `newest_first`, as many as fit into `max_bytes`. Where they
/// do not all fit, it says `truncated: true` and, as `next`, the `start` to ask for next, which is
/// that of `cut` plus the number of entries listed. Else, where `cut` says that the log goes on, it
/// says `truncated: true` and, as `before`, what to ask for next.
pub fn log_result<'a>(
    nonce: Option<&Nonce>,
    newest_first: impl Iterator<Item = &'a Frame> + Clone,
    cut: Cut,
    max_bytes: usize,
) -> Frame {
    let wrapper = LOG_WRAPPER_BYTES + nonce.map_or(0, nonce_bytes);
    let room = max_bytes.saturating_sub(wrapper);
    let (mut count, mut bytes, mut truncated) = (0, 0, false);
    for frame in newest_first.clone() {
        let with_this = bytes + frame.payload().len() + 1;
        // One entry always fits (an event leaves a reserve), so that asking on always advances.
        if count > 0 && with_this > room {
            truncated = true;
            break;
        }
        (count, bytes) = (count + 1, with_this);
    }
    let mut out = result_head(CommandKind::Log, nonce, bytes + wrapper);
    out.extend_from_slice(br#","log":["#);
    for (index, frame) in newest_first.take(count).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(frame.payload());
    }
    out.push(b']');
    if truncated {
        out.extend_from_slice(br#","truncated":true,"next":"#);
        push_number((cut.start + count) as u64, &mut out);
    } else if let Some(before) = cut.before {
        out.extend_from_slice(br#","truncated":true,"before":""#);
        push_id(before, &mut out);
        out.push(b'"');
    }
    out.push(b'}');
    Frame::text(out)
}

/// The result of `ping`: the hub's time, in milliseconds since 1970 UTC.
pub fn ping_result(nonce: Option<&Nonce>, time_ms: u64) -> Frame {
    let mut out = result_head(CommandKind::Ping, nonce, LOG_WRAPPER_BYTES);
    out.extend_from_slice(br#","time":"#);
    push_number(time_ms, &mut out);
    out.push(b'}');
    Frame::text(out)
}

/// The event that tells a client that the owner has closed a channel for it; `reason` is cut to
/// [`MAX_REASON_BYTES`].
pub fn closed(channel: &ChannelName, reason: &str) -> Frame {
    let mut out = vec![0; HEADROOM];
    out.extend_from_slice(br#"{"type":"closed","channel":"#);
    out.extend_from_slice(channel.as_json().as_bytes());
    out.extend_from_slice(br#","reason":"#);
    let cut = reason.floor_char_boundary(MAX_REASON_BYTES);
    json::write_text(&reason[..cut], &mut out);
    out.push(b'}');
    Frame::text(out)
}

/// The error that answers a refused command.
pub fn error(refusal: &Refusal) -> Frame {
    let mut out = vec![0; HEADROOM];
    out.extend_from_slice(br#"{"type":"error""#);
    if let Some(command) = refusal.command {
        out.extend_from_slice(br#","for":"#);
        json::write_text(command.label(), &mut out);
    }
    push_nonce(refusal.nonce.as_ref(), &mut out);
    out.extend_from_slice(br#","error":"#);
    json::write_text(&refusal.reason.to_string(), &mut out);
    out.push(b'}');
    Frame::text(out)
}

/// The beginning of a result, with room for `length` bytes of JSON.
fn result_head(command: CommandKind, nonce: Option<&Nonce>, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADROOM + length);
    out.resize(HEADROOM, 0);
    out.extend_from_slice(br#"{"type":"result","for":"#);
    json::write_text(command.label(), &mut out);
    push_nonce(nonce, &mut out);
    out
}

fn push_nonce(nonce: Option<&Nonce>, out: &mut Vec<u8>) {
    if let Some(nonce) = nonce {
        out.extend_from_slice(NONCE_HEAD);
        out.extend_from_slice(nonce.as_json().as_bytes());
    }
}

/// Bytes that a nonce takes in a reply.
fn nonce_bytes(nonce: &Nonce) -> usize {
    NONCE_HEAD.len() + nonce.as_json().len()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::stamp::Stamper;

    fn text(frame: &Frame) -> String {
        String::from_utf8(frame.payload().to_vec()).expect("JSON is UTF-8")
    }

    fn stamp() -> Stamp {
        Stamper::new(1).next(1_700_000_000_123)
    }

    /// The JSON of the event that `draft` becomes.
    pub(crate) fn event_of(draft: Draft) -> String {
        text(&draft.stamp(stamp()).frame)
    }

    /// Bytes of the event that `draft` becomes, and bytes that its buffer takes.
    pub(crate) fn buffer_of(draft: Draft) -> (usize, usize) {
        let event = draft.stamp(stamp());
        let wire = event.frame.wire().clone();
        drop(event);
        let buffer = wire.try_into_mut().expect("nobody else shares it");
        (buffer.len(), buffer.capacity())
    }

    fn channel(name: &str) -> ChannelName {
        ChannelName::from_text(name)
    }

    #[test]
    fn an_event_keeps_the_senders_for_and_the_result_has_its_own() {
        let mut draft = Draft::new(channel("x"), 0);
        draft.push(r#""message""#, "[ 1.0 ]");
        draft.set_for(r#""mine""#);
        let bytes = draft.event_bytes();
        let stamp = stamp();
        let result = draft.result(stamp);
        let event = draft.stamp(stamp);
        let (event, result) = (text(&event.frame), text(&result));
        let tail = format!(r#","ID":"{}","time":1700000000123}}"#, stamp.id);
        assert_eq!(
            event,
            format!(r#"{{"type":"message","channel":"x","message":[1.0],"for":"mine"{tail}"#)
        );
        assert_eq!(
            result,
            format!(r#"{{"type":"result","for":"message","channel":"x","message":[1.0]{tail}"#)
        );
        assert_eq!(event.len(), bytes);
    }

    #[test]
    fn a_log_that_does_not_fit_says_where_to_go_on() {
        let frames: Vec<Frame> = (0..5)
            .map(|n| {
                let mut draft = Draft::new(channel("x"), 0);
                draft.push(r#""message""#, &n.to_string());
                draft.stamp(stamp()).frame
            })
            .collect();
        let whole_from = |start| Cut { start, before: None };
        let whole = text(&log_result(None, frames.iter(), whole_from(0), 10_000));
        assert!(!whole.contains("truncated"));
        let entry = frames[0].payload().len();
        let part = log_result(
            None,
            frames.iter(),
            whole_from(2),
            LOG_WRAPPER_BYTES + 60 + 3 * (entry + 1),
        );
        assert!(text(&part).ends_with(r#"],"truncated":true,"next":5}"#), "{}", text(&part));
        let tiny = text(&log_result(None, frames.iter(), whole_from(0), 1));
        assert!(tiny.ends_with(r#"],"truncated":true,"next":1}"#));
        let cut = Cut { start: 0, before: Some(Uuid::nil()) };
        let tiny = text(&log_result(None, frames.iter(), cut, 1));
        assert!(tiny.ends_with(r#"],"truncated":true,"next":1}"#), "{tiny}");
        let all = log_result(None, frames.iter(), cut, LOG_WRAPPER_BYTES + 5 * (entry + 1));
        assert!(all.payload().len() <= LOG_WRAPPER_BYTES + 5 * (entry + 1));
        let end = r#"],"truncated":true,"before":"00000000-0000-0000-0000-000000000000"}"#;
        assert!(text(&all).ends_with(end), "{}", text(&all));
    }

    #[test]
    fn channels_that_do_not_fit_leave_the_ones_opened_last() {
        let names: Vec<ChannelName> = (0..100).map(|n| channel(&format!("{n:0>100}"))).collect();
        let reply = channels_result(CommandKind::Open, None, names.iter(), false, 1_000);
        assert!(reply.payload().len() <= 1_000);
        let reply = text(&reply);
        assert!(reply.ends_with(&format!(r#"{}],"truncated":true}}"#, names[99].as_json())));
        let short = channels_result(CommandKind::Close, None, names[..2].iter(), false, 1_000);
        assert_eq!(
            text(&short),
            format!(
                r#"{{"type":"result","for":"close","channels":[{},{}]}}"#,
                names[0].as_json(),
                names[1].as_json()
            )
        );
    }
}
