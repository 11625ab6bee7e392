//! Configuration and command line, through the real program: what an owner types, sees and gets.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

mod access;
mod cc_config;
mod installed;
mod rights;

/// Exit code for a command line that cannot be read.
const USAGE: i32 = 64;
/// Exit code for what is not to be had, such as the state folder.
const UNAVAILABLE: i32 = 69;
/// Exit code for a configuration that cannot be used.
const CONFIGURATION: i32 = 78;

/// What one run of the program printed.
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs the program with these arguments and no `SKYNET_` variables but these.
fn run(arguments: &[&str], variables: &[(&str, &OsStr)]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skynet"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().to_uppercase().starts_with("SKYNET_") {
            command.env_remove(name);
        }
    }
    let output = command.args(arguments).envs(variables.iter().copied()).output().unwrap();
    Run {
        code: output.status.code().expect("ended by itself"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs `check-config`.
fn check(arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let variables: Vec<_> =
        variables.iter().map(|(name, value)| (*name, OsStr::new(*value))).collect();
    run(&[&["check-config"], arguments].concat(), &variables)
}

impl Run {
    /// The effective configuration, which must have been printed, and nothing else.
    #[track_caller]
    fn effective(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{}", self.stdout);
        self.stdout
    }

    /// The error in the configuration, which must have been printed, and nothing else.
    #[track_caller]
    fn refused(self) -> String {
        self.failed(CONFIGURATION)
    }

    /// The error that comes with this exit code, which must have been printed, and nothing else.
    #[track_caller]
    fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        assert!(self.stderr.starts_with("skynet: "), "{}", self.stderr);
        self.stderr
    }
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

/// A configuration file in a folder of its own.
struct ConfigFile {
    _folder: TempDir,
    path: PathBuf,
}

impl ConfigFile {
    fn new(contents: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.toml");
        std::fs::write(&path, contents).unwrap();
        Self { _folder: folder, path }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn check(&self) -> Run {
        check(&["--config", self.path()], &[])
    }
}

#[test]
fn without_anything_the_defaults_apply_and_are_named_as_such() {
    let text = check(&[], &[]).effective();
    assert_has(
        &text,
        &[
            "[hub]\nlisten = \"127.0.0.1:4567\"  # default\n",
            "[admin]\nlisten = \"127.0.0.1:4568\"  # default\n# token is not set\n",
            "max_message_bytes = \"128KiB\"  # default\n",
            "ping_interval = \"25s\"  # default\n",
        ],
    );
}

#[test]
fn each_layer_overrides_the_one_before_and_its_place_is_shown() {
    let file = ConfigFile::new(
        "[limits]\nmax_clients = 1\nmax_channels_per_client = 1\nmessage_burst = 1\n",
    );
    let variables =
        [("SKYNET_LIMITS__MAX_CLIENTS", "2"), ("SKYNET_LIMITS__MAX_CHANNELS_PER_CLIENT", "2")];
    let arguments = ["--config", file.path(), "--set", "limits.max_clients=3"];
    let text = check(&arguments, &variables).effective();
    assert_has(
        &text,
        &[
            "max_clients = 3  # --set\n",
            "max_channels_per_client = 2  # SKYNET_LIMITS__MAX_CHANNELS_PER_CLIENT\n",
            &format!("message_burst = 1  # {}\n", file.path()),
            "messages_per_second = 500  # default\n",
        ],
    );
}

#[test]
fn the_named_flags_override_the_environment() {
    let variables = [
        ("SKYNET_HUB__LISTEN", "127.0.0.1:1"),
        ("SKYNET_ADMIN__LISTEN", "127.0.0.1:2"),
        ("SKYNET_TELEMETRY__LOG", "debug"),
        ("SKYNET_TELEMETRY__FORMAT", "human"),
    ];
    let arguments = ["--listen", "[::1]:3", "--admin-listen", "127.0.0.1:4"];
    let log = ["--log", "warn,skynet=trace", "--log-format", "json"];
    let text = check(&[arguments, log].concat(), &variables).effective();
    assert_has(
        &text,
        &[
            "listen = \"[::1]:3\"  # --listen\n",
            "listen = \"127.0.0.1:4\"  # --admin-listen\n",
            "log = \"warn,skynet=trace\"  # --log\n",
            "format = \"json\"  # --log-format\n",
        ],
    );
}

#[test]
fn the_printed_default_file_gives_exactly_the_defaults() {
    let printed = run(&["default-config"], &[]);
    assert_eq!((printed.code, printed.stderr.as_str()), (0, ""));
    let file = ConfigFile::new(&printed.stdout);
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  # ").next().unwrap().to_owned()).collect()
    };
    let from_file = file.check().effective();
    assert_eq!(values(&from_file), values(&check(&[], &[]).effective()));
    assert!(!from_file.contains("# default"), "{from_file}");
}

#[test]
fn what_check_config_prints_can_be_used_as_a_file() {
    let variables = [("SKYNET_LIMITS__MAX_QUEUE_BYTES", "300001")];
    let text = check(&["--set", "limits.ping_interval=90s"], &variables).effective();
    let again = ConfigFile::new(&text).check().effective();
    assert_has(&again, &["max_queue_bytes = 300001  #", "ping_interval = \"1m 30s\"  #"]);
}

#[test]
fn a_misspelt_key_is_refused_with_its_place_and_the_nearest_name() {
    let file = ConfigFile::new("[hub]\nlisten = \"127.0.0.1:0\"\n[limits]\nmax_client = 5\n");
    let place = format!("limits.max_client ({}, line 4) is not a setting", file.path());
    assert_has(&file.check().refused(), &[&place, "did you mean limits.max_clients?"]);

    let file = ConfigFile::new("[limit]\nmax_clients = 5\n");
    assert_has(&file.check().refused(), &["no section [limit]", "did you mean [limits]?"]);

    let text = check(&[], &[("SKYNET_HUB_LISTEN", "127.0.0.1:9000")]).refused();
    assert_has(&text, &["(SKYNET_HUB_LISTEN)", "did you mean SKYNET_HUB__LISTEN?"]);

    let text = check(&["--set", "hub.lisen=127.0.0.1:9000"], &[]).refused();
    assert_has(&text, &["hub.lisen (--set)", "did you mean --set hub.listen=VALUE?"]);
}

#[test]
fn a_misspelt_key_does_not_hide_behind_a_layer_above() {
    let file = ConfigFile::new("[limits]\nmax_client = 5\n");
    let arguments = ["--config", file.path(), "--set", "limits.max_clients=3"];
    assert_has(&check(&arguments, &[]).refused(), &["limits.max_client (", "line 2"]);
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_its_place_and_what_is_allowed() {
    for (line, expected) in [
        ("max_clients = \"lots\"", "\"lots\" is not a whole number"),
        ("max_clients = 1.5", "\"1.5\" is not a whole number"),
        ("max_clients = -1", "\"-1\" is not a whole number"),
        ("max_clients = [5]", "is a list here"),
        ("max_clients = { at = 5 }", "is a section here"),
        ("max_clients = 2020-01-01", "\"2020-01-01\" is not a whole number"),
        ("messages_per_second = 99999999999", "far too large"),
        ("max_queue_bytes = 99999999999999999999", "far too large"),
        ("max_queue_bytes = \"1 apple\"", "such as 128KiB"),
        ("ping_interval = 25", "\"25\" has no unit; write 25s"),
        ("ping_interval = true", "\"true\" is not a duration"),
    ] {
        let file = ConfigFile::new(format!("[limits]\n{line}\n"));
        let place = format!("({}, line 2)", file.path());
        assert_has(&file.check().refused(), &["skynet: limits.", &place, expected]);
    }
    let text = check(&[], &[("SKYNET_TELEMETRY__FORMAT", "xml")]).refused();
    assert_has(&text, &["telemetry.format (SKYNET_TELEMETRY__FORMAT)", "auto, human and json"]);
    let text = check(&["--set", "delivery.io_uring=yes"], &[]).refused();
    assert_has(&text, &["delivery.io_uring (--set) \"yes\" is none of auto, on and off"]);
    let text = check(&[], &[("SKYNET_DELIVERY__INTERVAL", "1s")]).refused();
    assert_has(
        &text,
        &["delivery.interval (SKYNET_DELIVERY__INTERVAL) is 1s; allowed are 0s to 100ms"],
    );
    let text = check(&["--log", "inof"], &[]).refused();
    assert_has(&text, &["telemetry.log (--log) \"inof\" is not a log level", "info"]);
}

#[test]
fn a_section_written_as_a_value_is_refused() {
    assert_has(&ConfigFile::new("limits = 5\n").check().refused(), &["limits (", "is a section"]);
    let list = ConfigFile::new("[[limits]]\nmax_clients = 5\n").check().refused();
    assert_has(&list, &["limits (", "write [limits]"]);
}

#[test]
fn a_bad_address_is_refused_with_an_example() {
    for address in ["localhost:4567", "4567", ":4567", "127.0.0.1", "", "127.0.0.1:99999"] {
        let text = check(&["--listen", address], &[]).refused();
        assert_has(&text, &["hub.listen (--listen)", "127.0.0.1:4567 for this machine alone"]);
    }
    let text = ConfigFile::new("[hub]\nlisten = 4567\n").check().refused();
    assert_has(&text, &["hub.listen (", "line 2", "is a port without an address"]);
}

#[test]
fn an_impossible_limit_is_refused_with_what_is_allowed() {
    let text = check(&[], &[("SKYNET_LIMITS__MAX_CLIENTS", "0")]).refused();
    let expected = "limits.max_clients (SKYNET_LIMITS__MAX_CLIENTS) is 0; allowed are 1 to 1000000";
    assert_has(&text, &[expected]);
}

#[test]
fn limits_that_contradict_each_other_name_both_places() {
    let file = ConfigFile::new("[limits]\nmax_message_bytes = \"256KiB\"\n");
    let arguments = ["--config", file.path(), "--set", "limits.max_queue_bytes=300KiB"];
    let text = check(&[&arguments[..], &["--set", "limits.max_frame_bytes=1MiB"]].concat(), &[]);
    assert_has(
        &text.refused(),
        &[
            "limits.max_queue_bytes (--set) is 300KiB; it must be at least 512KiB",
            &format!("limits.max_message_bytes is set by {}, line 2", file.path()),
        ],
    );
}

#[test]
fn all_problems_are_reported_at_once_and_a_bad_value_makes_no_second_one() {
    let file = ConfigFile::new(
        "[hub]\nlisten = \"here\"\nport = 1\n[limits]\nmax_clients = 0\n\
         max_message_bytes = \"much\"\nmax_queue_bytes = 8192\n",
    );
    let text = file.check().refused();
    assert_has(
        &text,
        &[
            "the configuration has 4 problems:",
            "\n  - hub.port",
            "\n  - hub.listen",
            "\n  - limits.max_message_bytes",
            "\n  - limits.max_clients",
        ],
    );
}

#[test]
fn listeners_in_each_others_way_are_refused() {
    let text = check(&["--listen", "0.0.0.0:4568"], &[]).refused();
    assert_has(&text, &["admin.listen (default)", "0.0.0.0 means every address", "--listen"]);
    for address in ["127.0.0.1:0", "127.0.0.1:5000"] {
        check(&["--listen", address, "--admin-listen", address], &[]).effective();
    }
}

#[test]
fn a_file_that_cannot_be_read_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    let text = check(&["--config", missing.to_str().unwrap()], &[]).refused();
    assert_has(&text, &[missing.to_str().unwrap(), "it does not exist"]);
    let text = check(&["--config", folder.path().to_str().unwrap()], &[]).refused();
    assert_has(&text, &[folder.path().to_str().unwrap(), "cannot be read"]);
    let text = ConfigFile::new(b"[hub]\nlisten = \"\xff\"\n").check().refused();
    assert_has(&text, &["hub.toml", "line 2", "not UTF-8"]);
    let text = ConfigFile::new("#".repeat(2 << 20)).check().refused();
    assert_has(&text, &["hub.toml", "larger than 1MiB"]);
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_line_and_column() {
    let file = ConfigFile::new("[hub]\nlisten = 127.0.0.1:4567\n");
    let place = format!("{}, line 2, column ", file.path());
    assert_has(&file.check().refused(), &[&place, "this is not TOML", "stand in quotes"]);
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_refused_by_name() {
    use std::os::unix::ffi::OsStrExt;
    let value = OsStr::from_bytes(b"127.0.0.1:\xff");
    let text = run(&["check-config"], &[("SKYNET_HUB__LISTEN", value)]).refused();
    assert_has(&text, &["hub.listen (SKYNET_HUB__LISTEN)", "not valid UTF-8"]);
}

#[test]
fn a_setting_given_twice_by_flags_is_refused() {
    let arguments = ["--listen", "127.0.0.1:1", "--set", "hub.listen=127.0.0.1:2"];
    assert_has(
        &check(&arguments, &[]).refused(),
        &["hub.listen (--set) is given twice", "--listen"],
    );
}

#[test]
fn serving_with_a_bad_configuration_ends_before_anything_is_bound() {
    for command in [&[][..], &["serve"]] {
        let arguments = [command, &["--listen", "localhost:4567"]].concat();
        assert_has(&run(&arguments, &[]).refused(), &["hub.listen (--listen)"]);
    }
}

#[test]
fn help_and_version_succeed_and_bad_usage_does_not() {
    let version = run(&["--version"], &[]);
    let expected = format!("skynet {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((version.code, version.stdout), (0, expected));

    let help = run(&["--help"], &[]);
    assert_eq!(help.code, 0);
    assert_has(&help.stdout, &["check-config", "default-config", "--config", "SKYNET_HUB__LISTEN"]);

    for arguments in [&["--nonsense"][..], &["nonsense"], &["--listen"], &["--set", "nonsense"]] {
        let run = run(arguments, &[]);
        assert_eq!((run.code, run.stdout.as_str()), (USAGE, ""), "{arguments:?}");
        assert!(!run.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_embedded_file_is_the_one_in_the_repository() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml");
    assert_eq!(run(&["default-config"], &[]).stdout, std::fs::read_to_string(file).unwrap());
}

#[test]
fn a_section_within_a_section_is_read_from_files_variables_and_flags_alike() {
    let file = ConfigFile::new("[hub.tls]\ncertificate = \"a.pem\"\nkey = \"b.pem\"\n");
    let shown = file.check().effective();
    let place = format!("certificate = \"a.pem\"  # {}", file.path());
    assert_has(&shown, &["\n[hub.tls]\n", &place, "\n[admin.tls]\n# certificate is not set"]);
    let variables = [("SKYNET_HUB__TLS__CERTIFICATE", "a.pem"), ("SKYNET_HUB__TLS__KEY", "b.pem")];
    let shown = check(&[], &variables).effective();
    assert_has(&shown, &["certificate = \"a.pem\"  # SKYNET_HUB__TLS__CERTIFICATE"]);
    let flags = ["--set", "hub.tls.certificate=a.pem", "--set", "hub.tls.key=b.pem"];
    assert_has(&check(&flags, &[]).effective(), &["key = \"b.pem\"  # --set"]);

    for (line, expected) in [
        ("[hub.tls]\ncertificat = \"a\"", "did you mean hub.tls.certificate?"),
        ("[hub.tls]\ncertificate = 5\nkey = [1]", "hub.tls.key"),
        ("[hub]\ntls = 5", "hub.tls"),
        ("[hub.tls.deep]\nx = 1", "is not a setting"),
        ("[hub.tls]\nkey = \"a\"", "is given, and hub.tls.certificate is not; TLS needs both"),
    ] {
        assert_has(&ConfigFile::new(format!("{line}\n")).check().refused(), &[expected]);
    }
}

#[test]
fn listeners_that_do_not_go_with_their_tls_or_their_proxies_are_refused() {
    let unix = ["--set", "admin.listen=unix:/run/admin.sock"];
    let tls = ["--set", "admin.tls.certificate=a", "--set", "admin.tls.key=b"];
    #[cfg(unix)]
    {
        assert_has(&check(&unix, &[]).effective(), &["listen = \"unix:/run/admin.sock\""]);
        let text = check(&[unix, [tls[0], tls[1]], [tls[2], tls[3]]].concat(), &[]).refused();
        assert_has(&text, &["admin.tls.certificate", "Unix socket, which needs no TLS"]);
    }
    let shared = ["--set", "admin.listen=127.0.0.1:4567"];
    let text = check(&[&shared[..], &tls].concat(), &[]).refused();
    assert_has(&text, &["admin.tls.certificate", "which has the certificate of [hub.tls]"]);
    let text = check(&["--set", "hub.listen=unix:/run/hub.sock"], &[]).refused();
    assert_has(&text, &["hub.listen", "write an IP address and a port"]);
    let text = check(&["--set", "hub.proxy_protocol=true"], &[]).refused();
    assert_has(&text, &["hub.proxy_protocol", "list it in hub.trusted_proxies"]);
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_told_whatever_was_asked_for() {
    for asked in ["--version", "--help", "default-config", "man", "openapi"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_skynet"));
        let output = command.arg(asked).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(UNAVAILABLE), "{asked}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_has(&text, &["standard output cannot be written"]);
    }
}
