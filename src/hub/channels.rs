//! The channels: who listens to which, and when an entry may go.

use super::stats::ChannelCounts;
use crate::protocol::ChannelName;
use indexmap::IndexSet;
use slab::Slab;
use std::collections::{HashMap, VecDeque};

/// A channel with listeners or logged messages.
#[derive(Debug)]
pub(super) struct Channel {
    pub name: ChannelName,
    /// Slots of the clients that have the channel open, in no order.
    pub listeners: IndexSet<usize>,
    /// Messages sent to the channel since its entry was made.
    pub messages: u64,
    /// When the last one was sent, or when the entry was made; milliseconds since 1970 UTC.
    pub last_activity_ms: u64,
    /// Numbers of its messages that are in the log, oldest first, so that one channel's part of
    /// a long log is found without a walk over the log.
    logged: VecDeque<u64>,
    /// Its place among the channels that are counted one by one, if it is one of them.
    counted: Option<usize>,
}

/// A channel as it stands, seen for the time of a visit.
#[derive(Debug, Clone, Copy)]
pub struct ChannelView<'a>(&'a Channel);

impl<'a> ChannelView<'a> {
    /// Its name.
    pub fn name(&self) -> &'a ChannelName {
        &self.0.name
    }

    /// Clients that have it open.
    pub fn listeners(&self) -> usize {
        self.0.listeners.len()
    }

    /// Messages sent to it since its entry was made.
    pub fn messages(&self) -> u64 {
        self.0.messages
    }

    /// Messages of it in the log.
    pub fn logged(&self) -> usize {
        self.0.logged.len()
    }

    /// When the last message was sent, or the entry made; milliseconds since 1970 UTC.
    pub fn last_activity_ms(&self) -> u64 {
        self.0.last_activity_ms
    }
}

/// All channels. An entry goes when its last listener and its last logged message are gone.
#[derive(Debug, Default)]
pub(super) struct Channels {
    entries: Slab<Channel>,
    by_name: HashMap<ChannelName, usize>,
    wildcard: Option<usize>,
    subscriptions: usize,
    /// Outlives the channels' entries.
    counted: Vec<Counted>,
}

/// What is counted of a channel of its own.
#[derive(Debug)]
struct Counted {
    name: ChannelName,
    messages: u64,
    deliveries: u64,
}

impl Channels {
    /// Number of channels.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Open channels of all clients together.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Counts these channels one by one from now on, instead of those before; the counts of those
    /// that were counted before go on.
    pub fn count(&mut self, names: Vec<ChannelName>) {
        let before = std::mem::take(&mut self.counted);
        for counted in &before {
            if let Some(&channel) = self.by_name.get(&counted.name) {
                self.entries[channel].counted = None;
            }
        }
        for (place, name) in names.into_iter().enumerate() {
            if let Some(&channel) = self.by_name.get(&name) {
                self.entries[channel].counted = Some(place);
            }
            let known = before.iter().find(|counted| counted.name == name);
            let (messages, deliveries) = known.map_or((0, 0), |c| (c.messages, c.deliveries));
            self.counted.push(Counted { name, messages, deliveries });
        }
    }

    /// Takes note of a message that reached so many listeners.
    pub fn count_message(&mut self, channel: usize, reached: usize) {
        if let Some(counted) = self.entries[channel].counted {
            let counted = &mut self.counted[counted];
            counted.messages += 1;
            counted.deliveries += reached as u64;
        }
    }

    /// The channels that are counted one by one.
    pub fn counts(&self) -> Vec<ChannelCounts> {
        let counts = self.counted.iter().map(|counted| ChannelCounts {
            name: counted.name.clone(),
            messages: counted.messages,
            deliveries: counted.deliveries,
            listeners: self.find(&counted.name).map_or(0, |place| self.get(place).listeners.len()),
        });
        counts.collect()
    }

    /// The place of a channel that is known.
    pub fn find(&self, name: &ChannelName) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The channel at a place that [`Self::find`] or [`Self::find_or_add`] gave and that has kept
    /// a listener or a logged message since.
    pub fn get(&self, channel: usize) -> &Channel {
        &self.entries[channel]
    }

    /// Visits at most `most` channels from the place `from` on; returns where to go on.
    pub fn visit(
        &self,
        from: usize,
        most: usize,
        mut visit: impl FnMut(ChannelView),
    ) -> Option<usize> {
        let end = (from + most).min(self.entries.capacity());
        for place in from..end {
            if let Some(channel) = self.entries.get(place) {
                visit(ChannelView(channel));
            }
        }
        (end < self.entries.capacity()).then_some(end)
    }

    /// The channel at a place, for a visit.
    pub fn view(&self, channel: usize) -> ChannelView<'_> {
        ChannelView(&self.entries[channel])
    }

    /// The place of `*`, if somebody listens to everything or it has logged messages.
    pub fn wildcard(&self) -> Option<usize> {
        self.wildcard
    }

    /// The place of a channel, made if it is not known. The caller then adds a listener or a
    /// logged message.
    pub fn find_or_add(&mut self, name: &ChannelName, now_ms: u64) -> usize {
        if let Some(channel) = self.find(name) {
            return channel;
        }
        let channel = self.entries.insert(Channel {
            name: name.clone(),
            listeners: IndexSet::new(),
            messages: 0,
            last_activity_ms: now_ms,
            logged: VecDeque::new(),
            counted: self.counted.iter().position(|counted| counted.name == *name),
        });
        self.by_name.insert(name.clone(), channel);
        if name.is_wildcard() {
            self.wildcard = Some(channel);
        }
        channel
    }

    /// Adds a listener that is not one yet.
    pub fn listen(&mut self, channel: usize, client: usize) {
        self.entries[channel].listeners.insert(client);
        self.subscriptions += 1;
    }

    /// Removes a listener.
    pub fn unlisten(&mut self, channel: usize, client: usize) {
        let listeners = &mut self.entries[channel].listeners;
        if listeners.swap_remove(&client) {
            self.subscriptions -= 1;
            // A channel that thousands have left should not keep room for them.
            if listeners.len() < listeners.capacity() / 4 {
                listeners.shrink_to(listeners.len() * 2);
            }
        }
        self.remove_if_idle(channel);
    }

    /// Takes the listeners out for the time of a delivery; [`Self::put_listeners`] puts them back.
    pub fn take_listeners(&mut self, channel: usize) -> IndexSet<usize> {
        std::mem::take(&mut self.entries[channel].listeners)
    }

    /// Puts back what [`Self::take_listeners`] took.
    pub fn put_listeners(&mut self, channel: usize, listeners: IndexSet<usize>) {
        self.entries[channel].listeners = listeners;
    }

    /// The numbers of a channel's messages that are in the log, oldest first.
    pub fn logged_numbers(&self, channel: usize) -> &VecDeque<u64> {
        &self.entries[channel].logged
    }

    /// Takes note of a message that goes into the log, where it has this number.
    pub fn logged(&mut self, channel: usize, number: u64, time_ms: u64) {
        let entry = &mut self.entries[channel];
        entry.messages += 1;
        entry.last_activity_ms = time_ms;
        entry.logged.push_back(number);
    }

    /// Takes note of a message that has gone from the log.
    pub fn unlogged(&mut self, channel: usize, number: u64) {
        let logged = &mut self.entries[channel].logged;
        // The log makes room at its old end.
        if logged.front() == Some(&number) {
            logged.pop_front();
        } else if let Ok(place) = logged.binary_search(&number) {
            logged.remove(place);
        }
        if logged.len() < logged.capacity() / 4 {
            logged.shrink_to(logged.len() * 2);
        }
        self.remove_if_idle(channel);
    }

    fn remove_if_idle(&mut self, channel: usize) {
        let entry = &self.entries[channel];
        if entry.listeners.is_empty() && entry.logged.is_empty() {
            self.by_name.remove(&entry.name);
            if entry.name.is_wildcard() {
                self.wildcard = None;
            }
            self.entries.remove(channel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// Each has to be found among all the others, which took a walk over them.
    #[test]
    fn tens_of_thousands_leave_a_channel_promptly() {
        let mut channels = Channels::default();
        let channel = channels.find_or_add(&ChannelName::from_text("x"), 0);
        for client in 0..60_000 {
            channels.listen(channel, client);
        }
        let begun = Instant::now();
        for client in (0..60_000).rev() {
            channels.unlisten(channel, client);
        }
        let took = begun.elapsed();
        assert_eq!((channels.len(), channels.subscriptions()), (0, 0));
        // A twentieth of a second where nothing is optimised; walks took six seconds.
        assert!(took < Duration::from_secs(2), "{took:?}");
    }

    #[test]
    fn what_is_counted_can_change_while_there_are_messages() {
        let mut channels = Channels::default();
        let [a, b, c] = ["a", "b", "c"].map(ChannelName::from_text);
        let places = [&a, &b, &c].map(|name| channels.find_or_add(name, 0));
        let send = |channels: &mut Channels| {
            places.iter().for_each(|&place| channels.count_message(place, 2));
            let counts = channels.counts();
            counts.iter().map(|c| (c.name.to_string(), c.messages)).collect::<Vec<_>>()
        };
        let seen = |of: &[(&str, u64)]| -> Vec<_> {
            of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        channels.count(vec![a.clone(), b.clone()]);
        assert_eq!(send(&mut channels), seen(&[("a", 1), ("b", 1)]));
        channels.count(vec![c, b]);
        assert_eq!(send(&mut channels), seen(&[("c", 1), ("b", 2)]));
        channels.count(vec![a]);
        assert_eq!(send(&mut channels), seen(&[("a", 1)]));
    }

    #[test]
    fn a_channels_counts_outlive_its_entry_and_others_are_not_counted() {
        let (mut channels, name) = (Channels::default(), ChannelName::from_text("x"));
        channels.count(vec![ChannelName::from_text("unheard"), name.clone()]);
        for round in 1..=2 {
            let channel = channels.find_or_add(&name, 0);
            channels.listen(channel, 7);
            channels.count_message(channel, 3);
            let other = channels.find_or_add(&ChannelName::from_text("y"), 0);
            channels.listen(other, 7);
            channels.count_message(other, 5);
            let seen: Vec<_> =
                channels.counts().iter().map(|c| (c.messages, c.deliveries, c.listeners)).collect();
            assert_eq!(seen, [(0, 0, 0), (round, 3 * round, 1)]);
            channels.unlisten(channel, 7);
            channels.unlisten(other, 7);
            assert_eq!((channels.len(), channels.counts()[1].listeners), (0, 0));
        }
    }
}
