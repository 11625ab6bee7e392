//! A question to the log, answered in visits: while it is searched, messages go on being sent.

use super::types::Moment;
use crate::hub::Hub;
use crate::protocol::{ChannelName, Event, json};
use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use uuid::Uuid;

/// Bytes of messages in an answer, the first message aside.
const MAX_ANSWER_BYTES: usize = 8 << 20;

/// Bytes that are searched before others get a turn.
const TURN_BYTES: usize = 1 << 20;

/// A part of the newest-first list, as ECMAScript's `slice` has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice {
    pub start: i64,
    pub end: i64,
}

/// What is asked for.
#[derive(Debug)]
pub(super) struct LogQuery {
    /// All, if none is named.
    pub channels: HashSet<ChannelName>,
    pub text: Option<String>,
    pub since: Option<Moment>,
    pub until: Option<Moment>,
    pub before: Option<Uuid>,
    pub after: Option<Uuid>,
    pub slice: Option<Slice>,
    pub oldest_first: bool,
    pub limit: usize,
}

/// What was found, in the order that was asked for.
#[derive(Debug)]
pub(super) struct Found {
    pub events: Vec<Event>,
    /// Whether there is more behind the last.
    pub more: bool,
}

impl LogQuery {
    /// Asks.
    pub async fn run(&self, hub: &Hub) -> Found {
        let (from, to) = match self.slice {
            None => (0, usize::MAX),
            Some(Slice { start, end }) => {
                let mut count = 0;
                if start < 0 || end < 0 {
                    self.search(hub, |_| {
                        count += 1;
                        ControlFlow::Continue(())
                    })
                    .await;
                }
                (index(start, count), index(end, count))
            }
        };
        let mut kept = VecDeque::new();
        let (mut seen, mut bytes, mut more) = (0, 0, false);
        self.search(hub, |event| {
            let place = seen;
            seen += 1;
            if place < from {
                return ControlFlow::Continue(());
            }
            if place >= to {
                return ControlFlow::Break(());
            }
            bytes += event.frame.payload().len();
            kept.push_back(event);
            while kept.len() > self.limit || (bytes > MAX_ANSWER_BYTES && kept.len() > 1) {
                more = true;
                // The oldest are wanted and come last, or the newest, which stand already.
                let surplus = if self.oldest_first { kept.pop_front() } else { kept.pop_back() };
                bytes -= surplus.map_or(0, |event| event.frame.payload().len());
                if !self.oldest_first {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })
        .await;
        let mut events = Vec::from(kept);
        if self.oldest_first {
            events.reverse();
        }
        Found { events, more }
    }

    /// Shows `see` what the filters let through, newest first, until it has seen enough.
    async fn search(&self, hub: &Hub, mut see: impl FnMut(Event) -> ControlFlow<()>) {
        let needles = self.text.as_ref().map(|text| needles(text));
        let (mut from, mut searched) = (None, 0);
        loop {
            let (mut visited, mut ended) = (Vec::new(), false);
            from = hub.visit_log(from, |view| {
                if self.is_past(view.event) {
                    ended = true;
                    return ControlFlow::Break(());
                }
                let of_channel = self.channels.is_empty() || self.channels.contains(view.channel);
                if of_channel && self.is_within(view.event) {
                    visited.push(view.event.clone());
                }
                ControlFlow::Continue(())
            });
            // Texts are searched when the hub is not held up by it.
            for event in visited {
                let payload = event.frame.payload();
                if let Some(needles) = &needles {
                    searched += payload.len();
                    if searched > TURN_BYTES {
                        searched = 0;
                        tokio::task::yield_now().await;
                    }
                    let haystack = payload.to_ascii_lowercase();
                    let found =
                        |needle: &Vec<u8>| memchr::memmem::find(&haystack, needle).is_some();
                    if !needles.iter().any(found) {
                        continue;
                    }
                }
                if see(event).is_break() {
                    return;
                }
            }
            if ended || from.is_none() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Whether this message and all before it are too old.
    fn is_past(&self, event: &Event) -> bool {
        self.after.is_some_and(|after| event.stamp.id <= after)
            || match self.since {
                None => false,
                Some(Moment::Time(time)) => event.stamp.time_ms < time,
                Some(Moment::Message(id)) => event.stamp.id < id,
            }
    }

    /// Whether this message is not too new.
    fn is_within(&self, event: &Event) -> bool {
        self.before.is_none_or(|before| event.stamp.id < before)
            && match self.until {
                None => true,
                Some(Moment::Time(time)) => event.stamp.time_ms <= time,
                Some(Moment::Message(id)) => event.stamp.id <= id,
            }
    }
}

/// What is looked for: the text as it stands, and as JSON spells it within a string.
fn needles(text: &str) -> Vec<Vec<u8>> {
    let mut spelled = Vec::new();
    json::write_text(text, &mut spelled);
    let spelled = spelled[1..spelled.len() - 1].to_ascii_lowercase();
    let plain = text.as_bytes().to_ascii_lowercase();
    if spelled == plain { vec![plain] } else { vec![plain, spelled] }
}

/// An index of a list of `count` entries, which matters for negative ones alone.
fn index(index: i64, count: usize) -> usize {
    let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
    if index < 0 { count.saturating_sub(distance) } else { distance }
}
