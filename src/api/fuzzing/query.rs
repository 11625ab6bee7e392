//! Fuzzing of what is asked by a path and its query.

use super::world::{Answered, World};
use crate::api::PREFIX;
use crate::api::types::Moment;
use crate::protocol::command;
use poem::http::{Method, Uri};
use poem_openapi::types::ParseFromParameter;
use serde_json::Value;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// What has been said, in this order.
const SAID: [&str; 10] = [
    r#"{"channel":"x","message":"Hello"}"#,
    r#"{"channel":5,"message":[1,2.0]}"#,
    r#"{"channel":"5","message":null}"#,
    r#"{"channel":"x","message":"a \"b\"\n\u0001"}"#,
    r#"{"channel":"X y","message":"é"}"#,
    r#"{"channel":5,"message":{"x":"hello"}}"#,
    r#"{"channel":"*","message":"\u00e9"}"#,
    r#"{"channel":-1.5,"k":1}"#,
    r#"{"channel":"x","message":"Hello again"}"#,
    r#"{"channel":"é","message":"%"}"#,
];

/// What the parameters of paths are called.
const IN_PATHS: [&str; 2] = ["id", "channel"];

struct Fixed {
    world: World,
    /// The log, newest first: the text of each message, and what it holds.
    log: Vec<(String, Value)>,
}

thread_local! {
    static FIXED: LazyLock<Fixed> = const { LazyLock::new(Fixed::new) };
}

/// Reads a text as a path below the API's, with its query, of which `!0` stands for the ID of the
/// first message and `$0` for its time: what is refused is in the request; a part of the log is
/// what a loop over all messages finds; and the pages of a list are the list.
///
/// # Panics
/// That does not hold.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    FIXED.with(|fixed| fixed.look(text));
}

impl Fixed {
    fn new() -> Self {
        let world = World::new();
        // For good, as nothing that is asked here changes anything.
        std::mem::forget(world.join());
        let mut log = vec![];
        for text in SAID {
            let draft = command::parse_message(text, super::world::LIMITS).expect("a message");
            let event = world.hub.publish(draft).event;
            let text = String::from_utf8(event.frame.payload().to_vec()).expect("UTF-8");
            let value = serde_json::from_str(&text).expect("JSON");
            log.insert(0, (text, value));
            // So that the next one has a time of its own.
            while unix_ms() <= event.stamp.time_ms {
                std::hint::spin_loop();
            }
        }
        Self { world, log }
    }

    fn look(&self, text: &str) {
        // A stream does not end by itself.
        if text.starts_with("log/stream") {
            return;
        }
        let mut text = text.to_owned();
        for (number, (_, message)) in self.log.iter().rev().enumerate() {
            text = text.replace(&format!("!{number}"), message["ID"].as_str().expect("an ID"));
            text = text.replace(&format!("${number}"), &message["time"].to_string());
        }
        let Some((path, answered)) = self.ask(&text) else { return };
        let pairs = pairs(&text);
        match answered.status {
            200 => {}
            400 => {
                let named = answered.names().expect("what is wrong is named");
                let given = match named {
                    "path" => unescaped(&path).contains('\u{fffd}'),
                    _ => IN_PATHS.contains(&named) || pairs.iter().any(|(key, _)| key == named),
                };
                assert!(given, "nobody has given {named}");
                return;
            }
            404 | 405 => return,
            status => panic!("{status} for {text:?}"),
        }
        let list = match &*path {
            "log" => "log",
            "channels" => "channels",
            "clients" => "clients",
            _ if path.ends_with("/listeners") => "clients",
            _ => return,
        };
        let found = answered.document()[list].as_array().expect("a list");
        if list == "log" {
            self.check_log(&pairs, found, &answered.document()["next"]);
        } else {
            self.check_pages(&path, &pairs, list, answered.document());
        }
    }

    /// What is answered to a path with its query; none if it cannot be asked.
    fn ask(&self, text: &str) -> Option<(String, Answered)> {
        let uri = Uri::try_from(format!("{PREFIX}/{text}")).ok()?;
        let path = uri.path().strip_prefix(PREFIX)?.strip_prefix('/')?.to_owned();
        Some((path, self.world.ask(Method::GET, uri, &[])))
    }

    fn ask_with(&self, path: &str, pairs: &[(String, String)]) -> Answered {
        let written: Vec<String> = pairs
            .iter()
            .map(|(key, value)| format!("{}={}", escaped(key), escaped(value)))
            .collect();
        self.ask(&format!("{path}?{}", written.join("&"))).expect("it is escaped").1
    }

    /// The list is what one gets of it in pages of one entry, and in one.
    fn check_pages(&self, path: &str, pairs: &[(String, String)], list: &str, first: &Value) {
        let with = |limit: &str, cursor: Option<&Value>| {
            let kept = |(key, _): &&(String, String)| {
                key != "limit" && (key != "cursor" || cursor.is_none())
            };
            let mut pairs: Vec<_> = pairs.iter().filter(kept).cloned().collect();
            pairs.push(("limit".to_owned(), limit.to_owned()));
            let cursor = cursor.map(|cursor| cursor.as_str().expect("a cursor").to_owned());
            pairs.extend(cursor.map(|cursor| ("cursor".to_owned(), cursor)));
            let answered = self.ask_with(path, &pairs);
            assert_eq!(answered.status, 200, "{:?}", answered.document);
            answered.document.expect("a document")
        };
        let all = with("1000", None);
        let entries = all[list].as_array().expect("a list");
        let begin = first[list].as_array().expect("a list");
        assert!(entries.starts_with(begin), "{first} does not begin {all}");
        assert_eq!(first["next"].is_string(), begin.len() < entries.len());
        assert_eq!((&all["total"], &all["next"]), (&first["total"], &Value::Null));
        let mut page = with("1", None);
        let mut one_by_one = page[list].as_array().cloned().expect("a list");
        while page["next"].is_string() {
            page = with("1", Some(&page["next"]));
            one_by_one.extend(page[list].as_array().cloned().expect("a list"));
            assert!(one_by_one.len() <= entries.len(), "pages without end");
        }
        assert_eq!(&one_by_one, entries);
    }

    /// A part of the log is what a loop over it finds.
    fn check_log(&self, pairs: &[(String, String)], found: &[Value], next: &Value) {
        let given =
            |wanted: &str| pairs.iter().find(|(key, _)| key == wanted).map(|(_, value)| value);
        let id = |key| given(key).map(|text| Uuid::parse_str(text).expect("an ID"));
        let index = |key| given(key).map(|text| text.parse::<i64>().expect("a number"));
        let moment =
            |key| given(key).map(|text| Moment::parse_from_parameter(text).expect("a moment"));
        let channels: Vec<Value> = pairs
            .iter()
            .filter(|(key, _)| key == "channel")
            .map(|(_, value)| channel(value))
            .collect();
        let lower = |text: &str| text.to_ascii_lowercase();
        let q = given("q").map(|q| {
            let spelled = serde_json::to_string(q).expect("a text");
            (lower(q), lower(&spelled[1..spelled.len() - 1]))
        });
        let due = |(text, message): &&(String, Value)| {
            let own: Uuid = message["ID"].as_str().and_then(|id| id.parse().ok()).expect("an ID");
            let time = message["time"].as_u64().expect("a time");
            let name = &message["channel"];
            (channels.is_empty() || channels.iter().any(|wanted| same_channel(wanted, name)))
                && q.as_ref().is_none_or(|(plain, spelled)| {
                    lower(text).contains(plain) || lower(text).contains(spelled)
                })
                && id("before").is_none_or(|before| own < before)
                && id("after").is_none_or(|after| own > after)
                && moment("since").is_none_or(|since| match since {
                    Moment::Time(since) => time >= since,
                    Moment::Message(since) => own >= since,
                })
                && moment("until").is_none_or(|until| match until {
                    Moment::Time(until) => time <= until,
                    Moment::Message(until) => own <= until,
                })
        };
        let mut due: Vec<&Value> =
            self.log.iter().filter(due).map(|(_, message)| message).collect();
        let count = due.len() as i64;
        let place = |index: i64| {
            let place = if index < 0 { count.saturating_add(index).max(0) } else { index };
            place.min(count) as usize
        };
        let (start, end) =
            (place(index("start").unwrap_or(0)), place(index("end").unwrap_or(count)));
        due = due[start.min(end)..end].to_vec();
        if given("order").is_some_and(|order| order == "asc") {
            due.reverse();
        }
        let limit = given("limit").map_or(100, |limit| limit.parse().expect("a number"));
        let more = due.len() > limit;
        due.truncate(limit);
        assert_eq!(found.iter().collect::<Vec<_>>(), due);
        let last = due.last().filter(|_| more).map_or(&Value::Null, |last| &last["ID"]);
        assert_eq!(next, last);
    }
}

/// The channel that a parameter says.
fn channel(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::String(_))) if text.trim() == text => value,
        _ => text.into(),
    }
}

fn same_channel(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|number| Some(number) == b.as_f64())
}

/// The keys and values of a query, their escapes undone.
fn pairs(text: &str) -> Vec<(String, String)> {
    // A URL's fragment never reaches a server.
    let text = text.split('#').next().unwrap_or_default();
    let Some((_, query)) = text.split_once('?') else { return vec![] };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescaped(key), unescaped(value))
        })
        .collect()
}

fn unescaped(text: &str) -> String {
    let (mut bytes, mut left) = (vec![], text.as_bytes());
    while let [first, rest @ ..] = left {
        let digit = |at: usize| rest.get(at).and_then(|&byte| (byte as char).to_digit(16));
        left = rest;
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                left = &rest[2..];
            }
            (b'+', ..) => bytes.push(b' '),
            (&byte, ..) => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}
