//! Thousands of connections that come, say something and go, in every way of going.

use std::{sync::Arc, time::Instant};

use skynet_bench::websocket::TEXT;
use tokio::task::JoinSet;

use super::{Figures, Stage};
use crate::{
    client::{Client, handshake, masked, publication},
    ledger::Ledger,
    problem::{During, Outcome},
};

/// Connections at a time.
const AT_ONCE: usize = 100;

pub(super) async fn play(stage: &Stage<'_>) -> Outcome<Figures> {
    let total = stage.either(3000, 100_000);
    let hub = stage.server.hub();
    let mut running = JoinSet::new();
    for number in 0..total {
        if running.len() == AT_ONCE
            && let Some(ended) = running.join_next().await
        {
            ended.during("a passer-by")??;
        }
        running.spawn(passes_by(hub, number, stage.ledger.clone()));
    }
    while let Some(ended) = running.join_next().await {
        ended.during("a passer-by")??;
    }
    Ok(vec![("connections", total)])
}

async fn passes_by(hub: std::net::SocketAddr, number: u64, ledger: Arc<Ledger>) -> Outcome {
    let mut client = Client::tcp(hub).await?;
    let request = handshake(hub);
    let way = number % 9;
    // Some never become clients.
    match way {
        0 => return Ok(()),
        1 => {
            client.write(&request[..request.len() / 2]).await?;
            client.reset();
            return Ok(());
        }
        // Without a look at the answer.
        2 => return client.write(&request).await,
        _ => {}
    }
    client.write(&request).await?;
    client.accepted().await?;
    let channel = format!("passing {}", number % 50);
    client.open(&channel).await?;
    let sent = Instant::now();
    let id = client.publish(&channel, &number.to_string()).await?;
    ledger.acknowledged(id, sent);
    let command = masked(TEXT, publication(&channel, "\"never whole\"").as_bytes());
    match way {
        3 => client.leave().await?,
        4 => {
            client.finish().await?;
            while client.next().await.is_some() {}
        }
        5 => client.reset(),
        6 => {
            client.write(&command[..command.len() / 2]).await?;
            client.reset();
        }
        7 => {
            // The first part of a message, and nothing after it.
            let mut part = command.clone();
            part[0] &= 0x7f;
            client.write(&part).await?;
            client.finish().await?;
        }
        _ => drop(client),
    }
    Ok(())
}
