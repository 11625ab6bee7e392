//! What a connection costs the server: `cargo bench --bench connections [-- COUNT]`.
//!
//! Starts the release binary as a process of its own, connects COUNT clients (default 10,000) from
//! several loopback addresses with one `open` each, then sends a few messages that all of them
//! receive, and prints the server's resident memory and CPU time per connection as the kernel counts
//! them. Limits, pings and logging are on as they ship. Linux only, since it reads `/proc`.
//!
//! It checks that every client is answered and receives every message; it does not judge the figures.

use std::process::ExitCode;

/// Connections when no count is given.
const DEFAULT_COUNT: usize = 10_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        eprintln!("Nothing measured: `cargo bench --bench connections` runs this.");
        return ExitCode::SUCCESS;
    }
    match count(&arguments).and_then(measure::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// The number of connections among the arguments, of which cargo's own `--bench` is one.
fn count(arguments: &[String]) -> Result<usize, String> {
    let mut counts = arguments.iter().filter(|argument| *argument != "--bench");
    let Some(text) = counts.next() else {
        return Ok(DEFAULT_COUNT);
    };
    match text.parse() {
        Ok(count @ 2..=1_000_000) if counts.next().is_none() => Ok(count),
        _ => Err(format!("{text:?}: give one number of connections from 2 to 1000000")),
    }
}

#[cfg(not(target_os = "linux"))]
mod measure {
    /// Says that there is nothing to measure with.
    pub fn run(_count: usize) -> Result<(), String> {
        Err("Memory and CPU time of the server are read from /proc, which only Linux has.".into())
    }
}

#[cfg(target_os = "linux")]
mod measure {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc;
    use std::time::{Duration, Instant};
    use tokio::net::TcpSocket;
    use tokio::runtime::Runtime;

    /// Messages that every client receives between the two readings of memory.
    const MESSAGES: usize = 20;
    /// Loopback addresses that the clients come from, so that local ports never run out.
    const ADDRESSES: usize = 20;
    /// Descriptors of this process beside its connections.
    const SPARE_HERE: u64 = 64;
    /// Descriptors that the server keeps free, and places for clients that it has to spare.
    const SPARE_SERVER: u64 = 256 + 16;
    /// The longest wait for any one thing.
    const DEADLINE: Duration = Duration::from_secs(20);
    /// Clock ticks a second in `/proc/PID/stat`: the same on every Linux that Rust supports.
    const TICKS_PER_SECOND: f64 = 100.0;

    /// Measures and prints.
    pub fn run(count: usize) -> Result<(), String> {
        raise_descriptor_limit(count)?;
        let server = Server::start(count)?;
        let before = server.usage()?;

        let started = Instant::now();
        let mut clients = connect(count, server.hub)?;
        let took = started.elapsed();
        let idle = server.usage()?;

        talk(&mut clients)?;
        let after = server.usage()?;

        let per_connection = |usage: &Usage| (usage.rss_kib - before.rss_kib) / count as f64;
        let cpu_s = idle.cpu_s - before.cpu_s;
        println!("{count} connections, each with one channel open, in {:.1} s", took.as_secs_f64());
        println!("                          server's RSS   per connection");
        println!("before the first          {:>9.1} MiB", before.rss_kib / 1024.0);
        for (name, usage) in
            [("idle", &idle), (&format!("after {MESSAGES} messages to all"), &after)]
        {
            println!(
                "{name:<25} {:>9.1} MiB   {:>10.2} KiB",
                usage.rss_kib / 1024.0,
                per_connection(usage)
            );
        }
        println!(
            "server CPU for a connection with its open: {:.0} µs ({cpu_s:.2} s in all, user and system)",
            cpu_s * 1e6 / count as f64
        );
        Ok(())
    }

    /// Raises the soft limit to the hard one and checks that it is enough, here and for the server,
    /// which inherits it.
    fn raise_descriptor_limit(count: usize) -> Result<(), String> {
        let needed = count as u64 + SPARE_HERE.max(SPARE_SERVER);
        let limit = rlimit::increase_nofile_limit(u64::MAX)
            .map_err(|error| format!("cannot read the limit of open files: {error}"))?;
        if limit < needed {
            return Err(format!(
                "{count} connections need {needed} open files a process, and the hard limit here is \
                 {limit} (`ulimit -Hn`). Raise it, or measure fewer: \
                 `cargo bench --bench connections -- {}`.",
                limit.saturating_sub(SPARE_SERVER)
            ));
        }
        Ok(())
    }

    /// The server's process, killed when dropped.
    struct Server {
        process: Child,
        hub: SocketAddr,
    }

    /// What the kernel has counted for a process.
    struct Usage {
        rss_kib: f64,
        /// User and system, all threads.
        cpu_s: f64,
    }

    impl Server {
        /// Starts the binary with room for `count` clients and waits until it listens.
        fn start(count: usize) -> Result<Server, String> {
            let mut command = Command::new(env!("CARGO_BIN_EXE_skynet"));
            for (name, _) in std::env::vars_os() {
                if name.to_string_lossy().starts_with("SKYNET_") {
                    command.env_remove(name);
                }
            }
            let mut process = command
                .env("SKYNET_HUB__LISTEN", "127.0.0.1:0")
                .env("SKYNET_ADMIN__LISTEN", "127.0.0.1:0")
                .env("SKYNET_TELEMETRY__FORMAT", "json")
                .env("SKYNET_LIMITS__MAX_CLIENTS", (count + 16).to_string())
                .stdin(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(|error| format!("the server does not start: {error}"))?;
            let log = process.stderr.take().map(BufReader::new);
            let mut server = Server { process, hub: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) };
            let (tell, told) = mpsc::channel();
            // Reads to the end: a server whose log nobody reads would stand still.
            std::thread::spawn(move || {
                for line in log.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
                    if let Some(address) = hub_address(&line) {
                        let _ = tell.send(address);
                    }
                }
            });
            server.hub = told
                .recv_timeout(DEADLINE)
                .map_err(|_| "the server did not say where it listens".to_owned())?;
            Ok(server)
        }

        fn usage(&self) -> Result<Usage, String> {
            let read = |file: &str| {
                let path = format!("/proc/{}/{file}", self.process.id());
                std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
            };
            let (status, stat) = (read("status")?, read("stat")?);
            let rss_kib = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
            // The name of the program, which may hold spaces, ends at the last bracket; user and
            // system time are the 12th and 13th field after it.
            let ticks: Vec<f64> = stat
                .rsplit(')')
                .next()
                .into_iter()
                .flat_map(|fields| fields.split_whitespace().skip(11).take(2))
                .filter_map(|field| field.parse().ok())
                .collect();
            match (rss_kib.and_then(|kib| kib.parse().ok()), &ticks[..]) {
                (Some(rss_kib), [user, system]) => {
                    Ok(Usage { rss_kib, cpu_s: (user + system) / TICKS_PER_SECOND })
                }
                _ => Err("/proc does not tell the server's memory and CPU time".into()),
            }
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            // It may have ended by itself; what was measured does not depend on how it ends.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    /// The address in the line of the log that tells where the hub listens.
    fn hub_address(line: &str) -> Option<SocketAddr> {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        if line["message"] != "listening" || line["listener"] != "hub" {
            return None;
        }
        line["address"].as_str()?.parse().ok()
    }

    /// Connects `count` clients one after the other, each with its handshake and one `open`.
    fn connect(count: usize, hub: SocketAddr) -> Result<Vec<Client>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|error| error.to_string())?;
        (0..count)
            .map(|index| {
                Client::connect(&runtime, index, hub)
                    .map_err(|error| format!("client {index} of {count}: {error}"))
            })
            .collect()
    }

    /// The first client sends, and everybody reads everything.
    fn talk(clients: &mut [Client]) -> Result<(), String> {
        let Some((sender, listeners)) = clients.split_first_mut() else {
            return Err("nobody is connected".into());
        };
        for number in 0..MESSAGES {
            let message = format!(
                r#"{{"type":"message","channel":"bench","message":"{number:02} {}"}}"#,
                "x".repeat(60)
            );
            sender.send(1, message.as_bytes())?;
            sender.expect(br#""type":"result""#)?;
        }
        for (index, listener) in listeners.iter_mut().enumerate() {
            for number in 0..MESSAGES {
                let message = format!(r#""message":"{number:02} "#);
                listener
                    .expect(message.as_bytes())
                    .map_err(|error| format!("listener {index}, message {number}: {error}"))?;
            }
        }
        Ok(())
    }

    /// A websocket client of as little as will do.
    struct Client {
        stream: TcpStream,
    }

    impl Client {
        fn connect(runtime: &Runtime, index: usize, hub: SocketAddr) -> Result<Client, String> {
            let say = |error: std::io::Error| error.to_string();
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
            client.send(1, br#"{"type":"open","channel":"bench"}"#)?;
            client.expect(br#""channels":["bench"]"#)?;
            Ok(client)
        }

        fn shake_hands(&mut self, hub: SocketAddr) -> Result<(), String> {
            let request = format!(
                "GET /connect HTTP/1.1\r\nHost: {hub}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            self.stream
                .write_all(request.as_bytes())
                .map_err(|error| format!("handshake: {error}"))?;
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
        fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<(), String> {
            let length = u8::try_from(payload.len())
                .ok()
                .filter(|length| *length < 126)
                .ok_or("a payload too long for this client")?;
            let mut frame = vec![0x80 | opcode, 0x80 | length, 0, 0, 0, 0];
            frame.extend_from_slice(payload);
            self.stream.write_all(&frame).map_err(|error| format!("cannot send: {error}"))
        }

        /// Reads the next text frame, which must hold `part`. Pings on the way are answered.
        fn expect(&mut self, part: &[u8]) -> Result<(), String> {
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
}
