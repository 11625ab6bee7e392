//! JSON commands read the obvious way: into a tree, and by looking there.
//!
//! Says nothing of what a tree of values cannot hold: lone surrogates, numbers beyond a double,
//! more than 128 levels.

use super::LIMITS;
use crate::protocol::{
    CatchUp, ChannelName, Command, CommandKind, LogSlice, OpenOptions, RefusalReason, Request,
};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::ops::Deref;
use uuid::Uuid;

/// An object as a tree, and its members as they are spelled.
pub(super) struct Object<'a> {
    tree: Map<String, Value>,
    spelled: HashMap<String, &'a RawValue>,
}

impl<'a> Object<'a> {
    /// The object that `text` is; none if it is JSON of another kind.
    ///
    /// # Errors
    /// A tree cannot hold it.
    pub fn read(text: &'a str) -> serde_json::Result<Option<Self>> {
        let Value::Object(tree) = serde_json::from_str(text)? else { return Ok(None) };
        Ok(Some(Self { tree, spelled: serde_json::from_str(text)? }))
    }

    /// A number to the last bit, to which a tree does not keep it.
    fn number(&self, key: &str) -> Option<f64> {
        self.get(key).filter(|value| value.is_number())?;
        self.spelled[key].get().parse().ok()
    }

    /// A channel's name, if the member is one.
    pub fn channel(&self, key: &str) -> Option<ChannelName> {
        let limits = match kind(self) {
            Some(CommandKind::Close) => LIMITS.to_close(),
            _ => LIMITS,
        };
        match self.get(key)? {
            Value::String(text) if text.len() <= limits.max_channel_name_bytes => {
                Some(ChannelName::from_text(text))
            }
            _ => ChannelName::from_number(self.number(key)?),
        }
    }
}

impl Deref for Object<'_> {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.tree
    }
}

/// What kind of command the object is.
pub(super) fn kind(object: &Object) -> Option<CommandKind> {
    let name = object.get("type")?.as_str()?;
    CommandKind::ALL.into_iter().find(|kind| kind.label() == name)
}

/// The event that the object is sent on as, without ID and time.
pub(super) fn event(object: &Object) -> Value {
    let mut event = object.tree.clone();
    let name = object.channel("channel").expect("a message has a channel");
    event.insert("type".into(), "message".into());
    let name = serde_json::from_str(name.as_json()).expect("a name is JSON");
    event.insert("channel".into(), name);
    event.remove("ID");
    event.remove("time");
    Value::Object(event)
}

/// Holds a command that was read against the object.
///
/// # Panics
/// It is not what the object says.
pub(super) fn check(object: &Object, request: &Request) {
    assert_eq!(kind(object), Some(request.command.kind()));
    let name = object.channel("channel");
    match &request.command {
        Command::Open(read, given) => {
            assert_eq!(Some(read), name.as_ref());
            assert_eq!(given.as_deref().copied().unwrap_or_default(), options(object));
        }
        Command::Close(read) => assert_eq!(Some(read), name.as_ref()),
        Command::Message(draft) => assert_eq!(Some(draft.channel()), name.as_ref()),
        Command::Log(slice) => assert_eq!(*slice, log(object)),
        Command::Ping => {}
    }
    let nonce = object.get("nonce").filter(|_| kind(object) != Some(CommandKind::Message));
    let read = request.nonce.as_ref();
    let read = read.map(|nonce| serde_json::from_str(nonce.as_json()).expect("JSON"));
    assert_eq!(nonce.cloned(), read);
}

/// Whether the object gives a reason to refuse it as it was refused.
pub(super) fn explains(object: &Object, reason: &RefusalReason) -> bool {
    match reason {
        RefusalReason::UnknownCommand(_) => kind(object).is_none(),
        RefusalReason::ChannelType { .. }
        | RefusalReason::ChannelName { .. }
        | RefusalReason::ChannelNotFinite => object.channel("channel").is_none(),
        RefusalReason::NonceSize { bytes, limit } => bytes > limit && object.contains_key("nonce"),
        RefusalReason::MessageSize { bytes, limit } => {
            bytes > limit && event(object).to_string().len() <= bytes * 6
        }
        RefusalReason::TooDeep { .. } => depth(object) > 100,
        RefusalReason::LogSlice { key, .. } => {
            object.get(*key).is_some_and(|index| !index.is_number() && !index.is_null())
        }
        RefusalReason::MessageId { key, .. } => {
            object.get(key.trim_matches('"')).is_some_and(|id| !id.is_null() && uuid(id).is_none())
        }
        RefusalReason::CatchUpTwice => given(object, "last") && given(object, "since"),
        RefusalReason::CatchUpLast { .. } => {
            given(object, "last") && object.number("last").is_none_or(|last| last <= -1.0)
        }
        RefusalReason::Batch { .. } => given(object, "batch") && !object["batch"].is_boolean(),
        RefusalReason::Pace { .. } => {
            let within = |pace: f64| (1.0..=1000.0).contains(&pace);
            given(object, "pace") && !object.number("pace").is_some_and(within)
        }
        _ => false,
    }
}

fn given(object: &Object, key: &str) -> bool {
    object.get(key).is_some_and(|value| !value.is_null())
}

fn uuid(value: &Value) -> Option<Uuid> {
    value.as_str().and_then(|text| Uuid::try_parse(text).ok())
}

fn options(object: &Object) -> OpenOptions {
    let since = object.get("since").and_then(uuid).map(CatchUp::Since);
    let last = object.number("last");
    OpenOptions {
        catch_up: since.or(last.map(|last| CatchUp::Last(last as usize))),
        batch: object.get("batch").map(|batch| *batch == true),
        pace: object.get("pace").map(|_| object.number("pace").map(|pace| pace as u16)),
    }
}

fn log(object: &Object) -> LogSlice {
    let index = |key, default| object.number(key).map_or(default, |index| index as i64);
    LogSlice {
        start: index("start", 0),
        end: index("end", 100),
        before: object.get("before").and_then(uuid),
        channel: object.channel("channel").filter(|name| !name.is_wildcard()),
    }
}

fn depth(object: &Object) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(of).max().unwrap_or(0),
            Value::Object(object) => 1 + object.values().map(of).max().unwrap_or(0),
            _ => 0,
        }
    }
    1 + object.values().map(of).max().unwrap_or(0)
}
