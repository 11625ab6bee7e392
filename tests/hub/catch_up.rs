//! Catching up: `open` with `last` or `since`, and what is drawn from the log while it changes.

use crate::api::{self, Caller};
use crate::support::{
    DEADLINE, TestApp, config,
    json::Json,
    raw::{PING, PONG, Raw, TEXT, masked, parsed},
    unhurried, wait_until, with_app,
};
use tokio::time::timeout;

/// Publishes numbers to a channel; their IDs.
async fn publish(client: &mut Raw, channel: &str, numbers: std::ops::Range<u32>) -> Vec<String> {
    let mut ids = Vec::new();
    for number in numbers {
        ids.push(client.publish(channel, &number.to_string()).await.text_of("ID"));
    }
    ids
}

/// Opens a channel with further keys; the result, before which nothing may come.
async fn open_with(client: &mut Raw, channel: &str, keys: &str) -> Json {
    client.send(&format!(r#"{{"type":"open","channel":{channel},{keys}}}"#)).await;
    let result = parsed(&client.text().await);
    assert!(result.is("result"), "{result:?}");
    result
}

/// The numbers of the next events, which must be replayed or live as `replay` says.
async fn numbers(client: &mut Raw, count: usize, replay: bool) -> Vec<f64> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let event = client.event().await;
        assert_eq!(event.get("replay"), replay.then_some(&Json::Bool(true)), "{event:?}");
        seen.push(event.number_of("message"));
    }
    seen
}

fn floats(range: std::ops::Range<u32>) -> Vec<f64> {
    range.map(f64::from).collect()
}

#[tokio::test]
async fn the_last_messages_of_a_channel_come_after_the_result_oldest_first_then_the_live_ones() {
    with_app(config(), async |app| {
        let (mut publisher, mut client) = (app.client().await, app.client().await);
        publish(&mut publisher, "\"x\"", 0..5).await;
        publish(&mut publisher, "\"y\"", 50..55).await;
        publish(&mut client, "\"x\"", 5..8).await;
        let result = open_with(&mut client, "\"x\"", r#""last":4,"nonce":9"#).await;
        assert_eq!((result.get("gap"), result.number_of("nonce")), (None, 9.0));
        publish(&mut publisher, "\"x\"", 8..10).await;
        assert_eq!(numbers(&mut client, 4, true).await, floats(4..8), "its own are among them");
        assert_eq!(numbers(&mut client, 2, false).await, floats(8..10));
        assert!(client.received().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn more_than_there_is_is_all_there_is_and_none_is_none() {
    with_app(config(), async |app| {
        let mut publisher = app.client().await;
        publish(&mut publisher, "\"x\"", 0..3).await;
        for (last, from) in [("1e9", 0), ("2.9", 1), ("0", 3)] {
            let mut client = app.client().await;
            open_with(&mut client, "\"x\"", &format!(r#""last":{last}"#)).await;
            assert_eq!(numbers(&mut client, 3 - from as usize, true).await, floats(from..3));
            assert!(client.received().await.is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn what_came_after_a_message_is_caught_up_on_in_a_channel_and_in_all() {
    with_app(config(), async |app| {
        let mut publisher = app.client().await;
        let mut ids = publish(&mut publisher, "\"x\"", 0..4).await;
        ids.extend(publish(&mut publisher, "5", 4..6).await);
        ids.extend(publish(&mut publisher, "\"x\"", 6..8).await);
        for (channel, since, expected) in [
            ("\"x\"", 1, vec![2.0, 3.0, 6.0, 7.0]),
            ("\"x\"", 4, vec![6.0, 7.0]),
            ("5", 0, vec![4.0, 5.0]),
            ("\"*\"", 2, floats(3..8)),
            ("\"*\"", 7, vec![]),
        ] {
            let mut client = app.client().await;
            let keys = format!(r#""since":"{}""#, ids[since]);
            let result = open_with(&mut client, channel, &keys).await;
            assert_eq!(result.get("gap"), None);
            assert_eq!(numbers(&mut client, expected.len(), true).await, expected, "{channel}");
            assert!(client.received().await.is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn an_id_that_the_log_does_not_reach_back_to_is_told_by_gap() {
    let mut settings = config();
    settings.message_log.max_messages = 4;
    let mut id = String::new();
    with_app(settings.clone(), async |app| {
        let mut publisher = app.client().await;
        let ids = publish(&mut publisher, "\"x\"", 0..9).await;
        let mut client = app.client().await;
        let result = open_with(&mut client, "\"x\"", &format!(r#""since":"{}""#, ids[1])).await;
        assert_eq!(result.get("gap"), Some(&Json::Bool(true)));
        assert_eq!(numbers(&mut client, 4, true).await, floats(5..9));
        id.clone_from(&ids[8]);
    })
    .await;
    // Another process knows nothing of it, whether or not something was sent since.
    with_app(settings, async |app| {
        for _ in 0..2 {
            let mut client = app.client().await;
            let result = open_with(&mut client, "\"x\"", &format!(r#""since":"{id}""#)).await;
            assert_eq!(result.get("gap"), Some(&Json::Bool(true)));
            publish(&mut client, "\"y\"", 0..1).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_id_that_is_not_in_the_log_counts_by_its_order() {
    with_app(config(), async |app| {
        let mut publisher = app.client().await;
        let ids = publish(&mut publisher, "\"x\"", 0..3).await;
        // Of the same instant as the first one, and after it: its last digits are the greatest.
        let unknown = format!("{}ffff", &ids[0][..32]);
        assert!(unknown > ids[0] && unknown < ids[1]);
        let mut client = app.client().await;
        let result = open_with(&mut client, "\"x\"", &format!(r#""since":"{unknown}""#)).await;
        assert_eq!(result.get("gap"), None);
        assert_eq!(numbers(&mut client, 2, true).await, floats(1..3));
    })
    .await;
}

#[tokio::test]
async fn catching_up_wrongly_is_an_error_and_nothing_has_happened() {
    with_app(config(), async |app| {
        let mut client = app.client().await;
        let id = publish(&mut client, "\"x\"", 0..1).await.remove(0);
        for (keys, words) in [
            (format!(r#""since":"{id}","last":1"#), "exclude"),
            (r#""since":"yesterday""#.to_owned(), "since"),
            (r#""since":5"#.to_owned(), "since"),
            (r#""last":-1"#.to_owned(), "last"),
            (r#""last":"5""#.to_owned(), "last"),
        ] {
            let command = format!(r#"{{"type":"open","channel":"x",{keys}}}"#);
            let error = client.refused(&command).await;
            assert!(error.contains(words), "{words} in {error}");
        }
        app.metric_is("skynet_refused_commands_total", &[("reason", "catch_up")], 5.0).await;
        client.refused(r#"{"type":"close","channel":"x"}"#).await;
        client.open("\"x\"").await;
        client.refused(r#"{"type":"open","channel":"x","last":1}"#).await;
        client.command(r#"{"type":"close","channel":"x"}"#).await;
        client.open("\"*\"").await;
        for channel in ["x", "*"] {
            let command = format!(r#"{{"type":"open","channel":"{channel}","last":0}}"#);
            assert!(client.refused(&command).await.contains("already"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_senders_own_replay_key_gives_way_to_the_hubs() {
    with_app(config(), async |app| {
        let mut client = app.client().await;
        client.command(r#"{"type":"message","channel":"x","replay":"mine","message":1}"#).await;
        open_with(&mut client, "\"x\"", r#""last":1"#).await;
        // The reader panics where a key is given twice.
        assert_eq!(client.event().await.get("replay"), Some(&Json::Bool(true)));
    })
    .await;
}

/// An app whose log holds 2,000 messages of about a kilobyte, and their publisher.
async fn filled(app: &TestApp) -> Raw {
    let mut publisher = app.client().await;
    for number in 0..2000 {
        publish_padded(&mut publisher, number).await;
    }
    publisher
}

async fn publish_padded(publisher: &mut Raw, number: u32) {
    let message = format!(r#"{{"n":{number},"pad":"{}"}}"#, "p".repeat(1000));
    publisher.publish("\"x\"", &message).await;
}

fn padded_number(event: &Json) -> u32 {
    event.get("message").expect("an event has its message").number_of("n") as u32
}

#[tokio::test]
async fn what_is_caught_up_on_is_never_queued_whole_and_what_comes_meanwhile_waits_behind_it() {
    with_app(unhurried(), async |app| {
        let mut publisher = filled(app).await;
        let mut client = Raw::narrow(app.hub()).await;
        // The commands behind the catching up wait for it, and so do live events.
        let open = masked(TEXT, br#"{"type":"open","channel":"x","last":2000}"#);
        client.write(&[open, masked(TEXT, br#"{"type":"ping"}"#)].concat()).await;
        assert!(parsed(&client.text().await).is("result"));
        publish_padded(&mut publisher, 2000).await;
        let most = app.metric("skynet_longest_queue_bytes", &[]).await;
        assert!(most < 300_000.0, "{most} of 2,000,000 bytes are queued");
        for number in 0..=2000 {
            let event = client.event().await;
            assert_eq!(padded_number(&event), number);
            assert_eq!(event.get("replay").is_some(), number < 2000);
        }
        assert_eq!(parsed(&client.text().await).text_of("for"), "ping");
        assert_eq!(app.metric("skynet_dropped_frames_total", &[]).await, 0.0);
    })
    .await;
}

#[tokio::test]
async fn where_the_log_forgets_under_a_reader_a_gap_says_so() {
    let mut settings = unhurried();
    settings.message_log.max_messages = 6000;
    with_app(settings, async |app| {
        let mut publisher = app.client().await;
        for number in 0..6000 {
            publish_padded(&mut publisher, number).await;
        }
        let mut client = Raw::narrow(app.hub()).await;
        open_with(&mut client, "\"x\"", r#""last":6000"#).await;
        // 6 MB are due, more than its system and the hub's take in; it does not read while the
        // log forgets all of them.
        for _ in 0..6000 {
            publisher.publish("\"y\"", "1").await;
        }
        let mut replayed = 0;
        loop {
            let event = parsed(&client.text().await);
            if event.is("gap") {
                break;
            }
            assert_eq!(padded_number(&event), replayed, "in order up to the gap");
            replayed += 1;
        }
        assert!(replayed < 6000, "{replayed} were on their way when they were forgotten");
        publish_padded(&mut publisher, 1).await;
        let live = client.event().await;
        assert_eq!((padded_number(&live), live.get("replay")), (1, None));
    })
    .await;
}

#[tokio::test]
async fn a_client_kicked_while_it_catches_up_gets_a_beginning_of_what_it_was_due() {
    with_app(api::config(), async |app| {
        let publisher = filled(app).await;
        let mut client = Raw::narrow(app.hub()).await;
        open_with(&mut client, "\"x\"", r#""last":2000"#).await;
        Caller::owner(app).delete("/clients/2").await;
        let mut number = 0;
        let closed = client
            .closed_after(|text| {
                assert_eq!(padded_number(&parsed(&text)), number);
                number += 1;
            })
            .await;
        assert_eq!(closed.0, Some(4500));
        assert_eq!(number, 2000, "it was read in time");
        app.disconnects("kicked", 1).await;
        drop(publisher);
    })
    .await;
}

#[tokio::test]
async fn a_channel_closed_by_the_owner_ends_catching_up_on_it() {
    with_app(api::config(), async |app| {
        let mut publisher = filled(app).await;
        let mut client = Raw::narrow(app.hub()).await;
        // At ten frames a second it would take minutes.
        open_with(&mut client, "\"x\"", r#""last":2000,"pace":10"#).await;
        Caller::owner(app).delete("/clients/2/channels/x").await;
        let mut replayed = 0;
        loop {
            let event = parsed(&client.text().await);
            if event.is("closed") {
                break;
            }
            assert_eq!(padded_number(&event), replayed);
            replayed += 1;
        }
        assert!(replayed < 1000);
        publish_padded(&mut publisher, 0).await;
        assert!(client.received().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn replies_of_the_log_wait_in_the_log_until_there_is_room() {
    with_app(unhurried(), async |app| {
        let mut publisher = filled(app).await;
        let mut client = Raw::narrow(app.hub()).await;
        let count = 60;
        client.write(&masked(TEXT, br#"{"type":"log","nonce":1}"#).repeat(count)).await;
        wait_until("something is queued", async || {
            app.metric("skynet_queued_bytes", &[]).await > 0.0
        })
        .await;
        publisher.publish("\"y\"", "1").await;
        let most = app.metric("skynet_longest_queue_bytes", &[]).await;
        assert!(most < 300_000.0, "{most} bytes of 6 MB are queued");
        for reply in 0..count {
            let reply_text = client.text().await;
            assert!(reply_text.len() > 50_000 && reply_text.len() <= 131_072, "reply {reply}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_catches_up_slowly_answers_pings_when_its_turn_comes_and_stays() {
    let mut settings = unhurried();
    settings.limits.ping_interval = std::time::Duration::from_millis(100);
    with_app(settings, async |app| {
        let mut publisher = app.client().await;
        publish(&mut publisher, "\"x\"", 0..30).await;
        drop(publisher);
        let mut client = app.client().await;
        // A second and a half at twenty a second, in which the hub reads neither commands nor pongs.
        let open = masked(TEXT, br#"{"type":"open","channel":"x","last":30,"pace":20}"#);
        client.write(&[open, masked(TEXT, br#"{"type":"ping"}"#)].concat()).await;
        let (mut events, mut pings) = (0, 0);
        let read = async {
            while events < 30 {
                let frame = client.frame().await;
                if frame.opcode == PING {
                    pings += 1;
                    client.write(&masked(PONG, &frame.payload)).await;
                } else {
                    events += u32::from(parsed(&frame.text()).is("message"));
                }
            }
        };
        timeout(DEADLINE, read).await.expect("it is not closed");
        assert!(pings > 3, "{pings}");
        assert_eq!(parsed(&client.text().await).text_of("for"), "ping");
    })
    .await;
}
