//! What a client with bounds sees of the log, against the list it should be: all messages, newest
//! first, those left out that it may not read.

use super::clients::ClientKey;
use super::state_tests::{Bench, LIMITS};
use super::{HubLimits, Patterns, Rights};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

fn reads(patterns: &[&str]) -> Arc<Rights> {
    let mut read = Patterns::default();
    patterns.iter().for_each(|pattern| read.add_text(pattern));
    Arc::new(Rights { read, write: Patterns::default(), hear_all: false, log: true })
}

fn bench(max_log_messages: usize) -> Bench {
    Bench::new(HubLimits { max_log_messages, max_log_bytes: 1 << 30, ..LIMITS })
}

/// The reply to a command.
fn ask(bench: &mut Bench, key: ClientKey, command: &Value) -> Value {
    bench.send(key, command);
    bench.drain();
    bench.received(key).last().expect("a reply").clone()
}

fn publish(bench: &mut Bench, sender: ClientKey, channel: &str) -> Value {
    ask(bench, sender, &json!({"type": "message", "channel": channel}))
}

fn ids(log: &[Value]) -> Vec<&str> {
    log.iter().map(|entry| entry["ID"].as_str().expect("an ID")).collect()
}

/// `Array.prototype.slice`.
fn sliced(list: &[Value], start: i64, end: i64) -> &[Value] {
    let length = list.len() as i64;
    let place = |index: i64| (if index < 0 { index + length } else { index }).clamp(0, length);
    let (start, end) = (place(start) as usize, place(end) as usize);
    &list[start..end.max(start)]
}

proptest! {
    #[test]
    fn a_slice_is_one_of_the_list_of_what_may_be_read(
        channels in proptest::collection::vec(prop_oneof!["a[xy]?", "b", r"\*"], 0..12),
        slices in proptest::collection::vec((-6_i64..14, -6_i64..14, 0_usize..13), 1..6),
    ) {
        let mut bench = bench(10);
        let (sender, reader) = (bench.join(), bench.join_with(Some(reads(&["a*"]))));
        let mut all: Vec<Value> = Vec::new();
        for channel in &channels {
            all.insert(0, publish(&mut bench, sender, channel));
            all.truncate(10);
        }
        let readable = |all: &[Value]| -> Vec<Value> {
            let may = |entry: &&Value| entry["channel"].as_str().unwrap().starts_with('a');
            all.iter().filter(may).cloned().collect()
        };
        for (start, end, before) in slices {
            let list = match all.get(before) {
                Some(_) => readable(&all[before + 1..]),
                None => readable(&all),
            };
            let before = all.get(before).map(|entry| entry["ID"].clone());
            let command = json!({"type": "log", "start": start, "end": end, "before": before});
            let reply = ask(&mut bench, reader, &command);
            let log = reply["log"].as_array().expect("a log");
            prop_assert_eq!(ids(log), ids(sliced(&list, start, end)), "{}", command);
            prop_assert_eq!(reply.get("truncated"), None);
        }
    }
}

#[test]
fn one_reply_looks_through_a_bounded_part_of_the_log_and_says_where_it_goes_on() {
    let mut bench = bench(usize::MAX);
    let (sender, reader) = (bench.join(), bench.join_with(Some(reads(&["mine"]))));
    let mut mine = Vec::new();
    for part in 0..3 {
        mine.push(publish(&mut bench, sender, "mine"));
        for _ in 0..if part == 0 { 20_500 } else { 10 } {
            bench.send(sender, &json!({"type": "message", "channel": "not mine"}));
        }
        bench.drain();
    }
    mine.reverse();
    let (mut found, mut before, mut replies) = (Vec::new(), Value::Null, 0);
    loop {
        let reply = ask(&mut bench, reader, &json!({"type": "log", "before": before}));
        found.extend(reply["log"].as_array().expect("a log").clone());
        replies += 1;
        assert_eq!(reply.get("next"), None);
        if reply.get("truncated").is_none() {
            break;
        }
        before = reply["before"].clone();
    }
    assert_eq!(ids(&found), ids(&mine));
    assert_eq!(replies, 3, "20,523 messages, ten thousand at a time");
    // What was asked for is there, so nothing is said of the rest.
    let newest = ask(&mut bench, reader, &json!({"type": "log", "end": 1}));
    assert_eq!(
        (ids(newest["log"].as_array().unwrap()), newest.get("truncated")),
        (ids(&mine[..1]), None)
    );
}

#[test]
fn what_is_not_allowed_is_refused_by_name_and_changes_nothing() {
    let mut bench = bench(100);
    let rights = Rights { log: false, ..reads(&["a"]).as_ref().clone() };
    let key = bench.join_with(Some(Arc::new(rights)));
    for (command, words) in [
        (json!({"type": "open", "channel": "b"}), "you may not open channel b; ask the owner"),
        (json!({"type": "open", "channel": 5}), "you may not open channel 5;"),
        (json!({"type": "open", "channel": "*"}), "channel *, which hears every channel;"),
        (json!({"type": "message", "channel": "a"}), "you may not send to channel a;"),
        (json!({"type": "log"}), "you may not read the log;"),
    ] {
        let reply = ask(&mut bench, key, &command);
        assert_eq!((&reply["type"], &reply["for"]), (&json!("error"), &command["type"]));
        let error = reply["error"].as_str().unwrap();
        assert!(error.starts_with("Error: Not allowed: ") && error.contains(words), "{error}");
    }
    let stats = bench.state.stats();
    assert_eq!((stats.channels, stats.log_messages), (0, 0));
    assert_eq!(stats.totals.refused.last(), Some(&5));
    let reply = ask(&mut bench, key, &json!({"type": "open", "channel": "a"}));
    assert_eq!(reply["channels"], json!(["a"]));
    let reply = ask(&mut bench, key, &json!({"type": "close", "channel": "b"}));
    assert!(reply["error"].as_str().unwrap().contains("Channel b not open"));
}

#[test]
fn who_may_hear_everything_may_read_everything() {
    let mut bench = bench(100);
    let rights = Rights { hear_all: true, ..reads(&[]).as_ref().clone() };
    let (sender, key) = (bench.join(), bench.join_with(Some(Arc::new(rights))));
    ask(&mut bench, key, &json!({"type": "open", "channel": "*"}));
    ask(&mut bench, key, &json!({"type": "open", "channel": "secret"}));
    for channel in ["secret", "*", "other"] {
        publish(&mut bench, sender, channel);
        assert_eq!(bench.received(key).last().unwrap()["channel"], channel);
    }
    let log = ask(&mut bench, key, &json!({"type": "log"}));
    assert_eq!(log["log"].as_array().unwrap().len(), 3);
}
