//! The state's policy, case by case.

use super::HubLimits;
use super::bench::{Bench, LIMITS};
use super::clients::ClientKey;
use super::state::{Receipt, Taken};
use crate::protocol::{ChannelName, CloseReason, CommandLimits, command};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub(super) fn open(bench: &mut Bench, channel: &str) -> ClientKey {
    let key = bench.join();
    bench.send(key, &json!({"type": "open", "channel": channel}));
    bench.pass(&[]);
    key
}

pub(super) fn message(size: usize) -> Value {
    json!({"type": "message", "channel": "x", "message": "m".repeat(size)})
}

#[test]
fn live_events_past_the_budget_close_the_listener_and_nobody_else() {
    let limits = HubLimits { max_queue_bytes: 300_000, ..LIMITS };
    let mut bench = Bench::new(limits);
    let (slow, fast, sender) = (open(&mut bench, "x"), open(&mut bench, "x"), bench.join());
    for _ in 0..3 {
        bench.send(sender, &message(100_000));
        bench.pass(&[slow, sender]);
        bench.unstick(sender);
    }
    assert_eq!(bench.closed.len(), 1);
    assert_eq!((bench.closed[0].0, bench.closed[0].1.reason), (slow, CloseReason::TooSlow));
    assert_eq!(bench.received(fast).len(), 1 + 3);
    assert_eq!(bench.send(slow, &json!({"type": "log"})), Taken::Closing);
    assert_eq!(bench.state.stats(0).queued_bytes, 0);
    let left = bench.state.leave(slow, CloseReason::TooSlow, 0).expect("a client");
    assert_eq!(left.counters.dropped, 2, "one in the queue, and the one that was too much");
}

#[test]
fn commands_wait_while_half_of_the_budget_is_queued_so_that_replies_never_exceed_it() {
    let mut bench = Bench::new(LIMITS);
    let (reader, sender) = (bench.join(), bench.join());
    for _ in 0..8 {
        bench.send(sender, &message(100_000));
        bench.pass(&[]);
    }
    let mut asked = 0;
    while bench.send(reader, &message(100_000)) == Taken::Done {
        asked += 1;
        bench.pass(&[reader]);
        assert!(asked < 100, "reading is never paused");
    }
    let queued = bench.state.stats(0).longest_queue_bytes;
    assert!((LIMITS.max_queue_bytes / 2..LIMITS.max_queue_bytes).contains(&queued), "{queued}");
    assert!(!bench.state.may_read(reader));
    bench.unstick(reader);
    assert!(bench.state.may_read(reader));
}

#[test]
fn when_all_queues_together_are_too_long_the_longest_goes_first() {
    let limits = HubLimits { total_queue_bytes: 610_000, ..LIMITS };
    let mut bench = Bench::new(limits);
    let (longest, sender) = (open(&mut bench, "x"), bench.join());
    bench.send(sender, &message(100_000));
    bench.pass(&[longest]);
    let shorter = open(&mut bench, "x");
    for _ in 0..2 {
        bench.send(sender, &message(100_000));
        bench.pass(&[longest, shorter]);
    }
    assert!(bench.closed.is_empty(), "the budget is not exceeded yet");
    bench.send(sender, &message(100_000));
    bench.pass(&[]);
    let closed: Vec<ClientKey> = bench.closed.iter().map(|(key, _)| *key).collect();
    assert_eq!(closed, [longest]);
}

#[test]
fn queues_of_clients_that_are_being_closed_are_cut_before_anybody_is_closed_for_them() {
    let limits = HubLimits { total_queue_bytes: 410_000, ..LIMITS };
    let mut bench = Bench::new(limits);
    let (stuck, waiting) = (open(&mut bench, "x"), open(&mut bench, "x"));
    let (reader, sender) = (open(&mut bench, "y"), bench.join());
    // One has its queue with the session that cannot write it, the other still in the hub.
    bench.send(sender, &message(100_000));
    bench.pass(&[stuck]);
    bench.send(sender, &message(100_000));
    bench.state.close_client(stuck, CloseReason::ProtocolError, "");
    bench.state.close_client(waiting, CloseReason::ProtocolError, "");
    bench.pass(&[stuck, waiting]);
    assert_eq!(bench.closed.len(), 2);
    let healthy = json!({"type": "message", "channel": "y", "message": "m".repeat(60_000)});
    for _ in 0..20 {
        bench.send(sender, &healthy);
        let queued = bench.state.stats(0).queued_bytes;
        assert!(queued <= limits.total_queue_bytes, "{queued} bytes are queued");
        bench.pass(&[stuck, waiting]);
    }
    assert_eq!(bench.received(reader).len(), 1 + 20);
    assert_eq!(bench.closed.len(), 2, "nobody else is closed: {:?}", bench.closed);
}

#[test]
fn two_unanswered_pings_close_and_any_pong_counts_as_an_answer() {
    let mut bench = Bench::new(LIMITS);
    let (silent, alive) = (bench.join(), bench.join());
    let (start, interval) = (Instant::now(), Duration::from_secs(25));
    for round in 1..=3 {
        let now = start + interval * round + Duration::from_secs(1);
        bench.state.ping_round(interval, now);
        bench.pass(&[]);
        assert_eq!(bench.state.pong(alive, b"unasked", now), None);
    }
    assert_eq!(bench.send(silent, &json!({"type": "log"})), Taken::Closing);
    assert_eq!(bench.send(alive, &json!({"type": "log"})), Taken::Done);
    let now = start + interval * 4 + Duration::from_secs(2);
    bench.state.ping_round(interval, now);
    let answered = now + Duration::from_millis(40);
    let sequence = 4_u32.to_be_bytes();
    assert_eq!(bench.state.pong(alive, &sequence, answered), Some(Duration::from_millis(40)));
}

#[test]
fn a_slot_used_again_is_not_the_client_that_had_it() {
    let mut bench = Bench::new(LIMITS);
    let first = open(&mut bench, "x");
    bench.send(first, &json!({"type": "log"}));
    bench.state.leave(first, CloseReason::ConnectionLost, 0);
    let second = bench.join();
    assert_eq!(first.slot(), second.slot());
    bench.pass(&[]);
    assert!(bench.received(second).is_empty(), "what the first was due is not the second's");
    bench.state.close_client(first, CloseReason::Kicked, "");
    assert_eq!(bench.send(second, &json!({"type": "log"})), Taken::Done);
    assert_eq!(bench.send(first, &json!({"type": "log"})), Taken::Closing);
}

#[test]
fn a_kicked_client_is_sent_what_was_queued_and_nothing_that_came_later() {
    let mut bench = Bench::new(LIMITS);
    let (kicked, sender) = (open(&mut bench, "x"), bench.join());
    bench.send(sender, &message(1));
    bench.state.close_client(kicked, CloseReason::Kicked, "enough");
    bench.send(sender, &message(2));
    bench.pass(&[]);
    assert_eq!(bench.closed.len(), 1);
    assert_eq!((bench.closed[0].0, &*bench.closed[0].1.text), (kicked, "enough"));
    let got: Vec<&Value> =
        bench.received(kicked).iter().filter(|v| v["type"] == "message").collect();
    assert_eq!(got.len(), 1);
    assert_eq!(got[0]["message"], "m");
}

#[test]
fn a_message_of_the_owner_reaches_every_listener() {
    let mut bench = Bench::new(LIMITS);
    let (listener, everything) = (open(&mut bench, "x"), open(&mut bench, "*"));
    let limits = CommandLimits { max_channel_name_bytes: 255, max_event_bytes: 130_048 };
    let draft = command::parse_message(&message(1).to_string(), limits).expect("a message");
    assert_eq!(draft.channel(), &ChannelName::from_text("x"));
    let received = Receipt { unix_ms: 5, instant: bench.now };
    assert_eq!(bench.state.publish(None, draft, received).1, 2);
    bench.pass(&[]);
    assert_eq!(bench.received(listener).len(), 2);
    assert_eq!(bench.received(everything).len(), 2);
}

#[test]
fn the_only_listener_of_a_new_channel_may_be_too_slow_for_its_first_message() {
    let limits = HubLimits { max_queue_bytes: 1000, max_message_bytes: 400, ..LIMITS };
    let mut bench = Bench::new(limits);
    let (sender, slow) = (bench.join(), bench.join());
    for channel in ["old", "new"] {
        bench.send(slow, &json!({"type": "open", "channel": channel}));
    }
    bench.pass(&[slow]);
    let long = "m".repeat(300);
    for channel in ["old", "old", "new"] {
        let message = json!({"type": "message", "channel": channel, "message": long});
        assert_eq!(bench.send(sender, &message), Taken::Done);
        bench.pass(&[slow]);
    }
    let closed: Vec<_> = bench.closed.iter().map(|(key, closing)| (*key, closing.reason)).collect();
    assert_eq!(closed, [(slow, CloseReason::TooSlow)]);
    assert_eq!((bench.state.log.len(), bench.received[&sender.id()].len()), (3, 3));
}

#[test]
fn what_is_caught_up_on_leaves_room_for_live_events_in_a_small_budget() {
    let limits = HubLimits {
        max_queue_bytes: 8192,
        max_message_bytes: 4096,
        max_log_messages: 100,
        ..LIMITS
    };
    let mut bench = Bench::new(limits);
    let (sender, reader) = (bench.join(), bench.join());
    for _ in 0..100 {
        bench.send(sender, &message(300));
        bench.pass(&[]);
    }
    bench.send(reader, &json!({"type": "open", "channel": "x", "last": 100}));
    bench.pass(&[reader]);
    for _ in 0..5 {
        bench.send(sender, &message(300));
        bench.pass(&[reader]);
    }
    assert_eq!(bench.closed, []);
    bench.unstick(reader);
    bench.drain();
    assert_eq!(bench.received(reader).len(), 1 + 105);
}

#[test]
fn an_event_that_is_too_large_in_cbor_counts_as_dropped_and_not_as_sent() {
    let limits = HubLimits { max_message_bytes: 4096, ..LIMITS };
    let mut bench = Bench::new(limits);
    let (sender, second) = (bench.join(), open(&mut bench, "x"));
    bench.state.speak_cbor(second);
    let fractions = json!({"type": "message", "channel": "x", "message": vec![0.1; 700]});
    for command in [fractions, message(5)] {
        bench.send(sender, &command);
        bench.pass(&[]);
    }
    let left = bench.state.leave(second, CloseReason::ClientClosed, 0).expect("a client");
    assert_eq!((left.counters.messages_out, left.counters.dropped), (1, 1));
}

#[test]
fn a_session_that_has_had_its_turn_leaves_the_rest_to_the_flusher() {
    let mut bench = Bench::new(HubLimits { max_log_messages: 1000, ..LIMITS });
    let (sender, reader) = (bench.join(), bench.join());
    for _ in 0..500 {
        bench.send(sender, &message(1000));
        bench.pass(&[]);
    }
    bench.send(reader, &json!({"type": "open", "channel": "x", "last": 500}));
    bench.pass(&[reader]);
    let stuck = bench.stuck.remove(&reader.id()).expect("its socket is full");
    bench.received.entry(reader.id()).or_default().extend(stuck);
    bench.state.hand_over(reader);
    assert!(bench.state.has_jobs());
    bench.drain();
    assert_eq!(bench.received(reader).len(), 1 + 500);
    bench.state.hand_over(reader);
    assert!(!bench.state.has_jobs(), "nothing is left");
}

#[test]
fn of_equal_messages_the_oldest_is_left_out_at_a_pace_and_the_next_one_says_so() {
    let mut bench = Bench::new(LIMITS);
    let (paced, sender) = (bench.join(), bench.join());
    bench.send(paced, &json!({"type": "open", "channel": "x", "pace": 2}));
    for _ in 0..3 {
        bench.send(sender, &message(1));
    }
    bench.drain();
    let sent: Vec<&Value> = bench.received(sender).iter().map(|result| &result["ID"]).collect();
    let got = &bench.received(paced)[1..];
    let got: Vec<_> = got.iter().map(|event| (&event["ID"], event.get("dropped"))).collect();
    assert_eq!(got, [(sent[1], Some(&json!(1))), (sent[2], None)]);
}
