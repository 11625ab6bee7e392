//! The body of an answer, which has its time, and is handed out in parts: so that little of it waits in
//! buffers, and its end shows how much of it has been taken.

use super::MAX_HEAD_BYTES;
use super::crowd::Progress;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Most bytes of a part.
const PART_BYTES: usize = 64 * 1024;

/// The body of an answer. Its end, or its being dropped, ends the request.
pub(super) struct Answer<B> {
    body: Pin<Box<B>>,
    /// What is left of a frame of the body.
    rest: Bytes,
    progress: Progress,
    /// How long the next request may take from this one's end on.
    next_within: Duration,
    /// Whether the connection becomes something else, and stays at this request.
    upgraded: bool,
}

impl<B: Body<Data = Bytes, Error = io::Error>> Answer<B> {
    /// The answer of `body`, to be taken within `time` and what `rate`, in bytes a second, gives it.
    /// What has no length comes at times of its own, and limits itself.
    ///
    /// Behind it the next request has its `time`. While some of the answer still waits in buffers no
    /// request is read, and nothing else measures how long; so that has its time too.
    pub fn new(body: B, progress: Progress, time: Duration, rate: u64, upgraded: bool) -> Self {
        if let Some(bytes) = body.size_hint().exact().filter(|_| !upgraded) {
            progress.answered(time + Duration::from_secs(bytes / rate));
        }
        let last_part = body.size_hint().upper().unwrap_or(u64::MAX).min(PART_BYTES as u64);
        let buffered = last_part + MAX_HEAD_BYTES as u64;
        let next_within = time + Duration::from_secs(buffered.div_ceil(rate));
        Self { body: Box::pin(body), rest: Bytes::new(), progress, next_within, upgraded }
    }
}

impl<B: Body<Data = Bytes, Error = io::Error>> Body for Answer<B> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.rest.is_empty() {
            match ready!(self.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let part = self.rest.len().min(PART_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        if !self.upgraded {
            self.progress.done(self.next_within);
        }
    }
}
