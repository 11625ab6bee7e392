//! `skynet-floor PORT MODE`: the least that a hub can do, to measure others against.

use std::process::ExitCode;

use clap::Parser;
use skynet_bench::floor::{Floor, Mode};
use skynet_bench::socket;

/// Writes what it is sent to those who listen, and does nothing else that a hub does.
#[derive(Parser)]
#[command(name = "skynet-floor")]
struct Options {
    /// The port on 127.0.0.1.
    port: u16,
    /// When it writes.
    #[arg(value_enum)]
    mode: Mode,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let Err(problem) = socket::prepare()
        .and_then(|()| Floor::new(options.port, options.mode))
        .and_then(Floor::run)
    else {
        return ExitCode::SUCCESS;
    };
    eprintln!("skynet-floor: {problem}");
    ExitCode::FAILURE
}
