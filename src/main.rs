//! Arguments, configuration, telemetry, then the hub until a signal ends it. The exit codes are those
//! of [`Exit`].

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use skynet::{
    access::{AdminToken, Place},
    api,
    app::App,
    cc_config,
    cli::{self, Cli, Command},
    config::{self, Config, DEFAULT_FILE, Loaded},
    descriptors,
    exit::Exit,
    healthcheck::{self, Target},
    http::Inherited,
    manual,
    reload::Reloads,
    shutdown::{self, Hangup, Hangups},
    systemd::Supervisor,
    telemetry,
};

/// Turns of tasks between two looks at the sockets.
const EVENT_INTERVAL: u32 = 13;

fn main() -> ExitCode {
    let cli = match cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            // Nobody is left to tell when this cannot be written.
            let _ = error.print();
            return Exit::Usage.into();
        }
        Err(help_or_version) => return printed(help_or_version.print()),
    };
    match cli.command() {
        // What needs no configuration is told even when that is wrong.
        Command::DefaultConfig => print(DEFAULT_FILE),
        Command::OpenApi => print(api::document()),
        Command::Completions { shell } => print(manual::completions(cli::description(), shell)),
        Command::Man => print(manual::page(cli::description())),
        // Asked so, it does not depend on a file that somebody is just editing.
        Command::Healthcheck { url: Some(url), timeout } => health(&url, timeout),
        Command::Healthcheck { url: None, timeout } => {
            configured(cli, |loaded| match Target::of(&loaded.config) {
                Ok(target) => health(&target, timeout),
                Err(error) => fail(Exit::Configuration, error),
            })
        }
        Command::CheckConfig => configured(cli, |loaded| print(loaded.effective)),
        Command::CcConfig { check: None } => {
            configured(cli, |loaded| match cc_config::advice(&loaded.config) {
                Ok(advice) => print(advice),
                Err(error) => fail(Exit::Configuration, error),
            })
        }
        Command::CcConfig { check: Some(file) } => {
            configured(cli, |loaded| {
                match cc_config::check(&loaded.config, &file, cc_config::resolve) {
                    Ok(report) if report.is_good() => print(report),
                    Ok(report) => match print(report) {
                        ExitCode::SUCCESS => Exit::Bad.into(),
                        failed => failed,
                    },
                    Err(error) => fail(Exit::Configuration, error),
                }
            })
        }
        Command::Token => configured(cli, |loaded| token(&loaded.config)),
        Command::Serve => configured(cli, |loaded| match serve(loaded) {
            Ok(()) => Exit::Good.into(),
            Err(Failure { exit, text }) => fail(exit, text),
        }),
    }
}

/// Why the hub cannot run.
struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    fn new(exit: Exit, text: impl Display) -> Self {
        Self { exit, text: text.to_string() }
    }

    /// Something of the system's is not to be had.
    fn unavailable(text: impl Display) -> Self {
        Self::new(Exit::Unavailable, text)
    }
}

/// Runs a command that needs the configuration.
fn configured(cli: Cli, run: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    match config::load(&cli.into_sources(std::env::vars_os())) {
        Ok(loaded) => run(loaded),
        Err(error) => fail(Exit::Configuration, error),
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
        Err(error) => fail(Exit::Unavailable, error),
    }
}

/// Asks a running hub whether it is ready, and prints one line.
fn health(target: &Target, timeout: Duration) -> ExitCode {
    match healthcheck::ask(target, timeout) {
        Ok(()) => print("ready\n"),
        Err(error) => fail(Exit::Bad, error),
    }
}

/// Runs the hub until a signal ends it.
fn serve(mut loaded: Loaded) -> Result<(), Failure> {
    let config = &mut loaded.config;
    // Dropped last, so that the last lines are written.
    let _log = telemetry::start(&config.telemetry).map_err(Failure::unavailable)?;
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
        .map_err(|error| Failure::unavailable(format_args!("the runtime cannot start: {error}")))?
        .block_on(async {
            let no_signals = |error| {
                Failure::unavailable(format_args!("signals cannot be listened for: {error}"))
            };
            let stop = shutdown::requested().map_err(no_signals)?;
            // From now on, as without it a SIGHUP would end the program.
            let hangups = Hangups::new().map_err(no_signals)?;
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
async fn build(loaded: Loaded) -> Result<App, Failure> {
    #[cfg(unix)]
    let inherited = Inherited::take().map_err(|error| Failure::new(Exit::Configuration, error))?;
    #[cfg(not(unix))]
    let inherited = Inherited::default();
    App::build_on(loaded, inherited).await.map_err(|error| Failure::new(error.exit(), error))
}

/// Prints what was asked for; a reader that has gone, such as `head`, is no failure.
fn print(text: impl Display) -> ExitCode {
    printed(write!(io::stdout().lock(), "{text}"))
}

fn printed(written: io::Result<()>) -> ExitCode {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(Exit::Unavailable, format_args!("standard output cannot be written: {error}"))
        }
        _ => Exit::Good.into(),
    }
}

fn fail(exit: Exit, error: impl Display) -> ExitCode {
    say(error);
    exit.into()
}

fn say(text: impl Display) {
    // Nobody is left to tell when this cannot be written.
    let _ = writeln!(io::stderr().lock(), "skynet: {text}");
}
