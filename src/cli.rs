//! The command line: what can be typed, and what it means for the configuration.
//!
//! Reads arguments and nothing else: what a setting means is decided in [`crate::config`].

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    config::{Flag, Sources},
    healthcheck,
};

/// A message hub for ComputerCraft computers, beside a modded Minecraft server.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Every setting can also be given in a file or as an environment variable, such as\n\
                  SKYNET_HUB__LISTEN=127.0.0.1:9000. `skynet default-config` lists them all.\n\n\
                  Exit codes: 0 all is well, 1 what was checked is not, 64 command line, 69 port, certificate,\n\
                  state or output not to be had, 70 a fault of the hub, 78 configuration."
)]
pub struct Cli {
    /// What to do; nothing means to serve.
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Start the hub (what happens without a command)
    Serve,
    /// Check the configuration and print what applies and where each value came from
    CheckConfig,
    /// Print the commented configuration file with every setting and its default
    DefaultConfig,
    /// Print the OpenAPI document of the owner's API
    #[command(name = "openapi")]
    OpenApi,
    /// Print the rule that lets the game's computers reach this hub, or check whether they will
    #[command(name = "cc-config")]
    CcConfig {
        /// The game server's computercraft-server.toml, to be checked; exit code 0 if all is well, else 1
        #[arg(long, value_name = "FILE")]
        check: Option<PathBuf>,
    },
    /// Print the owner's token, which is made and kept at first when none is configured
    Token,
    /// Ask the running hub whether it is ready; exit code 0 if it is, else 1
    Healthcheck {
        /// The hub's admin listener, http(s)://HOST:PORT or unix:PATH; without it, the one that the configuration
        /// stands for
        #[arg(long, value_name = "URL")]
        url: Option<healthcheck::Target>,
        /// How long the answer may take, from 1ms to 1h
        #[arg(
            long,
            value_name = "TIME",
            default_value = healthcheck::USUAL_TIMEOUT,
            value_parser = healthcheck::read_timeout
        )]
        timeout: Duration,
    },
    /// Print the script that completes this command line in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, for man(1)
    Man,
}

/// Flags that go with every command.
#[derive(Args)]
struct Options {
    /// Read settings from this TOML file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where computers connect (hub.listen), such as 0.0.0.0:4567
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where the admin API listens (admin.listen)
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    admin_listen: Option<String>,
    /// What is logged (telemetry.log), such as debug or info,skynet::gateway=debug
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// How a log line looks (telemetry.format): auto, human or json
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Any setting, such as limits.max_clients=100; can be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

/// Splits `KEY=VALUE`; whether there is such a key is for the configuration to say.
fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("write KEY=VALUE, such as limits.max_clients=100".into()),
    }
}

/// Reads the command line.
///
/// # Errors
///
/// What it is not, or the help or version that it asks for. What may hold a token is not repeated.
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(arguments).map_err(|mut error| {
        if error.kind() == ErrorKind::ValueValidation
            && let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
            && MAY_HOLD_A_TOKEN.iter().any(|name| flag.starts_with(name))
        {
            error.insert(ContextKind::InvalidValue, ContextValue::String("********".into()));
        }
        error
    })
}

/// Flags in whose values people put tokens, though they belong elsewhere.
const MAY_HOLD_A_TOKEN: [&str; 2] = ["--set ", "--url "];

/// The command line as clap describes it, for what is made from that: completions, the manual page.
pub fn description() -> clap::Command {
    <Cli as CommandFactory>::command()
}

impl Cli {
    /// What to do.
    pub fn command(&self) -> Command {
        self.command.clone().unwrap_or(Command::Serve)
    }

    /// Where the settings come from: the flags given here, and the environment that is passed in.
    pub fn into_sources(
        self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Sources {
        let options = self.options;
        let named = [
            ("--listen", "hub.listen", options.listen),
            ("--admin-listen", "admin.listen", options.admin_listen),
            ("--log", "telemetry.log", options.log),
            ("--log-format", "telemetry.format", options.log_format),
        ];
        let named = named.into_iter().filter_map(|(name, key, value)| {
            Some(Flag { name, key: key.to_owned(), value: value? })
        });
        let set = options.set.into_iter().map(|(key, value)| Flag { name: "--set", key, value });
        Sources {
            file: options.config,
            variables: variables.into_iter().collect(),
            flags: named.chain(set).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn parse(arguments: &[&str]) -> Cli {
        Cli::try_parse_from([&["skynet"], arguments].concat()).unwrap()
    }

    #[test]
    fn the_description_of_the_command_line_is_consistent() {
        description().debug_assert();
    }

    #[test]
    fn no_command_means_serve() {
        assert_eq!(parse(&[]).command(), Command::Serve);
        assert_eq!(parse(&["serve"]).command(), Command::Serve);
        assert_eq!(parse(&["token"]).command(), Command::Token);
    }

    #[test]
    fn cc_config_checks_a_file_when_one_is_named() {
        assert_eq!(parse(&["cc-config"]).command(), Command::CcConfig { check: None });
        let check = Some("a.toml".into());
        assert_eq!(
            parse(&["cc-config", "--check", "a.toml"]).command(),
            Command::CcConfig { check }
        );
    }

    #[test]
    fn a_health_check_needs_no_argument_and_takes_none_that_makes_no_sense() {
        let timeout = Duration::from_secs(3);
        assert_eq!(parse(&["healthcheck"]).command(), Command::Healthcheck { url: None, timeout });
        let url = Some("http://localhost:1".parse().unwrap());
        assert_eq!(
            parse(&["healthcheck", "--url", "http://localhost:1"]).command(),
            Command::Healthcheck { url, timeout }
        );
        for arguments in [["--timeout", "0s"], ["--url", "localhost"]] {
            let arguments = [&["skynet", "healthcheck"], &arguments[..]].concat();
            assert!(Cli::try_parse_from(&arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn the_help_tells_every_exit_code() {
        let help = description().render_long_help().to_string();
        for exit in Exit::ALL {
            assert!(help.contains(&format!(" {} ", exit.code())), "{exit:?}: {help}");
        }
    }

    #[test]
    fn flags_stand_before_or_after_the_command() {
        for arguments in [["--listen", "a", "serve"], ["serve", "--listen", "a"]] {
            let sources = parse(&arguments).into_sources([]);
            let [flag] = sources.flags.as_slice() else { panic!("{arguments:?}") };
            assert_eq!(
                (flag.name, flag.key.as_str(), flag.value.as_str()),
                ("--listen", "hub.listen", "a")
            );
        }
    }

    #[test]
    fn any_setting_can_be_set_by_its_key() {
        let sources = parse(&["--set", "a.b=c=d", "--set", "e.f="]).into_sources([]);
        let set: Vec<_> =
            sources.flags.iter().map(|flag| (flag.key.as_str(), flag.value.as_str())).collect();
        assert_eq!(set, [("a.b", "c=d"), ("e.f", "")]);
        assert!(Cli::try_parse_from(["skynet", "--set", "limits.max_clients"]).is_err());
        assert!(Cli::try_parse_from(["skynet", "--set", "=5"]).is_err());
    }
}
