//! A websocket client of ours: it writes any bytes and frames it is told to, right or wrong, and
//! reads strictly: what the hub may not send (masks, fragments, compression, reserved bits,
//! long-winded lengths, frames over the limit, text that is not UTF-8, keys given twice) panics.

use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    DEADLINE,
    http::{self, Response},
    json::{self, Json},
};

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
/// The bit of the first byte that ends a message.
pub const FIN: u8 = 0x80;

/// The key that [`upgrade`] sends and its answer, as RFC 6455 gives them.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// What no frame of the hub exceeds, unless the configuration says less.
const LARGEST: usize = 131_072;

/// The request of a proper handshake.
pub fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

/// A frame with the shortest length there is: the first byte is written as given.
pub fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = vec![first];
    let bit = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..126 => bytes.push(bit | short as u8),
        medium @ 126..0x1_0000 => {
            bytes.push(bit | 126);
            bytes.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(bit | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    let mask = mask.inspect(|mask| bytes.extend_from_slice(mask));
    let key = mask.unwrap_or_default().into_iter().cycle();
    bytes.extend(payload.iter().zip(key).map(|(byte, key)| byte ^ key));
    bytes
}

/// A whole masked frame, as a proper client sends it.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(FIN | opcode, payload, Some(MASK))
}

/// One part of a fragmented message, masked, not the last.
pub fn fragment(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(opcode, payload, Some(MASK))
}

/// A frame that the hub sent; it has passed the strict reader.
#[derive(Debug, PartialEq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Takes one frame from the front; nothing when it is not all there yet.
    fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        assert_eq!(first & FIN, FIN, "the hub never fragments");
        assert_eq!(first & 0x70, 0, "no reserved bit is set: nothing is ever compressed");
        assert_eq!(second & 0x80, 0, "a server's frames carry no mask");
        let opcode = first & 0xf;
        let known = [TEXT, BINARY, CLOSE, PING, PONG].contains(&opcode);
        assert!(known, "opcode {opcode} is a known one");
        let (length, head) = match second {
            126 => (u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into(), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (short.into(), 2),
        };
        let shortest = match length {
            0..126 => 2,
            126..0x1_0000 => 4,
            _ => 10,
        };
        assert_eq!(head, shortest, "a length of {length} is written the short way");
        let length = length as usize;
        let most = if opcode & 8 == 0 { LARGEST } else { 125 };
        assert!(length <= most, "a frame of {length} bytes is within {most}");
        let payload = bytes.get(head..head + length)?.to_vec();
        Some((Frame { opcode, payload }, head + length))
    }

    /// The text of a text frame; its keys are given once each.
    pub fn text(self) -> String {
        assert_eq!(self.opcode, TEXT, "a text frame, not {self:?}");
        let text = String::from_utf8(self.payload).expect("text frames are UTF-8");
        let mut keys = HashSet::new();
        for (key, _) in json::members(&text).expect("what the hub sends is a JSON object") {
            assert!(keys.insert(key.clone()), "{key:?} is there once in {text}");
        }
        text
    }

    /// The code and reason of a close frame; no code when it is empty.
    pub fn close(self) -> (Option<u16>, String) {
        assert_eq!(self.opcode, CLOSE, "a close frame, not {self:?}");
        assert_ne!(self.payload.len(), 1, "a close has no payload or a code");
        let Some((code, reason)) = self.payload.split_first_chunk::<2>() else {
            return (None, String::new());
        };
        let reason = String::from_utf8(reason.to_vec()).expect("a reason is UTF-8");
        (Some(u16::from_be_bytes(*code)), reason)
    }
}

/// A connection to the hub.
pub struct Raw<S = TcpStream> {
    stream: S,
    inbox: Vec<u8>,
    taken: usize,
    events: VecDeque<String>,
}

impl Raw {
    /// A connection on which nothing has been said yet.
    pub async fn tcp(address: SocketAddr) -> Raw {
        let stream = timeout(DEADLINE, TcpStream::connect(address)).await;
        Raw::on(stream.expect("connects in time").expect("connects"))
    }

    fn on(stream: TcpStream) -> Raw {
        stream.set_nodelay(true).expect("nodelay can be set");
        Raw::over(stream)
    }

    /// A client that has shaken hands at `/connect`.
    pub async fn connect(address: SocketAddr) -> Raw {
        Raw::tcp(address).await.shaken("/connect").await
    }

    /// A client that calls from a given address of this host.
    pub async fn connect_from(source: SocketAddr, address: SocketAddr) -> Raw {
        Raw::tcp_from(source, address).await.shaken("/connect").await
    }

    /// A connection from a given address of this host, on which nothing has been said yet.
    pub async fn tcp_from(source: SocketAddr, address: SocketAddr) -> Raw {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(source).expect("a source address is free");
        let stream = timeout(DEADLINE, socket.connect(address)).await;
        Raw::on(stream.expect("connects in time").expect("connects"))
    }

    /// A client whose system takes little in before its program reads, so that what it leaves
    /// unread soon piles up in the hub.
    pub async fn narrow(address: SocketAddr) -> Raw {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let stream = timeout(DEADLINE, socket.connect(address)).await;
        let stream = stream.expect("connects in time").expect("connects");
        Raw::on(stream).shaken("/connect").await
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("linger can be set");
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// A connection on which nothing has been said yet, whatever carries it.
    pub fn over(stream: S) -> Raw<S> {
        Raw { stream, inbox: Vec::new(), taken: 0, events: VecDeque::new() }
    }

    /// Shakes hands, which must succeed.
    pub async fn shaken(mut self, path: &str) -> Raw<S> {
        self.write(upgrade(path).as_bytes()).await;
        self.accepted().await;
        self
    }

    /// Reads the answer to a handshake that must succeed.
    pub async fn accepted(&mut self) -> Response {
        let response = self.answer().await.expect("an answer to the handshake");
        assert_eq!(response.status, 101, "{response:?}");
        assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT));
        for offered in ["sec-websocket-extensions", "sec-websocket-protocol"] {
            assert_eq!(response.header(offered), None, "nothing is negotiated");
        }
        let upgrade = response.header("upgrade").map(str::to_lowercase);
        assert_eq!(upgrade.as_deref(), Some("websocket"));
        response
    }

    /// Reads the head of an HTTP answer; nothing when the connection ends first.
    pub async fn answer(&mut self) -> Option<Response> {
        loop {
            if let Some(end) = http::find(&self.inbox, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.inbox[..end]).into_owned();
                self.taken = end + 4;
                return Some(Response::from_head(&head));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Reads the rest of the connection, behind the head of an answer, to its end.
    pub async fn rest(&mut self) -> String {
        while self.fill_more().await {}
        String::from_utf8_lossy(&self.inbox[self.taken..]).into_owned()
    }

    /// Writes bytes as they stand.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).await.expect("the hub takes the bytes");
    }

    /// Writes bytes to a hub that may have hung up.
    pub async fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let written = timeout(DEADLINE, self.stream.write_all(bytes)).await;
        written.expect("the hub takes the bytes in time")
    }

    /// Sends a command in a text frame.
    pub async fn send(&mut self, command: &str) {
        self.write(&masked(TEXT, command.as_bytes())).await;
    }

    /// Reads more; false at the end of the connection, however it came.
    async fn fill(&mut self) -> bool {
        self.inbox.drain(..self.taken);
        self.taken = 0;
        self.fill_more().await
    }

    async fn fill_more(&mut self) -> bool {
        let read = timeout(DEADLINE, self.stream.read_buf(&mut self.inbox)).await;
        let read = read.unwrap_or_else(|_| panic!("nothing was read for {DEADLINE:?}"));
        matches!(read, Ok(1..))
    }

    /// The next frame of any kind; nothing when the connection has ended.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, length)) = Frame::parse(&self.inbox[self.taken..]) {
                self.taken += length;
                return Some(frame);
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The next frame, which must come.
    pub async fn frame(&mut self) -> Frame {
        let frame = self.next().await;
        frame.expect("a frame before the connection ends")
    }

    /// The next text frame; pings on the way are answered.
    pub async fn text(&mut self) -> String {
        loop {
            let frame = self.frame().await;
            if frame.opcode != PING {
                return frame.text();
            }
            self.write(&masked(PONG, &frame.payload)).await;
        }
    }

    /// The next event, as it was sent.
    pub async fn event_text(&mut self) -> String {
        match self.events.pop_front() {
            Some(event) => event,
            None => {
                let text = self.text().await;
                assert!(parsed(&text).is("message"), "an event, not {text}");
                text
            }
        }
    }

    /// The next event.
    pub async fn event(&mut self) -> Json {
        parsed(&self.event_text().await)
    }

    /// The next reply, as it was sent; events before it are kept for [`Raw::event`].
    pub async fn reply_text(&mut self) -> String {
        loop {
            let text = self.text().await;
            if !parsed(&text).is("message") {
                return text;
            }
            self.events.push_back(text);
        }
    }

    /// Sends a command and returns its reply.
    pub async fn ask(&mut self, command: &str) -> Json {
        self.send(command).await;
        parsed(&self.reply_text().await)
    }

    /// Sends a command that must succeed and returns its result.
    pub async fn command(&mut self, command: &str) -> Json {
        let reply = self.ask(command).await;
        assert!(reply.is("result"), "{command:.200} succeeds: {reply:?}");
        reply
    }

    /// Sends a command that must be refused and returns the error's text.
    pub async fn refused(&mut self, command: &str) -> String {
        let reply = self.ask(command).await;
        assert!(reply.is("error"), "{command:.200} is refused: {reply:?}");
        reply.text_of("error")
    }

    /// Opens a channel, written as JSON.
    pub async fn open(&mut self, channel: &str) -> Json {
        let command = format!(r#"{{"type":"open","channel":{channel}}}"#);
        self.command(&command).await
    }

    /// Publishes a message, both written as JSON.
    pub async fn publish(&mut self, channel: &str, message: &str) -> Json {
        self.command(&publication(channel, message)).await
    }

    /// The events that were read on the way to a reply.
    pub fn kept(&mut self) -> Vec<String> {
        self.events.drain(..).collect()
    }

    /// Everything that came since it was last read, up to now: a command that is always refused
    /// marks the place, because replies do not overtake events.
    pub async fn received(&mut self) -> Vec<String> {
        let refused = self.ask(r#"{"type":"close","channel":"mark"}"#).await;
        assert!(refused.is("error"), "a mark, not {refused:?}");
        self.kept()
    }

    /// Reads a close frame, past pings and whatever `skipped` takes, and answers it; the
    /// connection must then end without a further frame.
    pub async fn closed_after(&mut self, skipped: impl FnMut(String)) -> (Option<u16>, String) {
        let closed = self.closed_or_reset_after(skipped).await;
        closed.expect("a close frame before the connection ends")
    }

    /// [`Self::closed_after`], or `None` when the connection ends without a close frame.
    pub async fn closed_or_reset_after(
        &mut self,
        mut skipped: impl FnMut(String),
    ) -> Option<(Option<u16>, String)> {
        self.events.drain(..).for_each(&mut skipped);
        loop {
            let frame = self.next().await?;
            match frame.opcode {
                PING => self.write(&masked(PONG, &frame.payload)).await,
                TEXT => skipped(frame.text()),
                _ => {
                    // The hub may hang up as soon as it has said so.
                    let _ = self.try_write(&masked(CLOSE, &frame.payload)).await;
                    assert_eq!(self.next().await, None, "nothing follows a close frame");
                    return Some(frame.close());
                }
            }
        }
    }

    /// The code of the close frame that must come next, and the end of the connection after it.
    pub async fn close_code(&mut self) -> Option<u16> {
        let (code, _) = self.closed_after(|text| panic!("a close, not {text}")).await;
        code
    }

    /// Ends this side of the connection; the other may still speak.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.expect("this side ends");
    }

    /// Splits the connection for writing and reading at once; nothing read may be left over.
    pub fn into_stream(self) -> S {
        assert_eq!(self.taken, self.inbox.len(), "nothing is left unread");
        self.stream
    }
}

/// A publication, channel and message written as JSON.
pub fn publication(channel: &str, message: &str) -> String {
    format!(r#"{{"type":"message","channel":{channel},"message":{message}}}"#)
}

/// Reads what the hub sent.
pub fn parsed(text: &str) -> Json {
    Json::parse(text).unwrap_or_else(|wrong| panic!("the hub sends JSON: {wrong}"))
}
