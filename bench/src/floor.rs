//! The least a hub in a process of its own can do: one thread, one epoll set, no parser, no log, no
//! limits; it adds an ID and a time to the text it was sent and writes that to the channel's sockets.
//!
//! It is what others are measured against, not something to use: it knows only the two commands that
//! the generator sends, finds the channel's name without reading the rest, and keeps whatever a
//! socket does not take. `each` writes each message to each socket at once, as a server does that
//! sends where it publishes; `coalesce` writes once to each socket for all that one look at the
//! sockets brought. Then a sender that listens hears itself, too.

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;

use crate::socket::{self, Interest, Moved, Poller};
use crate::websocket;

/// Read from a socket at once.
const CHUNK: usize = 256 << 10;
/// The longest beginning of a frame that is kept; who sends a longer one is disconnected.
const LONGEST: usize = 1 << 20;
/// The token of the listener; connections have smaller ones.
const LISTENER: u64 = u64::MAX;
/// The channel that hears all others.
const EVERYTHING: &[u8] = b"*";
/// What RFC 6455 adds to a key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const MESSAGE: &[u8] = br#"{"type":"message""#;
const OPEN: &[u8] = br#"{"type":"open""#;

/// When it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// One write for each message and socket.
    Each,
    /// One write for each socket and look at the sockets.
    Coalesce,
}

struct Peer {
    /// None once it is gone.
    socket: Option<OwnedFd>,
    upgraded: bool,
    partial: Vec<u8>,
    unsent: Vec<u8>,
}

#[derive(Default)]
struct Channel {
    listeners: Vec<usize>,
    /// Frames for all of them.
    pending: Vec<u8>,
    dirty: bool,
}

/// The server.
pub struct Floor {
    mode: Mode,
    listener: TcpListener,
    poller: Poller,
    peers: Vec<Peer>,
    channels: Vec<Channel>,
    numbers: HashMap<Vec<u8>, usize>,
    dirty: Vec<usize>,
    answers: Vec<(usize, Vec<u8>)>,
    messages: u64,
}

impl Floor {
    /// Listens on 127.0.0.1.
    pub fn new(port: u16, mode: Mode) -> Result<Floor, String> {
        let listener = socket::listen(port)?;
        let poller = Poller::new()?;
        poller.add(listener.as_fd(), LISTENER, Interest::IN)?;
        Ok(Floor {
            mode,
            listener,
            poller,
            peers: Vec::new(),
            channels: vec![Channel::default()],
            numbers: HashMap::from([(EVERYTHING.to_vec(), 0)]),
            dirty: Vec::new(),
            answers: Vec::new(),
            messages: 0,
        })
    }

    /// Serves until something fails that is not a client's.
    pub fn run(mut self) -> Result<(), String> {
        let mut buffer = Vec::new();
        loop {
            self.poller.wait(None)?;
            for event in 0..self.poller.count() {
                let event = self.poller.event(event);
                if event.token == LISTENER {
                    self.accept()?;
                    continue;
                }
                let index = event.token as usize;
                if event.ready.contains(Interest::OUT) {
                    let unsent = std::mem::take(&mut self.peers[index].unsent);
                    self.watch(index, Interest::IN)?;
                    self.write(index, &unsent)?;
                }
                if event.ready.intersects(Interest::IN | Interest::HUP | Interest::ERR) {
                    self.read(index, &mut buffer)?;
                }
            }
            self.flush()?;
        }
    }

    fn accept(&mut self) -> Result<(), String> {
        while let Some(socket) = socket::accept(&self.listener)? {
            self.poller.add(socket.as_fd(), self.peers.len() as u64, Interest::IN)?;
            self.peers.push(Peer {
                socket: Some(socket),
                upgraded: false,
                partial: Vec::new(),
                unsent: Vec::new(),
            });
        }
        Ok(())
    }

    fn watch(&self, index: usize, interest: Interest) -> Result<(), String> {
        match &self.peers[index].socket {
            Some(socket) => self.poller.change(socket.as_fd(), index as u64, interest),
            None => Ok(()),
        }
    }

    fn forget(&mut self, index: usize) {
        self.peers[index].socket = None;
        for channel in &mut self.channels {
            channel.listeners.retain(|listener| *listener != index);
        }
    }

    fn write(&mut self, index: usize, bytes: &[u8]) -> Result<(), String> {
        let peer = &mut self.peers[index];
        let Some(socket) = &peer.socket else {
            return Ok(());
        };
        if !peer.unsent.is_empty() {
            peer.unsent.extend_from_slice(bytes);
            return Ok(());
        }
        let taken = match socket::write(socket, bytes) {
            Ok(Moved::Bytes(taken)) => taken,
            Ok(Moved::Nothing) => 0,
            // Reading will tell that it is gone.
            Err(_) => return Ok(()),
        };
        if taken < bytes.len() {
            peer.unsent.extend_from_slice(&bytes[taken..]);
            self.watch(index, Interest::IN | Interest::OUT)?;
        }
        Ok(())
    }

    fn read(&mut self, index: usize, buffer: &mut Vec<u8>) -> Result<(), String> {
        let peer = &mut self.peers[index];
        let Some(socket) = &peer.socket else {
            return Ok(());
        };
        let old = peer.partial.len();
        if buffer.len() < old + CHUNK {
            buffer.resize(old + CHUNK, 0);
        }
        let end = match socket::read(socket, &mut buffer[old..]) {
            Ok(Moved::Nothing) => return Ok(()),
            Ok(Moved::Bytes(read)) if read > 0 => old + read,
            _ => {
                self.forget(index);
                return Ok(());
            }
        };
        buffer[..old].copy_from_slice(&peer.partial);
        peer.partial.clear();
        let taken = self.feed(index, &mut buffer[..end])?;
        if end - taken > LONGEST {
            self.forget(index);
            return Ok(());
        }
        self.peers[index].partial.extend_from_slice(&buffer[taken..end]);
        Ok(())
    }

    /// Takes what is whole; returns the bytes taken.
    fn feed(&mut self, index: usize, bytes: &mut [u8]) -> Result<usize, String> {
        if !self.peers[index].upgraded {
            return self.upgrade(index, bytes);
        }
        let mut taken = 0;
        while let Some(frame) = websocket::decode(&bytes[taken..]) {
            let payload = &mut bytes[taken + frame.start..taken + frame.end];
            websocket::unmask(payload, frame.mask.unwrap_or_default());
            if frame.opcode == websocket::TEXT {
                self.command(index, payload)?;
            }
            taken += frame.end;
        }
        Ok(taken)
    }

    fn upgrade(&mut self, index: usize, request: &[u8]) -> Result<usize, String> {
        let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(0);
        };
        let head = String::from_utf8_lossy(&request[..end]);
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let Some(key) = key else {
            self.write(index, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")?;
            self.forget(index);
            return Ok(request.len());
        };
        let mut hash = sha1_smol::Sha1::from(key.trim_end());
        hash.update(GUID);
        let accept = STANDARD.encode(hash.digest().bytes());
        self.peers[index].upgraded = true;
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.write(index, answer.as_bytes())?;
        Ok(end + 4)
    }

    fn command(&mut self, index: usize, text: &[u8]) -> Result<(), String> {
        let Some(name) = channel_name(text) else {
            return Ok(());
        };
        let channel = self.channel(name);
        if text.starts_with(OPEN) {
            self.channels[channel].listeners.push(index);
            return self
                .write(index, &frame(&[br#"{"type":"result","for":"open","channels":[]}"#]));
        }
        let Some(rest) = text.strip_prefix(MESSAGE).and_then(|rest| rest.strip_suffix(b"}")) else {
            return Ok(());
        };
        self.messages += 1;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let tail = format!(r#","ID":"{:032x}","time":{time}}}"#, self.messages);
        let event = frame(&[MESSAGE, rest, tail.as_bytes()]);
        let answer = frame(&[br#"{"type":"result","for":"message""#, rest, tail.as_bytes()]);
        let heard = if channel == 0 { &[0][..] } else { &[channel, 0][..] };
        if self.mode == Mode::Each {
            self.write(index, &answer)?;
            for channel in heard {
                let listeners = std::mem::take(&mut self.channels[*channel].listeners);
                for listener in listeners.iter().filter(|listener| **listener != index) {
                    self.write(*listener, &event)?;
                }
                self.channels[*channel].listeners = listeners;
            }
            return Ok(());
        }
        match self.answers.last_mut() {
            Some((last, answers)) if *last == index => answers.extend_from_slice(&answer),
            _ => self.answers.push((index, answer)),
        }
        for &number in heard {
            let channel = &mut self.channels[number];
            if channel.listeners.is_empty() {
                continue;
            }
            channel.pending.extend_from_slice(&event);
            if !channel.dirty {
                channel.dirty = true;
                self.dirty.push(number);
            }
        }
        Ok(())
    }

    /// Writes what `coalesce` has kept.
    fn flush(&mut self) -> Result<(), String> {
        for (index, answer) in std::mem::take(&mut self.answers) {
            self.write(index, &answer)?;
        }
        for number in std::mem::take(&mut self.dirty) {
            let channel = &mut self.channels[number];
            channel.dirty = false;
            let mut pending = std::mem::take(&mut channel.pending);
            let listeners = std::mem::take(&mut channel.listeners);
            for listener in &listeners {
                self.write(*listener, &pending)?;
            }
            pending.clear();
            let channel = &mut self.channels[number];
            (channel.pending, channel.listeners) = (pending, listeners);
        }
        Ok(())
    }

    fn channel(&mut self, name: &[u8]) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.channels.push(Channel::default());
        self.numbers.insert(name.to_vec(), self.channels.len() - 1);
        self.channels.len() - 1
    }
}

/// The channel's name, which must need no escaping.
fn channel_name(text: &[u8]) -> Option<&[u8]> {
    const KEY: &[u8] = br#""channel":""#;
    let start = text.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let length = text[start..].iter().position(|&byte| byte == b'"')?;
    Some(&text[start..start + length])
}

fn frame(parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut frame = Vec::with_capacity(length + 10);
    websocket::server_head(&mut frame, websocket::TEXT, length);
    for part in parts {
        frame.extend_from_slice(part);
    }
    frame
}
