//! What a package needs of the program: exit codes, manual page, completions, health check.

use std::net::TcpListener;

use skynet::exit::Exit;

use super::{CONFIGURATION, USAGE, assert_has, run};

#[test]
fn the_readme_and_the_manual_page_tell_the_exit_codes_with_the_same_words() {
    let readme = include_str!("../../README.md");
    let page = run(&["man"], &[]);
    assert_eq!((page.code, page.stderr.as_str()), (0, ""));
    // As it is read: a hyphen that may be copied is written \-.
    let text = page.stdout.replace("\\-", "-");
    for exit in Exit::ALL {
        assert_has(readme, &[&format!("| {} | {} |\n", exit.code(), exit.meaning())]);
        assert_has(&text, &[exit.meaning()]);
    }
    assert_has(readme, &["| 130, 143 |"]);
    assert_has(&text, &["143 or 130"]);
}

#[test]
fn the_manual_page_shows_no_option_without_what_it_takes() {
    let page = run(&["man"], &[]);
    let (_, synopsis) = page.stdout.split_once(".SH SYNOPSIS\n").unwrap();
    let (synopsis, _) = synopsis.split_once("\n.").unwrap();
    assert_eq!(synopsis, r"\fBskynet\fR [\fIoption\fR ...] [\fIcommand\fR]");
}

#[test]
fn what_a_package_is_made_of_is_printed_even_with_a_bad_configuration() {
    let bad = ["--listen", "nowhere"];
    for (arguments, part) in [
        (&["man"][..], ".TH SKYNET 1"),
        (&["completions", "bash"], "complete -F _skynet"),
        (&["completions", "zsh"], "#compdef skynet"),
        (&["completions", "fish"], "complete -c skynet"),
        (&["completions", "powershell"], "Register-ArgumentCompleter"),
        (&["completions", "elvish"], "edit:completion"),
    ] {
        let run = run(&[arguments, &bad].concat(), &[]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{arguments:?}");
        assert_has(&run.stdout, &[part]);
    }
    for arguments in [&["completions"][..], &["completions", "cmd"]] {
        assert_eq!(run(arguments, &[]).code, USAGE, "{arguments:?}");
    }
}

#[test]
fn a_health_check_of_nobody_fails_with_1_and_one_line() {
    // Taken and given back: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for arguments in [
        vec!["healthcheck".to_owned(), "--url".to_owned(), format!("http://{address}")],
        vec!["healthcheck".to_owned(), "--admin-listen".to_owned(), address.clone()],
    ] {
        let run = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        let text = run.failed(1);
        assert_has(&text, &[&format!("http://{address}/readyz cannot be asked: ")]);
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn a_health_check_asks_where_the_configuration_says_and_needs_none_when_told_where() {
    let run_with = |arguments: &[&str]| run(&[&["healthcheck"], arguments].concat(), &[]);
    let text = run_with(&["--admin-listen", "0.0.0.0:0"]).refused();
    assert_has(&text, &["the system chose the port", "--url http://127.0.0.1:PORT"]);
    let bad = run_with(&["--set", "limits.max_clients=0"]);
    assert_eq!(bad.code, CONFIGURATION);
    let told = ["--url", "http://127.0.0.1:1", "--set", "limits.max_clients=0"];
    assert_has(&run_with(&told).failed(1), &["http://127.0.0.1:1/readyz"]);
    for url in ["127.0.0.1:1", "unix:admin.sock", "ftp://127.0.0.1:1"] {
        assert_eq!(run_with(&["--url", url]).code, USAGE, "{url}");
    }
}
