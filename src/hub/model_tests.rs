//! The state against a naive model: the same commands go to both, and every client must have been
//! sent the same things in the same order, whatever was written when.

use super::clients::ClientKey;
use super::state::Taken;
use super::state_tests::{Bench, LIMITS};
use crate::protocol::CloseReason;
use proptest::prelude::*;
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

#[derive(Debug, Clone)]
enum Step {
    Join,
    Leave(usize),
    Send(usize, Value),
    Pass(Vec<usize>),
    Unstick(usize),
    Tick(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let channel = prop_oneof![
        Just(json!("a")),
        Just(json!("b")),
        Just(json!(5)),
        Just(json!("5")),
        Just(json!("*")),
    ];
    let command = prop_oneof![
        3 => channel.clone().prop_map(|channel| json!({"type": "open", "channel": channel})),
        2 => channel.clone().prop_map(|channel| json!({"type": "close", "channel": channel})),
        8 => (channel, 0..1000).prop_map(
            |(channel, n)| json!({"type": "message", "channel": channel, "message": n})
        ),
        1 => Just(json!({"type": "log"})),
        1 => Just(json!({"type": "log", "channel": "a"})),
        1 => Just(json!({"type": "ping"})),
        1 => Just(json!({"type": "bogus"})),
        2 => (prop_oneof![Just("a"), Just("*")], 0..10_u64).prop_map(
            |(channel, last)| json!({"type": "open", "channel": channel, "last": last})
        ),
        1 => (any::<bool>(), prop_oneof![Just(json!(null)), Just(json!(2)), Just(json!(50))])
            .prop_map(|(batch, pace)| {
                json!({"type": "open", "channel": "b", "batch": batch, "pace": pace})
            }),
    ];
    let step = prop_oneof![
        2 => Just(Step::Join),
        1 => any::<usize>().prop_map(Step::Leave),
        16 => (any::<usize>(), command).prop_map(|(client, command)| Step::Send(client, command)),
        3 => prop::collection::vec(any::<usize>(), 0..3).prop_map(Step::Pass),
        2 => any::<usize>().prop_map(Step::Unstick),
        2 => (1..700_u64).prop_map(Step::Tick),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn every_client_is_sent_what_the_naive_model_says_in_the_same_order(steps in steps()) {
        let (mut bench, mut model) = (Bench::new(LIMITS), Model::default());
        let mut gone = vec![];
        for step in steps {
            let count = bench.clients.len();
            let pick = |n: usize| if count == 0 { None } else { Some(bench.clients[n % count]) };
            match step {
                Step::Join => {
                    bench.join();
                }
                Step::Leave(n) => if let Some(key) = pick(n) {
                    bench.clients.retain(|&other| other != key);
                    model.leave(key.id());
                    bench.stuck.remove(&key.id());
                    prop_assert!(bench.state.leave(key, CloseReason::ClientClosed, 0).is_some());
                    gone.push(key);
                },
                // Commands wait while something is drawn from the log.
                Step::Send(n, command) => if let Some(key) = pick(n).filter(|&key| bench.state.may_read(key)) {
                    prop_assert_ne!(bench.send(key, &command), Taken::Closing);
                    model.send(&bench.clients.clone(), key.id(), &command);
                },
                Step::Pass(full) => {
                    let full: Vec<ClientKey> = full.into_iter().filter_map(pick).collect();
                    bench.pass(&full);
                }
                Step::Unstick(n) => if let Some(key) = pick(n) { bench.unstick(key) },
                Step::Tick(ms) => bench.now += Duration::from_millis(ms),
            }
        }
        bench.drain();
        for key in bench.clients.iter().copied() {
            let expected = model.expected.get(&key.id()).cloned().unwrap_or_default();
            let left = follows(&expected, &bench.events(key));
            prop_assert_eq!(left, Ok((&[][..], 0)));
            prop_assert!(bench.state.may_read(key));
        }
        // Who left in the middle has a prefix of what was due.
        for key in gone {
            let expected = model.expected.get(&key.id()).cloned().unwrap_or_default();
            let left = follows(&expected, &bench.events(key));
            prop_assert!(left.is_ok(), "{:?}", left);
        }
        // Nobody waits to be written to, so no measurement of a delivery is under way.
        prop_assert_eq!(bench.state.probe.waiting(), 0);
        prop_assert!(bench.state.probe.begin(bench.now), "the last measurement has ended");
        // The books: no bytes are left, and channels have listeners or logged messages.
        let stats = bench.state.stats(0);
        prop_assert_eq!(stats.queued_bytes, 0);
        prop_assert_eq!(stats.clients, bench.clients.len());
        prop_assert_eq!(stats.log_messages, model.log.len());
        let mut channels: Vec<Value> = model.log.iter().map(|event| event["channel"].clone()).collect();
        channels.extend(model.open.values().flatten().cloned());
        let mut names: Vec<String> = channels.iter().map(Value::to_string).collect();
        names.sort();
        names.dedup();
        prop_assert_eq!(stats.channels, names.len());
        prop_assert_eq!(stats.subscriptions, model.open.values().map(Vec::len).sum::<usize>());
        let totals = &stats.totals;
        prop_assert_eq!(totals.message_bytes.count(), totals.all_messages());
        prop_assert_eq!(totals.message_listeners.count(), totals.all_messages());
        prop_assert_eq!(totals.message_listeners.sum(), totals.delivered);
        prop_assert!(totals.delivery_nanos.count() <= totals.all_messages());
        prop_assert!(totals.delivery_nanos.sum() >= 1_000_000 * totals.delivery_nanos.count());
        prop_assert_eq!(totals.refused_commands.iter().sum::<u64>(), totals.refused.iter().sum::<u64>());
        // When all have left and nothing is logged, nothing at all is left.
        for key in bench.clients.clone() {
            bench.state.leave(key, CloseReason::ClientClosed, 0);
        }
        let stats = bench.state.stats(0);
        prop_assert_eq!((stats.clients, stats.subscriptions, stats.queued_bytes), (0, 0, 0));
    }
}
