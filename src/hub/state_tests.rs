//! The state's policy, case by case, and the bench that its tests share: a stand-in for what reads
//! from clients and writes to them.

use super::clients::{ClientInfo, ClientKey, Closing, Identity};
use super::sending::{Next, Written};
use super::state::{Receipt, State, Taken};
use super::{Batch, HubLimits, Rights};
use crate::protocol::websocket::server_frame_bytes;
use crate::protocol::{ChannelName, CloseReason, CommandLimits, command};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) const LIMITS: HubLimits = HubLimits {
    max_clients: 100,
    max_channels_per_client: 3,
    total_open_channels: 300,
    max_message_bytes: 131_072,
    max_queue_bytes: 1 << 20,
    total_queue_bytes: 256 << 20,
    max_log_messages: 8,
    max_log_bytes: 1 << 20,
};

/// Everything in a batch, as JSON, with pings left out.
fn texts(batch: &Batch) -> Vec<Value> {
    let mut slices = [IoSlice::new(&[]); 64];
    let count = batch.fill(&mut slices);
    let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
    let (mut at, mut seen) = (0, vec![]);
    while at < bytes.len() {
        let end = at + server_frame_bytes(&bytes[at..]).expect("whole frames");
        if bytes[at] == 0x81 {
            let header = match bytes[at + 1] {
                126 => 4,
                127 => 10,
                _ => 2,
            };
            seen.push(serde_json::from_slice(&bytes[at + header..end]).expect("JSON"));
        }
        at = end;
    }
    seen
}

/// A state and a stand-in for what writes to its clients.
pub(super) struct Bench {
    pub(super) state: State,
    pub(super) clients: Vec<ClientKey>,
    pub(super) received: HashMap<u64, Vec<Value>>,
    /// What a full socket has left of a client's batch.
    pub(super) stuck: HashMap<u64, Vec<Value>>,
    /// Whose sessions were told to close, and how.
    pub(super) closed: Vec<(ClientKey, Closing)>,
    /// The time, which goes on only when a test says so; what is written counts as written a
    /// millisecond later.
    pub(super) now: Instant,
}

impl Bench {
    pub(super) fn new(limits: HubLimits) -> Self {
        let (received, stuck) = (HashMap::new(), HashMap::new());
        let (state, now) = (State::new(limits, 1), Instant::now());
        Self { state, clients: vec![], received, stuck, closed: vec![], now }
    }

    pub(super) fn join(&mut self) -> ClientKey {
        self.join_with(None)
    }

    pub(super) fn join_with(&mut self, rights: Option<Arc<Rights>>) -> ClientKey {
        let info = ClientInfo {
            address: ([127, 0, 0, 1], 1).into(),
            user_agent: None,
            identity: Identity::default(),
            rights,
        };
        let key = self.state.join(info, 0, Instant::now());
        self.clients.push(key);
        key
    }

    pub(super) fn send(&mut self, key: ClientKey, command: &Value) -> Taken {
        let text = command.to_string();
        let limits = CommandLimits { max_channel_name_bytes: 255, max_event_bytes: 130_048 };
        let received = Receipt { unix_ms: 1_700_000_000_000, instant: self.now };
        let request = command::parse(&text, limits);
        self.state.execute(key, request, text.len(), received).unwrap_or(Taken::Closing)
    }

    /// One pass of the flusher; the sockets of `full` take nothing of their batch.
    pub(super) fn pass(&mut self, full: &[ClientKey]) {
        let mut jobs = vec![];
        self.state.take_jobs(&mut jobs, usize::MAX, self.now);
        for job in &mut jobs {
            if let Some(closing) = job.close.take() {
                self.closed.push((job.key, closing));
            }
            if job.batch.is_empty() {
                continue;
            }
            let texts = texts(&job.batch);
            if full.contains(&job.key) {
                job.outcome = Written::Left(job.batch.bytes());
                self.stuck.insert(job.key.id(), texts);
            } else {
                self.received.entry(job.key.id()).or_default().extend(texts);
            }
        }
        self.state.settle(&mut jobs);
        self.time_probe();
    }

    pub(super) fn time_probe(&mut self) {
        let now = self.now + Duration::from_millis(1);
        self.state.time_probe(|| now);
    }

    /// The session of a client whose socket was full writes until nothing is left.
    pub(super) fn unstick(&mut self, key: ClientKey) {
        let Some(texts_left) = self.stuck.remove(&key.id()) else { return };
        self.received.entry(key.id()).or_default().extend(texts_left);
        while let Next::Batch(batch) = self.state.wrote(key, 0, self.now) {
            self.received.entry(key.id()).or_default().extend(texts(&batch));
        }
        self.time_probe();
    }

    pub(super) fn drain(&mut self) {
        for key in self.clients.clone() {
            self.unstick(key);
        }
        loop {
            while self.state.has_jobs() {
                self.pass(&[]);
            }
            let Some(due) = self.state.next_due() else { break };
            self.now = self.now.max(due);
            self.pass(&[]);
        }
    }

    /// What a client received, batches taken apart.
    pub(super) fn events(&self, key: ClientKey) -> Vec<Value> {
        let batched = |value: &Value| match value["events"].as_array() {
            Some(events) => events.clone(),
            None => vec![value.clone()],
        };
        self.received(key).iter().flat_map(batched).collect()
    }

    pub(super) fn received(&self, key: ClientKey) -> &[Value] {
        self.received.get(&key.id()).map_or(&[], Vec::as_slice)
    }
}

pub(super) fn open(bench: &mut Bench, channel: &str) -> ClientKey {
    let key = bench.join();
    bench.send(key, &json!({"type": "open", "channel": channel}));
    bench.pass(&[]);
    key
}

pub(super) fn message(size: usize) -> Value {
    json!({"type": "message", "channel": "x", "message": "m".repeat(size)})
}

#[test]
fn live_events_past_the_budget_close_the_listener_and_nobody_else() {
    let limits = HubLimits { max_queue_bytes: 300_000, ..LIMITS };
    let mut bench = Bench::new(limits);
    let (slow, fast, sender) = (open(&mut bench, "x"), open(&mut bench, "x"), bench.join());
    for _ in 0..3 {
        bench.send(sender, &message(100_000));
        bench.pass(&[slow, sender]);
        bench.unstick(sender);
    }
    assert_eq!(bench.closed.len(), 1);
    assert_eq!((bench.closed[0].0, bench.closed[0].1.reason), (slow, CloseReason::TooSlow));
    assert_eq!(bench.received(fast).len(), 1 + 3);
    assert_eq!(bench.send(slow, &json!({"type": "log"})), Taken::Closing);
    assert_eq!(bench.state.stats(0).queued_bytes, 0);
    let left = bench.state.leave(slow, CloseReason::TooSlow, 0).expect("a client");
    assert_eq!(left.counters.dropped, 2, "one in the queue, and the one that was too much");
}

#[test]
fn commands_wait_while_half_of_the_budget_is_queued_so_that_replies_never_exceed_it() {
    let mut bench = Bench::new(LIMITS);
    let (reader, sender) = (bench.join(), bench.join());
    for _ in 0..8 {
        bench.send(sender, &message(100_000));
        bench.pass(&[]);
    }
    let mut asked = 0;
    while bench.send(reader, &message(100_000)) == Taken::Done {
        asked += 1;
        bench.pass(&[reader]);
        assert!(asked < 100, "reading is never paused");
    }
    let queued = bench.state.stats(0).longest_queue_bytes;
    assert!((LIMITS.max_queue_bytes / 2..LIMITS.max_queue_bytes).contains(&queued), "{queued}");
    assert!(!bench.state.may_read(reader));
    bench.unstick(reader);
    assert!(bench.state.may_read(reader));
}

#[test]
fn when_all_queues_together_are_too_long_the_longest_goes_first() {
    let limits = HubLimits { total_queue_bytes: 610_000, ..LIMITS };
    let mut bench = Bench::new(limits);
    let (longest, sender) = (open(&mut bench, "x"), bench.join());
    bench.send(sender, &message(100_000));
    bench.pass(&[longest]);
    let shorter = open(&mut bench, "x");
    for _ in 0..2 {
        bench.send(sender, &message(100_000));
        bench.pass(&[longest, shorter]);
    }
    assert!(bench.closed.is_empty(), "the budget is not exceeded yet");
    bench.send(sender, &message(100_000));
    bench.pass(&[]);
    let closed: Vec<ClientKey> = bench.closed.iter().map(|(key, _)| *key).collect();
    assert_eq!(closed, [longest]);
}

#[test]
fn queues_of_clients_that_are_being_closed_are_cut_before_anybody_is_closed_for_them() {
    let limits = HubLimits { total_queue_bytes: 410_000, ..LIMITS };
    let mut bench = Bench::new(limits);
    let (stuck, waiting) = (open(&mut bench, "x"), open(&mut bench, "x"));
    let (reader, sender) = (open(&mut bench, "y"), bench.join());
    // One has its queue with the session that cannot write it, the other still in the hub.
    bench.send(sender, &message(100_000));
    bench.pass(&[stuck]);
    bench.send(sender, &message(100_000));
    bench.state.close_client(stuck, CloseReason::ProtocolError, "");
    bench.state.close_client(waiting, CloseReason::ProtocolError, "");
    bench.pass(&[stuck, waiting]);
    assert_eq!(bench.closed.len(), 2);
    let healthy = json!({"type": "message", "channel": "y", "message": "m".repeat(60_000)});
    for _ in 0..20 {
        bench.send(sender, &healthy);
        let queued = bench.state.stats(0).queued_bytes;
        assert!(queued <= limits.total_queue_bytes, "{queued} bytes are queued");
        bench.pass(&[stuck, waiting]);
    }
    assert_eq!(bench.received(reader).len(), 1 + 20);
    assert_eq!(bench.closed.len(), 2, "nobody else is closed: {:?}", bench.closed);
}

#[test]
fn two_unanswered_pings_close_and_any_pong_counts_as_an_answer() {
    let mut bench = Bench::new(LIMITS);
    let (silent, alive) = (bench.join(), bench.join());
    let (start, interval) = (Instant::now(), Duration::from_secs(25));
    for round in 1..=3 {
        let now = start + interval * round + Duration::from_secs(1);
        bench.state.ping_round(interval, now);
        bench.pass(&[]);
        assert_eq!(bench.state.pong(alive, b"unasked", now), None);
    }
    assert_eq!(bench.send(silent, &json!({"type": "log"})), Taken::Closing);
    assert_eq!(bench.send(alive, &json!({"type": "log"})), Taken::Done);
    let now = start + interval * 4 + Duration::from_secs(2);
    bench.state.ping_round(interval, now);
    let answered = now + Duration::from_millis(40);
    let sequence = 4_u32.to_be_bytes();
    assert_eq!(bench.state.pong(alive, &sequence, answered), Some(Duration::from_millis(40)));
}

#[test]
fn a_slot_used_again_is_not_the_client_that_had_it() {
    let mut bench = Bench::new(LIMITS);
    let first = open(&mut bench, "x");
    bench.send(first, &json!({"type": "log"}));
    bench.state.leave(first, CloseReason::ConnectionLost, 0);
    let second = bench.join();
    assert_eq!(first.slot(), second.slot());
    bench.pass(&[]);
    assert!(bench.received(second).is_empty(), "what the first was due is not the second's");
    bench.state.close_client(first, CloseReason::Kicked, "");
    assert_eq!(bench.send(second, &json!({"type": "log"})), Taken::Done);
    assert_eq!(bench.send(first, &json!({"type": "log"})), Taken::Closing);
}

#[test]
fn a_kicked_client_is_sent_what_was_queued_and_nothing_that_came_later() {
    let mut bench = Bench::new(LIMITS);
    let (kicked, sender) = (open(&mut bench, "x"), bench.join());
    bench.send(sender, &message(1));
    bench.state.close_client(kicked, CloseReason::Kicked, "enough");
    bench.send(sender, &message(2));
    bench.pass(&[]);
    assert_eq!(bench.closed.len(), 1);
    assert_eq!((bench.closed[0].0, &*bench.closed[0].1.text), (kicked, "enough"));
    let got: Vec<&Value> =
        bench.received(kicked).iter().filter(|v| v["type"] == "message").collect();
    assert_eq!(got.len(), 1);
    assert_eq!(got[0]["message"], "m");
}

#[test]
fn a_message_of_the_owner_reaches_every_listener() {
    let mut bench = Bench::new(LIMITS);
    let (listener, everything) = (open(&mut bench, "x"), open(&mut bench, "*"));
    let limits = CommandLimits { max_channel_name_bytes: 255, max_event_bytes: 130_048 };
    let draft = command::parse_message(&message(1).to_string(), limits).expect("a message");
    assert_eq!(draft.channel(), &ChannelName::from_text("x"));
    let received = Receipt { unix_ms: 5, instant: bench.now };
    assert_eq!(bench.state.publish(None, draft, received).1, 2);
    bench.pass(&[]);
    assert_eq!(bench.received(listener).len(), 2);
    assert_eq!(bench.received(everything).len(), 2);
}

#[test]
fn the_only_listener_of_a_new_channel_may_be_too_slow_for_its_first_message() {
    let limits = HubLimits { max_queue_bytes: 1000, max_message_bytes: 400, ..LIMITS };
    let mut bench = Bench::new(limits);
    let (sender, slow) = (bench.join(), bench.join());
    for channel in ["old", "new"] {
        bench.send(slow, &json!({"type": "open", "channel": channel}));
    }
    bench.pass(&[slow]);
    let long = "m".repeat(300);
    for channel in ["old", "old", "new"] {
        let message = json!({"type": "message", "channel": channel, "message": long});
        assert_eq!(bench.send(sender, &message), Taken::Done);
        bench.pass(&[slow]);
    }
    let closed: Vec<_> = bench.closed.iter().map(|(key, closing)| (*key, closing.reason)).collect();
    assert_eq!(closed, [(slow, CloseReason::TooSlow)]);
    assert_eq!((bench.state.log.len(), bench.received[&sender.id()].len()), (3, 3));
}

#[test]
fn what_is_caught_up_on_leaves_room_for_live_events_in_a_small_budget() {
    let limits = HubLimits {
        max_queue_bytes: 8192,
        max_message_bytes: 4096,
        max_log_messages: 100,
        ..LIMITS
    };
    let mut bench = Bench::new(limits);
    let (sender, reader) = (bench.join(), bench.join());
    for _ in 0..100 {
        bench.send(sender, &message(300));
        bench.pass(&[]);
    }
    bench.send(reader, &json!({"type": "open", "channel": "x", "last": 100}));
    bench.pass(&[reader]);
    for _ in 0..5 {
        bench.send(sender, &message(300));
        bench.pass(&[reader]);
    }
    assert_eq!(bench.closed, []);
    bench.unstick(reader);
    bench.drain();
    assert_eq!(bench.received(reader).len(), 1 + 105);
}

#[test]
fn an_event_that_is_too_large_in_cbor_counts_as_dropped_and_not_as_sent() {
    let limits = HubLimits { max_message_bytes: 4096, ..LIMITS };
    let mut bench = Bench::new(limits);
    let (sender, second) = (bench.join(), open(&mut bench, "x"));
    bench.state.speak_cbor(second);
    let fractions = json!({"type": "message", "channel": "x", "message": vec![0.1; 700]});
    for command in [fractions, message(5)] {
        bench.send(sender, &command);
        bench.pass(&[]);
    }
    let left = bench.state.leave(second, CloseReason::ClientClosed, 0).expect("a client");
    assert_eq!((left.counters.messages_out, left.counters.dropped), (1, 1));
}

#[test]
fn a_session_that_has_had_its_turn_leaves_the_rest_to_the_flusher() {
    let mut bench = Bench::new(HubLimits { max_log_messages: 1000, ..LIMITS });
    let (sender, reader) = (bench.join(), bench.join());
    for _ in 0..500 {
        bench.send(sender, &message(1000));
        bench.pass(&[]);
    }
    bench.send(reader, &json!({"type": "open", "channel": "x", "last": 500}));
    bench.pass(&[reader]);
    let stuck = bench.stuck.remove(&reader.id()).expect("its socket is full");
    bench.received.entry(reader.id()).or_default().extend(stuck);
    bench.state.hand_over(reader);
    assert!(bench.state.has_jobs());
    bench.drain();
    assert_eq!(bench.received(reader).len(), 1 + 500);
    bench.state.hand_over(reader);
    assert!(!bench.state.has_jobs(), "nothing is left");
}
