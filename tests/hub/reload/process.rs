//! The program as a service: signals that have the settings read, and a supervisor that is told.

use std::os::unix::net::UnixDatagram;

use super::Owner;
use crate::{
    api::{Caller, TOKEN, json, problem},
    support::{
        http,
        process::{KillOnDrop, Process, program},
        raw::{PING, PONG, Raw, masked},
        wait_until,
    },
};

/// What a supervisor hears, but for figures of how the hub does.
struct Supervisor(UnixDatagram);

impl Supervisor {
    fn at(owner: &Owner) -> Supervisor {
        let socket = UnixDatagram::bind(owner.path("notify")).expect("a socket");
        socket.set_read_timeout(Some(crate::support::DEADLINE)).expect("a time limit");
        Supervisor(socket)
    }

    fn hears(&self, kind: &str) -> String {
        let mut bytes = [0; 512];
        loop {
            let count = self.0.recv(&mut bytes).expect("the program says something");
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if text.starts_with(kind) {
                return text;
            }
            assert!(text.starts_with("STATUS=") || text == "WATCHDOG=1", "{text}, not {kind}");
        }
    }
}

#[tokio::test]
async fn a_signal_has_the_settings_read_and_the_supervisor_hears_of_all_that_happens() {
    let owner = Owner::new("");
    let supervisor = Supervisor::at(&owner);
    let notify = owner.path("notify");
    owner.put("good.toml", "[limits]\nmax_clients = 7\n");
    std::fs::copy(owner.path("good.toml"), owner.path("skynet.toml")).expect("copied");
    let mut hub = Process::start_with(
        &["--config", owner.path("skynet.toml").to_str().expect("UTF-8")],
        &[
            ("NOTIFY_SOCKET", notify.to_str().expect("UTF-8")),
            ("WATCHDOG_USEC", "200000"),
            ("SKYNET_ADMIN__TOKEN", TOKEN),
        ],
    );
    supervisor.hears("READY=1");
    let status = supervisor.hears("STATUS=");
    assert_eq!(status, "STATUS=0 clients, 0 channels");
    supervisor.hears("WATCHDOG=1");
    let mut client = Raw::connect(hub.hub()).await;
    client.open("1").await;
    for (text, outcome) in [
        ("[limits]\nmax_clients = 9\n", "applied"),
        ("[limits]\nmax_clients = \"many\"\n", "refused"),
    ] {
        owner.put("skynet.toml", text);
        hub.signal("HUP");
        let begins = supervisor.hears("RELOADING=1");
        assert!(begins.contains("\nMONOTONIC_USEC="), "{begins}");
        supervisor.hears("READY=1");
        let labels = [("result", outcome)];
        let name = "skynet_config_reloads_total";
        wait_until(outcome, async || http::metric(hub.admin(), name, &labels).await == 1.0).await;
    }
    let metrics = http::fresh_metrics(hub.admin()).await;
    assert_eq!(http::sample(&metrics, "skynet_config_last_reload_successful", &[]), 0.0);
    assert_eq!(http::sample(&metrics, "skynet_clients_limit", &[]), 9.0);
    client.publish("1", "1").await;
    hub.signal("TERM");
    supervisor.hears("STOPPING=1");
    let ping = client.frame().await;
    assert_eq!(ping.opcode, PING);
    client.write(&masked(PONG, &ping.payload)).await;
    assert_eq!(client.close_code().await, Some(1001));
    assert!(hub.exit().await.success());
    let log = hub.log();
    let said = |text: &str| {
        let lines = log.iter().filter_map(|line| line.get("message").and_then(|m| m.as_text()));
        lines.filter(|line| line.contains(text)).count()
    };
    assert_eq!(said("the settings have been read again"), 1);
    assert_eq!(said("the settings stay as they are: limits.max_clients"), 1);
}

/// The names of a process's threads.
fn threads(id: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        // One that has just ended has no name.
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks.filter_map(name).map(|name| name.trim().to_owned()).collect()
}

#[tokio::test]
async fn no_thread_is_made_after_the_start_so_that_none_can_be_refused() {
    let owner = Owner::new("");
    owner.writes(&format!("[admin]\nbans_file = {:?}\n\n", owner.path("bans.json")));
    let config = owner.path("skynet.toml");
    let arguments = ["--config", config.to_str().expect("UTF-8")];
    // The kernel's own threads are in the list too.
    let mut hub = Process::start_with(&arguments, &[("SKYNET_DELIVERY__IO_URING", "off")]);
    // A thread takes its name itself.
    let names = ["signals", "log", "reload", "bans", "metrics"];
    wait_until("the threads have their names", async || {
        let all = threads(hub.id());
        names.iter().all(|name| all.iter().any(|thread| thread == name))
    })
    .await;
    let before = threads(hub.id());
    let owner = Caller::at(hub.admin(), TOKEN);
    json(&owner.call("POST", "/config/reload").await, 200);
    owner.post("/bans", r#"{"name":"eve"}"#, 201).await;
    http::fresh_metrics(hub.admin()).await;
    assert_eq!(threads(hub.id()), before);
    hub.signal("TERM");
    assert!(hub.exit().await.success());
}

/// Makes a pipe, whose opening waits for somebody at its other end.
pub(super) fn make_pipe(path: &std::path::Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo runs").success(), "the pipe is made");
}

#[tokio::test]
async fn signals_are_heard_while_the_start_hangs_and_the_second_ends_it() {
    let owner = Owner::new("");
    let pipe = owner.path("pipe");
    make_pipe(&pipe);
    let mut command = program(&[]);
    command.args(["--config", pipe.to_str().expect("UTF-8")]);
    let mut hub = KillOnDrop(command.spawn().expect("the program starts"));
    let id = hub.0.id();
    wait_until("it listens for signals", async || threads(id).iter().any(|name| name == "signals"))
        .await;
    for name in ["HUP", "HUP", "TERM", "INT"] {
        let sent = std::process::Command::new("kill").args(["-s", name, &id.to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }
    let mut ended = None;
    wait_until("the program has ended", async || {
        ended = hub.0.try_wait().expect("it can be waited for");
        ended.is_some()
    })
    .await;
    // Two that come at once are heard in any order.
    let code = ended.and_then(|status| status.code());
    assert!(matches!(code, Some(130 | 143)), "{ended:?}");
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_holds_up_no_reload_no_ban_and_not_the_end() {
    let owner = Owner::new("");
    let (token, bans) = (owner.path("read-token"), owner.path("bans.json"));
    owner.put("read-token", "a-token-that-reads-0123456789");
    owner.put("bans.json", "[]");
    let text = format!(
        "[admin]\ntoken = \"{TOKEN}\"\nread_token_file = {token:?}\nbans_file = {bans:?}\n"
    );
    owner.put("skynet.toml", &text);
    let config = owner.path("skynet.toml");
    let mut hub = Process::start_with(&["--config", config.to_str().expect("UTF-8")], &[]);
    let api = Caller::at(hub.admin(), TOKEN);
    for (path, kept) in [(&config, text.as_str()), (&token, "a-token-0123456789"), (&bans, "[]")] {
        std::fs::remove_file(path).expect("it is there");
        make_pipe(path);
        for _ in 0..2 {
            let refused = api.call("POST", "/config/reload").await;
            assert_eq!(refused.status, 409, "{}", refused.body);
            assert!(refused.body.contains("it is not a regular file"), "{}", refused.body);
        }
        std::fs::remove_file(path).expect("it is there");
        std::fs::write(path, kept).expect("written");
        json(&api.call("POST", "/config/reload").await, 200);
    }
    std::fs::remove_file(&bans).expect("it is there");
    make_pipe(&bans);
    assert_eq!(api.call("POST", "/config/reload").await.status, 409);
    // Answered at once, though it cannot be kept.
    let unsaved = api.tell("POST", "/bans", "", r#"{"name":"eve"}"#).await;
    assert_eq!(problem(&unsaved, 500, None), "bans_not_saved");
    assert!(unsaved.body.contains("it is not a regular file"), "{}", unsaved.body);
    hub.signal("TERM");
    assert!(hub.exit().await.success());
}

#[tokio::test]
async fn what_the_limit_on_open_files_lowers_is_shown_as_it_is_in_force() {
    let owner = Owner::new("");
    let config = owner.path("skynet.toml");
    let told = program(&[]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 300; exec \"$0\" --config \"$1\""]);
    command.arg(told.get_program()).arg(&config).stderr(std::process::Stdio::piped());
    command.env("SKYNET_TELEMETRY__FORMAT", "json");
    let hub = Process::run(command);
    let api = Caller::at(hub.admin(), TOKEN);
    let shown = async || {
        let all = api.get("/config").await;
        let all = all["settings"].as_array().expect("a list").clone();
        let is_it = |one: &serde_json::Value| one["setting"] == "limits.max_clients";
        let one = all.into_iter().find(is_it).expect("a known setting");
        (one["value"].clone(), one["source"].clone())
    };
    let lowered = ("44".into(), "the system's limit on open files".into());
    assert_eq!(shown().await, lowered);
    owner.writes("[limits]\nmax_clients = 200\n");
    let report = json(&api.call("POST", "/config/reload").await, 200);
    let none = serde_json::json!([]);
    assert_eq!((&report["changed"], &report["applied"]), (&none, &none));
    assert_eq!(shown().await, lowered);
    owner.writes("[limits]\nmax_clients = 20\n");
    let report = json(&api.call("POST", "/config/reload").await, 200);
    assert_eq!(report["applied"], serde_json::json!(["limits.max_clients"]));
    assert_eq!(shown().await.0, "20");
}
