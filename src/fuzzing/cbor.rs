//! Commands in CBOR, and messages in both encodings.

use super::{LIMITS, MAX_FRAME, stamp};
use crate::protocol::cbor::{self, Source};
use crate::protocol::{ChannelName, Command, Draft, Event, Frame, RefusalReason};
use serde::de::IgnoredAny;
use serde_json::Value;

/// Reads bytes as a command: one that is taken is well-formed CBOR and nothing behind it, and a
/// message arrives in both encodings as it was sent.
///
/// # Panics
/// That does not hold.
pub fn cbor(data: &[u8]) {
    let command = match cbor::parse(data, LIMITS) {
        Ok(request) => request.command,
        Err(refusal) => {
            assert!(refusal.reason.to_string().len() < 1024);
            cbor::error(&refusal);
            return;
        }
    };
    // Tags are passed over, of which one alone may come before a connection's first command.
    assert!(cbor::begins_array(data) || data[0] >> 5 == 6);
    assert_eq!(item(data, 0), Some(data.len()), "a command is one item");
    match command {
        Command::Open(name, None) | Command::Close(name) => is_canonical(&name),
        Command::Message(draft) => {
            is_canonical(draft.channel());
            let sent = Sent::new(draft);
            sent.keeps_no_more_than(data);
            sent.in_other_encodings();
        }
        other => panic!("CBOR has no command for {other:?}"),
    }
}

fn is_canonical(name: &ChannelName) {
    assert_eq!(ChannelName::from_json(name.as_json(), usize::MAX).as_ref(), Ok(name));
}

/// A message that was read.
pub(super) struct Sent {
    pub event: Event,
    pub result: Frame,
    source: Option<Source>,
}

impl Sent {
    pub fn new(mut draft: Draft) -> Self {
        let bytes = draft.event_bytes();
        assert!(bytes <= LIMITS.max_event_bytes);
        let (result, source) = (draft.result(stamp()), draft.take_cbor());
        let event = draft.stamp(stamp());
        assert_eq!(event.frame.payload().len(), bytes, "it is judged by the bytes it has");
        Self { event, result, source }
    }

    /// What was sent, letters that are no UTF-8 written as U+FFFD, bounds what is kept of it; the
    /// event does not, where JSON takes several keys for one.
    fn keeps_no_more_than(&self, sent: &[u8]) {
        let kept = self.source.as_ref().map_or(0, Source::kept_bytes);
        assert!(kept <= 3 * sent.len(), "{kept} bytes of {}", sent.len());
    }

    /// The event as a listener in JSON gets it.
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.event.frame.payload()).expect("an event is JSON")
    }

    fn cbor(&self, source: Option<&Source>) -> Frame {
        cbor::event_frame(&self.event, source, MAX_FRAME).expect("CBOR is not so much longer")
    }

    /// The event in CBOR is well formed, and sent on from there it stays as it is, in CBOR and in
    /// JSON.
    pub fn in_other_encodings(&self) {
        serde_json::from_slice::<IgnoredAny>(self.event.frame.payload()).expect("JSON");
        serde_json::from_slice::<IgnoredAny>(self.result.payload()).expect("JSON");
        for source in [self.source.as_ref(), None] {
            let frame = self.cbor(source);
            let bytes = frame.payload();
            assert_eq!(item(bytes, 0), Some(bytes.len()), "an event is one item");
            let Some(again) = sent_again(bytes) else { continue };
            assert_eq!(again.cbor(again.source.as_ref()).payload(), bytes, "CBOR of CBOR");
            if source.is_some() {
                assert_eq!(again.event.frame.payload(), self.event.frame.payload(), "one JSON");
            } else {
                assert_eq!(again.cbor(None).payload(), bytes, "CBOR of JSON of CBOR");
            }
        }
    }
}

/// An event sent as a command again; none where that is too much, or no message in CBOR.
fn sent_again(event: &[u8]) -> Option<Sent> {
    match cbor::parse(event, LIMITS) {
        Ok(request) => match request.command {
            Command::Message(draft) => Some(Sent::new(draft)),
            other => panic!("an event is a message, not {other:?}"),
        },
        Err(refusal) => {
            let missing = "missing field `message`";
            match &refusal.reason {
                RefusalReason::MessageSize { .. } | RefusalReason::TooDeep { .. } => {}
                RefusalReason::ChannelName { .. } => {}
                RefusalReason::Cbor(words) if words.contains(missing) => {}
                reason => panic!("an event is refused: {reason:?}"),
            }
            None
        }
    }
}

/// Where the item that begins at `at` ends; none if it is not well formed (RFC 8949, appendix C).
fn item(bytes: &[u8], at: usize) -> Option<usize> {
    match head(bytes, at)? {
        (0 | 1 | 7, Some(_), at) => Some(at),
        (2 | 3, Some(length), at) => {
            let end = at.checked_add(usize::try_from(length).ok()?)?;
            (end <= bytes.len()).then_some(end)
        }
        (major @ (2 | 3), None, mut at) => {
            while bytes.get(at)? != &BREAK {
                let (chunk, Some(_), _) = head(bytes, at)? else { return None };
                at = item(bytes, at).filter(|_| chunk == major)?;
            }
            Some(at + 1)
        }
        (major @ (4 | 5), Some(count), at) => {
            let items = count.checked_mul(if major == 5 { 2 } else { 1 })?;
            (0..items).try_fold(at, |at, _| item(bytes, at))
        }
        (major @ (4 | 5), None, mut at) => {
            let mut items = 0;
            while bytes.get(at)? != &BREAK {
                (at, items) = (item(bytes, at)?, items + 1);
            }
            (major == 4 || items % 2 == 0).then_some(at + 1)
        }
        (6, Some(_), at) => item(bytes, at),
        _ => None,
    }
}

const BREAK: u8 = 0xff;

/// Major type, argument unless the length is unknown, and what follows the head.
fn head(bytes: &[u8], at: usize) -> Option<(u8, Option<u64>, usize)> {
    let first = *bytes.get(at)?;
    let (major, info) = (first >> 5, first & 0x1f);
    let width = match info {
        0..=23 => return Some((major, Some(info.into()), at + 1)),
        24..=27 => 1 << (info - 24),
        31 => return Some((major, None, at + 1)),
        _ => return None,
    };
    let end = at + 1 + width;
    let argument = bytes.get(at + 1..end)?.iter().fold(0, |n, &byte| n << 8 | u64::from(byte));
    Some((major, Some(argument), end))
}
