//! The manual page and the completions of shells, both made from the command line's own description.
//!
//! What a command does is said in [`cli`](crate::cli), once; here is what only a manual page has.

use clap::{Arg, Command};
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Inline, Roff, bold, italic, roman},
};

use crate::exit::Exit;

/// Where files are, for a hub that is installed with the system's packages and for one that is not.
const FILES: [(&str, &str); 4] = [
    (
        "/etc/skynet/config.toml",
        "The settings of the hub that the Debian package starts. Nothing is read from it unless --config \
         names it, as the package's unit does.",
    ),
    (
        "/var/lib/skynet",
        "The state folder of that hub: it holds admin-token, which is made at the first start when no token \
         is configured.",
    ),
    (
        "$STATE_DIRECTORY, $XDG_STATE_HOME/skynet, ~/.local/state/skynet",
        "The state folder when admin.state_dir is not set: the first of them for which the environment has \
         a name.",
    ),
    (
        "/usr/share/doc/skynet",
        "The documents: protocol, API, metrics, alerts, and the example of every setting.",
    ),
];

/// Variables that mean something to the program.
const ENVIRONMENT: [(&str, &str); 2] = [
    (
        "SKYNET_SECTION__KEY",
        "A setting, such as SKYNET_HUB__LISTEN for hub.listen: upper case, two underscores between section \
         and key. It goes over the file of --config and under a flag. A variable that begins with SKYNET_ \
         and is no setting is an error. Secrets may be given here or in files, and by no flag.",
    ),
    (
        "STATE_DIRECTORY, XDG_STATE_HOME, HOME",
        "Where the state folder is, in that order, when admin.state_dir is not set.",
    ),
];

/// What the program does when it is sent a signal.
const SIGNALS: [(&str, &str); 2] = [
    (
        "SIGTERM, SIGINT",
        "The hub accepts nobody any more, is no longer ready, sends each client what is queued for it, \
         closes it with 1001, and ends with 0 within ten seconds. A second one ends it at once, with 128 \
         and the number of the signal: 143 or 130.",
    ),
    (
        "SIGHUP",
        "The settings are read again, with the files that they name. What can take effect does so, what \
         cannot waits for the next start; if anything is wrong, nothing changes. The log tells which. When \
         it comes because the terminal of the hub has been closed, the hub ends as on SIGTERM, unless it was \
         started with nohup(1).",
    ),
];

/// The manual page skynet(1), in the language of man(7).
pub fn page(mut command: Command) -> String {
    // Before clap adds a help command and copies the flags to each command.
    let commands = commands(&command);
    command = command.disable_help_subcommand(true);
    let man = Man::new(command).title("SKYNET").manual("Skynet");
    let mut out = Vec::new();
    // A vector takes everything.
    let _ = man.render_title(&mut out);
    let _ = man.render_name_section(&mut out);
    // clap's own names every option, without what it takes.
    out.extend_from_slice(b".SH SYNOPSIS\n\\fBskynet\\fR [\\fIoption\\fR ...] [\\fIcommand\\fR]\n");
    let _ = man.render_description_section(&mut out);
    let _ = man.render_options_section(&mut out);
    let mut text = String::from_utf8_lossy(&out).into_owned();
    text.push_str(&commands);
    text.push_str(&section("FILES", FILES));
    text.push_str(&section("ENVIRONMENT", ENVIRONMENT));
    text.push_str(&section("SIGNALS", SIGNALS));
    let codes = Exit::ALL.map(|exit| (exit.code().to_string(), format!("{}.", exit.meaning())));
    text.push_str(&section("EXIT STATUS", codes));
    text
}

/// The script that completes the command line in a shell.
pub fn completions(mut command: Command, shell: Shell) -> String {
    let name = command.get_name().to_owned();
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// A section of terms, each with its explanation.
fn section<T: Into<String>, E: Into<String>>(
    name: &str,
    entries: impl IntoIterator<Item = (T, E)>,
) -> String {
    let mut roff = Roff::new();
    roff.control("SH", [name]);
    for (term, explanation) in entries {
        entry(&mut roff, vec![bold(term)], explanation);
    }
    roff.to_roff()
}

fn entry(roff: &mut Roff, term: Vec<Inline>, explanation: impl Into<String>) {
    roff.control("TP", []).text(term).text([roman(explanation)]);
}

/// The section of commands, each with the flags that it alone has.
fn commands(command: &Command) -> String {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for command in command.get_subcommands() {
        let mut term = vec![bold(command.get_name())];
        term.extend(command.get_positionals().flat_map(|arg| [roman(" "), italic(value(arg))]));
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        entry(&mut roff, term, format!("{about}."));
        for flag in command.get_arguments().filter(|arg| !arg.is_positional()) {
            let name = flag.get_long().unwrap_or_default();
            let term = vec![bold(format!("--{name}")), roman(" "), italic(value(flag))];
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            roff.control("RS", []);
            entry(&mut roff, term, format!("{help}."));
            roff.control("RE", []);
        }
    }
    roff.to_roff()
}

/// What stands for the value of an argument: `FILE`.
fn value(arg: &Arg) -> String {
    match arg.get_value_names() {
        Some(names) => names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" "),
        None => arg.get_id().as_str().to_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::description;
    use clap::ValueEnum;

    #[test]
    fn the_manual_page_names_every_command_flag_and_exit_code() {
        // As it is read: a hyphen that may be copied is written \-.
        let page = page(description()).replace("\\-", "-");
        for heading in ["FILES", "ENVIRONMENT", "SIGNALS", "\"EXIT STATUS\"", "COMMANDS"] {
            assert!(page.contains(&format!("\n.SH {heading}\n")), "{heading}: {page}");
        }
        for command in description().get_subcommands() {
            assert!(page.contains(&format!("\\fB{}\\fR", command.get_name())), "{page}");
        }
        for name in ["--config", "--set", "--check", "--url", "--timeout"] {
            assert!(page.contains(&format!("\\fB{name}\\fR")), "{name}: {page}");
        }
        for exit in Exit::ALL {
            assert!(page.contains(&format!("\\fB{}\\fR\n", exit.code())), "{exit:?}: {page}");
            assert!(page.contains(exit.meaning()), "{exit:?}: {page}");
        }
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in Shell::value_variants() {
            let script = completions(description(), *shell);
            for word in ["check-config", "healthcheck", "--admin-listen"] {
                assert!(
                    script.contains(word) || script.contains(word.trim_start_matches('-')),
                    "{shell}: {word}"
                );
            }
        }
    }
}
