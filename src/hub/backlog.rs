//! What waits before a client's queue, where it cannot simply be queued.
//!
//! Most clients have none: what they are due goes into the queue at once. A client has a backlog
//! while something is drawn from the log for it (what comes later must wait behind that), and for
//! as long as it wants its frames in batches or at a pace. Like the outbox it belongs to, it is
//! plain data and knows no socket and no clock; `dealing` moves its items on.

use super::draw::{Draw, LogReply, Source, Step};
use super::outbox::Batch;
use crate::protocol::event::{self, Cut};
use crate::protocol::feed::{self, BatchFrame, Mark};
use crate::protocol::{ChannelName, Frame};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Frames a second of a client that wants batches and names no pace.
const BATCHES_PER_SECOND: u16 = 10;

/// Replies that may wait before no further commands are read. At a slow pace they would pile up
/// far beyond what their sender can use.
const MOST_REPLIES: usize = 32;

/// Intervals below this are kept on average, since timers are not exact to the millisecond; longer
/// ones are kept each.
const SHORT_INTERVAL: Duration = Duration::from_millis(20);

/// How late a frame may have left for the next one to make up for it, at short intervals.
const MAKE_UP: Duration = Duration::from_millis(4);

/// Something that waits.
#[derive(Debug)]
pub(super) enum Item {
    /// A live event.
    Event(Frame),
    /// Another event, which is never left out.
    Notice(Frame),
    /// The answer to a command.
    Reply(Frame),
    /// Something that is still in the log.
    Draw(Draw),
}

impl Item {
    /// Bytes of its frame; what is drawn has none yet.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Event(frame) | Self::Notice(frame) | Self::Reply(frame) => frame.wire().len(),
            Self::Draw(_) => 0,
        }
    }
}

/// How a client wants its frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flow {
    /// Events several in a frame.
    pub batch: bool,
    /// So many frames a second.
    pub pace: Option<u16>,
}

impl Flow {
    /// Frames a second, if they are limited.
    fn frames_per_second(self) -> Option<u16> {
        self.pace.or(self.batch.then_some(BATCHES_PER_SECOND))
    }
}

/// What waits before a client's queue.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    items: VecDeque<Item>,
    /// Bytes of the items' frames.
    bytes: usize,
    /// Live events among the items.
    events: usize,
    /// Replies among them.
    replies: usize,
    /// Draws among them.
    draws: usize,
    flow: Flow,
    /// When the next frame may leave; none at once.
    due: Option<Instant>,
    /// When the flusher is to look after it next, if it is to.
    pub armed: Option<Instant>,
    /// Live events left out since the last one that was sent.
    dropped: u64,
}

impl Backlog {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether the client does as well without it.
    pub fn is_idle(&self) -> bool {
        self.items.is_empty() && self.flow == Flow::default() && self.dropped == 0
    }

    pub fn flow(&self) -> Flow {
        self.flow
    }

    pub fn set_flow(&mut self, flow: Flow) {
        if self.flow != flow {
            self.flow = flow;
            self.due = None;
        }
    }

    /// Neither batches nor a pace any more, and no event to come can be marked: what was left out is
    /// told by one that waits already, or not at all.
    pub fn end_flow(&mut self) {
        self.set_flow(Flow::default());
        if self.events == 0 {
            self.dropped = 0;
        }
    }

    /// Whether no further commands are to be read for now.
    pub fn holds_reading(&self) -> bool {
        self.draws > 0 || self.replies >= MOST_REPLIES
    }

    /// Whether what is next has to be searched for in the log.
    pub fn searches(&self) -> bool {
        matches!(self.items.front(), Some(Item::Draw(Draw::ReadableLog(_))))
    }

    pub fn push(&mut self, item: Item) {
        self.bytes += item.bytes();
        if let Some(count) = self.count_of(&item) {
            *count += 1;
        }
        self.items.push_back(item);
    }

    /// The count that an item belongs to, if there is one.
    fn count_of(&mut self, item: &Item) -> Option<&mut usize> {
        match item {
            Item::Event(_) => Some(&mut self.events),
            Item::Notice(_) => None,
            Item::Reply(_) => Some(&mut self.replies),
            Item::Draw(_) => Some(&mut self.draws),
        }
    }

    fn pop(&mut self) {
        self.remove(0);
    }

    fn remove(&mut self, place: usize) -> Option<Item> {
        let item = self.items.remove(place)?;
        self.bytes -= item.bytes();
        if let Some(count) = self.count_of(&item) {
            *count -= 1;
        }
        Some(item)
    }

    /// How many events may wait before the oldest are left out; none where the byte budget alone
    /// says.
    pub fn most_events(&self) -> Option<usize> {
        self.flow.pace.filter(|_| !self.flow.batch).map(usize::from)
    }

    /// Events that wait.
    pub fn events(&self) -> usize {
        self.events
    }

    /// Leaves out the oldest live event; returns its bytes.
    pub fn leave_out_oldest(&mut self) -> Option<usize> {
        let place = self.items.iter().position(|item| matches!(item, Item::Event(_)))?;
        self.dropped += 1;
        self.remove(place).map(|item| item.bytes())
    }

    /// Draws no more of what was to be replayed of a channel.
    pub fn cancel_replay(&mut self, channel: &ChannelName) {
        let of_channel = |item: &Item| match item {
            Item::Draw(Draw::Replay(stretch)) => stretch.is_of(channel),
            _ => false,
        };
        while let Some(place) = self.items.iter().position(of_channel) {
            self.remove(place);
        }
    }

    /// Empties it; returns how many frames and bytes were waiting.
    pub fn clear(&mut self) -> (usize, usize) {
        let frames = self.items.iter().filter(|item| !matches!(item, Item::Draw(_))).count();
        let bytes = self.bytes;
        *self = Self { flow: self.flow, armed: self.armed, ..Self::default() };
        (frames, bytes)
    }

    /// Takes leave to send one more frame, or says when there will be.
    pub fn take_turn(&mut self, now: Instant) -> Result<(), Instant> {
        let Some(frames) = self.flow.frames_per_second() else { return Ok(()) };
        let interval = Duration::from_secs(1) / u32::from(frames);
        match self.due {
            Some(due) if due > now => Err(due),
            due => {
                let make_up = if interval < SHORT_INTERVAL { MAKE_UP } else { Duration::ZERO };
                let earliest = now.checked_sub(make_up).unwrap_or(now);
                self.due = Some(due.map_or(now, |due| due.max(earliest)) + interval);
                Ok(())
            }
        }
    }

    /// Moves one frame to `queue`, or, where nothing is limited, as much of a replay as makes
    /// `most` bytes wait there. Returns how many logged events went.
    pub fn deal(&mut self, queue: &mut Batch, source: Source, most: usize) -> u64 {
        let batch = self.flow.batch;
        let one_only = self.flow.frames_per_second().is_some();
        match self.items.front_mut() {
            Some(Item::Event(_) | Item::Notice(_) | Item::Draw(Draw::Replay(_))) if batch => {
                return self.deal_batch(queue, source);
            }
            Some(Item::Draw(Draw::Replay(stretch))) => {
                let (mut replayed, mut taken) = (0, false);
                stretch.draw(source, |step| {
                    if (one_only && taken) || queue.bytes() >= most {
                        return false;
                    }
                    taken = true;
                    match step {
                        Step::Gap => queue.push(&feed::gap()),
                        Step::Event(event) => {
                            queue.push(&feed::marked(&event.frame, Mark::Replay));
                            replayed += 1;
                        }
                    }
                    true
                });
                if stretch.is_empty() {
                    self.pop();
                }
                return replayed;
            }
            Some(Item::Draw(Draw::Log(reply))) => {
                let whole = deal_log(reply, queue, source);
                if !whole {
                    return 0;
                }
            }
            Some(Item::Draw(Draw::ReadableLog(reply))) => match reply.write(source) {
                Some(frame) => queue.push(&frame),
                None => {
                    queue.push(&feed::gap());
                    return 0;
                }
            },
            Some(Item::Event(frame)) => match std::mem::take(&mut self.dropped) {
                0 => queue.push(frame),
                dropped => queue.push(&feed::marked(frame, Mark::Dropped(dropped))),
            },
            Some(Item::Notice(frame) | Item::Reply(frame)) => queue.push(frame),
            None => {}
        }
        self.pop();
        0
    }

    /// Moves a batch of the events that stand in front, as many as fit.
    fn deal_batch(&mut self, queue: &mut Batch, source: Source) -> u64 {
        let mut batch = BatchFrame::new(source.max_bytes);
        let mut replayed = 0;
        while let Some(item) = self.items.front_mut() {
            match item {
                Item::Event(frame) => {
                    let mark = (self.dropped > 0).then_some(Mark::Dropped(self.dropped));
                    if !batch.push(frame, mark) {
                        break;
                    }
                    self.dropped = 0;
                }
                Item::Notice(frame) => {
                    if !batch.push(frame, None) {
                        break;
                    }
                }
                Item::Draw(Draw::Replay(stretch)) => {
                    stretch.draw(source, |step| match step {
                        Step::Gap => batch.push(&feed::gap(), None),
                        Step::Event(event) => {
                            let fits = batch.push(&event.frame, Some(Mark::Replay));
                            replayed += u64::from(fits);
                            fits
                        }
                    });
                    if !stretch.is_empty() {
                        break;
                    }
                }
                Item::Reply(_) | Item::Draw(Draw::Log(_) | Draw::ReadableLog(_)) => break,
            }
            self.pop();
        }
        if !batch.is_empty() {
            queue.push(&batch.finish());
        }
        replayed
    }
}

/// Writes a log reply, or, in its place, that some of it has gone; false if the reply is yet to
/// come.
fn deal_log(reply: &mut LogReply, queue: &mut Batch, source: Source) -> bool {
    let (listing, places) = reply.stretch.places(source);
    if reply.stretch.note_gone(&places) {
        queue.push(&feed::gap());
        return false;
    }
    let newest_first = places.rev().filter_map(|place| listing.at(place));
    let frames = newest_first.map(|(_, event)| &event.frame);
    let cut = Cut { start: reply.start, before: None };
    queue.push(&event::log_result(reply.nonce.as_ref(), frames, cut, source.max_bytes));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many frames leave in a second when somebody looks every `tick`.
    fn frames_in_a_second(flow: Flow, tick: Duration) -> usize {
        let (start, mut backlog) = (Instant::now(), Backlog::default());
        backlog.set_flow(flow);
        let (mut now, mut left) = (start, 0);
        while now < start + Duration::from_secs(1) {
            while left < 10_000 && backlog.take_turn(now).is_ok() {
                left += 1;
            }
            now += tick;
        }
        left
    }

    #[test]
    fn frames_keep_the_pace_even_where_timers_are_coarse() {
        let paced = |pace| Flow { batch: false, pace: Some(pace) };
        let tick = Duration::from_millis(3);
        assert_eq!(frames_in_a_second(paced(1), tick), 1);
        let ten = frames_in_a_second(Flow { batch: true, pace: None }, tick);
        assert!((9..=10).contains(&ten), "{ten}");
        let thousand = frames_in_a_second(paced(1000), tick);
        assert!((990..=1005).contains(&thousand), "{thousand}");
        assert_eq!(frames_in_a_second(Flow::default(), tick), 10_000, "nothing is limited");
    }

    #[test]
    fn after_a_pause_one_frame_leaves_at_once_and_not_what_the_pause_would_have_allowed() {
        let mut backlog = Backlog::default();
        backlog.set_flow(Flow { batch: false, pace: Some(10) });
        let start = Instant::now();
        assert_eq!(backlog.take_turn(start), Ok(()));
        let later = start + Duration::from_secs(10);
        assert_eq!(backlog.take_turn(later), Ok(()));
        assert_eq!(backlog.take_turn(later), Err(later + Duration::from_millis(100)));
    }
}
