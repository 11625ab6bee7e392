//! The network side of the game: websockets and HTTP requests, as its Java side makes them.
//!
//! A websocket is served by a task whether or not the computer's program runs: it answers pings,
//! takes frames off the wire and puts them into the queue. Fragments are not joined, a frame over
//! the limit ends the connection, and closing is dropping the TCP connection.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc::UnboundedReceiver,
};

use super::{Shared, events::Value};
use crate::support::raw::{self, BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT};

/// What a program sends into a websocket.
pub struct Outgoing {
    pub text: Vec<u8>,
    pub binary: bool,
}

/// The parts of an address that a computer may ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub path: String,
}

impl Address {
    /// Takes an address apart; what the game says when it cannot.
    pub fn parse(url: &str, scheme: &str) -> Result<Address, String> {
        let (given, rest) = url.split_once("://").ok_or("URL malformed")?;
        if given != scheme {
            return Err(format!("Invalid scheme '{given}'"));
        }
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| "URL malformed")?),
            None => (authority, 80),
        };
        if host.is_empty() {
            return Err("URL malformed".to_owned());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Address { host: host.to_owned(), port, path })
    }

    /// Whether the owner's rules let computers go there: private addresses need one that allows it.
    fn is_permitted(&self, allowed: &[(String, u16)]) -> bool {
        let private = self.host == "localhost"
            || self
                .host
                .parse::<std::net::Ipv4Addr>()
                .is_ok_and(|ip| ip.is_loopback() || ip.is_private());
        !private || allowed.contains(&(self.host.clone(), self.port))
    }
}

/// A frame from the hub: its first byte and what it carries.
enum Incoming {
    Frame(u8, Vec<u8>),
    TooLarge,
}

/// The frame at the front of what was read, and its length on the wire.
fn parse_frame(bytes: &[u8], limit: usize) -> Option<(Incoming, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)? & 0x7f);
    let (length, head) = match second {
        126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        short => (short.into(), 2),
    };
    if length > limit as u64 {
        return Some((Incoming::TooLarge, head));
    }
    let end = head + length as usize;
    let payload = bytes.get(head..end)?.to_vec();
    Some((Incoming::Frame(first, payload), end))
}

/// Why a websocket ended: what the event says.
struct Ending {
    reason: Option<Vec<u8>>,
    code: Option<u16>,
}

impl Ending {
    fn because(reason: &str) -> Ending {
        Ending { reason: Some(reason.as_bytes().to_vec()), code: None }
    }
}

/// Serves a websocket from its address to its end.
pub async fn websocket(
    shared: Arc<Shared>,
    id: u64,
    url: String,
    headers: Vec<(String, String)>,
    mut outgoing: UnboundedReceiver<Outgoing>,
) {
    match connect(&shared, &url, &headers).await {
        Err(why) => {
            shared.forget_socket(id);
            let event = vec!["websocket_failure".into(), url.as_str().into(), why.as_str().into()];
            shared.events.push(event);
        }
        Ok((stream, unread)) => {
            let event = vec![
                "websocket_success".into(),
                url.as_str().into(),
                Value::Socket(id, url.clone()),
            ];
            shared.events.push(event);
            let ending = serve(&shared, &url, stream, unread, &mut outgoing).await;
            shared.forget_socket(id);
            if let Some(Ending { reason, code }) = ending {
                let reason = reason.filter(|text| !text.is_empty()).map_or(Value::Nil, Value::Text);
                let code = code.map_or(Value::Nil, |code| Value::Number(code.into()));
                shared.events.push(vec![
                    "websocket_closed".into(),
                    url.as_str().into(),
                    reason,
                    code,
                ]);
            }
        }
    }
}

async fn connect(
    shared: &Shared,
    url: &str,
    headers: &[(String, String)],
) -> Result<(TcpStream, Vec<u8>), String> {
    let address = Address::parse(url, "ws")?;
    if !address.is_permitted(&shared.options.allowed) {
        return Err("Domain not permitted".to_owned());
    }
    let lost = |_: io::Error| "Could not connect".to_owned();
    let target = (address.host.as_str(), address.port);
    let mut stream = TcpStream::connect(target).await.map_err(lost)?;
    let mut request = raw::upgrade(&address.path);
    request.truncate(request.len() - 2);
    request.push_str("User-Agent: computercraft/1.113.1\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(lost)?;
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = crate::support::http::find(&bytes, b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.map_err(lost)? == 0 {
            return Err("Could not connect".to_owned());
        }
    };
    let status = String::from_utf8_lossy(&bytes[..head]).lines().next().map(str::to_owned);
    let status =
        status.as_deref().and_then(|line| line.split_once(' ')).map_or("", |(_, rest)| rest);
    if !status.starts_with("101") {
        return Err(format!("Invalid handshake response getStatus: {status}"));
    }
    Ok((stream, bytes.split_off(head + 4)))
}

/// Moves frames both ways until the end; nothing when the computer itself dropped the connection.
async fn serve(
    shared: &Shared,
    url: &str,
    mut stream: TcpStream,
    mut bytes: Vec<u8>,
    outgoing: &mut UnboundedReceiver<Outgoing>,
) -> Option<Ending> {
    loop {
        while let Some((incoming, length)) = parse_frame(&bytes, shared.options.largest_frame) {
            let Incoming::Frame(first, payload) = incoming else {
                return Some(Ending::because("Could not connect"));
            };
            bytes.drain(..length);
            match first & 0xf {
                // The rest of a fragmented message vanishes.
                CONTINUATION => {}
                opcode @ (TEXT | BINARY) => {
                    let binary = opcode == BINARY;
                    let text = if binary { payload } else { shared.options.text.received(payload) };
                    let event = vec![
                        "websocket_message".into(),
                        url.into(),
                        Value::Text(text),
                        Value::Bool(binary),
                    ];
                    shared.events.push(event);
                }
                PING if stream.write_all(&raw::masked(PONG, &payload)).await.is_err() => {
                    return Some(Ending::because("Websocket is inactive"));
                }
                CLOSE => {
                    let code = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                    let reason = payload.get(2..).map(<[u8]>::to_vec);
                    return Some(Ending { reason, code });
                }
                _ => {}
            }
        }
        tokio::select! {
            read = stream.read_buf(&mut bytes) => match read {
                Ok(0) | Err(_) => return Some(Ending::because("Websocket is inactive")),
                Ok(_) => {}
            },
            message = outgoing.recv() => {
                let Outgoing { text, binary } = message?;
                let frame = if binary {
                    raw::masked(BINARY, &text)
                } else {
                    raw::masked(TEXT, &shared.options.text.sent(&text))
                };
                if stream.write_all(&frame).await.is_err() {
                    return Some(Ending::because("Websocket is inactive"));
                }
            }
        }
    }
}

/// Makes a GET request and tells of its answer.
pub async fn get(shared: Arc<Shared>, url: String) {
    let event = match exchange(&shared, &url).await {
        Ok((status, body)) if status < 400 => {
            vec!["http_success".into(), url.as_str().into(), Value::Answer(status, body)]
        }
        Ok((status, body)) => {
            let why = format!("HTTP {status}");
            let answer = Value::Answer(status, body);
            vec!["http_failure".into(), url.as_str().into(), why.as_str().into(), answer]
        }
        Err(why) => vec!["http_failure".into(), url.as_str().into(), why.as_str().into()],
    };
    shared.events.push(event);
}

async fn exchange(shared: &Shared, url: &str) -> Result<(u16, Vec<u8>), String> {
    let Address { host, port, path } = Address::parse(url, "http")?;
    let address = Address { host: host.clone(), port, path: path.clone() };
    if !address.is_permitted(&shared.options.allowed) {
        return Err("Domain not permitted".to_owned());
    }
    let lost = |_: io::Error| "Could not connect".to_owned();
    let mut stream = TcpStream::connect((host.as_str(), port)).await.map_err(lost)?;
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nUser-Agent: computercraft/1.113.1\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(lost)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.map_err(lost)?;
    let head = crate::support::http::find(&bytes, b"\r\n\r\n").ok_or("Could not connect")?;
    let body = bytes.split_off(head + 4);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    Ok((raw_status(&head), body))
}

fn raw_status(head: &str) -> u16 {
    crate::support::http::Response::from_head(head).status
}
