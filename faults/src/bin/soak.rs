//! `skynet-soak`: one line of JSON for each sample, and the summary as the last.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use skynet_faults::{
    server::{Setup, beside},
    soak::{Plans, run},
};

/// Keeps a hub under mixed load, checks every delivery, and judges whether memory, descriptors and
/// delays stay flat.
#[derive(Debug, Parser)]
#[command(name = "skynet-soak")]
struct Options {
    /// The program to start; by default the one beside this.
    #[arg(long)]
    server: Option<PathBuf>,
    /// How long, in seconds, at least 10.
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u32).range(10..=604_800))]
    seconds: u32,
    /// Messages a second, of all publishers together.
    #[arg(long, default_value_t = 2500, value_parser = clap::value_parser!(u32).range(20..=3000))]
    rate: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    let setup =
        Setup { program: options.server.unwrap_or_else(beside), settings: Vec::new(), file: None };
    let lasts = Duration::from_secs(options.seconds.into());
    let plans = Plans { lasts, rate: options.rate };
    match run(&setup, plans, |sample| println!("{sample}")).await {
        Ok((summary, flat)) => {
            println!("{summary}");
            if flat {
                return ExitCode::SUCCESS;
            }
            eprintln!("skynet-soak: not flat: see the figures of the summary");
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("skynet-soak: {problem}");
            ExitCode::FAILURE
        }
    }
}
