//! No descriptors are left: the hub keeps serving those it has, says so, does not spin, and recovers
//! when some are given back.

use std::time::{Duration, Instant};

use super::{Figures, Stage};
use crate::{
    client::{Client, handshake},
    problem::{Outcome, ensure, wait_until},
};

/// Clients that are there when the descriptors run out.
const CLIENTS: usize = 40;
/// Descriptors that are left then.
const LEFT: u64 = 5;

pub(super) async fn play(stage: &Stage<'_>) -> Outcome<Figures> {
    let (server, hub) = (stage.server, stage.server.hub());
    let mut told = 0;
    let warning = "no connection can be accepted; trying again";
    let rounds = stage.either(2, 30);
    for round in 0..rounds {
        let mut clients = Vec::new();
        let before = server.told(warning);
        for _ in 0..CLIENTS {
            clients.push(Client::connect(hub).await?);
        }
        // Kept, since there will be no descriptor for another connection.
        let mut owner = server.owner().await?;
        let errors = owner.metrics().await?.get("skynet_accept_errors_total");
        server.allow_descriptors(Some(server.held()?.descriptors as u64 + LEFT))?;
        let mut waiting = Vec::new();
        for _ in 0..50 {
            let mut client = Client::tcp(hub).await?;
            client.write(&handshake(hub)).await?;
            waiting.push(client);
        }
        wait_until("the hub cannot accept", async || {
            let page = owner.metrics().await?;
            Ok(page.get("skynet_accept_errors_total") > errors)
        })
        .await?;
        let (began, used) = (Instant::now(), server.cpu()?);
        // All the while everybody who is there is served.
        while began.elapsed() < Duration::from_secs(2) {
            for (number, client) in clients.iter_mut().enumerate() {
                let sent = Instant::now();
                let id = client.publish("without descriptors", &number.to_string()).await?;
                stage.ledger.acknowledged(id, sent);
            }
            owner.metrics().await?;
        }
        let (lasted, used) = (began.elapsed().as_secs_f64(), server.cpu()? - used);
        // Forty clients and four listeners are some of it; a loop that spins is all of it.
        ensure(used < lasted * 0.8, || format!("{used:.2} s of CPU in {lasted:.2} s"))?;
        let warnings = server.told(warning) - before;
        // Once, not ten times a second; again if one of the last descriptors was free for a moment.
        ensure((1..=5).contains(&warnings), || {
            format!("it is told {warnings} times in round {round}")
        })?;
        told += warnings;
        // Some leave: as many of those that wait get in.
        let leaving = clients.split_off(CLIENTS / 2);
        let before = owner.metrics().await?.get("skynet_connections_total");
        for mut client in leaving {
            client.leave().await?;
        }
        wait_until("those who wait take the places of those who left", async || {
            let page = owner.metrics().await?;
            Ok(page.get("skynet_connections_total") >= before + CLIENTS as f64 / 2.0 - 5.0)
        })
        .await?;
        server.allow_descriptors(None)?;
        for mut client in waiting {
            client.accepted().await?;
            client.leave().await?;
        }
        server.says("connections are accepted again").await?;
    }
    Ok(vec![("rounds", rounds), ("waited", rounds * 50), ("warnings", told as u64)])
}
