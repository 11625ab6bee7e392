//! Who takes part in the soak. Each role runs until it is told that nothing more is published, and
//! then until it has heard all of it; whatever it finds wrong ends the run.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use serde_json::json;
use skynet_bench::websocket::{BINARY, CLOSE, TEXT};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::ear::{Books, Ear, channel, now};
use crate::{
    client::{Client, cbor_open, cbor_publication, handshake, masked},
    http::Admin,
    problem::{During, Outcome, Problem, ensure, soon},
};

/// How far the run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Everybody plays.
    Playing,
    /// Publishers and passers-by stop.
    LastWords,
    /// All that is published has been: listeners leave once they have heard it.
    Leaving,
}

/// What every role is given.
#[derive(Clone)]
pub struct Part {
    /// Where computers connect.
    pub hub: SocketAddr,
    /// What is shared.
    pub books: Arc<Books>,
    /// How far it has come.
    pub phase: watch::Receiver<Phase>,
}

impl Part {
    fn is(&self, phase: Phase) -> bool {
        *self.phase.borrow() == phase
    }

    /// A role of its own, at another address.
    pub fn through(&self, address: SocketAddr) -> Part {
        Part { hub: address, ..self.clone() }
    }
}

/// A pace that does not hurry after a pause.
fn pace(pause: Duration) -> tokio::time::Interval {
    let mut pace = interval(pause);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// How long somebody stays who comes and goes.
fn a_while() -> Instant {
    Instant::now() + Duration::from_millis(fastrand::u64(2_000..20_000))
}

/// Publishes to a channel of its own, message after message, and now and then from a new connection.
///
/// # Errors
/// A message is not acknowledged.
pub async fn publish(part: Part, number: usize, pause: Duration, cbor: bool) -> Outcome {
    let (mut pace, mut last) = (pace(pause), 0);
    let channel = channel(number);
    while part.is(Phase::Playing) {
        let mut client = Client::connect(part.hub).await?;
        let until = a_while() + Duration::from_secs(30);
        while part.is(Phase::Playing) && Instant::now() < until {
            pace.tick().await;
            last += 1;
            if cbor {
                // Not acknowledged: who listens will say whether it came.
                client.write(&cbor_publication(&channel, [last, now()])).await?;
            } else {
                client.publish(&channel, &json!([last, now()]).to_string()).await?;
            }
            part.books.acknowledged[number].store(last, Relaxed);
        }
        client.leave().await?;
    }
    Ok(())
}

/// How somebody listens.
#[derive(Debug, Clone)]
pub struct Taste {
    /// To which channel; to all without.
    pub channel: Option<usize>,
    /// Further keys of `open`, each with a comma before it.
    pub keys: &'static str,
    /// Whether its delays say something about the hub.
    pub prompt: bool,
    /// Whether it comes and goes, and catches up each time.
    pub returns: bool,
}

/// Listens in JSON.
///
/// # Errors
/// An event is missing, is there twice, or is out of order; or the hub has hung up.
pub async fn listen(part: Part, taste: Taste) -> Outcome {
    let channels = part.books.acknowledged.len();
    let mut ear = Ear::new(channels, taste.prompt);
    let name = taste.channel.map_or_else(|| "*".to_owned(), channel);
    let mut look = interval(Duration::from_millis(200));
    loop {
        let mut client = Client::connect(part.hub).await?;
        let since = ear.newest.map(|id| format!(r#","since":"{id}""#)).unwrap_or_default();
        let open = format!(r#"{{"type":"open","channel":"{name}"{}{since}}}"#, taste.keys);
        let opened = client.command(&open).await?;
        ensure(opened["gap"].is_null(), || "the log was too short to catch up".into())?;
        let until = a_while();
        let stays = loop {
            tokio::select! {
                frame = client.told() => {
                    let frame = frame.ok_or_else(|| Problem("the hub hung up".into()));
                    let frame = frame.during(format_args!("{taste:?}"))?;
                    ensure(frame.opcode == TEXT, || format!("{taste:?} is told {frame:?}"))?;
                    ear.hear(&part.books, &frame.payload).during(format_args!("{taste:?}"))?;
                }
                _ = look.tick() => {}
                () = sleep_until(until), if taste.returns => break false,
            }
            let mut mine = taste.channel.map_or(0..channels, |number| number..number + 1);
            if part.is(Phase::Leaving) && mine.all(|number| ear.has_all(&part.books, number)) {
                break true;
            }
        };
        go(client).await?;
        if stays {
            return Ok(());
        }
        part.books.caught_up.fetch_add(1, Relaxed);
    }
}

/// Leaves in one of the ways of leaving.
async fn go(mut client: Client) -> Outcome {
    match fastrand::u8(..4) {
        0 => client.leave().await,
        1 => {
            client.reset();
            Ok(())
        }
        2 => client.finish().await,
        _ => {
            client.write(&masked(TEXT, b"{never whole")[..8]).await?;
            Ok(())
        }
    }
}

/// Listens to a channel in CBOR.
///
/// # Errors
/// As [`listen`].
pub async fn listen_cbor(part: Part, number: usize) -> Outcome {
    let mut ear = Ear::new(part.books.acknowledged.len(), true);
    let mut client = Client::connect(part.hub).await?;
    client.write(&cbor_open(&channel(number))).await?;
    let mut look = interval(Duration::from_millis(200));
    while !(part.is(Phase::Leaving) && ear.has_all(&part.books, number)) {
        tokio::select! {
            frame = client.told() => {
                let frame = frame.ok_or_else(|| Problem("the hub hung up on CBOR".into()))?;
                ensure(frame.opcode == BINARY, || format!("CBOR is told {frame:?}"))?;
                ear.hear_cbor(&part.books, number, &frame.payload)?;
            }
            _ = look.tick() => {}
        }
    }
    client.leave().await
}

/// Reads slices of the log.
///
/// # Errors
/// One is not given.
pub async fn read_log(part: Part) -> Outcome {
    let mut pace = pace(Duration::from_millis(500));
    let mut client = Client::connect(part.hub).await?;
    while part.is(Phase::Playing) {
        pace.tick().await;
        let start = fastrand::u32(..1000);
        let ask = json!({"type": "log", "start": start, "end": start + 50});
        let reply = client.command(&ask.to_string()).await?;
        ensure(reply["log"].is_array(), || format!("told {reply}"))?;
    }
    client.leave().await
}

/// Connects, does something, rightly or wrongly, and goes, again and again.
///
/// # Errors
/// The hub does not answer as it must.
pub async fn pass_by(part: Part) -> Outcome {
    let mut pace = pace(Duration::from_millis(200));
    while part.is(Phase::Playing) {
        pace.tick().await;
        let mut client = Client::tcp(part.hub).await?;
        let request = handshake(part.hub);
        match fastrand::u8(..6) {
            0 => client.write(&request[..request.len() / 3]).await?,
            1 => {
                client.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await?;
                let status = client.status().await?;
                ensure(status.is_some_and(|status| status < 500), || format!("{status:?}"))?;
            }
            2 => {
                client.write(&request).await?;
                client.accepted().await?;
                // No mask, which ends the connection.
                client.write(&[0x81, 2, b'{', b'}']).await?;
                let told = soon("a close", client.told()).await?;
                let close = told.is_some_and(|told| told.opcode == CLOSE);
                ensure(close, || "a frame without a mask is taken".into())?;
            }
            _ => {
                client.write(&request).await?;
                client.accepted().await?;
                client.open("passing by").await?;
                client.command(r#"{"type":"ping"}"#).await?;
                go(client).await?;
            }
        }
        part.books.passed.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Uses the admin API, and has the metrics scraped.
///
/// # Errors
/// A request fails.
pub async fn administer(part: Part, admin: SocketAddr) -> Outcome {
    let mut pace = pace(Duration::from_millis(500));
    let paths = ["/stats", "/clients?limit=50", "/channels", "/log?limit=50", "/config", "/bans"];
    let mut round = 0;
    while part.is(Phase::Playing) {
        pace.tick().await;
        let mut owner = Admin::connect(admin).await?;
        let path = format!("/api/v1{}", paths[round % paths.len()]);
        let (status, said) = owner.ask("GET", &path, "").await?;
        ensure(status == 200, || format!("{path} answers {status}: {said}"))?;
        let (status, said) = owner.ask("POST", "/api/v1/bans", r#"{"name":"nobody"}"#).await?;
        ensure(status == 201, || format!("a ban is answered {status}: {said}"))?;
        let ban: serde_json::Value = serde_json::from_str(&said).during("a ban")?;
        let path = format!("/api/v1/bans/{}", ban["ban"]["id"]);
        let (status, said) = owner.ask("DELETE", &path, "").await?;
        ensure(status == 204, || format!("{path} is answered {status}: {said}"))?;
        let (status, _) = owner.ask("GET", "/metrics", "").await?;
        ensure(status == 200, || format!("/metrics answers {status}"))?;
        part.books.requests.fetch_add(4, Relaxed);
        round += 1;
    }
    Ok(())
}
