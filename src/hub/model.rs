//! The state against a naive model: the same commands go to both, and every client must have been
//! sent the same things in the same order, whatever was written when.

use super::bench::{Bench, LIMITS};
use super::clients::ClientKey;
use super::state::Taken;
use crate::protocol::CloseReason;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// The hub as one would explain it: lists, and a loop over all clients for each message.
#[derive(Default)]
struct Model {
    open: HashMap<u64, Vec<Value>>,
    log: Vec<Value>,
    expected: HashMap<u64, Vec<Value>>,
}

impl Model {
    fn send(&mut self, clients: &[ClientKey], sender: u64, command: &Value) {
        let channel = &command["channel"];
        let open = self.open.entry(sender).or_default();
        let is_open = open.contains(channel);
        let reply = match command["type"].as_str() {
            Some("open")
                if command.get("last").is_some() && (is_open || open.contains(&json!("*"))) =>
            {
                json!({"type": "error"})
            }
            Some("open") if is_open || open.len() < LIMITS.max_channels_per_client => {
                if !is_open {
                    open.push(channel.clone());
                }
                let reply = json!({"type": "result", "for": "open", "channels": open});
                let due = self.expected.entry(sender).or_default();
                due.push(reply);
                let last = command["last"].as_u64().unwrap_or(0) as usize;
                let of_channel =
                    |event: &&Value| *channel == json!("*") || event["channel"] == *channel;
                let mut replayed: Vec<Value> =
                    self.log.iter().filter(of_channel).take(last).cloned().collect();
                replayed.reverse();
                for event in &mut replayed {
                    event["replay"] = json!(true);
                }
                due.extend(replayed);
                return;
            }
            Some("close") if is_open => {
                open.retain(|known| known != channel);
                json!({"type": "result", "for": "close", "channels": open})
            }
            Some("message") => {
                let event =
                    json!({"type": "message", "channel": channel, "message": command["message"]});
                for client in clients.iter().map(|key| key.id()).filter(|&id| id != sender) {
                    let open = self.open.entry(client).or_default();
                    if open.contains(channel) || open.contains(&json!("*")) {
                        self.expected.entry(client).or_default().push(event.clone());
                    }
                }
                self.log.insert(0, event);
                self.log.truncate(LIMITS.max_log_messages);
                json!({"type": "result", "for": "message", "channel": channel, "message": command["message"]})
            }
            Some("log") => {
                let of_channel = |event: &&Value| channel.is_null() || event["channel"] == *channel;
                let log: Vec<&Value> = self.log.iter().filter(of_channel).collect();
                json!({"type": "result", "for": "log", "log": log})
            }
            Some("ping") => json!({"type": "result", "for": "ping"}),
            _ => json!({"type": "error"}),
        };
        self.expected.entry(sender).or_default().push(reply);
    }

    fn leave(&mut self, id: u64) {
        self.open.remove(&id);
    }
}

/// A reply or event without what the model does not know: ID, time, and the words of errors.
fn plain(value: &Value) -> Value {
    let mut value = value.clone();
    if value["type"] == "error" {
        return json!({"type": "error"});
    }
    if let Some(Value::Array(log)) = value.get_mut("log") {
        for entry in log {
            *entry = plain(entry);
        }
    }
    if let Some(object) = value.as_object_mut() {
        object.remove("ID");
        object.remove("time");
    }
    value
}

/// Whether `got` is a beginning of what was due: all of it, but for logged messages that a gap
/// stands for, and live events whose number the next one says. Returns what is still due, and how
/// many live events the next one has to account for.
fn follows<'a>(mut due: &'a [Value], got: &[Value]) -> Result<(&'a [Value], u64), String> {
    let (mut gap, mut missing) = (false, 0);
    for value in got {
        if value["type"] == "gap" {
            gap = true;
            continue;
        }
        let mut plain = plain(value);
        let dropped = plain.as_object_mut().and_then(|object| object.remove("dropped"));
        loop {
            let Some((next, rest)) = due.split_first() else {
                return Err(format!("{value} is more than was due"));
            };
            due = rest;
            let log = (next["log"].as_array(), plain["log"].as_array());
            let shorter = gap && matches!(log, (Some(due), Some(got)) if due.starts_with(got));
            if *next == plain || shorter {
                gap &= next["replay"] == true;
                break;
            }
            match (next["type"].as_str(), next["replay"] == true) {
                (Some("message"), true) if gap => {}
                (Some("message"), false) => missing += 1,
                _ => return Err(format!("{value} came before {next}, {missing} missing")),
            }
        }
        if plain["type"] == "message" && plain["replay"] != true {
            if dropped.and_then(|dropped| dropped.as_u64()).unwrap_or(0) != missing {
                return Err(format!("{missing} are missing before {value}"));
            }
            missing = 0;
        }
    }
    let replayed = due.iter().take_while(|next| gap && next["replay"] == true).count();
    Ok((&due[replayed..], missing))
}

/// Something that happens. A client is named by any number, counted round those there are.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Another client comes.
    Join,
    /// A client goes.
    Leave(usize),
    /// A client sends a command, if its commands are read now; a message is numbered.
    Send(usize, Value),
    /// The flusher writes to all; the sockets of these clients take nothing.
    Pass(Vec<usize>),
    /// A full socket takes what there is.
    Unstick(usize),
    /// So many milliseconds go by.
    Tick(u64),
}

/// Has the state and the model go through `steps`.
///
/// # Panics
/// A client was sent something else than the model says, or the state's books do not balance.
pub(super) fn follow(steps: impl IntoIterator<Item = Step>) {
    let (mut bench, mut model) = (Bench::new(LIMITS), Model::default());
    let mut gone = vec![];
    for (number, step) in steps.into_iter().enumerate() {
        let count = bench.clients.len();
        let pick = |n: usize| if count == 0 { None } else { Some(bench.clients[n % count]) };
        match step {
            Step::Join => {
                bench.join();
            }
            Step::Leave(n) => {
                if let Some(key) = pick(n) {
                    bench.clients.retain(|&other| other != key);
                    model.leave(key.id());
                    bench.stuck.remove(&key.id());
                    assert!(bench.state.leave(key, CloseReason::ClientClosed, 0).is_some());
                    gone.push(key);
                }
            }
            // Commands wait while something is drawn from the log.
            Step::Send(n, mut command) => {
                // No two are the same, so that it can be said which are missing.
                if command["type"] == "message" {
                    command["message"] = number.into();
                }
                if let Some(key) = pick(n).filter(|&key| bench.state.may_read(key)) {
                    assert_ne!(bench.send(key, &command), Taken::Closing);
                    model.send(&bench.clients.clone(), key.id(), &command);
                }
            }
            Step::Pass(full) => {
                let full: Vec<ClientKey> = full.into_iter().filter_map(pick).collect();
                bench.pass(&full);
            }
            Step::Unstick(n) => {
                if let Some(key) = pick(n) {
                    bench.unstick(key)
                }
            }
            Step::Tick(ms) => bench.now += Duration::from_millis(ms),
        }
    }
    bench.drain();
    for key in bench.clients.iter().copied() {
        let expected = model.expected.get(&key.id()).cloned().unwrap_or_default();
        let left = follows(&expected, &bench.events(key));
        assert_eq!(left, Ok((&[][..], 0)));
        assert!(bench.state.may_read(key));
    }
    // Who left in the middle has a prefix of what was due.
    for key in gone {
        let expected = model.expected.get(&key.id()).cloned().unwrap_or_default();
        let left = follows(&expected, &bench.events(key));
        assert!(left.is_ok(), "{:?}", left);
    }
    // Nobody waits to be written to, so no measurement of a delivery is under way.
    assert_eq!(bench.state.probe.waiting(), 0);
    assert!(bench.state.probe.begin(bench.now), "the last measurement has ended");
    // The books: no bytes are left, and channels have listeners or logged messages.
    let stats = bench.state.stats(0);
    assert_eq!(stats.queued_bytes, 0);
    assert_eq!(stats.clients, bench.clients.len());
    assert_eq!(stats.log_messages, model.log.len());
    let mut channels: Vec<Value> = model.log.iter().map(|event| event["channel"].clone()).collect();
    channels.extend(model.open.values().flatten().cloned());
    let mut names: Vec<String> = channels.iter().map(Value::to_string).collect();
    names.sort();
    names.dedup();
    assert_eq!(stats.channels, names.len());
    assert_eq!(stats.subscriptions, model.open.values().map(Vec::len).sum::<usize>());
    let totals = &stats.totals;
    assert_eq!(totals.message_bytes.count(), totals.all_messages());
    assert_eq!(totals.message_listeners.count(), totals.all_messages());
    assert_eq!(totals.message_listeners.sum(), totals.delivered);
    assert!(totals.delivery_nanos.count() <= totals.all_messages());
    assert!(totals.delivery_nanos.sum() >= 1_000_000 * totals.delivery_nanos.count());
    assert_eq!(totals.refused_commands.iter().sum::<u64>(), totals.refused.iter().sum::<u64>());
    // When all have left and nothing is logged, nothing at all is left.
    for key in bench.clients.clone() {
        bench.state.leave(key, CloseReason::ClientClosed, 0);
    }
    let stats = bench.state.stats(0);
    assert_eq!((stats.clients, stats.subscriptions, stats.queued_bytes), (0, 0, 0));
}
