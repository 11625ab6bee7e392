//! The message log: newest first, in memory, bounded by count and by bytes.

use super::channels::Channels;
use crate::protocol::{ChannelName, Event, Frame, LogSlice};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use uuid::Uuid;

/// What an entry is charged beside the bytes of its JSON: its place in the log and the channel's
/// books, rounded up. Owners are told so where `message_log.max_bytes` is explained.
const ENTRY_BYTES: usize = 256;

/// A logged message.
#[derive(Debug)]
struct Entry {
    event: Event,
    channel: usize,
    /// Counts all messages ever logged, so that a reader can go on where it stopped.
    sequence: u64,
}

/// A logged message, seen for the time of a visit.
#[derive(Debug, Clone, Copy)]
pub struct LogView<'a> {
    /// The message.
    pub event: &'a Event,
    /// Its channel.
    pub channel: &'a ChannelName,
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
    next_sequence: u64,
    max_messages: usize,
    max_bytes: usize,
}

impl MessageLog {
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, next_sequence: 0, max_messages, max_bytes }
    }

    /// Messages in the log.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a message; calls `evicted` with the channel of each entry that has to go.
    pub fn push(&mut self, event: Event, channel: usize, mut evicted: impl FnMut(usize)) {
        let entry = Entry { event, channel, sequence: self.next_sequence };
        self.next_sequence += 1;
        self.bytes += entry.charge();
        self.entries.push_back(entry);
        while self.entries.len() > self.max_messages || self.bytes > self.max_bytes {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.charge();
            evicted(oldest.channel);
        }
    }

    /// The first index of `slice` and its events, newest first. IDs sort in log order, so that one
    /// that is not in the log has its place too.
    pub fn slice(&self, slice: LogSlice) -> (usize, impl Iterator<Item = &Frame> + Clone) {
        let length = slice.before.map_or(self.entries.len(), |before| {
            self.entries.partition_point(|entry| entry.event.stamp.id < before)
        });
        let start = index(slice.start, length);
        let end = index(slice.end, length).max(start);
        let oldest_first = self.entries.range(length - end..length - start);
        (start, oldest_first.rev().map(|entry| &entry.event.frame))
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
            self.entries.partition_point(|entry| entry.sequence < from)
        });
        let start = end.saturating_sub(most);
        for entry in self.entries.range(start..end).rev() {
            let channel = &channels.get(entry.channel).name;
            if visit(LogView { event: &entry.event, channel }).is_break() {
                return None;
            }
        }
        (start > 0).then(|| self.entries[start].sequence)
    }

    /// The place of the message with this ID, or the one it would have: [`Self::visit`] goes on
    /// from there with what is older.
    pub fn sequence_at(&self, id: Uuid) -> u64 {
        let place = self.entries.partition_point(|entry| entry.event.stamp.id < id);
        self.entries.get(place).map_or(self.next_sequence, |entry| entry.sequence)
    }

    /// The message with this ID.
    pub fn find(&self, id: Uuid) -> Option<&Event> {
        self.place(id).map(|place| &self.entries[place].event)
    }

    /// Whether the log holds all that came after the message with this ID, which may be gone.
    pub fn reaches_back_to(&self, id: Uuid) -> bool {
        self.entries.front().is_some_and(|oldest| oldest.event.stamp.id <= id)
    }

    /// Removes the message with this ID; returns its channel.
    pub fn remove(&mut self, id: Uuid) -> Option<usize> {
        let entry = self.entries.remove(self.place(id)?)?;
        self.bytes -= entry.charge();
        Some(entry.channel)
    }

    /// Removes the messages of a channel, or all; calls `removed` with the channel of each.
    pub fn clear(&mut self, channel: Option<usize>, mut removed: impl FnMut(usize)) {
        let bytes = &mut self.bytes;
        self.entries.retain(|entry| {
            let keep = channel.is_some_and(|channel| channel != entry.channel);
            if !keep {
                *bytes -= entry.charge();
                removed(entry.channel);
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
            log.push(draft.stamp(stamper.next(1_700_000_000_000)).0, n, |c| evicted.push(c));
        }
        (log, evicted)
    }

    fn sliced(log: &MessageLog, start: i64, end: i64) -> Vec<u8> {
        let (_, frames) = log.slice(LogSlice { start, end, before: None });
        frames
            .map(|frame| frame.payload()[br#"{"type":"message","channel":""#.len()] - b'0')
            .collect()
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
        let slice = |start, end, before| log.slice(LogSlice { start, end, before }).1.count();
        assert_eq!(slice(0, 100, Some(third)), 2);
        assert_eq!(slice(1, 100, Some(third)), 1);
        assert_eq!(slice(-1, 100, Some(third)), 1);
        assert_eq!(slice(0, 100, Some(uuid::Uuid::nil())), 0);
        assert_eq!(slice(0, 100, Some(uuid::Uuid::max())), 5);
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
