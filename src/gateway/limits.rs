//! What bounds a session, as it is now: plain numbers that all sessions read and a reload sets.
//!
//! They are read for every command, so there is no lock around them; each stands for itself.

use super::rate::Rate;
use crate::config::LimitsConfig;
use crate::protocol::CommandLimits;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What bounds sessions.
#[derive(Debug)]
pub(super) struct SessionLimits {
    max_frame_bytes: AtomicUsize,
    max_channel_name_bytes: AtomicUsize,
    max_message_bytes: AtomicUsize,
    /// Commands a second in the upper half, commands at once in the lower one.
    rate: AtomicU64,
}

impl SessionLimits {
    pub fn new(limits: &LimitsConfig) -> Self {
        Self {
            max_frame_bytes: limits.max_frame_bytes.into(),
            max_channel_name_bytes: limits.max_channel_name_bytes.into(),
            max_message_bytes: limits.max_message_bytes.into(),
            rate: packed(limits).into(),
        }
    }

    /// Sets all of them anew.
    pub fn set(&self, limits: &LimitsConfig) {
        self.max_frame_bytes.store(limits.max_frame_bytes, Relaxed);
        self.max_channel_name_bytes.store(limits.max_channel_name_bytes, Relaxed);
        self.max_message_bytes.store(limits.max_message_bytes, Relaxed);
        self.rate.store(packed(limits), Relaxed);
    }

    /// Most bytes of a frame or joined message of a client.
    pub fn max_frame_bytes(&self) -> usize {
        self.max_frame_bytes.load(Relaxed)
    }

    /// What bounds a command.
    pub fn command(&self) -> CommandLimits {
        CommandLimits::new(
            self.max_channel_name_bytes.load(Relaxed),
            self.max_message_bytes.load(Relaxed),
        )
    }

    /// How many commands a client may send.
    pub fn rate(&self) -> Rate {
        let rate = self.rate.load(Relaxed);
        Rate { per_second: (rate >> 32) as u32, burst: rate as u32 }
    }
}

/// Both numbers of a rate in one, so that nobody sees half of a change.
fn packed(limits: &LimitsConfig) -> u64 {
    u64::from(limits.messages_per_second) << 32 | u64::from(limits.message_burst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::protocol::{self, RefusalReason};

    #[test]
    fn what_is_set_is_what_is_read() {
        let mut config = Config::default().limits;
        let limits = SessionLimits::new(&config);
        assert_eq!((limits.rate().per_second, limits.rate().burst), (500, 1_000));
        config.messages_per_second = 1_000_000;
        config.message_burst = 7;
        config.max_frame_bytes = 1 << 20;
        config.max_channel_name_bytes = 9;
        limits.set(&config);
        assert_eq!((limits.rate().per_second, limits.rate().burst), (1_000_000, 7));
        assert_eq!(limits.max_frame_bytes(), 1 << 20);
        assert_eq!(limits.command().max_channel_name_bytes, 9);
    }

    #[test]
    fn a_channel_of_any_name_that_the_configuration_has_ever_allowed_can_be_closed() {
        for message_bytes in [4096, 128 * 1024 + 15] {
            let mut config = Config::default();
            config.limits.max_message_bytes = message_bytes;
            config.limits.max_channel_name_bytes = message_bytes / 16;
            config.validate().unwrap();
            config.limits.max_channel_name_bytes += 1;
            config.validate().unwrap_err();
            config.limits.max_channel_name_bytes = 1;
            let lowered = SessionLimits::new(&config.limits).command();
            let name = "n".repeat(message_bytes / 16);
            let parsed = |kind: &str, name: &str| {
                let text = format!(r#"{{"type":"{kind}","channel":"{name}"}}"#);
                protocol::command::parse(&text, lowered).map(drop).map_err(|refusal| refusal.reason)
            };
            assert_eq!(parsed("close", &name), Ok(()));
            let limit = message_bytes / 16;
            let longer = RefusalReason::ChannelName { bytes: limit + 1, limit };
            assert_eq!(parsed("close", &format!("{name}n")), Err(longer));
            assert!(parsed("open", &name).is_err());
            let cbor =
                [b"\x82\x65close\x79", &(limit as u16).to_be_bytes()[..], name.as_bytes()].concat();
            assert!(protocol::cbor::parse(&cbor, lowered).is_ok());
        }
    }
}
