//! Programs with many connections that are killed while they talk.

use std::{
    env,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::time::interval;

use super::{Figures, Stage};
use crate::{
    client::{Client, publication},
    ledger::Scope,
    listener::{Listener, Manner},
    problem::{During, Outcome, wait_until},
};

const CHANNEL: &str = "flood";
/// Connections of each program.
const CONNECTIONS: usize = 25;
/// Messages after which one is killed.
const MESSAGES: f64 = 2000.0;

/// Ends the program with the scene, whatever comes.
struct Flood(Child);

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) async fn play(stage: &Stage<'_>) -> Outcome<Figures> {
    let rounds = stage.either(3, 40);
    let hub = stage.server.hub();
    let client = Client::connect(hub).await?;
    let scope = Scope::One(CHANNEL.into());
    let listener = Listener::start(client, "who hears the flood", scope, Manner::Each).await?;
    let mut owner = stage.server.owner().await?;
    let said = |page: &crate::http::Page| page.get("skynet_messages_total");
    for _ in 0..rounds {
        let page = owner.metrics().await?;
        let (clients, before) = (page.get("skynet_clients"), said(&page));
        let program = env::current_exe().during("this program")?;
        let child = Command::new(program)
            .args(["--flood", &hub.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let flood = Flood(child.during("a second program")?);
        wait_until("the flood is well under way", async || {
            Ok(said(&owner.metrics().await?) > before + MESSAGES)
        })
        .await?;
        // SIGKILL, in the middle of whatever it says.
        drop(flood);
        wait_until("its clients are gone", async || {
            Ok(owner.metrics().await?.get("skynet_clients") <= clients)
        })
        .await?;
    }
    let last = Client::connect(hub).await?.publish(CHANNEL, "\"last\"").await?;
    let heard = listener.through(last).await?;
    let events = heard.ids.len() as u64;
    stage.ledger.heard(heard);
    let connections = rounds * CONNECTIONS as u64;
    Ok(vec![("programs killed", rounds), ("connections", connections), ("events", events)])
}

/// Talks on many connections without a look at what comes back, until it is killed.
///
/// # Errors
/// The hub hangs up.
pub async fn flood(hub: SocketAddr) -> Outcome {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = Client::connect(hub).await?;
        client.open(CHANNEL).await?;
        clients.push(client);
    }
    let mut pace = interval(Duration::from_millis(20));
    for number in 0_u64.. {
        pace.tick().await;
        for client in &mut clients {
            for part in 0..4 {
                client.send(&publication(CHANNEL, &format!("[{number},{part}]"))).await?;
            }
        }
    }
    Ok(())
}
