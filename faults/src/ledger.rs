//! What was acknowledged and what was heard, held against the log of the hub.
//!
//! The rules, which are those of the protocol: what was acknowledged is in the log; a listener hears
//! each message of its channels at most once, in the order of the log and without a gap; who was not
//! dropped has heard all that was sent after it had opened its channel.

use std::{collections::HashMap, sync::Mutex, time::Instant};

use serde_json::{Value, json};

use crate::{
    client::Client,
    problem::{During, Outcome, Problem, ensure},
};

/// The ID of a message; of two, the smaller one came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u128);

impl Id {
    /// The ID as the hub writes it.
    pub fn parse(text: &str) -> Option<Id> {
        (text.len() == 36).then_some(())?;
        u128::from_str_radix(&text.replace('-', ""), 16).ok().map(Id)
    }

    /// The ID of an event or of a result.
    pub fn of(event: &Value) -> Option<Id> {
        event["ID"].as_str().and_then(Id::parse)
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hex = format!("{:032x}", self.0);
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        f.write_str(&parts.join("-"))
    }
}

/// What a listener has open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// One channel.
    One(String),
    /// `*`.
    All,
}

/// How a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It heard all that was still to come.
    Stayed,
    /// It left by itself, or its network did.
    Left,
    /// The hub closed it with this code, or without any.
    Dropped(Option<u16>),
}

/// What a listener has heard.
#[derive(Debug)]
pub struct Heard {
    /// Who it was, for the words of a problem.
    pub name: String,
    /// What it had open.
    pub scope: Scope,
    /// When the hub had told it that it was open.
    pub opened: Instant,
    /// What it heard, in that order.
    pub ids: Vec<Id>,
    /// How it ended.
    pub end: End,
}

#[derive(Default)]
struct Books {
    /// When each acknowledged message was sent.
    acknowledged: HashMap<Id, Instant>,
    heard: Vec<Heard>,
}

/// What clients of a scene have seen.
#[derive(Default)]
pub struct Ledger(Mutex<Books>);

/// What a ledger and a log came to.
#[derive(Debug, Default, Clone, Copy)]
pub struct Verdict {
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Events heard.
    pub heard: u64,
    /// Listeners.
    pub listeners: u64,
    /// Of them, those the hub has dropped and told, or left to a broken connection.
    pub dropped: u64,
}

impl Ledger {
    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        // A panic elsewhere ends the run in any case.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Enters a message that was acknowledged, and when it was sent.
    pub fn acknowledged(&self, id: Id, sent: Instant) {
        self.books().acknowledged.insert(id, sent);
    }

    /// Enters what a listener heard.
    pub fn heard(&self, heard: Heard) {
        self.books().heard.push(heard);
    }

    /// Holds all entries against the log, oldest first.
    ///
    /// # Errors
    /// A rule was broken: which, and by what.
    pub fn judge(&self, log: &[(Id, String)]) -> Outcome<Verdict> {
        let books = self.books();
        let ordered = log.is_sorted_by(|a, b| a.0 < b.0);
        ensure(ordered, || "the log is not in the order of its IDs".into())?;
        let (all, none): (Vec<Id>, _) = (log.iter().map(|(id, _)| *id).collect(), Vec::new());
        for id in books.acknowledged.keys() {
            let logged = all.binary_search(id).is_ok();
            ensure(logged, || format!("{id} was acknowledged and is not logged"))?;
        }
        let mut by_channel: HashMap<&str, Vec<Id>> = HashMap::new();
        for (id, channel) in log {
            by_channel.entry(channel).or_default().push(*id);
        }
        let mut verdict = Verdict {
            acknowledged: books.acknowledged.len() as u64,
            listeners: books.heard.len() as u64,
            ..Verdict::default()
        };
        for heard in &books.heard {
            verdict.heard += heard.ids.len() as u64;
            verdict.dropped += u64::from(heard.end != End::Stayed);
            let due = match &heard.scope {
                Scope::All => &all,
                Scope::One(name) => by_channel.get(name.as_str()).unwrap_or(&none),
            };
            books.check(heard, due).during(format_args!("{} ({:?})", heard.name, heard.end))?;
        }
        Ok(verdict)
    }
}

impl Books {
    /// Holds what one listener heard against what was sent to its channels.
    fn check(&self, heard: &Heard, due: &[Id]) -> Outcome {
        // The first that was sent when it listened already: it must have heard this and the rest.
        let late = |id: &Id| self.acknowledged.get(id).is_some_and(|sent| *sent > heard.opened);
        let must = due.iter().position(late);
        let (Some(first), Some(last)) = (heard.ids.first(), heard.ids.last()) else {
            let missed = must.is_some() && heard.end == End::Stayed;
            return ensure(!missed, || format!("heard nothing of {} messages", due.len()));
        };
        let begin = due.iter().position(|id| id == first);
        let begin = begin.ok_or_else(|| Problem(format!("{first} is not in the log")))?;
        ensure(must.is_none_or(|must| begin <= must), || {
            format!("began with {first}, which was not the first sent to it")
        })?;
        let all = &due[begin..];
        let same = all.iter().zip(&heard.ids).position(|(due, heard)| due != heard);
        if let Some(at) = same {
            let (due, heard) = (all[at], heard.ids[at]);
            return Err(Problem(format!("heard {heard} as its event {at}, where {due} was due")));
        }
        ensure(heard.ids.len() <= all.len(), || format!("{last} is not in the log"))?;
        let whole = heard.end != End::Stayed || heard.ids.len() == all.len();
        ensure(whole, || format!("heard {} of {} and stayed", heard.ids.len(), all.len()))
    }
}

/// The whole log as a client reads it, oldest first.
///
/// # Errors
/// It cannot be read.
pub async fn read_log(client: &mut Client) -> Outcome<Vec<(Id, String)>> {
    let mut log = Vec::new();
    loop {
        let mut ask = json!({"type": "log", "start": 0, "end": 1000});
        if let Some((id, _)) = log.last() {
            let id: &Id = id;
            ask["before"] = json!(id.to_string());
        }
        let reply = client.command(&ask.to_string()).await?;
        let entries = reply["log"].as_array().map_or(&[][..], Vec::as_slice);
        if entries.is_empty() {
            log.reverse();
            return Ok(log);
        }
        for entry in entries {
            let id = Id::of(entry).ok_or_else(|| Problem(format!("no ID in {entry}")))?;
            log.push((id, entry["channel"].as_str().unwrap_or_default().to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CHANNELS: [&str; 5] = ["a", "b", "a", "a", "b"];

    /// A log of five messages, acknowledged a second after each other.
    fn log_and_ledger(began: Instant) -> (Vec<(Id, String)>, Ledger) {
        let ledger = Ledger::default();
        let log = CHANNELS.iter().enumerate().map(|(number, channel)| {
            let id = Id(number as u128);
            ledger.acknowledged(id, began + Duration::from_secs(number as u64));
            (id, (*channel).to_owned())
        });
        (log.collect(), ledger)
    }

    fn judged(ids: &[u128], opened: u64, scope: Scope, end: End) -> Result<u64, String> {
        let began = Instant::now();
        let (log, ledger) = log_and_ledger(began);
        ledger.heard(Heard {
            name: "who".into(),
            scope,
            // Between two messages.
            opened: began + Duration::from_millis(opened * 1000 + 500),
            ids: ids.iter().copied().map(Id).collect(),
            end,
        });
        ledger.judge(&log).map(|verdict| verdict.heard).map_err(|problem| problem.0)
    }

    fn of_a() -> Scope {
        Scope::One("a".into())
    }

    #[test]
    fn what_is_heard_whole_and_in_order_holds() {
        assert_eq!(judged(&[2, 3], 0, of_a(), End::Stayed), Ok(2));
        assert_eq!(judged(&[0, 2, 3], 0, of_a(), End::Stayed), Ok(3), "sent while it opened");
        assert_eq!(judged(&[1, 2, 3, 4], 0, Scope::All, End::Stayed), Ok(4));
        assert_eq!(judged(&[], 3, of_a(), End::Stayed), Ok(0));
    }

    #[test]
    fn who_was_dropped_may_miss_the_end_and_nothing_before_it() {
        assert_eq!(judged(&[2], 0, of_a(), End::Dropped(Some(4000))), Ok(1));
        assert_eq!(judged(&[], 0, of_a(), End::Left), Ok(0));
        assert!(judged(&[3], 0, of_a(), End::Left).is_err(), "the first is missing");
        assert!(judged(&[1, 3], 0, Scope::All, End::Left).is_err(), "one within is missing");
    }

    #[test]
    fn every_other_way_of_hearing_is_a_problem() {
        let wrong: [&[u128]; 6] = [&[2], &[], &[3, 2], &[2, 2, 3], &[2, 3, 4], &[2, 3, 9]];
        for ids in wrong {
            assert!(judged(ids, 0, of_a(), End::Stayed).is_err(), "{ids:?}");
        }
    }

    #[test]
    fn what_was_acknowledged_and_is_not_logged_is_a_problem() {
        let (mut log, ledger) = log_and_ledger(Instant::now());
        log.remove(1);
        assert!(ledger.judge(&log).unwrap_err().0.contains("is not logged"));
    }

    #[test]
    fn an_id_is_written_as_it_was_read() {
        let text = "018bcfe5-687b-7000-8a11-0c5f3e1d2b47";
        assert_eq!(Id::parse(text).unwrap().to_string(), text);
        assert_eq!(Id::parse("018bcfe5"), None);
    }
}
