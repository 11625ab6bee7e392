//! Readers of the live log that are no clients: the streams of the owner's API.
//!
//! A tap has a queue of its own with a budget. The hub never waits for it: what does not fit ends
//! the tap, and its reader is told so.

use super::log::ENTRY_BYTES;
use crate::protocol::{ChannelName, Event};
use crate::sync::Notify;
use slab::Slab;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Most taps at a time.
pub const MAX_TAPS: usize = 64;

/// Bytes of events that may wait in a tap, charged as in the log.
const MAX_TAP_BYTES: usize = 1 << 20;

/// What a tap holds for its reader.
#[derive(Debug, Default)]
pub struct Tapped {
    /// Events, oldest first.
    pub events: Vec<Event>,
    /// Whether the reader was too slow: these events are the last.
    pub dropped: bool,
}

#[derive(Debug)]
struct TapState {
    /// The channels to be heard; all, if none is named.
    channels: HashSet<ChannelName>,
    queue: VecDeque<Event>,
    bytes: usize,
    dropped: bool,
    ready: Arc<Notify>,
}

/// All taps.
#[derive(Debug, Default)]
pub(super) struct Taps(Slab<TapState>);

impl Taps {
    /// Adds a tap; none when there are too many.
    pub fn add(&mut self, channels: HashSet<ChannelName>, ready: Arc<Notify>) -> Option<usize> {
        (self.0.len() < MAX_TAPS).then(|| {
            let (queue, bytes, dropped) = (VecDeque::new(), 0, false);
            self.0.insert(TapState { channels, queue, bytes, dropped, ready })
        })
    }

    pub fn remove(&mut self, tap: usize) {
        self.0.remove(tap);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Hands an event to the taps that hear its channel.
    pub fn push(&mut self, channel: &ChannelName, event: &Event) {
        for (_, tap) in &mut self.0 {
            if tap.dropped || !(tap.channels.is_empty() || tap.channels.contains(channel)) {
                continue;
            }
            tap.bytes += event.frame.payload().len() + ENTRY_BYTES;
            if tap.bytes > MAX_TAP_BYTES {
                tap.dropped = true;
            } else {
                tap.queue.push_back(event.clone());
            }
            tap.ready.notify_one();
        }
    }

    /// Takes what a tap holds.
    pub fn take(&mut self, tap: usize) -> Tapped {
        let tap = &mut self.0[tap];
        tap.bytes = 0;
        Tapped { events: std::mem::take(&mut tap.queue).into(), dropped: tap.dropped }
    }
}
