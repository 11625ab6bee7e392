//! Events in other forms than their live one: marked, in batches, and the notice of a gap.
//!
//! The stored JSON of an event is copied, never encoded again. Only where a sender's message has
//! the key of a mark itself is it taken apart, so that no event holds a key twice.

use super::fields::Fields;
use super::websocket::{Frame, HEADROOM};
use memchr::memmem;

const BATCH_HEAD: &[u8] = br#"{"type":"batch","events":["#;
const BATCH_TAIL: &[u8] = b"]}";

/// A key that the hub adds to an event for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// `replay: true`: the event comes from the log.
    Replay,
    /// `dropped: N`: so many events before it are left out.
    Dropped(u64),
}

impl Mark {
    /// The key, with its quotes.
    fn key(self) -> &'static str {
        match self {
            Self::Replay => "\"replay\"",
            Self::Dropped(_) => "\"dropped\"",
        }
    }

    fn value(self) -> String {
        match self {
            Self::Replay => "true".to_owned(),
            Self::Dropped(count) => count.to_string(),
        }
    }
}

/// The event `event` with a mark.
pub fn marked(event: &Frame, mark: Mark) -> Frame {
    let mut out = Vec::with_capacity(HEADROOM + event.payload().len() + 40);
    out.resize(HEADROOM, 0);
    push_marked(event.payload(), mark, &mut out);
    Frame::text(out)
}

/// Appends the event whose JSON is `event` with a mark; a sender's key of that name goes.
fn push_marked(event: &[u8], mark: Mark, out: &mut Vec<u8>) {
    let written = format!("{}:", mark.key());
    // Rarely found, and then often within a value: only then is the event looked at closely.
    let text = memmem::find(event, written.as_bytes()).and(std::str::from_utf8(event).ok());
    match text.and_then(|text| Fields::parse(text).ok()) {
        None => out.extend_from_slice(event.strip_suffix(b"}").unwrap_or(event)),
        Some(fields) => {
            out.push(b'{');
            for (key, value) in fields.iter().filter(|(key, _)| *key != mark.key()) {
                if !out.ends_with(b"{") {
                    out.push(b',');
                }
                out.extend_from_slice(key.as_bytes());
                out.push(b':');
                out.extend_from_slice(value.as_bytes());
            }
        }
    }
    out.push(b',');
    out.extend_from_slice(written.as_bytes());
    out.extend_from_slice(mark.value().as_bytes());
    out.push(b'}');
}

/// The notice that messages which were to come in this place have gone from the log.
pub fn gap() -> Frame {
    let mut out = vec![0; HEADROOM];
    out.extend_from_slice(br#"{"type":"gap"}"#);
    Frame::text(out)
}

/// Several events in one frame, in the making.
#[derive(Debug)]
pub struct BatchFrame {
    out: Vec<u8>,
    max_bytes: usize,
}

impl BatchFrame {
    /// An empty one, whose payload is to have at most `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        let mut out = vec![0; HEADROOM];
        out.extend_from_slice(BATCH_HEAD);
        Self { out, max_bytes }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.out.len() == HEADROOM + BATCH_HEAD.len()
    }

    /// Adds an event, marked or not; false, and nothing has changed, if it does not fit. The
    /// first always does: an event leaves a reserve.
    pub fn push(&mut self, event: &Frame, mark: Option<Mark>) -> bool {
        let (before, first) = (self.out.len(), self.is_empty());
        if !first {
            self.out.push(b',');
        }
        match mark {
            Some(mark) => push_marked(event.payload(), mark, &mut self.out),
            None => self.out.extend_from_slice(event.payload()),
        }
        let fits = self.out.len() - HEADROOM + BATCH_TAIL.len() <= self.max_bytes;
        if !fits && !first {
            self.out.truncate(before);
        }
        fits || first
    }

    /// The frame.
    pub fn finish(mut self) -> Frame {
        self.out.extend_from_slice(BATCH_TAIL);
        // What follows may be small and wait long: it should not keep room for a full batch.
        self.out.shrink_to_fit();
        Frame::text(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn frame(text: &str) -> Frame {
        let mut out = vec![0; HEADROOM];
        out.extend_from_slice(text.as_bytes());
        Frame::text(out)
    }

    fn text(frame: &Frame) -> String {
        String::from_utf8(frame.payload().to_vec()).expect("JSON is UTF-8")
    }

    #[test]
    fn a_mark_is_added_behind_what_is_there() {
        let event = frame(r#"{"type":"message","message":1.0}"#);
        let replayed = r#"{"type":"message","message":1.0,"replay":true}"#;
        assert_eq!(text(&marked(&event, Mark::Replay)), replayed);
        let dropped = r#"{"type":"message","message":1.0,"dropped":12}"#;
        assert_eq!(text(&marked(&event, Mark::Dropped(12))), dropped);
    }

    #[test]
    fn a_senders_key_of_that_name_gives_way_and_one_within_a_value_stays() {
        let event = frame(r#"{"a":1.0,"replay":"mine","message":{"replay":7}}"#);
        assert_eq!(
            text(&marked(&event, Mark::Replay)),
            r#"{"a":1.0,"message":{"replay":7},"replay":true}"#
        );
        let nested = frame(r#"{"message":{"replay":7}}"#);
        assert_eq!(
            text(&marked(&nested, Mark::Replay)),
            r#"{"message":{"replay":7},"replay":true}"#
        );
    }

    #[test]
    fn a_batch_takes_events_as_long_as_they_fit() {
        let mut batch = BatchFrame::new(60);
        assert!(batch.is_empty());
        let event = frame(r#"{"n":1}"#);
        let mut taken = 0;
        while batch.push(&event, None) {
            taken += 1;
        }
        let whole = batch.finish();
        assert!(whole.payload().len() <= 60, "{}", text(&whole));
        let value: Value = serde_json::from_slice(whole.payload()).expect("JSON");
        assert_eq!(value, json!({"type": "batch", "events": vec![json!({"n": 1}); taken]}));
        assert_eq!(taken, 4);
    }

    #[test]
    fn a_batch_marks_its_events_and_always_takes_the_first() {
        let mut batch = BatchFrame::new(1);
        assert!(batch.push(&frame(r#"{"n":1}"#), Some(Mark::Replay)));
        assert!(!batch.push(&gap(), None));
        let expected = r#"{"type":"batch","events":[{"n":1,"replay":true}]}"#;
        assert_eq!(text(&batch.finish()), expected);
    }
}
