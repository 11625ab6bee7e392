//! What goes wrong on one connection while two others talk: they notice nothing.

use std::{
    env,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    io::AsyncWriteExt,
    runtime,
    time::{interval, timeout},
};

use crate::support::{
    DEADLINE, config,
    pair::{Pair, undisturbed},
    process::KillOnDrop,
    raw::{BINARY, FIN, PING, Raw, TEXT, frame, masked, publication, upgrade},
    unhurried, wait_until, with_app,
};

/// Tells a copy of this test program that it is to be the client that is killed.
const CHILD_OF: &str = "HUB_TEST_CHILD_OF";

/// Says that it is there, then publishes without end and without reading what it is told.
fn publish_until_killed(hub: SocketAddr) -> ! {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut client = Raw::connect(hub).await;
        client.publish("\"doomed\"", "\"here\"").await;
        let message = format!("\"{}\"", "m".repeat(5000));
        let command = masked(TEXT, publication("\"nobody\"", &message).as_bytes());
        let (mut reading, mut writing) = client.into_stream().into_split();
        tokio::spawn(async move {
            let mut sink = tokio::io::sink();
            tokio::io::copy(&mut reading, &mut sink).await
        });
        while writing.write_all(&command).await.is_ok() {}
    });
    panic!("the hub hung up before this client was killed");
}

#[test]
fn clients_that_are_killed_are_clients_that_left() {
    if let Ok(hub) = env::var(CHILD_OF) {
        publish_until_killed(hub.parse().expect("an address"));
    }
    let name = "faults::clients_that_are_killed_are_clients_that_left";
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(with_app(unhurried(), async |app| {
        undisturbed(app.hub(), async || {
            let mut listener = app.listener("\"doomed\"").await;
            for _ in 0..3 {
                let child = Command::new(env::current_exe().expect("this program has a path"))
                    .args(["--exact", name, "--nocapture"])
                    .env(CHILD_OF, app.hub().to_string())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn();
                let child = KillOnDrop(child.expect("this program starts again"));
                listener.event_text().await;
                wait_until("it is well under way", async || {
                    let log = listener.command(r#"{"type":"log","start":0,"end":1}"#).await;
                    let entry = log.array_of("log").first();
                    entry.is_some_and(|entry| entry.text_of("channel") == "nobody")
                })
                .await;
                // In the middle of its talk, without a word.
                drop(child);
                app.metric_is("skynet_clients", &[], 3.0).await;
                listener.publish("\"quiet again\"", "1").await;
            }
        })
        .await;
    }));
}

#[tokio::test]
async fn connections_that_end_without_a_close_are_lost_connections() {
    with_app(config(), async |app| {
        undisturbed(app.hub(), async || {
            let command = masked(TEXT, &publication("\"x\"", "\"cut short\"").into_bytes());
            let mut listener = app.listener("\"x\"").await;
            for end in 0..6 {
                let mut client = app.listener("\"x\"").await;
                // Also in the middle of a frame, of its length and of its mask.
                client.write(&command[..[0, 1, 2, 4, 9, command.len() - 1][end]]).await;
                // Some by a reset, some by ending one direction only, some by ending both.
                let half_closed = match end % 3 {
                    0 => {
                        client.reset();
                        None
                    }
                    1 => {
                        client.half_close().await;
                        Some(client)
                    }
                    _ => {
                        drop(client);
                        None
                    }
                };
                app.disconnects("connection_lost", end as u32 + 1).await;
                drop(half_closed);
            }
            assert!(listener.received().await.is_empty(), "half a command is none");
        })
        .await;
    })
    .await;
}

/// The last commands of a client that breaks its connection have arrived all the same: a write
/// that fails must not keep them from being read.
#[tokio::test]
async fn what_a_client_sent_before_its_connection_broke_is_carried_out() {
    with_app(unhurried(), async |app| {
        let mut listener = app.listener("\"kept\"").await;
        let mut publisher = app.client().await;
        let large = publication("\"x\"", &format!("\"{}\"", "m".repeat(100_000)));
        for round in 0..4 {
            // Its socket is full, so that the hub is about to write to it.
            let mut client = Raw::narrow(app.hub()).await;
            client.open("\"x\"").await;
            wait_until("something is queued", async || {
                publisher.send(&large).await;
                assert_eq!(publisher.frame().await.opcode, TEXT);
                app.stats().queued_bytes > 0
            })
            .await;
            let commands = (0..3).map(|number| {
                let message = format!("{}", round * 3 + number);
                masked(TEXT, publication("\"kept\"", &message).as_bytes())
            });
            client.write(&commands.collect::<Vec<_>>().concat()).await;
            // With so much unread, this is a reset.
            drop(client);
            app.disconnects("connection_lost", round + 1).await;
        }
        for number in 0..12 {
            assert_eq!(listener.event().await.number_of("message"), f64::from(number));
        }
        assert!(listener.received().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn half_open_connections_are_found_by_their_silence() {
    let mut settings = config();
    settings.limits.ping_interval = Duration::from_millis(300);
    with_app(settings, async |app| {
        undisturbed(app.hub(), async || {
            // Their system still takes bytes, their program is gone: no answer, no end.
            let mut gone = Vec::new();
            for _ in 0..20 {
                gone.push(app.listener("\"x\"").await);
            }
            app.disconnects("ping_timeout", 20).await;
            app.metric_is("skynet_clients", &[], 2.0).await;
            app.metric_is("skynet_subscriptions", &[], 2.0).await;
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_never_reads_harms_nobody() {
    with_app(unhurried(), async |app| {
        undisturbed(app.hub(), async || {
            let sleeper = {
                let mut sleeper = Raw::narrow(app.hub()).await;
                sleeper.open("\"x\"").await;
                sleeper
            };
            let mut listener = app.listener("\"x\"").await;
            let mut publisher = app.client().await;
            let message = format!("\"{}\"", "m".repeat(60_000));
            for _ in 0..100 {
                let id = publisher.publish("\"x\"", &message).await.text_of("ID");
                assert_eq!(listener.event().await.text_of("ID"), id);
            }
            app.disconnects("too_slow", 1).await;
            drop(sleeper);
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn frames_of_a_mebibyte_harm_nobody() {
    with_app(config(), async |app| {
        undisturbed(app.hub(), async || {
            let clients = [TEXT, BINARY, TEXT, BINARY].map(|opcode| async move {
                let mut client = app.listener("\"x\"").await;
                let _ = client.try_write(&masked(opcode, &vec![b'a'; 1 << 20])).await;
                assert_eq!(client.close_code().await, Some(1009));
            });
            join_all(clients).await;
        })
        .await;
        app.disconnects("frame_too_large", 4).await;
    })
    .await;
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_taken_and_counted() {
    with_app(config(), async |app| {
        undisturbed(app.hub(), async || {
            let mut listener = app.listener("\"x\"").await;
            let mut client = app.client().await;
            let head = br#"{"type":"message","channel":"x","message":""#;
            for _ in 0..10 {
                let bytes = [&head[..], b"caf\xe9 \xff\xfe", b"\"}"].concat();
                client.write(&masked(TEXT, &bytes)).await;
                assert!(client.reply_text().await.contains("result"));
                let message = listener.event().await.text_of("message");
                assert_eq!(message, "caf\u{fffd} \u{fffd}\u{fffd}");
            }
        })
        .await;
        app.metric_is("skynet_invalid_utf8_total", &[], 10.0).await;
    })
    .await;
}

#[tokio::test]
async fn wrong_masks_harm_nobody() {
    let command = publication("\"x\"", "1").into_bytes();
    with_app(config(), async |app| {
        undisturbed(app.hub(), async || {
            let mut listener = app.listener("\"x\"").await;
            let clients = (0..10).map(|_| async {
                let mut unmasked = app.client().await;
                unmasked.write(&frame(FIN | TEXT, &command, None)).await;
                assert_eq!(unmasked.close_code().await, Some(1002));
                // Masked with one key, sent with another: bytes that are no command.
                let mut spoilt = masked(TEXT, &command);
                spoilt[2..6].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
                let mut client = app.client().await;
                client.write(&spoilt).await;
                assert!(client.reply_text().await.contains("error"));
                client.open("\"y\"").await;
            });
            join_all(clients).await;
            assert!(listener.received().await.is_empty());
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn text_split_into_bytes_harms_nobody() {
    with_app(config(), async |app| {
        undisturbed(app.hub(), async || {
            let mut listener = app.listener("\"x\"").await;
            let mut clients = Vec::new();
            for _ in 0..10 {
                clients.push(Raw::tcp(app.hub()).await);
            }
            // Ten clients, a byte of each in turn.
            let mut bytes = upgrade("/connect").into_bytes();
            bytes.extend(masked(TEXT, publication("\"x\"", "\"é\"").as_bytes()));
            bytes.extend(masked(PING, b"done"));
            for byte in bytes {
                for client in &mut clients {
                    client.write(&[byte]).await;
                }
            }
            for client in &mut clients {
                client.accepted().await;
                assert!(client.reply_text().await.contains("result"));
                assert_eq!(client.frame().await.payload, b"done");
                assert_eq!(listener.event().await.text_of("message"), "é");
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn fifty_connections_a_second_for_ten_seconds_harm_nobody() {
    with_app(config(), async |app| {
        let pair = Pair::start(app.hub()).await;
        let mut listener = app.listener("\"passing\"").await;
        let mut pace = interval(Duration::from_millis(20));
        for number in 0..500 {
            pace.tick().await;
            let mut client = Raw::connect(app.hub()).await;
            client.open("\"*\"").await;
            client.publish("\"passing\"", &number.to_string()).await;
            let event = timeout(DEADLINE, listener.event()).await.expect("in time");
            assert_eq!(event.number_of("message"), f64::from(number));
        }
        pair.unharmed().await;
        // The pair and those who passed by have gone, and nobody else.
        app.metric_is("skynet_clients", &[], 1.0).await;
        app.metric_is("skynet_disconnects_total", &[], 502.0).await;
    })
    .await;
}
