//! What a scene plays in: a hub, its flusher, and clients with sockets that may be full.

use serde_json::Value;
use shuttle::future::{JoinHandle, block_on, spawn};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};
use skynet_schedules::hub::{
    Admission, Batch, ClientInfo, ClientKey, Closing, Hub, HubLimits, Identity, Membership, Next,
    Taken, Written,
};
use skynet_schedules::protocol::websocket::server_frame_bytes;
use skynet_schedules::protocol::{CloseReason, CommandLimits, command};
use skynet_schedules::sync::{Mutex, Notify};
use std::future::Future;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

pub const LIMITS: HubLimits = HubLimits {
    max_clients: 4,
    max_channels_per_client: 3,
    total_open_channels: 12,
    max_message_bytes: 131_072,
    max_queue_bytes: 1 << 20,
    total_queue_bytes: 256 << 20,
    max_log_messages: 8,
    max_log_bytes: 1 << 20,
};

/// Orders that a scene is played in by each scheduler, unless `SCHEDULES` says how many.
const SCHEDULES: usize = 2000;

/// Orders in which a task gives way at few steps, of which a mistake may need as many.
const PREEMPTIONS: usize = 3;

/// Plays a scene in many orders: such as come by chance, and such as give way at few steps.
///
/// # Panics
/// The scene does in one of them, or nobody can go on; what is printed has the order.
pub fn in_many_orders<F: Future<Output = ()> + 'static>(scene: fn() -> F) {
    let count = std::env::var("SCHEDULES").map_or(SCHEDULES, |count| {
        count.parse().expect("SCHEDULES is how many orders each scheduler tries")
    });
    let play = |scheduler: Box<dyn Scheduler + Send>| {
        Runner::new(scheduler, Config::new()).run(move || block_on(scene()));
    };
    play(Box::new(RandomScheduler::new(count)));
    play(Box::new(PctScheduler::new(PREEMPTIONS, count)));
}

/// A hub with its flusher.
pub struct World {
    pub hub: Hub,
    gateway: Arc<Gateway>,
    flusher: JoinHandle<()>,
}

/// What flusher and sessions share.
#[derive(Default)]
struct Gateway {
    /// The server's one thread: a pass of the flusher and a turn of a session never overlap. What
    /// others do with the hub may come in between.
    thread: Mutex<()>,
    links: Mutex<Vec<Arc<Link>>>,
}

impl Gateway {
    fn link(&self, key: ClientKey) -> Option<Arc<Link>> {
        self.links.lock().unwrap().iter().find(|link| link.key == key).cloned()
    }
}

impl World {
    pub fn new(limits: HubLimits) -> Self {
        let (hub, gateway) = (Hub::new(limits), Arc::default());
        let flusher = spawn(flush(hub.clone(), Arc::clone(&gateway)));
        Self { hub, gateway, flusher }
    }

    /// A client whose socket takes `room` bytes before somebody reads them.
    pub fn join(&self, room: usize) -> Client {
        self.admitted(self.hub.admit().expect("a place"), room)
    }

    /// A client in the place it was given.
    pub fn admitted(&self, admission: Admission, room: usize) -> Client {
        let info = ClientInfo {
            address: ([127, 0, 0, 1], 1).into(),
            user_agent: None,
            identity: Identity::default(),
            rights: None,
        };
        let turn = self.gateway.thread.lock().unwrap();
        let membership = admission.join(info, |_, _| {});
        let key = membership.key();
        let link = Arc::new(Link::new(key, room));
        self.gateway.links.lock().unwrap().push(link.clone());
        drop(turn);
        let session = spawn(serve(membership, link.clone(), self.gateway.clone()));
        Client { key, hub: self.hub.clone(), link, session }
    }

    /// Ends the flusher; everything that was queued must have been sent or given up.
    pub fn end(self) {
        self.flusher.abort();
        let stats = self.hub.stats();
        assert_eq!((stats.clients, stats.queued_bytes, stats.subscriptions), (0, 0, 0));
        assert!(self.gateway.links.lock().unwrap().is_empty());
    }
}

/// As `gateway::flusher` writes.
async fn flush(hub: Hub, gateway: Arc<Gateway>) {
    let mut jobs = vec![];
    loop {
        hub.jobs_ready().await;
        let _turn = gateway.thread.lock().unwrap();
        hub.take_jobs(&mut jobs, 2);
        for job in &mut jobs {
            let Some(link) = gateway.link(job.key) else { continue };
            if job.cut {
                link.state.lock().unwrap().left.cut();
            }
            let batch = std::mem::take(&mut job.batch);
            if !batch.is_empty() {
                job.outcome = link.send(batch);
            }
            if let Some(closing) = job.close.take() {
                link.state.lock().unwrap().closing = Some(closing);
                link.news.notify_one();
            }
        }
        hub.settle(&mut jobs);
        for job in &jobs {
            if job.resume
                && let Some(link) = gateway.link(job.key)
            {
                link.news.notify_one();
            }
        }
        jobs.clear();
    }
}

/// A client's socket, as the flusher, its session and its reader share it.
struct Link {
    key: ClientKey,
    state: Mutex<LinkState>,
    /// Wakes the session.
    news: Notify,
    /// Wakes the reader.
    arrived: Notify,
}

#[derive(Default)]
struct LinkState {
    /// Bytes that the system still takes.
    room: usize,
    /// What it has taken.
    sent: Vec<u8>,
    left: Batch,
    closing: Option<Closing>,
    /// Whether the session has ended.
    ended: bool,
}

impl Link {
    fn new(key: ClientKey, room: usize) -> Self {
        let state = Mutex::new(LinkState { room, ..LinkState::default() });
        Self { key, state, news: Notify::new(), arrived: Notify::new() }
    }

    fn send(&self, batch: Batch) -> Written {
        let mut state = self.state.lock().unwrap();
        assert!(state.left.is_empty(), "the hub hands out one batch at a time");
        state.left = batch;
        drop(state);
        self.write()
    }

    /// Writes what is left as far as there is room.
    fn write(&self) -> Written {
        let mut state = self.state.lock().unwrap();
        let mut slices = [IoSlice::new(&[]); 64];
        let count = state.left.fill(&mut slices);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        let taken = bytes.len().min(state.room);
        state.left.advance(taken);
        state.room -= taken;
        state.sent.extend_from_slice(&bytes[..taken]);
        let left = state.left.bytes();
        drop(state);
        self.arrived.notify_one();
        if left == 0 {
            return Written::All;
        }
        // The session waits for the socket, so it must look at it.
        self.news.notify_one();
        Written::Left(left)
    }
}

/// As `gateway::session` writes, until the hub closes the connection or it is hung up.
async fn serve(mut membership: Membership, link: Arc<Link>, gateway: Arc<Gateway>) {
    let (hub, key) = (membership.hub().clone(), membership.key());
    loop {
        let news = link.news.notified();
        let turn = gateway.thread.lock().unwrap();
        let (left, room, closing) = {
            let state = link.state.lock().unwrap();
            (state.left.bytes(), state.room, state.closing.clone())
        };
        if let Some(closing) = closing {
            membership.ends(closing.reason);
            break;
        }
        if left > 0 && room > 0 {
            let mut written = link.write();
            while written == Written::All {
                match hub.wrote(key, 0) {
                    Next::Batch(batch) => written = link.send(batch),
                    Next::Done | Next::Wait => break,
                }
            }
            if let Written::Left(left) = written {
                hub.wrote(key, left);
            }
            continue;
        }
        drop(turn);
        news.await;
    }
    // The slot may be another client's as soon as the membership has ended.
    let turn = gateway.thread.lock().unwrap();
    gateway.links.lock().unwrap().retain(|other| other.key != key);
    drop(membership);
    drop(turn);
    link.state.lock().unwrap().ended = true;
    link.arrived.notify_one();
}

/// A client: what sends its commands, and what reads its socket.
pub struct Client {
    pub key: ClientKey,
    hub: Hub,
    link: Arc<Link>,
    session: JoinHandle<()>,
}

impl Client {
    /// Sends a command.
    pub fn send(&self, command: &Value) -> Taken {
        let limits = CommandLimits { max_channel_name_bytes: 255, max_event_bytes: 130_048 };
        let text = command.to_string();
        self.hub.execute(self.key, command::parse(&text, limits), text.len(), Instant::now())
    }

    /// Reads whole frames as they come, giving the socket as much room as it reads, until `enough`
    /// says so of all that have come, or the connection has ended.
    pub async fn read_until(&self, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        loop {
            let arrived = self.link.arrived.notified();
            let (frames, ended, was_full) = {
                let mut state = self.link.state.lock().unwrap();
                let was_full = state.room == 0;
                state.room = state.room.max(40);
                (frames(&state.sent), state.ended, was_full)
            };
            if was_full {
                self.link.news.notify_one();
            }
            if ended || enough(&frames) {
                return frames;
            }
            arrived.await;
        }
    }

    /// Ends the connection from this side; returns when its session has ended.
    pub async fn hang_up(self) {
        let (reason, text) = (CloseReason::ClientClosed, String::new());
        self.link.state.lock().unwrap().closing = Some(Closing { reason, text });
        self.link.news.notify_one();
        self.session.await.expect("a session that ends");
    }

    /// Waits until the hub has closed the connection; returns what had come until then.
    pub async fn closed(self) -> (Vec<Value>, Closing) {
        let frames = self.read_until(|_| false).await;
        self.session.await.expect("a session that ends");
        let closing = self.link.state.lock().unwrap().closing.take();
        (frames, closing.expect("a reason"))
    }
}

/// The whole text frames in `bytes`.
fn frames(bytes: &[u8]) -> Vec<Value> {
    let (mut at, mut frames) = (0, vec![]);
    while let Some(length) = server_frame_bytes(&bytes[at..])
        && at + length <= bytes.len()
    {
        let header = if bytes[at + 1] < 126 { 2 } else { 4 };
        frames.push(serde_json::from_slice(&bytes[at + header..at + length]).expect("JSON"));
        at += length;
    }
    frames
}
