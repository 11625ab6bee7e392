//! How what there is to send leaves the state, and what comes back of it.
//!
//! What there is to send leaves through a list of clients ([`State::take_jobs`]); what became of it
//! comes back through [`State::settle`] and [`State::wrote`]. A client goes through its outbox's
//! writers as follows:
//!
//! ```text
//! Nobody ──push──▶ Listed ──take_jobs──▶ Flusher ──settle: all sent──▶ Nobody (or Listed)
//!                                           └──settle: socket full──▶ Session ──wrote: empty──▶ Nobody
//!                                                                       └──hand_over──▶ Listed
//! ```
//!
//! Before a batch is taken, `dealing` moves on what waits in the client's backlog, if it has one.

use super::batch::Batch;
use super::clients::{ClientKey, Closing};
use super::dealing::{self, VISIT_BYTES};
use super::outbox::Writer;
use super::state::State;
use super::stats::nanos;
use crate::protocol::{CloseReason, Frame};
use std::num::NonZeroU64;
use std::time::Instant;

/// Something for the flusher to do for one client.
#[derive(Debug)]
pub struct Job {
    /// The client.
    pub key: ClientKey,
    /// What to write; possibly nothing.
    pub batch: Batch,
    /// Set when the hub has decided to close the connection: the session is to be told.
    pub close: Option<Closing>,
    /// Whether what is left of an earlier batch is to be dropped, but for a frame begun.
    pub cut: bool,
    /// What became of the batch; set by the flusher.
    pub outcome: Written,
    /// Set when the job is settled: the client's session may read commands again.
    pub resume: bool,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// All of it is on its way.
    All,
    /// The socket is full; so many bytes are left, and the session goes on with them.
    Left(usize),
    /// The connection is gone.
    Lost,
}

/// What a session is to write next.
#[derive(Debug)]
pub enum Next {
    /// These frames.
    Batch(Batch),
    /// Nothing: the queue is empty, and the flusher writes what comes.
    Done,
    /// Nothing for now: there is something left of the last batch, or the flusher is writing.
    Wait,
}

impl State {
    /// Whether there is something for the flusher to do.
    pub fn has_jobs(&self) -> bool {
        !self.listed.is_empty() || self.pulse_wanted
    }

    /// Clients on the list; some of them may have gone, or been served by their sessions.
    pub fn jobs_waiting(&self) -> usize {
        self.listed.len()
    }

    /// Queues a live event; false if the client's budget does not allow it.
    pub(super) fn push_event(&mut self, slot: usize, frame: &Frame) -> bool {
        let client = &mut self.clients[slot];
        if client.outbox.backlog.is_some() {
            return self.push_waiting_event(slot, frame);
        }
        if client.outbox.on_the_way() + frame.wire().len() > self.limits.max_queue_bytes {
            return false;
        }
        client.counters.messages_out += 1;
        self.push(slot, frame);
        true
    }

    /// Marks the end of what is queued for a client as the end of the message under measurement. A
    /// client that wants to wait for it, by its pace or to catch up first, is not measured.
    pub(super) fn mark(&mut self, slot: usize) {
        let client = &mut self.clients[slot];
        if client.outbox.backlog.is_some() {
            return;
        }
        let end = client.counters.bytes_out + client.outbox.queued() as u64;
        client.outbox.mark = NonZeroU64::new(end);
        self.probe.mark();
    }

    /// Takes a client's mark away: what it marks is not written any more.
    fn unmark(&mut self, slot: usize) {
        if let Some(client) = self.clients.get_mut(slot)
            && client.outbox.mark.take().is_some()
        {
            self.probe.lost();
            self.end_probe();
        }
    }

    /// Sets the time of what has been written to listeners of the message under measurement.
    pub fn time_probe(&mut self, now: impl FnOnce() -> Instant) {
        self.probe.note_time(now);
        self.end_probe();
    }

    /// Counts the measurement, if it has come to its end.
    pub(super) fn end_probe(&mut self) {
        if let Some(took) = self.probe.finish() {
            self.totals.delivery_nanos.observe(nanos(took));
        }
    }

    /// Queues a frame, before all that waits in the client's backlog.
    pub(super) fn push(&mut self, slot: usize, frame: &Frame) {
        let outbox = &mut self.clients[slot].outbox;
        outbox.queue.push(frame);
        self.queued += frame.wire().len();
        if outbox.writer == Writer::Nobody {
            outbox.writer = Writer::Listed;
            self.listed.push_back(slot);
        }
    }

    /// Queues a control frame, such as a pong.
    pub fn push_control(&mut self, key: ClientKey, frame: &Frame) {
        if self.client(key).is_some() {
            self.push(key.slot, frame);
            self.keep_total();
        }
    }

    /// Closes the longest queues until all together keep to their budget. The queue of a client
    /// that is being closed already is cut, so that nobody else is closed in its stead.
    pub(super) fn keep_total(&mut self) {
        while self.queued > self.limits.total_queue_bytes {
            let longest = self.clients.iter().max_by_key(|(_, client)| client.outbox.queued());
            let Some((slot, client)) = longest.filter(|(_, client)| client.outbox.queued() > 0)
            else {
                break;
            };
            let Some(reason) = client.closing.as_ref().map(|closing| closing.reason) else {
                let text =
                    "too slow: the queues of all clients are full and this one is the longest";
                self.close_slot(slot, CloseReason::TooSlow, text);
                continue;
            };
            self.cut_queue(slot, reason);
            self.clients[slot].cut = true;
            self.listed.push_back(slot);
        }
    }

    /// Drops the queue of a client whose connection is lost; its session ends when it has read what
    /// the client sent before.
    pub fn lose(&mut self, key: ClientKey) {
        if self.client(key).is_some() {
            self.cut_queue(key.slot, CloseReason::ConnectionLost);
        }
    }

    /// Drops a client's queue; what its writer has taken counts no more.
    pub(super) fn cut_queue(&mut self, slot: usize, reason: CloseReason) {
        self.drop_queue(slot, reason);
        let outbox = &mut self.clients[slot].outbox;
        self.queued -= std::mem::take(&mut outbox.in_flight);
    }

    /// Takes at most `most` jobs.
    pub fn take_jobs(&mut self, jobs: &mut Vec<Job>, most: usize, now: Instant) {
        self.list_due(now);
        let mut moved = 0;
        while jobs.len() < most
            && moved < VISIT_BYTES
            && let Some(slot) = self.listed.pop_front()
        {
            // A slot on the list may be vacant by now, or another client's.
            let Some(client) = self.clients.get(slot) else { continue };
            if client.outbox.backlog.is_some() && client.outbox.writer == Writer::Listed {
                moved += self.refill(slot, now);
            }
            let client = &mut self.clients[slot];
            let close = client.closing.as_ref().filter(|_| !client.told).cloned();
            client.told |= close.is_some();
            let cut = std::mem::take(&mut client.cut);
            let mut batch = Batch::default();
            if client.outbox.writer == Writer::Listed {
                batch = std::mem::take(&mut client.outbox.queue);
                client.outbox.in_flight = batch.bytes();
                // What waits may not be due yet.
                let idle = batch.is_empty();
                client.outbox.writer = if idle { Writer::Nobody } else { Writer::Flusher };
            }
            if batch.is_empty() && close.is_none() && !cut {
                continue;
            }
            let key = ClientKey::new(slot, client.id);
            jobs.push(Job { key, batch, close, cut, outcome: Written::All, resume: false });
        }
        if moved > 0 {
            self.keep_total();
        }
    }

    /// Takes note of what became of the jobs' batches.
    pub fn settle(&mut self, jobs: &mut [Job]) {
        for job in jobs {
            if self.client(job.key).is_none_or(|c| c.outbox.writer != Writer::Flusher) {
                continue;
            }
            if job.outcome == Written::Lost {
                self.unmark(job.key.slot);
            }
            let left = if let Written::Left(left) = job.outcome { left } else { 0 };
            self.note_written(job.key, left);
            let client = &mut self.clients[job.key.slot];
            client.outbox.writer = match job.outcome {
                Written::All if client.outbox.queue.is_empty() && !client.outbox.has_backlog() => {
                    Writer::Nobody
                }
                Written::All => {
                    self.listed.push_back(job.key.slot);
                    Writer::Listed
                }
                Written::Left(_) | Written::Lost => Writer::Session,
            };
            if job.outcome == Written::Lost {
                self.lose(job.key);
            }
            let client = &self.clients[job.key.slot];
            job.resume = client.closing.is_some()
                || (client.reading_paused && self.has_room_for_replies(job.key.slot));
        }
    }

    /// A session reports how much is left of what it writes; when nothing is, it gets the next
    /// batch to go on with.
    pub fn wrote(&mut self, key: ClientKey, left: usize, now: Instant) -> Next {
        if !self.note_session_wrote(key, left) || left > 0 {
            return Next::Wait;
        }
        if self.clients[key.slot].outbox.backlog.is_some() && self.refill(key.slot, now) > 0 {
            self.keep_total();
        }
        let outbox = &mut self.clients[key.slot].outbox;
        if outbox.queue.is_empty() {
            outbox.writer = Writer::Nobody;
            return Next::Done;
        }
        let batch = std::mem::take(&mut outbox.queue);
        outbox.in_flight = batch.bytes();
        outbox.writer = Writer::Session;
        Next::Batch(batch)
    }

    /// A session reports that nothing is left of what it writes; the flusher goes on.
    pub fn hand_over(&mut self, key: ClientKey) {
        if !self.note_session_wrote(key, 0) {
            return;
        }
        let outbox = &mut self.clients[key.slot].outbox;
        let idle = outbox.queue.is_empty() && !outbox.has_backlog();
        outbox.writer = if idle { Writer::Nobody } else { Writer::Listed };
        if !idle {
            self.listed.push_back(key.slot);
        }
    }

    /// Takes note of what a session has written; false if it is not for the session to write.
    fn note_session_wrote(&mut self, key: ClientKey, left: usize) -> bool {
        if self.client(key).is_none_or(|c| c.outbox.writer == Writer::Flusher) {
            return false;
        }
        if self.note_written(key, left) > 0 {
            // A full socket that takes more is read at the other end: the client lives, though its
            // pong may stand behind commands that wait.
            self.clients[key.slot].pings.unanswered = 0;
        }
        true
    }

    fn note_written(&mut self, key: ClientKey, left: usize) -> usize {
        let client = &mut self.clients[key.slot];
        // Where the queue was cut nothing counts as in flight any more.
        let written = client.outbox.in_flight.saturating_sub(left);
        client.outbox.in_flight -= written;
        client.counters.bytes_out += written as u64;
        self.totals.bytes_out += written as u64;
        self.queued -= written;
        if let Some(mark) = client.outbox.mark
            && client.counters.bytes_out >= mark.get()
        {
            client.outbox.mark = None;
            self.probe.written();
        }
        written
    }

    pub(super) fn drop_queue(&mut self, slot: usize, reason: CloseReason) {
        self.unmark(slot);
        let Some(client) = self.clients.get_mut(slot) else { return };
        let mut queue = std::mem::take(&mut client.outbox.queue);
        self.queued -= queue.bytes();
        let (waiting, bytes) = dealing::clear(&mut client.outbox.backlog);
        self.queued -= bytes;
        let frames = queue.cut() + waiting;
        self.count_dropped(slot, reason, frames);
    }

    /// Takes note of frames that were due to a client and are not sent.
    pub(super) fn count_dropped(&mut self, slot: usize, reason: CloseReason, frames: usize) {
        self.clients[slot].counters.dropped += frames as u64;
        self.totals.dropped[reason as usize] += frames as u64;
    }

    /// Takes note of frames that a session dropped from a batch it had taken.
    pub fn dropped(&mut self, key: ClientKey, reason: CloseReason, frames: usize) {
        if self.client(key).is_some() {
            // What it reports as written from now on includes what it has dropped.
            self.unmark(key.slot);
            self.count_dropped(key.slot, reason, frames);
        }
    }
}
