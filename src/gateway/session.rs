//! One client's session: from the upgrade to the end of its connection.
//!
//! A session reads frames, has their commands carried out, and writes only when its socket was
//! full (see `flusher`). It is one future with little state: bytes are read into a buffer that all
//! sessions of a thread share, and only what is not a whole frame is kept.
//!
//! ```text
//! serving ──peer closed, or connection lost──▶ end
//!    └──the hub closes, or the framing is broken──▶ farewell ──▶ end
//! ```

use super::Shared;
use super::link::{Link, TOO_MUCH_PARTIAL};
use super::rate::{Bucket, Verdict};
use crate::access::AddressPlace;
use crate::hub::{ClientKey, Closing, Hub, Membership, Next, Taken, Written};
use crate::protocol::websocket::{Decoder, Incoming, Violation};
use crate::protocol::{CloseReason, Frame, Refusal, RefusalReason, Request};
use crate::protocol::{cbor, command};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// Bytes read at once, into a buffer that all sessions of a thread share.
const READ_BYTES: usize = 64 * 1024;

/// Reads before the other sessions get a turn.
const READS_PER_TURN: usize = 4;

/// Commands of one read before the other sessions get a turn: whoever floods the hub must not keep
/// it from the others.
const COMMANDS_PER_TURN: usize = 64;

/// Batches that a session writes before the others get a turn. What is caught up on can be the whole
/// log, and its reader as fast as the hub.
pub(super) const BATCHES_PER_TURN: usize = 4;

/// The payload of a farewell's ping; those of other pings have four bytes.
pub(super) const GOODBYE: &[u8] = b"goodbye";

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// A session.
pub(super) struct Session {
    pub(super) link: Arc<Link>,
    decoder: Decoder,
    shared: Arc<Shared>,
    /// Bytes that are not a whole frame yet, or that wait until commands may be read again.
    carry: Vec<u8>,
    /// Whether what is kept waits to be looked at: until the client's queue is shorter, or until
    /// the next turn.
    paused: bool,
    /// Whether nothing more can be made of what comes: the framing was broken, or a close frame was
    /// the last.
    broken: bool,
    bucket: Bucket,
    /// Whether it has sent CBOR, which is then all it is understood in.
    speaks_cbor: bool,
    /// Held while the connection lasts; rare, so that it takes a session little room.
    _place: Option<Box<AddressPlace>>,
    membership: Membership,
}

/// How serving ended.
pub(super) enum End {
    /// The peer sent a close frame with this code, which is to be answered.
    PeerClosed(Option<u16>),
    /// The peer has ended its stream, or the connection broke.
    Gone(CloseReason),
    /// The connection is to be closed.
    Closing(Closing),
}

/// What comes after a turn of reading.
enum Turn {
    /// Another, when the others have had theirs.
    Again,
    /// Nothing, until the socket or the hub has news.
    Wait,
    /// The end.
    End(End),
}

/// What comes after some input.
enum Flow {
    /// More input.
    More,
    /// Nothing until the queue is shorter.
    Pause,
    /// Nothing until the others have had their turn.
    NextTurn,
    /// The end.
    End(End),
}

impl Drop for Session {
    /// Removes the link; only then does the membership end, and the slot may be another client's.
    fn drop(&mut self) {
        self.shared.links.remove(&self.link);
    }
}

impl Session {
    /// A session of the client at `link`. `early` is what was read of the stream behind the
    /// handshake, `place` its place among the clients of its address.
    pub(super) fn new(
        shared: Arc<Shared>,
        link: Arc<Link>,
        membership: Membership,
        early: Vec<u8>,
        place: Option<Box<AddressPlace>>,
    ) -> Self {
        Self {
            decoder: Decoder::new(shared.limits.max_frame_bytes()),
            paused: !early.is_empty(),
            carry: early,
            broken: false,
            speaks_cbor: false,
            bucket: Bucket::new(Instant::now()),
            shared,
            link,
            _place: place,
            membership,
        }
    }

    /// Carries out the client's commands until there are no more to come.
    pub(super) async fn serve(&mut self) -> End {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Says why the session ends.
    pub(super) fn ends(&mut self, reason: CloseReason) {
        self.membership.ends(reason);
    }

    pub(super) fn hub(&self) -> &Hub {
        self.membership.hub()
    }

    pub(super) fn key(&self) -> ClientKey {
        self.link.key()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Some(closing) = self.link.register(cx.waker()) {
            return Poll::Ready(End::Closing(closing));
        }
        // What a lost connection's client has sent before counts all the same: it is read first.
        let lost = self.poll_write(cx).is_err();
        if lost {
            self.hub().lose(self.key());
        }
        match self.poll_read(cx) {
            Turn::End(End::Closing(closing)) => {
                // The client leaves its channels before anything else happens.
                self.hub().close(self.key(), closing.reason, &closing.text);
                Poll::Ready(End::Closing(closing))
            }
            // The failed write has taken the socket's error, so that reading met a mere end.
            Turn::End(End::Gone(_)) if lost => Poll::Ready(End::Gone(CloseReason::ConnectionLost)),
            Turn::End(end) => Poll::Ready(end),
            Turn::Again => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Turn::Wait if lost => Poll::Ready(End::Gone(CloseReason::ConnectionLost)),
            Turn::Wait => Poll::Pending,
        }
    }

    /// Goes on with what the socket did not take, as far as it takes it now. True when nothing is
    /// left to be written by the session.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>) -> io::Result<bool> {
        let (mut left, mut batches) = (self.link.left()?, 0);
        while left > 0 {
            let written = match self.link.socket().poll_write_ready(cx) {
                Poll::Ready(ready) => ready.map(|()| self.link.flush())?,
                Poll::Pending => match self.link.flush_insisting() {
                    Some(written) => written,
                    None => return Ok(false),
                },
            };
            left = bytes_left(written)?;
            while left == 0 {
                batches += 1;
                if batches > BATCHES_PER_TURN {
                    self.hub().hand_over(self.key());
                    return Ok(true);
                }
                match self.hub().wrote(self.key(), 0) {
                    Next::Batch(batch) => left = bytes_left(self.link.send(batch))?,
                    Next::Done | Next::Wait => return Ok(true),
                }
            }
            self.hub().wrote(self.key(), left);
        }
        Ok(true)
    }

    /// One turn of reading: what was kept, then what the socket has.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Turn {
        for _ in 0..READS_PER_TURN {
            // Of the two questions before a read this one needs no lock, and mostly it ends the turn.
            if !self.paused {
                match self.link.socket().poll_read_ready(cx) {
                    Poll::Pending => return Turn::Wait,
                    Poll::Ready(Err(_)) => {
                        return Turn::End(End::Gone(CloseReason::ConnectionLost));
                    }
                    Poll::Ready(Ok(())) => {}
                }
            }
            if !self.hub().may_read(self.key()) {
                self.paused = true;
                return Turn::Wait;
            }
            let flow = if std::mem::take(&mut self.paused) {
                let kept = std::mem::take(&mut self.carry);
                self.take_kept(kept)
            } else {
                self.read()
            };
            match flow {
                Flow::More => {}
                Flow::NextTurn => return Turn::Again,
                Flow::Pause => return Turn::Wait,
                Flow::End(end) => return Turn::End(end),
            }
        }
        Turn::Again
    }

    fn read(&mut self) -> Flow {
        SCRATCH.with_borrow_mut(|scratch| {
            let got = match self.link.read(scratch) {
                Ok(0) => return Flow::End(End::Gone(self.end_of_stream())),
                Ok(got) => got,
                Err(error) if is_transient(&error) => return Flow::More,
                Err(_) => return Flow::End(End::Gone(CloseReason::ConnectionLost)),
            };
            if !self.carry.is_empty() {
                let mut kept = std::mem::take(&mut self.carry);
                // By a quarter at a time, so that what is kept takes little more than it holds.
                if kept.capacity() - kept.len() < got {
                    kept.reserve_exact(got.max(kept.len() / 4));
                }
                kept.extend_from_slice(&scratch[..got]);
                return self.take_kept(kept);
            }
            let (flow, used) = self.take_input(&mut scratch[..got]);
            self.carry.extend_from_slice(&scratch[used..got]);
            self.note_partial();
            flow
        })
    }

    /// What the end of the stream means: in the game, closing a socket ends the stream without a
    /// close frame, so that between frames it is as good as one.
    pub(super) fn end_of_stream(&self) -> CloseReason {
        if self.carry.is_empty() && !self.decoder.is_mid_message() {
            CloseReason::ClientClosed
        } else {
            CloseReason::ConnectionLost
        }
    }

    /// Takes all whole frames of what was kept, and keeps the rest in its place, so that a large
    /// frame that comes in small pieces is not copied for each of them.
    fn take_kept(&mut self, mut kept: Vec<u8>) -> Flow {
        let (flow, used) = self.take_input(&mut kept);
        if used == kept.len() {
            kept = Vec::new();
        } else if used > 0 {
            kept.drain(..used);
            kept.shrink_to_fit();
        }
        self.carry = kept;
        self.note_partial();
        flow
    }

    /// Takes whole frames of `input`; returns how many of its bytes were used.
    fn take_input(&mut self, input: &mut [u8]) -> (Flow, usize) {
        let mut at = 0;
        // A command that makes the hub panic ends this session in order, and no other.
        let flow = catch_unwind(AssertUnwindSafe(|| self.take_frames(input, &mut at)))
            .unwrap_or_else(|_| closing(CloseReason::InternalError));
        self.paused = matches!(flow, Flow::Pause | Flow::NextTurn);
        (flow, at)
    }

    /// Takes note of what is kept of unfinished frames. What is kept of a client that has to wait
    /// is not counted: it has sent it whole, and a queue as long as that costs more of its budget.
    /// Where the queue is shorter, because the client wants a pace or catches up, it is.
    fn note_partial(&self) {
        let kept = self.carry.len();
        let counts = !self.paused || (kept > 0 && self.hub().holds_reading(self.key(), kept));
        let carry = if counts { kept } else { 0 };
        let bytes = carry + self.decoder.kept_bytes();
        for key in self.shared.links.note_partial(&self.link, bytes) {
            self.hub().close(key, CloseReason::FrameTooLarge, TOO_MUCH_PARTIAL);
        }
    }

    /// From here on only a pong and a close frame are looked for: of all else nothing is kept.
    pub(super) fn skim(&mut self) {
        self.decoder.skim();
        // What was kept may hold one of them.
        self.paused = true;
        self.shared.links.note_partial(&self.link, 0);
    }

    fn take_frames(&mut self, input: &mut [u8], at: &mut usize) -> Flow {
        let mut decoder = std::mem::replace(&mut self.decoder, Decoder::new(0));
        let mut taken = 0;
        let flow = loop {
            if taken == COMMANDS_PER_TURN {
                break Flow::NextTurn;
            }
            taken += 1;
            match decoder.next(input, at) {
                Ok(None) => break Flow::More,
                Ok(Some(incoming)) => match self.take(incoming) {
                    Flow::More => {}
                    other => break other,
                },
                Err(violation) => break self.broken(violation),
            }
        };
        self.decoder = decoder;
        flow
    }

    fn broken(&mut self, violation: Violation) -> Flow {
        // Behind a frame that is too large the next one begins where it says.
        self.broken = matches!(violation, Violation::Protocol(_));
        let (reason, text) = (violation.reason(), violation.to_string());
        Flow::End(End::Closing(Closing { reason, text }))
    }

    fn take(&mut self, incoming: Incoming) -> Flow {
        match incoming {
            Incoming::Message { bytes, binary } => self.command(&bytes, binary),
            Incoming::Ping(payload) => self.ping(payload),
            Incoming::Pong(payload) => {
                if let Some(round_trip) = self.hub().pong(self.key(), payload) {
                    self.shared.metrics.ping_round_trip.observe(round_trip.as_secs_f64());
                }
                Flow::More
            }
            Incoming::Close(code) => {
                self.broken = true;
                Flow::End(End::PeerClosed(code))
            }
        }
    }

    fn command(&mut self, bytes: &[u8], binary: bool) -> Flow {
        let received = Instant::now();
        if binary && !self.speaks_cbor && cbor::begins_array(bytes) {
            self.speaks_cbor = true;
            self.hub().speak_cbor(self.key());
        }
        let mut request = self.parse(bytes);
        match self.bucket.take(received, self.shared.limits.rate()) {
            Verdict::Allowed => {}
            Verdict::Refused => request = Err(self.over_rate(request)),
            Verdict::Closed => return closing(CloseReason::RateLimited),
        }
        match self.hub().execute(self.key(), request, bytes.len(), received) {
            Taken::Done => Flow::More,
            // The session is woken by whoever decided to close it.
            Taken::DonePause | Taken::Closing => Flow::Pause,
        }
    }

    fn parse(&self, bytes: &[u8]) -> Result<Request, Refusal> {
        let limits = self.shared.limits.command();
        if self.speaks_cbor {
            return cbor::parse(bytes, limits);
        }
        let text = String::from_utf8_lossy(bytes);
        if matches!(text, std::borrow::Cow::Owned(_)) {
            self.shared.metrics.invalid_utf8.inc();
        }
        command::parse(&text, limits)
    }

    fn over_rate(&self, request: Result<Request, Refusal>) -> Refusal {
        let (command, nonce) = match request {
            Ok(request) => (Some(request.command.kind()), request.nonce),
            Err(refusal) => (refusal.command, refusal.nonce),
        };
        let rate = self.shared.limits.rate();
        let reason = RefusalReason::RateLimit { per_second: rate.per_second, burst: rate.burst };
        Refusal { command, nonce, reason }
    }

    /// Answers a ping. A flood of them is held back like one of commands, by the length of the
    /// queue.
    fn ping(&self, payload: &[u8]) -> Flow {
        self.hub().push_control(self.key(), &Frame::pong(payload));
        if self.hub().may_read(self.key()) { Flow::More } else { Flow::Pause }
    }

    /// Reads and throws away what comes while the connection is being closed; tells of a pong and
    /// of the end.
    pub(super) fn discard(&mut self, cx: &mut Context<'_>) -> Poll<Discarded> {
        for _ in 0..READS_PER_TURN {
            let seen = if std::mem::take(&mut self.paused) {
                self.discard_input(&[])
            } else {
                if ready!(self.link.socket().poll_read_ready(cx)).is_err() {
                    return Poll::Ready(Discarded::Gone);
                }
                SCRATCH.with_borrow_mut(|scratch| match self.link.read(scratch) {
                    Ok(0) => Some(Discarded::Gone),
                    Ok(got) => self.discard_input(&scratch[..got]),
                    Err(error) if is_transient(&error) => None,
                    Err(_) => Some(Discarded::Gone),
                })
            };
            if let Some(seen) = seen {
                return Poll::Ready(seen);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Skims what was kept and `got`; at most a part of a control frame is kept of it. Behind a close
    /// frame nothing counts.
    fn discard_input(&mut self, got: &[u8]) -> Option<Discarded> {
        let mut input = std::mem::take(&mut self.carry);
        if self.broken {
            return None;
        }
        input.extend_from_slice(got);
        let (mut at, mut seen) = (0, None);
        loop {
            match self.decoder.next(&mut input, &mut at) {
                Ok(Some(Incoming::Pong(GOODBYE))) => seen = Some(Discarded::Pong),
                Ok(Some(Incoming::Close(_))) => {
                    self.broken = true;
                    return Some(Discarded::Close);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    self.broken = true;
                    return seen;
                }
            }
        }
        self.carry = input[at..].to_vec();
        seen
    }
}

/// What was seen in input that is thrown away.
pub(super) enum Discarded {
    /// The answer to the last ping.
    Pong,
    /// A close frame.
    Close,
    /// The end of the stream, or of the connection.
    Gone,
}

/// Bytes that a write has left.
fn bytes_left(written: Written) -> io::Result<usize> {
    match written {
        Written::All => Ok(0),
        Written::Left(left) => Ok(left),
        Written::Lost => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

fn closing(reason: CloseReason) -> Flow {
    Flow::End(End::Closing(Closing { reason, text: reason.text().to_owned() }))
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
