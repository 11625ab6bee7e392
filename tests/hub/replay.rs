//! Recorded conversations, replayed: what the original server answered, and what the decisions
//! page settled since, in the same format. One case a line, each on a fresh app: `send` as
//! [connection, raw frame] in order, `recv` as [connection, reply].
//!
//! In a frame to send, `!binary HEX` is a binary frame and `!text HEX` a text frame of those
//! bytes. In a reply, `<idN>` stands for an ID and `<time>` for a time; an error given as a list
//! must contain each of its parts; a third element gives raw spellings of top-level keys.

use std::collections::{BTreeMap, HashMap};

use futures_util::{StreamExt, stream};
use tokio::task::{LocalSet, spawn_local};

use crate::support::{
    config,
    json::{self, Json},
    raw::{BINARY, Raw, TEXT, masked, parsed, upgrade},
    with_app,
};

const RECORDED: &str = include_str!("../reference/skynet-v1.jsonl");
const DECISIONS: &str = include_str!("../reference/decisions.jsonl");

/// What the hub answers where the decisions page overrides the record.
enum Decided {
    /// To the last command, on its connection.
    Answer(&'static str),
    /// To the handshake.
    Status(u16),
}

const ERROR: Decided = Decided::Answer(r#"{"type":"error","error":""}"#);
const NO_ENTRIES: Decided = Decided::Answer(r#"{"type":"result","for":"log","log":[]}"#);
const TOO_LONG: Decided = Decided::Answer(r#"{"type":"error","error":["255","300"]}"#);

/// The recorded cases that the decisions page overrides, and why.
const OVERRIDDEN: &[(&str, &str, Decided)] = &[
    ("open long string", "a name over the limit is refused", TOO_LONG),
    ("log end 0", "`end: 0` is an empty slice", NO_ENTRIES),
    ("log start true", "`start` is an integer; the original coerced", ERROR),
    ("log end false", "`end` is an integer; the original coerced", ERROR),
    ("log end ''", "`end` is an integer; the original coerced", ERROR),
    ("log end object", "`end` is an integer; the original coerced", ERROR),
    ("log end [2]", "`end` is an integer; the original coerced", ERROR),
    ("type constructor", "an unknown command; the original fell silent", ERROR),
    ("type toString", "an unknown command; the original fell silent", ERROR),
    ("path /peer", "every other path is refused at the handshake", Decided::Status(404)),
    ("path /connect/x", "every other path is refused at the handshake", Decided::Status(404)),
];

struct Case {
    name: String,
    path: String,
    send: Vec<(String, String)>,
    recv: Vec<(String, Json, Option<Json>)>,
}

impl Case {
    fn parse(line: &str) -> Case {
        let case = Json::parse(line).unwrap_or_else(|wrong| panic!("a case is JSON: {wrong}"));
        let pair = |entry: &Json| {
            let entry = entry.as_array().expect("a pair").to_vec();
            let connection = entry[0].as_text().expect("a connection has a name");
            (connection, entry[1].clone(), entry.get(2).cloned())
        };
        let send = case.array_of("send").iter().map(|entry| {
            let (connection, frame, _) = pair(entry);
            (connection, frame.as_text().expect("a frame is a text"))
        });
        Case {
            name: case.text_of("name"),
            path: case.text_of("path"),
            send: send.collect(),
            recv: case.array_of("recv").iter().map(pair).collect(),
        }
    }

    /// Replaces what was recorded as the answer to the last command.
    fn answer_instead(&mut self, answer: &str) {
        let (asker, _) = self.send.last().expect("a case sends something").clone();
        if self.recv.last().is_some_and(|(to, ..)| *to == asker) {
            self.recv.pop();
        }
        let answer = Json::parse(answer).expect("a decided answer is JSON");
        self.recv.push((asker, answer, None));
    }

    async fn replay(self) {
        with_app(config(), async |app| {
            let mut clients = BTreeMap::new();
            let senders = self.send.iter().map(|(connection, _)| connection);
            for connection in senders.chain(self.recv.iter().map(|(to, ..)| to)) {
                if !clients.contains_key(connection) {
                    let mut client = Raw::tcp(app.hub()).await;
                    client.write(upgrade(&self.path).as_bytes()).await;
                    client.accepted().await;
                    clients.insert(connection.clone(), (client, Vec::new()));
                }
            }
            for (connection, frame) in &self.send {
                let (client, received) = clients.get_mut(connection).expect("it is connected");
                client.write(&encoded(frame)).await;
                // The answer is read first, so that the next command comes after this one.
                let reply = client.reply_text().await;
                received.extend(client.kept());
                received.push(reply);
            }
            let mut bindings = Bindings::default();
            for (connection, (client, received)) in &mut clients {
                received.extend(client.received().await);
                let due = self.recv.iter().filter(|(to, ..)| to == connection);
                let due: Vec<_> = due.collect();
                let heading = format!("{} at {connection}: got {received:?}", self.name);
                assert_eq!(due.len(), received.len(), "{heading}, due {due:?}");
                for ((_, due, spellings), text) in due.into_iter().zip(received.iter()) {
                    let got = parsed(text);
                    let matched = bindings.frame(due, &got);
                    matched.unwrap_or_else(|wrong| panic!("{heading}: {wrong}"));
                    check_spellings(spellings.as_ref(), text);
                }
            }
        })
        .await;
    }
}

fn encoded(frame: &str) -> Vec<u8> {
    let bytes = |hex: &str| -> Vec<u8> {
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
        (0..hex.len()).step_by(2).map(digits).collect()
    };
    if let Some(hex) = frame.strip_prefix("!binary ") {
        masked(BINARY, &bytes(hex))
    } else if let Some(hex) = frame.strip_prefix("!text ") {
        masked(TEXT, &bytes(hex))
    } else {
        masked(TEXT, frame.as_bytes())
    }
}

fn check_spellings(spellings: Option<&Json>, text: &str) {
    let Some(Json::Object(spellings)) = spellings else {
        return;
    };
    let members = json::members(text).expect("the hub sends an object");
    for (key, raw) in spellings {
        let key = String::from_utf16_lossy(key);
        let raw = raw.as_text().expect("a spelling is a text");
        let spelled = members.iter().find(|(name, _)| *name == key);
        let spelled = spelled.map(|(_, spelled)| *spelled);
        assert_eq!(spelled, Some(raw.as_str()), "{key} as spelled in {text}");
    }
}

/// What `<idN>` and `<time>` have stood for so far in a case.
#[derive(Default)]
struct Bindings {
    ids: HashMap<String, String>,
    times: HashMap<String, f64>,
}

impl Bindings {
    /// Compares a whole frame: an error may be worded freely and say what it is for.
    fn frame(&mut self, due: &Json, got: &Json) -> Result<(), String> {
        if !due.is("error") {
            return self.value(due, got);
        }
        let Json::Object(members) = got else {
            return Err(format!("an error, not {got:?}"));
        };
        let error = got.text_of("error");
        let free = ["type", "error", "for"].map(Json::string);
        let known = |key: &Vec<u16>| free.contains(&Json::Text(key.clone()));
        if !got.is("error") || error.is_empty() || !members.keys().all(known) {
            return Err(format!("an error, not {got:?}"));
        }
        if let Some(wanted) = due.get("for")
            && got.get("for") != Some(wanted)
        {
            return Err(format!("an error for {wanted:?}, not {got:?}"));
        }
        let parts = due.get("error").and_then(Json::as_array).unwrap_or(&[]);
        let mut parts = parts.iter().filter_map(Json::as_text);
        match parts.find(|part| !error.contains(part)) {
            Some(part) => Err(format!("{part:?} is not in {error:?}")),
            None => Ok(()),
        }
    }

    fn value(&mut self, due: &Json, got: &Json) -> Result<(), String> {
        match (due, got) {
            (Json::Array(due), Json::Array(got)) if due.len() == got.len() => {
                let mut pairs = due.iter().zip(got);
                pairs.try_for_each(|(due, got)| self.value(due, got))
            }
            (Json::Object(due), Json::Object(got)) if due.keys().eq(got.keys()) => {
                let pairs = due.values().zip(got.values());
                for (due, got) in pairs {
                    self.value(due, got)?;
                }
                self.stamp(&Json::Object(due.clone()), &Json::Object(got.clone()))
            }
            (Json::Text(_), _) if due == &Json::string("<time>") => got
                .as_number()
                .filter(|time| time.fract() == 0.0 && *time > 1.6e12)
                .map(|_| ())
                .ok_or(format!("a time in whole milliseconds, not {got:?}")),
            (Json::Text(_), Json::Text(_)) if placeholder(due).is_some() => {
                let name = placeholder(due).expect("checked above");
                let id = got.as_text().expect("checked above");
                let bound = self.ids.entry(name.clone()).or_insert(id.clone()).clone();
                let holders = self.ids.values().filter(|known| **known == id).count();
                if bound == id && holders == 1 {
                    Ok(())
                } else {
                    Err(format!("{name} is {bound}, not {id}"))
                }
            }
            _ if due == got => Ok(()),
            _ => Err(format!("{due:?} was due, {got:?} came")),
        }
    }

    /// An ID is a UUIDv7 that holds the time, and goes with one time wherever it appears.
    fn stamp(&mut self, due: &Json, got: &Json) -> Result<(), String> {
        let stamped = due.get("ID").and_then(placeholder).is_some()
            && due.get("time") == Some(&Json::string("<time>"));
        if !stamped {
            return Ok(());
        }
        let (id, time) = (got.text_of("ID"), got.number_of("time"));
        let digits: String = id.chars().filter(char::is_ascii_hexdigit).collect();
        let shape: Vec<usize> = id.split('-').map(str::len).collect();
        if shape != [8, 4, 4, 4, 12] || digits.len() != 32 || &digits[12..13] != "7" {
            return Err(format!("a UUIDv7, not {id}"));
        }
        let held = u64::from_str_radix(&digits[..12], 16).map_err(|wrong| wrong.to_string())?;
        if held as f64 != time {
            return Err(format!("{id} holds {held}, its time is {time}"));
        }
        let known = *self.times.entry(id.clone()).or_insert(time);
        if known == time { Ok(()) } else { Err(format!("{id} is of {known} and of {time}")) }
    }
}

fn placeholder(due: &Json) -> Option<String> {
    due.as_text().filter(|text| text.starts_with("<id"))
}

/// Replays cases, several at once, each as a task so that one failure does not hide the others.
async fn replay_all(cases: impl Iterator<Item = Case>) {
    let replays = cases.map(|case| async move {
        let name = case.name.clone();
        let failure = spawn_local(case.replay()).await.err()?;
        let what = failure.into_panic();
        let what = what.downcast_ref::<String>().cloned();
        Some(format!("{name}: {}", what.unwrap_or_default()))
    });
    let replays = stream::iter(replays).buffered(16).collect();
    let outcomes: Vec<_> = LocalSet::new().run_until(replays).await;
    let replayed = outcomes.len();
    let failed: Vec<_> = outcomes.into_iter().flatten().collect();
    let list = failed.join("\n");
    assert!(failed.is_empty(), "{} of {replayed} cases fail:\n{list}", failed.len());
}

#[tokio::test]
async fn the_hub_answers_what_the_original_answered() {
    let overridden = |case: &Case| OVERRIDDEN.iter().any(|(name, ..)| *name == case.name);
    let cases = RECORDED.lines().map(Case::parse);
    replay_all(cases.filter(|case| !overridden(case))).await;
}

#[tokio::test]
async fn where_the_record_is_overridden_the_hub_answers_as_decided() {
    let mut answers = Vec::new();
    for (name, why, decided) in OVERRIDDEN {
        let case = RECORDED.lines().map(Case::parse).find(|case| case.name == *name);
        let mut case = case.unwrap_or_else(|| panic!("{name} is a recorded case"));
        match decided {
            Decided::Answer(answer) => {
                case.answer_instead(answer);
                case.name = format!("{name} ({why})");
                answers.push(case);
            }
            Decided::Status(status) => {
                with_app(config(), async |app| {
                    let mut client = Raw::tcp(app.hub()).await;
                    client.write(upgrade(&case.path).as_bytes()).await;
                    let response = client.answer().await.expect("an answer");
                    assert_eq!(response.status, *status, "{name}: {why}");
                })
                .await;
            }
        }
    }
    replay_all(answers.into_iter()).await;
}

#[tokio::test]
async fn the_hub_answers_what_was_decided_beyond_the_record() {
    replay_all(DECISIONS.lines().map(Case::parse)).await;
}
