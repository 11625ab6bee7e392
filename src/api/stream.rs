//! `/log/stream`: the log as it grows, for a reader that is no client.
//!
//! A task of its own moves messages from the hub's tap to the answer's body. A reader that takes
//! nothing fills that channel, then its tap; the hub waits for neither. When the reader has been
//! too slow, or has taken nothing for a while, the last thing it gets is `dropped`, for which room
//! is kept from the beginning.

use super::Shared;
use super::auth::{Access, Grant};
use super::problem::{Code, Problem};
use crate::hub::{MAX_TAPS, Tap, Told};
use crate::protocol::{ChannelName, Event};
use bytes::Bytes;
use futures_util::stream;
use poem::http::{HeaderMap, StatusCode, header};
use poem::{Body, IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{
    MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use serde_json::Value;
use std::collections::HashSet;
use std::future::pending;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use uuid::Uuid;

/// How often a reader is shown that the connection lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a reader may take nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// About how many bytes are handed on at a time.
const CHUNK_BYTES: usize = 64 * 1024;

const EVENT_STREAM: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";

/// What a reader asks for.
#[derive(Debug)]
pub(super) struct StreamRequest {
    /// All, if none is named.
    pub channels: HashSet<ChannelName>,
    pub last: usize,
    pub since: Option<Uuid>,
    pub count: Option<u64>,
    pub max_seconds: Option<u64>,
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    ServerSentEvents,
    Lines,
}

/// A stream of the log.
#[derive(Debug)]
pub(super) struct Tail {
    format: Format,
    body: mpsc::Receiver<Bytes>,
}

impl Tail {
    /// Begins to follow the log.
    pub fn open(
        shared: &Shared,
        grant: Grant,
        request: StreamRequest,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        if shared.hub.is_stopping() {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Err(Problem::new(status, Code::Stopping, "the hub is stopping"));
        }
        let format = Format::wanted(headers);
        let StreamRequest { channels, last, since, count, max_seconds } = request;
        let tapped = shared.hub.tap(channels, last, since);
        let Some((tap, gap)) = tapped else {
            let detail = format!("{MAX_TAPS} streams are being read, the most there may be");
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Err(Problem::new(status, Code::TooManyStreams, detail));
        };
        // One place for what comes, one for the last word.
        let (sender, body) = mpsc::channel(2);
        let Ok(last_word) = sender.clone().try_reserve_owned() else {
            return Err(Problem::internal());
        };
        let pump = Pump { tap, format, text: Vec::new(), left: count, after: since, sender };
        let ends = Ends {
            access: shared.access.clone(),
            grant,
            stopping: shared.stopping.clone(),
            deadline: max_seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
            reader: pump.sender.clone(),
        };
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = pump.run(gap) => ended,
                () = ends.wait() => End::Asked,
            };
            if ended == End::TooSlow {
                last_word.send(format.dropped());
            }
        });
        Ok(Self { format, body })
    }
}

/// Why a stream ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The reader has had what it asked for or has gone, or nothing more may be told.
    Asked,
    /// The reader was too slow.
    TooSlow,
}

/// What ends a stream from outside.
struct Ends {
    access: Access,
    grant: Grant,
    stopping: watch::Receiver<bool>,
    deadline: Option<Instant>,
    reader: mpsc::Sender<Bytes>,
}

impl Ends {
    async fn wait(mut self) {
        let deadline = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = deadline => {}
            // An error means that nobody is left who could stop it, which is as good.
            _ = self.stopping.wait_for(|&stopping| stopping) => {}
            () = self.access.revoked(&self.grant) => {}
            () = self.reader.closed() => {}
        }
    }
}

/// Moves messages from the tap to the answer.
struct Pump {
    tap: Tap,
    format: Format,
    /// Written and not handed on.
    text: Vec<u8>,
    /// Messages still to be told, if they are counted.
    left: Option<u64>,
    /// The last message that the reader has, unless it has been told that some are missing after it.
    after: Option<Uuid>,
    sender: mpsc::Sender<Bytes>,
}

impl Pump {
    async fn run(mut self, gap: bool) -> End {
        // At once, so that a reader sees that it is heard.
        self.format.heartbeat(&mut self.text);
        if gap {
            self.tell_gap();
        }
        loop {
            let logged = self.tap.backlog(CHUNK_BYTES);
            let was_last = logged.is_empty();
            if let Err(end) = self.tell(logged).await {
                return end;
            }
            if was_last {
                break;
            }
        }
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        loop {
            let told = tokio::select! {
                tapped = self.tap.next() => {
                    let told = self.tell(tapped.events.into_iter().map(Told::Event)).await;
                    if tapped.dropped { Err(End::TooSlow) } else { told }
                }
                _ = heartbeat.tick() => {
                    self.format.heartbeat(&mut self.text);
                    self.flush().await
                }
            };
            if let Err(end) = told {
                return end;
            }
        }
    }

    async fn tell(&mut self, what: impl IntoIterator<Item = Told>) -> Result<(), End> {
        for told in what {
            if self.left == Some(0) {
                break;
            }
            match told {
                Told::Event(event) => {
                    self.format.message(&event, &mut self.text);
                    self.after = Some(event.stamp.id);
                    self.left = self.left.map(|left| left - 1);
                }
                Told::Gap => self.tell_gap(),
            }
            if self.text.len() >= CHUNK_BYTES {
                self.flush().await?;
            }
        }
        self.flush().await?;
        if self.left == Some(0) { Err(End::Asked) } else { Ok(()) }
    }

    /// Says that messages are missing, once for all that follow the same one. Before the first nobody
    /// misses any: `last` messages are as many as the log still has.
    fn tell_gap(&mut self) {
        if let Some(after) = self.after.take() {
            self.format.gap(after, &mut self.text);
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.text.is_empty() {
            return Ok(());
        }
        // Without the room that it was given to grow: it may wait long.
        let chunk = Bytes::from(std::mem::take(&mut self.text).into_boxed_slice());
        match timeout(PATIENCE, self.sender.send(chunk)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Asked),
            Err(_) => Err(End::TooSlow),
        }
    }
}

impl Format {
    /// What the reader accepts; of two, what it names first.
    fn wanted(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
        let types = lines.flat_map(|line| line.split(','));
        let mut known = types.filter_map(|entry| {
            let name = entry.split(';').next()?.trim();
            let matches = |known: &str| name.eq_ignore_ascii_case(known);
            if matches(EVENT_STREAM) {
                Some(Self::ServerSentEvents)
            } else if matches(NDJSON) || matches("application/jsonl") {
                Some(Self::Lines)
            } else {
                None
            }
        });
        known.next().unwrap_or(Self::ServerSentEvents)
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::ServerSentEvents => EVENT_STREAM,
            Self::Lines => NDJSON,
        }
    }

    fn message(self, event: &Event, out: &mut Vec<u8>) {
        if self == Self::ServerSentEvents {
            let head = format!("id: {}\nevent: message\ndata: ", event.stamp.id);
            out.extend_from_slice(head.as_bytes());
        }
        // Compact JSON: it has no line breaks.
        out.extend_from_slice(event.frame.payload());
        out.extend_from_slice(self.end());
    }

    fn gap(self, after: Uuid, out: &mut Vec<u8>) {
        if self == Self::ServerSentEvents {
            out.extend_from_slice(b"event: gap\ndata: ");
        }
        out.extend_from_slice(format!(r#"{{"type":"gap","after":"{after}"}}"#).as_bytes());
        out.extend_from_slice(self.end());
    }

    fn dropped(self) -> Bytes {
        match self {
            Self::ServerSentEvents => {
                Bytes::from_static(b"event: dropped\ndata: {\"type\":\"dropped\"}\n\n")
            }
            Self::Lines => Bytes::from_static(b"{\"type\":\"dropped\"}\n"),
        }
    }

    fn heartbeat(self, out: &mut Vec<u8>) {
        match self {
            Self::ServerSentEvents => out.extend_from_slice(b":\n\n"),
            Self::Lines => out.push(b'\n'),
        }
    }

    fn end(self) -> &'static [u8] {
        match self {
            Self::ServerSentEvents => b"\n\n",
            Self::Lines => b"\n",
        }
    }
}

impl IntoResponse for Tail {
    fn into_response(self) -> Response {
        let chunks = stream::unfold(self.body, |mut body| async {
            let chunk = body.recv().await?;
            Some((Ok::<_, std::io::Error>(chunk), body))
        });
        Response::builder()
            .content_type(self.format.content_type())
            // For proxies that would hold back what is to be seen at once.
            .header("X-Accel-Buffering", "no")
            .body(Body::from_bytes_stream(chunks))
    }
}

impl ApiResponse for Tail {
    fn meta() -> MetaResponses {
        let inline = |schema| MetaSchemaRef::Inline(Box::new(schema));
        let text = |description| MetaSchema {
            description: Some(description),
            ..MetaSchema::new("string")
        };
        let kinds = ["message", "gap", "dropped"].map(Value::from).to_vec();
        let event = MetaSchema {
            description: Some("An event."),
            required: vec!["event", "data"],
            properties: vec![
                ("id", inline(text("The message's ID."))),
                ("event", inline(MetaSchema { enum_items: kinds, ..text("What it is.") })),
                ("data", inline(text("The message, as clients see it."))),
            ],
            ..MetaSchema::new("object")
        };
        let lines = text("One JSON document a line.");
        let content = [(EVENT_STREAM, event), (NDJSON, lines)]
            .map(|(content_type, schema)| MetaMediaType { content_type, schema: inline(schema) });
        let response = MetaResponse {
            description: "The messages, as they are sent.",
            status: Some(200),
            status_range: None,
            content: content.into(),
            headers: vec![],
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(_: &mut Registry) {}
}
