//! A session to its end: how a connection is closed, what is still sent, and how long an answer is
//! waited for.
//!
//! What a client has received is always a prefix of what it was due, in order; which part of its
//! queue is still sent depends on the reason (`protocol::closing::Farewell`).

use super::session::{BATCHES_PER_TURN, Discarded, End, GOODBYE, Session};
use crate::hub::{Closing, Next};
use crate::protocol::closing::Farewell;
use crate::protocol::{CloseReason, Frame};
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;

/// How long a client may take to read what is still queued for it.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the close frame waits for the pong.
const PONG_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the answer to the close frame is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What is waited for.
#[derive(Clone, Copy, PartialEq)]
enum Goal {
    Sent,
    Pong,
    Answer,
}

/// What ended the waiting before the goal was reached.
#[derive(PartialEq)]
enum Gone {
    /// The peer sent a close frame of its own.
    Closed,
    /// The connection has ended.
    Lost,
}

/// Serves a client until its connection has ended.
pub(super) async fn serve(mut session: Session) {
    let reason = match session.serve().await {
        End::Gone(CloseReason::ClientClosed) => Box::pin(last_replies(&mut session)).await,
        End::Gone(reason) => reason,
        // Rare and long: in a box of its own, so that a session that serves stays small.
        End::PeerClosed(code) => Box::pin(answer(&mut session, code)).await,
        End::Closing(closing) => Box::pin(close(&mut session, closing)).await,
    };
    session.ends(reason);
}

/// Sends a client that has ended its side of the stream the replies to its last commands; it may
/// still be reading, and nothing more is to come from it.
async fn last_replies(session: &mut Session) -> CloseReason {
    let reason = CloseReason::ClientClosed;
    session.hub().close(session.key(), reason, reason.text());
    if timeout(ANSWER_TIMEOUT, poll_fn(|cx| poll_sent(session, cx))).await.is_err() {
        cut(session, reason);
    }
    reason
}

/// Sends what is queued, without a look at what comes.
fn poll_sent(session: &mut Session, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
    session.link.register(cx.waker());
    for _ in 0..BATCHES_PER_TURN {
        match session.poll_write(cx) {
            Ok(true) => {}
            Ok(false) => return Poll::Pending,
            Err(_) => return Poll::Ready(Err(Gone::Lost)),
        }
        match session.hub().wrote(session.key(), 0) {
            Next::Batch(batch) => session.link.send(batch),
            Next::Done => return Poll::Ready(Ok(())),
            Next::Wait => return Poll::Pending,
        };
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Answers a peer's close frame, once the replies to the commands before it are sent.
async fn answer(session: &mut Session, code: Option<u16>) -> CloseReason {
    let reason = CloseReason::ClientClosed;
    session.skim();
    session.hub().close(session.key(), reason, reason.text());
    if timeout(ANSWER_TIMEOUT, reach(session, Goal::Sent)).await.is_err() {
        cut(session, reason);
    }
    session.link.append(&Frame::close(code, ""));
    let _ = timeout(ANSWER_TIMEOUT, reach(session, Goal::Sent)).await;
    reason
}

/// Closes the connection.
async fn close(session: &mut Session, closing: Closing) -> CloseReason {
    session.ends(closing.reason);
    session.skim();
    let last_words = match closing.reason.farewell() {
        Farewell::Cut => {
            cut(session, closing.reason);
            Ok(())
        }
        Farewell::Queue => send_queue(session, closing.reason).await,
        Farewell::QueueThenPing => match send_queue(session, closing.reason).await {
            Ok(()) => ping(session).await,
            gone => gone,
        },
    };
    // Whatever happens on the way, the hub's reason is why the connection ended.
    let goal = match last_words {
        Ok(()) => Goal::Answer,
        Err(Gone::Closed) => Goal::Sent,
        Err(Gone::Lost) => return closing.reason,
    };
    session.link.append(&Frame::close(closing.reason.code(), &closing.text));
    if timeout(ANSWER_TIMEOUT, reach(session, goal)).await.is_err() {
        // A peer that does not answer may not be reading either: a reset gives back at once what
        // the kernel keeps for it.
        let _ = session.link.socket().set_zero_linger();
    }
    closing.reason
}

/// Pings, and waits for the pong as long as the game may need to hand on what it was sent.
async fn ping(session: &mut Session) -> Result<(), Gone> {
    session.link.append(&Frame::ping(GOODBYE));
    timeout(PONG_TIMEOUT, reach(session, Goal::Pong)).await.unwrap_or(Ok(()))
}

/// Sends what is queued; what is not read in time is dropped.
async fn send_queue(session: &mut Session, reason: CloseReason) -> Result<(), Gone> {
    match timeout(QUEUE_TIMEOUT, reach(session, Goal::Sent)).await {
        Ok(reached) => reached,
        Err(_) => {
            cut(session, reason);
            Ok(())
        }
    }
}

fn cut(session: &Session, reason: CloseReason) {
    session.hub().dropped(session.key(), reason, session.link.cut());
}

async fn reach(session: &mut Session, goal: Goal) -> Result<(), Gone> {
    poll_fn(|cx| poll(session, goal, cx)).await
}

fn poll(session: &mut Session, goal: Goal, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
    match poll_sent(session, cx) {
        Poll::Ready(Ok(())) if goal != Goal::Sent => {}
        Poll::Ready(sent) => return Poll::Ready(sent),
        Poll::Pending => {}
    }
    loop {
        match session.discard(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Discarded::Gone) => return Poll::Ready(Err(Gone::Lost)),
            Poll::Ready(Discarded::Pong) if goal == Goal::Pong => return Poll::Ready(Ok(())),
            Poll::Ready(Discarded::Close) if goal == Goal::Answer => return Poll::Ready(Ok(())),
            Poll::Ready(Discarded::Close) => return Poll::Ready(Err(Gone::Closed)),
            Poll::Ready(Discarded::Pong) => {}
        }
    }
}
