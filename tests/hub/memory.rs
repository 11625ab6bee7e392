//! What `docs/memory.md` promises: with attackers in every state at once, the program stays within
//! the sum of what its settings allow.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::support::{
    http,
    process::Process,
    raw::{Raw, TEXT, fragment, masked, publication, upgrade},
    wait_until,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

const MAX_CLIENTS: usize = 300;
const OPEN_CHANNELS: usize = 6000;
const NAME_BYTES: usize = 255;
const FRAME_BYTES: usize = 388 * KIB;
const QUEUES: usize = 8 * MIB;
const PARTIAL: usize = 4 * MIB;
const LOG: usize = 8 * MIB;
const MESSAGE_BYTES: usize = 128 * KIB;
const TOKEN: &str = "a-token-that-is-long-enough";

/// The lines of the page that these attackers reach; those of the API need its token.
const BOUND: usize = 24 * MIB
    + LOG / 4 * 5
    + 2 * QUEUES
    + PARTIAL / 2 * 3
    + MAX_CLIENTS * 8 * KIB
    + OPEN_CHANNELS * (NAME_BYTES + 512)
    + REQUESTS * 64 * KIB;

/// Unfinished requests that the attackers hold.
const REQUESTS: usize = 100;

/// A figure of `/proc/PID/status`, in bytes.
fn resident(process: &Process, figure: &str) -> usize {
    let path = format!("/proc/{}/status", process.id());
    let status = std::fs::read_to_string(path).expect("the program runs");
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).expect("the figure");
    let kib = line.trim_start_matches(':').trim().trim_end_matches(" kB");
    kib.parse::<usize>().expect("a number of KiB") * KIB
}

/// Clients that have as many channels as the hub gives them, with names as long as they may be.
async fn namers(hub: SocketAddr) -> Vec<Raw> {
    let mut clients = Vec::new();
    for client in 0..20 {
        let mut raw = Raw::connect(hub).await;
        let open = |number: usize| {
            let name = format!("{client}-{number}-");
            let channel = format!("{name}{}", "n".repeat(NAME_BYTES - name.len()));
            masked(TEXT, format!(r#"{{"type":"open","channel":"{channel}"}}"#).as_bytes())
        };
        for number in 0..800 {
            raw.write(&open(number)).await;
            // Read, so that the answers do not pile up.
            raw.frame().await;
        }
        clients.push(raw);
    }
    clients
}

/// Clients that send half of a message and stop; the hub closes some of them.
async fn unfinished(hub: SocketAddr) -> Vec<Raw> {
    let mut clients = Vec::new();
    for number in 0..60 {
        let mut client = Raw::connect(hub).await;
        let part = vec![b'p'; FRAME_BYTES / 2];
        let begun = if number % 2 == 0 {
            masked(TEXT, &[&part[..], &part[..1000]].concat())[..part.len()].to_vec()
        } else {
            fragment(TEXT, &part)
        };
        // It may be closed in the middle.
        let _ = client.try_write(&begun).await;
        clients.push(client);
    }
    clients
}

/// Requests that stop before their end.
async fn half_requests(hub: SocketAddr) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..REQUESTS {
        let mut stream = TcpStream::connect(hub).await.expect("connects");
        let head = format!("GET /connect HTTP/1.1\r\nX-Long: {}", "x".repeat(12 * KIB));
        // Nobody may be waiting any more.
        let _ = stream.write_all(head.as_bytes()).await;
        streams.push(stream);
    }
    streams
}

/// The program with small limits and a log of so many bytes.
fn hub(log: usize) -> Process {
    Process::start(&[
        ("SKYNET_ADMIN__TOKEN", TOKEN),
        ("SKYNET_LIMITS__MAX_CLIENTS", &MAX_CLIENTS.to_string()),
        ("SKYNET_LIMITS__TOTAL_OPEN_CHANNELS", &OPEN_CHANNELS.to_string()),
        ("SKYNET_LIMITS__TOTAL_QUEUE_BYTES", &QUEUES.to_string()),
        ("SKYNET_LIMITS__TOTAL_PARTIAL_BYTES", &PARTIAL.to_string()),
        ("SKYNET_LIMITS__MESSAGES_PER_SECOND", "1000000"),
        ("SKYNET_LIMITS__MESSAGE_BURST", "1000000"),
        ("SKYNET_LIMITS__PING_INTERVAL", "1h"),
        ("SKYNET_LIMITS__HANDSHAKE_TIMEOUT", "10m"),
        ("SKYNET_MESSAGE_LOG__MAX_BYTES", &log.to_string()),
        ("SKYNET_MESSAGE_LOG__MAX_MESSAGES", "1000000"),
    ])
}

#[tokio::test]
async fn with_attackers_in_every_state_memory_stays_within_the_bound_of_the_page() {
    let hub = hub(LOG);
    let admin = hub.admin();
    let mut sleepers = Vec::new();
    for _ in 0..80 {
        let mut sleeper = Raw::narrow(hub.hub()).await;
        sleeper.open("\"*\"").await;
        sleepers.push(sleeper);
    }
    let namers = namers(hub.hub()).await;
    let page = http::fresh_metrics(admin).await;
    let open = http::sample(&page, "skynet_subscriptions", &[]);
    assert_eq!(open as usize, OPEN_CHANNELS, "no more are opened");
    let unfinished = unfinished(hub.hub()).await;
    let requests = half_requests(hub.hub()).await;
    // Small messages, which are copied for each listener.
    let mut publisher = Raw::connect(hub.hub()).await;
    let message = format!("\"{}\"", "m".repeat(300));
    let commands = masked(TEXT, publication("\"flood\"", &message).as_bytes()).repeat(200);
    wait_until("the queues are full and the log is", async || {
        publisher.write(&commands).await;
        for _ in 0..200 {
            publisher.reply_text().await;
        }
        let page = http::metrics(admin).await;
        let too_slow = [("reason", "too_slow")];
        http::sample(&page, "skynet_disconnects_total", &too_slow) >= 10.0
            && http::sample(&page, "skynet_log_evictions_total", &[]) > 0.0
    })
    .await;
    let page = http::fresh_metrics(admin).await;
    let figure = |name: &str| http::sample(&page, name, &[]);
    let closed = |reason| http::sample(&page, "skynet_disconnects_total", &[("reason", reason)]);
    // Each of them has reached its bound.
    assert!(figure("skynet_log_bytes") > 0.9 * LOG as f64);
    assert!(closed("frame_too_large") >= 1.0, "unfinished messages have been thrown out");
    assert!(figure("skynet_partial_bytes") > 0.5 * PARTIAL as f64);
    assert!(figure("skynet_partial_bytes") <= PARTIAL as f64);
    assert!(figure("skynet_queued_bytes") <= QUEUES as f64);
    let peak = resident(&hub, "VmHWM");
    println!("peak {} KiB, bound {} KiB", peak / KIB, BOUND / KIB);
    assert!(peak <= BOUND, "{} KiB are more than {} KiB", peak / KIB, BOUND / KIB);
    drop((namers, unfinished, requests, sleepers));
}

#[tokio::test]
async fn who_is_turned_away_and_goes_on_sending_has_nothing_kept() {
    let hub = hub(LOG);
    let part = vec![b'p'; FRAME_BYTES];
    // All but the last byte of a frame, from whom the hub is closing already.
    let begun = masked(TEXT, &part);
    let upgrade = upgrade("/connect?token=wrong");
    let bytes = [upgrade.as_bytes(), &begun[..begun.len() - 1]].concat();
    let mut clients = Vec::new();
    for _ in 0..MAX_CLIENTS - 1 {
        let mut client = Raw::tcp(hub.hub()).await;
        // Those that came first may be gone by now.
        let _ = client.try_write(&bytes).await;
        clients.push(client);
    }
    let page = http::fresh_metrics(hub.admin()).await;
    assert!(http::sample(&page, "skynet_partial_bytes", &[]) <= PARTIAL as f64);
    let peak = resident(&hub, "VmHWM");
    println!("peak {} KiB, bound {} KiB", peak / KIB, BOUND / KIB);
    const { assert!(FRAME_BYTES * MAX_CLIENTS > BOUND, "all together would have been too much") };
    assert!(peak <= BOUND, "{} KiB are more than {} KiB", peak / KIB, BOUND / KIB);
}

/// Begins to read a stream of the log with all that it holds.
async fn stream(admin: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(64 * 1024).expect("a small buffer");
    let mut stream = socket.connect(admin).await.expect("connects");
    let request = format!(
        "GET /api/v1/log/stream?last=1000 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("the request is taken");
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200");
    stream
}

#[tokio::test]
async fn streams_that_are_hardly_read_while_the_log_turns_over_keep_no_more_than_the_page_says() {
    const STREAMS: usize = 5;
    // Much more than what the system takes for each of them.
    const LOG: usize = 24 * MIB;
    // The lines of the page that count where there are no strangers.
    const BOUND: usize = 24 * MIB + LOG / 4 * 5 + STREAMS * (3 * MIB + 4 * MESSAGE_BYTES);
    let hub = hub(LOG);
    let mut publisher = Raw::connect(hub.hub()).await;
    let message = format!("\"{}\"", "m".repeat(120 * KIB));
    let command = masked(TEXT, publication("\"x\"", &message).as_bytes());
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        for _ in 0..LOG / MESSAGE_BYTES + 16 {
            publisher.write(&command).await;
            publisher.reply_text().await;
        }
        streams.push(stream(hub.admin()).await);
        for stream in &mut streams {
            // Enough that the hub does not lose patience; nothing is left of one that was too slow.
            let mut some = stream.take(200_000);
            tokio::io::copy(&mut some, &mut tokio::io::sink()).await.expect("it can be read");
        }
    }
    let peak = resident(&hub, "VmHWM");
    println!("peak {} KiB, bound {} KiB", peak / KIB, BOUND / KIB);
    const { assert!(STREAMS * LOG > BOUND, "all that they ask for would have been too much") };
    assert!(peak <= BOUND, "{} KiB are more than {} KiB", peak / KIB, BOUND / KIB);
}
