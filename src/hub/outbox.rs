//! What waits to be sent to one client.
//!
//! An [`Outbox`] is plain data inside the hub's state; it knows no socket. Frames are appended
//! under the hub's lock, in the one order that all clients see; whoever writes to the socket takes
//! them out as a [`Batch`], writes without the lock, and reports back. Small frames are copied
//! into one contiguous buffer so that many leave in one write; large ones are shared with the
//! log and with other clients' outboxes.

use super::backlog::Backlog;
use crate::protocol::Frame;
use crate::protocol::websocket::server_frame_bytes;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::num::NonZeroU64;

/// Frames below this many bytes are copied, from this on shared: below it a copy costs less than
/// one more entry in a vectored write.
const SHARED_BYTES: usize = 512;

/// A contiguous buffer takes no more frames once it has so many bytes.
const BUFFER_BYTES: usize = 16 * 1024;

/// First capacity of a buffer.
const FIRST_BYTES: usize = 1024;

/// A run of whole frames.
#[derive(Debug)]
enum Chunk {
    /// One frame, shared.
    Shared(Bytes),
    /// Small frames, copied one behind the other.
    Copied(Vec<u8>),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Copied(bytes) => bytes,
        }
    }
}

/// Frames in the order in which they are to be sent; of the first, a part may be gone already.
#[derive(Debug, Default)]
pub struct Batch {
    /// The first chunk stands apart so that a client with one waiting frame, the common case,
    /// costs no allocation.
    first: Option<Chunk>,
    rest: VecDeque<Chunk>,
    /// Bytes of the first chunk that have been sent.
    sent: usize,
    /// Bytes still to be sent.
    bytes: usize,
}

impl Batch {
    /// Bytes still to be sent.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is left to be sent.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends a frame.
    pub fn push(&mut self, frame: &Frame) {
        let wire = frame.wire();
        self.bytes += wire.len();
        let Some(last) = self.rest.back_mut().or(self.first.as_mut()) else {
            self.first = Some(Chunk::Shared(wire.clone()));
            return;
        };
        if wire.len() < SHARED_BYTES {
            match last {
                Chunk::Copied(buffer) if buffer.len() < BUFFER_BYTES => {
                    buffer.extend_from_slice(wire);
                    return;
                }
                Chunk::Shared(only) if only.len() < SHARED_BYTES => {
                    let mut buffer = Vec::with_capacity(FIRST_BYTES);
                    buffer.extend_from_slice(only);
                    buffer.extend_from_slice(wire);
                    *last = Chunk::Copied(buffer);
                    return;
                }
                _ => {}
            }
        }
        self.rest.push_back(Chunk::Shared(wire.clone()));
    }

    /// What is to be sent next as one run of bytes, if it is a single one.
    pub fn as_single(&self) -> Option<&[u8]> {
        match &self.first {
            Some(chunk) if self.rest.is_empty() => Some(&chunk.bytes()[self.sent..]),
            _ => None,
        }
    }

    /// What is to be sent next, for a vectored write; returns how many of `slices` were set.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(self.first.iter().chain(&self.rest)) {
            let skipped = if count == 0 { self.sent } else { 0 };
            *slice = IoSlice::new(&chunk.bytes()[skipped..]);
            count += 1;
        }
        count
    }

    /// Takes note that `bytes` more bytes have been sent.
    pub fn advance(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.sent += bytes;
        while let Some(chunk) = &self.first
            && self.sent >= chunk.bytes().len()
        {
            self.sent -= chunk.bytes().len();
            self.first = self.rest.pop_front();
        }
    }

    /// Keeps only what is left of a frame that has been begun; returns how many frames were
    /// dropped.
    pub fn cut(&mut self) -> usize {
        let batch = std::mem::take(self);
        let mut dropped = 0;
        for (index, chunk) in batch.first.iter().chain(&batch.rest).enumerate() {
            let (mut at, bytes) = (0, chunk.bytes());
            while let Some(length) = server_frame_bytes(&bytes[at..]) {
                let end = at + length;
                let begun = index == 0 && at < batch.sent && batch.sent < end;
                if begun {
                    let left = bytes[batch.sent..end].to_vec();
                    self.bytes = left.len();
                    self.first = Some(Chunk::Copied(left));
                } else if index > 0 || at >= batch.sent {
                    dropped += 1;
                }
                at = end;
            }
        }
        dropped
    }
}

/// Who is to write what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Writer {
    /// Nothing waits.
    #[default]
    Nobody,
    /// The client stands on the list of those with something to send.
    Listed,
    /// The flusher has taken a batch and has not reported back.
    Flusher,
    /// The socket was full: the client's session goes on when it can be written to.
    Session,
}

/// A client's frames on their way, and who writes them.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub queue: Batch,
    /// Bytes taken by the writer and not reported as written.
    pub in_flight: usize,
    pub writer: Writer,
    /// What waits before the queue. Most clients have none, which makes the difference to them
    /// one branch.
    pub backlog: Option<Box<Backlog>>,
    /// Bytes that will have been written when the message under measurement has been.
    pub mark: Option<NonZeroU64>,
}

impl Outbox {
    /// Bytes that the client has yet to be sent.
    pub fn queued(&self) -> usize {
        self.on_the_way() + self.backlog.as_ref().map_or(0, |backlog| backlog.bytes())
    }

    /// Bytes queued and taken by the writer.
    pub fn on_the_way(&self) -> usize {
        self.queue.bytes() + self.in_flight
    }

    /// Whether something waits before the queue.
    pub fn has_backlog(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| !backlog.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::websocket::HEADROOM;
    use proptest::prelude::*;

    fn frame(length: usize, fill: u8) -> Frame {
        let mut buffer = vec![0; HEADROOM];
        buffer.resize(HEADROOM + length, fill);
        Frame::text(buffer)
    }

    /// Everything left in the batch, as a writer would send it.
    fn left(batch: &Batch) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 1000];
        let count = batch.fill(&mut slices);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        if let Some(single) = batch.as_single() {
            assert_eq!(single, bytes);
        }
        assert_eq!(bytes.len(), batch.bytes());
        bytes
    }

    proptest! {
        #[test]
        fn a_batch_sends_the_bytes_of_its_frames_in_order_however_writes_fall(
            lengths in proptest::collection::vec(0_usize..1500, 0..60),
            writes in proptest::collection::vec(1_usize..3000, 0..60),
        ) {
            let (mut batch, mut expected) = (Batch::default(), vec![]);
            for (index, length) in lengths.into_iter().enumerate() {
                let frame = frame(length, index as u8);
                batch.push(&frame);
                expected.extend_from_slice(frame.wire());
            }
            for write in writes {
                let write = write.min(batch.bytes());
                batch.advance(write);
                expected.drain(..write);
                prop_assert_eq!(&left(&batch), &expected);
            }
        }

        #[test]
        fn a_cut_leaves_the_frame_begun_and_counts_the_others(
            lengths in proptest::collection::vec(0_usize..1500, 1..40),
            sent in 0_usize..60_000,
        ) {
            let (mut batch, mut ends, mut bytes) = (Batch::default(), vec![], vec![]);
            for length in lengths {
                let frame = frame(length, 7);
                batch.push(&frame);
                bytes.extend_from_slice(frame.wire());
                ends.push(bytes.len());
            }
            let sent = sent % bytes.len();
            batch.advance(sent);
            let begun = ends.iter().position(|&end| end > sent).unwrap();
            let start = if begun == 0 { 0 } else { ends[begun - 1] };
            let dropped = batch.cut();
            if start == sent {
                prop_assert_eq!(dropped, ends.len() - begun);
                prop_assert!(batch.is_empty());
            } else {
                prop_assert_eq!(dropped, ends.len() - begun - 1);
                prop_assert_eq!(&left(&batch), &bytes[sent..ends[begun]].to_vec());
            }
        }
    }
}
