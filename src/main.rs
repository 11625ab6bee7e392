//! Arguments, configuration, telemetry, then the hub until a signal ends it.
//!
//! Exit codes: 0 after a requested end; 64 for a command line or configuration that cannot be used,
//! before anything is bound, and when what was asked for cannot be printed; 69 when the hub cannot
//! start; 1 when `cc-config --check` finds something wrong; 128 and the number of the signal when a
//! second signal ends the process at once.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use skynet::{
    access::{AdminToken, Place},
    api,
    app::App,
    cc_config,
    cli::{Cli, Command},
    config::{self, Config, DEFAULT_FILE, Loaded},
    descriptors,
    http::Inherited,
    reload::Reloads,
    shutdown::{self, Hangup, Hangups},
    systemd::Supervisor,
    telemetry,
};

/// What was checked is not as it should be.
const BAD: u8 = 1;
/// The command line or the configuration cannot be used (`EX_USAGE` of sysexits).
const UNUSABLE: u8 = 64;
/// The hub cannot start (`EX_UNAVAILABLE` of sysexits).
const UNAVAILABLE: u8 = 69;

/// Turns of tasks between two looks at the sockets.
const EVENT_INTERVAL: u32 = 13;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let wrong = error.use_stderr();
            // Nobody is left to tell when this cannot be written.
            let _ = error.print();
            return if wrong { ExitCode::from(UNUSABLE) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command() {
        // What needs no configuration is told even when that is wrong.
        Command::DefaultConfig => print(DEFAULT_FILE),
        Command::OpenApi => print(api::document()),
        Command::CheckConfig => configured(cli, |loaded| print(loaded.effective)),
        Command::CcConfig { check: None } => {
            configured(cli, |loaded| match cc_config::advice(&loaded.config) {
                Ok(advice) => print(advice),
                Err(error) => fail(UNUSABLE, error),
            })
        }
        Command::CcConfig { check: Some(file) } => {
            configured(cli, |loaded| {
                match cc_config::check(&loaded.config, &file, cc_config::resolve) {
                    Ok(report) if report.is_good() => print(report),
                    Ok(report) => match print(report) {
                        ExitCode::SUCCESS => ExitCode::from(BAD),
                        failed => failed,
                    },
                    Err(error) => fail(UNUSABLE, error),
                }
            })
        }
        Command::Token => configured(cli, |loaded| token(&loaded.config)),
        Command::Serve => configured(cli, |loaded| match serve(loaded) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(UNAVAILABLE, error),
        }),
    }
}

/// Runs a command that needs the configuration.
fn configured(cli: Cli, run: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    match config::load(&cli.into_sources(std::env::vars_os())) {
        Ok(loaded) => run(loaded),
        Err(error) => fail(UNUSABLE, error),
    }
}

/// Prints the owner's token alone, so that it can stand within another command.
fn token(config: &Config) -> ExitCode {
    match AdminToken::find(&config.admin) {
        Ok(AdminToken { secret, place }) => {
            if let Place::Kept { made: true, .. } = place {
                // Whoever asks as another user than the hub runs as learns here why it does not fit.
                say(&place);
            }
            print(format_args!("{}\n", secret.expose()))
        }
        Err(error) => fail(UNUSABLE, error),
    }
}

/// Runs the hub until a signal ends it.
fn serve(mut loaded: Loaded) -> Result<(), String> {
    let config = &mut loaded.config;
    // Dropped last, so that the last lines are written.
    let _log = telemetry::start(&config.telemetry)?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    if let Some(limit) = descriptors::raise() {
        descriptors::fit(&mut config.limits, limit);
    }
    let supervisor = Supervisor::from_variables(std::env::vars_os());
    // Sockets are looked at after so many turns of tasks, so that a flood of one client does not
    // keep the others' from being seen.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build()
        .map_err(|error| format!("the runtime cannot start: {error}"))?
        .block_on(async {
            let stop = shutdown::requested()
                .map_err(|error| format!("signals cannot be listened for: {error}"))?;
            // From now on, as without it a SIGHUP would end the program.
            let hangups = Hangups::new()
                .map_err(|error| format!("signals cannot be listened for: {error}"))?;
            let app = build(loaded).await?;
            let app = app.supervised_by(supervisor);
            let left = reload_on(hangups, app.reloads());
            let stop = async {
                tokio::select! {
                    () = stop => {}
                    () = left => {}
                }
            };
            app.run(stop).await;
            Ok(())
        })
}

/// Has the settings read again at every SIGHUP; returns when one means that the terminal has gone.
async fn reload_on(mut hangups: Hangups, reloads: Reloads) {
    while hangups.next().await == Hangup::Reload {
        // What comes of it is in the log.
        let _ = reloads.reload().await;
    }
    tracing::info!("the terminal has gone; stopping");
}

/// Builds the program, on the sockets that the service manager has bound for it, if there are any.
async fn build(loaded: Loaded) -> Result<App, String> {
    #[cfg(unix)]
    let inherited = Inherited::take().map_err(|error| error.to_string())?;
    #[cfg(not(unix))]
    let inherited = Inherited::default();
    App::build_on(loaded, inherited).await.map_err(|error| error.to_string())
}

/// Prints what was asked for; a reader that has gone, such as `head`, is no failure.
fn print(text: impl Display) -> ExitCode {
    match write!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(UNAVAILABLE, format_args!("standard output cannot be written: {error}"))
        }
        _ => ExitCode::SUCCESS,
    }
}

fn fail(code: u8, error: impl Display) -> ExitCode {
    say(error);
    ExitCode::from(code)
}

fn say(text: impl Display) {
    // Nobody is left to tell when this cannot be written.
    let _ = writeln!(io::stderr().lock(), "skynet: {text}");
}
