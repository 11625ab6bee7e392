//! What a client with bounds sees of the log, against the list it should be: all messages, newest
//! first, those left out that it may not read.

use super::bench::{Bench, LIMITS};
use super::clients::ClientKey;
use super::state::Taken;
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
        (json!({"type": "open", "channel": "b"}), "you may not read channel b; ask the owner"),
        (json!({"type": "open", "channel": 5}), "you may not read channel 5;"),
        (json!({"type": "open", "channel": "*"}), "channel *, which hears every channel;"),
        (json!({"type": "message", "channel": "a"}), "you may not send to channel a;"),
        (json!({"type": "log"}), "you may not read the log;"),
        (json!({"type": "log", "channel": "a"}), "you may not read the log;"),
    ] {
        let reply = ask(&mut bench, key, &command);
        assert_eq!((&reply["type"], &reply["for"]), (&json!("error"), &command["type"]));
        let error = reply["error"].as_str().unwrap();
        assert!(error.starts_with("Error: Not allowed: ") && error.contains(words), "{error}");
    }
    let stats = bench.state.stats(0);
    assert_eq!((stats.channels, stats.log_messages), (0, 0));
    assert_eq!(stats.totals.refused.last(), Some(&6));
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

#[test]
fn the_log_of_one_channel_is_for_who_may_read_the_channel() {
    let mut bench = bench(100);
    let (sender, key) = (bench.join(), bench.join_with(Some(reads(&["a*"]))));
    for channel in ["ab", "b", "ab", "*"] {
        publish(&mut bench, sender, channel);
    }
    let log = ask(&mut bench, key, &json!({"type": "log", "channel": "ab", "start": -1}));
    assert_eq!(log["log"].as_array().unwrap().len(), 1);
    let log = ask(&mut bench, key, &json!({"type": "log", "channel": "*"}));
    assert_eq!(log["log"].as_array().unwrap().len(), 2, "that of all, as far as it may be read");
    let refused = ask(&mut bench, key, &json!({"type": "log", "channel": "b", "nonce": [1]}));
    let words = "Error: Not allowed: you may not read channel b;";
    assert!(refused["error"].as_str().unwrap().starts_with(words), "{refused}");
    assert_eq!((&refused["for"], &refused["nonce"]), (&json!("log"), &json!([1])));
    let pong = ask(&mut bench, key, &json!({"type": "ping", "nonce": 2}));
    assert_eq!((&pong["for"], &pong["nonce"]), (&json!("ping"), &json!(2)));
}

/// A log of twelve messages, every other one on `mine`, and a reader of `mine` whose socket has
/// taken nothing of what is queued for it; and the IDs of what it may read, newest first.
fn with_a_slow_reader() -> (Bench, ClientKey, ClientKey, Vec<Value>) {
    let mut bench = bench(12);
    let (sender, reader) = (bench.join(), bench.join_with(Some(reads(&["mine"]))));
    ask(&mut bench, reader, &json!({"type": "open", "channel": "mine"}));
    let mut mine = Vec::new();
    for _ in 0..6 {
        let large = json!({"type": "message", "channel": "mine", "message": "m".repeat(10_000)});
        bench.send(sender, &large);
        bench.pass(&[reader]);
        mine.insert(0, bench.received(sender).last().expect("a result").clone());
        bench.send(sender, &json!({"type": "message", "channel": "other"}));
    }
    (bench, sender, reader, mine)
}

/// The replies to `log` commands and the gaps that a client has received.
fn replies(bench: &Bench, key: ClientKey) -> Vec<Value> {
    let is_reply = |value: &&Value| value["for"] == "log" || value["type"] == "gap";
    bench.received(key).iter().filter(is_reply).cloned().collect()
}

#[test]
fn behind_a_long_queue_a_reply_waits_in_the_log_and_holds_what_it_would_have_held() {
    let (mut bench, sender, reader, mine) = with_a_slow_reader();
    let queued = bench.state.stats(0).queued_bytes;
    let taken = bench.send(reader, &json!({"type": "log", "start": 1, "end": 4, "nonce": 7}));
    assert_eq!(taken, Taken::DonePause, "its next command waits for the reply");
    assert_eq!(bench.state.stats(0).queued_bytes, queued, "the reply takes no room yet");
    // What comes later stands in front of the list, and pushes two of the others out of the log.
    for channel in ["mine", "other"] {
        bench.send(sender, &json!({"type": "message", "channel": channel}));
    }
    bench.drain();
    let replies = replies(&bench, reader);
    let log = replies[0]["log"].as_array().expect("a log");
    assert_eq!((ids(log), &replies[0]["nonce"]), (ids(&mine[1..4]), &json!(7)));
    assert_eq!(replies.len(), 1, "nothing of what was asked for has gone");
}

#[test]
fn a_gap_stands_before_a_reply_that_the_log_has_forgotten_a_part_of() {
    let (mut bench, sender, reader, mine) = with_a_slow_reader();
    bench.send(reader, &json!({"type": "log", "nonce": 7}));
    for _ in 0..4 {
        bench.send(sender, &json!({"type": "message", "channel": "other"}));
    }
    bench.drain();
    let replies = replies(&bench, reader);
    assert_eq!(replies[0], json!({"type": "gap"}));
    let log = replies[1]["log"].as_array().expect("a log");
    assert_eq!((ids(log), &replies[1]["nonce"]), (ids(&mine[..4]), &json!(7)));
    assert_eq!(replies.len(), 2);
}

/// At a slow pace a busy log forgets something before each frame.
#[test]
fn one_gap_is_told_before_a_reply_and_no_second_one() {
    let mut bench = bench(4);
    let (sender, reader) = (bench.join(), bench.join_with(Some(reads(&["mine"]))));
    publish(&mut bench, sender, "mine");
    publish(&mut bench, sender, "mine");
    ask(&mut bench, reader, &json!({"type": "open", "channel": "mine", "pace": 1}));
    bench.send(reader, &json!({"type": "log"}));
    bench.pass(&[]);
    for due in ["gap", "result"] {
        for _ in 0..3 {
            bench.send(sender, &json!({"type": "message", "channel": "other"}));
        }
        bench.now = bench.state.next_due().expect("a frame waits for its time");
        bench.pass(&[]);
        assert_eq!(bench.received(reader).last().expect("a frame")["type"], due);
    }
    assert_eq!(bench.received(reader).last().expect("a reply")["log"], json!([]));
}
