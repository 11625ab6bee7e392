//! A stand-in for a computer of the game, written from the documentation of CC: Tweaked.
//!
//! It has what a program of ours can meet: the queue of 256 events, timers, websockets and HTTP
//! with the game's limits and habits, files that outlive a reboot, a terminal, and the APIs of
//! `rom/` on Lua 5.2. The Lua runs on a thread of its own, in real time. It has no world: no
//! blocks, no turtles, no redstone, no peripherals but those that a program brings.

pub mod events;
mod lua;
pub mod net;
pub mod screen;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::mpsc::UnboundedSender, time::interval};

use crate::support::DEADLINE;
use events::{Event, Events};
use net::Outgoing;
use screen::Screen;

/// How text passes between Lua's bytes and websocket text frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Text {
    /// From CC: Tweaked 1.109 on: the bytes are UTF-8, and what is not becomes U+FFFD.
    Utf8,
    /// Before: each byte is a character of Latin-1, and what is beyond it becomes `?`.
    Latin1,
}

impl Text {
    fn sent(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Text::Utf8 => String::from_utf8_lossy(bytes).into_owned().into_bytes(),
            Text::Latin1 => {
                bytes.iter().map(|&byte| char::from(byte)).collect::<String>().into_bytes()
            }
        }
    }

    fn received(self, bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Text::Utf8 => bytes,
            Text::Latin1 => {
                let text = String::from_utf8_lossy(&bytes);
                text.chars().map(|one| u8::try_from(u32::from(one)).unwrap_or(b'?')).collect()
            }
        }
    }
}

/// What a computer is, and what the server's owner allows it.
#[derive(Clone, Debug)]
pub struct Options {
    pub id: u32,
    pub label: Option<String>,
    /// Private addresses that it may reach.
    pub allowed: Vec<(String, u16)>,
    pub text: Text,
    pub largest_frame: usize,
    pub max_sockets: usize,
    /// How many events a slow computer handles; without it, as many as it can.
    pub events_per_second: Option<u32>,
    /// How long a program may go on without yielding.
    pub patience: Duration,
    /// CC: Tweaked of today, or its first releases for Minecraft 1.12.
    pub modern: bool,
}

impl Options {
    /// A computer that may reach a hub.
    pub fn beside(hub: SocketAddr) -> Options {
        Options {
            id: 1,
            label: None,
            allowed: vec![(hub.ip().to_string(), hub.port())],
            text: Text::Utf8,
            largest_frame: 131_072,
            max_sockets: 4,
            events_per_second: None,
            patience: Duration::from_secs(7),
            modern: true,
        }
    }

    /// The same with another number.
    pub fn with_id(mut self, id: u32) -> Options {
        self.id = id;
        self
    }
}

/// What the computer's thread, its network tasks and the test share.
pub struct Shared {
    pub events: Events,
    pub options: Options,
    pub screen: Mutex<Screen>,
    pub files: Mutex<BTreeMap<String, Vec<u8>>>,
    sockets: Mutex<HashMap<u64, UnboundedSender<Outgoing>>>,
    /// How programs ended: one entry for each, an error's text or nothing.
    endings: Mutex<Vec<Option<String>>>,
    runtime: Handle,
}

impl Shared {
    fn forget_socket(&self, id: u64) {
        self.sockets.lock().expect("no panic under the lock").remove(&id);
    }
}

/// A computer that runs until it is dropped.
pub struct Computer {
    pub shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Computer {
    /// Switches a computer on that has some files, and types a command into its shell.
    pub fn start(options: Options, files: &[(&str, &str)], command: &str) -> Computer {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
        let shared = Arc::new(Shared {
            events: Events::default(),
            options,
            screen: Mutex::default(),
            files: Mutex::new(files.collect()),
            sockets: Mutex::default(),
            endings: Mutex::default(),
            runtime: Handle::current(),
        });
        let (lent, command) = (shared.clone(), command.to_owned());
        let thread = std::thread::spawn(move || lua::run(&lent, &command));
        Computer { shared, thread: Some(thread) }
    }

    /// A computer beside a hub, with the library as `skynet.lua` and a program that it runs.
    pub fn running(options: Options, program: &str) -> Computer {
        let port = options.allowed.first().map_or(4567, |(_, port)| *port);
        let server = format!("settings.set('skynet.server', 'ws://127.0.0.1:{port}/connect/')\n");
        let program = format!("{server}{program}");
        let files = [("skynet.lua", LIBRARY), ("program.lua", program.as_str())];
        Computer::start(options, &files, "program")
    }

    /// All that was printed so far.
    pub fn printed(&self) -> String {
        let screen = self.shared.screen.lock().expect("no panic under the lock");
        String::from_utf8_lossy(&screen.transcript).into_owned()
    }

    /// What stands on the screen.
    pub fn screen(&self) -> String {
        self.shared.screen.lock().expect("no panic under the lock").text()
    }

    /// The paths of its files.
    pub fn files(&self) -> Vec<String> {
        let files = self.shared.files.lock().expect("no panic under the lock");
        files.keys().cloned().collect()
    }

    /// Waits until some text was printed.
    pub async fn prints(&self, text: &str) {
        self.until(&format!("it prints {text:?}"), || self.printed().contains(text)).await;
    }

    /// Waits until the program has ended; how it did.
    pub async fn ends(&self) -> Result<(), String> {
        let endings = || self.shared.endings.lock().expect("no panic under the lock").clone();
        self.until("its program ends", || !endings().is_empty()).await;
        endings().pop().flatten().map_or(Ok(()), Err)
    }

    /// Waits until a condition holds; panics with what was printed when it does not in time.
    pub async fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let mut again = interval(Duration::from_millis(5));
        let deadline = Instant::now() + DEADLINE;
        while !condition() {
            let id = self.shared.options.id;
            let late = Instant::now() > deadline;
            assert!(
                !late,
                "computer {id}: waited in vain until {what}; printed:\n{}",
                self.printed()
            );
            again.tick().await;
        }
    }

    /// Waits until the program has ended without an error; what it printed.
    pub async fn succeeds(&self) -> String {
        let ending = self.ends().await;
        let printed = self.printed();
        assert_eq!(ending, Ok(()), "the program ends well; it printed:\n{printed}");
        printed
    }

    /// Puts an event into its queue.
    pub fn queue(&self, event: Event) {
        self.shared.events.push(event);
    }

    /// Types a line.
    pub fn types(&self, line: &str) {
        for one in line.chars() {
            self.queue(vec!["char".into(), one.to_string().as_str().into()]);
        }
        self.queue(vec!["key".into(), 28.0.into(), events::Value::Bool(false)]);
    }

    /// Switches it off and on: the same files and settings, nothing else; another command is typed.
    pub fn reboot(mut self, command: &str) -> Computer {
        let files = self.shared.files.lock().expect("no panic under the lock").clone();
        let options = self.shared.options.clone();
        self.switch_off();
        let files = files.iter().map(|(path, bytes)| {
            (path.as_str(), std::str::from_utf8(bytes).expect("the files of tests are text"))
        });
        Computer::start(options, &files.collect::<Vec<_>>(), command)
    }

    fn switch_off(&mut self) {
        self.shared.events.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the computer's thread is the test's.
            if let Err(panic) = thread.join()
                && !std::thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
        self.shared.sockets.lock().expect("no panic under the lock").clear();
    }
}

impl Drop for Computer {
    fn drop(&mut self) {
        self.switch_off();
    }
}

/// The library under test.
pub const LIBRARY: &str = include_str!("../../../lua/skynet.lua");
