//! SIGTERM in the middle of a flood: every message that was acknowledged was delivered to each
//! listener that read to its close frame, in one order, and everybody is told 1001.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use skynet_bench::websocket::CLOSE;
use tokio::task::JoinSet;

use super::Report;
use crate::{
    client::{Client, masked, publication},
    ledger::{End, Id, Ledger, Scope},
    listener::{Manner, Ready},
    problem::{During, Outcome, ensure, soon, wait_until},
    server::{Server, Setup},
};

const CHANNEL: &str = "to the end";
const PUBLISHERS: u64 = 20;
const LISTENERS: usize = 12;
/// Commands that a publisher has sent ahead of their replies.
const AHEAD: usize = 8;

pub(super) async fn run(setup: &Setup, rounds: u64) -> Outcome<Report> {
    let (mut messages, mut events, mut slowest) = (0, 0, Duration::ZERO);
    for round in 0..rounds {
        let (acknowledged, heard, took) =
            stopped(setup).await.during(format_args!("round {round}"))?;
        messages += acknowledged;
        events += heard;
        slowest = slowest.max(took);
    }
    let figures = vec![
        ("rounds", rounds),
        ("acknowledged", messages),
        ("events", events),
        ("slowest end in ms", slowest.as_millis() as u64),
    ];
    Ok(Report { figures, findings: None, slowest: Duration::ZERO })
}

async fn stopped(setup: &Setup) -> Outcome<(u64, u64, Duration)> {
    let mut server = Server::start(setup).await?;
    let hub = server.hub();
    let ledger = Arc::new(Ledger::default());
    let mut listeners = Vec::new();
    for number in 0..LISTENERS {
        let manner = [Manner::Each, Manner::Batches, Manner::Cbor][number % 3];
        let scope = if number < 6 { Scope::One(CHANNEL.into()) } else { Scope::All };
        let name = format!("listener {number}, {manner:?}");
        let client = Client::connect(hub).await?;
        listeners.push(Ready::open(client, &name, scope, manner).await?.listen());
    }
    let mut publishers = JoinSet::new();
    for number in 0..PUBLISHERS {
        publishers.spawn(publish(Client::connect(hub).await?, number, ledger.clone()));
    }
    let mut owner = server.owner().await?;
    wait_until("the flood is under way", async || {
        Ok(owner.metrics().await?.get("skynet_messages_total") > 1000.0)
    })
    .await?;
    let began = Instant::now();
    server.signal(Signal::TERM)?;
    while let Some(ended) = publishers.join_next().await {
        ended.during("a publisher")??;
    }
    let mut all = Vec::new();
    for listener in listeners {
        let heard = listener.ended().await?;
        // Ten frames a second may be too few for this flood on a slow machine; then it is told so.
        let too_slow = heard.name.ends_with("Batches") && heard.end == End::Dropped(Some(4000));
        let told = too_slow || heard.end == End::Dropped(Some(1001));
        ensure(told, || format!("{} is told 1001, not {:?}", heard.name, heard.end))?;
        all.push(heard);
    }
    let status = server.exit().await?;
    let took = began.elapsed();
    ensure(status.success(), || format!("the program ends well, not with {status}"))?;
    // The log has gone with the program: what the first listener heard stands for it.
    let log: Vec<(Id, String)> = all[0].ids.iter().map(|id| (*id, CHANNEL.to_owned())).collect();
    for mut heard in all {
        if heard.end == End::Dropped(Some(1001)) {
            // Told before the close frame, so that nothing may be missing.
            heard.end = End::Stayed;
        }
        ledger.heard(heard);
    }
    let verdict = ledger.judge(&log)?;
    Ok((verdict.acknowledged, verdict.heard, took))
}

/// Publishes, some commands ahead of their replies, until it is told 1001.
async fn publish(mut client: Client, number: u64, ledger: Arc<Ledger>) -> Outcome {
    let (mut sent, mut part) = (std::collections::VecDeque::new(), 0);
    loop {
        while sent.len() < AHEAD {
            sent.push_back(Instant::now());
            // Who is being told to go may not be read any more.
            if client.send(&publication(CHANNEL, &format!("[{number},{part}]"))).await.is_err() {
                sent.pop_back();
                break;
            }
            part += 1;
        }
        let frame = soon("an answer or the end", client.told()).await?;
        let Some(frame) = frame else {
            return Err("the connection ended without a close frame".to_owned().into());
        };
        if frame.opcode == CLOSE {
            let code = frame.close().map(|(code, _)| code);
            ensure(code == Some(1001), || format!("closed with {code:?}"))?;
            let _ = client.write(&masked(CLOSE, &1001_u16.to_be_bytes())).await;
            return Ok(());
        }
        let reply: serde_json::Value = serde_json::from_slice(&frame.payload).during("a reply")?;
        let began = sent.pop_front().ok_or_else(|| "a reply to nothing".to_owned())?;
        // Over its rate it is told so, and nothing has happened.
        if let Some(id) = Id::of(&reply) {
            ledger.acknowledged(id, began);
        }
    }
}
