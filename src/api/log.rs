//! `/log`: what was said, and how to make it unsaid.

use super::answer::{Answer, Done};
use super::auth::{Owner, Reader};
use super::channel_param::ChannelParam;
use super::log_query::{Found, LogQuery, Slice};
use super::models::{Cleared, LogPage, Message};
use super::paging::{Order, default_limit};
use super::problem::{Problem, failures};
use super::stream::{StreamRequest, Tail};
use super::types::Moment;
use super::{Shared, Tag};
use poem::http::HeaderMap;
use poem_openapi::OpenApi;
use poem_openapi::param::{Header, Path, Query};
use std::sync::Arc;
use uuid::Uuid;

failures!(
    /// What may go wrong when the log is read.
    LogFailure: 400
);
failures!(
    /// What may go wrong with one message.
    MessageFailure: 400, 404
);
failures!(
    /// What may go wrong when a message is removed.
    ForgetFailure: 400, 403, 404
);
failures!(
    /// What may go wrong when the log is cleared.
    ClearFailure: 400, 403
);
failures!(
    /// What may go wrong with a stream.
    StreamFailure: 400, 503
);

fn newest_first() -> Order {
    Order::Desc
}

/// The operations.
pub(super) struct Log(pub Arc<Shared>);

#[OpenApi(tag = "Tag::Log")]
impl Log {
    /// Read the log
    ///
    /// The messages that the filters let through, newest first unless `order=asc`, exactly as
    /// clients see them. `start` and `end` take a slice of those, as the command `log` of the
    /// protocol does: counted from the newest, negative numbers from the oldest. Indices shift as
    /// messages arrive; `before` and `after` do not.
    #[oai(path = "/log", method = "get", operation_id = "readLog")]
    #[allow(clippy::too_many_arguments)] // One for each parameter of the query.
    async fn read(
        &self,
        _reader: Reader,
        /// The first entry of a slice.
        start: Query<Option<i64>>,
        /// The entry after the last one of a slice.
        end: Query<Option<i64>>,
        /// Only messages of these channels; may be given several times.
        #[oai(default, validator(max_items = 16))]
        channel: Query<Vec<ChannelParam>>,
        /// Only messages whose JSON contains this text; the case of ASCII letters does not count.
        #[oai(validator(min_length = 1, max_length = 1024))]
        q: Query<Option<String>>,
        /// Only messages from this time, or this message, on.
        since: Query<Option<Moment>>,
        /// Only messages up to this time, or this message.
        until: Query<Option<Moment>>,
        /// Only messages older than the one with this ID.
        before: Query<Option<Uuid>>,
        /// Only messages newer than the one with this ID.
        after: Query<Option<Uuid>>,
        /// Which come first: `desc`, the newest; `asc`, the oldest.
        #[oai(default = "newest_first")]
        order: Query<Order>,
        /// Most messages of an answer.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<usize>,
    ) -> Result<Answer<LogPage>, LogFailure> {
        let slice = (start.is_some() || end.is_some())
            .then(|| Slice { start: start.0.unwrap_or(0), end: end.0.unwrap_or(i64::MAX) });
        let query = LogQuery {
            channels: channel.0.into_iter().map(|channel| channel.0).collect(),
            text: q.0,
            since: since.0,
            until: until.0,
            before: before.0,
            after: after.0,
            slice,
            oldest_first: order.0 == Order::Asc,
            limit: limit.0,
        };
        let Found { events, more } = query.run(&self.0.hub).await;
        let mut json = br#"{"log":["#.to_vec();
        for (index, event) in events.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            json.extend_from_slice(event.frame.payload());
        }
        json.push(b']');
        if let Some(last) = events.last().filter(|_| more) {
            json.extend_from_slice(format!(r#","next":"{}""#, last.stamp.id).as_bytes());
        }
        json.push(b'}');
        Ok(Answer::spelled(json))
    }

    /// Clear the log
    ///
    /// Removes the messages of a channel or, only if it is said so, all of them. Clients that have
    /// received them keep them.
    #[oai(path = "/log", method = "delete", operation_id = "clearLog")]
    async fn clear(
        &self,
        _owner: Owner,
        /// The channel whose messages are removed.
        channel: Query<Option<ChannelParam>>,
        /// Whether the messages of all channels are.
        #[oai(default)]
        all: Query<bool>,
    ) -> Result<Answer<Cleared>, ClearFailure> {
        let removed = match (channel.0, all.0) {
            (Some(channel), false) => self.0.hub.clear_log(Some(&channel.0)),
            (None, true) => self.0.hub.clear_log(None),
            _ => {
                let detail = "give either this or all=true";
                return Err(Problem::parameter("channel", detail).into());
            }
        };
        Ok(Answer::of(&Cleared { removed: removed as u64 }))
    }

    /// See a message
    ///
    /// Exactly as clients see it.
    #[oai(path = "/log/:id", method = "get", operation_id = "getMessage")]
    async fn get(
        &self,
        _reader: Reader,
        /// The message's ID.
        id: Path<Uuid>,
    ) -> Result<Answer<Message>, MessageFailure> {
        match self.0.hub.logged(id.0) {
            Some(event) => Ok(Answer::spelled(event.frame.payload().to_vec())),
            None => Err(not_logged(id.0).into()),
        }
    }

    /// Remove a message
    ///
    /// From the log; clients that have received it keep it.
    #[oai(path = "/log/:id", method = "delete", operation_id = "deleteMessage")]
    async fn forget(
        &self,
        _owner: Owner,
        /// The message's ID.
        id: Path<Uuid>,
    ) -> Result<Done, ForgetFailure> {
        match self.0.hub.forget(id.0) {
            true => Ok(Done),
            false => Err(not_logged(id.0).into()),
        }
    }

    /// Follow the log
    ///
    /// Every message as it is sent, in the order in which all listeners get them. As Server-Sent
    /// Events: `message` with the message's ID, `gap` where messages have gone from the log before they
    /// were told, `dropped` as the last event of a reader too slow; with
    /// `Accept: application/x-ndjson` one JSON document a line, of the types `message`, `gap` and
    /// `dropped`. A comment, or an empty line, every 15 seconds shows that the connection lives.
    /// At most 64 streams are served at a time.
    #[oai(path = "/log/stream", method = "get", operation_id = "streamLog")]
    #[allow(clippy::too_many_arguments)] // One for each parameter of the query.
    async fn stream(
        &self,
        reader: Reader,
        headers: &HeaderMap,
        /// Only messages of these channels; may be given several times.
        #[oai(default, validator(max_items = 16))]
        channel: Query<Vec<ChannelParam>>,
        /// So many logged messages come first.
        #[oai(default, validator(minimum(value = "0"), maximum(value = "1000")))]
        last: Query<usize>,
        /// The stream ends after so many messages.
        #[oai(validator(minimum(value = "1"), maximum(value = "9007199254740991")))]
        count: Query<Option<u64>>,
        /// The stream ends after so many seconds.
        #[oai(validator(minimum(value = "1"), maximum(value = "31536000")))]
        max_seconds: Query<Option<u64>>,
        /// Instead of `last`: what was logged after the message with this ID comes first.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<Uuid>>,
    ) -> Result<Tail, StreamFailure> {
        let request = StreamRequest {
            channels: channel.0.into_iter().map(|channel| channel.0).collect(),
            last: last.0,
            since: last_event_id.0,
            count: count.0,
            max_seconds: max_seconds.0,
        };
        Ok(Tail::open(&self.0, reader.0, request, headers)?)
    }
}

fn not_logged(id: Uuid) -> Problem {
    Problem::not_found(format!("the log holds no message {id}"))
}
