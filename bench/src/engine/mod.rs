//! The connections, the loop, and the books of what was sent and what came.
//!
//! Which connections there are and when they publish is the scenario's business. A connection that
//! fails is counted and said on standard error; it ends nothing.

mod connection;
mod publish;
mod receive;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;

pub use connection::{Connection, Counts, Faults, Phase, Role};
pub use publish::Until;

use crate::dialect::Dialect;
use crate::histogram::Histogram;
use crate::options::Options;
use crate::socket::{self, Interest, Moved, Poller, now};
use crate::websocket;

/// Read from a socket at once.
const CHUNK: usize = 256 << 10;
/// A hub that brings nothing forward for so long has failed, in nanoseconds.
const PATIENCE: u64 = 10_000_000_000;
/// What the kernel keeps, in bytes, of what a client that never reads was sent.
const STALLED_BUFFER: usize = 4096;
/// Faults that are said in words; the rest is counted.
const TOLD: u32 = 5;

/// A client that publishes.
struct Publisher {
    connection: usize,
    channel: u32,
    /// The number of its next message.
    number: u32,
    /// Messages sent in this phase.
    sent: u64,
    /// Deliveries of them.
    received: u64,
    /// Connections that receive each.
    audience: u64,
}

/// All connections of a run.
pub struct Engine {
    address: SocketAddrV4,
    path: String,
    dialect: Dialect,
    echo: bool,
    size: usize,
    sample: u32,
    concurrency: usize,
    sources: u32,
    entries: usize,
    poller: Poller,
    connections: Vec<Connection>,
    channels: Vec<String>,
    channel_numbers: HashMap<String, u32>,
    publishers: Vec<Publisher>,
    /// Connections begun, those that ended included; the others follow them.
    begun: usize,
    ready: usize,
    ended: usize,
    buffer: Vec<u8>,
    frame: Vec<u8>,
    /// Where markers stand in deliveries.
    hint: usize,
    /// Whether readers ask again.
    reading: bool,
    /// Log replies that are awaited.
    logs_awaited: u64,
    /// Answers to the messages of this phase.
    answered: u64,
    told: u32,
    /// What was done since [`Engine::restart_counts`].
    pub counts: Counts,
    /// What went wrong at any time.
    pub faults: Faults,
    /// Clients that never read and that the hub has disconnected.
    pub stalled_gone: u64,
    /// From when a message was due to its delivery; before, from a connection's begin to its end.
    pub delays: Histogram,
    /// How late messages were sent.
    pub lateness: Histogram,
    /// From the request for the log to the reply.
    pub log_delays: Histogram,
}

impl Engine {
    /// An engine without connections.
    pub fn new(options: &Options) -> Result<Engine, String> {
        Ok(Engine {
            address: options.address,
            path: options.path.clone(),
            dialect: options.dialect,
            echo: options.echo,
            size: options.size,
            sample: options.sample,
            concurrency: options.concurrency as usize,
            sources: options.sources,
            entries: options.entries,
            poller: Poller::new()?,
            connections: Vec::new(),
            channels: Vec::new(),
            channel_numbers: HashMap::new(),
            publishers: Vec::new(),
            begun: 0,
            ready: 0,
            ended: 0,
            buffer: vec![0; CHUNK],
            frame: Vec::new(),
            hint: 0,
            reading: false,
            logs_awaited: 0,
            answered: 0,
            told: 0,
            counts: Counts::default(),
            faults: Faults::default(),
            stalled_gone: 0,
            delays: Histogram::default(),
            lateness: Histogram::default(),
            log_delays: Histogram::default(),
        })
    }

    /// A client that neither publishes nor is to receive our messages.
    pub fn add(&mut self, role: Role, channel: Option<&str>) -> usize {
        let index = self.connections.len();
        let channel = channel.map(|name| self.channel(name));
        self.connections.push(Connection::new(role, channel, index));
        index
    }

    /// A client that publishes into a channel, without listening. Returns which publisher it is.
    pub fn add_publisher(&mut self, channel: &str) -> u32 {
        let connection = self.add(Role::Publisher, None);
        self.publishes(connection, channel)
    }

    /// A client that opens a channel and receives the messages of `count` publishers from `first` on.
    pub fn add_listener(&mut self, channel: &str, first: u32, count: u32) {
        let index = self.add(Role::Listener, Some(channel));
        self.hears(index, first, count);
    }

    /// So many clients that open a channel and publish into it, before there are other publishers.
    pub fn add_speakers(&mut self, channel: &str, count: u32) {
        for _ in 0..count {
            let connection = self.add(Role::Speaker, Some(channel));
            self.publishes(connection, channel);
        }
        for publisher in 0..count as usize {
            self.hears(self.publishers[publisher].connection, 0, count);
            if !self.echo {
                self.publishers[publisher].audience -= 1;
            }
        }
    }

    fn publishes(&mut self, connection: usize, channel: &str) -> u32 {
        let channel = self.channel(channel);
        let index = self.publishers.len();
        self.publishers.push(Publisher {
            connection,
            channel,
            number: 0,
            sent: 0,
            received: 0,
            audience: 0,
        });
        index as u32
    }

    fn hears(&mut self, connection: usize, first: u32, count: u32) {
        let connection = &mut self.connections[connection];
        connection.first = first;
        connection.next = vec![0; count as usize];
        for publisher in &mut self.publishers[first as usize..(first + count) as usize] {
            publisher.audience += 1;
        }
    }

    fn channel(&mut self, name: &str) -> u32 {
        if let Some(number) = self.channel_numbers.get(name) {
            return *number;
        }
        let number = self.channels.len() as u32;
        self.channels.push(name.to_owned());
        self.channel_numbers.insert(name.to_owned(), number);
        number
    }

    /// Begins every connection that is not begun, so many at a time, and waits until all are ready
    /// or over. Returns the seconds that took.
    pub fn connect(&mut self) -> Result<f64, String> {
        socket::room_for(self.connections.len())?;
        let from = now();
        let (mut progress, mut last) = (from, 0);
        while self.ready + self.ended < self.connections.len() {
            while self.begun < self.connections.len()
                && self.begun - self.ready - self.ended < self.concurrency
            {
                self.begin(self.begun)?;
                self.begun += 1;
            }
            self.poll(100_000_000)?;
            if self.ready + self.ended != last {
                (progress, last) = (now(), self.ready + self.ended);
            } else if now() - progress > PATIENCE {
                return Err(format!(
                    "no connection became ready for {} s: {} of {} are",
                    PATIENCE / 1_000_000_000,
                    self.ready,
                    self.connections.len()
                ));
            }
        }
        Ok((now() - from) as f64 / 1e9)
    }

    fn begin(&mut self, index: usize) -> Result<(), String> {
        let source = (self.sources > 1).then(|| {
            Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + index as u32 % self.sources)
        });
        let connection = &mut self.connections[index];
        let buffer = (connection.role == Role::Stalled).then_some(STALLED_BUFFER);
        let socket = socket::connect(self.address, source, buffer)?;
        self.poller.add(socket.as_fd(), index as u64, Interest::OUT)?;
        connection.socket = Some(socket);
        connection.phase = Phase::Connecting;
        connection.since = now();
        Ok(())
    }

    /// Forgets what was done, but nothing that went wrong.
    pub fn restart_counts(&mut self) {
        self.counts = Counts::default();
        self.delays.clear();
        self.lateness.clear();
        self.log_delays.clear();
    }

    /// In how many orders listeners of the same publishers received what those sent; 1 where all
    /// agree.
    pub fn orders(&self) -> usize {
        let mut orders: BTreeMap<(u32, usize), HashSet<u64>> = BTreeMap::new();
        for connection in &self.connections {
            if connection.role == Role::Listener {
                let heard = (connection.first, connection.next.len());
                orders.entry(heard).or_default().insert(connection.order);
            }
        }
        orders.values().map(HashSet::len).max().unwrap_or(1)
    }

    /// Answers what is to be answered, and does nothing else, for so long in nanoseconds.
    pub fn rest(&mut self, duration: u64) -> Result<(), String> {
        let end = now() + duration;
        while now() < end {
            self.poll(end.saturating_sub(now()))?;
        }
        Ok(())
    }

    /// Waits for sockets, at most so many nanoseconds, and serves them.
    fn poll(&mut self, timeout: u64) -> Result<(), String> {
        self.poller.wait(Some(timeout))?;
        for event in 0..self.poller.count() {
            let event = self.poller.event(event);
            let index = event.token as usize;
            let connection = &self.connections[index];
            if connection.role == Role::Stalled && connection.phase == Phase::Ready {
                self.end(index);
                self.stalled_gone += 1;
                continue;
            }
            if event.ready.contains(Interest::OUT) {
                self.writable(index)?;
            }
            if event.ready.intersects(Interest::IN | Interest::HUP | Interest::ERR) {
                self.readable(index)?;
            }
        }
        Ok(())
    }

    fn writable(&mut self, index: usize) -> Result<(), String> {
        let connection = &mut self.connections[index];
        let Some(socket) = &connection.socket else {
            return Ok(());
        };
        if connection.phase == Phase::Connecting {
            if let Err(problem) = socket::connected(socket) {
                self.fail(index, &problem);
                return Ok(());
            }
            connection.phase = Phase::Upgrading;
            self.poller.change(socket.as_fd(), index as u64, Interest::IN)?;
            let subprotocol = self.dialect.subprotocol();
            let request = websocket::handshake(&self.address.to_string(), &self.path, subprotocol);
            return self.write(index, &request);
        }
        let unsent = std::mem::take(&mut connection.unsent);
        // Watched for writing again, should the socket not take all of it.
        self.poller.change(socket.as_fd(), index as u64, Interest::IN)?;
        self.write(index, &unsent)
    }

    /// Sends one frame.
    fn send(&mut self, index: usize, opcode: u8, payload: &[u8]) -> Result<(), String> {
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        websocket::encode(&mut frame, opcode, payload, self.connections[index].mask);
        let sent = self.write(index, &frame);
        self.frame = frame;
        sent
    }

    /// Writes what the socket takes, and keeps the rest for later.
    fn write(&mut self, index: usize, bytes: &[u8]) -> Result<(), String> {
        let connection = &mut self.connections[index];
        let Some(socket) = &connection.socket else {
            return Ok(());
        };
        if !connection.unsent.is_empty() {
            connection.unsent.extend_from_slice(bytes);
            return Ok(());
        }
        let taken = match socket::write(socket, bytes) {
            Ok(Moved::Bytes(taken)) => taken,
            Ok(Moved::Nothing) => 0,
            Err(problem) => {
                self.fail(index, &problem);
                return Ok(());
            }
        };
        if taken < bytes.len() {
            connection.unsent.extend_from_slice(&bytes[taken..]);
            self.poller.change(socket.as_fd(), index as u64, Interest::IN | Interest::OUT)?;
        }
        Ok(())
    }

    /// A connection that should be there is not, or says what it should not.
    fn fail(&mut self, index: usize, why: &str) {
        if self.connections[index].phase == Phase::Gone {
            return;
        }
        self.tell(&format!("connection {index} is lost: {why}"));
        self.faults.gone += 1;
        self.end(index);
    }

    fn end(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if connection.phase == Phase::Ready {
            self.ready -= 1;
        }
        self.ended += 1;
        connection.phase = Phase::Gone;
        if let Some(socket) = connection.socket.take() {
            socket::reset(socket);
        }
    }

    /// Says a fault, unless enough were said.
    fn tell(&mut self, what: &str) {
        self.told += 1;
        if self.told <= TOLD {
            eprintln!("skynet-load: {what}");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for connection in &mut self.connections {
            if let Some(socket) = connection.socket.take() {
                socket::reset(socket);
            }
        }
    }
}
