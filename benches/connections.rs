//! What a connection costs the server: `cargo bench --bench connections [-- COUNT]`.
//!
//! Starts the release binary as a process of its own, connects COUNT clients (default 10,000) from
//! several loopback addresses with one `open` each, then sends a few messages that all of them
//! receive, and prints the server's resident memory and CPU time per connection as the kernel counts
//! them. Limits, pings and logging are on as they ship. Linux only, since it reads `/proc`.
//!
//! It checks that every client is answered and receives every message; it does not judge the figures.

use std::process::ExitCode;

#[path = "support/entry.rs"]
mod entry;
#[cfg(target_os = "linux")]
mod support;

fn main() -> ExitCode {
    entry::main("connections", measure::run)
}

#[cfg(not(target_os = "linux"))]
use entry as measure;

#[cfg(target_os = "linux")]
mod measure {
    use super::support::{Client, Server, Usage, count, raise_descriptor_limit};
    use std::net::SocketAddr;
    use std::time::Instant;

    /// Connections when no count is given.
    const DEFAULT_COUNT: usize = 10_000;
    /// Messages that every client receives between the two readings of memory.
    const MESSAGES: usize = 20;

    /// Measures and prints.
    pub fn run(arguments: &[String]) -> Result<(), String> {
        let count = count(arguments, DEFAULT_COUNT)?;
        raise_descriptor_limit(count)?;
        let server = Server::start(&[("LIMITS__MAX_CLIENTS", (count + 16).to_string())])?;
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

    /// Connects `count` clients one after the other, each with its handshake and one `open`.
    fn connect(count: usize, hub: SocketAddr) -> Result<Vec<Client>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|error| error.to_string())?;
        (0..count)
            .map(|index| {
                let mut client = Client::connect(&runtime, index, hub)?;
                client.open("bench")?;
                Ok(client)
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
}
