//! A hub in one thread and without sockets: a sender, listeners, and what stands in for the writer.

use skynet::hub::{ClientInfo, ClientKey, Hub, HubLimits, Identity, Job, Membership, Written};
use skynet::protocol::{CommandLimits, command};
use std::time::Instant;

/// Clients written to at a time, as the program does.
const PASS: usize = 256;
/// Most clients in a room.
const MAX_CLIENTS: usize = 11_000;
/// The channel that listeners open.
pub const CHANNEL: &str = "measured";
/// Commands' bounds: more than is sent here.
pub const LIMITS: CommandLimits =
    CommandLimits { max_channel_name_bytes: 255, max_event_bytes: 100_000 };

/// A hub, its clients, and what is written to them.
pub struct Room {
    hub: Hub,
    /// That of the sender, first, and the others'; clients leave when they are dropped.
    members: Vec<Membership>,
    jobs: Vec<Job>,
}

impl Room {
    /// A hub that keeps `kept` messages, with nobody but the sender.
    ///
    /// # Errors
    /// The hub does not admit it.
    pub fn new(kept: usize) -> Result<Self, String> {
        let hub = Hub::new(HubLimits {
            max_clients: MAX_CLIENTS,
            max_channels_per_client: 10,
            total_open_channels: 1_000_000,
            max_message_bytes: 131_072,
            max_queue_bytes: 1 << 20,
            total_queue_bytes: 256 << 20,
            max_log_messages: kept,
            max_log_bytes: 256 << 20,
        });
        let mut room = Self { hub, members: vec![], jobs: Vec::with_capacity(PASS) };
        room.join()?;
        Ok(room)
    }

    /// Adds listeners of [`CHANNEL`].
    ///
    /// # Errors
    /// The hub does not admit them.
    pub fn listen(&mut self, listeners: usize) -> Result<(), String> {
        for _ in 0..listeners {
            let listener = self.join()?;
            self.send(listener, &open(CHANNEL));
        }
        self.write(Written::All);
        Ok(())
    }

    /// Adds a client.
    ///
    /// # Errors
    /// The hub does not admit it.
    pub fn join(&mut self) -> Result<ClientKey, String> {
        let info = ClientInfo {
            address: ([127, 0, 0, 1], 1).into(),
            user_agent: None,
            identity: Identity::default(),
            rights: None,
        };
        let admission = self.hub.admit().map_err(|why| format!("not admitted: {why:?}"))?;
        let membership = admission.join(info, |_, _| {});
        let key = membership.key();
        self.members.push(membership);
        Ok(key)
    }

    /// The sender.
    pub fn sender(&self) -> ClientKey {
        self.members[0].key()
    }

    /// Has a client send a command in JSON.
    pub fn send(&mut self, key: ClientKey, text: &str) {
        let received = Instant::now();
        self.hub.execute(key, command::parse(text, LIMITS), text.len(), received);
    }

    /// Takes all that is queued and reports what became of it; returns to how many clients it was.
    pub fn write(&mut self, outcome: Written) -> usize {
        let mut written = 0;
        loop {
            self.hub.take_jobs(&mut self.jobs, PASS);
            if self.jobs.is_empty() {
                return written;
            }
            written += self.jobs.len();
            for job in &mut self.jobs {
                let batch = std::mem::take(&mut job.batch);
                job.outcome = match outcome {
                    Written::Left(_) => Written::Left(batch.bytes()),
                    other => other,
                };
            }
            self.hub.settle(&mut self.jobs);
            self.jobs.clear();
        }
    }

    /// The hub.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// All but the sender speak the protocol's second version from now on.
    pub fn others_speak_cbor(&self) {
        for member in &self.members[1..] {
            self.hub.speak_cbor(member.key());
        }
    }

    /// The client that came last leaves.
    pub fn leave(&mut self) {
        self.members.pop();
    }
}

/// A command that opens a channel.
pub fn open(channel: &str) -> String {
    format!(r#"{{"type":"open","channel":"{channel}"}}"#)
}

/// A command that sends so many bytes of text.
pub fn message(channel: &str, bytes: usize) -> String {
    format!(r#"{{"type":"message","channel":"{channel}","message":"{}"}}"#, "x".repeat(bytes))
}
