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
    app::{App, Ended},
    cc_config,
    cli::{self, Cli, Command},
    config::{self, Config, DEFAULT_FILE, Loaded},
    descriptors,
    exit::Exit,
    healthcheck::{self, Target},
    http::Inherited,
    manual,
    reload::Reloads,
    shutdown::{self, Asked},
    systemd::Supervisor,
    telemetry,
};
use tokio::sync::mpsc;

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
        // First of all, as without it a SIGHUP would end the program, and a second signal would not.
        Command::Serve => match shutdown::listen() {
            Ok(asked) => configured(cli, |loaded| match serve(loaded, asked) {
                Ok(Ended::Asked) => Exit::Good.into(),
                Ok(Ended::Fault) => Exit::Fault.into(),
                Err(Failure { exit, text }) => fail(exit, text),
            }),
            Err(error) => {
                fail(Exit::Unavailable, format_args!("signals cannot be listened for: {error}"))
            }
        },
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

/// Runs the hub until a signal ends it, or a fault of its own.
fn serve(mut loaded: Loaded, asked: Asked) -> Result<Ended, Failure> {
    let config = &loaded.config;
    // Dropped last, so that the last lines are written.
    let _log = telemetry::start(&config.telemetry).map_err(Failure::unavailable)?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    if let Some(limit) = descriptors::raise() {
        descriptors::fit(&mut loaded, limit);
    }
    let supervisor = Supervisor::from_variables(std::env::vars_os());
    // Sockets are looked at after so many turns of tasks, so that a flood of one client does not
    // keep the others' from being seen.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build()
        .map_err(|error| Failure::unavailable(format_args!("the runtime cannot start: {error}")))?;
    let ended = runtime.block_on(async {
        let app = build(loaded).await?.supervised_by(supervisor);
        let (stop, hangups) = asked.split();
        tokio::spawn(reload_on(hangups, app.reloads()));
        Ok(app.run(stop).await)
    });
    // Waits for no thread.
    runtime.shutdown_background();
    ended
}

/// Has the settings read again at every SIGHUP, for ever.
async fn reload_on(mut hangups: mpsc::Receiver<()>, reloads: Reloads) {
    while hangups.recv().await.is_some() {
        // What else comes of it is in the log.
        if reloads.reload().await.is_none() {
            tracing::warn!("the settings are not read again: the hub is stopping");
        }
    }
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
