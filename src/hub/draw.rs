//! Parts of the log that are on their way to a client and still in the log.
//!
//! A [`Draw`] remembers which messages it means by their numbers, and takes them out only when
//! there is room for them on the way. What has gone from the log by then is told by a gap.

use super::channels::Channels;
use super::log::{Listing, MessageLog, index};
use super::rights::Rights;
use crate::protocol::event::{self, Cut};
use crate::protocol::{ChannelName, Event, Frame, LogSlice, Nonce};
use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Most messages of the log that one reply to a client with bounds looks at: how long the hub's lock
/// is held for it does not depend on how long the log is.
const MAX_LOOKED_AT: usize = 10_000;

/// What is to be drawn from the log.
#[derive(Debug)]
pub(super) enum Draw {
    /// Events, oldest first.
    Replay(Stretch),
    /// The reply to a `log` command.
    Log(Box<LogReply>),
    /// The reply to one whose sender may not read all of the log.
    ReadableLog(Box<ReadableLog>),
}

/// The reply to a `log` command that has yet to be written.
#[derive(Debug)]
pub(super) struct LogReply {
    pub stretch: Stretch,
    /// The index of the newest entry, for `next`.
    pub start: usize,
    pub nonce: Option<Nonce>,
}

/// Some messages of the log, neighbours in the list of a channel or of all.
#[derive(Debug)]
pub(super) struct Stretch {
    /// The channel; none for all. By name, since its place may be another's by the time.
    channel: Option<ChannelName>,
    /// Number of the first one, or one below it.
    next: u64,
    /// A number above the last one's and not above the one's after it.
    end: u64,
    /// How many are left, those that have gone since they were last looked at among them.
    left: usize,
}

/// What comes next in a stretch.
pub(super) enum Step<'a> {
    /// Some messages that were to come here have gone from the log.
    Gap,
    /// An event.
    Event(&'a Event),
}

/// Where draws are drawn from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub log: &'a MessageLog,
    pub channels: &'a Channels,
    /// Most bytes of a frame's payload.
    pub max_bytes: usize,
}

impl Stretch {
    /// The messages at these places of the list of `channel`.
    pub fn new(listing: Listing, channel: Option<ChannelName>, places: Range<usize>) -> Self {
        let number = |place| listing.at(place).map_or(0, |(number, _)| number);
        let left = places.len();
        let end = if left == 0 { 0 } else { number(places.end - 1) + 1 };
        Self { channel, next: number(places.start), end, left }
    }

    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Whether it is drawn from the list of this channel, or of all for `*`.
    pub fn is_of(&self, channel: &ChannelName) -> bool {
        match &self.channel {
            Some(name) => name == channel,
            None => channel.is_wildcard(),
        }
    }

    /// The list it is drawn from, and the places in it that are still there.
    pub fn places<'a>(&self, source: Source<'a>) -> (Listing<'a>, Range<usize>) {
        let listing = source.log.listing(source.channels, self.channel.as_ref());
        let start = listing.place_of(self.next);
        (listing, start..listing.place_of(self.end).max(start))
    }

    /// Whether some have gone since they were last looked at, given the places that are there.
    pub fn note_gone(&mut self, places: &Range<usize>) -> bool {
        let gone = places.len() < self.left;
        self.left = places.len();
        gone
    }

    /// Hands on one step after the other as long as they are taken.
    pub fn draw(&mut self, source: Source, mut take: impl FnMut(Step) -> bool) {
        let (listing, places) = self.places(source);
        let all = self.left;
        if self.note_gone(&places) && !take(Step::Gap) {
            self.left = all;
            return;
        }
        for place in places {
            let Some((number, event)) = listing.at(place) else { return };
            if !take(Step::Event(event)) {
                return;
            }
            (self.next, self.left) = (number + 1, self.left - 1);
        }
    }
}

/// The reply to a `log` command of a client with bounds that has yet to be written: a slice of those
/// messages that it may read.
#[derive(Debug)]
pub(super) struct ReadableLog {
    slice: LogSlice,
    nonce: Option<Nonce>,
    rights: Arc<Rights>,
    /// The number of the first message that is too new for it.
    end: u64,
    /// How many messages older than that there were, readable or not; none once it has been told
    /// that some have gone.
    were: Option<usize>,
}

impl ReadableLog {
    /// The reply to a command that asks for `slice` of all that the log holds now.
    pub fn new(source: Source, slice: LogSlice, nonce: Option<Nonce>, rights: Arc<Rights>) -> Self {
        let log = source.log;
        let end = slice.before.map_or(log.next_number(), |id| log.number_from(id));
        Self { slice, nonce, rights, end, were: Some(older(source, end)) }
    }

    /// Writes the reply; none if messages have gone that it might have held, and then the next call
    /// writes it without them.
    pub fn write(&mut self, source: Source) -> Option<Frame> {
        let (start, end) = (self.slice.start, self.slice.end);
        // The length of the list counts only for what is told from its end.
        let wanted = match (usize::try_from(start), usize::try_from(end)) {
            (Ok(_), Ok(end)) => end,
            _ => usize::MAX,
        };
        let mut readable: Vec<&Frame> = Vec::new();
        let mut oldest = None;
        // Many messages, few channels: a name is looked at once. Equal names share their text.
        let mut known = HashMap::new();
        let more = source.log.visit(Some(self.end), MAX_LOOKED_AT, source.channels, |seen| {
            if readable.len() >= wanted {
                return ControlFlow::Break(());
            }
            let may_read = || self.rights.may_read(seen.channel);
            if *known.entry(seen.channel.as_json().as_ptr()).or_insert_with(may_read) {
                readable.push(&seen.event.frame);
            }
            oldest = Some(seen.event.stamp.id);
            ControlFlow::Continue(())
        });
        let whole = readable.len() >= wanted;
        // What goes from the log goes from its old end, unless its owner removes it.
        let reaches_the_end = !whole && more.is_none();
        if reaches_the_end && self.were.take().is_some_and(|were| older(source, self.end) < were) {
            return None;
        }
        let start = index(start, readable.len());
        let end = index(end, readable.len()).max(start);
        let cut = Cut { start, before: more.and(oldest).filter(|_| !whole) };
        let entries = readable[start..end].iter().copied();
        Some(event::log_result(self.nonce.as_ref(), entries, cut, source.max_bytes))
    }
}

/// How many messages the log holds whose number is below this one.
fn older(source: Source, number: u64) -> usize {
    source.log.listing(source.channels, None).place_of(number)
}
