//! What a client may do, where its owner has set bounds to that.
//!
//! Most clients may do everything and have no [`Rights`] at all: they pay for the question whether
//! there are any. For the others every command is looked at before it is carried out, and the log
//! shows them what they may read and nothing else. Nothing is asked at a delivery: who has a channel
//! open was allowed to open it, and rights do not change while a client is connected.

use super::Patterns;
use super::draw::Source;
use super::log::index;
use crate::protocol::event::{self, Cut};
use crate::protocol::{ChannelName, Command, Forbidden, Frame, LogSlice, Nonce, RefusalReason};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Most messages of the log that one reply to a client with bounds looks at: how long the hub's lock
/// is held for it does not depend on how long the log is.
const MAX_LOOKED_AT: usize = 10_000;

/// What a client may do.
#[derive(Debug, Clone)]
pub struct Rights {
    /// The channels that it may open and whose messages the log shows it.
    pub read: Patterns,
    /// The channels that it may send to. Sending to `*` takes the pattern that means every channel.
    pub write: Patterns,
    /// Whether it may open `*` and so read everything, whatever `read` says.
    pub hear_all: bool,
    /// Whether it may ask for the log.
    pub log: bool,
}

impl Rights {
    /// Whether they are no bounds at all.
    pub fn are_everything(&self) -> bool {
        self.read.is_every() && self.write.is_every() && self.hear_all && self.log
    }

    /// Whether it may read every channel, `*` included.
    pub fn may_read_all(&self) -> bool {
        self.hear_all
    }

    /// Whether it may read what is sent to this channel, now and in the log. What is sent to `*`
    /// is for those who may open it.
    pub fn may_read(&self, name: &ChannelName) -> bool {
        self.may_read_all() || (!name.is_wildcard() && self.read.contains(name))
    }

    /// Whether it may send to this channel.
    pub fn may_write(&self, name: &ChannelName) -> bool {
        self.write.contains(name)
    }

    /// Refuses a command that it may not give.
    pub(super) fn permit(&self, command: &Command) -> Result<(), RefusalReason> {
        let forbidden = match command {
            Command::Open(name, _) if self.may_read(name) => return Ok(()),
            Command::Open(name, _) if name.is_wildcard() => Forbidden::HearAll,
            Command::Open(name, _) => Forbidden::Read(name.to_string()),
            Command::Message(draft) if self.may_write(draft.channel()) => return Ok(()),
            Command::Message(draft) => Forbidden::Write(draft.channel().to_string()),
            Command::Log(_) if !self.log => Forbidden::Log,
            Command::Log(slice) => match &slice.channel {
                Some(name) if !self.may_read(name) => Forbidden::Read(name.to_string()),
                _ => return Ok(()),
            },
            Command::Close(_) | Command::Ping => return Ok(()),
        };
        Err(RefusalReason::NotAllowed(forbidden))
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
