//! What a scrape of the metrics costs: `cargo bench --bench scrape [-- CLIENTS]`.
//!
//! Starts the release binary as a process of its own and looks at `/metrics`: before there is anybody,
//! with CLIENTS clients (default 10,000) of which a hundred listen, and while those are sent near 100,000
//! deliveries a second. The page must have the same series each time. The CPU time of a page that is
//! written anew, all threads, is taken where nothing else goes on, and must be below 10 ms.
//!
//! Linux only, since it reads `/proc`.

use std::process::ExitCode;

#[path = "support/entry.rs"]
mod entry;
#[cfg(target_os = "linux")]
mod support;

fn main() -> ExitCode {
    entry::main("scrape", measure::run)
}

#[cfg(not(target_os = "linux"))]
use entry as measure;

#[cfg(target_os = "linux")]
mod measure {
    use super::support::{Client, DEADLINE, Server, count, raise_descriptor_limit};
    use std::collections::BTreeSet;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    /// Clients when no count is given.
    const DEFAULT_CLIENTS: usize = 10_000;
    /// Those of them that listen, as far as there are so many.
    const LISTENERS: usize = 100;
    /// Messages a second: with the listeners, the deliveries that are wanted.
    const MESSAGES_PER_SECOND: u32 = 1_000;
    /// How long the load is.
    const LOAD: Duration = Duration::from_secs(5);
    /// How often a page is measured.
    const SCRAPES: u32 = 10;
    /// A page that is older is written anew.
    const CACHED: Duration = Duration::from_millis(1_050);
    /// The most CPU time that a page may take, in milliseconds.
    const MOST_MS: f64 = 10.0;
    /// What everybody listens to.
    const CHANNEL: &str = "measured";

    /// Measures and prints.
    pub fn run(arguments: &[String]) -> Result<(), String> {
        let count = count(arguments, DEFAULT_CLIENTS)?.max(2);
        let listeners = LISTENERS.min(count - 1);
        raise_descriptor_limit(count)?;
        let server = Server::start(&[
            ("LIMITS__MAX_CLIENTS", (count + 16).to_string()),
            ("LIMITS__MESSAGES_PER_SECOND", "100000".to_owned()),
            // Clients that only are there do not read, and so answer no pings.
            ("LIMITS__PING_INTERVAL", "1h".to_owned()),
        ])?;
        // Counted from the second on: the first page is its own first request.
        page(server.admin)?;
        let empty = page_anew(server.admin)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|error| error.to_string())?;
        let mut clients = Vec::with_capacity(count);
        for index in 0..count {
            let mut client = Client::connect(&runtime, index, server.hub)?;
            if (1..=listeners).contains(&index) {
                client.open(CHANNEL)?;
            }
            clients.push(client);
        }
        let crowded = page_anew(server.admin)?;
        let cpu_ms = cpu_of_a_page(&server)?;
        let usage = server.usage()?;
        let (loaded, deliveries) = under_load(&server, clients, listeners)?;

        println!("{count} clients, {listeners} of them listeners");
        println!("{:<44} {:>8} {:>12}", "the page", "series", "bytes");
        for (when, page) in [
            ("before the first client", &empty),
            ("with all of them", &crowded),
            (&format!("at {deliveries:.0} deliveries a second"), &loaded),
        ] {
            println!("{when:<44} {:>8} {:>12}", series(page).len(), page.len());
        }
        println!(
            "CPU time of a page written anew: {cpu_ms:.2} ms, the mean of {SCRAPES}; the server uses \
             {:.1} MiB",
            usage.rss_kib / 1024.0
        );
        for page in [&crowded, &loaded] {
            let (before, after) = (series(&empty), series(page));
            if let Some(series) = after.symmetric_difference(&before).next() {
                return Err(format!("the series are not the same: {series}"));
            }
        }
        if cpu_ms >= MOST_MS {
            return Err(format!("a page takes {cpu_ms:.1} ms; less than {MOST_MS} is wanted"));
        }
        Ok(())
    }

    /// The CPU time of a page, in milliseconds: the mean of some.
    fn cpu_of_a_page(server: &Server) -> Result<f64, String> {
        let before = server.usage()?;
        for _ in 0..SCRAPES {
            // The age of the page is what is waited for.
            thread::sleep(CACHED);
            page(server.admin)?;
        }
        Ok((server.usage()?.cpu_s - before.cpu_s) * 1e3 / f64::from(SCRAPES))
    }

    /// The page in the middle of the load, and the deliveries a second.
    fn under_load(
        server: &Server,
        clients: Vec<Client>,
        listeners: usize,
    ) -> Result<(String, f64), String> {
        let mut clients = clients.into_iter();
        let mut sender = clients.next().ok_or("nobody is connected")?;
        let streams: Vec<TcpStream> =
            clients.by_ref().take(listeners).map(|client| client.stream).collect();
        let idlers: Vec<Client> = clients.collect();
        let (over, bytes) = (AtomicBool::new(false), AtomicU64::new(0));
        let result = thread::scope(|scope| {
            let reading = scope.spawn(|| read_all(&streams, &over, &bytes));
            let scrape = scope.spawn(|| {
                thread::sleep(LOAD / 2);
                page_anew(server.admin)
            });
            let sent = send_paced(&mut sender);
            let loaded = scrape.join();
            over.store(true, Ordering::Relaxed);
            let read = reading.join();
            let failed = |_| "a thread failed".to_owned();
            let (sent, took) = sent?;
            read.map_err(failed)??;
            let deliveries = f64::from(sent) * listeners as f64 / took.as_secs_f64();
            Ok((loaded.map_err(failed)??, deliveries))
        });
        drop(idlers);
        if bytes.load(Ordering::Relaxed) == 0 {
            return Err("nothing was delivered".into());
        }
        result
    }

    /// Sends for a while at the pace that is wanted; returns how much, and in what time.
    fn send_paced(sender: &mut Client) -> Result<(u32, Duration), String> {
        let begun = Instant::now();
        let mut sent = 0;
        while begun.elapsed() < LOAD {
            // Ten at a time, and the pace is what is waited for.
            for _ in 0..10 {
                let text =
                    format!(r#"{{"type":"message","channel":"{CHANNEL}","message":{sent}}}"#);
                sender.send(1, text.as_bytes())?;
                sent += 1;
            }
            for _ in 0..10 {
                sender.expect(br#""type":"result""#)?;
            }
            let due = begun + Duration::from_secs(1) * sent / MESSAGES_PER_SECOND;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok((sent, begun.elapsed()))
    }

    /// Reads what comes, without a look at it.
    fn read_all(streams: &[TcpStream], over: &AtomicBool, bytes: &AtomicU64) -> Result<(), String> {
        let say = |error: std::io::Error| format!("a listener: {error}");
        let mut buffer = vec![0; 64 * 1024];
        for stream in streams {
            stream.set_nonblocking(true).map_err(say)?;
        }
        while !over.load(Ordering::Relaxed) {
            for mut stream in streams {
                match stream.read(&mut buffer) {
                    Ok(0) => return Err("a listener: the server hung up".into()),
                    Ok(got) => {
                        bytes.fetch_add(got as u64, Ordering::Relaxed);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(say(error)),
                }
            }
            // In rounds, so that reading takes little of a machine that the server shares.
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// A page that has been written after the call.
    fn page_anew(admin: SocketAddr) -> Result<String, String> {
        page(admin)?;
        // The age of the page is what is waited for.
        thread::sleep(CACHED);
        page(admin)
    }

    fn page(admin: SocketAddr) -> Result<String, String> {
        let say = |error: std::io::Error| format!("/metrics: {error}");
        let mut stream = TcpStream::connect(admin).map_err(say)?;
        stream.set_read_timeout(Some(DEADLINE)).map_err(say)?;
        let request = format!("GET /metrics HTTP/1.0\r\nHost: {admin}\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(say)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(say)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, page)) if head.starts_with("HTTP/1.0 200 ") => Ok(page.to_owned()),
            _ => Err(format!("/metrics: {}", answer.lines().next().unwrap_or("no answer"))),
        }
    }

    /// The series of a page, without their values.
    fn series(page: &str) -> BTreeSet<&str> {
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples.filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect()
    }
}
