//! Clients that talk all the while something goes wrong beside them, and must not notice.
//!
//! One publishes a hundred times a second and waits for each acknowledgement; four listen to it, each
//! in a manner of its own. None of them is anywhere near a limit, so whatever a scene does, all of
//! them must hear all of it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use crate::{
    client::Client,
    ledger::{End, Id, Ledger, Scope},
    listener::{Listener, Manner},
    problem::{During, Outcome, Problem, ensure, soon},
};

const CHANNEL: &str = "bystanders";

/// Who talks, until they are asked how it went.
pub struct Bystanders {
    stop: oneshot::Sender<()>,
    talk: JoinHandle<Outcome<(Id, Duration)>>,
    listeners: Vec<Listener>,
    ledger: Arc<Ledger>,
}

impl Bystanders {
    /// Connects all and starts the talk.
    ///
    /// # Errors
    /// The hub does not take them.
    pub async fn start(hub: SocketAddr, ledger: Arc<Ledger>) -> Outcome<Bystanders> {
        let mut listeners = Vec::new();
        let one = || Scope::One(CHANNEL.into());
        for (name, scope, manner) in [
            ("a bystander", one(), Manner::Each),
            ("a bystander that wants batches", one(), Manner::Batches),
            ("a bystander in CBOR", one(), Manner::Cbor),
            ("a bystander that hears all", Scope::All, Manner::Each),
        ] {
            let client = Client::connect(hub).await?;
            listeners.push(Listener::start(client, name, scope, manner).await?);
        }
        let publisher = Client::connect(hub).await?;
        let (stop, stopped) = oneshot::channel();
        let talk = tokio::spawn(talk(publisher, stopped, ledger.clone()));
        Ok(Bystanders { stop, talk, listeners, ledger })
    }

    /// Ends the talk and enters what was heard; returns the longest time to an acknowledgement.
    ///
    /// # Errors
    /// One of them was disconnected, or has not heard the last message.
    pub async fn unharmed(self) -> Outcome<Duration> {
        // It is gone only if the talk has ended before, which is told next.
        let _ = self.stop.send(());
        let talk = soon("the bystanders' talk ends", self.talk).await?;
        let (last, slowest) = talk
            .map_err(|error| Problem(error.to_string()))
            .and_then(|talk| talk)
            .during("a bystander that publishes")?;
        for listener in self.listeners {
            let heard = listener.through(last).await?;
            ensure(heard.end == End::Stayed, || format!("{} lost its place", heard.name))?;
            self.ledger.heard(heard);
        }
        Ok(slowest)
    }
}

async fn talk(
    mut client: Client,
    mut stopped: oneshot::Receiver<()>,
    ledger: Arc<Ledger>,
) -> Outcome<(Id, Duration)> {
    let mut pace = interval(Duration::from_millis(10));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut number, mut slowest) = (0, Duration::ZERO);
    loop {
        pace.tick().await;
        let sent = Instant::now();
        let id = client.publish(CHANNEL, &number.to_string()).await?;
        slowest = slowest.max(sent.elapsed());
        ledger.acknowledged(id, sent);
        number += 1;
        if stopped.try_recv() != Err(oneshot::error::TryRecvError::Empty) {
            return Ok((id, slowest));
        }
    }
}
