//! One connection, and what is counted over all of them.

use std::os::fd::OwnedFd;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not begun.
    New,
    /// TCP is connecting.
    Connecting,
    /// The websocket is being opened.
    Upgrading,
    /// The answer to this step of the greeting is awaited.
    Greeting(usize),
    /// All said and answered.
    Ready,
    /// Over.
    Gone,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To be there.
    Idle,
    /// Receives messages, each checked.
    Listener,
    /// Sends messages.
    Publisher,
    /// Both.
    Speaker,
    /// Subscribes and never reads.
    Stalled,
    /// Asks for the log.
    Reader,
}

/// A connection to the hub.
pub struct Connection {
    /// None before it is begun and after it has ended.
    pub socket: Option<OwnedFd>,
    /// How far it has come.
    pub phase: Phase,
    /// What it is for.
    pub role: Role,
    /// The channel it opens, among those of the engine.
    pub channel: Option<u32>,
    /// What its frames are masked with.
    pub mask: [u8; 4],
    /// The beginning of a frame that is not all there.
    pub partial: Vec<u8>,
    /// The beginning of a record that is not all there, where records are no frames.
    pub stream: Vec<u8>,
    /// What the socket did not take.
    pub unsent: Vec<u8>,
    /// The first of the publishers that it hears.
    pub first: u32,
    /// The number of the next message of each of them.
    pub next: Vec<u32>,
    /// What it received from several publishers, in order, as one number.
    pub order: u64,
    /// When it was begun, or last asked for the log.
    pub since: u64,
}

impl Connection {
    /// A connection that is not begun yet.
    pub fn new(role: Role, channel: Option<u32>, index: usize) -> Connection {
        // Any mask will do that is not all zero in one byte.
        let mask = (index as u32).wrapping_mul(0x9e37_79b9) | 0x0101_0101;
        Connection {
            socket: None,
            phase: Phase::New,
            role,
            channel,
            mask: mask.to_be_bytes(),
            partial: Vec::new(),
            stream: Vec::new(),
            unsent: Vec::new(),
            first: 0,
            next: Vec::new(),
            order: 0,
            since: 0,
        }
    }
}

/// What must not happen, from the first connection to the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Deliveries that never came.
    pub lost: u64,
    /// Deliveries beyond those that were due.
    pub surplus: u64,
    /// Deliveries that were not the publisher's next message.
    pub out_of_order: u64,
    /// Deliveries that say nothing, are not whole, or were not for this listener.
    pub malformed: u64,
    /// Messages that were not answered, where they are.
    pub unanswered: u64,
    /// Errors that the hub answered with.
    pub refused: u64,
    /// Connections that ended by themselves, those that never read aside.
    pub gone: u64,
}

impl Faults {
    /// Whether there are none.
    pub fn none(&self) -> bool {
        let Faults { lost, surplus, out_of_order, malformed, unanswered, refused, gone } = *self;
        [lost, surplus, out_of_order, malformed, unanswered, refused, gone].iter().all(|n| *n == 0)
    }
}

/// What was done since the last time it was set to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Messages sent.
    pub published: u64,
    /// Messages received.
    pub deliveries: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Answers to messages.
    pub answers: u64,
    /// Log replies received.
    pub logs: u64,
    /// Bytes of them.
    pub log_bytes: u64,
    /// When the first message was sent.
    pub begun: u64,
    /// When the last delivery came.
    pub ended: u64,
}

impl Counts {
    /// Seconds from the first message to the last delivery.
    pub fn seconds(&self) -> f64 {
        self.ended.saturating_sub(self.begun).max(1) as f64 / 1e9
    }
}
