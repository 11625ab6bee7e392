//! How what waits in backlogs gets into the queues: when there is room, and when it is due.
//!
//! A client whose backlog has something to send goes through the list of clients like any other;
//! where the next frame is not due yet, it stands in a heap by time, and the flusher wakes for the
//! earliest. There is no timer and no task for a client.

use super::backlog::{Backlog, Flow, Item};
use super::clients::ClientKey;
use super::draw::{Draw, LogReply, ReadableLog, Source, Stretch};
use super::outbox::Writer;
use super::state::State;
use crate::protocol::event::{self, Cut};
use crate::protocol::{CatchUp, ChannelName, Frame, LogSlice, Nonce, OpenOptions, Version};
use std::cmp::Reverse;
use std::time::Instant;

/// A queue of so many bytes is written before more is moved into it; of a quarter of a client's
/// budget where that is less, so that what it catches up on leaves room for live events.
const PIECE_BYTES: usize = 64 * 1024;

/// Bytes moved in one visit of the flusher, so that hundreds of clients that catch up do not keep
/// the hub's lock for long.
pub(super) const VISIT_BYTES: usize = 4 * PIECE_BYTES;

/// A log reply is written at once where less than this is queued; behind more it stays in the log
/// until its turn comes.
const SHORT_QUEUE_BYTES: usize = 16 * 1024;

impl State {
    /// When the earliest frame that waits for its time is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((due, ..))| *due)
    }

    /// Puts the clients whose frames are due on the list.
    pub(super) fn list_due(&mut self, now: Instant) {
        while let Some(&Reverse((due, slot, id))) = self.due.peek()
            && due <= now
        {
            self.due.pop();
            let Some(client) = self.clients.get_mut(slot).filter(|client| client.id == id) else {
                continue;
            };
            let Some(backlog) = &mut client.outbox.backlog else { continue };
            backlog.armed = backlog.armed.filter(|&armed| armed != due);
            self.list_waiting(slot);
        }
    }

    /// Puts a client on the list if something waits in its backlog and nobody is at work on it.
    pub(super) fn list_waiting(&mut self, slot: usize) {
        let outbox = &mut self.clients[slot].outbox;
        if outbox.writer == Writer::Nobody && outbox.has_backlog() {
            outbox.writer = Writer::Listed;
            self.listed.push_back(slot);
        }
    }

    /// Lets something wait in a client's backlog.
    fn push_waiting(&mut self, slot: usize, item: Item) {
        self.queued += item.bytes();
        let backlog = self.clients[slot].outbox.backlog.get_or_insert_default();
        backlog.push(item);
        if backlog.armed.is_none() {
            self.list_waiting(slot);
        }
    }

    /// Queues the answer to a command.
    pub(super) fn push_reply(&mut self, slot: usize, frame: &Frame) {
        match self.clients[slot].outbox.backlog {
            Some(_) => self.push_waiting(slot, Item::Reply(frame.clone())),
            None => self.push(slot, frame),
        }
    }

    /// Queues an event that is no message.
    pub(super) fn push_notice(&mut self, slot: usize, frame: &Frame) {
        match self.clients[slot].outbox.backlog {
            Some(_) => self.push_waiting(slot, Item::Notice(frame.clone())),
            None => self.push(slot, frame),
        }
    }

    /// Queues a live event for a client with a backlog; false if the client's budget does not
    /// allow it. At a pace without batches the oldest make room.
    pub(super) fn push_waiting_event(&mut self, slot: usize, frame: &Frame) -> bool {
        let (bytes, limit) = (frame.wire().len(), self.limits.max_queue_bytes);
        let client = &mut self.clients[slot];
        let mut left_out = 0;
        while let Some(backlog) = &mut client.outbox.backlog
            && let Some(most) = backlog.most_events()
        {
            let full = backlog.events() >= most;
            if !full && client.outbox.queued() + bytes <= limit {
                break;
            }
            let Some(backlog) = &mut client.outbox.backlog else { break };
            let Some(freed) = backlog.leave_out_oldest() else { break };
            self.queued -= freed;
            left_out += 1;
        }
        client.counters.dropped += left_out;
        self.totals.paced += left_out;
        if client.outbox.queued() + bytes > limit {
            return false;
        }
        client.counters.messages_out += 1;
        self.push_waiting(slot, Item::Event(frame.clone()));
        true
    }

    /// Moves what may leave a client's backlog into its queue, a piece of it where it is much;
    /// returns how many bytes the queue has gained, a search of the log counting as a piece. A
    /// connection that is being closed has no time for a pace.
    pub(super) fn refill(&mut self, slot: usize, now: Instant) -> usize {
        let piece = PIECE_BYTES.min(self.limits.max_queue_bytes / 4);
        let (log, channels) = (&self.log, &self.channels);
        let source = Source { log, channels, max_bytes: self.limits.max_message_bytes };
        let client = &mut self.clients[slot];
        let mut searched = 0;
        let closing = client.closing.is_some();
        let outbox = &mut client.outbox;
        let Some(backlog) = &mut outbox.backlog else { return 0 };
        let (queued, waiting) = (outbox.queue.bytes(), backlog.bytes());
        while outbox.queue.bytes() < piece && !backlog.is_empty() {
            if !closing && let Err(due) = backlog.take_turn(now) {
                if backlog.armed.is_none_or(|armed| armed > due) {
                    backlog.armed = Some(due);
                    self.due.push(Reverse((due, slot, client.id)));
                }
                break;
            }
            searched += if backlog.searches() { PIECE_BYTES } else { 0 };
            client.counters.messages_out += backlog.deal(&mut outbox.queue, source, piece);
        }
        let moved = outbox.queue.bytes() - queued;
        self.queued = self.queued + moved + backlog.bytes() - waiting;
        if backlog.is_idle() {
            outbox.backlog = None;
        }
        moved + searched
    }

    /// Whether the client's next command may be read, as far as its queue goes.
    pub(super) fn has_room_for_replies(&self, slot: usize) -> bool {
        let outbox = &self.clients[slot].outbox;
        outbox.queued() < self.limits.max_queue_bytes / 2
            && !outbox.backlog.as_ref().is_some_and(|backlog| backlog.holds_reading())
    }

    /// Changes how a client's frames are sent.
    pub(super) fn set_flow(&mut self, slot: usize, options: &OpenOptions) {
        let outbox = &mut self.clients[slot].outbox;
        let before = outbox.backlog.as_ref().map_or(Flow::default(), |backlog| backlog.flow());
        let flow = Flow {
            batch: options.batch.unwrap_or(before.batch),
            pace: options.pace.unwrap_or(before.pace),
        };
        if flow == before {
            return;
        }
        let backlog = outbox.backlog.get_or_insert_default();
        backlog.set_flow(flow);
        if backlog.is_idle() {
            outbox.backlog = None;
        }
        // What waits may be due sooner than it was.
        self.list_waiting(slot);
    }

    /// Speaks the second version with a client from now on. Its channels stay open, and what is
    /// queued keeps its form and place; batches and paces are of the first version and end.
    pub fn speak_cbor(&mut self, key: ClientKey) {
        let Some(client) = self.client(key) else { return };
        client.version = Version::V2;
        self.end_flow(key.slot);
    }

    /// Sends a client its frames one by one and as they come from now on, those that wait first.
    fn end_flow(&mut self, slot: usize) {
        let outbox = &mut self.clients[slot].outbox;
        let Some(backlog) = &mut outbox.backlog else { return };
        backlog.end_flow();
        if backlog.is_idle() {
            outbox.backlog = None;
        }
        self.list_waiting(slot);
    }

    /// The logged messages that a client wants to catch up on, and whether the log no longer
    /// reaches back to where it left off.
    pub(super) fn stretch(&self, name: &ChannelName, catch_up: CatchUp) -> (Stretch, bool) {
        let channel = Some(name).filter(|name| !name.is_wildcard());
        let listing = self.log.listing(&self.channels, channel);
        let (from, gap) = match catch_up {
            CatchUp::Last(count) => (listing.len().saturating_sub(count), false),
            CatchUp::Since(id) => {
                let (number, gap) = self.log.number_after(id);
                (listing.place_of(number), gap)
            }
        };
        (Stretch::new(listing, channel.cloned(), from..listing.len()), gap)
    }

    /// Sends a client logged messages, as there is room for them.
    pub(super) fn replay(&mut self, slot: usize, stretch: Stretch) {
        if !stretch.is_empty() {
            self.push_waiting(slot, Item::Draw(Draw::Replay(stretch)));
        }
    }

    /// Draws no more of what was to be replayed of a channel.
    pub(super) fn cancel_replay(&mut self, slot: usize, channel: &ChannelName) {
        if let Some(backlog) = &mut self.clients[slot].outbox.backlog {
            backlog.cancel_replay(channel);
        }
    }

    /// Answers a `log` command, at once if little is queued before the answer.
    pub(super) fn reply_log(&mut self, key: ClientKey, slice: &LogSlice, nonce: Option<Nonce>) {
        let outbox = &self.clients[key.slot].outbox;
        let at_once = outbox.backlog.is_none() && outbox.queued() < SHORT_QUEUE_BYTES;
        let max_bytes = self.limits.max_message_bytes;
        // The log of one channel is asked for by those alone who may read the channel.
        if slice.channel.is_none()
            && let Some(rights) = &self.clients[key.slot].info.rights
            && !rights.may_read_all()
        {
            let source = Source { log: &self.log, channels: &self.channels, max_bytes };
            let mut reply = ReadableLog::new(source, slice.clone(), nonce, rights.clone());
            match at_once.then(|| reply.write(source)).flatten() {
                Some(frame) => self.push_reply(key.slot, &frame),
                None => self.push_waiting(key.slot, Item::Draw(Draw::ReadableLog(reply.into()))),
            }
            return;
        }
        let listing = self.log.listing(&self.channels, slice.channel.as_ref());
        let (places, start) = listing.slice(slice);
        if at_once || places.is_empty() {
            let newest_first = places.rev().filter_map(|place| listing.at(place));
            let frames = newest_first.map(|(_, event)| &event.frame);
            let cut = Cut { start, before: None };
            let reply = event::log_result(nonce.as_ref(), frames, cut, max_bytes);
            self.push_reply(key.slot, &reply);
        } else {
            let stretch = Stretch::new(listing, slice.channel.clone(), places);
            let reply = Box::new(LogReply { stretch, start, nonce });
            self.push_waiting(key.slot, Item::Draw(Draw::Log(reply)));
        }
    }
}

/// Drops what waits; returns how many frames and bytes it was.
pub(super) fn clear(backlog: &mut Option<Box<Backlog>>) -> (usize, usize) {
    backlog.as_mut().map_or((0, 0), |backlog| backlog.clear())
}
