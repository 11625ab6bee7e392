//! A client's text read into a command.
//!
//! `fields` finds out whether the text is a JSON object and where its keys and values lie; this
//! module finds out what the client wants. Values that only travel stay text.

use super::channel::{ChannelName, kind_of};
use super::event::{Draft, EVENT_RESERVE_BYTES};
use super::fields::Fields;
use super::json;
use super::kind::CommandKind;
use super::nonce::Nonce;
use super::options::OpenOptions;
use super::refusal::{Refusal, RefusalReason};
use uuid::Uuid;

/// A command, and what its sender wants to know the reply by.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// What the client asks for.
    pub command: Command,
    /// What comes back in the reply. A message has none: all its keys come back.
    pub nonce: Option<Nonce>,
}

impl From<Command> for Request {
    fn from(command: Command) -> Self {
        Self { command, nonce: None }
    }
}

/// What a client asks for.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Listen to a channel; what else is wanted is rare, and so stands apart.
    Open(ChannelName, Option<Box<OpenOptions>>),
    /// Listen to it no more.
    Close(ChannelName),
    /// Send a message; all but its ID and time is ready.
    Message(Draft),
    /// Read a slice of the message log.
    Log(LogSlice),
    /// Say that the hub is there, and what time it has.
    Ping,
}

impl Command {
    /// Which command it is.
    pub fn kind(&self) -> CommandKind {
        match self {
            Self::Open(..) => CommandKind::Open,
            Self::Close(_) => CommandKind::Close,
            Self::Message(_) => CommandKind::Message,
            Self::Log(_) => CommandKind::Log,
            Self::Ping => CommandKind::Ping,
        }
    }
}

/// A slice of the newest-first log, or of the part of it that is older than a message or of one
/// channel, with the meaning of ECMAScript's `Array.prototype.slice`: negative indices count from
/// the oldest end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSlice {
    /// The first entry of the slice.
    pub start: i64,
    /// The entry after the last one of the slice.
    pub end: i64,
    /// Only what is older than the message with this ID. Indices shift as messages arrive; what
    /// is older than a message stays the same.
    pub before: Option<Uuid>,
    /// Only the messages of this channel.
    pub channel: Option<ChannelName>,
}

impl Default for LogSlice {
    fn default() -> Self {
        Self { start: 0, end: 100, before: None, channel: None }
    }
}

/// What bounds a single command.
#[derive(Debug, Clone, Copy)]
pub struct CommandLimits {
    /// Most bytes of UTF-8 in the name of a channel.
    pub max_channel_name_bytes: usize,
    /// Most bytes of JSON in the event of a message.
    pub max_event_bytes: usize,
}

impl CommandLimits {
    /// The limits that leave room for what the hub adds to a message, when no frame that it sends is
    /// larger than `max_message_bytes` (4096 at least).
    pub fn new(max_channel_name_bytes: usize, max_message_bytes: usize) -> Self {
        Self { max_channel_name_bytes, max_event_bytes: max_message_bytes - EVENT_RESERVE_BYTES }
    }

    /// Those for the name of a channel that is to be closed, which may have been opened when longer
    /// ones were allowed: as long as any may be.
    pub(crate) fn to_close(self) -> Self {
        let longest = (self.max_event_bytes + EVENT_RESERVE_BYTES) / MESSAGE_TO_NAME;
        Self { max_channel_name_bytes: longest.max(self.max_channel_name_bytes), ..self }
    }
}

/// Whatever the configuration says, the largest message is so many times as long as the longest name
/// of a channel: a name may grow sixfold in JSON, and an error that holds it is a frame too.
const MESSAGE_TO_NAME: usize = 16;

/// Longest piece of a client's own text that an error repeats, in characters.
pub(super) const MAX_QUOTED: usize = 64;

/// Reads one command.
///
/// # Errors
/// The text is no command; the refusal says why, and names the command where there was one.
pub fn parse(text: &str, limits: CommandLimits) -> Result<Request, Refusal> {
    let fields = Fields::parse(text)?;
    let kind = kind(&fields)?;
    let refuse = |reason, nonce| Refusal { command: Some(kind), nonce, reason };
    // The nonce of a message is a key like any other: it travels.
    let nonce = match fields.get("\"nonce\"").filter(|_| kind != CommandKind::Message) {
        Some(value) => Some(Nonce::from_json(value).map_err(|reason| refuse(reason, None))?),
        None => None,
    };
    match command(kind, &fields, text, limits) {
        Ok(command) => Ok(Request { command, nonce }),
        Err(reason) => Err(refuse(reason, nonce)),
    }
}

fn command(
    kind: CommandKind,
    fields: &Fields,
    text: &str,
    limits: CommandLimits,
) -> Result<Command, RefusalReason> {
    check_depth(text)?;
    Ok(match kind {
        CommandKind::Open => Command::Open(channel(fields, limits)?, OpenOptions::read(fields)?),
        CommandKind::Close => Command::Close(channel(fields, limits.to_close())?),
        CommandKind::Message => Command::Message(message(fields, text.len(), limits)?),
        CommandKind::Log => Command::Log(log(fields, limits)?),
        CommandKind::Ping => Command::Ping,
    })
}

/// Reads a message that needs no `type` to be one: what is called so is ignored, as are `ID` and
/// `time`.
///
/// # Errors
/// The text is no message; the refusal says why.
pub fn parse_message(text: &str, limits: CommandLimits) -> Result<Draft, Refusal> {
    let read = || {
        let fields = Fields::parse(text)?;
        check_depth(text)?;
        message(&fields, text.len(), limits)
    };
    let command = Some(CommandKind::Message);
    read().map_err(|reason| Refusal { command, nonce: None, reason })
}

fn check_depth(text: &str) -> Result<(), RefusalReason> {
    let depth = json::depth(text);
    if depth > json::MAX_DEPTH { Err(RefusalReason::TooDeep { depth }) } else { Ok(()) }
}

fn kind(fields: &Fields) -> Result<CommandKind, RefusalReason> {
    let given = fields.get("\"type\"").unwrap_or("undefined");
    let mut canonical = Vec::with_capacity(given.len());
    json::write_compact(given, &mut canonical);
    let known = |kind: &CommandKind| {
        let inner = canonical.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        inner == Some(kind.label().as_bytes())
    };
    CommandKind::ALL.into_iter().find(known).ok_or_else(|| {
        let spelled = String::from_utf8_lossy(&canonical);
        let inner = spelled.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let given = inner.unwrap_or(&spelled);
        let mut short: String = given.chars().take(MAX_QUOTED).collect();
        if short.len() < given.len() {
            short.push('…');
        }
        RefusalReason::UnknownCommand(short)
    })
}

fn channel(fields: &Fields, limits: CommandLimits) -> Result<ChannelName, RefusalReason> {
    let value = fields.get("\"channel\"").unwrap_or_default();
    ChannelName::from_json(value, limits.max_channel_name_bytes)
}

fn message(fields: &Fields, length: usize, limits: CommandLimits) -> Result<Draft, RefusalReason> {
    let mut draft = Draft::new(channel(fields, limits)?, length);
    for (key, value) in fields.iter() {
        match key {
            // The first three are the server's own; the channel stands there already.
            "\"type\"" | "\"ID\"" | "\"time\"" | "\"channel\"" => {}
            "\"for\"" => draft.set_for(value),
            _ => draft.push(key, value),
        }
    }
    let bytes = draft.event_bytes();
    if bytes > limits.max_event_bytes {
        return Err(RefusalReason::MessageSize { bytes, limit: limits.max_event_bytes });
    }
    Ok(draft)
}

fn log(fields: &Fields, limits: CommandLimits) -> Result<LogSlice, RefusalReason> {
    let index = |key: &'static str, default: i64| {
        let literal = format!("\"{key}\"");
        let value = fields.get(&literal).unwrap_or("null");
        match value.as_bytes().first() {
            Some(b'n') => Ok(default),
            // A cast saturates and cuts toward zero, which is what the protocol asks for.
            Some(b'-' | b'0'..=b'9') => Ok(value.parse::<f64>().map_or(default, |n| n as i64)),
            first => Err(RefusalReason::LogSlice { key, found: kind_of(first.copied()) }),
        }
    };
    let default = LogSlice::default();
    Ok(LogSlice {
        start: index("start", default.start)?,
        end: index("end", default.end)?,
        before: message_id(fields, "\"before\"")?,
        // `*` is every channel here, as it is for those who listen.
        channel: match fields.given("\"channel\"") {
            Some(_) => Some(channel(fields, limits)?).filter(|name| !name.is_wildcard()),
            None => None,
        },
    })
}

/// The ID of a message, if the key (given with its quotes) is there and not null.
pub(super) fn message_id(
    fields: &Fields,
    key: &'static str,
) -> Result<Option<Uuid>, RefusalReason> {
    let Some(value) = fields.given(key) else { return Ok(None) };
    let text = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let id = text.and_then(|text| Uuid::try_parse(text).ok());
    let found = if text.is_some() { "another text" } else { kind_of(value.bytes().next()) };
    id.map(Some).ok_or(RefusalReason::MessageId { key, found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::tests::{buffer_of, event_of};

    const LIMITS: CommandLimits =
        CommandLimits { max_channel_name_bytes: 255, max_event_bytes: 130_048 };

    fn command_of(text: &str) -> Command {
        parse(text, LIMITS).expect("a command").command
    }

    fn refusal(text: &str) -> Refusal {
        parse(text, LIMITS).expect_err("a refusal")
    }

    #[test]
    fn the_last_of_equal_keys_counts_however_it_is_escaped() {
        let text = r#"{"type":"bogus","typ\u0065":"open","channel":"x","channel":7}"#;
        let expected = ChannelName::from_json("7", 255).unwrap();
        assert_eq!(parse(text, LIMITS), Ok(Command::Open(expected, None).into()));
    }

    #[test]
    fn many_equal_keys_among_many_others_leave_one() {
        let mut text = String::from(r#"{"type":"message","channel":1"#);
        for n in 0..100 {
            text += &format!(r#","k{n}":0,"same":{n},"k{n}":1"#);
        }
        text.push('}');
        let Command::Message(draft) = command_of(&text) else { panic!("a message") };
        let event = event_of(draft);
        assert_eq!(event.matches("\"same\":").count(), 1);
        assert!(event.contains("\"same\":99"));
        assert_eq!(event.matches("\"k57\":1").count(), 1);
        assert!(!event.contains("\"k57\":0"));
    }

    #[test]
    fn a_slice_is_cut_toward_zero_and_saturates() {
        let slice = |text| match command_of(text) {
            Command::Log(slice) => (slice.start, slice.end),
            other => panic!("{other:?}"),
        };
        assert_eq!(slice(r#"{"type":"log"}"#), (0, 100));
        assert_eq!(slice(r#"{"type":"log","start":null,"end":null}"#), (0, 100));
        assert_eq!(slice(r#"{"type":"log","start":-1.9,"end":1.7}"#), (-1, 1));
        assert_eq!(slice(r#"{"type":"log","start":-1e300,"end":1e400}"#), (i64::MIN, i64::MAX));
    }

    #[test]
    fn what_is_older_is_asked_for_by_the_id_of_a_message() {
        let before = |value: &str| {
            parse(&format!(r#"{{"type":"log","before":{value}}}"#), LIMITS).map(|request| {
                let Command::Log(slice) = request.command else { panic!("a log command") };
                slice.before.map(|id| id.to_string())
            })
        };
        let id = "01a209bc-c816-70f8-b351-bb0681c57745";
        assert_eq!(before(&format!("\"{id}\"")), Ok(Some(id.to_owned())));
        assert_eq!(before("null"), Ok(None));
        for wrong in ["5", "\"\"", "\"01a209bc\"", "[]"] {
            let refusal = before(wrong).expect_err("a refusal");
            assert!(refusal.reason.to_string().contains("\"before\" must be the ID"), "{wrong}");
        }
    }

    #[test]
    fn a_refusal_names_the_command_where_there_was_one() {
        assert_eq!(refusal(r#"{"type":"open"}"#).command, Some(CommandKind::Open));
        assert_eq!(
            refusal(r#"{"type":"log","start":true}"#),
            Refusal {
                command: Some(CommandKind::Log),
                nonce: None,
                reason: RefusalReason::LogSlice { key: "start", found: "a boolean" },
            }
        );
        for (text, words) in [
            ("[]", "Error: Message must be object"),
            ("null", "Error: Message must be object"),
            ("{}", "Error: No such command undefined"),
            (r#"{"type":null}"#, "Error: No such command null"),
            (r#"{"type":["open"]}"#, "Error: No such command [\"open\"]"),
            ("", "SyntaxError: "),
            ("[1", "SyntaxError: "),
        ] {
            let refusal = refusal(text);
            assert_eq!(refusal.command, None, "{text}");
            assert!(refusal.reason.to_string().starts_with(words), "{text}: {}", refusal.reason);
        }
    }

    #[test]
    fn a_nonce_comes_with_commands_and_refusals_but_not_with_messages() {
        let nonce_of = |text: &str| {
            let nonce = match parse(text, LIMITS) {
                Ok(request) => request.nonce,
                Err(refusal) => refusal.nonce,
            };
            nonce.map(|nonce| nonce.as_json().to_owned())
        };
        let given = Some("[1]".to_owned());
        assert_eq!(nonce_of(r#"{"type":"ping","nonce":[ 1 ]}"#), given);
        assert_eq!(nonce_of(r#"{"type":"open","nonce":[1]}"#), given);
        assert_eq!(nonce_of(r#"{"type":"log","start":{},"nonce":[1]}"#), given);
        assert_eq!(nonce_of(r#"{"type":"message","channel":1,"nonce":[1]}"#), None);
        assert_eq!(nonce_of(r#"{"type":"bogus","nonce":[1]}"#), None);
        let long = format!(r#"{{"type":"ping","nonce":"{}"}}"#, "n".repeat(300));
        assert_eq!(nonce_of(&long), None);
        let reason = RefusalReason::NonceSize { bytes: 302, limit: 256 };
        assert_eq!(refusal(&long).reason, reason);
        let event = event_of(match command_of(r#"{"type":"message","channel":1,"nonce":[1]}"#) {
            Command::Message(draft) => draft,
            other => panic!("{other:?}"),
        });
        assert!(event.contains(r#""nonce":[1]"#), "{event}");
    }

    #[test]
    fn a_log_may_be_that_of_one_channel() {
        let channel = |text| match command_of(text) {
            Command::Log(slice) => slice.channel.map(|name| name.as_json().to_owned()),
            other => panic!("{other:?}"),
        };
        assert_eq!(channel(r#"{"type":"log","channel":5.0}"#), Some("5".to_owned()));
        assert_eq!(channel(r#"{"type":"log","channel":"*"}"#), None);
        assert_eq!(channel(r#"{"type":"log","channel":null}"#), None);
        let wrong = refusal(r#"{"type":"log","channel":[]}"#);
        assert!(matches!(wrong.reason, RefusalReason::ChannelType { .. }));
    }

    #[test]
    fn a_long_command_is_quoted_in_part() {
        let text = format!(r#"{{"type":"{}"}}"#, "é".repeat(5000));
        assert!(refusal(&text).reason.to_string().len() < 400);
    }

    #[test]
    fn nesting_of_128_levels_is_allowed_and_129_is_not() {
        let nested = |levels: usize| {
            let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
            format!(r#"{{"type":"message","channel":1,"message":{open}{close}}}"#)
        };
        assert!(parse(&nested(128), LIMITS).is_ok());
        assert_eq!(refusal(&nested(129)).reason, RefusalReason::TooDeep { depth: 129 });
    }

    #[test]
    fn every_refusal_has_a_label_of_its_own_place() {
        let reason = RefusalReason::RateLimit { per_second: 1, burst: 1 };
        assert_eq!(RefusalReason::LABELS[reason.label_index()], "rate_limit");
    }

    #[test]
    fn an_event_keeps_little_more_than_its_bytes_however_large_the_command_was() {
        let large = "p".repeat(60_000);
        let spellings = [
            format!(r#","message":1{}"#, " ".repeat(360_000)),
            format!(r#","message":1,"ID":"{}""#, large.repeat(6)),
            format!(r#","message":"{large}""#).repeat(5) + r#","message":1"#,
            format!(r#","message":"{}""#, "\\u0041".repeat(60_000)),
            format!(r#","message":"{large}""#),
        ];
        for spelling in spellings {
            let text = format!(r#"{{"type":"message","channel":"x"{spelling}}}"#);
            let Command::Message(draft) = command_of(&text) else { panic!("a message") };
            let (bytes, capacity) = buffer_of(draft);
            let what = &text[..50];
            assert!(capacity <= bytes + bytes / 4 + 256, "{capacity} for {bytes}: {what}");
        }
    }
}
