//! A computer's events: the values they carry, the queue of 256 that drops in silence, and timers.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex},
    time::{Duration, Instant},
};

/// What the game's queue holds; what comes beyond is dropped and nobody is told.
pub const QUEUE: usize = 256;
/// The game's clock ticks twenty times a second, and timers fire on a tick.
const TICK: Duration = Duration::from_millis(50);

/// A value in an event. Functions do not pass through the queue, handles of the game do.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Nil,
    Bool(bool),
    Number(f64),
    Text(Vec<u8>),
    Table(Vec<(Value, Value)>),
    /// The handle of a websocket, by its number, and its address.
    Socket(u64, String),
    /// The handle of an answer to an HTTP request.
    Answer(u16, Vec<u8>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.as_bytes().to_vec())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Number(number)
    }
}

/// An event: its name and what comes with it.
pub type Event = Vec<Value>;

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    dropped: u64,
    timers: Vec<(Instant, u64)>,
    last_timer: u64,
    stopped: bool,
}

impl State {
    fn push(&mut self, event: Event) {
        if self.events.len() < QUEUE {
            self.events.push_back(event);
        } else {
            self.dropped += 1;
        }
    }

    /// Moves the timers that are due into the queue; when the next one is.
    fn fire(&mut self, now: Instant) -> Option<Instant> {
        self.timers.sort();
        let due = self.timers.iter().take_while(|(at, _)| *at <= now).count();
        for (_, id) in self.timers.drain(..due).collect::<Vec<_>>() {
            self.push(vec!["timer".into(), Value::Number(id as f64)]);
        }
        self.timers.first().map(|(at, _)| *at)
    }
}

/// The queue of one computer.
#[derive(Default)]
pub struct Events {
    state: Mutex<State>,
    changed: Condvar,
}

impl Events {
    /// Puts an event at the end, if there is room.
    pub fn push(&self, event: Event) {
        self.state.lock().expect("no panic under the lock").push(event);
        self.changed.notify_all();
    }

    /// How many events found no room.
    pub fn dropped(&self) -> u64 {
        self.state.lock().expect("no panic under the lock").dropped
    }

    /// Starts a timer; its number.
    pub fn start_timer(&self, seconds: f64) -> u64 {
        let ticks = (seconds.max(0.0) / TICK.as_secs_f64()).round().clamp(1.0, 1e9);
        let mut state = self.state.lock().expect("no panic under the lock");
        state.last_timer += 1;
        let id = state.last_timer;
        state.timers.push((Instant::now() + TICK.mul_f64(ticks), id));
        id
    }

    /// Forgets a timer that has not fired.
    pub fn cancel_timer(&self, id: u64) {
        self.state.lock().expect("no panic under the lock").timers.retain(|(_, one)| *one != id);
    }

    /// Waits for the next event; nothing when the computer is stopped.
    pub fn next(&self) -> Option<Event> {
        let mut state = self.state.lock().expect("no panic under the lock");
        loop {
            if state.stopped {
                return None;
            }
            let now = Instant::now();
            let next = state.fire(now);
            if let Some(event) = state.events.pop_front() {
                return Some(event);
            }
            let wait = next.map_or(Duration::from_secs(1), |at| at - now);
            (state, _) = self.changed.wait_timeout(state, wait).expect("no panic under the lock");
        }
    }

    /// Keeps a slow computer busy until a moment, unless it is stopped.
    pub fn busy_until(&self, moment: Instant) {
        let mut state = self.state.lock().expect("no panic under the lock");
        while !state.stopped && Instant::now() < moment {
            let wait = moment.saturating_duration_since(Instant::now());
            (state, _) = self.changed.wait_timeout(state, wait).expect("no panic under the lock");
        }
    }

    /// Whether the computer is being stopped.
    pub fn is_stopped(&self) -> bool {
        self.state.lock().expect("no panic under the lock").stopped
    }

    /// Ends every wait, now and later.
    pub fn stop(&self) {
        self.state.lock().expect("no panic under the lock").stopped = true;
        self.changed.notify_all();
    }

    /// Empties all, as switching off does.
    pub fn clear(&self) {
        let mut state = self.state.lock().expect("no panic under the lock");
        state.events.clear();
        state.timers.clear();
    }
}
