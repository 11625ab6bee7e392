//! What must be so after each scene, whatever went wrong in it: everybody who was told something was
//! told the truth, and nothing is left behind.

use std::time::{Duration, Instant};

use crate::{
    client::Client,
    http::Page,
    ledger::{Ledger, Verdict, read_log},
    problem::{Outcome, ensure, soon, wait_until},
    server::{Held, Server},
};

/// How much more resident memory than before a scene there may be after it, in KiB, beside as much as
/// the log has held: the allocator keeps for the next time what it has once had from the system.
pub const RESIDENT_BOUND: u64 = 48 * 1024;

/// How soon a new client is served.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Gauges that count what clients hold; each is 0 when there are none.
const HELD: [&str; 5] = [
    "skynet_clients",
    "skynet_subscriptions",
    "skynet_queued_bytes",
    "skynet_longest_queue_bytes",
    "skynet_partial_bytes",
];

/// A hub before anything has gone wrong.
#[derive(Debug, Clone, Copy)]
pub struct Base(Held);

/// What an audit found.
#[derive(Debug, Clone, Copy)]
pub struct Findings {
    /// What was said and heard.
    pub verdict: Verdict,
    /// Resident memory before and after, in KiB.
    pub resident: (u64, u64),
    /// Connections that the hub has had as clients.
    pub clients: u64,
}

impl Base {
    /// What a hub holds that has had a client and has none.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn of(server: &Server) -> Outcome<Base> {
        let mut client = Client::connect(server.hub()).await?;
        client.open("warm").await?;
        client.publish("warm", "1").await?;
        client.leave().await?;
        nobody_is_left(server).await?;
        // Its connections to the admin listener end a moment after their answers.
        let mut held = server.held()?;
        wait_until("the descriptors are those of a hub without clients", async || {
            let again = server.held()?;
            let same = std::mem::replace(&mut held, again).descriptors == again.descriptors;
            Ok(same)
        })
        .await?;
        Ok(Base(held))
    }

    /// Audits a hub after a scene whose clients have all gone. Errors that its log may tell of, because
    /// the scene has brought them about, are `expected` by how their messages begin.
    ///
    /// # Errors
    /// What must hold does not: the first that was found.
    pub async fn audit(
        self,
        server: &Server,
        ledger: &Ledger,
        expected: &[&str],
    ) -> Outcome<Findings> {
        let page = nobody_is_left(server).await?;
        let clients = page.get("skynet_connections_total");
        let ended = page.get("skynet_disconnects_total");
        ensure(clients == ended, || format!("of {clients} clients {ended} have ended"))?;

        let mut reader = Client::connect(server.hub()).await?;
        let log = read_log(&mut reader).await?;
        reader.leave().await?;
        let logged = page.get("skynet_log_bytes") as u64;
        let evicted = page.get("skynet_log_evictions_total");
        ensure(evicted == 0.0, || "the log is too short for this scene".into())?;
        let verdict = ledger.judge(&log)?;

        served_at_once(server).await?;
        forget_the_log(server).await?;
        nobody_is_left(server).await?;
        // A thread for files stays for some seconds after its last one.
        wait_until("descriptors and threads are those of before", async || {
            let now = server.held()?;
            Ok(now.descriptors <= self.0.descriptors && now.threads <= self.0.threads)
        })
        .await?;
        let after = server.held()?;
        let grown = after.resident.saturating_sub(self.0.resident);
        let bound = RESIDENT_BOUND + logged / 1024;
        ensure(grown <= bound, || format!("{grown} KiB of memory more than before, past {bound}"))?;
        nothing_failed(server, expected)?;
        let resident = (self.0.resident, after.resident);
        Ok(Findings { verdict, resident, clients: clients as u64 })
    }
}

/// Waits until no client is left, nor anything that clients hold.
async fn nobody_is_left(server: &Server) -> Outcome<Page> {
    let mut left = None;
    wait_until("the hub holds nothing of clients that have gone", async || {
        let page = server.owner().await?.metrics().await?;
        let empty = HELD.iter().all(|name| page.get(name) == 0.0);
        left = empty.then_some(page);
        Ok(empty)
    })
    .await?;
    left.ok_or_else(|| "no metrics".to_owned().into())
}

async fn forget_the_log(server: &Server) -> Outcome {
    crate::http::json(server.admin(), "DELETE", "/api/v1/log?all=true", "").await?;
    // A channel is there as long as it has listeners or messages.
    let page = server.owner().await?.metrics().await?;
    let channels = page.get("skynet_channels");
    ensure(channels == 0.0, || format!("{channels} channels are left that nobody has open"))
}

/// A new client connects, opens, is heard, and leaves.
async fn served_at_once(server: &Server) -> Outcome {
    let began = Instant::now();
    let mut listener = Client::connect(server.hub()).await?;
    listener.open("after").await?;
    let mut client = Client::connect(server.hub()).await?;
    client.publish("after", "1").await?;
    let event = soon("a new client hears", listener.event()).await??;
    ensure(event.is_ok(), || "a new client was closed".into())?;
    let took = began.elapsed();
    client.leave().await?;
    listener.leave().await?;
    ensure(took < AT_ONCE, || format!("a new client was served after {took:?} only"))
}

/// The program's own log tells of no error but those, and of no panic.
fn nothing_failed(server: &Server, expected: &[&str]) -> Outcome {
    let failed = server.said(|line| {
        let known = line["message"]
            .as_str()
            .is_some_and(|message| expected.iter().any(|begins| message.starts_with(begins)));
        !known && (line["level"] == "ERROR" || line.is_string())
    });
    ensure(failed.is_empty(), || format!("the program said {failed:?}"))
}
