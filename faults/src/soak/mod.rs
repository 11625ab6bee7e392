//! The long run: mixed load with churn on one hub, every delivery checked, figures taken at equal
//! times, and a verdict whether they are flat.
//!
//! - [`roles`]: who takes part.
//! - [`ear`]: what a listener checks of each event.
//! - [`samples`]: figures over time.

pub mod ear;
pub mod roles;
pub mod samples;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use serde_json::{Value, json};
use skynet_bench::usage::rounded;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, interval_at, timeout},
};

use crate::{
    http::Admin,
    problem::{DEADLINE, During, Outcome, Problem, ensure, wait_until},
    proxy::{Plan, Proxy, Way},
    server::{Server, Setup},
};
use ear::Books;
use roles::{Part, Phase, Taste, administer, listen, listen_cbor, pass_by, publish, read_log};
use samples::{Sample, verdict};

/// Channels, each with a publisher of its own.
const CHANNELS: usize = 20;
/// Of them, those whose publishers speak CBOR: the last ones.
const IN_CBOR: usize = 4;
/// Samples that are taken in a run, where it is not an hour or more.
const SAMPLES: u32 = 20;
/// The longest between two samples.
const MOST_BETWEEN: Duration = Duration::from_secs(60);

/// How far back the log reaches, in seconds: far enough to catch up on, and full before the first
/// sample that counts.
const LOG_SECONDS: u32 = 10;

/// Settings of the hub: queues in which a pause of this program, which shares the machine, is no
/// reason to be closed, and few lines.
const SETTINGS: &[(&str, &str)] = &[
    ("SKYNET_LIMITS__MAX_QUEUE_BYTES", "16MiB"),
    ("SKYNET_TELEMETRY__LOG", "warn,skynet::app=info"),
];

/// What a run is to be.
#[derive(Debug, Clone, Copy)]
pub struct Plans {
    /// How long it lasts.
    pub lasts: Duration,
    /// Messages a second, of all publishers together.
    pub rate: u32,
}

/// Runs the soak; what is told of each sample is given to `tell`. Returns the summary, and whether
/// all was flat.
///
/// # Errors
/// A delivery was wrong, a role was disturbed, or something is left at the end.
pub async fn run(setup: &Setup, plans: Plans, tell: impl Fn(&Value)) -> Outcome<(Value, bool)> {
    let log = (plans.rate * LOG_SECONDS).to_string();
    let setup = setup.with(SETTINGS).with(&[("SKYNET_MESSAGE_LOG__MAX_MESSAGES", &log)]);
    let server = Server::start(&setup).await?;
    let books = Arc::new(Books::new(CHANNELS));
    let (phase, watched) = watch::channel(Phase::Playing);
    let part = Part { hub: server.hub(), books: books.clone(), phase: watched };
    let slow = Way { rate: 30_000, piece: 300, ..Way::default() };
    let proxy = Proxy::start(server.hub(), move |_| Plan { up: slow, down: slow }).await?;
    let (mut talking, mut listening) = (JoinSet::new(), JoinSet::new());
    listeners(&mut listening, &part, &proxy);
    let pause = Duration::from_secs(CHANNELS as u64) / plans.rate.max(1);
    for number in 0..CHANNELS {
        // One of them sits behind the slow network.
        let part = if number == 0 { part.through(proxy.address()) } else { part.clone() };
        talking.spawn(publish(part, number, pause, number >= CHANNELS - IN_CBOR));
    }
    for _ in 0..2 {
        talking.spawn(pass_by(part.clone()));
        talking.spawn(read_log(part.clone()));
    }
    talking.spawn(administer(part.clone(), server.admin()));

    let samples = tokio::select! {
        samples = watch_over(&server, &books, plans.lasts, tell) => samples?,
        problem = first_problem(&mut talking) => return Err(problem),
        problem = first_problem(&mut listening) => return Err(problem),
    };
    phase.send_replace(Phase::LastWords);
    ended(&mut talking).await.during("the end of who talks")?;
    phase.send_replace(Phase::Leaving);
    ended(&mut listening).await.during("the end of who listens")?;
    let left = nothing_is_left(&server).await?;
    let (figures, flat) = verdict(&samples);
    let published: u64 = books.acknowledged.iter().map(|last| last.load(Relaxed)).sum();
    let cpu = samples.iter().map(|sample| sample.cpu).sum::<f64>() / samples.len().max(1) as f64;
    let summary = json!({
        "flat": flat,
        "seconds": plans.lasts.as_secs(),
        "published": published,
        "heard": books.heard.load(Relaxed),
        "left_out_by_pace": books.left_out.load(Relaxed),
        "lost": 0,
        "caught_up": books.caught_up.load(Relaxed),
        "passed_by": books.passed.load(Relaxed),
        "admin_requests": books.requests.load(Relaxed),
        "connections": left,
        "cpu_of_a_core": rounded(cpu, 3),
        "figures": figures,
    });
    Ok((summary, flat))
}

/// Everybody who listens.
fn listeners(listening: &mut JoinSet<Outcome>, part: &Part, proxy: &Proxy) {
    let plain = Taste { channel: None, keys: "", prompt: true, returns: false };
    for number in 0..CHANNELS {
        let mine = Taste { channel: Some(number), ..plain.clone() };
        for _ in 0..4 {
            listening.spawn(listen(part.clone(), mine.clone()));
        }
        listening.spawn(listen_cbor(part.clone(), number));
        listening.spawn(listen(part.clone(), Taste { returns: true, ..mine.clone() }));
        let late = Taste { prompt: false, ..mine };
        let slow = part.through(proxy.address());
        listening.spawn(listen(slow, late.clone()));
        listening.spawn(listen(part.clone(), Taste { keys: r#","batch":true"#, ..late.clone() }));
        listening.spawn(listen(part.clone(), Taste { keys: r#","pace":3"#, ..late }));
    }
    for _ in 0..2 {
        let all = Taste { keys: r#","batch":true"#, prompt: false, ..plain.clone() };
        listening.spawn(listen(part.clone(), all.clone()));
        listening.spawn(listen(part.clone(), Taste { keys: "", prompt: true, ..all }));
    }
}

/// Takes samples until it is over.
async fn watch_over(
    server: &Server,
    books: &Books,
    lasts: Duration,
    tell: impl Fn(&Value),
) -> Outcome<Vec<Sample>> {
    let between = (lasts / SAMPLES).clamp(Duration::from_secs(1), MOST_BETWEEN);
    let began = Instant::now();
    let mut times = interval_at(began + between, between);
    let (mut samples, mut then, mut used) = (Vec::new(), began, server.cpu()?);
    while began.elapsed() < lasts {
        times.tick().await;
        let page = server.owner().await?.metrics().await?;
        let (held, cpu, at) = (server.held()?, server.cpu()?, Instant::now());
        let (p50, p99) = books.delays(|delays| (delays.quantile(0.5), delays.quantile(0.99)));
        let clients = page.get("skynet_clients");
        let sample = Sample {
            at: began.elapsed().as_secs_f64(),
            resident: held.resident as f64 / 1024.0,
            descriptors: held.descriptors as f64 - clients,
            threads: held.threads as f64,
            cpu: (cpu - used) / (at - then).as_secs_f64(),
            p50: p50 / 1000.0,
            p99: p99 / 1000.0,
            clients,
            queued: page.get("skynet_queued_bytes"),
            partial: page.get("skynet_partial_bytes"),
        };
        (then, used) = (at, cpu);
        tell(&sample.report());
        samples.push(sample);
    }
    Ok(samples)
}

/// The first role that ends before it is told to.
async fn first_problem(roles: &mut JoinSet<Outcome>) -> Problem {
    match roles.join_next().await {
        Some(Ok(Err(problem))) => problem,
        Some(Err(panic)) => Problem(panic.to_string()),
        Some(Ok(Ok(()))) | None => Problem("a role has ended before its time".into()),
    }
}

/// Waits until all have ended by themselves.
async fn ended(roles: &mut JoinSet<Outcome>) -> Outcome {
    let all = async {
        while let Some(role) = roles.join_next().await {
            role.during("a role")??;
        }
        Ok(())
    };
    timeout(DEADLINE, all).await.during("they do not end")?
}

/// Waits until the hub holds nothing of anybody; how many clients it has had.
async fn nothing_is_left(server: &Server) -> Outcome<u64> {
    let mut connections = 0.0;
    wait_until("nothing of anybody is left", async || {
        let page = Admin::connect(server.admin()).await?.metrics().await?;
        connections = page.get("skynet_connections_total");
        let held = [
            "skynet_clients",
            "skynet_subscriptions",
            "skynet_queued_bytes",
            "skynet_partial_bytes",
        ];
        Ok(held.iter().all(|name| page.get(name) == 0.0))
    })
    .await?;
    let failed = server.said(|line| line["level"] == "ERROR");
    ensure(failed.is_empty(), || format!("the program said {failed:?}"))?;
    Ok(connections as u64)
}
