//! What the benchmarks share: the server as a process of its own, and a small websocket client.
//!
//! Linux only: `/proc` tells what the server uses.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

/// The longest wait for any one thing.
pub const DEADLINE: Duration = Duration::from_secs(20);
/// The owner's token.
pub const TOKEN: &str = "the-token-of-the-owner-in-benchmarks";
/// Loopback addresses that the clients come from, so that local ports never run out.
const ADDRESSES: usize = 20;
/// Descriptors of this process beside its connections.
const SPARE_HERE: u64 = 64;
/// Descriptors that the server keeps free, and places for clients that it has to spare.
const SPARE_SERVER: u64 = 256 + 16;

/// The number among the arguments, of which cargo's own `--bench` is one; `default` without one.
pub fn count(arguments: &[String], default: usize) -> Result<usize, String> {
    let mut counts = arguments.iter().filter(|argument| *argument != "--bench");
    let Some(text) = counts.next() else {
        return Ok(default);
    };
    match text.parse() {
        Ok(count @ 2..=1_000_000) if counts.next().is_none() => Ok(count),
        _ => Err(format!("{text:?}: give one number of connections from 2 to 1000000")),
    }
}

/// Raises the soft limit to the hard one and checks that it is enough for `count` connections, here
/// and for the server, which inherits it.
pub fn raise_descriptor_limit(count: usize) -> Result<(), String> {
    let needed = count as u64 + SPARE_HERE.max(SPARE_SERVER);
    let limit = rlimit::increase_nofile_limit(u64::MAX)
        .map_err(|error| format!("cannot read the limit of open files: {error}"))?;
    if limit < needed {
        return Err(format!(
            "{count} connections need {needed} open files a process, and the hard limit here is \
             {limit} (`ulimit -Hn`). Raise it, or measure fewer by giving their number after `--`: \
             up to {}.",
            limit.saturating_sub(SPARE_SERVER)
        ));
    }
    Ok(())
}

/// The server's process, killed when dropped.
pub struct Server {
    process: Child,
    /// Where the hub listens.
    pub hub: SocketAddr,
    /// Where the owner's listener is.
    pub admin: SocketAddr,
}

/// What the kernel has counted for a process.
pub struct Usage {
    /// Resident memory, in KiB.
    pub rss_kib: f64,
    /// User and system time in seconds, all threads.
    pub cpu_s: f64,
}

impl Server {
    /// Starts the binary with `settings`, as the environment gives them without `SKYNET_`, and waits
    /// until it listens.
    pub fn start(settings: &[(&str, String)]) -> Result<Server, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skynet"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SKYNET_") {
                command.env_remove(name);
            }
        }
        for (name, value) in settings {
            command.env(format!("SKYNET_{name}"), value);
        }
        let mut process = command
            .env("SKYNET_HUB__LISTEN", "127.0.0.1:0")
            .env("SKYNET_ADMIN__LISTEN", "127.0.0.1:0")
            // With a token given, it makes none and keeps nothing.
            .env("SKYNET_ADMIN__TOKEN", TOKEN)
            .env("SKYNET_TELEMETRY__FORMAT", "json")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the server does not start: {error}"))?;
        let log = process.stderr.take().map(BufReader::new);
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut server = Server { process, hub: nowhere, admin: nowhere };
        let (tell, told) = mpsc::channel();
        // Reads to the end: a server whose log nobody reads would stand still.
        std::thread::spawn(move || {
            for line in log.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
                if let Some(listening) = listening(&line) {
                    let _ = tell.send(listening);
                }
            }
        });
        while server.hub == nowhere || server.admin == nowhere {
            let (listener, address) = told
                .recv_timeout(DEADLINE)
                .map_err(|_| "the server did not say where it listens".to_owned())?;
            match listener.as_str() {
                "hub" => server.hub = address,
                _ => server.admin = address,
            }
        }
        Ok(server)
    }

    /// What the server has used until now.
    pub fn usage(&self) -> Result<Usage, String> {
        let read = |file: &str| {
            let path = format!("/proc/{}/{file}", self.process.id());
            std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
        };
        let status = read("status")?;
        let rss_kib =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        let rss_kib = rss_kib.and_then(|kib| kib.parse().ok());
        let rss_kib = rss_kib.ok_or("/proc does not tell the server's memory")?;
        Ok(Usage { rss_kib, cpu_s: self.cpu_ns()? as f64 / 1e9 })
    }

    /// CPU time of all threads until now, to the nanosecond: `/proc/PID/stat` tells hundredths of a
    /// second. The threads of the server that end are few, and idle before.
    fn cpu_ns(&self) -> Result<u64, String> {
        let tasks = format!("/proc/{}/task", self.process.id());
        let failed = |error: std::io::Error| format!("{tasks}: {error}");
        let mut sum = 0;
        for task in std::fs::read_dir(&tasks).map_err(failed)? {
            let times =
                match std::fs::read_to_string(task.map_err(failed)?.path().join("schedstat")) {
                    Ok(times) => times,
                    // A thread that has ended since the list was made.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(failed(error)),
                };
            let on_cpu = times.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok());
            sum += on_cpu.ok_or_else(|| format!("{tasks}/*/schedstat says {times:?}"))?;
        }
        Ok(sum)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; what was measured does not depend on how it ends.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The listener and its address, in a line of the log that tells them.
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    if line["message"] != "listening" {
        return None;
    }
    Some((line["listener"].as_str()?.to_owned(), line["address"].as_str()?.parse().ok()?))
}

/// A websocket client of as little as will do.
pub struct Client {
    /// Its socket, for who reads without a look at what comes.
    pub stream: TcpStream,
}

impl Client {
    /// Connects and shakes hands. Clients of different `index` come from different addresses.
    pub fn connect(runtime: &Runtime, index: usize, hub: SocketAddr) -> Result<Client, String> {
        let say = |error: std::io::Error| format!("client {index}: {error}");
        // The standard library cannot choose the address that a connection comes from.
        let source = Ipv4Addr::new(127, 0, 0, 1 + (index % ADDRESSES) as u8);
        let stream = runtime
            .block_on(async {
                let socket = TcpSocket::new_v4()?;
                socket.bind((source, 0).into())?;
                socket.connect(hub).await?.into_std()
            })
            .map_err(say)?;
        stream.set_nonblocking(false).map_err(say)?;
        stream.set_nodelay(true).map_err(say)?;
        stream.set_read_timeout(Some(DEADLINE)).map_err(say)?;
        stream.set_write_timeout(Some(DEADLINE)).map_err(say)?;
        let mut client = Client { stream };
        client.shake_hands(hub)?;
        Ok(client)
    }

    /// Opens a channel, which must need no escaping in JSON.
    pub fn open(&mut self, channel: &str) -> Result<(), String> {
        self.send(1, format!(r#"{{"type":"open","channel":"{channel}"}}"#).as_bytes())?;
        self.expect(format!(r#""{channel}"]}}"#).as_bytes())
    }

    fn shake_hands(&mut self, hub: SocketAddr) -> Result<(), String> {
        let request = format!(
            "GET /connect HTTP/1.1\r\nHost: {hub}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.stream.write_all(request.as_bytes()).map_err(|error| format!("handshake: {error}"))?;
        // Nothing follows the answer before this client has asked for something.
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut chunk = [0; 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("handshake: the server hung up".into()),
                Ok(length) => answer.extend_from_slice(&chunk[..length]),
                Err(error) => return Err(format!("handshake: {error}")),
            }
        }
        if answer.starts_with(b"HTTP/1.1 101 ") {
            Ok(())
        } else {
            let answer = String::from_utf8_lossy(&answer);
            Err(format!("handshake refused: {answer}"))
        }
    }

    /// Sends a frame of at most 125 bytes, masked with zero, which leaves the bytes as they are.
    pub fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<(), String> {
        let length = u8::try_from(payload.len())
            .ok()
            .filter(|length| *length < 126)
            .ok_or("a payload too long for this client")?;
        let mut frame = vec![0x80 | opcode, 0x80 | length, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).map_err(|error| format!("cannot send: {error}"))
    }

    /// Reads the next text frame, which must hold `part`. Pings on the way are answered.
    pub fn expect(&mut self, part: &[u8]) -> Result<(), String> {
        loop {
            let (opcode, payload) =
                self.frame().map_err(|error| format!("cannot receive: {error}"))?;
            match opcode {
                1 if payload.windows(part.len()).any(|window| window == part) => return Ok(()),
                9 => self.send(10, &payload)?,
                _ => {
                    return Err(format!(
                        "expected {}, got opcode {opcode} with {}",
                        String::from_utf8_lossy(part),
                        String::from_utf8_lossy(&payload)
                    ));
                }
            }
        }
    }

    fn frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let mut header = [0; 2];
        self.stream.read_exact(&mut header)?;
        let length = match header[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length)?;
                u16::from_be_bytes(length)
            }
            // No frame here is longer than 65535 bytes.
            length => length.into(),
        };
        let mut payload = vec![0; length.into()];
        self.stream.read_exact(&mut payload)?;
        Ok((header[0] & 0x0f, payload))
    }
}
