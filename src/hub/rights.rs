//! What a client may do, where its owner has set bounds to that.
//!
//! Most clients may do everything and have no [`Rights`] at all: they pay for the question whether
//! there are any. For the others every command is looked at before it is carried out, and the log
//! shows them what they may read and nothing else. Nothing is asked at a delivery: who has a channel
//! open was allowed to open it, and rights do not change while a client is connected.

use super::Patterns;
use super::clients::ClientKey;
use super::log::index;
use super::state::State;
use crate::protocol::event::{self, Cut};
use crate::protocol::{ChannelName, Command, Forbidden, Frame, LogSlice, RefusalReason};
use std::collections::HashMap;
use std::ops::ControlFlow;

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
            Command::Open(name) if self.may_read(name) => return Ok(()),
            Command::Open(name) if name.is_wildcard() => Forbidden::HearAll,
            Command::Open(name) => Forbidden::Read(name.to_string()),
            Command::Message(draft) if self.may_write(draft.channel()) => return Ok(()),
            Command::Message(draft) => Forbidden::Write(draft.channel().to_string()),
            Command::Log(_) if self.log => return Ok(()),
            Command::Log(_) => Forbidden::Log,
            Command::Close(_) => return Ok(()),
        };
        Err(RefusalReason::NotAllowed(forbidden))
    }
}

impl State {
    /// Answers with a slice of what a client with `rights` may read of the log.
    pub(super) fn reply_readable_log(&mut self, key: ClientKey, slice: LogSlice, rights: &Rights) {
        // The length of the list counts only for what is told from its end.
        let wanted = match (usize::try_from(slice.start), usize::try_from(slice.end)) {
            (Ok(_), Ok(end)) => end,
            _ => usize::MAX,
        };
        let from = slice.before.map(|id| self.log.sequence_at(id));
        let mut readable: Vec<&Frame> = Vec::new();
        let mut oldest = None;
        // Many messages, few channels: a name is looked at once. Equal names share their text.
        let mut known = HashMap::new();
        let more = self.log.visit(from, MAX_LOOKED_AT, &self.channels, |seen| {
            if readable.len() >= wanted {
                return ControlFlow::Break(());
            }
            let may_read = || rights.may_read(seen.channel);
            if *known.entry(seen.channel.as_json().as_ptr()).or_insert_with(may_read) {
                readable.push(&seen.event.frame);
            }
            oldest = Some(seen.event.stamp.id);
            ControlFlow::Continue(())
        });
        let start = index(slice.start, readable.len());
        let end = index(slice.end, readable.len()).max(start);
        let cut = Cut { start, before: more.and(oldest).filter(|_| readable.len() < wanted) };
        let entries = readable[start..end].iter().copied();
        let reply = event::log_result(entries, cut, self.limits.max_message_bytes);
        self.push(key.slot, &reply);
    }
}
