//! How a benchmark begins and ends.

use std::process::ExitCode;

/// Runs the benchmark `name` if cargo asks for it; `cargo test`, which builds it too, measures nothing.
pub fn main(name: &str, run: fn(&[String]) -> Result<(), String>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        eprintln!("Nothing measured: `cargo bench --bench {name}` runs this.");
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// Says that there is nothing to measure with.
#[cfg(not(target_os = "linux"))]
#[allow(dead_code, reason = "a benchmark without a server of its own does without")]
pub fn run(_arguments: &[String]) -> Result<(), String> {
    Err("Memory and CPU time of the server are read from /proc, which only Linux has.".into())
}
