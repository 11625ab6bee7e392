//! What is right and what is wrong with a server's file, and which line to change.

use super::advice;
use super::place::{self, Place, Way};
use super::rules::{Action, At, Destination, Outcome, Rule, apply, is_private};
use super::server_file::{ServerFile, Setting};
use crate::config::{Config, Host};
use crate::pages::LARGEST_DOWNLOAD_BYTES;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

/// What a computer accepts in one message when no rule says otherwise.
const DEFAULT_MESSAGE_BYTES: i64 = 128 * 1024;

/// What a check has found; its text is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    title: String,
    findings: Vec<Finding>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    kind: Kind,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    Bad,
    Note,
}

impl Report {
    /// Whether computers reach the hub, do not reach the admin API, and take its messages.
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.kind != Kind::Bad)
    }

    fn add(&mut self, kind: Kind, text: impl Into<String>) {
        self.findings.push(Finding { kind, text: text.into() });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        for Finding { kind, text } in &self.findings {
            let kind = match kind {
                Kind::Good => "good",
                Kind::Bad => "BAD ",
                Kind::Note => "note",
            };
            writeln!(f, "{kind}  {}", text.trim_end().replace('\n', "\n      "))?;
        }
        Ok(())
    }
}

/// Looks at everything in the file that concerns this hub.
pub(super) fn find(
    config: &Config,
    place: &Place,
    file: &Path,
    server: &ServerFile,
    resolve: impl Fn(&str) -> Vec<IpAddr>,
) -> Report {
    let title = format!(
        "{}, for a hub at {} ({}):",
        file.display().to_string().replace(char::is_control, "\u{fffd}"),
        place.url,
        place.setting
    );
    let mut report = Report { title, findings: Vec::new() };
    let to = place.destination(resolve);
    notes_on_the_place(&mut report, config, place, &to);
    for odd in &server.oddities {
        report.add(Kind::Note, odd.clone());
    }
    malformed_rules(&mut report, &server.rules);
    let outcome = apply(&server.rules, &to);
    let switched_on = switches(&mut report, server);
    hub(&mut report, place, server, &to, &outcome);
    if outcome.is_allowed() && switched_on {
        sizes(&mut report, config, &outcome);
    }
    admin(&mut report, config, place, server, &to, &outcome);
    counts(&mut report, server);
    report
}

fn notes_on_the_place(report: &mut Report, config: &Config, place: &Place, to: &Destination) {
    if place.is_a_guess {
        let text = format!(
            "hub.listen is {}, every address of this machine; checked is {}, for a Minecraft server \
             on the same machine. hub.public_url has another address checked",
            config.hub.listen,
            place.host()
        );
        report.add(Kind::Note, text);
    }
    if let Host::Name(name) = place.host() {
        let text = match to.address {
            Some(address) => format!("{name} leads to {address} from here"),
            None => format!(
                "{name} leads nowhere from here, so rules for addresses, $private among them, were \
                 taken not to match"
            ),
        };
        report.add(Kind::Note, text);
    }
}

fn malformed_rules(report: &mut Report, rules: &[Rule]) {
    for rule in rules {
        if let Some(why) = &rule.malformed {
            let text = format!(
                "{} cannot be read by the mod: {why}. Current versions let nothing through that no \
                 rule above allows; mend it or take it out",
                the_rule(rule)
            );
            report.add(Kind::Bad, text);
        }
    }
}

/// Whether computers may use websockets at all.
fn switches(report: &mut Report, server: &ServerFile) -> bool {
    let mut all = true;
    for (name, setting, what) in [
        ("enabled", server.enabled, "all of the http API"),
        ("websocket_enabled", server.websocket_enabled, "websockets"),
    ] {
        if !setting.value {
            let line = place_of(setting);
            let text = format!("{line}: {name} = false switches {what} off; change it to true");
            report.add(Kind::Bad, text);
            all = false;
        }
    }
    all
}

fn hub(report: &mut Report, place: &Place, server: &ServerFile, to: &Destination, out: &Outcome) {
    let url = &place.url;
    match out.action {
        Some(rule) if out.is_allowed() => {
            let on = match server.enabled.value && server.websocket_enabled.value {
                true => "computers reach the hub",
                false => "computers would reach the hub",
            };
            report.add(Kind::Good, format!("{on}: {} allows {url}", the_rule(rule)));
            if rule.port.is_none() && to.address.is_some_and(is_private) {
                let remedy = match rule.host.as_str() {
                    // A port would close the rest of the world.
                    "*" => {
                        "a rule for the hub with its port, and one that denies $private below it, \
                            belong above it"
                            .to_owned()
                    }
                    _ => format!("port = {} makes it the hub alone", to.port),
                };
                let text = format!(
                    "{} has no port, so players' programs reach every service there; {remedy}",
                    the_rule(rule)
                );
                report.add(Kind::Note, text);
            }
        }
        Some(denying) => {
            let text = format!(
                "computers do not reach the hub: {} denies {url}. {}",
                the_rule(denying),
                remedy(place, &server.rules, to, denying)
            );
            report.add(Kind::Bad, text);
        }
        None => {
            let text = format!(
                "computers do not reach the hub: no rule allows {url}. Add this at the end of the \
                 file:\n{}",
                advice::rule(place)
            );
            report.add(Kind::Bad, text);
        }
    }
}

/// What to do about a rule that denies the hub.
fn remedy(place: &Place, rules: &[Rule], to: &Destination, denying: &Rule) -> String {
    let own =
        |rule: &&Rule| rule.action == Some(Action::Allow) && rule.host != "*" && rule.matches(to);
    match (rules.iter().find(own), denying.line) {
        (Some(later), Some(line)) => format!(
            "{} would allow it, but stands below, and the first rule that matches decides: move it \
             above line {line}",
            the_rule(later)
        ),
        (_, Some(line)) => format!("Put this above line {line}:\n{}", advice::rule(place)),
        (_, None) => format!(
            "That is the mod's own rule. Add a list of rules at the end of the file:\n{}{}",
            advice::rule(place),
            "[[http.rules]]\n    host = \"$private\"\n    action = \"deny\"\n\
             [[http.rules]]\n    host = \"*\"\n    action = \"allow\"\n"
        ),
    }
}

fn sizes(report: &mut Report, config: &Config, outcome: &Outcome) {
    let ours = config.limits.max_message_bytes;
    let (theirs, from) = match outcome.max_message {
        Some(At { line, value }) => {
            (value, format!("line {line}: max_websocket_message = {value}"))
        }
        None => (DEFAULT_MESSAGE_BYTES, "no max_websocket_message in the rules".to_owned()),
    };
    let shown = match theirs {
        ..=0 => "any size".to_owned(),
        _ => format!("{theirs} bytes"),
    };
    if theirs > 0 && usize::try_from(theirs).is_ok_and(|theirs| theirs < ours) {
        let change = match (outcome.max_message, outcome.action.and_then(|rule| rule.line)) {
            (None, Some(line)) => {
                format!("add max_websocket_message = {ours} to the rule at line {line}")
            }
            _ => format!("make it {ours}"),
        };
        let text = format!(
            "computers take messages of {shown} ({from}), and the hub sends up to {ours}: a larger one \
             ends a computer's connection; {change}, or set limits.max_message_bytes to what they take"
        );
        report.add(Kind::Bad, text);
    } else {
        let text = format!(
            "computers take messages of {shown} ({from}); the hub sends up to {ours} bytes"
        );
        report.add(Kind::Good, text);
    }
    if let Some(At { line, value }) = outcome.max_download
        && value > 0
        && usize::try_from(value).is_ok_and(|value| value < LARGEST_DOWNLOAD_BYTES)
    {
        let text = format!(
            "line {line}: max_download = {value} is less than the {LARGEST_DOWNLOAD_BYTES} bytes that \
             a computer fetches to install the library; make it larger"
        );
        report.add(Kind::Bad, text);
    }
}

fn admin(
    report: &mut Report,
    config: &Config,
    place: &Place,
    server: &ServerFile,
    to: &Destination,
    hub: &Outcome,
) {
    if !server.enabled.value {
        report.add(Kind::Good, "computers do not reach the admin API: the http API is off");
        return;
    }
    if config.shares_listener() {
        let listen = &config.admin.listen;
        if hub.is_allowed() {
            let text = format!(
                "whoever reaches the hub reaches the admin API, for they are one listener ({listen}): \
                 players' programs can try tokens. Give admin.listen a port of its own"
            );
            report.add(Kind::Bad, text);
        }
        return;
    }
    let ways = place::ways_to_admin(config, to);
    let open = ways.iter().filter_map(|way| {
        let outcome = apply(&server.rules, &way.destination);
        outcome.action.filter(|_| outcome.is_allowed()).map(|rule| (way, rule))
    });
    // First what is there for certain.
    match open.min_by_key(|(way, _)| way.is_public()) {
        None => {
            let text = format!("computers do not reach the admin API ({})", config.admin.listen);
            report.add(Kind::Good, text);
        }
        // A container has none, and a machine behind a router may have none.
        Some((way, rule)) if way.is_public() => {
            let text = format!(
                "computers do not reach the admin API by a private address, but would at {}, if it has \
                 one that leads to it: {} allows it. If so, let admin.listen be an address that only you \
                 reach, such as 127.0.0.1, or publish the port there alone",
                way.told,
                the_rule(rule)
            );
            report.add(Kind::Note, text);
        }
        Some((way, rule)) => report.add(Kind::Bad, danger(place, way, rule, hub)),
    }
}

/// Why a way to the admin API is dangerous, and what closes it.
fn danger(place: &Place, way: &Way, rule: &Rule, hub: &Outcome) -> String {
    let is_the_hubs = hub.action.is_some_and(|of_hub| of_hub == rule);
    let close = if way.destination.address.is_some_and(|address| !is_private(address)) {
        "Let admin.listen be an address that only you reach, such as 127.0.0.1".to_owned()
    } else if rule.host == "*" {
        let line = rule.line.map_or_else(String::new, |line| format!(" above line {line}"));
        format!(
            "Put this{line}, below a rule for the hub:\n[[http.rules]]\n    host = \"$private\"\n    \
             action = \"deny\"\n"
        )
    } else if is_the_hubs && rule.port.is_none() {
        format!("Add this to that rule: port = {}", place.url.port())
    } else {
        "Take that rule out, or give it the port that it is meant for".to_owned()
    };
    format!(
        "DANGER: computers reach the admin API at {} if the Minecraft server is on the same machine or \
         network: {} allows it. Nothing but the token then keeps players from kicking, banning and \
         reading everything. {close}",
        way.told,
        the_rule(rule)
    )
}

fn counts(report: &mut Report, server: &ServerFile) {
    let shown = |setting: Setting<i64>| match setting.value {
        ..=0 => format!("any number ({})", place_of(setting)),
        count => format!("{count} ({})", place_of(setting)),
    };
    let rate = |setting: Setting<i64>| {
        format!("{} KiB/s ({})", setting.value.max(0) / 1024, place_of(setting))
    };
    let text = format!(
        "websockets of a computer at once: {}; requests: {}",
        shown(server.max_websockets),
        shown(server.max_requests)
    );
    report.add(Kind::Note, text);
    let text = format!(
        "bandwidth of all computers together: {} in, {} out",
        rate(server.download),
        rate(server.upload)
    );
    report.add(Kind::Note, text);
}

fn the_rule(rule: &Rule) -> String {
    let port = match rule.port {
        Some(port) => format!(", port {port}"),
        None => String::new(),
    };
    match (rule.line, &rule.malformed) {
        (Some(line), Some(_)) => format!("the rule at line {line}"),
        (Some(line), None) => format!("the rule at line {line} (host {:?}{port})", rule.host),
        (None, _) => format!("the mod's own rule (host {:?})", rule.host),
    }
}

fn place_of<T>(setting: Setting<T>) -> String {
    setting.line.map_or_else(|| "the mod's default".to_owned(), |line| format!("line {line}"))
}
