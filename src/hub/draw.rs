//! Parts of the log that are on their way to a client and still in the log.
//!
//! A [`Draw`] remembers which messages it means by their numbers, and takes them out only when
//! there is room for them on the way. What has gone from the log by then is told by a gap.

use super::channels::Channels;
use super::log::{Listing, MessageLog};
use super::rights::ReadableLog;
use crate::protocol::{ChannelName, Event, Nonce};
use std::ops::Range;

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
