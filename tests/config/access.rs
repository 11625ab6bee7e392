//! Who may do what, as the owner configures it: tokens, names, hosts, and `skynet token`.

use std::{ffi::OsStr, path::Path};

use super::{ConfigFile, UNAVAILABLE, USAGE, assert_has, check, run};

#[test]
fn tokens_are_masked_and_keep_their_spelling() {
    for token in ["0042", "1e3", "true", "hunter2"] {
        let text = check(&[], &[("SKYNET_ADMIN__TOKEN", token)]).effective();
        assert_has(&text, &["token = \"********\"  # SKYNET_ADMIN__TOKEN\n"]);
        assert!(!text.contains(&format!("\"{token}\"")), "{text}");

        let sources = skynet::config::Sources {
            variables: vec![("SKYNET_ADMIN__TOKEN".into(), token.into())],
            ..Default::default()
        };
        let config = skynet::config::load(&sources).unwrap().config;
        assert_eq!(config.admin.admin_token().unwrap().expose(), token);
        assert!(!format!("{config:?}").contains(&format!("\"{token}\"")));
    }
}

#[test]
fn no_error_shows_a_token() {
    let secret = "hunter2 hunter2";
    let in_file = |line: &str| ConfigFile::new(format!("[admin]\n{line}\n")).check().refused();
    for text in [
        check(&[], &[("SKYNET_ADMIN__TOKEN", secret)]).refused(),
        check(&[], &[("SKYNET_ADMIN_TOKEN", secret)]).refused(),
        check(&["--set", &format!("admin.token={secret}")], &[]).refused(),
        check(&["--set", &format!("admin.tokn={secret}")], &[]).refused(),
        check(&["--set", &format!("hub.tokens=[{{name=\"a\",token=\"{secret}\"}}]")], &[])
            .refused(),
        check(&["--set", &format!("hub.tokens.0.token={secret}")], &[]).refused(),
        check(&["--set", &format!("hub.public_url=https://me:{secret}@a.org")], &[]).refused(),
        check(&[], &[("SKYNET_HUB__TOKENS", secret)]).refused(),
        check(&[], &[("SKYNET_HUB__TOKENS__0__TOKEN", secret)]).refused(),
        in_file(&format!("token = \"{secret}\"")),
        in_file(&format!("token = \"{secret}")),
        in_file(&format!("token = [\"{secret}\"]")),
        in_file(&format!("tokn = \"{secret}\"")),
        in_file(&format!("token_file = \"{secret}\"")),
        check(&[], &[("SKYNET_ADMIN__TOKEN_FILE", secret)]).refused(),
        check(&[], &[("SKYNET_HUB__PUBLIC_URL", &format!("https://a.org/?token={secret}"))])
            .refused(),
    ] {
        assert!(!text.contains("hunter2"), "{text}");
        let names_it = ["admin", "hub.", "not TOML"].iter().any(|name| text.contains(name));
        assert!(names_it, "{text}");
    }
}

#[test]
fn no_error_about_the_command_line_shows_a_token() {
    for arguments in [
        ["check-config", "--set", "admin.token hunter2"],
        ["check-config", "--set", "=hunter2"],
        ["healthcheck", "--url", "http://owner:hunter2@127.0.0.1:4568"],
        ["healthcheck", "--url", "http://127.0.0.1:4568/?token=hunter2"],
    ] {
        let run = run(&arguments, &[]);
        assert_eq!((run.code, run.stdout.as_str()), (USAGE, ""), "{}", run.stderr);
        assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
        assert_has(&run.stderr, &["invalid value '********' for '--", "such as "]);
    }
}

#[test]
fn a_token_that_is_no_text_is_refused_whatever_else_it_is() {
    for bare in
        ["123456", "123456789012345678901234567890", "0x0123456789abcdef0123", "true", "1.5"]
    {
        for setting in ["token", "read_token"] {
            let file = ConfigFile::new(format!("[admin]\n{setting} = {bare}\n"));
            let text = file.check().refused();
            assert_has(&text, &["is not a text; put the token in quotes"]);
            assert!(!text.contains(bare), "{text}");
        }
    }
}

#[test]
fn a_token_on_the_command_line_is_refused_with_the_way_to_give_it() {
    let text = check(&["--set", "admin.token=abc"], &[]).refused();
    assert_has(&text, &["can read the arguments", "SKYNET_ADMIN__TOKEN or admin.token_file"]);
}

#[test]
fn a_token_file_must_hold_a_token() {
    let file = ConfigFile::new("a-token\n");
    let given = format!("admin.token_file={}", file.path());
    let text = check(&["--set", &given], &[]).effective();
    assert_has(&text, &["# token is not set\n", "hub.toml", "# --set\n"]);
    assert!(!text.contains("a-token"), "{text}");

    let text = check(&["--set", &given], &[("SKYNET_ADMIN__TOKEN", "abc")]).refused();
    assert_has(
        &text,
        &["admin.token (SKYNET_ADMIN__TOKEN) is given, and admin.token_file too", "--set"],
    );

    std::fs::write(&file.path, "\n").unwrap();
    let text = check(&["--set", &given], &[]).refused();
    assert_has(&text, &["admin.token_file (--set)", file.path(), "is empty"]);

    std::fs::remove_file(&file.path).unwrap();
    let text = check(&["--set", &given], &[]).refused();
    assert_has(&text, &["admin.token_file (--set)", file.path(), "does not exist"]);
}

#[test]
fn the_token_for_looking_is_given_like_the_owners_and_is_another_one() {
    let file = ConfigFile::new("two words");
    let variables = [("SKYNET_ADMIN__READ_TOKEN", "hunter2")];
    let text = check(&[], &variables).effective();
    assert_has(&text, &["read_token = \"********\"  # SKYNET_ADMIN__READ_TOKEN\n"]);

    let given = format!("admin.read_token_file={}", file.path());
    let text = check(&["--set", &given], &variables).refused();
    let both =
        "admin.read_token (SKYNET_ADMIN__READ_TOKEN) is given, and admin.read_token_file too";
    assert_has(&text, &[both, "--set"]);
    let text = check(&["--set", &given], &[]).refused();
    assert_has(&text, &["admin.read_token_file (--set)", file.path(), "spaces"]);
    let text = check(&["--set", "admin.read_token=abc"], &[]).refused();
    assert_has(&text, &["SKYNET_ADMIN__READ_TOKEN or admin.read_token_file"]);

    let text = check(&[], &[variables[0], ("SKYNET_ADMIN__TOKEN", "hunter2")]).refused();
    assert_has(&text, &["admin.read_token (SKYNET_ADMIN__READ_TOKEN) is the same text"]);
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn allowed_hosts_are_a_list_in_a_file_and_a_text_with_commas_elsewhere() {
    let expected = "allowed_hosts = [\"a.example.org\", \"b\"]  # ";
    let file = ConfigFile::new("[admin]\nallowed_hosts = [\"A.example.org.\", \"b\"]\n");
    assert_has(&file.check().effective(), &[expected]);
    let variables = [("SKYNET_ADMIN__ALLOWED_HOSTS", "a.example.org, b")];
    assert_has(&check(&[], &variables).effective(), &[expected]);
    let flags = ["--set", "admin.allowed_hosts=a.example.org,b"];
    assert_has(&check(&flags, &[]).effective(), &[expected]);
    let text = check(&["--set", "admin.allowed_hosts=http://a.example.org"], &[]).refused();
    assert_has(&text, &["admin.allowed_hosts (--set)", "without scheme, port or path"]);
    for line in ["allowed_hosts = 5", "allowed_hosts = [[]]"] {
        let file = ConfigFile::new(format!("[admin]\n{line}\n"));
        assert_has(&file.check().refused(), &["admin.allowed_hosts", "line 2"]);
    }
}

#[test]
fn names_with_tokens_are_read_from_a_file_and_shown_masked() {
    let token = ConfigFile::new("hunter3\n");
    let file = ConfigFile::new(format!(
        "[[hub.tokens]]\nname = \"mine\"\ntoken = \"hunter2\"\n\
         [[hub.tokens]]\nname = \"gate\"\ntoken_file = '{}'\n[limits]\nmax_clients = 5\n",
        token.path()
    ));
    let text = file.check().effective();
    let first = "tokens = [{ name = \"mine\", token = \"********\" }, { name = \"gate\", ";
    assert_has(&text, &[first, token.path(), "max_clients = 5  #"]);
    assert!(!text.contains("hunter"), "{text}");

    let sources = skynet::config::Sources { file: Some(file.path().into()), ..Default::default() };
    let config = skynet::config::load(&sources).unwrap().config;
    let tokens: Vec<_> = config
        .hub
        .tokens
        .iter()
        .map(|entry| (entry.name.as_str(), entry.secret().unwrap().expose()))
        .collect();
    assert_eq!(tokens, [("mine", "hunter2"), ("gate", "hunter3")]);
}

#[test]
fn every_problem_of_every_name_with_a_token_is_told_without_the_token() {
    let refused = |text: &str| ConfigFile::new(text).check().refused();
    let text = refused(
        "[hub]\nlisten = \"127.0.0.1:0\"\n[[hub.tokens]]\nname = \"a\"\ntokn = \"hunter2\"\n\
         [[hub.tokens]]\nname = 5\nsecret = \"hunter2\"\ntoken = [\"hunter2\"]\n",
    );
    assert_has(
        &text,
        &[
            "has 4 problems",
            "hub.tokens (",
            "line 3) has a problem in entry 1: \"tokn\" is not a setting; did you mean token?",
            "entry 2: name is not a text; write it in quotes",
            "entry 2: \"secret\" is not a setting; an entry has name, token, token_file",
            "entry 2: token is not a text; write it in quotes",
        ],
    );
    assert!(!text.contains("hunter2"), "{text}");

    let text = refused(
        "[[hub.tokens]]\ntoken = \"hunter2\"\n[[hub.tokens]]\nname = \"b\"\n\
         [[hub.tokens]]\nname = \"c\"\ntoken_file = \"/nowhere/at/all\"\n\
         [[hub.tokens]]\nname = \"d\"\ntoken = \"hunter2\"\n",
    );
    assert_has(
        &text,
        &[
            "has 4 problems",
            "line 1) has a problem in entry 1: its name is \"\"; allowed are 1 to 64",
            "entry 2 (\"b\"): it has no token",
            "entry 3 (\"c\"): its token_file names a file that cannot be read",
            "entry 4 (\"d\"): its token is that of entry 1",
        ],
    );
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn names_with_tokens_are_refused_outside_a_file_and_in_another_form() {
    let text = check(&[], &[("SKYNET_HUB__TOKENS", "hunter2")]).refused();
    assert_has(&text, &["hub.tokens (SKYNET_HUB__TOKENS) is a list of tables, which a file alone"]);
    assert!(!text.contains("hunter2"), "{text}");
    let text = check(&["--set", "hub.tokens.token=hunter2"], &[]).refused();
    assert_has(&text, &["hub.tokens (--set)", "write [[hub.tokens]] there"]);
    assert!(!text.contains("hunter2"), "{text}");
    for file in ["[hub.tokens]\nname = \"a\"\n", "[hub]\ntokens = 5\n", "[hub]\ntokens = [5]\n"] {
        let text = ConfigFile::new(file).check().refused();
        assert_has(&text, &["hub.tokens (", "write [[hub.tokens]] on a line of its own"]);
    }
    let text = ConfigFile::new("[[hub.token]]\nname = \"a\"\n").check().refused();
    assert_has(&text, &["hub.token (", "is not a setting", "hub.tokens"]);
}

/// The variables that name a state folder, as the environment of a test that has none of its own.
fn state_of(folder: &Path) -> [(&'static str, &OsStr); 4] {
    let folder = folder.as_os_str();
    let none = OsStr::new("");
    [
        ("STATE_DIRECTORY", none),
        ("XDG_STATE_HOME", none),
        ("HOME", folder),
        ("LOCALAPPDATA", folder),
    ]
}

#[test]
fn the_token_command_prints_the_configured_token_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = ConfigFile::new("of-the-file\n");
    let config = ConfigFile::new(format!("[admin]\ntoken_file = '{}'\n", file.path()));
    let by_config = ["token", "--config", config.path()];
    let by_flag = ["token", "--set", &format!("admin.token_file={}", file.path())];
    let in_environment = [("SKYNET_ADMIN__TOKEN", OsStr::new("of-the-environment"))];
    for (arguments, variables, expected) in [
        (&by_config[..], &[][..], "of-the-file\n"),
        (&by_flag, &[], "of-the-file\n"),
        (&["token"], &in_environment, "of-the-environment\n"),
    ] {
        let run = run(arguments, &[&state_of(folder.path())[..], variables].concat());
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, expected, ""));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is kept");
}

#[test]
fn the_token_command_makes_a_token_once_and_prints_it_ever_after() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(&["token"], &state_of(folder.path()));
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert_eq!(first.stdout.trim_end().len(), 64);
    assert_has(&first.stderr, &["a token for the owner was made", "skynet", "admin-token"]);
    assert!(!first.stderr.contains(first.stdout.trim_end()));
    let again = run(&["token"], &state_of(folder.path()));
    assert_eq!((again.code, again.stdout, again.stderr.as_str()), (0, first.stdout.clone(), ""));

    let other = tempfile::tempdir().unwrap();
    let given = format!("admin.state_dir={}", other.path().join("state").display());
    let elsewhere = run(&["token", "--set", &given], &state_of(folder.path()));
    assert_eq!(elsewhere.code, 0, "{}", elsewhere.stderr);
    assert_ne!(elsewhere.stdout, first.stdout);
    let kept = std::fs::read_to_string(other.path().join("state").join("admin-token")).unwrap();
    assert_eq!(kept, elsewhere.stdout);
    let service = [("STATE_DIRECTORY", other.path().join("state").into_os_string())];
    let service = service.each_ref().map(|(name, value)| (*name, value.as_os_str()));
    let variables = [&state_of(folder.path())[1..], &service].concat();
    assert_eq!(run(&["token"], &variables).stdout, elsewhere.stdout);
}

#[test]
fn the_token_command_says_why_there_is_none() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let given = format!("admin.state_dir={}", file.path().display());
    let text = run(&["token", "--set", &given], &[]).failed(UNAVAILABLE);
    assert_has(&text, &[file.path().to_str().unwrap(), "cannot be used", "admin.state_dir"]);
    let text = run(&["token"], &state_of(Path::new(""))).failed(UNAVAILABLE);
    assert_has(&text, &["no state folder is known", "admin.state_dir"]);
    let text = run(&["token", "--set", "limits.max_clients=0"], &[]).refused();
    assert_has(&text, &["limits.max_clients (--set) is 0"]);
}

#[cfg(unix)]
#[test]
fn the_token_command_refuses_a_file_that_others_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin-token");
    std::fs::write(&path, "a long enough token it is not".replace(' ', "-")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let given = format!("admin.state_dir={}", folder.path().display());
    let text = run(&["token", "--set", &given], &[]).failed(UNAVAILABLE);
    assert_has(&text, &["can be read by others", &format!("chmod 600 '{}'", path.display())]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(run(&["token", "--set", &given], &[]).code, 0);
}
