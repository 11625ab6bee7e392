//! What the hub's owner can see and do.
//!
//! Everything that may be long is seen in visits: a few hundred entries at a time under the lock,
//! so that a list of a hundred thousand channels never holds up a delivery. Who goes through a
//! whole list lets others run between two visits.

use super::bans::{Ban, BanTarget};
use super::channels::ChannelView;
use super::clients::{ClientKey, ClientSummary, ClientView, Departed};
use super::log::LogView;
use super::state::{Receipt, State};
use super::taps::Tapped;
use super::{Hub, unix_ms};
use crate::protocol::event;
use crate::protocol::{ChannelName, CloseReason, Draft, Event, Version};
use crate::sync::Notify;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// Entries seen at a time under the lock.
const VISIT: usize = 512;

/// Most logged events that a new tap begins with.
const MAX_BACKLOG: usize = 10_000;

/// A message that has been sent.
#[derive(Debug, Clone)]
pub struct Published {
    /// The message as its listeners got it.
    pub event: Event,
    /// How many clients were to receive it.
    pub reached: usize,
}

/// Which clients are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// Those that have the channel open.
    Channel(ChannelName),
    /// Those from a network.
    Network(ipnet::IpNet),
    /// Those of a name, claimed or proven.
    Name(String),
}

impl Selection {
    fn contains(&self, client: &ClientView) -> bool {
        let info = client.info();
        match self {
            Self::All => true,
            Self::Channel(name) => client.has_open(name),
            Self::Network(network) => network.contains(&info.address.ip().to_canonical()),
            Self::Name(name) => info.identity.name.as_ref().is_some_and(|n| n.as_str() == name),
        }
    }
}

/// What a reader of the log is told.
#[derive(Debug)]
pub enum Told {
    /// A message.
    Event(Event),
    /// Some messages that were to come here have gone from the log.
    Gap,
}

/// A reader of the live log that is no client; dropping it ends it.
#[derive(Debug)]
pub struct Tap {
    hub: Hub,
    place: usize,
    ready: Arc<Notify>,
    /// The numbers of the logged messages that come first. They stay in the log until there is room
    /// for them on the way: what a reader keeps waiting must not keep what the log has given up.
    backlog: std::vec::IntoIter<u64>,
}

impl Tap {
    /// The next of the logged messages that come first, few enough to make little more than `most`
    /// bytes; nothing when they have all been told.
    pub fn backlog(&mut self, most: usize) -> Vec<Told> {
        let state = self.hub.state();
        let (mut told, mut bytes) = (Vec::new(), 0);
        while bytes < most && told.len() < VISIT {
            let Some(number) = self.backlog.next() else { break };
            match state.log.at(number) {
                Some(event) => {
                    bytes += event.frame.payload().len();
                    told.push(Told::Event(event.clone()));
                }
                None if matches!(told.last(), Some(Told::Gap)) => {}
                None => told.push(Told::Gap),
            }
        }
        told
    }

    /// Waits for events that come after the logged ones.
    pub async fn next(&self) -> Tapped {
        loop {
            let tapped = self.hub.state().taps.take(self.place);
            if tapped.dropped || !tapped.events.is_empty() {
                return tapped;
            }
            self.ready.notified().await;
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.hub.state().taps.remove(self.place);
    }
}

impl Hub {
    /// Sends a message that is nobody's: every listener of its channel gets it.
    pub fn publish(&self, draft: Draft) -> Published {
        let received = Receipt { unix_ms: unix_ms(), instant: Instant::now() };
        let (event, reached) = self.with_jobs(|state| state.publish(None, draft, received));
        Published { event, reached }
    }

    /// Visits some channels, in no order, from the place `from` on (0 at first); returns where to
    /// go on.
    pub fn visit_channels(&self, from: usize, visit: impl FnMut(ChannelView)) -> Option<usize> {
        self.state().channels.visit(from, VISIT, visit)
    }

    /// Sees one channel.
    pub fn see_channel<T>(
        &self,
        name: &ChannelName,
        see: impl FnOnce(ChannelView) -> T,
    ) -> Option<T> {
        let state = self.state();
        let channel = state.channels.find(name)?;
        Some(see(state.channels.view(channel)))
    }

    /// Visits some clients, in no order, from the place `from` on (0 at first); returns where to
    /// go on. Those being closed are not seen.
    pub fn visit_clients(&self, from: usize, visit: impl FnMut(ClientView)) -> Option<usize> {
        self.state().visit_clients(from, visit)
    }

    /// Sees one client.
    pub fn see_client<T>(&self, id: u64, see: impl FnOnce(ClientView) -> T) -> Option<T> {
        let state = self.state();
        let key = state.key_of(id)?;
        Some(see(ClientView::new(key.slot, &state.clients[key.slot], &state.channels)))
    }

    /// The clients that have gone, newest first; the last thousand.
    pub fn departed(&self) -> Vec<Departed> {
        self.state().departed.iter().rev().cloned().collect()
    }

    /// Visits some messages of the log, newest first, older than the place `from` (from the newest,
    /// if absent), until `visit` has seen enough; returns the place to go on from.
    pub fn visit_log(
        &self,
        from: Option<u64>,
        visit: impl FnMut(LogView) -> ControlFlow<()>,
    ) -> Option<u64> {
        let state = self.state();
        state.log.visit(from, VISIT, &state.channels, visit)
    }

    /// A message of the log.
    pub fn logged(&self, id: Uuid) -> Option<Event> {
        self.state().log.find(id).cloned()
    }

    /// Removes a message from the log; false if it is not there.
    pub fn forget(&self, id: Uuid) -> bool {
        self.state().forget(id)
    }

    /// Removes the messages of a channel from the log, or all; returns how many there were.
    pub fn clear_log(&self, channel: Option<&ChannelName>) -> usize {
        self.state().clear_log(channel)
    }

    /// Closes a client's connection; false if there is no such client.
    pub fn kick(&self, id: u64, text: &str) -> bool {
        self.with_jobs(|state| match state.key_of(id) {
            Some(key) => {
                state.close_client(key, CloseReason::Kicked, text);
                true
            }
            None => false,
        })
    }

    /// The clients that a selection means.
    pub fn select(&self, selection: &Selection) -> Vec<ClientSummary> {
        let (mut found, mut from) = (Vec::new(), Some(0));
        while let Some(place) = from {
            from = self.visit_clients(place, |client| {
                if selection.contains(&client) {
                    found.push(client.summary());
                }
            });
        }
        found
    }

    /// Closes a channel for a client, which is told so; false if it does not have it open, and
    /// none if there is no such client.
    pub fn close_channel(&self, id: u64, channel: &ChannelName, reason: &str) -> Option<bool> {
        self.with_jobs(|state| state.close_channel(id, channel, reason))
    }

    /// Adds a ban and closes the connections of the clients it concerns; returns it and how many
    /// those are. None when there are too many bans.
    pub fn ban(
        &self,
        target: BanTarget,
        reason: String,
        expires_at_ms: Option<u64>,
    ) -> Option<(Ban, usize)> {
        let now_ms = unix_ms();
        self.with_jobs(|state| {
            let ban = state.bans.add(target, reason, expires_at_ms, now_ms)?;
            let closed = state.close_banned(&ban);
            Some((ban, closed))
        })
    }

    /// Ends a ban; false if there is none with this ID.
    pub fn unban(&self, id: u64) -> bool {
        self.state().bans.remove(id)
    }

    /// The bans in force, oldest first.
    pub fn bans(&self) -> Vec<Ban> {
        self.state().bans.list(unix_ms())
    }

    /// Begins to read the live log, of `channels` or, if there are none, of all; none when there
    /// are too many readers. The last `last` logged events come first ([`Tap::backlog`]), or those
    /// after the message `since`, all of them oldest first; and whether the log no longer reaches back
    /// to `since`.
    pub fn tap(
        &self,
        channels: HashSet<ChannelName>,
        last: usize,
        since: Option<Uuid>,
    ) -> Option<(Tap, bool)> {
        let ready = Arc::new(Notify::new());
        let mut state = self.state();
        let mut backlog = Vec::new();
        let mut gap = since.is_some_and(|since| !state.log.reaches_back_to(since));
        let all = usize::MAX;
        state.log.visit(None, all, &state.channels, |seen| {
            let enough = match since {
                Some(since) => seen.event.stamp.id <= since,
                None => backlog.len() >= last,
            };
            if enough || backlog.len() >= MAX_BACKLOG {
                gap |= since.is_some() && !enough;
                return ControlFlow::Break(());
            }
            if channels.is_empty() || channels.contains(seen.channel) {
                backlog.push(seen.number);
            }
            ControlFlow::Continue(())
        });
        backlog.reverse();
        let place = state.taps.add(channels, ready.clone())?;
        drop(state);
        let tap = Tap { hub: self.clone(), place, ready, backlog: backlog.into_iter() };
        Some((tap, gap))
    }
}

impl State {
    fn key_of(&self, id: u64) -> Option<ClientKey> {
        let mut open = self.clients.iter().filter(|(_, client)| client.closing.is_none());
        open.find(|(_, client)| client.id == id).map(|(slot, _)| ClientKey::new(slot, id))
    }

    fn visit_clients(&self, from: usize, mut visit: impl FnMut(ClientView)) -> Option<usize> {
        let end = (from + VISIT).min(self.clients.capacity());
        for slot in from..end {
            if let Some(client) = self.clients.get(slot).filter(|client| client.closing.is_none()) {
                visit(ClientView::new(slot, client, &self.channels));
            }
        }
        (end < self.clients.capacity()).then_some(end)
    }

    fn forget(&mut self, id: Uuid) -> bool {
        let gone = self.log.remove(id);
        if let Some((channel, number)) = gone {
            self.channels.unlogged(channel, number);
        }
        gone.is_some()
    }

    fn clear_log(&mut self, channel: Option<&ChannelName>) -> usize {
        let before = self.log.len();
        let place = match channel.map(|name| self.channels.find(name)) {
            None => None,
            Some(Some(place)) => Some(place),
            Some(None) => return 0,
        };
        let channels = &mut self.channels;
        self.log.clear(place, |(channel, number)| channels.unlogged(channel, number));
        before - self.log.len()
    }

    fn close_channel(&mut self, id: u64, name: &ChannelName, reason: &str) -> Option<bool> {
        let key = self.key_of(id)?;
        let was_open = self.leave_channel(key, name);
        if was_open {
            self.cancel_replay(key.slot, name);
            // The second version has no word for it.
            if self.clients[key.slot].version == Version::V1 {
                self.push_notice(key.slot, &event::closed(name, reason));
            }
            self.keep_total();
        }
        Some(was_open)
    }

    fn close_banned(&mut self, ban: &Ban) -> usize {
        let open = self.clients.iter().filter(|(_, client)| client.closing.is_none());
        let banned = open.filter(|(_, client)| ban.target.matches(&client.info));
        let slots: Vec<usize> = banned.map(|(slot, _)| slot).collect();
        for &slot in &slots {
            self.close_slot(slot, CloseReason::Banned, &ban.reason);
        }
        slots.len()
    }
}
