//! What can be set anew while the hub runs: its limits, the channels that are counted, its bans.
//!
//! Each call holds the lock for a short time. What takes longer, because much has to go, is done in
//! steps: the caller calls again until all is done, and lets others run in between.

use super::bans::{Ban, KeptBans};
use super::clients::ClientInfo;
use super::state::State;
use super::{Hub, HubLimits, lock, unix_ms};
use crate::protocol::{ChannelName, CloseReason};

/// Logged messages that go in one step.
const EVICTIONS: usize = 512;

/// What is looked at in one step, when clients are compared with bans: so many pairs.
const PAIRS: usize = 65_536;

/// Most clients looked at in one step.
const CLIENTS: usize = 512;

impl Hub {
    /// Sets new limits; the size of a message stays, as the log holds some of the size of before.
    /// False while there is too much of something for the new limits: call it again then. Until it
    /// is true, the total of the queues and the size of the log are bounded by something in between.
    pub fn set_limits(&self, limits: &HubLimits) -> bool {
        lock(&self.0.doors).max_clients = limits.max_clients;
        self.with_jobs(|state| state.set_limits(limits))
    }

    /// Counts these channels one by one from now on ([`super::Stats::counted`]), instead of those
    /// before; who stays among them keeps its counts. Few, as each new channel is looked for among
    /// them.
    pub fn count_channels(&self, names: Vec<ChannelName>) {
        self.state().channels.count(names);
    }

    /// Puts bans in the place of those there are. Clients that are there already stay.
    pub fn restore_bans(&self, bans: KeptBans) {
        self.state().bans.restore(bans);
    }

    /// Closes those that one of `bans` concerns, of some clients from the place `from` on (0 at
    /// first); returns how many those were, and where to go on.
    pub fn close_banned(&self, bans: &[Ban], from: usize) -> (usize, Option<usize>) {
        let now_ms = unix_ms();
        let most = (PAIRS / bans.len().max(1)).clamp(1, CLIENTS);
        self.close_those(from, most, u64::MAX, |info| {
            let ban =
                bans.iter().find(|ban| ban.is_in_force(now_ms) && ban.target.matches(info))?;
            Some((CloseReason::Banned, ban.reason.clone()))
        })
    }

    /// The ID of the client that joined last; 0 if none has.
    pub fn newest_client(&self) -> u64 {
        self.state().newest_client()
    }

    /// Closes those that have proven one of `names` by a token that is accepted no more, of some
    /// clients from the place `from` on (0 at first); returns how many those were, and where to go
    /// on. Those whose ID is above `newest` have another token.
    pub fn close_proven(
        &self,
        names: &[String],
        newest: u64,
        from: usize,
    ) -> (usize, Option<usize>) {
        let most = (PAIRS / names.len().max(1)).clamp(1, CLIENTS);
        self.close_those(from, most, newest, |info| {
            let name = info.identity.name.as_ref().filter(|name| name.is_proven())?;
            let gone = names.iter().any(|gone| gone == name.as_str());
            gone.then(|| (CloseReason::BadToken, TOKEN_GONE.to_owned()))
        })
    }

    fn close_those(
        &self,
        from: usize,
        most: usize,
        newest: u64,
        why: impl Fn(&ClientInfo) -> Option<(CloseReason, String)>,
    ) -> (usize, Option<usize>) {
        self.with_jobs(|state| state.close_those(from, most, newest, why))
    }
}

/// The reason in the close frame of a client whose token has been taken away.
pub const TOKEN_GONE: &str = "the token is accepted no more";

impl State {
    fn set_limits(&mut self, limits: &HubLimits) -> bool {
        // By an eighth at a time: whose queues go is looked for anew for each of them.
        let (bound, target) = (self.limits.total_queue_bytes, limits.total_queue_bytes);
        let bound = bound.min(self.queued.max(target));
        let total_queue_bytes = target.max(bound - bound / 8);
        let max_message_bytes = self.limits.max_message_bytes;
        self.limits = HubLimits { total_queue_bytes, max_message_bytes, ..*limits };
        self.keep_total();
        let (channels, totals) = (&mut self.channels, &mut self.totals);
        let (max_messages, max_bytes) = (limits.max_log_messages, limits.max_log_bytes);
        let fits = self.log.set_bounds(max_messages, max_bytes, EVICTIONS, |(channel, number)| {
            channels.unlogged(channel, number);
            totals.evicted += 1;
        });
        fits && total_queue_bytes == target
    }

    fn close_those(
        &mut self,
        from: usize,
        most: usize,
        newest: u64,
        why: impl Fn(&ClientInfo) -> Option<(CloseReason, String)>,
    ) -> (usize, Option<usize>) {
        let end = (from + most).min(self.clients.capacity());
        let mut closed = 0;
        for slot in from..end {
            let open = self.clients.get(slot);
            let open = open.filter(|client| client.closing.is_none() && client.id <= newest);
            if let Some((reason, text)) = open.and_then(|client| why(&client.info)) {
                self.close_slot(slot, reason, &text);
                closed += 1;
            }
        }
        (closed, (end < self.clients.capacity()).then_some(end))
    }
}
