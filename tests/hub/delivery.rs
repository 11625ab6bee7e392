//! How what is queued is written: the same for clients whichever way, by one system call for many or
//! by one for each, and with a pause between passes or without.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use skynet::{
    app::{App, StartError},
    config::{Config, IoUring},
};

use super::api::{self, Caller};
use crate::support::{
    TestApp, http,
    raw::{Raw, TEXT, masked, parsed, publication},
    unhurried, wait_until, with_app,
};

const LISTENERS: usize = 10;
const MESSAGES: usize = 80;

/// Each way of writing; the first uses the ring where this system has one.
const WAYS: [(IoUring, Duration); 3] = [
    (IoUring::Auto, Duration::ZERO),
    (IoUring::Off, Duration::ZERO),
    (IoUring::Auto, Duration::from_millis(5)),
];

fn configured((io_uring, interval): (IoUring, Duration)) -> Config {
    let mut config = unhurried();
    config.delivery.io_uring = io_uring;
    config.delivery.interval = interval;
    config
}

/// A message of this number, of a size that goes through all that are written differently: small,
/// shared by listeners, larger than a socket takes at once.
fn message(number: usize) -> String {
    let size = [1, 40, 700, 3, 9_000, 20, 110_000, 5][number % 8];
    format!(r#"{{"n":{number},"pad":"{}"}}"#, "p".repeat(size))
}

async fn publish(client: &mut Raw, numbers: std::ops::Range<usize>) {
    let numbers: Vec<usize> = numbers.collect();
    for some in numbers.chunks(10) {
        let frames =
            some.iter().map(|&n| masked(TEXT, publication("\"way\"", &message(n)).as_bytes()));
        client.write(&frames.collect::<Vec<_>>().concat()).await;
        for _ in some {
            let reply = parsed(&client.reply_text().await);
            assert!(reply.is("result"), "a message is taken: {reply:.200?}");
        }
    }
}

/// Reads the messages of these numbers, which must come in this order and nothing between them.
async fn hear(listener: &mut Raw, numbers: std::ops::Range<usize>) {
    for number in numbers {
        // Not read as JSON: there is a lot of it.
        let event = loop {
            let frame = listener.frame().await;
            if frame.opcode == TEXT {
                break frame.payload;
            }
        };
        let whole = http::find(&event, message(number).as_bytes()).is_some();
        assert!(whole && event.ends_with(b"}"), "number {number} is another, or cut");
    }
}

#[tokio::test]
async fn whichever_way_is_taken_everybody_gets_everything_in_order() {
    for way in WAYS {
        with_app(configured(way), async |app| {
            let listening = join_all((0..LISTENERS).map(|_| app.listener("\"way\""))).await;
            let hearing = listening.into_iter().map(async |mut listener| {
                hear(&mut listener, 0..MESSAGES).await;
            });
            let publishing = async {
                let mut publisher = app.client().await;
                publish(&mut publisher, 0..MESSAGES).await;
            };
            futures_util::join!(join_all(hearing), publishing);
        })
        .await;
    }
}

#[tokio::test]
async fn whichever_way_is_taken_a_full_socket_goes_on_where_it_was_and_keeps_nobody() {
    for way in WAYS {
        let mut config = configured(way);
        config.limits.max_queue_bytes = 64 << 20;
        with_app(config, async |app| {
            let mut others = join_all((0..5).map(|_| app.listener("\"way\""))).await;
            let mut late = app.client().await;
            late.open("\"way\"").await;
            let mut publisher = app.client().await;
            // The others have all of it before the late one reads.
            let mut sent = 0;
            while app.stats().longest_queue_bytes == 0 {
                let numbers = sent..sent + 40;
                let hearing = others.iter_mut().map(|other| hear(other, numbers.clone()));
                futures_util::join!(join_all(hearing), publish(&mut publisher, numbers.clone()));
                sent = numbers.end;
                assert!(sent < 2_000, "the late one's socket is never full");
            }
            hear(&mut late, 0..sent).await;
            // Its session has written all and given it back.
            publish(&mut publisher, 0..8).await;
            hear(&mut late, 0..8).await;
        })
        .await;
    }
}

#[tokio::test]
async fn whichever_way_is_taken_those_who_go_in_the_middle_keep_nobody_from_anything() {
    for way in WAYS {
        with_app(configured(way), async |app| {
            let mut staying = join_all((0..5).map(|_| app.listener("\"way\""))).await;
            let mut publisher = app.client().await;
            for round in 0..10 {
                let going = join_all((0..5).map(|_| app.listener("\"way\""))).await;
                let numbers = round * 20..round * 20 + 20;
                // They leave unread what they were sent, so that the next write meets a reset.
                let leaving = async { drop(going) };
                let hearing = staying.iter_mut().map(|client| hear(client, numbers.clone()));
                let publishing = publish(&mut publisher, numbers.clone());
                futures_util::join!(publishing, leaving, join_all(hearing));
            }
            wait_until("those who went are gone", async || app.stats().clients == 6).await;
        })
        .await;
    }
}

#[tokio::test]
async fn with_an_interval_passes_are_no_closer_than_it_and_the_first_waits_for_nothing() {
    let interval = Duration::from_millis(100);
    with_app(configured((IoUring::Auto, interval)), async |app| {
        let mut client = app.client().await;
        client.open("1").await;
        let begun = Instant::now();
        for _ in 0..5 {
            client.open("2").await;
        }
        let took = begun.elapsed();
        assert!(took >= interval * 4, "five answers, one after the other, came within {took:?}");
    })
    .await;
    wait_until("a first answer comes sooner than an interval", async || {
        let mut sooner = false;
        with_app(configured((IoUring::Auto, interval)), async |app| {
            let mut client = app.client().await;
            let begun = Instant::now();
            client.open("1").await;
            sooner = begun.elapsed() < interval / 2;
        })
        .await;
        sooner
    })
    .await;
}

#[tokio::test]
async fn io_uring_that_is_asked_for_is_used_or_the_program_does_not_start() {
    let told = async |app: &TestApp| Caller::owner(app).get("/info").await["io_uring"].clone();
    let mut config = api::config();
    config.delivery.io_uring = IoUring::Off;
    with_app(config.clone(), async |app| assert_eq!(told(app).await, false)).await;
    config.delivery.io_uring = IoUring::On;
    let there = match App::build(config.clone()).await {
        Ok(app) => {
            drop(app);
            with_app(config.clone(), async |app| assert_eq!(told(app).await, true)).await;
            true
        }
        Err(error) => {
            assert!(matches!(error, StartError::IoUring(_)), "{error}");
            let told = error.to_string();
            assert!(told.contains("delivery.io_uring = \"auto\""), "{told}");
            false
        }
    };
    config.delivery.io_uring = IoUring::Auto;
    with_app(config, async |app| assert_eq!(told(app).await, there)).await;
}
