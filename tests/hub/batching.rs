//! Small computers: several events in one frame, and so many frames a second.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    config,
    json::Json,
    raw::{Raw, TEXT, masked, parsed, publication},
    unhurried, with_app,
};

/// Opens a channel with further keys.
async fn open_with(client: &mut Raw, channel: &str, keys: &str) {
    client.command(&format!(r#"{{"type":"open","channel":{channel},{keys}}}"#)).await;
}

/// The events of the next frame, which must be a batch.
async fn batch(client: &mut Raw) -> Vec<Json> {
    let text = client.text().await;
    let frame = parsed(&text);
    assert!(frame.is("batch"), "a batch, not {text:.300}");
    frame.array_of("events").to_vec()
}

/// Sends messages of the numbers to a channel all at once, and reads the results.
async fn flood(publisher: &mut Raw, channel: &str, numbers: std::ops::Range<u32>, pad: usize) {
    let pad = "p".repeat(pad);
    for number in numbers.clone() {
        let message = format!(r#"{{"n":{number},"pad":"{pad}"}}"#);
        publisher.write(&masked(TEXT, publication(channel, &message).as_bytes())).await;
    }
    for _ in numbers {
        assert!(parsed(&publisher.reply_text().await).is("result"));
    }
}

fn number(event: &Json) -> u32 {
    event.get("message").expect("an event has its message").number_of("n") as u32
}

#[tokio::test]
async fn a_flood_of_5000_messages_arrives_whole_in_few_frames() {
    with_app(unhurried(), async |app| {
        let (mut publisher, mut client) = (app.client().await, app.client().await);
        open_with(&mut client, "\"x\"", r#""batch":true,"pace":20"#).await;
        flood(&mut publisher, "\"x\"", 0..5000, 10).await;
        let (mut due, mut frames, begun) = (0, 0, Instant::now());
        while due < 5000 {
            for event in batch(&mut client).await {
                assert_eq!(number(&event), due);
                assert_eq!(event.get("dropped"), None);
                due += 1;
            }
            frames += 1;
        }
        let most = begun.elapsed().as_secs_f64() * 20.0 + 22.0;
        assert!(f64::from(frames) <= most, "{frames} frames, {most} allowed");
        assert_eq!(app.metric("skynet_dropped_frames_total", &[]).await, 0.0);
        assert_eq!(app.metric("skynet_queued_bytes", &[]).await, 0.0);
    })
    .await;
}

#[tokio::test]
async fn a_batch_of_one_event_is_still_a_batch_and_the_first_leaves_at_once() {
    with_app(config(), async |app| {
        let (mut publisher, mut client) = (app.client().await, app.client().await);
        open_with(&mut client, "\"x\"", r#""batch":true,"pace":1"#).await;
        // The result took the frame of the first second.
        let begun = Instant::now();
        flood(&mut publisher, "\"x\"", 0..1, 0).await;
        assert_eq!(batch(&mut client).await.len(), 1);
        let waited = begun.elapsed();
        assert!(waited > Duration::from_millis(500), "{waited:?}");
    })
    .await;
}

#[tokio::test]
async fn a_batch_is_never_longer_than_a_frame_may_be() {
    with_app(unhurried(), async |app| {
        let (mut publisher, mut client) = (app.client().await, app.client().await);
        open_with(&mut client, "\"x\"", r#""batch":true"#).await;
        flood(&mut publisher, "\"x\"", 0..10, 60_000).await;
        let mut due = 0;
        while due < 10 {
            // The reader refuses a frame over the limit.
            let events = batch(&mut client).await;
            assert!(events.len() <= 2, "two of 60,000 bytes fit into 131,072");
            for event in events {
                assert_eq!(number(&event), due);
                due += 1;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn replies_are_never_in_a_batch_and_never_overtake_events() {
    with_app(unhurried(), async |app| {
        let (mut publisher, mut client) = (app.client().await, app.client().await);
        open_with(&mut client, "\"x\"", r#""batch":true,"pace":50"#).await;
        let mut due = 0;
        for round in 0..10 {
            flood(&mut publisher, "\"x\"", round * 20..(round + 1) * 20, 0).await;
            client.send(&format!(r#"{{"type":"ping","nonce":{round}}}"#)).await;
            loop {
                let text = client.text().await;
                let frame = parsed(&text);
                if frame.is("result") {
                    assert_eq!(frame.number_of("nonce"), f64::from(round));
                    assert_eq!(due, (round + 1) * 20, "all events sent before are there");
                    break;
                }
                for event in frame.array_of("events") {
                    assert_eq!(number(event), due);
                    due += 1;
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn at_a_pace_without_batches_the_oldest_go_and_the_next_says_how_many() {
    with_app(unhurried(), async |app| {
        let (mut publisher, mut client) = (app.client().await, app.client().await);
        open_with(&mut client, "\"x\"", r#""pace":5"#).await;
        flood(&mut publisher, "\"x\"", 0..500, 0).await;
        let (mut due, mut dropped, mut got) = (0, 0, 0);
        while due < 500 {
            let event = client.event().await;
            let before = event.get("dropped").map_or(0, |_| event.number_of("dropped") as u32);
            dropped += before;
            assert_eq!(number(&event), due + before, "as many are left out as it says");
            due = number(&event) + 1;
            got += 1;
        }
        assert!((5..=40).contains(&got), "a second's worth waited: {got}");
        app.metric_is("skynet_dropped_frames_total", &[("reason", "paced")], dropped.into()).await;
        assert_eq!(got + dropped, 500);
    })
    .await;
}

#[tokio::test]
async fn a_pace_limits_events_and_replies_but_no_pongs() {
    with_app(unhurried(), async |app| {
        let mut client = app.client().await;
        open_with(&mut client, "\"x\"", r#""pace":10"#).await;
        let begun = Instant::now();
        client.write(&masked(TEXT, br#"{"type":"ping"}"#).repeat(10)).await;
        for _ in 0..10 {
            client.reply_text().await;
        }
        let took = begun.elapsed();
        assert!(
            took > Duration::from_millis(900),
            "ten frames, a tenth of a second each: {took:?}"
        );
        client.write(&masked(9, b"?").repeat(50)).await;
        for _ in 0..50 {
            assert_eq!(client.frame().await.payload, b"?");
        }
        assert!(begun.elapsed() < took + Duration::from_secs(4));
    })
    .await;
}

#[tokio::test]
async fn what_is_switched_off_is_off_from_the_result_on_and_order_is_kept() {
    with_app(unhurried(), async |app| {
        let (mut publisher, mut client) = (app.client().await, app.client().await);
        open_with(&mut client, "\"x\"", r#""batch":true,"pace":1"#).await;
        flood(&mut publisher, "\"x\"", 0..100, 0).await;
        client.send(r#"{"type":"open","channel":"x","batch":false,"pace":null}"#).await;
        let mut due = 0;
        loop {
            let text = client.text().await;
            let frame = parsed(&text);
            if frame.is("result") {
                break;
            }
            let events = frame
                .get("events")
                .map_or(vec![frame.clone()], |_| frame.array_of("events").to_vec());
            for event in events {
                assert_eq!(number(&event), due);
                due += 1;
            }
        }
        assert_eq!(due, 100, "all that came before the command is there before its result");
        flood(&mut publisher, "\"x\"", 100..200, 0).await;
        for due in 100..200 {
            assert_eq!(number(&client.event().await), due);
        }
    })
    .await;
}

#[tokio::test]
async fn batches_hold_replayed_events_too_and_what_is_live_follows() {
    with_app(unhurried(), async |app| {
        let (mut publisher, mut client) = (app.client().await, app.client().await);
        flood(&mut publisher, "\"x\"", 0..300, 1000).await;
        client.send(r#"{"type":"open","channel":"x","last":300,"batch":true,"pace":50}"#).await;
        assert!(parsed(&client.text().await).is("result"));
        flood(&mut publisher, "\"x\"", 300..310, 0).await;
        let mut due = 0;
        while due < 310 {
            for event in batch(&mut client).await {
                assert_eq!(number(&event), due);
                assert_eq!(event.get("replay").is_some(), due < 300);
                due += 1;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_at_a_pace_is_sent_all_without_it() {
    with_app(crate::api::config(), async |app| {
        let (mut publisher, mut client) = (app.client().await, app.client().await);
        open_with(&mut client, "\"x\"", r#""batch":true,"pace":1"#).await;
        flood(&mut publisher, "\"x\"", 0..2000, 100).await;
        crate::api::Caller::owner(app).delete("/clients/2").await;
        let mut due = 0;
        let closed = client
            .closed_after(|text| {
                for event in parsed(&text).array_of("events") {
                    assert_eq!(number(event), due);
                    due += 1;
                }
            })
            .await;
        assert_eq!((closed.0, due), (Some(4500), 2000));
    })
    .await;
}

#[tokio::test]
async fn past_the_budget_of_bytes_a_batching_client_is_too_slow_like_others() {
    let mut settings = unhurried();
    settings.limits.max_queue_bytes = 1 << 20;
    with_app(settings, async |app| {
        let (mut publisher, mut client) = (app.client().await, app.client().await);
        open_with(&mut client, "\"x\"", r#""batch":true,"pace":1"#).await;
        flood(&mut publisher, "\"x\"", 0..30, 60_000).await;
        let (code, _) = client.closed_after(|_| ()).await;
        assert_eq!(code, Some(4000));
        app.disconnects("too_slow", 1).await;
    })
    .await;
}

#[tokio::test]
async fn wrong_values_are_errors_and_change_nothing() {
    with_app(config(), async |app| {
        let (mut publisher, mut client) = (app.client().await, app.client().await);
        for keys in
            [r#""batch":1"#, r#""pace":0"#, r#""pace":1001"#, r#""pace":"fast","batch":true"#]
        {
            let error = client.refused(&format!(r#"{{"type":"open","channel":"x",{keys}}}"#)).await;
            assert!(error.contains("pace") || error.contains("batch"), "{error}");
        }
        app.metric_is("skynet_refused_commands_total", &[("reason", "pace")], 4.0).await;
        client.open("\"x\"").await;
        flood(&mut publisher, "\"x\"", 0..3, 0).await;
        for due in 0..3 {
            assert_eq!(number(&client.event().await), due, "events come one by one");
        }
    })
    .await;
}
