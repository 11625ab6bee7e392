//! Clients behind a network that delays, splits, cuts, resets and goes silent.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use skynet_bench::websocket::TEXT;
use tokio::{task::JoinSet, time::timeout};

use super::{Figures, Stage};
use crate::{
    client::{Client, handshake, masked},
    feed::Feed,
    ledger::{Ledger, Scope},
    listener::{Listener, Manner},
    problem::{During, Outcome, ensure, wait_until},
    proxy::{Cut, Plan, Proxy, Way},
};

const FEED: &str = "network feed";
/// How long a client waits for anything before it takes its network for gone.
const PATIENCE: Duration = Duration::from_millis(700);
/// Within how many bytes of one direction a connection is cut.
const CUT_WITHIN: u64 = 6000;

pub(super) async fn play(stage: &Stage<'_>) -> Outcome<Figures> {
    let total = stage.either(400, 10_000);
    let hub = stage.server.hub();
    let mut random = fastrand::Rng::with_seed(stage.seed);
    let proxy = Proxy::start(hub, move |_| Plan::drawn(&mut random, CUT_WITHIN)).await?;
    let pause = Duration::from_millis(10);
    let feed = Feed::start(hub, FEED, 30, pause, stage.ledger.clone()).await?;
    let at_once = stage.either(60, 200) as usize;
    let mut running = JoinSet::new();
    for number in 0..total {
        if running.len() == at_once
            && let Some(ended) = running.join_next().await
        {
            ended.during("a client")??;
        }
        let (address, ledger) = (proxy.address(), stage.ledger.clone());
        running.spawn(async move {
            if number % 2 == 0 {
                talks(address, number, ledger).await
            } else {
                hears(address, number, ledger).await
            }
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.during("a client")??;
    }
    feed.stop().await?;
    let (connections, cuts) = proxy.counts();
    Ok(vec![("connections", connections), ("cuts", cuts)])
}

/// Publishes until the network fails it. What was acknowledged on the way counts.
async fn talks(proxy: SocketAddr, number: u64, ledger: Arc<Ledger>) -> Outcome {
    let talk = async {
        let mut client = Client::connect(proxy).await?;
        let channel = format!("network {}", number % 20);
        loop {
            let sent = Instant::now();
            let id = timeout(PATIENCE, client.publish(&channel, "\"is anybody there?\"")).await;
            let Ok(id) = id else { return Outcome::Ok(()) };
            ledger.acknowledged(id?, sent);
        }
    };
    // That it ends, and by what words, is the network's doing.
    let _ = timeout(PATIENCE * 10, talk).await;
    Ok(())
}

/// Listens until the network fails it.
async fn hears(proxy: SocketAddr, number: u64, ledger: Arc<Ledger>) -> Outcome {
    let manner = [Manner::Each, Manner::Batches, Manner::Cbor][number as usize % 3];
    let begin = async {
        let client = Client::connect(proxy).await?;
        Listener::start(client, "behind the network", Scope::One(FEED.into()), manner).await
    };
    // Many never get so far.
    let Ok(Ok(listener)) = timeout(PATIENCE, begin).await else { return Ok(()) };
    tokio::time::sleep(PATIENCE).await;
    ledger.heard(listener.leave().await?);
    Ok(())
}

/// Half-open connections: to the hub they look alive until pings go unanswered.
pub(super) async fn half_open(stage: &Stage<'_>) -> Outcome<Figures> {
    let total = stage.either(60, 1000);
    let hub = stage.server.hub();
    let open = format!(r#"{{"type":"open","channel":"{FEED}"}}"#);
    let mut figures = vec![];
    for (name, kind) in [("silent", Cut::Silence), ("swallowing", Cut::Swallow)] {
        let feed =
            Feed::start(hub, FEED, 1000, Duration::from_millis(20), stage.ledger.clone()).await?;
        let before = stage.server.owner().await?.metrics().await?;
        let gone = |page: &crate::http::Page| {
            let reason = |name: &str| page.sum("skynet_disconnects_total", name);
            (reason("ping_timeout"), reason("too_slow"))
        };
        let ((timeouts, slow), clients) = (gone(&before), before.get("skynet_clients"));
        // Silent after the last byte of the command that opens.
        let at = (handshake(hub).len() + masked(TEXT, open.as_bytes()).len()) as u64;
        let up = Way { cut: Some((at, kind)), ..Way::default() };
        let proxy = Proxy::start(hub, move |_| Plan { up, ..Plan::default() });
        let proxy = proxy.await?;
        let mut listeners = Vec::new();
        for _ in 0..total {
            let mut client = Client::tcp(proxy.address()).await?;
            // What is asked of the hub, not of the proxy, so that its length is known.
            client.write(&handshake(hub)).await?;
            client.write(&masked(TEXT, open.as_bytes())).await?;
            listeners.push(client);
        }
        let began = Instant::now();
        // Not the connection of before: it may have been idle for longer than one may be.
        let mut owner = stage.server.owner().await?;
        wait_until("all have been closed", async || {
            let (now, slow_now) = gone(&owner.metrics().await?);
            ensure(slow_now == slow, || "a queue of 16 MiB is too small".into())?;
            Ok(now - timeouts >= total as f64)
        })
        .await?;
        let took = began.elapsed();
        // Two pings unanswered, a second apart, and two seconds in which the close frame is.
        ensure(took < Duration::from_secs(15), || format!("closed after {took:?} only"))?;
        wait_until("what was queued for them is given back", async || {
            let page = owner.metrics().await?;
            let left = page.get("skynet_clients") <= clients;
            Ok(left && page.get("skynet_queued_bytes") < 10_000.0)
        })
        .await?;
        // The other side still has all its sockets.
        drop((listeners, proxy));
        feed.stop().await?;
        figures.push((name, total));
        figures.push(("closed after ms", took.as_millis() as u64));
    }
    Ok(figures)
}
