//! Clients that do not take what they are due: what they cost, and when they are let go.

use skynet::{config::Config, protocol::CloseReason};
use tokio::time::{Duration, Instant};

use crate::support::{
    TestApp,
    pair::undisturbed,
    raw::{Raw, TEXT, masked, parsed, publication},
    unhurried, with_app,
};

const MIB: usize = 1 << 20;

fn queues(max: usize, total: usize) -> Config {
    let mut settings = unhurried();
    settings.limits.max_queue_bytes = max;
    settings.limits.total_queue_bytes = total;
    settings
}

/// Publishes a numbered message with a lot of padding.
async fn publish_large(client: &mut Raw, channel: &str, number: u32) {
    let message = format!(r#"{{"n":{number},"pad":"{}"}}"#, "p".repeat(100_000));
    client.send(&publication(channel, &message)).await;
    let reply = client.frame().await;
    // Not read as JSON: there are many of them. An error would be short.
    let taken = reply.opcode == TEXT && reply.payload.len() > 100_000;
    assert!(taken, "message {number} is taken");
}

/// The number of a message of [`publish_large`].
fn number(text: &str) -> u32 {
    let event = parsed(text);
    let message = event.get("message").expect("an event has its message");
    message.number_of("n") as u32
}

/// Publishes to a channel until the hub has let somebody go; how many it took.
async fn publish_until_somebody_goes(app: &TestApp, client: &mut Raw, channel: &str) -> u32 {
    let begun = Instant::now();
    let mut published = 0;
    loop {
        publish_large(client, channel, published).await;
        published += 1;
        let totals = app.stats().totals;
        let gone = totals.disconnects[CloseReason::TooSlow as usize];
        if gone > 0 || totals.dropped.iter().any(|&frames| frames > 0) {
            return published;
        }
        let patience = Duration::from_secs(30);
        assert!(begun.elapsed() < patience, "{published} unread messages let nobody go");
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_and_nobody_else_notices() {
    with_app(queues(MIB, 256 * MIB), async |app| {
        undisturbed(app.hub(), async || {
            let sleeper = {
                let mut sleeper = Raw::narrow(app.hub()).await;
                sleeper.open("\"x\"").await;
                sleeper
            };
            let mut publisher = app.client().await;
            let published = publish_until_somebody_goes(app, &mut publisher, "\"x\"").await;
            // What the systems take in is some 3 MB; in all queues 256 MiB have room.
            assert!(published < 200, "{published} messages of 100 kB were kept for it");
            app.disconnects("too_slow", 1).await;
            // It goes although it still does not read: pair and publisher are left.
            app.metric_is("skynet_clients", &[], 3.0).await;
            app.metric_is("skynet_subscriptions", &[], 2.0).await;
            drop(sleeper);
        })
        .await;
        let dropped = app.metric("skynet_dropped_frames_total", &[]).await;
        assert!(dropped > 0.0, "what it did not get is counted");
    })
    .await;
}

#[tokio::test]
async fn a_slow_client_gets_a_beginning_of_what_it_was_due_then_4000() {
    // The hub resets the connection two seconds after its decision; on a busy machine the client
    // may wake up too late for the close frame, and tries again.
    let mut in_time = false;
    for _ in 0..5 {
        with_app(queues(MIB, 256 * MIB), async |app| {
            let mut sleeper = Raw::narrow(app.hub()).await;
            sleeper.open("\"x\"").await;
            let mut publisher = app.client().await;
            let published = publish_until_somebody_goes(app, &mut publisher, "\"x\"").await;
            // It wakes up at once: whole frames in order, then the close.
            let mut due = 0;
            let closed = sleeper
                .closed_or_reset_after(|text| {
                    assert_eq!(number(&text), due, "nothing is left out before the end");
                    due += 1;
                })
                .await;
            assert!(due < published, "{due} of {published} were sent, the rest was dropped");
            if let Some((code, reason)) = closed {
                assert_eq!(code, Some(4000), "{reason}");
                assert!(!reason.is_empty(), "the close says why");
                in_time = true;
            }
            app.disconnects("too_slow", 1).await;
        })
        .await;
        if in_time {
            return;
        }
    }
    panic!("no close frame in five tries");
}

#[tokio::test]
async fn thousands_of_log_commands_at_once_are_all_answered_however_slowly_one_reads() {
    with_app(queues(MIB, 256 * MIB), async |app| {
        let mut publisher = app.client().await;
        let message = format!("\"{}\"", "m".repeat(300));
        for _ in 0..30 {
            publisher.publish("\"x\"", &message).await;
        }
        undisturbed(app.hub(), async || {
            let mut reader = Raw::narrow(app.hub()).await;
            let command = masked(TEXT, br#"{"type":"log"}"#);
            reader.write(&command.repeat(3000)).await;
            // 40 MB are due. While it does not read, others go about their business.
            for _ in 0..200 {
                publisher.publish("\"elsewhere\"", "1").await;
            }
            for reply in 0..3000 {
                let frame = reader.frame().await;
                assert_eq!(frame.opcode, TEXT, "reply {reply}");
                // Not read as JSON: there are many of them. An error would be short.
                assert!(frame.payload.len() > 9000, "reply {reply} is a log");
            }
            assert!(reader.received().await.is_empty(), "one reply for each");
        })
        .await;
        assert_eq!(app.metric("skynet_dropped_frames_total", &[]).await, 0.0);
    })
    .await;
}

#[tokio::test]
async fn clients_that_go_while_their_commands_wait_are_let_go() {
    with_app(queues(MIB, 256 * MIB), async |app| {
        let mut publisher = app.client().await;
        let message = format!("\"{}\"", "m".repeat(1000));
        for _ in 0..100 {
            publisher.publish("\"x\"", &message).await;
        }
        for resets in [true, false, true, false] {
            let mut client = app.listener("\"x\"").await;
            // 10 MB are due, ten times what may be queued, and the client is gone before the
            // first of it can be written.
            client.write(&masked(TEXT, br#"{"type":"log"}"#).repeat(100)).await;
            match resets {
                true => client.reset(),
                false => drop(client),
            }
            app.metric_is("skynet_clients", &[], 1.0).await;
            app.metric_is("skynet_subscriptions", &[], 0.0).await;
        }
    })
    .await;
}

#[tokio::test]
async fn live_events_reach_a_client_whose_commands_wait() {
    with_app(queues(MIB, 256 * MIB), async |app| {
        let mut publisher = app.client().await;
        let message = format!("\"{}\"", "m".repeat(1000));
        for _ in 0..100 {
            publisher.publish("\"x\"", &message).await;
        }
        let mut reader = Raw::narrow(app.hub()).await;
        reader.open("\"live\"").await;
        reader.write(&masked(TEXT, br#"{"type":"log"}"#).repeat(200)).await;
        for number in 0..100 {
            publisher.publish("\"live\"", &number.to_string()).await;
        }
        let (mut replies, mut events) = (0, 0);
        while replies < 200 || events < 100 {
            let frame = reader.frame().await;
            if frame.payload.len() > 10_000 {
                replies += 1;
            } else {
                let event = parsed(&frame.text());
                assert_eq!(event.number_of("message"), f64::from(events));
                events += 1;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn when_all_queues_together_are_too_large_the_largest_goes_first() {
    with_app(queues(16 * MIB, 20 * MIB), async |app| {
        let mut large = Raw::narrow(app.hub()).await;
        large.open("\"large\"").await;
        let mut small = Raw::narrow(app.hub()).await;
        small.open("\"small\"").await;
        let mut publisher = app.client().await;
        // Whatever the system takes in (some 3 MB), 11 MB and more are queued for the one, so
        // that the other has less than that when both reach the total.
        for number in 0..150 {
            publish_large(&mut publisher, "\"large\"", number).await;
        }
        assert_eq!(app.metric("skynet_dropped_frames_total", &[]).await, 0.0);
        let published = publish_until_somebody_goes(app, &mut publisher, "\"small\"").await;
        assert!(published > 40, "not before the total is reached: {published}");
        app.disconnects("too_slow", 1).await;
        for due in 0..published {
            let event = small.event_text().await;
            assert_eq!(number(&event), due, "the smaller queue is whole");
        }
        small.command(r#"{"type":"close","channel":"small"}"#).await;
        drop(large);
    })
    .await;
}
