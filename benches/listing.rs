//! What looking at everything does to deliveries: `cargo bench --bench listing [-- CLIENTS]`.
//!
//! Starts the release binary as a process of its own and connects CLIENTS clients (default 10,000) with
//! ten channels each, no two the same. Then a publisher sends to one listener, a message every
//! millisecond, and the time from sending to receiving is taken, while somebody
//!
//! - does nothing,
//! - asks the owner's API for next to nothing (`/info`) as fast as it answers: what any request costs,
//!   on a machine that the server, the clients and the one who asks share,
//! - goes through all channels and then all clients, page by page of 1,000, as fast as it answers.
//!
//! These take turns, round after round. The table shows the median of the rounds' percentiles. Before, one
//! pass checks that the pages together hold every channel and every client once. Linux only, since it
//! reads `/proc`.

use std::process::ExitCode;

#[path = "support/entry.rs"]
mod entry;
#[cfg(target_os = "linux")]
mod support;

fn main() -> ExitCode {
    entry::main("listing", measure::run)
}

#[cfg(not(target_os = "linux"))]
use entry as measure;

#[cfg(target_os = "linux")]
mod measure {
    use super::support::{Client, DEADLINE, Server, TOKEN, count, raise_descriptor_limit};
    use std::collections::HashSet;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    /// Clients when no count is given.
    const DEFAULT_CLIENTS: usize = 10_000;
    /// Channels that each of them opens.
    const CHANNELS_EACH: usize = 10;
    /// How often everything is measured.
    const ROUNDS: usize = 7;
    /// Messages of one measurement.
    const MESSAGES: usize = 2_000;
    /// From one message to the next, if the one before has arrived.
    const PACE: Duration = Duration::from_millis(1);
    /// The channel of the publisher and the listener.
    const CHANNEL: &str = "measured";

    /// What is done while deliveries are measured.
    #[derive(Clone, Copy)]
    enum Beside {
        Nothing,
        Info,
        Lists,
    }

    impl Beside {
        const ALL: [Self; 3] = [Self::Nothing, Self::Info, Self::Lists];

        fn title(self) -> &'static str {
            match self {
                Self::Nothing => "nobody asks",
                Self::Info => "asking /info",
                Self::Lists => "paging through all",
            }
        }
    }

    /// One measurement.
    #[derive(Default)]
    struct Figures {
        /// In microseconds.
        p50: f64,
        p99: f64,
        longest: f64,
        requests_per_second: f64,
        /// Cores that the server used.
        cores: f64,
    }

    /// Measures and prints.
    pub fn run(arguments: &[String]) -> Result<(), String> {
        let count = count(arguments, DEFAULT_CLIENTS)?;
        raise_descriptor_limit(count + 2)?;
        let server = Server::start(&[
            ("LIMITS__MAX_CLIENTS", (count + 18).to_string()),
            ("LIMITS__MESSAGES_PER_SECOND", "100000".to_owned()),
            // Clients that are there to be listed do not read, and so answer no pings.
            ("LIMITS__PING_INTERVAL", "1h".to_owned()),
        ])?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|error| error.to_string())?;
        let mut crowd = Vec::with_capacity(count);
        for index in 0..count {
            let mut client = Client::connect(&runtime, index, server.hub)?;
            for channel in 0..CHANNELS_EACH {
                client.open(&format!("channel-{index}-{channel}"))?;
            }
            crowd.push(client);
        }
        let mut pair = Pair {
            publisher: Client::connect(&runtime, count, server.hub)?,
            listener: Client::connect(&runtime, count + 1, server.hub)?,
        };
        pair.listener.open(CHANNEL)?;
        let before = server.usage()?;
        check_lists(server.admin, count)?;

        let mut figures = Beside::ALL.map(|_| Vec::with_capacity(ROUNDS));
        for round in 0..ROUNDS {
            for turn in 0..Beside::ALL.len() {
                // Each comes first, second and third, so that none is always warm.
                let which = (round + turn) % Beside::ALL.len();
                figures[which].push(measure(&server, &mut pair, Beside::ALL[which])?);
            }
        }
        let channels = count * CHANNELS_EACH + 1;
        println!(
            "{channels} channels, {} clients; {ROUNDS} rounds of {MESSAGES} messages",
            count + 2
        );
        println!(
            "{:<20} {:>9} {:>9} {:>10} {:>11} {:>13}",
            "delivery, in µs", "p50", "p99", "longest", "requests/s", "server cores"
        );
        for (beside, rounds) in Beside::ALL.iter().zip(&figures) {
            println!(
                "{:<20} {:>9.0} {:>9.0} {:>10.0} {:>11.0} {:>13.2}",
                beside.title(),
                median(rounds, |round| round.p50),
                median(rounds, |round| round.p99),
                median(rounds, |round| round.longest),
                median(rounds, |round| round.requests_per_second),
                median(rounds, |round| round.cores),
            );
        }
        let after = server.usage()?;
        println!(
            "the server's RSS: {:.0} MiB before the first list, {:.0} MiB after the last",
            before.rss_kib / 1024.0,
            after.rss_kib / 1024.0
        );
        drop(crowd);
        Ok(())
    }

    /// Goes through both lists and checks that nothing is missing or comes twice.
    fn check_lists(admin: SocketAddr, count: usize) -> Result<(), String> {
        let mut api = Api::connect(admin)?;
        for (list, key, expected) in
            [("channels", "channel", count * CHANNELS_EACH + 1), ("clients", "id", count + 2)]
        {
            let (mut seen, mut entries, mut cursor) = (HashSet::new(), 0, None);
            loop {
                cursor = api.page(list, cursor.as_deref())?;
                let page: serde_json::Value =
                    serde_json::from_slice(&api.body).map_err(|error| error.to_string())?;
                for entry in page[list].as_array().into_iter().flatten() {
                    entries += 1;
                    seen.insert(entry[key].to_string());
                }
                if cursor.is_none() {
                    break;
                }
            }
            if seen.len() != expected || entries != expected {
                return Err(format!(
                    "the pages hold {entries} {list}, {} of them different; there are {expected}",
                    seen.len()
                ));
            }
        }
        Ok(())
    }

    fn measure(server: &Server, pair: &mut Pair, beside: Beside) -> Result<Figures, String> {
        let over = AtomicBool::new(false);
        let before = server.usage()?;
        let started = Instant::now();
        let (delays, requests) = thread::scope(|scope| {
            let asking = scope.spawn(|| ask(server.admin, beside, &over));
            let delays = pair.deliver();
            over.store(true, Ordering::Relaxed);
            (delays, asking.join())
        });
        let took = started.elapsed().as_secs_f64();
        let after = server.usage()?;
        let mut delays = delays?;
        let requests = requests.map_err(|_| "the one who asks failed".to_owned())??;
        delays.sort_unstable();
        let at = |part: f64| {
            let index = ((delays.len() - 1) as f64 * part).round() as usize;
            delays[index].as_secs_f64() * 1e6
        };
        Ok(Figures {
            p50: at(0.5),
            p99: at(0.99),
            longest: at(1.0),
            requests_per_second: requests as f64 / took,
            cores: (after.cpu_s - before.cpu_s) / took,
        })
    }

    /// Asks until it is over; returns how often.
    fn ask(admin: SocketAddr, beside: Beside, over: &AtomicBool) -> Result<usize, String> {
        if matches!(beside, Beside::Nothing) {
            return Ok(0);
        }
        let mut api = Api::connect(admin)?;
        let (mut requests, mut lists, mut cursor) =
            (0, ["channels", "clients"].iter().cycle(), None);
        let mut list = lists.next();
        while !over.load(Ordering::Relaxed) {
            match (beside, list) {
                (Beside::Lists, Some(name)) => {
                    cursor = api.page(name, cursor.as_deref())?;
                    if cursor.is_none() {
                        list = lists.next();
                    }
                }
                _ => api.get("/api/v1/info")?,
            }
            requests += 1;
        }
        Ok(requests)
    }

    fn median(rounds: &[Figures], figure: impl Fn(&Figures) -> f64) -> f64 {
        let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    }

    /// Who sends, and who receives.
    struct Pair {
        publisher: Client,
        listener: Client,
    }

    impl Pair {
        /// Sends one message after the other; returns how long each was on its way.
        fn deliver(&mut self) -> Result<Vec<Duration>, String> {
            let mut delays = Vec::with_capacity(MESSAGES);
            let mut due = Instant::now();
            for number in 0..MESSAGES {
                // The pace is what is measured at; nothing is waited for here.
                thread::sleep(due.saturating_duration_since(Instant::now()));
                due = Instant::now().max(due) + PACE;
                let message = format!(
                    r#"{{"type":"message","channel":"{CHANNEL}","message":"{number:06}"}}"#
                );
                let sent = Instant::now();
                self.publisher.send(1, message.as_bytes())?;
                self.listener.expect(format!(r#""message":"{number:06}""#).as_bytes())?;
                delays.push(sent.elapsed());
                self.publisher.expect(br#""type":"result""#)?;
            }
            Ok(delays)
        }
    }

    /// A connection to the owner's API.
    struct Api {
        stream: BufReader<TcpStream>,
        host: SocketAddr,
        /// Of the last answer.
        body: Vec<u8>,
    }

    impl Api {
        fn connect(host: SocketAddr) -> Result<Api, String> {
            let say = |error: std::io::Error| format!("the owner's API: {error}");
            let stream = TcpStream::connect(host).map_err(say)?;
            stream.set_nodelay(true).map_err(say)?;
            stream.set_read_timeout(Some(DEADLINE)).map_err(say)?;
            Ok(Api { stream: BufReader::new(stream), host, body: Vec::new() })
        }

        /// Asks for a page of a list; returns the cursor of the next one.
        fn page(&mut self, list: &str, cursor: Option<&str>) -> Result<Option<String>, String> {
            let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            self.get(&format!("/api/v1/{list}?limit=1000{cursor}"))?;
            // The last key of the answer: the page need not be read to find it.
            let tail = &self.body[self.body.len().saturating_sub(16 * 1024)..];
            let tail = String::from_utf8_lossy(tail);
            let next =
                tail.rsplit_once(r#""next":""#).and_then(|(_, rest)| rest.strip_suffix("\"}"));
            Ok(next.map(str::to_owned))
        }

        fn get(&mut self, path: &str) -> Result<(), String> {
            self.try_get(path).map_err(|error| format!("GET {path}: {error}"))
        }

        fn try_get(&mut self, path: &str) -> std::io::Result<()> {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n",
                self.host
            );
            self.stream.get_mut().write_all(request.as_bytes())?;
            let (mut line, mut length) = (String::new(), None);
            self.stream.read_line(&mut line)?;
            let good = line.starts_with("HTTP/1.1 200 ");
            let status = line.trim_end().to_owned();
            while line != "\r\n" {
                line.clear();
                self.stream.read_line(&mut line)?;
                if let Some((name, value)) = line.split_once(':')
                    && name.eq_ignore_ascii_case("content-length")
                {
                    length = value.trim().parse().ok();
                }
            }
            let length = length.ok_or_else(|| std::io::Error::other("an answer of no length"))?;
            self.body.resize(length, 0);
            self.stream.read_exact(&mut self.body)?;
            if good { Ok(()) } else { Err(std::io::Error::other(status)) }
        }
    }
}
