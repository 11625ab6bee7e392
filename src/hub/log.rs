//! The message log: in memory, bounded by count and by bytes.
//!
//! Every message has a number, which counts all that were ever logged. A reader that comes back
//! goes on by number, whatever has come and gone in the meantime.

use super::channels::Channels;
use crate::protocol::{ChannelName, Event, LogSlice};
use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use uuid::Uuid;

/// What an entry is charged beside the bytes of its JSON: its place in the log and the channel's
/// books, rounded up. Owners are told so where `message_log.max_bytes` is explained.
pub(super) const ENTRY_BYTES: usize = 256;

/// A logged message.
#[derive(Debug)]
struct Entry {
    event: Event,
    channel: usize,
    number: u64,
}

/// What a gone message leaves behind: its channel's place and its number.
pub(super) type Gone = (usize, u64);

/// A logged message, seen for the time of a visit.
#[derive(Debug, Clone, Copy)]
pub struct LogView<'a> {
    /// The message.
    pub event: &'a Event,
    /// Its channel.
    pub channel: &'a ChannelName,
    /// How many were logged before it.
    pub number: u64,
}

impl Entry {
    fn charge(&self) -> usize {
        self.event.frame.payload().len() + ENTRY_BYTES
    }
}

/// The log. Oldest entries stand in front.
#[derive(Debug)]
pub(super) struct MessageLog {
    entries: VecDeque<Entry>,
    bytes: usize,
    next_number: u64,
    /// The ID of the newest message ever logged.
    newest: Option<Uuid>,
    max_messages: usize,
    max_bytes: usize,
}

impl MessageLog {
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        let (entries, newest) = (VecDeque::new(), None);
        Self { entries, bytes: 0, next_number: 0, newest, max_messages, max_bytes }
    }

    /// Messages in the log.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the next message.
    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Appends a message; calls `evicted` for each entry that has to go.
    pub fn push(&mut self, event: Event, channel: usize, mut evicted: impl FnMut(Gone)) {
        self.newest = Some(event.stamp.id);
        let entry = Entry { event, channel, number: self.next_number };
        self.next_number += 1;
        self.bytes += entry.charge();
        self.entries.push_back(entry);
        while self.entries.len() > self.max_messages || self.bytes > self.max_bytes {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.charge();
            evicted((oldest.channel, oldest.number));
        }
    }

    /// Sets new bounds and makes room for them, by at most `most` entries; false if that was not
    /// enough: then the bounds are what there is, and the caller tries again.
    pub fn set_bounds(
        &mut self,
        max_messages: usize,
        max_bytes: usize,
        most: usize,
        mut evicted: impl FnMut(Gone),
    ) -> bool {
        let mut left = most;
        while left > 0 && (self.entries.len() > max_messages || self.bytes > max_bytes) {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.charge();
            evicted((oldest.channel, oldest.number));
            left -= 1;
        }
        self.max_messages = max_messages.max(self.entries.len());
        self.max_bytes = max_bytes.max(self.bytes);
        (self.max_messages, self.max_bytes) == (max_messages, max_bytes)
    }

    /// The messages of a channel, or of all.
    pub fn listing<'a>(
        &'a self,
        channels: &'a Channels,
        channel: Option<&ChannelName>,
    ) -> Listing<'a> {
        static NONE: VecDeque<u64> = VecDeque::new();
        let numbers = |name| channels.find(name).map(|place| channels.logged_numbers(place));
        Listing { log: self, numbers: channel.map(|name| numbers(name).unwrap_or(&NONE)) }
    }

    /// The number of the first message whose ID is not below this one. IDs sort in log order, so
    /// that one that is not in the log has its place too.
    pub fn number_from(&self, id: Uuid) -> u64 {
        let place = self.entries.partition_point(|entry| entry.event.stamp.id < id);
        self.entries.get(place).map_or(self.next_number, |entry| entry.number)
    }

    /// The number from which on messages came after the one with this ID, and whether some of
    /// them may be missing.
    pub fn number_after(&self, id: Uuid) -> (u64, bool) {
        let place = self.entries.partition_point(|entry| entry.event.stamp.id <= id);
        let number = self.entries.get(place).map_or(self.next_number, |entry| entry.number);
        (number, !self.reaches_back_to(id))
    }

    /// The message of a number, if it is still there.
    pub fn at(&self, number: u64) -> Option<&Event> {
        self.numbered(number).map(|entry| &entry.event)
    }

    /// The entry of a number, if it is still there.
    fn numbered(&self, number: u64) -> Option<&Entry> {
        let oldest = self.entries.front()?.number;
        // Where nothing was taken out of the middle, the distance is the place.
        let guess = usize::try_from(number.checked_sub(oldest)?).ok()?;
        let guessed = self.entries.get(guess).filter(|entry| entry.number == number);
        guessed.or_else(|| {
            let place = self.entries.binary_search_by_key(&number, |entry| entry.number).ok()?;
            Some(&self.entries[place])
        })
    }
}

/// The messages of a channel, or of all, oldest first, seen for the time of a visit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listing<'a> {
    log: &'a MessageLog,
    /// The numbers of one channel's messages; none for all.
    numbers: Option<&'a VecDeque<u64>>,
}

impl<'a> Listing<'a> {
    /// How many there are.
    pub fn len(self) -> usize {
        self.numbers.map_or(self.log.entries.len(), VecDeque::len)
    }

    /// The place of the first one whose number is not below this one.
    pub fn place_of(self, number: u64) -> usize {
        match self.numbers {
            Some(numbers) => numbers.partition_point(|&other| other < number),
            None => self.log.entries.partition_point(|entry| entry.number < number),
        }
    }

    /// The number and event of the one at a place.
    pub fn at(self, place: usize) -> Option<(u64, &'a Event)> {
        let entry = match self.numbers {
            Some(numbers) => self.log.numbered(*numbers.get(place)?)?,
            None => self.log.entries.get(place)?,
        };
        Some((entry.number, &entry.event))
    }

    /// The places that a slice of the newest-first list means, oldest first, and the index in that
    /// list of the newest of them.
    pub fn slice(self, slice: &LogSlice) -> (Range<usize>, usize) {
        let length =
            slice.before.map_or(self.len(), |before| self.place_of(self.log.number_from(before)));
        let start = index(slice.start, length);
        let end = index(slice.end, length).max(start);
        (length - end..length - start, start)
    }
}

impl MessageLog {
    /// Visits at most `most` messages older than the place `from` (from the newest, if absent),
    /// newest first, until `visit` says that it has seen enough; returns the place to go on from.
    pub fn visit<'a>(
        &'a self,
        from: Option<u64>,
        most: usize,
        channels: &'a Channels,
        mut visit: impl FnMut(LogView<'a>) -> ControlFlow<()>,
    ) -> Option<u64> {
        let end = from.map_or(self.entries.len(), |from| {
            self.entries.partition_point(|entry| entry.number < from)
        });
        let start = end.saturating_sub(most);
        for entry in self.entries.range(start..end).rev() {
            let channel = &channels.get(entry.channel).name;
            if visit(LogView { event: &entry.event, channel, number: entry.number }).is_break() {
                return None;
            }
        }
        (start > 0).then(|| self.entries[start].number)
    }

    /// The message with this ID.
    pub fn find(&self, id: Uuid) -> Option<&Event> {
        self.place(id).map(|place| &self.entries[place].event)
    }

    /// Whether the log holds all that came after the message with this ID, which may itself be
    /// gone. Of an ID beyond the newest, which must be of another process, that cannot be said.
    pub fn reaches_back_to(&self, id: Uuid) -> bool {
        let Some(newest) = self.newest else { return false };
        let oldest = self.entries.front().map_or(newest, |entry| entry.event.stamp.id);
        (oldest..=newest).contains(&id)
    }

    /// Removes the message with this ID.
    pub fn remove(&mut self, id: Uuid) -> Option<Gone> {
        let entry = self.entries.remove(self.place(id)?)?;
        self.bytes -= entry.charge();
        Some((entry.channel, entry.number))
    }

    /// Removes the messages of a channel, or all; calls `removed` for each.
    pub fn clear(&mut self, channel: Option<usize>, mut removed: impl FnMut(Gone)) {
        let bytes = &mut self.bytes;
        self.entries.retain(|entry| {
            let keep = channel.is_some_and(|channel| channel != entry.channel);
            if !keep {
                *bytes -= entry.charge();
                removed((entry.channel, entry.number));
            }
            keep
        });
    }

    fn place(&self, id: Uuid) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.event.stamp.id.cmp(&id)).ok()
    }
}

/// An index of a slice: negative from the end, and never outside of the log.
pub(super) fn index(index: i64, length: usize) -> usize {
    let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
    if index < 0 { length.saturating_sub(distance) } else { distance.min(length) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ChannelName, Draft, Stamper};

    fn log(count: usize, max_messages: usize, max_bytes: usize) -> (MessageLog, Vec<usize>) {
        let (mut log, mut stamper) = (MessageLog::new(max_messages, max_bytes), Stamper::new(1));
        let mut evicted = vec![];
        for n in 0..count {
            let draft = Draft::new(ChannelName::from_text(&n.to_string()), 0);
            log.push(draft.stamp(stamper.next(1_700_000_000_000)), n, |(channel, _)| {
                evicted.push(channel)
            });
        }
        (log, evicted)
    }

    fn sliced(log: &MessageLog, start: i64, end: i64) -> Vec<u8> {
        let channels = Channels::default();
        let listing = log.listing(&channels, None);
        let (places, _) = listing.slice(&LogSlice { start, end, ..LogSlice::default() });
        let frames = places.rev().filter_map(|place| listing.at(place));
        let head = br#"{"type":"message","channel":""#.len();
        frames.map(|(_, event)| event.frame.payload()[head] - b'0').collect()
    }

    #[test]
    fn a_slice_is_what_array_slice_makes_of_the_newest_first_list() {
        let (log, _) = log(5, 100, usize::MAX);
        assert_eq!(sliced(&log, 0, 100), [4, 3, 2, 1, 0]);
        assert_eq!(sliced(&log, 1, 3), [3, 2]);
        assert_eq!(sliced(&log, -2, 100), [1, 0]);
        assert_eq!(sliced(&log, -3, -1), [2, 1]);
        assert!(sliced(&log, 0, 0).is_empty());
        assert!(sliced(&log, 3, 1).is_empty());
        assert_eq!(sliced(&log, i64::MIN, i64::MAX), [4, 3, 2, 1, 0]);
        assert!(sliced(&log, 7, 9).is_empty());
    }

    #[test]
    fn a_slice_of_what_is_older_than_a_message_counts_from_there() {
        let (log, _) = log(5, 100, usize::MAX);
        let third = log.entries[2].event.stamp.id;
        let channels = Channels::default();
        let slice = |start, end, before| {
            let slice = LogSlice { start, end, before, channel: None };
            log.listing(&channels, None).slice(&slice).0.len()
        };
        assert_eq!(slice(0, 100, Some(third)), 2);
        assert_eq!(slice(1, 100, Some(third)), 1);
        assert_eq!(slice(-1, 100, Some(third)), 1);
        assert_eq!(slice(0, 100, Some(uuid::Uuid::nil())), 0);
        assert_eq!(slice(0, 100, Some(uuid::Uuid::max())), 5);
    }

    #[test]
    fn the_messages_of_a_channel_are_found_by_number_whatever_was_taken_out() {
        let (mut log, mut channels, mut stamper) =
            (MessageLog::new(20, usize::MAX), Channels::default(), Stamper::new(1));
        let names = ["a", "b", "c"].map(ChannelName::from_text);
        let mut ids = vec![];
        for n in 0..30 {
            let draft = Draft::new(names[n % 3].clone(), 0);
            let event = draft.stamp(stamper.next(1));
            ids.push(event.stamp.id);
            let channel = channels.find_or_add(&names[n % 3], 0);
            channels.logged(channel, log.next_number(), 0);
            log.push(event, channel, |(channel, number)| channels.unlogged(channel, number));
        }
        let (channel, number) = log.remove(ids[16]).expect("it is logged");
        channels.unlogged(channel, number);
        let numbers = |channel: Option<&ChannelName>| {
            let listing = log.listing(&channels, channel);
            let seen: Vec<u64> = (0..listing.len())
                .map(|place| {
                    let (number, event) = listing.at(place).expect("a place in the listing");
                    assert_eq!(event.stamp.id, ids[number as usize]);
                    assert_eq!(listing.place_of(number), place);
                    number
                })
                .collect();
            seen
        };
        assert_eq!(numbers(Some(&names[0])), [12, 15, 18, 21, 24, 27]);
        assert_eq!(numbers(Some(&names[1])), [10, 13, 19, 22, 25, 28]);
        assert_eq!(numbers(None).len(), 19);
        assert!(numbers(Some(&ChannelName::from_text("d"))).is_empty());
        let slice = LogSlice {
            before: Some(ids[20]),
            channel: Some(names[1].clone()),
            ..LogSlice::default()
        };
        let listing = log.listing(&channels, slice.channel.as_ref());
        assert_eq!(listing.slice(&slice), (0..3, 0));
        assert_eq!(log.number_from(uuid::Uuid::max()), 30);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let (log, evicted) = log(5, 2, usize::MAX);
        assert_eq!(evicted, [0, 1, 2]);
        assert_eq!(sliced(&log, 0, 100), [4, 3]);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_bytes_and_the_books_balance() {
        let entry = log(1, 10, usize::MAX).0.bytes();
        let (log, evicted) = log(5, 10, 3 * entry);
        assert_eq!(evicted, [0, 1]);
        assert_eq!(log.bytes(), 3 * entry);
    }
}
