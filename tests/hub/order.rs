//! One total order: with many publishers and with listeners that come and go, against the real
//! program (so that the hub runs beside the test and not in turns with it): nothing is lost,
//! nothing comes twice, and everybody sees the order of the log.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use futures_util::future::join_all;

use crate::support::{
    http,
    json::Json,
    process::Process,
    raw::{Raw, TEXT, masked, parsed, publication},
    wait_until,
};

const PUBLISHERS: usize = 6;
const MESSAGES: usize = 150;
const CHANNELS: [&str; 3] = ["\"a\"", "\"b\"", "3"];

/// An event as the test remembers it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    id: String,
    channel: Json,
}

fn seen(event: &Json) -> Seen {
    Seen { id: event.text_of("ID"), channel: event.get("channel").expect("a channel").clone() }
}

fn all_seen(texts: Vec<String>) -> Vec<Seen> {
    texts.iter().map(|text| seen(&parsed(text))).collect()
}

fn on(channel: &str, log: &[Seen]) -> Vec<Seen> {
    let channel = Json::parse(channel).expect("a channel is JSON");
    let here = |entry: &&Seen| channel == Json::string("*") || entry.channel == channel;
    log.iter().filter(here).cloned().collect()
}

/// The whole log, oldest first.
async fn whole_log(hub: SocketAddr) -> Vec<Seen> {
    let mut client = Raw::connect(hub).await;
    let mut log = Vec::new();
    loop {
        let (start, end) = (log.len(), log.len() + 100);
        let command = format!(r#"{{"type":"log","start":{start},"end":{end}}}"#);
        let reply = client.command(&command).await;
        assert_eq!(reply.get("truncated"), None, "small entries fit");
        let page = reply.array_of("log");
        log.extend(page.iter().map(seen));
        if page.len() < 100 {
            log.reverse();
            return log;
        }
    }
}

/// Publishes in bursts over all channels, itself listening to everything; what it published and
/// what it heard.
async fn publish(hub: SocketAddr, publisher: usize) -> (Vec<Seen>, Vec<Seen>) {
    let mut client = Raw::connect(hub).await;
    client.open("\"*\"").await;
    client.open("\"a\"").await;
    let (mut published, mut heard) = (Vec::new(), Vec::new());
    let numbers: Vec<usize> = (0..MESSAGES).collect();
    for burst in numbers.chunks(7) {
        let frames = burst.iter().map(|number| {
            let channel = CHANNELS[(number + publisher) % CHANNELS.len()];
            let message = format!(r#"[{publisher},{number}]"#);
            masked(TEXT, publication(channel, &message).as_bytes())
        });
        client.write(&frames.collect::<Vec<_>>().concat()).await;
        for number in burst {
            let result = parsed(&client.reply_text().await);
            let message = result.array_of("message");
            assert_eq!(message[1], Json::Number(*number as f64), "replies come in order");
            published.push(seen(&result));
        }
        heard.extend(all_seen(client.kept()));
    }
    (published, heard)
}

/// Opens and closes a channel again and again, now and then on a new connection, while others
/// publish; what it heard from each open to its close.
async fn come_and_go(hub: SocketAddr, which: usize, over: &AtomicBool) -> Vec<Vec<Seen>> {
    let channel = ["\"*\"", "\"a\"", "\"b\"", "3"][which];
    let mut client = Raw::connect(hub).await;
    let mut visits = Vec::new();
    while !over.load(Ordering::Relaxed) {
        client.open(channel).await;
        let mut visit = Vec::new();
        for _ in 0..visits.len() % 5 {
            visit.extend(client.received().await);
        }
        if visits.len() % 3 == 2 {
            // It leaves with whatever is still under way.
            client = Raw::connect(hub).await;
        } else {
            let close = format!(r#"{{"type":"close","channel":{channel}}}"#);
            client.command(&close).await;
            visit.extend(client.kept());
            assert!(client.received().await.is_empty(), "nothing comes after the close");
        }
        visits.push(all_seen(visit));
    }
    visits
}

fn assert_is_a_stretch_of(visit: &[Seen], log: &[Seen], places: &HashMap<String, usize>) {
    let Some(first) = visit.first() else {
        return;
    };
    let start = places[&first.id];
    let stretch = &log[start..log.len().min(start + visit.len())];
    assert_eq!(visit, stretch, "without a gap, a repetition or another order");
}

#[tokio::test]
async fn everybody_sees_the_order_of_the_log_without_loss_or_repetition() {
    let hub = Process::start(&[
        ("SKYNET_LIMITS__MESSAGES_PER_SECOND", "1000000"),
        ("SKYNET_LIMITS__MESSAGE_BURST", "1000000"),
    ]);
    let address = hub.hub();
    let mut steady = Vec::new();
    for channels in [&["\"*\""][..], &["\"a\""], &["\"b\"", "3", "\"a\""], &["\"a\"", "\"*\""]] {
        let mut listener = Raw::connect(address).await;
        for channel in channels {
            listener.open(channel).await;
        }
        steady.push((channels, listener));
    }
    let over = AtomicBool::new(false);
    let publishing = async {
        let all = join_all((0..PUBLISHERS).map(|number| publish(address, number))).await;
        over.store(true, Ordering::Relaxed);
        all
    };
    let visiting = join_all((0..4).map(|which| come_and_go(address, which, &over)));
    let (published, visits) = tokio::join!(publishing, visiting);

    let log = whole_log(address).await;
    assert_eq!(log.len(), PUBLISHERS * MESSAGES, "all is in the log, once");
    let mut sorted: Vec<_> = log.iter().map(|entry| entry.id.clone()).collect();
    sorted.sort();
    sorted.dedup();
    let ids: Vec<_> = log.iter().map(|entry| entry.id.clone()).collect();
    assert_eq!(sorted, ids, "IDs sort in the order of the log");

    for (channels, listener) in &mut steady {
        let heard = all_seen(listener.received().await);
        let everything = channels.contains(&"\"*\"") || channels.len() == 3;
        let due = on(if everything { "\"*\"" } else { channels[0] }, &log);
        assert_eq!(heard, due, "{channels:?}");
    }
    for (own, heard) in &published {
        let own_in_log: Vec<_> = log.iter().filter(|entry| own.contains(entry)).cloned().collect();
        assert_eq!(own, &own_in_log, "what one publisher sends stays in order");
        // What came between its last reply and its leaving is not counted.
        let others: Vec<_> = log.iter().filter(|entry| !own.contains(entry)).cloned().collect();
        assert_eq!(heard[..], others[..heard.len()], "a publisher hears all but its own");
    }
    let mut caught = 0;
    for (visits, channel) in visits.iter().zip(["\"*\"", "\"a\"", "\"b\"", "3"]) {
        let there = on(channel, &log);
        let places = there.iter().enumerate();
        let places = places.map(|(place, entry)| (entry.id.clone(), place)).collect();
        for visit in visits {
            assert_is_a_stretch_of(visit, &there, &places);
            caught += visit.len();
        }
    }
    assert!(caught > 0, "those who came and went heard something");
    drop(steady);
    wait_until("nobody is left", async || {
        http::metric(hub.admin(), "skynet_clients", &[]).await == 0.0
            && http::metric(hub.admin(), "skynet_subscriptions", &[]).await == 0.0
    })
    .await;
}
