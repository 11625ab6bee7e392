//! The hub behind TLS: what holds without it holds with it.

use std::time::Duration;

use futures_util::future::join_all;
use skynet::{http::Changed, protocol::CloseReason};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::support::{
    DEADLINE, TestApp, config,
    raw::{CLOSE, FIN, PING, PONG, Raw, TEXT, frame, masked, parsed, publication, upgrade},
    tls::{Files, Trust, exchange, made, with_tls},
    unhurried, with_app,
};

const MIB: usize = 1 << 20;

const HUB: (&str, &str) = ("listener", "hub");

fn large(number: u32) -> String {
    publication("\"x\"", &format!(r#"{{"n":{number},"pad":"{}"}}"#, "p".repeat(100_000)))
}

fn number(text: &str) -> u32 {
    parsed(text).get("message").expect("an event has its message").number_of("n") as u32
}

async fn failures(app: &TestApp, reason: &str, times: f64) {
    let labels = [HUB, ("reason", reason)];
    app.metric_is("skynet_connection_failures_total", &labels, times).await;
}

#[tokio::test]
async fn computers_talk_over_either_version_of_tls_as_they_do_without() {
    let (files, der) = Files::new();
    let mut settings = config();
    settings.hub.tls = files.config();
    with_app(settings, async |app| {
        for versions in [&[&TLS12], &[&TLS13]] {
            let trust = Trust::speaking(&der, versions);
            let mut listener = trust.client(app.hub()).await;
            listener.open("\"x\"").await;
            let mut publisher = trust.client(app.hub()).await;
            publisher.publish("\"x\"", "{\"a\":1}").await;
            assert_eq!(listener.event().await.text_of("channel"), "x");
            // Larger than a record of TLS, both ways.
            let text = "p".repeat(100 * 1024);
            publisher.publish("\"x\"", &format!("\"{text}\"")).await;
            assert_eq!(listener.event().await.text_of("message"), text);
        }
    })
    .await;
}

#[tokio::test]
async fn what_stands_behind_the_handshake_in_one_record_is_read() {
    let (_files, trust, settings) = with_tls(config());
    with_app(settings, async |app| {
        let mut client = Raw::over(trust.stream(app.hub()).await);
        let open = masked(TEXT, br#"{"type":"open","channel":"x"}"#);
        client.write(&[upgrade("/connect").as_bytes(), &open, &open].concat()).await;
        client.accepted().await;
        assert!(parsed(&client.text().await).is("result"));
        client.text().await;
    })
    .await;
}

#[tokio::test]
async fn a_frame_may_be_cut_at_every_byte_into_records_of_its_own() {
    let (_files, trust, settings) = with_tls(unhurried());
    with_app(settings, async |app| {
        let mut client = trust.client(app.hub()).await;
        let open = frame(FIN | TEXT, br#"{"type":"open","channel":"x"}"#, Some([1, 2, 3, 4]));
        for cut in 1..open.len() {
            client.write(&open[..cut]).await;
            client.write(&open[cut..]).await;
            assert!(parsed(&client.text().await).is("result"), "cut at {cut}");
        }
        for byte in &open {
            client.write(&[*byte]).await;
        }
        assert!(parsed(&client.text().await).is("result"));
    })
    .await;
}

#[tokio::test]
async fn commands_that_come_in_a_flood_are_answered_each() {
    let (_files, trust, settings) = with_tls(unhurried());
    with_app(settings, async |app| {
        // More than is read and decrypted at once.
        let count = 4000;
        let command = masked(TEXT, br#"{"type":"close","channel":"not open"}"#);
        let mut client = trust.client(app.hub()).await;
        client.write(&command.repeat(count)).await;
        for n in 0..count {
            assert!(parsed(&client.text().await).is("error"), "answer {n}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_has_ended_its_side_gets_the_replies_to_its_last_commands() {
    let (_files, trust, settings) = with_tls(config());
    with_app(settings, async |app| {
        let mut client = trust.client(app.hub()).await;
        client.send(r#"{"type":"open","channel":"x"}"#).await;
        client.half_close().await;
        assert!(parsed(&client.text().await).is("result"));
        assert_eq!(client.next().await, None);
        app.disconnects("client_closed", 1).await;
    })
    .await;
}

#[tokio::test]
async fn many_listeners_get_every_message_in_order() {
    let (_files, trust, settings) = with_tls(unhurried());
    with_app(settings, async |app| {
        let mut listeners = join_all((0..40).map(|_| trust.client(app.hub()))).await;
        join_all(listeners.iter_mut().map(|listener| listener.open("\"x\""))).await;
        let mut publisher = trust.client(app.hub()).await;
        for n in 0..50 {
            publisher.publish("\"x\"", &n.to_string()).await;
        }
        let heard = join_all(listeners.iter_mut().map(async |listener| {
            for n in 0..50 {
                assert_eq!(listener.event().await.number_of("message"), f64::from(n));
            }
        }));
        timeout(DEADLINE, heard).await.expect("all of it in time");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_and_its_queue_stays_within_bounds() {
    let (_files, trust, mut settings) = with_tls(unhurried());
    settings.limits.max_queue_bytes = MIB;
    with_app(settings, async |app| {
        let mut sleeper = trust.narrow(app.hub()).await;
        sleeper.open("\"x\"").await;
        let mut publisher = trust.client(app.hub()).await;
        let (begun, mut n) = (Instant::now(), 0);
        while app.stats().totals.disconnects[CloseReason::TooSlow as usize] == 0 {
            publisher.send(&large(n)).await;
            publisher.frame().await;
            n += 1;
            assert!(app.stats().queued_bytes <= 2 * MIB, "what waits is bounded");
            assert!(begun.elapsed() < DEADLINE, "{n} unread messages let nobody go");
        }
        app.disconnects("too_slow", 1).await;
        app.metric_is("skynet_clients", &[], 1.0).await;
        drop(sleeper);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_late_gets_all_of_it_in_order() {
    let (_files, trust, settings) = with_tls(unhurried());
    with_app(settings, async |app| {
        let mut late = trust.narrow(app.hub()).await;
        late.open("\"x\"").await;
        let mut publisher = trust.client(app.hub()).await;
        let (begun, mut published) = (Instant::now(), 0);
        // Its socket is full when the hub has to keep something for it.
        while app.stats().queued_bytes < 300_000 {
            publisher.send(&large(published)).await;
            publisher.frame().await;
            published += 1;
            assert!(begun.elapsed() < DEADLINE, "{published} messages do not fill its socket");
        }
        for n in 0..published {
            assert_eq!(number(&late.event_text().await), n);
        }
        late.publish("\"x\"", "1").await;
    })
    .await;
}

#[tokio::test]
async fn the_hub_ends_a_connection_by_a_close_frame_and_the_end_of_tls() {
    let (_files, trust, settings) = with_tls(config());
    let app = TestApp::start(settings).await;
    let mut client = trust.client(app.hub()).await;
    let stopped = app.stop();
    let mut frame = client.frame().await;
    if frame.opcode == PING {
        client.write(&masked(PONG, &frame.payload)).await;
        frame = client.frame().await;
    }
    client.write(&masked(CLOSE, &frame.payload)).await;
    assert_eq!(frame.close().0, Some(1001));
    // A connection that is cut off instead would be an error here.
    let mut rest = Vec::new();
    let read = client.into_stream().read_to_end(&mut rest).await;
    assert_eq!(read.expect("a proper end"), 0);
    stopped.await;
}

#[tokio::test]
async fn a_client_that_ends_tls_or_goes_without_a_word_has_left() {
    let (_files, trust, settings) = with_tls(config());
    with_app(settings, async |app| {
        let mut proper = trust.client(app.hub()).await;
        proper.half_close().await;
        app.disconnects("client_closed", 1).await;
        let (wordless, _) = trust.client(app.hub()).await.into_stream().into_inner();
        drop(wordless);
        app.disconnects("client_closed", 2).await;
    })
    .await;
}

#[tokio::test]
async fn what_is_no_tls_after_the_handshake_ends_that_connection_alone() {
    let (_files, trust, settings) = with_tls(config());
    with_app(settings, async |app| {
        let mut other = trust.client(app.hub()).await;
        let (mut broken, _) = trust.client(app.hub()).await.into_stream().into_inner();
        broken.write_all(b"\x17\x03\x03\x00\x05hello").await.expect("it is taken");
        app.disconnects("connection_lost", 1).await;
        other.publish("\"x\"", "1").await;
    })
    .await;
}

#[tokio::test]
async fn new_connections_are_served_by_a_new_certificate_and_old_ones_live_on() {
    let (files, old, settings) = with_tls(config());
    with_app(settings, async |app| {
        let mut before = old.client(app.hub()).await;
        before.open("\"x\"").await;
        let [certificates] = app.certificates() else { panic!("one listener speaks TLS") };
        assert_eq!(certificates.section(), "hub.tls");
        assert_eq!(certificates.reload(), Ok(Changed::No));

        let new = made();
        files.write(&new.certificate, &new.key);
        assert_eq!(certificates.reload(), Ok(Changed::Yes));
        let mut after = Trust::new(&new.der).client(app.hub()).await;
        let stream = TcpStream::connect(app.hub()).await.expect("connects");
        assert!(old.try_over(stream).await.is_err(), "the old certificate is gone");
        failures(app, "tls", 1.0).await;

        // Of bad files nothing is taken.
        let other = made();
        files.write(&other.certificate, &new.key);
        let error = certificates.reload().expect_err("the key is another's").to_string();
        assert!(error.contains("is not the key of the first certificate"), "{error}");
        Trust::new(&new.der).client(app.hub()).await.publish("\"x\"", "2").await;
        after.publish("\"x\"", "1").await;
        before.event().await;
        before.event().await;
    })
    .await;
}

#[tokio::test]
async fn whoever_does_not_finish_the_handshake_is_let_go_in_time() {
    let (_files, trust, mut settings) = with_tls(config());
    settings.limits.handshake_timeout = Duration::from_millis(500);
    with_app(settings, async |app| {
        let mut silent = TcpStream::connect(app.hub()).await.expect("connects");
        let mut half = TcpStream::connect(app.hub()).await.expect("connects");
        half.write_all(b"\x16\x03\x01\x02\x00\x01").await.expect("it is taken");
        let mut shaken = trust.stream(app.hub()).await;
        for stream in [&mut silent, &mut half] {
            let read = timeout(DEADLINE, stream.read(&mut [0; 64])).await.expect("an end in time");
            assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        }
        let read = timeout(DEADLINE, shaken.read(&mut [0; 64])).await.expect("an end in time");
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        failures(app, "timeout", 3.0).await;
    })
    .await;
}

#[tokio::test]
async fn plain_http_is_told_that_tls_is_spoken_here() {
    let (_files, _trust, settings) = with_tls(config());
    with_app(settings, async |app| {
        let plain = TcpStream::connect(app.hub()).await.expect("connects");
        let answer = exchange(plain, &upgrade("/connect")).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("https:// or wss://"), "{answer}");
        failures(app, "not_tls", 1.0).await;
    })
    .await;
}

#[tokio::test]
async fn tls_1_1_is_refused_and_counted() {
    let (_files, _trust, settings) = with_tls(config());
    with_app(settings, async |app| {
        let mut old = TcpStream::connect(app.hub()).await.expect("connects");
        // A ClientHello of TLS 1.1: version, random, no session, one suite, no compression.
        let hello = [&[3, 2][..], &[7; 32], &[0, 0, 2, 0xc0, 0x13, 1, 0]].concat();
        let length = hello.len() as u8;
        let head = [22, 3, 1, 0, length + 4, 1, 0, 0, length];
        old.write_all(&[&head[..], &hello].concat()).await.expect("it is taken");
        let mut answer = Vec::new();
        let read = timeout(DEADLINE, old.read_to_end(&mut answer)).await.expect("an end in time");
        read.expect("an alert before the end");
        // A fatal alert.
        assert_eq!((answer[0], answer[5]), (21, 2), "{answer:?}");
        failures(app, "tls", 1.0).await;
    })
    .await;
}

#[tokio::test]
async fn http_1_1_is_the_one_protocol_within_tls() {
    let (_files, trust, settings) = with_tls(config());
    with_app(settings, async |app| {
        let stream = trust.offering(&["h2", "http/1.1"]).stream(app.hub()).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let stream = TcpStream::connect(app.hub()).await.expect("connects");
        assert!(trust.offering(&["h2"]).try_over(stream).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn the_page_names_the_hub_by_wss() {
    let (_files, trust, settings) = with_tls(config());
    with_app(settings, async |app| {
        let request = "GET / HTTP/1.0\r\nHost: hub.example.org:4567\r\n\r\n";
        let answer = exchange(trust.stream(app.hub()).await, request).await;
        assert!(answer.contains("wss://hub.example.org:4567/connect"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn the_owners_listener_may_speak_tls_while_the_hub_does_not() {
    let (files, der) = Files::new();
    let mut settings = config();
    settings.admin.tls = files.config();
    let app = TestApp::start(settings).await;
    let request = "GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n";
    let answer = exchange(Trust::new(&der).stream(app.admin()).await, request).await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    app.client().await.publish("\"x\"", "1").await;
    app.stop().await;
}
