//! A client that does as it is told, right or wrong: bytes, frames, commands, and every way to leave.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use serde_json::Value;
use skynet_bench::websocket::{self, BINARY, CLOSE, PING, PONG, TEXT};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{
    ledger::Id,
    problem::{During, Outcome, Problem, ensure, soon},
};

/// What every frame is masked with.
pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a hub sent.
#[derive(Debug, Clone)]
pub struct Frame {
    /// What it is for.
    pub opcode: u8,
    /// What it holds.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code and the reason of a close frame.
    pub fn close(&self) -> Option<(u16, String)> {
        let (code, reason) = self.payload.split_first_chunk()?;
        (self.opcode == CLOSE)
            .then(|| (u16::from_be_bytes(*code), String::from_utf8_lossy(reason).into_owned()))
    }

    fn json(&self) -> Outcome<Value> {
        serde_json::from_slice(&self.payload)
            .during(format_args!("{:?}", String::from_utf8_lossy(&self.payload)))
    }
}

/// A connection to a hub, or to something in front of it.
pub struct Client {
    stream: TcpStream,
    read: Vec<u8>,
    events: VecDeque<Value>,
}

impl Client {
    /// A connection without a handshake.
    ///
    /// # Errors
    /// Nobody accepts it.
    pub async fn tcp(address: SocketAddr) -> Outcome<Client> {
        Self::over(soon("the hub accepts", socket()?.connect(address)).await??)
    }

    fn over(stream: TcpStream) -> Outcome<Client> {
        stream.set_nodelay(true)?;
        Ok(Client { stream, read: Vec::new(), events: VecDeque::new() })
    }

    /// A websocket.
    ///
    /// # Errors
    /// The hub does not take it.
    pub async fn connect(address: SocketAddr) -> Outcome<Client> {
        let mut client = Client::tcp(address).await?;
        client.shake(address).await?;
        Ok(client)
    }

    /// A websocket whose system takes little that is not read.
    ///
    /// # Errors
    /// The hub does not take it.
    pub async fn narrow(address: SocketAddr) -> Outcome<Client> {
        let socket = socket()?;
        socket.set_recv_buffer_size(4096)?;
        let mut client = Self::over(soon("the hub accepts", socket.connect(address)).await??)?;
        client.shake(address).await?;
        Ok(client)
    }

    async fn shake(&mut self, address: SocketAddr) -> Outcome {
        self.write(&handshake(address)).await?;
        self.accepted().await
    }

    /// Waits for the answer to a handshake.
    ///
    /// # Errors
    /// It is none, or a refusal.
    pub async fn accepted(&mut self) -> Outcome {
        let answer = async {
            loop {
                if let Some(end) = websocket::accepted(&self.read)? {
                    self.read.drain(..end);
                    return Ok(());
                }
                let got = self.stream.read_buf(&mut self.read).await?;
                ensure(got > 0, || "the connection ended in the handshake".into())?;
            }
        };
        soon("the answer to the handshake", answer).await?
    }

    /// The status of the answer to a request, or none when the connection ended without.
    ///
    /// # Errors
    /// Neither comes.
    pub async fn status(&mut self) -> Outcome<Option<u16>> {
        let answer = async {
            while !self.read.windows(4).any(|four| four == b"\r\n\r\n") {
                match self.stream.read_buf(&mut self.read).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
            String::from_utf8_lossy(&self.read).split(' ').nth(1)?.parse().ok()
        };
        soon("an answer or the end", answer).await
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection is over, or takes nothing.
    pub async fn write(&mut self, bytes: &[u8]) -> Outcome {
        soon("the hub takes bytes", self.stream.write_all(bytes)).await??;
        Ok(())
    }

    /// Sends a command.
    ///
    /// # Errors
    /// As [`Client::write`].
    pub async fn send(&mut self, command: &str) -> Outcome {
        self.write(&masked(TEXT, command.as_bytes())).await
    }

    /// The next frame of any kind; none at the end of the connection, by a reset too.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = websocket::decode(&self.read) {
                let payload = self.read[frame.start..frame.end].to_vec();
                self.read.drain(..frame.end);
                return Some(Frame { opcode: frame.opcode, payload });
            }
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next frame that is data or a close; pings are answered.
    pub async fn told(&mut self) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            match frame.opcode {
                // Who cannot be answered any more will meet the end.
                PING => drop(self.stream.write_all(&masked(PONG, &frame.payload)).await),
                PONG => {}
                _ => return Some(frame),
            }
        }
    }

    /// Sends a command and waits for its reply; events that come before it are kept.
    ///
    /// # Errors
    /// There is none, or it is an error.
    pub async fn command(&mut self, command: &str) -> Outcome<Value> {
        self.send(command).await?;
        self.reply().await
    }

    /// The next reply.
    ///
    /// # Errors
    /// There is none, or it is an error.
    pub async fn reply(&mut self) -> Outcome<Value> {
        loop {
            let frame = soon("a reply", self.told()).await?;
            let frame =
                frame.ok_or_else(|| Problem("the connection ended before a reply".into()))?;
            if let Some((code, reason)) = frame.close() {
                return Err(Problem(format!("closed with {code} before a reply: {reason}")));
            }
            let value = frame.json()?;
            match value["type"].as_str() {
                Some("result") => return Ok(value),
                Some("error") => return Err(Problem(value["error"].to_string())),
                _ => self.events.push_back(value),
            }
        }
    }

    /// Opens a channel.
    ///
    /// # Errors
    /// The hub does not say so.
    pub async fn open(&mut self, channel: &str) -> Outcome {
        self.command(&format!(r#"{{"type":"open","channel":"{channel}"}}"#)).await?;
        Ok(())
    }

    /// Sends a message and waits until it is acknowledged.
    ///
    /// # Errors
    /// It is not.
    pub async fn publish(&mut self, channel: &str, message: &str) -> Outcome<Id> {
        let reply = self.command(&publication(channel, message)).await?;
        Id::of(&reply).ok_or_else(|| Problem(format!("no ID in {reply}")))
    }

    /// The next event of the connection; none when it ended, with the code of its close frame.
    ///
    /// # Errors
    /// What came is neither.
    pub async fn event(&mut self) -> Outcome<Result<Value, Option<u16>>> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Ok(event));
        }
        let Some(frame) = self.told().await else { return Ok(Err(None)) };
        match frame.close() {
            Some((code, _)) => Ok(Err(Some(code))),
            None => frame.json().map(Ok),
        }
    }

    /// Leaves with a close frame, and waits for its answer and the end.
    ///
    /// # Errors
    /// They do not come.
    pub async fn leave(&mut self) -> Outcome {
        self.write(&masked(CLOSE, &1000_u16.to_be_bytes())).await?;
        soon("the end after a close", async { while self.next().await.is_some() {} }).await
    }

    /// Ends its side of the stream.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn finish(&mut self) -> Outcome {
        Ok(self.stream.shutdown().await?)
    }

    /// Leaves by a reset.
    pub fn reset(self) {
        // Without it the end is an ordinary one: the scene would see the other reason.
        self.stream.set_zero_linger().expect("a socket can be told to linger");
    }
}

/// A socket with one of several source addresses, so that the ports of none run out.
fn socket() -> Outcome<TcpSocket> {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let socket = TcpSocket::new_v4()?;
    let source = [127, 0, 0, 2 + NEXT.fetch_add(1, Relaxed) % 32];
    socket.bind(SocketAddr::from((source, 0)))?;
    Ok(socket)
}

/// A whole frame of a client.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    websocket::encode(&mut bytes, opcode, payload, MASK);
    bytes
}

/// The request that opens a websocket.
pub fn handshake(address: SocketAddr) -> Vec<u8> {
    websocket::handshake(&address.to_string(), "/connect", None)
}

/// The command that sends a message; `message` is JSON.
pub fn publication(channel: &str, message: &str) -> String {
    format!(r#"{{"type":"message","channel":"{channel}","message":{message}}}"#)
}

/// The frame that opens a channel in CBOR.
pub fn cbor_open(channel: &str) -> Vec<u8> {
    let mut bytes = vec![0x82, 0x00];
    cbor_text(&mut bytes, channel);
    masked(BINARY, &bytes)
}

/// The frame that sends two numbers as an array to a channel in CBOR.
pub fn cbor_publication(channel: &str, numbers: [u64; 2]) -> Vec<u8> {
    let mut bytes = vec![0x82, 0x02, 0xa2];
    cbor_text(&mut bytes, "channel");
    cbor_text(&mut bytes, channel);
    cbor_text(&mut bytes, "message");
    bytes.push(0x82);
    for number in numbers {
        bytes.push(0x1b);
        bytes.extend(number.to_be_bytes());
    }
    masked(BINARY, &bytes)
}

/// A text of at most 255 bytes.
fn cbor_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend([0x78, text.len() as u8]);
    bytes.extend(text.as_bytes());
}
