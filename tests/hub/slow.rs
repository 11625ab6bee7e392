//! Connections that hold a place and do not get on: silent ones, slow ones, and those that ask and do
//! not read.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use poem::endpoint::make_sync;
use skynet::{
    config::Config,
    http::{Limits, Listener, Opening, Service},
    metrics::Metrics,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::watch,
    task::{JoinSet, yield_now},
    time::{interval, timeout},
};

use crate::api::{TOKEN, config as with_tokens};
use crate::support::{
    DEADLINE, config, http,
    raw::{Raw, upgrade},
    wait_until, with_app,
};

/// More connections than a listener has places for unfinished requests.
const MANY: usize = 260;

/// With time limits so long that nothing in these tests waits for them.
fn patient() -> Config {
    let mut settings = config();
    settings.limits.handshake_timeout = Duration::from_secs(600);
    settings
}

fn hurried() -> Config {
    let mut settings = with_tokens();
    settings.limits.handshake_timeout = Duration::from_millis(300);
    settings
}

/// Connections from an address of this machine on which `said` is said and no more.
async fn held(from: &str, to: SocketAddr, said: &[u8]) -> Vec<Raw> {
    let from = format!("{from}:0").parse().expect("an address");
    let mut held = Vec::new();
    for _ in 0..MANY {
        let mut raw = Raw::tcp_from(from, to).await;
        // It may have been thrown out already.
        let _ = raw.try_write(said).await;
        held.push(raw);
    }
    held
}

#[tokio::test]
async fn silent_connections_do_not_keep_newcomers_out() {
    with_app(patient(), async |app| {
        for said in [&b""[..], b"GET /connect HTTP/1.1\r\nX-Slow: "] {
            let _held = held("127.0.0.1", app.hub(), said).await;
            app.client().await.open("\"x\"").await;
        }
        let labels = [("listener", "hub"), ("reason", "crowded")];
        assert!(app.metric("skynet_connection_failures_total", &labels).await >= MANY as f64);
        let _held = held("127.0.0.1", app.admin(), b"").await;
        assert_eq!(http::get(app.admin(), "/healthz").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn who_floods_from_one_address_displaces_itself_and_nobody_else() {
    with_app(patient(), async |app| {
        let handshake = upgrade("/connect");
        let (half, rest) = handshake.split_at(handshake.len() / 2);
        let mut honest = Raw::tcp(app.hub()).await;
        honest.write(half.as_bytes()).await;
        let _held = held("127.0.0.2", app.hub(), b"GET").await;
        // Somebody has had to go by now, and the honest one is the oldest.
        let labels = [("listener", "hub"), ("reason", "crowded")];
        wait_until("many have been displaced", async || {
            app.metric("skynet_connection_failures_total", &labels).await >= 100.0
        })
        .await;
        honest.write(rest.as_bytes()).await;
        honest.accepted().await;
        honest.open("\"x\"").await;
    })
    .await;
}

/// Silent connections from one address, of which there are always so many.
const SILENT: usize = 3000;
/// Descriptors for the hub and the other tests.
#[cfg(unix)]
const SPARE: u64 = 1000;

/// Each of them once had its second before it had to go, against its own address too: a newcomer behind
/// three thousand of them waited 24 seconds.
#[tokio::test]
async fn thousands_of_silent_connections_from_one_address_are_soon_through() {
    #[cfg(unix)]
    {
        let needed = SILENT as u64 + SPARE;
        let allowed = rlimit::increase_nofile_limit(u64::MAX).expect("the limit can be read");
        assert!(allowed >= needed, "this test needs {needed} open files, and has {allowed}");
    }
    with_app(patient(), async |app| {
        let (to, opened) = (app.hub(), Arc::new(AtomicUsize::new(0)));
        let mut flood = JoinSet::new();
        for _ in 0..SILENT {
            let opened = opened.clone();
            flood.spawn(async move {
                // Who has been thrown out comes again at once.
                loop {
                    let socket = TcpSocket::new_v4().expect("a socket");
                    socket.bind(([127, 0, 0, 2], 0).into()).expect("an address");
                    if let Ok(mut stream) = socket.connect(to).await {
                        opened.fetch_add(1, Ordering::Relaxed);
                        let _ = stream.read(&mut [0]).await;
                    }
                    yield_now().await;
                }
            });
        }
        let is_there = async || opened.load(Ordering::Relaxed) >= SILENT;
        wait_until("the flood is there", is_there).await;
        for _ in 0..3 {
            let client = timeout(Duration::from_secs(10), app.client()).await;
            client.expect("a newcomer is served soon").open("\"x\"").await;
        }
        flood.shutdown().await;
        // Behind all that are left of the flood.
        app.client().await.open("\"x\"").await;
    })
    .await;
}

/// Newcomers once displaced those whose handshakes were on the way: of all computers of a server that
/// came back at once after a restart, some were turned away.
#[tokio::test]
async fn a_crowd_of_honest_clients_comes_in_at_once() {
    with_app(patient(), async |app| {
        let mut crowd = Vec::new();
        for _ in 0..2 * MANY {
            crowd.push(Raw::tcp(app.hub()).await);
        }
        for client in &mut crowd {
            client.write(upgrade("/connect").as_bytes()).await;
        }
        for client in &mut crowd {
            client.accepted().await;
        }
        let labels = [("listener", "hub"), ("reason", "crowded")];
        assert_eq!(app.metric("skynet_connection_failures_total", &labels).await, 0.0);
    })
    .await;
}

#[tokio::test]
async fn connected_clients_hold_no_place_that_could_be_taken_from_them() {
    with_app(patient(), async |app| {
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(app.client().await);
        }
        let _held = held("127.0.0.1", app.hub(), b"").await;
        for client in &mut clients {
            client.open("\"x\"").await;
        }
    })
    .await;
}

/// Waits for the end of a connection; what came before it.
async fn to_its_end(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let end = timeout(DEADLINE, stream.read_to_end(&mut all)).await;
    // However it ends.
    let _ = end.expect("the connection ends in time");
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn a_connection_kept_alive_and_not_used_is_closed_on_both_listeners() {
    with_app(hurried(), async |app| {
        for (address, path) in [(app.admin(), "/healthz"), (app.hub(), "/healthz")] {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("taken");
            let all = to_its_end(&mut stream).await;
            assert!(all.starts_with("HTTP/1.1 200"), "{all}");
            assert!(!all.to_lowercase().contains("connection: close"), "{all}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_to_the_owners_listener_that_dribbles_its_headers_is_closed() {
    with_app(hurried(), async |app| {
        let mut slow = Raw::tcp(app.admin()).await;
        let mut pace = interval(Duration::from_millis(20));
        slow.write(b"GET /healthz HTTP/1.1\r\nX-Endless: ").await;
        let dribble = async {
            while slow.try_write(b"a").await.is_ok() {
                pace.tick().await;
            }
        };
        timeout(DEADLINE, dribble).await.expect("it is closed however busy it looks");
        let labels = [("listener", "admin"), ("reason", "timeout")];
        app.metric_is("skynet_connection_failures_total", &labels, 1.0).await;
    })
    .await;
}

/// The head of a request with a body that nobody has sent yet.
fn promise(token: &str, bytes: usize) -> String {
    format!(
        "POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_body_that_comes_a_byte_at_a_time_is_waited_for_so_long_and_no_longer() {
    let mut settings = hurried();
    // The time for a body grows with its largest size.
    settings.limits.max_message_bytes = 4096;
    settings.limits.max_frame_bytes = 4096;
    with_app(settings, async |app| {
        let stream = TcpStream::connect(app.admin()).await.expect("connects");
        let (mut reading, mut writing) = stream.into_split();
        writing.write_all(promise(TOKEN, 4000).as_bytes()).await.expect("taken");
        let dribble = tokio::spawn(async move {
            let mut pace = interval(Duration::from_millis(20));
            while writing.write_all(b" ").await.is_ok() {
                pace.tick().await;
            }
        });
        let mut answer = Vec::new();
        let read = timeout(DEADLINE, reading.read_to_end(&mut answer)).await;
        let _ = read.expect("the connection ends in time");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(answer.contains("too_slow") && answer.contains("0.3 s"), "{answer}");
        timeout(DEADLINE, dribble).await.expect("it is hung up on").expect("no panic");
    })
    .await;
}

#[tokio::test]
async fn without_the_token_no_body_is_waited_for_or_read() {
    let mut settings = with_tokens();
    // Who waited for a body would wait for so long.
    settings.limits.handshake_timeout = Duration::from_secs(600);
    with_app(settings, async |app| {
        for bytes in [1000, 1 << 40] {
            let mut stream = TcpStream::connect(app.admin()).await.expect("connects");
            let head = promise("of-somebody-else", bytes);
            stream.write_all(head.as_bytes()).await.expect("taken");
            let all = to_its_end(&mut stream).await;
            assert!(all.starts_with("HTTP/1.1 401"), "{all}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_head_larger_than_a_head_may_be_is_refused_on_both_listeners() {
    with_app(config(), async |app| {
        let long = format!("X-Long: {}\r\n", "x".repeat(20_000));
        // With `Host` one more than may be.
        let many = "X-Many: x\r\n".repeat(64);
        for address in [app.hub(), app.admin()] {
            for headers in [&long, &many] {
                let mut stream = TcpStream::connect(address).await.expect("connects");
                let head = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
                // It may be hung up on before it has said all of it.
                let _ = stream.write_all(head.as_bytes()).await;
                let all = to_its_end(&mut stream).await;
                assert!(all.is_empty() || all.starts_with("HTTP/1.1 431"), "{all}");
            }
        }
    })
    .await;
}

/// A connection whose system takes in so much before its program reads.
async fn with_buffer(address: SocketAddr, receive_bytes: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(receive_bytes).expect("a buffer");
    timeout(DEADLINE, socket.connect(address)).await.expect("in time").expect("connects")
}

#[tokio::test]
async fn who_asks_again_and_again_and_reads_no_answer_is_hung_up_on() {
    with_app(hurried(), async |app| {
        let mut stream = with_buffer(app.admin(), 4096).await;
        let request = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
        let asking = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
        timeout(DEADLINE, asking).await.expect("it is hung up on");
        let labels = [("listener", "admin"), ("reason", "timeout")];
        app.metric_is("skynet_connection_failures_total", &labels, 1.0).await;
    })
    .await;
}

/// Small answers went into buffers at once, so that each request was over and nothing was late.
#[tokio::test]
async fn who_asks_for_little_until_nothing_fits_any_more_and_reads_nothing_is_hung_up_on() {
    with_app(hurried(), async |app| {
        // Of several sizes: where nothing fits any more is somewhere else in each.
        let mut all = JoinSet::new();
        for (path, buffer) in [("healthz", 1024), ("healthz", 4096), ("readyz", 1024)] {
            let mut stream = with_buffer(app.hub(), buffer).await;
            let request = format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(500);
            all.spawn(async move { while stream.write_all(request.as_bytes()).await.is_ok() {} });
        }
        timeout(DEADLINE, all.join_all()).await.expect("they are hung up on");
        let labels = [("listener", "hub"), ("reason", "timeout")];
        app.metric_is("skynet_connection_failures_total", &labels, 3.0).await;
    })
    .await;
}

const LARGE: usize = 24 << 20;

/// Serves a large answer with one place, which so many bytes a second keep.
async fn with_large_answer(answer_rate: u64, test: impl AsyncFnOnce(SocketAddr)) {
    let large = make_sync(|_| poem::Response::builder().body(vec![b'x'; LARGE]));
    let limits = Limits {
        listener: "hub",
        head_timeout: watch::channel(Duration::from_secs(1)).1,
        answer_rate,
        max_connections: 1,
    };
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind(&anywhere.into()).expect("a port");
    let address = listener.address().expect("an address").tcp().expect("a port");
    let (stop, stopped) = watch::channel(false);
    let service = Service::new(large, limits, Opening::default(), Arc::new(Metrics::new()));
    let serving = tokio::spawn(service.serve(listener, stopped));
    test(address).await;
    stop.send(true).expect("it still serves");
    timeout(DEADLINE, serving).await.expect("it stops").expect("it does not panic");
}

/// A connection that has asked, and whose system takes in so much before its program reads.
async fn asking(address: SocketAddr, receive_bytes: u32) -> TcpStream {
    let mut stream = with_buffer(address, receive_bytes).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("the request is taken");
    stream
}

#[tokio::test]
async fn a_large_answer_may_be_taken_slowly() {
    with_large_answer(1 << 20, async |address| {
        let mut slow = asking(address, 64 * 1024).await;
        let mut pace = interval(Duration::from_millis(5));
        let (mut buffer, mut taken) = (vec![0; 64 * 1024], 0);
        while taken < LARGE {
            pace.tick().await;
            let read = timeout(DEADLINE, slow.read(&mut buffer)).await.expect("in time");
            let count = read.expect("it is not cut");
            assert!(count > 0, "the answer is whole, not {taken} bytes of it");
            taken += count;
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_not_taken_gives_its_place_to_others() {
    with_large_answer(1 << 40, async |address| {
        let idle = asking(address, 4096).await;
        // There is one place, and it becomes free.
        let next = http::send(address, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(next.status, 200);
        drop(idle);
    })
    .await;
}
