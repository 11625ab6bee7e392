//! `skynet cc-config`: the rule that it prints, and what it says of files as servers have them.

use std::{ffi::OsStr, path::PathBuf};

use tempfile::TempDir;

use super::{CONFIGURATION, Run, assert_has, check, run};

/// What the mod writes, without its comments.
const FRESH: &str = "\
computer_space_limit = 1000000

[http]
    enabled = true
    websocket_enabled = true
    max_requests = 16
    max_websockets = 4
    [http.bandwidth]
        global_download = 33554432
        global_upload = 33554432
    [[http.rules]]
        host = \"$private\"
        action = \"deny\"
    [[http.rules]]
        host = \"*\"
        action = \"allow\"
        max_download = 16777216
        max_upload = 4194304
        max_websocket_message = 131072
        use_proxy = false
";

/// The rule for the hub as it is by default.
const OWN: &str = "[[http.rules]]\n        host = \"127.0.0.1\"\n        port = 4567\n        action = \"allow\"\n    ";

/// The file with lines put in before the first rule.
fn with_rule(rule: &str) -> String {
    assert!(FRESH.contains("[[http.rules]]"));
    FRESH.replacen("[[http.rules]]", &format!("{rule}[[http.rules]]"), 1)
}

struct Server {
    _folder: TempDir,
    path: PathBuf,
}

impl Server {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("computercraft-server.toml");
        std::fs::write(&path, text).unwrap();
        Self { _folder: folder, path }
    }

    fn check(&self, arguments: &[&str]) -> Run {
        let file = self.path.to_str().unwrap();
        run(&[&["cc-config", "--check", file], arguments].concat(), &[])
    }

    /// What is said of a file in which all is well.
    #[track_caller]
    fn good(&self, arguments: &[&str]) -> String {
        let run = self.check(arguments);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
        assert!(!run.stdout.contains("BAD"), "{}", run.stdout);
        run.stdout
    }

    /// The bad things that are said of a file, which must be some.
    #[track_caller]
    fn bad(&self, arguments: &[&str]) -> String {
        let run = self.check(arguments);
        assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{}", run.stdout);
        let parts = run.stdout.split("\nBAD ").skip(1);
        let bad: String = parts.map(|part| part.split("\ngood ").next().unwrap()).collect();
        assert!(!bad.is_empty(), "{}", run.stdout);
        bad
    }
}

#[test]
fn the_printed_rule_put_where_it_belongs_lets_computers_in_and_keeps_them_from_the_admin_api() {
    for arguments in [
        &[][..],
        &["--listen", "[::1]:4567"],
        &["--listen", "0.0.0.0:9000"],
        &["--listen", "192.168.1.5:4567"],
        &["--set", "hub.public_url=http://10.0.0.5"],
        &["--set", "hub.public_url=http://localhost:4567"],
    ] {
        let advice = run(&[&["cc-config"], arguments].concat(), &[]);
        assert_eq!((advice.code, advice.stderr.as_str()), (0, ""));
        let text = Server::new(&with_rule(&advice.stdout)).good(arguments);
        assert_has(&text, &["computers reach the hub", "computers do not reach the admin API"]);
        let without = Server::new(FRESH).bad(arguments);
        let rule = advice.stdout.split_once("[[http.rules]]").unwrap().1;
        let rule = rule.split_once("\n\n").unwrap().0;
        let lines = rule.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.for_each(|line| assert_has(&without, &[line]));
    }
}

#[test]
fn a_fresh_file_refuses_a_private_hub_and_the_line_to_change_is_named() {
    let text = Server::new(FRESH).bad(&[]);
    assert_has(
        &text,
        &[
            "computers do not reach the hub: the rule at line 11 (host \"$private\") denies \
             http://127.0.0.1:4567",
            "Put this above line 11:",
            "host = \"127.0.0.1\"",
            "port = 4567",
        ],
    );
}

#[test]
fn a_public_hub_needs_no_rule() {
    let public = ["--set", "hub.public_url=http://203.0.113.7:4567"];
    let text = Server::new(FRESH).good(&public);
    assert_has(&text, &["the rule at line 14 (host \"*\") allows http://203.0.113.7:4567"]);
    let advice = run(&[&["cc-config"], &public[..]].concat(), &[]);
    assert_has(
        &advice.stdout,
        &["no rule is needed", "wget run http://203.0.113.7:4567/install.lua"],
    );
}

#[test]
fn a_rule_that_stands_too_low_is_to_be_moved() {
    let file = FRESH.to_owned() + "    " + OWN.trim_end() + "\n";
    let text = Server::new(&file).bad(&[]);
    assert_has(
        &text,
        &["the rule at line 21 (host \"127.0.0.1\", port 4567)", "move it above line 11"],
    );
}

#[test]
fn a_rule_for_another_port_is_none_for_the_hub() {
    let text = Server::new(&with_rule(OWN)).bad(&["--listen", "127.0.0.1:4569"]);
    assert_has(&text, &["denies http://127.0.0.1:4569", "port = 4569"]);
}

#[test]
fn a_rule_without_a_port_opens_the_admin_api_and_that_is_called_dangerous() {
    for host in ["127.0.0.1", "127.0.0.0/8", "127.*", "$private", "*"] {
        let rule = format!("[[http.rules]]\nhost = \"{host}\"\naction = \"allow\"\n");
        let text = Server::new(&with_rule(&rule)).bad(&[]);
        assert_has(&text, &["DANGER", "the admin API at 127.0.0.1:4568", "the rule at line 11"]);
        let remedy =
            if host == "*" { "host = \"$private\"" } else { "Add this to that rule: port = 4567" };
        assert_has(&text, &[remedy]);
        if host == "*" {
            // Which would leave the rest of the world without one.
            let all = Server::new(&with_rule(&rule)).check(&[]).stdout;
            assert!(!all.contains("port = 4567 makes it the hub alone"), "{all}");
            assert_has(&all, &["one that denies $private below it"]);
        }
    }
    // By a name, where the address is not allowed.
    let rule = "[[http.rules]]\nhost = \"localhost\"\naction = \"allow\"\n";
    assert_has(&Server::new(&with_rule(&(rule.to_owned() + OWN))).bad(&[]), &["localhost:4568"]);
    // By a rule with the admin API's own port.
    let rule = "[[http.rules]]\nhost = \"127.0.0.1\"\nport = 4568\naction = \"allow\"\n";
    let text = Server::new(&with_rule(&(rule.to_owned() + OWN))).bad(&[]);
    assert_has(&text, &["DANGER", "port 4568", "Take that rule out"]);
}

#[test]
fn a_rule_without_a_port_for_another_machine_is_noted() {
    let rule = "[[http.rules]]\nhost = \"192.168.1.5\"\naction = \"allow\"\n";
    let text = Server::new(&with_rule(rule)).good(&["--listen", "192.168.1.5:4567"]);
    assert_has(&text, &["has no port, so players' programs reach every service there"]);
}

#[test]
fn an_admin_api_on_every_address_is_noted_where_no_public_one_is_known() {
    // As in containers: the listeners are on all addresses, and the game knows the hub by a name.
    for (rule, hub) in
        [(OWN.to_owned(), "0.0.0.0:4567"), (OWN.replace("127.0.0.1", "::1/128"), "[::]:4567")]
    {
        let admin = hub.replace("4567", "4568");
        let text =
            Server::new(&with_rule(&rule)).good(&["--listen", hub, "--admin-listen", &admin]);
        let note = "port 4568 of a public address of this machine, if it has one that leads to it: the rule";
        assert_has(
            &text.replace("\n      ", " "),
            &["note  computers do not reach the admin API by", note],
        );
    }
    let known =
        ["--set", "hub.public_url=http://203.0.113.7:4567", "--admin-listen", "0.0.0.0:4568"];
    let text = Server::new(FRESH).bad(&known);
    assert_has(&text, &["DANGER", "the admin API at 203.0.113.7:4568", "such as 127.0.0.1"]);
}

#[test]
fn an_admin_api_that_is_one_with_the_hub_is_dangerous_too() {
    let text = Server::new(&with_rule(OWN)).bad(&["--admin-listen", "127.0.0.1:4567"]);
    assert_has(&text, &["they are one listener (127.0.0.1:4567)", "a port of its own"]);
}

#[test]
fn an_admin_api_on_every_address_is_reached_by_what_leads_to_the_hub() {
    for host in ["192.168.1.5", "hub.invalid"] {
        let rule = format!("[[http.rules]]\nhost = \"{host}\"\naction = \"allow\"\n");
        let file = with_rule(&rule).replace(
            "host = \"*\"\n        action = \"allow\"",
            "host = \"*\"\n        action = \"deny\"",
        );
        let public = format!("hub.public_url=http://{host}:4567");
        let arguments = ["--set", &public, "--admin-listen", "0.0.0.0:4568"];
        let text = Server::new(&file).bad(&arguments);
        assert_has(&text, &["DANGER", &format!("the admin API at {host}:4568")]);
        assert_has(&text, &["Add this to that rule: port = 4567"]);
        let file = file.replacen("host", "port = 4567\nhost", 1);
        Server::new(&file).good(&arguments);
    }
}

#[test]
fn what_is_switched_off_is_told_with_its_line() {
    let off = with_rule(OWN).replace("    enabled = true", "    enabled = false");
    let text = Server::new(&off).bad(&[]);
    assert_has(&text, &["line 4: enabled = false switches all of the http API off"]);
    let off = with_rule(OWN).replace("websocket_enabled = true", "websocket_enabled = false");
    let text = Server::new(&off).bad(&[]);
    assert_has(&text, &["line 5: websocket_enabled = false switches websockets off"]);
}

#[test]
fn a_message_limit_below_the_hubs_is_told_with_what_to_write() {
    let file = with_rule(OWN).replace("message = 131072", "message = 65536");
    let text = Server::new(&file).bad(&[]);
    assert_has(
        &text,
        &["line 23: max_websocket_message = 65536", "up to 131072", "make it 131072"],
    );
    Server::new(&file).good(&["--set", "limits.max_message_bytes=64KiB"]);
    let large =
        ["--set", "limits.max_message_bytes=256KiB", "--set", "limits.max_frame_bytes=1MiB"];
    assert_has(&Server::new(&file).bad(&large), &["up to 262144", "make it 262144"]);
    let own = OWN.trim_end().to_owned() + "\nmax_websocket_message = 0\n    ";
    assert_has(&Server::new(&with_rule(&own)).good(&large), &["messages of any size (line 15"]);
    let without = with_rule(OWN).replace("        max_websocket_message = 131072\n", "");
    let text = Server::new(&without).bad(&large);
    assert_has(&text, &["add max_websocket_message = 262144 to the rule at line 11"]);
}

#[test]
fn a_download_limit_below_the_library_is_told() {
    let file = with_rule(OWN).replace("max_download = 16777216", "max_download = 10");
    assert_has(&Server::new(&file).bad(&[]), &["line 21: max_download = 10", "make it larger"]);
}

#[test]
fn limits_of_sockets_requests_and_bandwidth_are_told() {
    let text = Server::new(&with_rule(OWN)).good(&[]);
    let expected = [
        "websockets of a computer at once: 4 (line 7); requests: 16 (line 6)",
        "32768 KiB/s (line 9) in, 32768 KiB/s (line 10) out",
    ];
    assert_has(&text, &expected);
}

#[test]
fn a_rule_that_the_mod_cannot_read_is_told_even_where_it_does_no_harm() {
    let wrong = "[[http.rules]]\nhost = \"example.com\"\naction = \"permit\"\n";
    let text = Server::new(&with_rule(wrong)).bad(&[]);
    assert_has(&text, &["the rule at line 11 cannot be read by the mod: its action is neither"]);
    let text = Server::new(&with_rule(&(OWN.to_owned() + wrong))).bad(&[]);
    assert_has(&text, &["the rule at line 15 cannot be read"]);
    assert!(!text.contains("computers do not reach the hub"), "{text}");
}

#[test]
fn a_name_that_leads_nowhere_is_checked_by_its_name() {
    let public = ["--set", "hub.public_url=http://hub.invalid:4567"];
    let text = Server::new(FRESH).good(&public);
    assert_has(&text, &["hub.invalid leads nowhere from here", "allows http://hub.invalid:4567"]);
    let rule = "[[http.rules]]\nhost = \"*.invalid\"\naction = \"deny\"\n";
    assert_has(
        &Server::new(&with_rule(rule)).bad(&public),
        &["the rule at line 11 (host \"*.invalid\")"],
    );
}

#[test]
fn files_that_cannot_be_checked_and_ports_that_nobody_knows_end_with_78() {
    let file = Server::new("http {\n    B:enabled=true\n}\n").check(&[]);
    assert_eq!((file.code, file.stdout.as_str()), (CONFIGURATION, ""));
    assert_has(&file.stderr, &["Minecraft 1.12"]);
    let missing = run(&["cc-config", "--check", "/nowhere/at/all.toml"], &[]);
    assert_eq!(missing.code, CONFIGURATION);
    assert_has(&missing.stderr, &["/nowhere/at/all.toml", "does not exist"]);
    for arguments in [&["cc-config"][..], &["cc-config", "--check", "/nowhere"]] {
        let run = run(&[arguments, &["--listen", "127.0.0.1:0"]].concat(), &[]);
        assert_eq!((run.code, run.stdout.as_str()), (CONFIGURATION, ""));
        assert_has(&run.stderr, &["hub.listen is 127.0.0.1:0", "set a port"]);
    }
}

#[test]
fn an_address_for_players_and_trusted_proxies_are_settings_like_others() {
    let variables = [
        ("SKYNET_HUB__PUBLIC_URL", "https://Skynet.example.org:8443/"),
        ("SKYNET_HUB__TRUSTED_PROXIES", "10.1.2.3/8, ::1"),
    ];
    let text = check(&[], &variables).effective();
    assert_has(
        &text,
        &["public_url = \"https://skynet.example.org:8443\"  # SKYNET_HUB__PUBLIC_URL"],
    );
    assert_has(&text, &["trusted_proxies = [\"10.0.0.0/8\", \"::1/128\"]"]);
    let text = check(&["--set", "hub.public_url=skynet.example.org"], &[]).refused();
    assert_has(&text, &["hub.public_url (--set) \"skynet.example.org\" has no scheme", "http://"]);
    let text = run(&["check-config"], &[("SKYNET_HUB__TRUSTED_PROXIES", OsStr::new("proxy"))]);
    assert_has(&text.refused(), &["hub.trusted_proxies", "\"proxy\", which is not a network"]);
}

#[test]
fn the_readme_shows_the_rule_that_is_printed() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let printed = run(&["cc-config"], &[]).stdout;
    let rule = printed.split_once("[[http.rules]]").unwrap().1.split_once("\n\n").unwrap().0;
    assert_has(&readme, &[&format!("```toml\n[[http.rules]]{rule}\n```")]);
}
