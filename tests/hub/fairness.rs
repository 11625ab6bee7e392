//! Who floods the hub waits for the others like everybody else. It is counted, not timed: the one
//! that floods listens to what the others send, and between two of their messages, in the order
//! of its own stream, there may be only so many of its replies.

use tokio::sync::oneshot;

use crate::support::{
    config,
    process::Process,
    raw::{Raw, TEXT, masked, parsed, publication},
    with_app,
};

/// Counts a client's replies before each of so many events.
async fn replies_before_each(client: &mut Raw, events: usize) -> Vec<usize> {
    let mut counts = vec![0];
    while counts.len() <= events {
        if parsed(&client.text().await).is("message") {
            counts.push(0);
        } else {
            *counts.last_mut().expect("there is one") += 1;
        }
    }
    counts.truncate(events);
    counts
}

#[tokio::test]
async fn messages_of_others_do_not_wait_for_thousands_of_refused_commands() {
    let mut settings = config();
    settings.limits.messages_per_second = 1;
    settings.limits.message_burst = 4;
    with_app(settings, async |app| {
        let mut others = Vec::new();
        for _ in 0..20 {
            others.push(app.client().await);
        }
        let mut flood = app.listener("\"others\"").await;
        flood.write(&masked(TEXT, br#"{"type":"log"}"#).repeat(10_000)).await;
        for other in &mut others {
            other.send(&publication("\"others\"", "1")).await;
        }
        let counts = replies_before_each(&mut flood, 20).await;
        let all: usize = counts.iter().sum();
        assert!(all < 1000, "{all} commands of the flood came first: {counts:?}");
    })
    .await;
}

/// Commands that take long to read: the sockets of others must be looked at between a few.
#[tokio::test]
async fn an_exchange_of_others_does_not_wait_for_hundreds_of_large_commands() {
    let hub = Process::start(&[
        ("SKYNET_LIMITS__MESSAGES_PER_SECOND", "1000000"),
        ("SKYNET_LIMITS__MESSAGE_BURST", "1000000"),
    ]);
    let keys: Vec<String> = (0..5000).map(|n| format!(r#""k{n}":1"#)).collect();
    let large = masked(TEXT, format!("{{{}}}", keys.join(",")).as_bytes());
    let mut left = Raw::connect(hub.hub()).await;
    let mut right = Raw::connect(hub.hub()).await;
    right.open("\"others\"").await;
    let mut flood = Raw::connect(hub.hub()).await;
    flood.open("\"others\"").await;
    let (stop, mut stopped) = oneshot::channel::<()>();
    let flood = tokio::spawn(async move {
        while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
            flood.write(&large).await;
        }
        flood
    });
    for number in 0..5 {
        left.send(&publication("\"others\"", &number.to_string())).await;
        assert_eq!(right.event().await.number_of("message"), f64::from(number));
    }
    stop.send(()).expect("it floods");
    let mut flood = flood.await.expect("it is served");
    let counts = replies_before_each(&mut flood, 5).await;
    // The first came before the flood was under way; a machine that dawdles spoils one or two.
    let mut between = counts[1..].to_vec();
    between.sort_unstable();
    assert!(between[1] < 150, "replies in between: {counts:?}");
}
