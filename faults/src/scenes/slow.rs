//! Readers that are slow or never read, senders of a byte at a time, and handshakes that never end.

use std::time::{Duration, Instant};

use tokio::{task::JoinSet, time::interval};

use super::{Figures, Stage};
use crate::{
    client::{Client, handshake},
    feed::Feed,
    ledger::{End, Scope},
    listener::{Listener, Manner, Ready},
    problem::{During, Outcome, ensure, wait_until},
    proxy::{Plan, Proxy, Way},
};

/// Listeners that never read are closed with 4000, and what they find when they read at last is the
/// beginning of what they were due; listeners that are slow and fast enough are not.
pub(super) async fn readers(stage: &Stage<'_>) -> Outcome<Figures> {
    let sleepers = stage.either(20, 200);
    let hub = stage.server.hub();
    let mut owner = stage.server.owner().await?;
    // 50 kB a second, for who is due 25.
    let slow = Way { rate: 50_000, piece: 500, ..Way::default() };
    let proxy = Proxy::start(hub, move |_| Plan { down: slow, ..Plan::default() }).await?;
    let mut keep_up = Vec::new();
    for number in 0..10 {
        let client = Client::connect(proxy.address()).await?;
        let manner = [Manner::Each, Manner::Batches][number % 2];
        let scope = Scope::One("a trickle".into());
        keep_up.push(Listener::start(client, "who reads slowly", scope, manner).await?);
    }
    let pause = Duration::from_millis(40);
    let trickle = Feed::start(hub, "a trickle", 900, pause, stage.ledger.clone()).await?;

    let mut asleep = Vec::new();
    for _ in 0..sleepers {
        let client = Client::narrow(hub).await?;
        let scope = Scope::One("a stream".into());
        asleep.push(Ready::open(client, "who never reads", scope, Manner::Each).await?);
    }
    let stream =
        Feed::start(hub, "a stream", 30_000, Duration::from_millis(10), stage.ledger.clone());
    let stream = stream.await?;
    wait_until("those who never read are closed", async || {
        let page = owner.metrics().await?;
        Ok(page.sum("skynet_disconnects_total", "too_slow") >= sleepers as f64)
    })
    .await?;
    stream.stop().await?;
    for sleeper in asleep {
        let heard = sleeper.listen().ended().await?;
        // Who sleeps longer than the hub waits for an answer finds a reset for the close frame.
        let end = matches!(heard.end, End::Dropped(None | Some(4000)));
        ensure(end, || format!("who never reads is closed with 4000, not {:?}", heard.end))?;
        stage.ledger.heard(heard);
    }
    let last = trickle.stop().await?;
    for listener in keep_up {
        let heard = listener.through(last).await?;
        ensure(heard.end == End::Stayed, || format!("slow is no fault: {:?}", heard.end))?;
        stage.ledger.heard(heard);
    }
    Ok(vec![("never read", sleepers), ("slow and kept", 10)])
}

/// Conversations a byte at a time, which are as good as others, and handshakes that are too slow.
pub(super) async fn senders(stage: &Stage<'_>) -> Outcome<Figures> {
    let total = stage.either(30, 500);
    let hub = stage.server.hub();
    let bytewise = Way { piece: 1, ..Way::default() };
    let proxy = Proxy::start(hub, move |_| Plan { up: bytewise, down: bytewise }).await?;
    let mut running = JoinSet::new();
    for number in 0..total {
        let (address, ledger) = (proxy.address(), stage.ledger.clone());
        running.spawn(async move {
            let mut client = Client::connect(address).await?;
            let channel = format!("byte by byte {number}");
            client.open(&channel).await?;
            for number in 0..5 {
                let sent = Instant::now();
                let id = client.publish(&channel, &format!("[{number},\"é\"]")).await?;
                ledger.acknowledged(id, sent);
            }
            client.leave().await
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.during("a slow sender")??;
    }
    let began = Instant::now();
    let mut dribbling = JoinSet::new();
    for _ in 0..total {
        dribbling.spawn(async move {
            let mut client = Client::tcp(hub).await?;
            let mut pace = interval(Duration::from_millis(100));
            for byte in handshake(hub) {
                pace.tick().await;
                if client.write(&[byte]).await.is_err() {
                    return Outcome::Ok(());
                }
            }
            // The request took longer than the hub waits for one.
            let status = client.status().await?;
            ensure(status != Some(101), || "a handshake without end was accepted".into())
        });
    }
    while let Some(ended) = dribbling.join_next().await {
        ended.during("a dribbler")??;
    }
    let took = began.elapsed();
    // Two seconds are allowed, and a dribbler notices by its next bytes; to its end it takes sixteen.
    ensure(took < Duration::from_secs(12), || format!("dribblers are there for {took:?}"))?;
    let page = stage.server.owner().await?.metrics().await?;
    // More than have a place at a time, and all of one address: some make room for the others first.
    let counted = ["timeout", "crowded"].map(|reason| format!("reason=\"{reason}\""));
    let failures = counted.iter().map(|of| page.sum("skynet_connection_failures_total", of));
    let failures: f64 = failures.sum();
    ensure(failures >= total as f64, || format!("{failures} of {total} are counted"))?;
    Ok(vec![("byte by byte", total), ("handshakes without end", total)])
}
