//! The hub's state: a policy object without locks, clocks or IO.
//!
//! Everything that happens is a method call here, one after the other; that order is the log's
//! order and the order in which every listener gets its events. [`super::Hub`] holds the one lock
//! around it and hands in the time.
//!
//! What there is to send leaves as [`super::sending`] has it.

use super::HubLimits;
use super::backlog::Due;
use super::bans::Bans;
use super::channels::Channels;
use super::clients::{Client, ClientInfo, ClientKey, ClientSummary, Closing, Departed};
use super::forms::Forms;
use super::log::MessageLog;
use super::outbox::Writer;
use super::probe::Probe;
use super::stats::{self, Source, Stats, Totals};
use super::taps::Taps;
use crate::protocol::closing::Farewell;
use crate::protocol::{
    ChannelName, CloseReason, Command, CommandKind, Draft, Event, Nonce, OpenOptions, Refusal,
    RefusalReason, Request, Stamper, Version,
};
use crate::protocol::{cbor, event};
use slab::Slab;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

/// Clients that have gone and are remembered.
const MAX_DEPARTED: usize = 1000;

/// What the hub made of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was carried out or refused, and answered.
    Done,
    /// So it was, and now too much is queued: no further command is to be read for now.
    DonePause,
    /// The hub has decided to close the connection; the command may not have been looked at.
    Closing,
}

/// When something was received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receipt {
    /// In milliseconds since 1970 UTC.
    pub unix_ms: u64,
    /// For the time it takes from then on.
    pub instant: Instant,
}

/// The state. See the module's documentation.
#[derive(Debug)]
pub(super) struct State {
    pub(super) limits: HubLimits,
    pub(super) clients: Slab<Client>,
    pub(super) channels: Channels,
    pub(super) log: MessageLog,
    pub(super) bans: Bans,
    pub(super) taps: Taps,
    /// Clients that have gone, oldest first.
    pub(super) departed: VecDeque<Departed>,
    stamper: Stamper,
    next_id: u64,
    /// Clients with something to send, or to be told that they are closed.
    pub(super) listed: VecDeque<usize>,
    /// Clients with something to send whose time is yet to come.
    pub(super) due: BinaryHeap<Due>,
    /// Bytes queued for all clients together.
    pub(super) queued: usize,
    pub(super) totals: Totals,
    pub(super) probe: Probe,
    /// Whether somebody waits for the flusher to take its turn.
    pub(super) pulse_wanted: bool,
}

impl State {
    pub fn new(limits: HubLimits, seed: u64) -> Self {
        Self {
            log: MessageLog::new(limits.max_log_messages, limits.max_log_bytes),
            limits,
            clients: Slab::new(),
            channels: Channels::default(),
            bans: Bans::default(),
            taps: Taps::default(),
            departed: VecDeque::new(),
            stamper: Stamper::new(seed),
            next_id: 1,
            listed: VecDeque::new(),
            due: BinaryHeap::new(),
            queued: 0,
            totals: Totals::default(),
            probe: Probe::default(),
            pulse_wanted: false,
        }
    }

    pub fn join(&mut self, info: ClientInfo, now_ms: u64, now: Instant) -> ClientKey {
        let id = self.next_id;
        self.next_id += 1;
        let banned = self.bans.find(&info, now_ms).map(|ban| ban.reason.clone());
        let slot = self.clients.insert(Client::new(id, info, now_ms, now));
        if let Some(reason) = banned {
            self.close_slot(slot, CloseReason::Banned, &reason);
        }
        ClientKey::new(slot, id)
    }

    /// Forgets a client; what it leaves behind is its summary.
    pub fn leave(
        &mut self,
        key: ClientKey,
        reason: CloseReason,
        now_ms: u64,
    ) -> Option<ClientSummary> {
        self.unsubscribe_all(key);
        self.drop_queue(key.slot, reason);
        let client = self.clients.try_remove(key.slot)?;
        self.queued -= client.outbox.in_flight;
        self.totals.disconnects[reason as usize] += 1;
        let summary = client.summary(key.slot);
        if self.departed.len() >= MAX_DEPARTED {
            self.departed.pop_front();
        }
        self.departed.push_back(Departed {
            client: summary.clone(),
            reason,
            text: client.closing.map(|closing| closing.text),
            closed_at_ms: now_ms,
        });
        Some(summary)
    }

    /// The ID of the client that joined last; 0 if none has.
    pub fn newest_client(&self) -> u64 {
        self.next_id - 1
    }

    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Carries out a command, or answers that it is refused; does neither, and returns nothing, for
    /// a client that is being closed.
    pub fn execute(
        &mut self,
        key: ClientKey,
        request: Result<Request, Refusal>,
        bytes: usize,
        received: Receipt,
    ) -> Option<Taken> {
        let client = self.open_client(key)?;
        client.last_activity_ms = received.unix_ms;
        client.counters.commands += 1;
        client.counters.bytes_in += bytes as u64;
        self.totals.bytes_in += bytes as u64;
        let done = request.and_then(|Request { command, nonce }| {
            let kind = command.kind();
            if let Some(rights) = &self.clients[key.slot].info.rights
                && let Err(reason) = rights.permit(&command)
            {
                return Err(Refusal { command: Some(kind), nonce, reason });
            }
            match command {
                Command::Open(channel, options) => {
                    let options = options.as_deref();
                    self.open(key, &channel, options, nonce.as_ref(), received.unix_ms)
                }
                Command::Close(channel) => self.close(key, &channel, nonce.as_ref()),
                Command::Message(draft) => {
                    self.publish(Some(key), draft, received);
                    Ok(())
                }
                Command::Log(slice) => {
                    self.reply_log(key, &slice, nonce);
                    return Ok(kind);
                }
                Command::Ping => {
                    let reply =
                        event::ping_result(nonce.as_ref(), self.stamper.time(received.unix_ms));
                    self.push_reply(key.slot, &reply);
                    Ok(())
                }
            }
            .map(|()| kind)
            .map_err(|reason| Refusal { command: Some(kind), nonce, reason })
        });
        match done {
            Ok(kind) => self.totals.commands[kind as usize] += 1,
            Err(refusal) => {
                self.totals.refused_commands[stats::place(refusal.command)] += 1;
                self.totals.refused[refusal.reason.label_index()] += 1;
                self.clients[key.slot].counters.refused += 1;
                let error = match self.clients[key.slot].version {
                    Version::V1 => event::error(&refusal),
                    Version::V2 => cbor::error(&refusal),
                };
                self.push_reply(key.slot, &error);
            }
        }
        self.keep_total();
        Some(match self.may_read(key) {
            true => Taken::Done,
            false if self.open_client(key).is_some() => Taken::DonePause,
            false => Taken::Closing,
        })
    }

    /// Whether the client's next command may be read. If not, because too much is queued for it,
    /// its session is told when it may.
    pub fn may_read(&mut self, key: ClientKey) -> bool {
        if self.open_client(key).is_none() {
            return false;
        }
        let room = self.has_room_for_replies(key.slot);
        self.clients[key.slot].reading_paused = !room;
        room
    }

    fn open(
        &mut self,
        key: ClientKey,
        name: &ChannelName,
        options: Option<&OpenOptions>,
        nonce: Option<&Nonce>,
        now_ms: u64,
    ) -> Result<(), RefusalReason> {
        let client = &self.clients[key.slot];
        let known = self.channels.find(name);
        let is_open = known.is_some_and(|channel| client.open.contains(&channel));
        let catch_up = options.and_then(|options| options.catch_up);
        if catch_up.is_some() && (is_open || client.hears_all) {
            return Err(RefusalReason::AlreadyReceived(name.to_string()));
        }
        if !is_open {
            let limit = self.limits.max_channels_per_client;
            if client.open.len() >= limit {
                return Err(RefusalReason::TooManyChannels { limit });
            }
            let limit = self.limits.total_open_channels;
            if self.channels.subscriptions() >= limit {
                return Err(RefusalReason::TooManyInAll { limit });
            }
            let channel = self.channels.find_or_add(name, now_ms);
            self.channels.listen(channel, key.slot);
            let client = &mut self.clients[key.slot];
            client.open.push(channel);
            client.hears_all |= name.is_wildcard();
        }
        if let Some(options) = options {
            self.set_flow(key.slot, options);
        }
        let (stretch, gap) = catch_up.map(|catch_up| self.stretch(name, catch_up)).unzip();
        self.reply_channels(key, CommandKind::Open, nonce, gap.unwrap_or(false));
        if let Some(stretch) = stretch {
            self.replay(key.slot, stretch);
        }
        Ok(())
    }

    fn close(
        &mut self,
        key: ClientKey,
        name: &ChannelName,
        nonce: Option<&Nonce>,
    ) -> Result<(), RefusalReason> {
        let was_open = self.leave_channel(key, name);
        // In the second version that is no error.
        if !was_open && self.clients[key.slot].version == Version::V1 {
            return Err(RefusalReason::NotOpen(name.to_string()));
        }
        self.reply_channels(key, CommandKind::Close, nonce, false);
        Ok(())
    }

    /// Closes a channel for a client; false if it was not open.
    pub(super) fn leave_channel(&mut self, key: ClientKey, name: &ChannelName) -> bool {
        let client = &mut self.clients[key.slot];
        let open = |channel| client.open.iter().position(|&open| open == channel);
        let Some(place) = self.channels.find(name).and_then(open) else { return false };
        let channel = client.open.remove(place);
        client.hears_all &= !name.is_wildcard();
        self.channels.unlisten(channel, key.slot);
        true
    }

    fn reply_channels(
        &mut self,
        key: ClientKey,
        command: CommandKind,
        nonce: Option<&Nonce>,
        gap: bool,
    ) {
        let client = &self.clients[key.slot];
        if client.version == Version::V2 {
            return;
        }
        let open = client.open.iter();
        let names = open.map(|&channel| &self.channels.get(channel).name);
        let max_bytes = self.limits.max_message_bytes;
        let reply = event::channels_result(command, nonce, names, gap, max_bytes);
        self.push_reply(key.slot, &reply);
    }

    /// Sends a message: to its sender the result, if its version has one, to all others who listen
    /// the event, once each, and into the log. Returns how many were to receive it.
    pub fn publish(
        &mut self,
        sender: Option<ClientKey>,
        mut draft: Draft,
        received: Receipt,
    ) -> (Event, usize) {
        let stamp = self.stamper.next(received.unix_ms);
        let channel = self.channels.find_or_add(draft.channel(), stamp.time_ms);
        if let Some(sender) = sender {
            let client = &mut self.clients[sender.slot];
            client.counters.messages_in += 1;
            if client.version == Version::V1 {
                self.push_reply(sender.slot, &draft.result(stamp));
            }
        }
        let written = draft.take_cbor();
        let event = draft.stamp(stamp);
        let forms = Forms::new(&event, written, self.limits.max_message_bytes);
        let measured = self.probe.begin(received.instant);
        // First of all, so that the channel's entry stays when its last listener is too slow.
        self.channels.logged(channel, self.log.next_number(), stamp.time_ms);
        let reached = self.deliver(sender, channel, forms, measured);
        let source = if sender.is_some() { Source::Client } else { Source::Api };
        self.totals.count_message(source, event.frame.payload().len(), reached);
        self.channels.count_message(channel, reached);
        let (channels, totals) = (&mut self.channels, &mut self.totals);
        self.taps.push(&channels.get(channel).name, &event);
        self.log.push(event.clone(), channel, |(channel, number)| {
            channels.unlogged(channel, number);
            totals.evicted += 1;
        });
        self.keep_total();
        (event, reached)
    }

    fn deliver(
        &mut self,
        sender: Option<ClientKey>,
        channel: usize,
        mut forms: Forms,
        measured: bool,
    ) -> usize {
        let sender = sender.map(|key| key.slot);
        let wildcard = self.channels.wildcard();
        let mut reached = 0;
        let mut too_slow = Vec::new();
        for source in [Some(channel), wildcard.filter(|&wildcard| wildcard != channel)] {
            let Some(source) = source else { continue };
            let listeners = self.channels.take_listeners(source);
            for &slot in &listeners {
                // Who hears everything gets the event as a listener of `*`, and only so.
                let other_way = self.clients[slot].hears_all && Some(source) != wildcard;
                if Some(slot) == sender || other_way {
                    continue;
                }
                let form = forms.of(self.clients[slot].version);
                if !self.push_event(slot, form.frame) {
                    too_slow.push(slot);
                } else if !form.is_event {
                    // What was queued is the error in its place.
                    let counters = &mut self.clients[slot].counters;
                    counters.messages_out -= 1;
                    counters.dropped += 1;
                    self.totals.too_large += 1;
                } else {
                    reached += 1;
                    if measured {
                        self.mark(slot);
                    }
                }
            }
            self.channels.put_listeners(source, listeners);
        }
        for slot in too_slow {
            self.count_dropped(slot, CloseReason::TooSlow, 1);
            self.close_slot(slot, CloseReason::TooSlow, CloseReason::TooSlow.text());
        }
        // A message that has reached nobody is not waited for.
        self.end_probe();
        reached
    }

    /// Closes a connection: the client leaves its channels at once, and its session is told.
    pub fn close_client(&mut self, key: ClientKey, reason: CloseReason, text: &str) {
        if self.client(key).is_some() {
            self.close_slot(key.slot, reason, text);
        }
    }

    /// Closes every connection.
    pub fn close_all(&mut self, reason: CloseReason) {
        let slots: Vec<usize> = self.clients.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.close_slot(slot, reason, reason.text());
        }
    }

    pub(super) fn close_slot(&mut self, slot: usize, reason: CloseReason, text: &str) {
        let client = &mut self.clients[slot];
        if client.closing.is_some() {
            return;
        }
        client.closing = Some(Closing { reason, text: text.to_owned() });
        let key = ClientKey::new(slot, client.id);
        self.unsubscribe_all(key);
        if reason.farewell() == Farewell::Cut {
            self.cut_queue(slot, reason);
        }
        let outbox = &mut self.clients[slot].outbox;
        if outbox.writer == Writer::Nobody && outbox.has_backlog() {
            outbox.writer = Writer::Listed;
        }
        self.listed.push_back(slot);
    }

    fn unsubscribe_all(&mut self, key: ClientKey) {
        let Some(client) = self.client(key) else { return };
        client.hears_all = false;
        for channel in std::mem::take(&mut client.open) {
            self.channels.unlisten(channel, key.slot);
        }
    }

    /// A client by its key, being closed or not.
    pub(super) fn client(&mut self, key: ClientKey) -> Option<&mut Client> {
        self.clients.get_mut(key.slot).filter(|client| client.id == key.id())
    }

    /// A client that is not being closed.
    fn open_client(&mut self, key: ClientKey) -> Option<&mut Client> {
        self.client(key).filter(|client| client.closing.is_none())
    }

    /// Figures, by the time of day.
    pub fn stats(&self, now_ms: u64) -> Stats {
        let (mut longest, mut by_version) = (0, [0; Version::ALL.len()]);
        for (_, client) in &self.clients {
            longest = longest.max(client.outbox.queued());
            by_version[client.version as usize] += 1;
        }
        Stats {
            clients: self.clients.len(),
            clients_by_version: by_version,
            taps: self.taps.len(),
            bans: self.bans.count(now_ms),
            channels: self.channels.len(),
            subscriptions: self.channels.subscriptions(),
            log_messages: self.log.len(),
            log_bytes: self.log.bytes(),
            queued_bytes: self.queued,
            longest_queue_bytes: longest,
            totals: self.totals.clone(),
            counted: self.channels.counts(),
        }
    }
}
