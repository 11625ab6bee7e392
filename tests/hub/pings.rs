//! Pings: who answers them, or takes what it is due, stays; who does neither is let go.

use std::time::Duration;

use skynet::config::Config;
use tokio::time::{Instant, interval};

use crate::support::{
    TestApp, config,
    pair::undisturbed,
    raw::{CLOSE, PING, PONG, Raw, TEXT, masked},
    with_app,
};

fn pinging(every: Duration) -> Config {
    let mut settings = config();
    settings.limits.ping_interval = every;
    settings
}

/// A client that has asked for so many large replies and has read none of them yet. What it writes
/// from now on stands behind commands that wait until it reads.
async fn behind(app: &TestApp, replies: usize) -> Raw {
    let mut publisher = app.client().await;
    publisher.publish("\"x\"", &format!("\"{}\"", "m".repeat(120_000))).await;
    let mut client = Raw::narrow(app.hub()).await;
    client.write(&masked(TEXT, br#"{"type":"log"}"#).repeat(replies)).await;
    client
}

#[tokio::test]
async fn a_slow_reader_of_many_replies_that_answers_pings_stays() {
    with_app(pinging(Duration::from_millis(500)), async |app| {
        let mut client = behind(app, 300).await;
        let mut pace = interval(Duration::from_millis(10));
        let (mut replies, mut pings) = (0, 0);
        while replies < 300 {
            let frame = client.frame().await;
            match frame.opcode {
                PING => {
                    client.write(&masked(PONG, &frame.payload)).await;
                    pings += 1;
                }
                TEXT => {
                    replies += 1;
                    pace.tick().await;
                }
                _ => panic!("after {replies} replies: {:?}", frame.close()),
            }
        }
        assert!(pings > 3, "it was slow enough to miss two pings: {pings}");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_stops_reading_its_replies_is_closed_with_4001() {
    with_app(pinging(Duration::from_millis(200)), async |app| {
        let mut client = behind(app, 300).await;
        for _ in 0..10 {
            assert_eq!(client.frame().await.opcode, TEXT);
        }
        // Though it still does not read.
        app.disconnects("ping_timeout", 1).await;
        app.is_empty().await;
        drop(client);
    })
    .await;
}

/// Linux keeps megabytes for a client, says that it takes more only when a third of them have left, and
/// a pong comes behind all of them: a client that took 25 kB a second once counted as gone.
#[tokio::test]
async fn a_client_that_takes_little_at_a_time_stays_however_late_its_pongs_are() {
    with_app(pinging(Duration::from_millis(500)), async |app| {
        for _ in 0..12 {
            // Gone before it is missed.
            let mut publisher = app.client().await;
            for _ in 0..10 {
                publisher.publish("\"x\"", &format!("\"{}\"", "m".repeat(100_000))).await;
            }
        }
        let mut client = app.client().await;
        client.write(&masked(TEXT, br#"{"type":"open","channel":"x","last":120}"#)).await;
        // A tenth of a megabyte every 200 ms: for each third of what the system keeps, many pings.
        let mut pace = interval(Duration::from_millis(200));
        for _ in 0..30 {
            pace.tick().await;
            let frame = client.frame().await;
            assert!(matches!(frame.opcode, TEXT | PING), "{:?}", frame.close());
        }
        assert_eq!(app.stats().clients, 1);
    })
    .await;
}

#[tokio::test]
async fn two_missed_pings_close_with_4001() {
    with_app(pinging(Duration::from_millis(200)), async |app| {
        undisturbed(app.hub(), async || {
            let mut client = app.listener("\"x\"").await;
            let begun = Instant::now();
            let mut pings = 0;
            let close = loop {
                let frame = client.frame().await;
                match frame.opcode {
                    PING => pings += 1,
                    _ => break frame,
                }
            };
            let took = begun.elapsed();
            let (code, reason) = close.close();
            assert_eq!(code, Some(4001), "{reason}");
            assert_eq!(pings, 2, "two pings are missed, not one and not three");
            assert!(took >= Duration::from_millis(350), "after two intervals: {took:?}");
            assert!(took < Duration::from_secs(5), "not long after: {took:?}");
            let _ = client.try_write(&masked(CLOSE, &4001_u16.to_be_bytes())).await;
            assert_eq!(client.next().await, None);
        })
        .await;
        app.disconnects("ping_timeout", 1).await;
    })
    .await;
}

#[tokio::test]
async fn answering_pings_keeps_a_connection() {
    with_app(pinging(Duration::from_millis(100)), async |app| {
        let mut client = app.client().await;
        for _ in 0..8 {
            let ping = client.frame().await;
            assert_eq!(ping.opcode, PING);
            client.write(&masked(PONG, &ping.payload)).await;
        }
        client.open("\"x\"").await;
    })
    .await;
}

#[tokio::test]
async fn answering_every_other_ping_keeps_a_connection() {
    with_app(pinging(Duration::from_millis(150)), async |app| {
        let mut client = app.client().await;
        for number in 0..8 {
            let ping = client.frame().await;
            assert_eq!(ping.opcode, PING, "{number}: {ping:?}");
            if number % 2 == 1 {
                client.write(&masked(PONG, &ping.payload)).await;
            }
        }
        client.open("\"x\"").await;
    })
    .await;
}
