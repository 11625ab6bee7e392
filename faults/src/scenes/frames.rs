//! A conversation that ends, or pauses, at each of its bytes: handshake, commands, a ping, a message in
//! parts, a close.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use skynet_bench::websocket::{CLOSE, PING, PONG, TEXT};
use tokio::task::JoinSet;

use super::{Figures, Stage};
use crate::{
    client::{Client, handshake, masked, publication},
    ledger::{Id, Ledger},
    problem::{During, Outcome, ensure, soon},
};

const AT_ONCE: usize = 50;

/// What a client says after its handshake, from its first byte to its close.
fn conversation() -> Vec<u8> {
    let mut bytes = masked(TEXT, br#"{"type":"open","channel":"where nobody talks"}"#);
    bytes.extend(masked(TEXT, publication("cut", "\"whole\"").as_bytes()));
    bytes.extend(masked(PING, b"between"));
    let long = publication("cut", &format!("\"{}\"", "p".repeat(130)));
    let (first, rest) = long.as_bytes().split_at(60);
    let mut part = masked(TEXT, first);
    part[0] &= 0x7f;
    bytes.extend(part);
    bytes.extend(masked(PING, b"within"));
    bytes.extend(masked(0, rest));
    bytes.extend(masked(CLOSE, &[3, 232]));
    bytes
}

pub(super) async fn play(stage: &Stage<'_>) -> Outcome<Figures> {
    let hub = stage.server.hub();
    let all = [handshake(hub), conversation()].concat();
    let ends = stage.either(1, 10);
    let mut running = JoinSet::new();
    let mut tried = 0;
    for at in 0..=all.len() {
        for way in 0..4 * ends {
            if running.len() == AT_ONCE
                && let Some(ended) = running.join_next().await
            {
                ended.during("a cut")??;
            }
            let (bytes, ledger) = (all.clone(), stage.ledger.clone());
            running.spawn(async move {
                let cut = cut_at(hub, &bytes, at, way % 4, &ledger).await;
                cut.during(format_args!("cut at byte {at} of {}, way {}", bytes.len(), way % 4))
            });
            tried += 1;
        }
    }
    while let Some(ended) = running.join_next().await {
        ended.during("a cut")??;
    }
    Ok(vec![("cuts", tried), ("bytes", all.len() as u64)])
}

async fn cut_at(
    hub: SocketAddr,
    bytes: &[u8],
    at: usize,
    way: u64,
    ledger: &Arc<Ledger>,
) -> Outcome {
    let sent = Instant::now();
    let mut client = Client::tcp(hub).await?;
    let first = handshake(hub).len();
    if way == 2 && at >= first {
        // Who ends its stream before its handshake is answered is not answered.
        client.write(&bytes[..first]).await?;
        client.accepted().await?;
        client.write(&bytes[first..at]).await?;
    } else {
        client.write(&bytes[..at]).await?;
    }
    match way {
        // By a reset, by an end that nobody waits for, by an end with a look at what comes back.
        0 => client.reset(),
        1 => drop(client),
        2 => {
            client.finish().await?;
            if at >= first {
                whole(&mut client, at == bytes.len(), sent, ledger).await?;
            }
        }
        // By a pause: the rest follows when the hub has had the first part for itself.
        _ => {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            client.write(&bytes[at..]).await?;
            client.accepted().await?;
            let messages = whole(&mut client, true, sent, ledger).await?;
            ensure(messages == 2, || format!("{messages} of 2 messages are answered"))?;
        }
    }
    Ok(())
}

/// Reads to the end; what came is the beginning of what a whole conversation is answered with, and all
/// of it if `all` was said. Returns how many messages were acknowledged.
async fn whole(
    client: &mut Client,
    all: bool,
    sent: Instant,
    ledger: &Arc<Ledger>,
) -> Outcome<usize> {
    let due = [TEXT, TEXT, PONG, PONG, TEXT, CLOSE];
    let (mut came, mut messages) = (Vec::new(), 0);
    while let Some(frame) = soon("an answer or the end", client.next()).await? {
        came.push(frame.opcode);
        let value = serde_json::from_slice(&frame.payload).unwrap_or_default();
        if let Some(id) = Id::of(&value) {
            ensure(value["type"] == "result", || format!("told {value}"))?;
            ledger.acknowledged(id, sent);
            messages += 1;
        }
    }
    let expected = if all { &due[..] } else { &due[..came.len().min(due.len())] };
    ensure(came == expected, || format!("answered with opcodes {came:?}, not {expected:?}"))?;
    Ok(messages)
}
