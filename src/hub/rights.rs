//! What a client may do, where its owner has set bounds to that.
//!
//! Most clients may do everything and have no [`Rights`] at all: they pay for the question whether
//! there are any. For the others every command is looked at before it is carried out, and the log
//! shows them what they may read and nothing else. Nothing is asked at a delivery: who has a channel
//! open was allowed to open it, and rights do not change while a client is connected.

use super::Patterns;
use crate::protocol::{ChannelName, Command, Forbidden, RefusalReason};

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
