//! Listeners that are cut off again and again, and catch up each time by the last ID they have seen.
//! What they have heard at the end is whole.

use std::{net::SocketAddr, time::Duration, time::Instant};

use tokio::{task::JoinSet, time::timeout};

use super::{Figures, Stage};
use crate::{
    client::Client,
    feed::Feed,
    ledger::{End, Heard, Id, Scope},
    problem::{During, Outcome, Problem, ensure},
    proxy::{Cut, Plan, Proxy, Way},
};

const CHANNEL: &str = "catching up";
/// Listeners.
const LISTENERS: u64 = 10;

pub(super) async fn play(stage: &Stage<'_>) -> Outcome<Figures> {
    let cuts = stage.either(100, 3000);
    let hub = stage.server.hub();
    let mut random = fastrand::Rng::with_seed(stage.seed);
    let proxy = Proxy::start(hub, move |number| {
        // Never silent, so that they know when to come back; whole when it has been enough.
        let kind = [Cut::Reset, Cut::Close, Cut::Finish][random.usize(..3)];
        let cut = (number < cuts).then(|| (random.u64(150..4000), kind));
        Plan { down: Way { cut, ..Way::default() }, ..Plan::default() }
    });
    let proxy = proxy.await?;
    let pause = Duration::from_millis(5);
    let feed = Feed::start(hub, CHANNEL, 40, pause, stage.ledger.clone()).await?;
    let (last, until) = tokio::sync::watch::channel(None);
    let mut listeners = JoinSet::new();
    for number in 0..LISTENERS {
        let (address, until) = (proxy.address(), until.clone());
        listeners.spawn(comes_back(address, number, until));
    }
    let all = Duration::from_secs(stage.either(60, 900));
    let cut_off = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while proxy.counts().1 < cuts {
            pace.tick().await;
        }
    };
    timeout(all, cut_off).await.during("they are cut off often enough")?;
    last.send_replace(Some(feed.stop().await?));
    let mut events = 0;
    while let Some(heard) = listeners.join_next().await {
        let heard = heard.during("a listener")??;
        events += heard.ids.len() as u64;
        stage.ledger.heard(heard);
    }
    Ok(vec![("cuts", proxy.counts().1), ("listeners", LISTENERS), ("events", events)])
}

/// Listens through all cuts until it has heard the last message.
async fn comes_back(
    proxy: SocketAddr,
    number: u64,
    until: tokio::sync::watch::Receiver<Option<Id>>,
) -> Outcome<Heard> {
    let mut heard = Heard {
        name: format!("who comes back ({number})"),
        scope: Scope::One(CHANNEL.into()),
        opened: Instant::now(),
        ids: Vec::new(),
        end: End::Stayed,
    };
    let done = |heard: &Heard| {
        until.borrow().is_some_and(|last| heard.ids.last().is_some_and(|id| *id >= last))
    };
    let mut opened = false;
    while !done(&heard) {
        let Ok(mut client) = Client::connect(proxy).await else { continue };
        // Who was cut off before its first event knows no ID, and asks for all there is.
        let from = match heard.ids.last() {
            Some(id) => format!(r#""since":"{id}""#),
            None => r#""last":1000000"#.to_owned(),
        };
        let open = format!(r#"{{"type":"open","channel":"{CHANNEL}",{from}}}"#);
        let Ok(reply) = client.command(&open).await else { continue };
        ensure(reply["gap"].is_null(), || "the log has forgotten what it holds".into())?;
        if !std::mem::replace(&mut opened, true) {
            heard.opened = Instant::now();
        }
        while !done(&heard) {
            // A wait that ends, since the last message may have been heard before it was known.
            let Ok(event) = timeout(Duration::from_millis(200), client.event()).await else {
                continue;
            };
            match event? {
                Ok(event) => {
                    let id = Id::of(&event).ok_or_else(|| Problem(format!("told {event}")))?;
                    heard.ids.push(id);
                }
                Err(_) => break,
            }
        }
    }
    Ok(heard)
}
