//! A stand-in for what reads from the state's clients and writes to them, for tests and for the
//! fuzzing of the hub: what each client has been sent, as JSON, whatever was written when.

use super::clients::{ClientInfo, ClientKey, Closing, Identity};
use super::sending::{Next, Written};
use super::state::{Receipt, State, Taken};
use super::{Batch, HubLimits, Rights};
use crate::protocol::websocket::server_frame_bytes;
use crate::protocol::{CommandLimits, command};
use serde_json::Value;
use std::collections::HashMap;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Limits for tests and fuzzing: small where a test has to reach them.
pub(crate) const LIMITS: HubLimits = HubLimits {
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
