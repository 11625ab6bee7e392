//! Two clients that talk to each other all the while something else goes on, and must not notice.

use std::{net::SocketAddr, time::Duration};

use tokio::{sync::oneshot, task::JoinHandle, time::interval};

use super::raw::Raw;

/// A pair of clients that exchange numbered messages until it is stopped.
pub struct Pair {
    stop: oneshot::Sender<()>,
    task: JoinHandle<u32>,
}

impl Pair {
    /// Connects the pair and starts its talk: fifty exchanges a second.
    pub async fn start(hub: SocketAddr) -> Pair {
        let mut left = Raw::connect(hub).await;
        let mut right = Raw::connect(hub).await;
        left.open("\"to the left\"").await;
        right.open("\"to the right\"").await;
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut pace = interval(Duration::from_millis(20));
            let mut number = 0;
            while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                pace.tick().await;
                number += 1;
                exchange(&mut left, "\"to the right\"", &mut right, number).await;
                exchange(&mut right, "\"to the left\"", &mut left, number).await;
            }
            number
        });
        Pair { stop, task }
    }

    /// Ends the talk; panics when a message was lost, changed or out of order, or when one of the
    /// two was disconnected.
    pub async fn unharmed(self) {
        let _ = self.stop.send(());
        let exchanges = self.task.await.expect("the others notice nothing");
        assert!(exchanges > 0, "the others talked all the while");
    }
}

async fn exchange(from: &mut Raw, channel: &str, to: &mut Raw, number: u32) {
    from.publish(channel, &number.to_string()).await;
    let event = to.event().await;
    assert_eq!(event.number_of("message"), f64::from(number));
}

/// Does something while a pair talks; the pair must not notice.
pub async fn undisturbed(hub: SocketAddr, fault: impl AsyncFnOnce()) {
    let pair = Pair::start(hub).await;
    fault().await;
    pair.unharmed().await;
}
