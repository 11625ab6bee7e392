//! The real program as a process of its own, and what the system tells about it from outside.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;

use crate::{
    http::{Admin, TOKEN},
    problem::{During, Outcome, Problem, ensure, wait_until},
};

/// Settings of every hub that is started here: the log must hold all of a scene, so that it can be
/// held against what was heard.
const SETTINGS: [(&str, &str); 6] = [
    ("SKYNET_HUB__LISTEN", "127.0.0.1:0"),
    ("SKYNET_ADMIN__LISTEN", "127.0.0.1:0"),
    ("SKYNET_ADMIN__TOKEN", TOKEN),
    ("SKYNET_TELEMETRY__FORMAT", "json"),
    ("SKYNET_MESSAGE_LOG__MAX_MESSAGES", "1000000"),
    ("SKYNET_MESSAGE_LOG__MAX_BYTES", "512MiB"),
];

/// How a hub is started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The program.
    pub program: PathBuf,
    /// Settings as variables of the environment, and any other variable.
    pub settings: Vec<(String, String)>,
    /// A file of settings.
    pub file: Option<PathBuf>,
}

impl Setup {
    /// The program with these settings besides.
    pub fn with(&self, settings: &[(&str, &str)]) -> Setup {
        let more = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let settings = self.settings.iter().cloned().chain(more).collect();
        Setup { settings, ..self.clone() }
    }

    /// The program with this file of settings, over which those of the environment go.
    pub fn reading(&self, file: &Path) -> Setup {
        Setup { file: Some(file.to_owned()), ..self.clone() }
    }
}

/// What the program has said.
type Said = Arc<Mutex<Vec<Value>>>;

/// A running hub; it is killed when it is dropped.
pub struct Server {
    child: Child,
    hub: SocketAddr,
    admin: SocketAddr,
    said: Said,
    log: Option<JoinHandle<()>>,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Resident memory, in KiB.
    pub resident: u64,
}

impl Server {
    /// Starts the program and waits until it says where it listens.
    ///
    /// # Errors
    /// It does not.
    pub async fn start(setup: &Setup) -> Outcome<Server> {
        let mut command = Command::new(&setup.program);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("SKYNET_") {
                command.env_remove(name);
            }
        }
        command
            .args(setup.file.iter().flat_map(|file| [Path::new("--config"), file]))
            .envs(SETTINGS)
            .envs(setup.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().during(setup.program.display())?;
        let stderr = child.stderr.take().ok_or_else(|| Problem("no stderr".into()))?;
        let said = Said::default();
        let written = said.clone();
        // The log is read to its end, so that the program never waits for its reader.
        let log = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                written.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { child, hub: nowhere, admin: nowhere, said, log: Some(log) };
        wait_until("the program says where it listens", async || {
            let ended = server.child.try_wait()?;
            ensure(ended.is_none(), || format!("the program ended: {:?}", server.said(|_| true)))?;
            for line in server.said(|line| line["message"] == "listening") {
                let address = line["address"].as_str().and_then(|address| address.parse().ok());
                match (line["listener"].as_str(), address) {
                    (Some("hub"), Some(address)) => server.hub = address,
                    (Some("admin"), Some(address)) => server.admin = address,
                    _ => {}
                }
            }
            Ok(server.hub.port() != 0 && server.admin.port() != 0)
        })
        .await?;
        Ok(server)
    }

    /// Where computers connect.
    pub fn hub(&self) -> SocketAddr {
        self.hub
    }

    /// Where the owner looks.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// The lines that it has logged so far and that `wanted` says yes to; what is not JSON is a text.
    pub fn said(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().filter(|line| wanted(line)).cloned().collect()
    }

    /// How often it has logged a line with this message.
    pub fn told(&self, message: &str) -> usize {
        self.said(|line| line["message"] == message).len()
    }

    /// Waits until it has logged a line with this message.
    ///
    /// # Errors
    /// It does not.
    pub async fn says(&self, message: &str) -> Outcome {
        wait_until(&format!("the log says {message:?}"), async || Ok(self.told(message) > 0)).await
    }

    /// What it holds at this moment.
    ///
    /// # Errors
    /// It is gone.
    pub fn held(&self) -> Outcome<Held> {
        let id = self.process();
        let count = |folder: &str| -> Outcome<usize> {
            let folder = format!("/proc/{id}/{folder}");
            Ok(fs::read_dir(&folder).during(folder)?.count())
        };
        let (resident, _) = skynet_bench::usage::memory(id)?;
        Ok(Held { descriptors: count("fd")?, threads: count("task")?, resident })
    }

    /// CPU time it has used, in seconds.
    ///
    /// # Errors
    /// It is gone.
    pub fn cpu(&self) -> Outcome<f64> {
        Ok(skynet_bench::usage::Usage::of(self.process())?.seconds())
    }

    fn pid(&self) -> Outcome<Pid> {
        let pid = i32::try_from(self.process()).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| Problem("no process".into()))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The system refuses.
    pub fn signal(&self, signal: Signal) -> Outcome {
        kill_process(self.pid()?, signal).during("a signal")
    }

    /// How many descriptors it may have, as the system sees it now.
    ///
    /// # Errors
    /// The system refuses.
    pub fn allow_descriptors(&self, most: Option<u64>) -> Outcome {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: most.or(maximum), maximum };
        prlimit(Some(self.pid()?), Resource::Nofile, limit).during("the limit of open files")?;
        Ok(())
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// It does not.
    pub async fn exit(&mut self) -> Outcome<ExitStatus> {
        let mut status = None;
        wait_until("the program ends", async || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })
        .await?;
        if let Some(log) = self.log.take() {
            log.join().map_err(|_| Problem("the log cannot be read".into()))?;
        }
        status.ok_or_else(|| Problem("no status".into()))
    }

    /// A connection to the admin listener.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn owner(&self) -> Outcome<Admin> {
        Admin::connect(self.admin).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(log) = self.log.take() {
            let _ = log.join();
        }
    }
}

/// The program beside this one, which is where cargo puts both.
pub fn beside() -> PathBuf {
    let own = env::current_exe().unwrap_or_default();
    own.parent().unwrap_or(Path::new(".")).join("skynet")
}
