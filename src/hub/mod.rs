//! The hub: clients, channels, the message log, and what is on its way to whom.
//!
//! Knows the protocol; knows nothing of HTTP or sockets. Every way into it (the websocket gateway,
//! the owner's API) goes through the [`Hub`] handle, so that all behave the same. All methods are
//! synchronous and short; only the handle locks, and no lock outlives a call.
//!
//! - `state`: the policy, without locks, clocks or IO.
//! - `sending`: how what there is to send leaves it; `dealing`, `backlog`, `draw`: what cannot be
//!   sent as it comes, because it is drawn from the log, batched or paced.
//! - `forms`: what clients of each version are sent.
//! - `owner`: what its owner can see and do; `changing`: what can be set anew while it runs.
//! - `rights`: what a client may do, where that is not everything; `patterns`: which channels.
//! - `channels`, `clients`, `log`, `outbox`, `batch`, `bans`, `taps`: its parts.
//! - `stats`: figures; `tally`, `probe`: how sizes and times are counted.
//! - `keepalive`: whether clients live; `pulse`: whether the hub does.

mod backlog;
mod bans;
mod batch;
#[cfg(any(test, fuzzing))]
mod bench;
mod changing;
mod channels;
mod clients;
#[cfg(test)]
mod counting_tests;
mod dealing;
mod draw;
mod forms;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keepalive;
mod log;
#[cfg(any(test, fuzzing))]
mod model;
#[cfg(test)]
mod model_tests;
mod outbox;
mod owner;
mod patterns;
mod probe;
mod pulse;
mod rights;
#[cfg(test)]
mod rights_tests;
mod sending;
mod state;
#[cfg(test)]
mod state_tests;
mod stats;
mod tally;
mod taps;

pub use bans::{Ban, BanTarget, KeptBans, MAX_BANS};
pub use batch::Batch;
#[cfg(any(test, fuzzing))]
pub(crate) use bench::LIMITS;
pub use changing::TOKEN_GONE;
pub use channels::ChannelView;
pub use clients::{
    ClientCounters, ClientInfo, ClientKey, ClientName, ClientSummary, ClientView, Closing,
    Departed, Identity,
};
pub use log::LogView;
pub use owner::{Published, Selection, Tap, Told};
pub use patterns::Patterns;
pub use rights::Rights;
pub use sending::{Job, Next, Written};
pub use state::Taken;
pub use stats::{COMMANDS, ChannelCounts, Source, Stats, Totals};
pub use tally::Tally;
pub use taps::{MAX_TAPS, Tapped};

use crate::protocol::{CloseReason, Frame, Refusal, Request};
use crate::sync::{Mutex, MutexGuard, Notify, PoisonError, timeout_at};
use state::{Receipt, State};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What bounds the hub.
#[derive(Debug, Clone, Copy)]
pub struct HubLimits {
    /// Clients at a time, those in the middle of the handshake included.
    pub max_clients: usize,
    /// Open channels of one client.
    pub max_channels_per_client: usize,
    /// Open channels of all clients together.
    pub total_open_channels: usize,
    /// Bytes of the payload of any frame that the hub sends.
    pub max_message_bytes: usize,
    /// Bytes queued for one client; live events past it close the connection.
    pub max_queue_bytes: usize,
    /// Bytes queued for all clients together; past it the longest queue goes first.
    pub total_queue_bytes: usize,
    /// Messages in the log.
    pub max_log_messages: usize,
    /// Bytes charged to the log.
    pub max_log_bytes: usize,
}

/// A handle on the hub; cheap to clone.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// A mutex that blocks: it is held for microseconds and never across an await.
    state: Mutex<State>,
    doors: Mutex<Doors>,
    /// Wakes the flusher.
    jobs: Notify,
    /// Wakes who waits for the last client to go.
    emptied: Notify,
    /// Wakes who waits for the flusher's turn.
    beat: Notify,
}

/// Who may come in.
#[derive(Debug, Default)]
struct Doors {
    max_clients: usize,
    /// Clients, those in the middle of the handshake included.
    admitted: usize,
    shut: bool,
}

/// Why a client is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAdmitted {
    /// `limits.max_clients` are connected.
    Full,
    /// The hub is stopping.
    Stopping,
}

/// A place in the hub, held for a client in the middle of its handshake. Dropping it gives the
/// place back.
#[derive(Debug)]
pub struct Admission(Hub);

/// A client's membership. Dropping it takes the client out of the hub, whatever ended its session.
#[derive(Debug)]
pub struct Membership {
    admission: Admission,
    key: ClientKey,
    /// Why it will have ended.
    reason: CloseReason,
    on_leave: fn(ClientSummary, CloseReason),
}

impl Hub {
    /// An empty hub.
    pub fn new(limits: HubLimits) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State::new(limits, fastrand::u64(..))),
            doors: Mutex::new(Doors { max_clients: limits.max_clients, ..Doors::default() }),
            jobs: Notify::new(),
            emptied: Notify::new(),
            beat: Notify::new(),
        }))
    }

    /// Holds a place for a client that is about to connect.
    ///
    /// # Errors
    /// The hub is full or stopping.
    pub fn admit(&self) -> Result<Admission, NotAdmitted> {
        let mut doors = lock(&self.0.doors);
        if doors.shut {
            return Err(NotAdmitted::Stopping);
        }
        if doors.admitted >= doors.max_clients {
            return Err(NotAdmitted::Full);
        }
        doors.admitted += 1;
        Ok(Admission(self.clone()))
    }

    /// Whether a command of the client may be read now; if not, the session is told when it may.
    pub fn may_read(&self, key: ClientKey) -> bool {
        self.state().may_read(key)
    }

    /// Speaks the second version of the protocol, CBOR, with a client from now on.
    pub fn speak_cbor(&self, key: ClientKey) {
        self.with_jobs(|state| state.speak_cbor(key));
    }

    /// Whether the client's commands wait although less than `bytes` bytes are queued for it.
    pub fn holds_reading(&self, key: ClientKey, bytes: usize) -> bool {
        let mut state = self.state();
        state.client(key).is_some_and(|c| c.reading_paused && c.outbox.queued() < bytes)
    }

    /// Carries out a command of `bytes` bytes, which was whole at `received`, or refuses it; the
    /// answer is queued either way.
    pub fn execute(
        &self,
        key: ClientKey,
        request: Result<Request, Refusal>,
        bytes: usize,
        received: Instant,
    ) -> Taken {
        let kind = match &request {
            Ok(request) => Some(request.command.kind()),
            Err(refusal) => refusal.command,
        };
        let received = Receipt { unix_ms: unix_ms(), instant: received };
        self.with_jobs(|state| {
            let taken = state.execute(key, request, bytes, received)?;
            state.totals.count_command_time(kind, received.instant.elapsed());
            Some(taken)
        })
        .unwrap_or(Taken::Closing)
    }

    /// Queues a control frame for a client.
    pub fn push_control(&self, key: ClientKey, frame: &Frame) {
        self.with_jobs(|state| state.push_control(key, frame));
    }

    /// Closes a client's connection.
    pub fn close(&self, key: ClientKey, reason: CloseReason, text: &str) {
        self.with_jobs(|state| state.close_client(key, reason, text));
    }

    /// Shuts the doors and closes every connection with `reason`.
    pub fn stop(&self, reason: CloseReason) {
        lock(&self.0.doors).shut = true;
        self.with_jobs(|state| state.close_all(reason));
    }

    /// Waits until no client is left, those in the middle of the handshake included.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.0.emptied.notified();
            if lock(&self.0.doors).admitted == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Whether the hub has begun to stop.
    pub fn is_stopping(&self) -> bool {
        lock(&self.0.doors).shut
    }

    /// Clients connected.
    pub fn client_count(&self) -> usize {
        self.state().client_count()
    }

    /// Waits until there is something to write, or it may be time for it. For the one flusher.
    pub async fn jobs_ready(&self) {
        // The permit of a notification that nobody waits for is kept until the next wait.
        loop {
            let due = {
                let state = self.state();
                if state.has_jobs() {
                    return;
                }
                state.next_due()
            };
            let notified = self.0.jobs.notified();
            match due {
                None => notified.await,
                Some(due) => {
                    if due <= Instant::now() || timeout_at(due, notified).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Takes at most `most` jobs into `jobs`. For the one flusher, which writes them and then
    /// calls [`Self::settle`] before it takes others.
    pub fn take_jobs(&self, jobs: &mut Vec<Job>, most: usize) {
        let mut state = self.state();
        state.take_jobs(jobs, most, Instant::now());
        if std::mem::take(&mut state.pulse_wanted) {
            self.0.beat.notify_waiters();
        }
    }

    /// Clients with something to be written to them now, or a few more.
    pub fn jobs_waiting(&self) -> usize {
        self.state().jobs_waiting()
    }

    /// Reports what became of the jobs; sets which sessions are to be woken. True if there are more
    /// to be taken.
    pub fn settle(&self, jobs: &mut [Job]) -> bool {
        let mut state = self.state();
        state.settle(jobs);
        state.time_probe(Instant::now);
        state.has_jobs()
    }

    /// A session that writes for itself, its socket having been full, reports what is left.
    pub fn wrote(&self, key: ClientKey, left: usize) -> Next {
        let now = Instant::now();
        self.with_jobs(|state| {
            let next = state.wrote(key, left, now);
            state.time_probe(|| now);
            next
        })
    }

    /// A session reports that nothing is left, and leaves what comes to the flusher, so that the
    /// other sessions get a turn.
    pub fn hand_over(&self, key: ClientKey) {
        self.with_jobs(|state| {
            state.hand_over(key);
            state.time_probe(Instant::now);
        });
    }

    /// A session reports that its connection is lost: nothing more can be written.
    pub fn lose(&self, key: ClientKey) {
        self.state().lose(key);
    }

    /// A session reports frames it dropped from a batch it had taken.
    pub fn dropped(&self, key: ClientKey, reason: CloseReason, frames: usize) {
        self.state().dropped(key, reason, frames);
    }

    /// Pings the clients that have not been pinged for `interval`; closes those that are gone.
    /// Returns those whose answer may stand behind what their full sockets still hold: they are
    /// to be written to before the next round, whether or not the system says that they can be.
    pub fn ping_round(&self, interval: Duration) -> Vec<ClientKey> {
        let now = Instant::now();
        self.with_jobs(|state| {
            state.ping_round(interval, now);
            state.silent_and_full()
        })
    }

    /// Takes note of a pong; returns the round trip if it answers the last ping.
    pub fn pong(&self, key: ClientKey, payload: &[u8]) -> Option<Duration> {
        let now = Instant::now();
        self.state().pong(key, payload, now)
    }

    /// Figures of the hub.
    pub fn stats(&self) -> Stats {
        self.state().stats(unix_ms())
    }

    fn with_jobs<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let (had_jobs, due_before) = (state.has_jobs(), state.next_due());
        let result = act(&mut state);
        let due = state.next_due();
        let sooner = due.is_some() && due_before.is_none_or(|before| due < Some(before));
        let wake = !had_jobs && (state.has_jobs() || sooner);
        drop(state);
        if wake {
            self.0.jobs.notify_one();
        }
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

impl Admission {
    /// Whether such a client is banned, and would be closed as soon as it has joined.
    pub fn is_banned(&self, info: &ClientInfo) -> bool {
        self.0.state().bans.find(info, unix_ms()).is_some()
    }

    /// Makes a client of it. `on_leave` is told when the client has gone, and why.
    pub fn join(self, info: ClientInfo, on_leave: fn(ClientSummary, CloseReason)) -> Membership {
        // A client that is banned has something to be sent from the first moment.
        let key = self.0.with_jobs(|state| state.join(info, unix_ms(), Instant::now()));
        // A client whose handshake the hub's stopping has overtaken is closed like the others.
        if self.0.is_stopping() {
            let reason = CloseReason::ServerStopping;
            self.0.close(key, reason, reason.text());
        }
        Membership { admission: self, key, reason: CloseReason::InternalError, on_leave }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut doors = lock(&self.0.0.doors);
        doors.admitted -= 1;
        if doors.admitted == 0 {
            self.0.0.emptied.notify_waiters();
        }
    }
}

impl Membership {
    /// The hub.
    pub fn hub(&self) -> &Hub {
        &self.admission.0
    }

    /// The client's key.
    pub fn key(&self) -> ClientKey {
        self.key
    }

    /// Says why the session ends. One that ends without saying so has failed.
    pub fn ends(&mut self, reason: CloseReason) {
        self.reason = reason;
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let left = self.hub().state().leave(self.key, self.reason, unix_ms());
        if let Some(summary) = left {
            (self.on_leave)(summary, self.reason);
        }
    }
}

/// A panic while the lock was held has ended one session; the others go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
