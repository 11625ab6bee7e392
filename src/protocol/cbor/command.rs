//! A client's bytes read into a command.
//!
//! A command is an array of two: what it is, by name or by index, and what it applies to. The words
//! of the original's errors are kept where programs or people may know them.

use super::event::Source;
use super::maps::Entry;
use super::reader::{Head, Length, Reader};
use super::to_json::{ToJson, latin_1};
use crate::protocol::channel::ChannelName;
use crate::protocol::command::{Command, CommandLimits, MAX_QUOTED, Request};
use crate::protocol::event::Draft;
use crate::protocol::kind::CommandKind;
use crate::protocol::refusal::{Refusal, RefusalReason};

/// The commands of this version, in the order of their indices.
const VARIANTS: [CommandKind; 3] = [CommandKind::Open, CommandKind::Close, CommandKind::Message];

/// Reads one command.
///
/// # Errors
/// The bytes are no command; the refusal says why, and names the command where there was one.
pub fn parse(bytes: &[u8], limits: CommandLimits) -> Result<Request, Refusal> {
    let mut reader = Reader::new(bytes);
    let (kind, left) = begin(&mut reader).map_err(Refusal::from)?;
    let command = match kind {
        CommandKind::Open => channel(&mut reader, limits).map(|name| Command::Open(name, None)),
        CommandKind::Close => channel(&mut reader, limits.to_close()).map(Command::Close),
        _ => message(&mut reader, limits).map(Command::Message),
    };
    command
        .and_then(|command| end(&mut reader, left).map(|()| command.into()))
        .map_err(|reason| Refusal { command: Some(kind), nonce: None, reason })
}

/// Reads the array's head and what the command is; returns how many items are left.
fn begin(reader: &mut Reader) -> Result<(CommandKind, Length), RefusalReason> {
    let mut left = match reader.head()? {
        Head::Array(length) => length,
        other => {
            return Err(wrong(format!(
                "invalid type: {}, expected an array such as [\"open\", \"doors\"]",
                other.kind()
            )));
        }
    };
    due(reader, &mut left)?;
    let kind = match reader.head()? {
        Head::Text(length) => variant(&reader.text(length)?)?,
        Head::Bytes(length) => variant(&latin_1(&reader.byte_string(length)?))?,
        Head::Unsigned(index) => VARIANTS
            .get(usize::try_from(index).unwrap_or(usize::MAX))
            .copied()
            .ok_or_else(|| RefusalReason::UnknownVariant(index.to_string()))?,
        other => {
            return Err(wrong(format!(
                "invalid type: {}, expected variant identifier",
                other.kind()
            )));
        }
    };
    due(reader, &mut left)?;
    Ok((kind, left))
}

fn variant(name: &str) -> Result<CommandKind, RefusalReason> {
    VARIANTS.into_iter().find(|kind| kind.label() == name).ok_or_else(|| {
        let mut short: String = name.chars().take(MAX_QUOTED).collect();
        if short.len() < name.len() {
            short.push('…');
        }
        RefusalReason::UnknownVariant(short)
    })
}

/// Begins one of the two items that a command has.
fn due(reader: &mut Reader, left: &mut Length) -> Result<(), RefusalReason> {
    if reader.more(left) {
        return Ok(());
    }
    Err(wrong("array too short: a command is what to do and what to do it to".into()))
}

/// Reads the end of the array, of which `left` items are left, and of the bytes.
fn end(reader: &mut Reader, mut left: Length) -> Result<(), RefusalReason> {
    if reader.more(&mut left) {
        // What is missing is the break, if nothing is there.
        reader.head()?;
        return Err(wrong("array too long: a command has two items".into()));
    }
    if !reader.rest().is_empty() {
        return Err(reader.wrong("trailing data"));
    }
    Ok(())
}

fn channel(reader: &mut Reader, limits: CommandLimits) -> Result<ChannelName, RefusalReason> {
    let named = |text: &str| {
        let (bytes, limit) = (text.len(), limits.max_channel_name_bytes);
        if bytes > limit {
            return Err(RefusalReason::ChannelName { bytes, limit });
        }
        Ok(ChannelName::from_text(text))
    };
    let head = reader.head()?;
    match head {
        Head::Text(length) => named(&reader.text(length)?),
        Head::Bytes(length) => named(&latin_1(&reader.byte_string(length)?)),
        _ => match head.number() {
            Some(number) => ChannelName::from_number(number).ok_or(RefusalReason::ChannelNotFinite),
            None => Err(RefusalReason::ChannelType { found: head.kind() }),
        },
    }
}

/// What a key of a message means.
enum Key {
    Channel,
    Message,
    /// The sender's own `for`, which stands apart in a draft.
    For,
    /// What the hub itself says in an event in JSON.
    OfTheHub,
    Other,
}

/// Reads the map of a message. The event in JSON is made of it at once, whoever is to get it: the
/// log keeps that, and it decides whether the message is too large.
fn message(reader: &mut Reader, limits: CommandLimits) -> Result<Draft, RefusalReason> {
    let source = reader.rest();
    let mut left = match reader.head()? {
        Head::Map(length) => length,
        other => {
            let found = other.kind();
            return Err(wrong(format!(
                "invalid type: {found}, expected a map with `channel` and `message`"
            )));
        }
    };
    let mut json = ToJson::new(reader.clone(), source.len() + source.len() / 4);
    let (mut name, mut has_message, mut sender_for) = (None, false, None);
    while json.reader.more(&mut left) {
        let start = json.place();
        json.out.push(b',');
        json.key(1)?;
        let key_end = json.out.len();
        let key = match &json.out[start.out + 1..] {
            br#""channel""# => Key::Channel,
            br#""message""# => Key::Message,
            br#""for""# => Key::For,
            br#""type""# | br#""ID""# | br#""time""# => Key::OfTheHub,
            _ => Key::Other,
        };
        if matches!(key, Key::Channel) {
            json.forget(start);
            if name.replace(channel(&mut json.reader, limits)?).is_some() {
                return Err(wrong("duplicate field `channel`".into()));
            }
            continue;
        }
        json.out.push(b':');
        json.value(2)?;
        match key {
            Key::For => sender_for = Some(json.cut(start)),
            Key::OfTheHub => json.forget(start),
            Key::Message if std::mem::replace(&mut has_message, true) => {
                return Err(wrong("duplicate field `message`".into()));
            }
            _ => json.note_entry(Entry { start: start.out, key_end }),
        }
    }
    json.override_earlier(0);
    *reader = json.reader.clone();
    let name = name.ok_or_else(|| wrong("missing field `channel`".into()))?;
    if !has_message {
        return Err(wrong("missing field `message`".into()));
    }
    let mut draft = Draft::new(name, json.out.len());
    for fields in json.kept() {
        draft.push_written(fields);
    }
    if let Some(field) = sender_for {
        draft.set_written_for(field);
    }
    let bytes = draft.event_bytes();
    if bytes > limits.max_event_bytes {
        return Err(RefusalReason::MessageSize { bytes, limit: limits.max_event_bytes });
    }
    draft.set_cbor(Source::new(&source[..source.len() - reader.rest().len()], bytes)?);
    Ok(draft)
}

fn wrong(words: String) -> RefusalReason {
    RefusalReason::Cbor(words)
}
