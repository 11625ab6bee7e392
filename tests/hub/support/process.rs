//! The real program as a process of its own.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use super::{DEADLINE, json::Json, wait_until};

/// A running hub; it is killed when the test drops it.
pub struct Process {
    child: Child,
    hub: SocketAddr,
    admin: SocketAddr,
    log: Option<JoinHandle<Vec<String>>>,
}

/// The program, told to listen on ports that the system chooses and to log as JSON, with further
/// settings from the environment; what the tests' own environment says about it is left out.
pub fn program(settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skynet"));
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("SKYNET_") {
            command.env_remove(name);
        }
    }
    command
        .env("SKYNET_HUB__LISTEN", "127.0.0.1:0")
        .env("SKYNET_ADMIN__LISTEN", "127.0.0.1:0")
        .env("SKYNET_TELEMETRY__FORMAT", "json")
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

impl Process {
    /// Starts the program and waits until it says where it listens.
    pub fn start(settings: &[(&str, &str)]) -> Process {
        Process::start_with(&[], settings)
    }

    /// Starts the program with arguments, and waits until it says where it listens.
    pub fn start_with(arguments: &[&str], settings: &[(&str, &str)]) -> Process {
        let mut command = program(settings);
        command.args(arguments);
        Process::run(command)
    }

    /// Runs a command that becomes the program, and waits as well.
    pub fn run(mut command: Command) -> Process {
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (tell, told) = mpsc::channel();
        // The log is read to its end, so that the program never waits for its reader.
        let log = thread::spawn(move || {
            let (mut line, mut log) = (String::new(), Vec::new());
            while lines.read_line(&mut line).expect("the log is text") > 0 {
                if let Some(listener) = listening(&line) {
                    let _ = tell.send(listener);
                }
                log.push(std::mem::take(&mut line));
            }
            log
        });
        // Dropped, and so killed, when what follows panics.
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut process = Process { child, hub: nowhere, admin: nowhere, log: Some(log) };
        for _ in ["hub", "admin"] {
            match told.recv_timeout(DEADLINE) {
                // A Unix socket has no address.
                Ok((name, address)) if name == "hub" => process.hub = address.unwrap_or(nowhere),
                Ok((name, address)) if name == "admin" => {
                    process.admin = address.unwrap_or(nowhere);
                }
                other => panic!("the program says where it listens, not {other:?}"),
            }
        }
        process
    }

    /// Where computers connect.
    pub fn hub(&self) -> SocketAddr {
        self.hub
    }

    /// Where the owner looks.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its ID in the system.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.expect("kill runs").success(), "{name} is sent");
    }

    /// Waits until the program has ended by itself.
    pub async fn exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the program has ended", async || {
            status = self.child.try_wait().expect("the program can be waited for");
            status.is_some()
        })
        .await;
        status.expect("the wait was for it")
    }

    /// What a program that has ended has logged; to be asked once.
    pub fn log(&mut self) -> Vec<Json> {
        let log = self.log.take().expect("the log has not been asked for yet");
        let lines = log.join().expect("the log is read to its end");
        let parse = |line: &String| Json::parse(line.trim()).expect("each line of the log is JSON");
        lines.iter().map(parse).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(log) = self.log.take() {
            let _ = log.join();
        }
    }
}

/// The name and address of a line that says where the program listens.
fn listening(line: &str) -> Option<(String, Option<SocketAddr>)> {
    let fields = Json::parse(line.trim()).ok()?;
    let text = |key| fields.get(key).and_then(Json::as_text);
    if text("message")? != "listening" {
        return None;
    }
    Some((text("listener")?, text("address")?.parse().ok()))
}

/// Runs the program to its end and returns its status and what it said.
pub async fn run_to_end(settings: &[(&str, &str)]) -> (ExitStatus, String) {
    let mut child = program(settings).spawn().expect("the program starts");
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let said = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).expect("stderr is text");
        text
    });
    let mut status = None;
    let mut process = KillOnDrop(child);
    wait_until("the program has ended", async || {
        status = process.0.try_wait().expect("the program can be waited for");
        status.is_some()
    })
    .await;
    (status.expect("the wait was for it"), said.join().expect("read"))
}

/// Ends a child process with the test that started it.
pub struct KillOnDrop(pub Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
