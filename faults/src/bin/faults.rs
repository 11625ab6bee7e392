//! `skynet-faults`: one line for each scene, those that do not hold on standard error.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use skynet_faults::{
    problem::{During, Outcome, ensure},
    scenes::{Report, Scene, flood},
    server::{Setup, beside},
};
use tokio::task::{JoinSet, LocalSet};

/// Lets one thing after the other go wrong around a hub, and audits it after each.
#[derive(Debug, Parser)]
#[command(name = "skynet-faults")]
struct Options {
    /// The program to start; by default the one beside this.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Many times as much of everything, for runs by hand.
    #[arg(long)]
    long: bool,
    /// These scenes alone.
    #[arg(long, value_enum, num_args = 1..)]
    only: Vec<Scene>,
    /// All but these scenes.
    #[arg(long, value_enum, num_args = 1..)]
    without: Vec<Scene>,
    /// Scenes at a time, each with a hub of its own.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=16))]
    jobs: u16,
    /// Where chance begins, to have the same again; by default it is another each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Talks to the hub at this address until it is killed: a part of one of the scenes.
    #[arg(long, hide = true)]
    flood: Option<SocketAddr>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.flood {
        Some(hub) => flood(hub).await,
        None => run(&options).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("skynet-faults: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Outcome {
    // A connection here is a descriptor of ours too.
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).during("open files")?;
    let program = options.server.clone().unwrap_or_else(beside);
    let setup = Setup { program, settings: Vec::new(), file: None };
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    let chosen = Scene::all().iter().filter(|scene| {
        (options.only.is_empty() || options.only.contains(scene))
            && !options.without.contains(scene)
    });
    let (began, mut scenes, mut held) = (Instant::now(), 0, 0);
    let mut left = chosen.copied();
    let mut running = JoinSet::new();
    let play = |scene: Scene| {
        let (setup, long) = (setup.clone(), options.long);
        async move {
            let (from, name) = (Instant::now(), scene.name());
            match scene.run(&setup, long, seed).await {
                Ok(report) => {
                    println!("{}", line(&name, from.elapsed().as_secs_f64(), &report));
                    1
                }
                Err(problem) => {
                    eprintln!("skynet-faults: {name} (--seed {seed}): {problem}");
                    0
                }
            }
        }
    };
    let all = async {
        loop {
            while running.len() < options.jobs.into()
                && let Some(scene) = left.next()
            {
                running.spawn_local(play(scene));
            }
            match running.join_next().await {
                Some(ended) => held += ended.during("a scene")?,
                None => return Outcome::Ok(()),
            }
            scenes += 1;
        }
    };
    LocalSet::new().run_until(all).await?;
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({"scenes": scenes, "held": held, "seconds": tenths(seconds), "seed": seed})
    );
    ensure(held == scenes, || format!("{} of {scenes} scenes did not hold", scenes - held))
}

/// What is told of a scene that held.
fn line(name: &str, seconds: f64, report: &Report) -> serde_json::Value {
    let figures: serde_json::Map<_, _> =
        report.figures.iter().map(|(what, count)| ((*what).to_owned(), json!(count))).collect();
    let mut line = json!({
        "scene": name,
        "seconds": tenths(seconds),
        "figures": figures,
        "bystanders_waited_ms": report.slowest.as_millis() as u64,
    });
    if let Some(findings) = &report.findings {
        line["acknowledged"] = json!(findings.verdict.acknowledged);
        line["heard"] = json!(findings.verdict.heard);
        line["listeners"] = json!(findings.verdict.listeners);
        line["left_or_dropped"] = json!(findings.verdict.dropped);
        line["clients"] = json!(findings.clients);
        line["resident_kib"] = json!([findings.resident.0, findings.resident.1]);
    }
    line
}

fn tenths(seconds: f64) -> f64 {
    skynet_bench::usage::rounded(seconds, 1)
}
