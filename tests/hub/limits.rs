//! What one client may have and send, and what it is told at the edge; and that it is still there.

use crate::support::{
    TestApp, config,
    pair::undisturbed,
    raw::{CONTINUATION, TEXT, fragment, masked, publication},
    wait_until, with_app,
};

async fn refusals(app: &TestApp, reason: &str, times: u32) {
    let labels = [("reason", reason)];
    app.metric_is("skynet_refused_commands_total", &labels, times.into()).await;
}

fn opening(channel: impl std::fmt::Display) -> String {
    format!(r#"{{"type":"open","channel":{channel}}}"#)
}

#[tokio::test]
async fn a_client_opens_as_many_channels_as_it_may_and_no_more() {
    let mut settings = config();
    settings.limits.max_channels_per_client = 3;
    with_app(settings, async |app| {
        let mut client = app.client().await;
        for channel in ["1", "\"1\"", "\"*\""] {
            client.open(channel).await;
        }
        let error = client.refused(&opening("\"x\"")).await;
        assert!(error.contains('3'), "{error:?} says how many are allowed");
        refusals(app, "channels", 1).await;
        // What is open stays open, and opening it again is no new channel.
        assert_eq!(client.open("1.0").await.array_of("channels").len(), 3);
        client.command(r#"{"type":"close","channel":"*"}"#).await;
        assert_eq!(client.open("\"x\"").await.array_of("channels").len(), 3);
        let mut other = app.client().await;
        other.open("\"x\"").await;
        other.publish("\"x\"", "1").await;
        assert_eq!(client.event().await.number_of("message"), 1.0);
    })
    .await;
}

#[tokio::test]
async fn all_clients_together_open_as_many_channels_as_they_may_and_no_more() {
    let mut settings = config();
    settings.limits.max_channels_per_client = 3;
    settings.limits.total_open_channels = 4;
    with_app(settings, async |app| {
        let (mut first, mut second) = (app.client().await, app.client().await);
        for channel in ["1", "2"] {
            first.open(channel).await;
            second.open(channel).await;
        }
        let error = second.refused(&opening("3")).await;
        assert!(error.contains("4 open together"), "{error:?} says how many are allowed");
        refusals(app, "channels", 1).await;
        // What is open is opened again, and what is given back can be had.
        second.open("2").await;
        first.command(r#"{"type":"close","channel":1}"#).await;
        second.open("3").await;
        assert!(first.refused(&opening("1")).await.contains("together"));
        drop(second);
        wait_until("its channels are free", async || app.stats().subscriptions == 1).await;
        first.open("1").await;
    })
    .await;
}

#[tokio::test]
async fn more_channels_than_a_frame_has_room_for_can_be_open() {
    with_app(config(), async |app| {
        let mut client = app.client().await;
        let name = |number: u32| format!("\"{number:0>255}\"");
        let opens = (0..600).map(|number| masked(TEXT, opening(name(number)).as_bytes()));
        client.write(&opens.collect::<Vec<_>>().concat()).await;
        for number in 0..600 {
            // That it is not larger than a frame may be is seen to by the reader.
            let reply = client.frame().await;
            assert_eq!(reply.opcode, TEXT, "{number}");
        }
        assert!(client.open(&name(599)).await.is("result"));
        let mut other = app.client().await;
        other.publish(&name(599), "1").await;
        assert_eq!(client.event().await.number_of("message"), 1.0);
    })
    .await;
}

#[tokio::test]
async fn a_channel_name_may_be_as_long_as_the_limit_says() {
    let mut settings = config();
    settings.limits.max_channel_name_bytes = 8;
    with_app(settings, async |app| {
        let mut client = app.client().await;
        client.open("\"12345678\"").await;
        client.open("\"éééé\"").await;
        client.publish("\"12345678\"", "1").await;
        let nine = ["\"123456789\"", "\"ééééé\"", "\"éééé1\""];
        for (channel, bytes) in nine.into_iter().zip(["9", "10", "9"]) {
            for command in [opening(channel), publication(channel, "1")] {
                let error = client.refused(&command).await;
                let both = error.contains(bytes) && error.contains('8');
                assert!(both, "{error:?} gives both numbers");
            }
        }
        refusals(app, "channel_name", 6).await;
    })
    .await;
}

/// Publishes a message whose event is exactly as large as it may be, then one that is larger by
/// one byte.
async fn message_size_edge(app: &TestApp, max_message_bytes: usize) {
    let limit = max_message_bytes - 1024;
    let mut listener = app.listener("\"x\"").await;
    let mut client = app.client().await;
    client.publish("\"x\"", "\"\"").await;
    let room = limit - listener.event_text().await.len();
    client.publish("\"x\"", &format!("\"{}\"", "m".repeat(room))).await;
    assert_eq!(listener.event_text().await.len(), limit);
    let larger = publication("\"x\"", &format!("\"{}\"", "m".repeat(room + 1)));
    let error = client.refused(&larger).await;
    let both = error.contains(&limit.to_string()) && error.contains(&(limit + 1).to_string());
    assert!(both, "{error:?} gives both numbers, {limit} and {}", limit + 1);
    refusals(app, "message_size", 1).await;
    // Nothing has happened, and the connection stays.
    assert!(listener.received().await.is_empty());
    client.publish("\"x\"", "1").await;
    assert_eq!(listener.event().await.number_of("message"), 1.0);
}

#[tokio::test]
async fn an_event_may_be_as_large_as_the_default_limit_less_1024() {
    with_app(config(), async |app| message_size_edge(app, 131_072).await).await;
}

#[tokio::test]
async fn an_event_may_be_as_large_as_a_small_limit_less_1024() {
    let mut settings = config();
    settings.limits.max_message_bytes = 4096;
    with_app(settings, async |app| message_size_edge(app, 4096).await).await;
}

#[tokio::test]
async fn the_size_of_a_message_is_that_of_its_event_not_of_its_frame() {
    with_app(config(), async |app| {
        let mut listener = app.listener("\"x\"").await;
        let mut client = app.client().await;
        // 360,000 bytes on the wire, 120,000 in the event.
        let shrinks = format!("\"{}\"", r"\u00e9".repeat(60_000));
        client.publish("\"x\"", &shrinks).await;
        let event = listener.event().await;
        assert_eq!(event.text_of("message"), "é".repeat(60_000));
        // 60,000 bytes on the wire that are not UTF-8, 180,000 in the event.
        let head = br#"{"type":"message","channel":"x","message":""#;
        let grows = [&head[..], &[0xff; 60_000], b"\"}"].concat();
        client.write(&masked(TEXT, &grows)).await;
        let reply = client.reply_text().await;
        assert!(reply.contains("error"), "{reply:.100}");
        refusals(app, "message_size", 1).await;
        assert!(listener.received().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn unfinished_frames_past_their_total_end_some_of_their_senders_only() {
    let mut settings = config();
    settings.limits.total_partial_bytes = 1 << 20;
    with_app(settings, async |app| {
        undisturbed(app.hub(), async || {
            let part = vec![b' '; 380_000];
            let frame = masked(TEXT, &[b' '; 390_000]);
            let mut holders = Vec::new();
            for number in 0..10 {
                let mut holder = app.client().await;
                let unfinished = match number % 2 {
                    0 => frame[..380_000].to_vec(),
                    _ => fragment(TEXT, &part),
                };
                let _ = holder.try_write(&unfinished).await;
                holders.push(holder);
            }
            // Two of 380,000 bytes fit into 1 MiB; the pair is connected as well.
            wait_until("what is held fits into the total", async || {
                app.metric("skynet_clients", &[]).await <= 4.0
            })
            .await;
            // A small command in two parts is still taken, and so is another large frame once
            // there is room.
            drop(holders);
            app.metric_is("skynet_clients", &[], 2.0).await;
            let mut client = app.client().await;
            let command = opening("\"x\"");
            client.write(&fragment(TEXT, &part)).await;
            client.write(&masked(CONTINUATION, command.as_bytes())).await;
            assert!(client.reply_text().await.contains("result"));
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_channel_that_is_not_open_is_named_and_not_spelled() {
    with_app(config(), async |app| {
        let mut client = app.client().await;
        let error = client.refused(r#"{"type":"close","channel":"two\nlines \"\u0061"}"#).await;
        assert!(error.contains("two\nlines \"a "), "{error:?}");
        assert!(!error.contains('\\'), "{error:?}");
    })
    .await;
}
