//! `skynet-load`: one run of one scene against one server; one line of JSON on standard output.

use std::process::ExitCode;

use clap::Parser;
use skynet_bench::options::Options;
use skynet_bench::{scenario, socket};

fn main() -> ExitCode {
    let options = Options::parse();
    match socket::prepare().and_then(|()| scenario::run(&options)) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("skynet-load: {problem}");
            ExitCode::FAILURE
        }
    }
}
