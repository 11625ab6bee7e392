//! A publisher that talks to one channel at a pace, on a connection that nothing goes wrong with.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, task::JoinHandle, time::interval};

use crate::{
    client::Client,
    ledger::{Id, Ledger},
    problem::{Outcome, Problem, soon},
};

/// The publisher, until it is asked for its last message.
pub struct Feed {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Outcome<Id>>,
}

impl Feed {
    /// Starts to send numbers, each in a message of about `bytes`, one every `pause`.
    ///
    /// # Errors
    /// The hub does not take it.
    pub async fn start(
        hub: SocketAddr,
        channel: &'static str,
        bytes: usize,
        pause: Duration,
        ledger: Arc<Ledger>,
    ) -> Outcome<Feed> {
        let mut client = Client::connect(hub).await?;
        let (stop, mut stopped) = oneshot::channel();
        let pad = "f".repeat(bytes);
        let task = tokio::spawn(async move {
            let mut pace = interval(pause);
            let mut number = 0_u64;
            loop {
                pace.tick().await;
                let sent = Instant::now();
                let id = client.publish(channel, &format!(r#"[{number},"{pad}"]"#)).await?;
                ledger.acknowledged(id, sent);
                number += 1;
                if stopped.try_recv() != Err(oneshot::error::TryRecvError::Empty) {
                    return Ok(id);
                }
            }
        });
        Ok(Feed { stop, task })
    }

    /// Stops it; the ID of its last message.
    ///
    /// # Errors
    /// It has been disconnected.
    pub async fn stop(self) -> Outcome<Id> {
        // It is gone only if the task has ended before, which is told next.
        let _ = self.stop.send(());
        soon("a feed ends", self.task).await?.map_err(|error| Problem(error.to_string()))?
    }
}
