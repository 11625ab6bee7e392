//! The log over the wire: slices that do not fit into a frame, what is older than an entry, and
//! how it forgets. The slices that fit are in `replay`.

use crate::support::{
    TestApp, config,
    json::Json,
    raw::{Raw, parsed},
    unhurried, with_app,
};

/// Asks for a slice and returns the reply beside its length on the wire.
async fn slice(client: &mut Raw, arguments: &str) -> (Json, usize) {
    let command = format!(r#"{{"type":"log"{arguments}}}"#);
    client.send(&command).await;
    let text = client.reply_text().await;
    let reply = parsed(&text);
    assert!(reply.is("result"), "{command}: {text:.300}");
    (reply, text.len())
}

fn ids(reply: &Json) -> Vec<String> {
    let entries = reply.array_of("log").iter();
    entries.map(|entry| entry.text_of("ID")).collect()
}

/// Publishes messages of these sizes; their IDs, newest first.
async fn publish_sizes(app: &TestApp, sizes: impl Iterator<Item = usize>) -> Vec<String> {
    let mut client = app.client().await;
    let mut published = Vec::new();
    for size in sizes {
        let message = format!("\"{}\"", "m".repeat(size));
        published.push(client.publish("\"x\"", &message).await.text_of("ID"));
    }
    published.reverse();
    published
}

/// Follows `next` from a start until nothing is truncated; `next` must always advance, and what
/// was left out of a reply must not have fitted.
async fn walk(client: &mut Raw, end: usize, largest: usize) -> Vec<String> {
    let (mut start, mut found) = (0.0, Vec::new());
    loop {
        let (reply, length) = slice(client, &format!(r#","start":{start},"end":{end}"#)).await;
        assert!(length <= largest, "{length} bytes are within {largest}");
        found.extend(ids(&reply));
        let Some(truncated) = reply.get("truncated") else {
            assert_eq!(reply.get("next"), None, "nothing more to ask for");
            return found;
        };
        assert_eq!(truncated, &Json::Bool(true));
        let next = reply.number_of("next");
        assert!(next > start, "{next} is after {start}");
        assert_eq!(next as usize, found.len(), "next is the place after the last entry");
        start = next;
    }
}

#[tokio::test]
async fn a_slice_too_large_for_a_frame_is_walked_by_next() {
    with_app(unhurried(), async |app| {
        let sizes = (0..60).map(|number| [10, 50_000, 3_000, 120_000, 700][number % 5]);
        let published = publish_sizes(app, sizes).await;
        let mut client = app.client().await;
        assert_eq!(walk(&mut client, 1000, 131_072).await, published);
        assert_eq!(walk(&mut client, 17, 131_072).await, published[..17]);
    })
    .await;
}

#[tokio::test]
async fn a_truncated_slice_holds_the_newest_that_fit() {
    with_app(unhurried(), async |app| {
        let published = publish_sizes(app, (0..10).map(|_| 30_000)).await;
        let mut client = app.client().await;
        let (reply, length) = slice(&mut client, "").await;
        assert_eq!(ids(&reply), published[..4]);
        assert!(length + 30_000 > 131_072, "a fifth would not fit into {length}");
        assert_eq!(reply.get("truncated"), Some(&Json::Bool(true)));
        assert_eq!(reply.number_of("next"), 4.0);
        // From the oldest end the place to ask next is an index from the newest all the same.
        let (reply, _) = slice(&mut client, r#","start":-8"#).await;
        assert_eq!(ids(&reply), published[2..6]);
        assert_eq!(reply.number_of("next"), 6.0);
    })
    .await;
}

#[tokio::test]
async fn the_largest_messages_there_are_can_be_read_from_the_log() {
    let mut settings = unhurried();
    settings.limits.max_message_bytes = 4096;
    with_app(settings, async |app| {
        let mut listener = app.listener("\"x\"").await;
        let mut client = app.client().await;
        client.publish("\"x\"", "\"\"").await;
        let room = 4096 - 1024 - listener.event_text().await.len();
        let message = format!("\"{}\"", "m".repeat(room));
        for _ in 0..5 {
            client.publish("\"x\"", &message).await;
        }
        assert_eq!(walk(&mut client, 100, 4096).await.len(), 6);
    })
    .await;
}

#[tokio::test]
async fn a_slice_that_fits_is_not_truncated() {
    with_app(config(), async |app| {
        publish_sizes(app, (0..20).map(|_| 5_000)).await;
        let (reply, _) = slice(&mut app.client().await, "").await;
        assert_eq!(reply.array_of("log").len(), 20);
        assert_eq!((reply.get("truncated"), reply.get("next")), (None, None));
    })
    .await;
}

#[tokio::test]
async fn what_is_older_than_an_entry_can_be_asked_for() {
    with_app(config(), async |app| {
        let published = publish_sizes(app, (0..8).map(|_| 3)).await;
        let mut client = app.client().await;
        for (place, id) in published.iter().enumerate() {
            let (reply, _) = slice(&mut client, &format!(r#","before":"{id}""#)).await;
            assert_eq!(ids(&reply), published[place + 1..], "before the entry at {place}");
        }
        // Indices shift as messages arrive; what is older than an entry stays the same.
        client.publish("\"x\"", "1").await;
        let (reply, _) = slice(&mut client, &format!(r#","before":"{}""#, published[2])).await;
        assert_eq!(ids(&reply), published[3..]);
    })
    .await;
}

#[tokio::test]
async fn the_log_is_bounded_by_count_and_the_oldest_go() {
    let mut settings = config();
    settings.message_log.max_messages = 10;
    with_app(settings, async |app| {
        for published in [7, 9, 25] {
            let newest = publish_sizes(app, (0..published).map(|_| 3)).await;
            let (reply, _) = slice(&mut app.client().await, "").await;
            let kept = ids(&reply);
            assert!(kept.len() <= 10, "{} entries", kept.len());
            let common = newest.len().min(10);
            assert_eq!(kept[..common], newest[..common]);
        }
        let (reply, _) = slice(&mut app.client().await, r#","start":9,"end":11"#).await;
        assert_eq!(reply.array_of("log").len(), 1, "ten are kept, not fewer");
    })
    .await;
}

#[tokio::test]
async fn the_log_is_bounded_by_bytes_each_entry_charged_its_event_and_256() {
    let size_of_one = {
        let mut size = 0;
        with_app(config(), async |app| {
            let mut listener = app.listener("\"x\"").await;
            publish_sizes(app, [3000].into_iter()).await;
            size = listener.event_text().await.len();
        })
        .await;
        size
    };
    // Room for exactly so many, and for all but one byte of so many; more than the largest
    // message could take.
    for (spare, kept) in [(0, 50), (1, 49)] {
        let mut settings = unhurried();
        settings.message_log.max_bytes = 50 * (size_of_one + 256) - spare;
        with_app(settings, async |app| {
            let published = publish_sizes(app, (0..60).map(|_| 3000)).await;
            let mut client = app.client().await;
            let found = walk(&mut client, 1000, 131_072).await;
            assert_eq!(found.len(), kept);
            assert_eq!(found, published[..kept]);
        })
        .await;
    }
}

#[tokio::test]
async fn a_new_hub_remembers_nothing() {
    for _ in 0..2 {
        with_app(config(), async |app| {
            let (reply, _) = slice(&mut app.client().await, "").await;
            assert!(reply.array_of("log").is_empty());
            publish_sizes(app, [3].into_iter()).await;
        })
        .await;
    }
}
