//! The rule to add, as TOML with comments.

use super::place::Place;
use crate::config::{Config, Host};
use std::fmt::Write;
use std::net::IpAddr;

/// The rule for a hub at this place, as lines of a file. An address of IPv6 is a network of its own,
/// because the mod compares the text of one in a form that nobody writes.
pub(super) fn rule(place: &Place) -> String {
    let host = match place.host() {
        Host::Ip(IpAddr::V6(ip)) => format!("{ip}/128"),
        host => host.to_string(),
    };
    let port = place.url.port();
    format!("[[http.rules]]\n    host = \"{host}\"\n    port = {port}\n    action = \"allow\"\n")
}

/// The rule, and where it belongs.
pub(super) fn text(config: &Config, place: &Place) -> String {
    let (url, setting) = (&place.url, place.setting);
    let mut text = format!("# The hub is at {url} for the computers in the game ({setting}).\n");
    let mut say = |sentence: &str| comment(&mut text, sentence);
    if place.is_a_guess {
        let port = place.url.port();
        say(&format!(
            "{} is every address of this machine; this is for a Minecraft server on the same \
             machine. For one on another machine of your network, write the address by which that \
             machine reaches this one (192.168.1.5?) in the place of {}. Computers that come by a \
             public address need no rule. hub.public_url = \"http://ADDRESS:{port}\" makes this \
             command print the rule for that address.",
            config.hub.listen.ip(),
            place.host()
        ));
    }
    if config.shares_listener() {
        say(
            "The admin API is on the same listener (admin.listen): whoever this lets in can try tokens \
             there. Give admin.listen a port of its own.",
        );
    }
    match place.is_private() {
        Some(true) => say(
            "The mod refuses private addresses. This rule lets computers reach that port and nothing \
             else; it belongs into computercraft-server.toml (in the server's folder config, or in the \
             world's folder serverconfig, which counts where it has one), above the rule with host = \
             \"$private\", since the first rule that matches decides. Keep the port: without it players' programs reach every service there, \
             the admin API among them.",
        ),
        Some(false) => say(
            "That is a public address, for which no rule is needed: the mod lets computers reach all \
             of them, unless its rules have been changed. Where they have been, this rule lets \
             computers in, above the others in computercraft-server.toml.",
        ),
        None => say(
            "If that name leads to a public address, no rule is needed. If it leads to a private one \
             (127.0.0.1, 192.168.1.5), which the mod refuses, this rule lets computers reach that port and \
             nothing else. It belongs into computercraft-server.toml (in the server's folder config, or \
             in the world's folder serverconfig, which counts where it has one), above the rule with \
             host = \"$private\", since the first rule that matches decides; it is for programs that write the name, not the address.",
        ),
    }
    text.push('\n');
    let rule = rule(place);
    match place.is_private() {
        Some(false) => rule.lines().for_each(|line| {
            let _ = writeln!(text, "#{line}");
        }),
        _ => text.push_str(&rule),
    }
    text.push('\n');
    let mut say = |sentence: &str| comment(&mut text, sentence);
    say(
        "Restart the Minecraft server then. `skynet cc-config --check FILE` says whether its file lets \
         computers in. In the game, this line installs the library:",
    );
    let _ = writeln!(text, "#\n#   wget run {url}/install.lua");
    text
}

/// A sentence as a comment, in lines that a terminal shows whole.
fn comment(text: &mut String, sentence: &str) {
    const WIDTH: usize = 92;
    let first_of_a_part = text.ends_with("\n\n");
    text.push_str(if first_of_a_part { "#" } else { "#\n#" });
    let mut column = 1;
    for word in sentence.split_whitespace() {
        if column > 1 && column + 1 + word.len() > WIDTH {
            text.push_str("\n#");
            column = 1;
        }
        text.push(' ');
        text.push_str(word);
        column += 1 + word.len();
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(settings: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        settings(&mut config);
        super::super::advice(&config).unwrap()
    }

    fn with_url(url: &str) -> String {
        advice(|config| config.hub.public_url = url.parse().ok())
    }

    #[test]
    fn a_private_address_gets_a_rule_with_its_port() {
        let text = advice(|_| ());
        let rule =
            "\n[[http.rules]]\n    host = \"127.0.0.1\"\n    port = 4567\n    action = \"allow\"\n";
        assert!(text.contains(rule), "{text}");
        assert!(text.contains("wget run http://127.0.0.1:4567/install.lua"), "{text}");
        let words = text.replace("\n#", "");
        let places =
            "in the server's folder config, or in the world's folder serverconfig, which counts";
        assert!(words.contains(places), "{text}");
        let text = advice(|config| config.hub.listen = "[::1]:99".parse().unwrap());
        assert!(text.contains("\n    host = \"::1/128\"\n    port = 99\n"), "{text}");
        let text = with_url("http://192.168.1.5");
        assert!(text.contains("\n    host = \"192.168.1.5\"\n    port = 80\n"), "{text}");
        assert!(
            with_url("http://localhost:1").contains("\n    host = \"localhost\"\n    port = 1\n")
        );
    }

    #[test]
    fn a_public_address_needs_none_and_a_name_perhaps() {
        let text = with_url("http://203.0.113.7:4567");
        assert!(text.contains("no rule is needed"), "{text}");
        assert!(!text.contains("\n[["), "{text}");
        let text = with_url("https://skynet.example.org");
        assert!(text.contains("If that name leads to a public address, no rule"), "{text}");
        assert!(text.contains("\n    host = \"skynet.example.org\"\n    port = 443\n"), "{text}");
    }

    #[test]
    fn every_address_is_taken_for_this_machine_and_that_is_said() {
        for (listen, host) in [("0.0.0.0:4567", "127.0.0.1"), ("[::]:4567", "::1/128")] {
            let text = advice(|config| config.hub.listen = listen.parse().unwrap());
            assert!(text.contains(&format!("\n    host = \"{host}\"\n")), "{text}");
            assert!(text.contains("every address of this machine"), "{text}");
            assert!(text.contains("hub.public_url"), "{text}");
        }
    }

    #[test]
    fn one_listener_for_hub_and_owner_is_warned_of() {
        let text = advice(|config| config.admin.listen = config.hub.listen.into());
        assert!(text.contains("The admin API is on the same listener"), "{text}");
        assert!(!advice(|_| ()).contains("same listener"));
    }

    #[test]
    fn what_is_printed_is_toml_with_that_rule_or_none() {
        for (text, rules) in [(advice(|_| ()), 1), (with_url("http://203.0.113.7"), 0)] {
            let table: toml::Table = text.parse().unwrap();
            let found =
                table.get("http").and_then(|http| http["rules"].as_array()).map_or(0, Vec::len);
            assert_eq!(found, rules, "{text}");
        }
    }

    #[test]
    fn a_port_that_the_system_chooses_is_told_to_be_none() {
        let mut config = Config::default();
        config.hub.listen = "127.0.0.1:0".parse().unwrap();
        let error = super::super::advice(&config).unwrap_err().to_string();
        assert!(error.contains("hub.listen") && error.contains("set a port"), "{error}");
    }
}
