//! What is counted as the state goes about its work, and the measurement of deliveries.

use super::bench::{Bench, LIMITS};
use super::state::Receipt;
use super::state_tests::{message, open};
use crate::protocol::{ChannelName, CloseReason, Draft};
use serde_json::json;

#[test]
fn a_delivery_takes_until_the_last_listener_is_written_to() {
    let mut bench = Bench::new(LIMITS);
    let (fast, slow, sender) = (open(&mut bench, "x"), open(&mut bench, "x"), bench.join());
    bench.send(sender, &message(1));
    bench.pass(&[slow]);
    let measured = |bench: &Bench| bench.state.stats(0).totals.delivery_nanos;
    assert_eq!(measured(&bench).count(), 0, "one listener waits");
    bench.send(sender, &message(1));
    bench.pass(&[]);
    assert_eq!(bench.received(fast).len(), 1 + 2);
    assert_eq!(measured(&bench).count(), 0, "the second message is not measured");
    bench.unstick(slow);
    assert_eq!((measured(&bench).count(), measured(&bench).sum()), (1, 1_000_000));
    bench.send(sender, &message(1));
    bench.pass(&[]);
    assert_eq!(measured(&bench).count(), 2);
}

#[test]
fn a_listener_that_is_lost_or_cut_is_not_waited_for_and_not_taken_for_written_to() {
    for written in [true, false] {
        let mut bench = Bench::new(LIMITS);
        let listeners = [open(&mut bench, "x"), open(&mut bench, "x"), open(&mut bench, "x")];
        let sender = bench.join();
        bench.send(sender, &message(1));
        bench.pass(if written { &listeners[1..] } else { &listeners });
        let [first, lost, cut] = listeners;
        bench.state.lose(lost);
        bench.state.close_client(cut, CloseReason::Kicked, "");
        // Its session has dropped what it had, and reports an empty queue.
        bench.state.dropped(cut, CloseReason::Kicked, 1);
        bench.state.wrote(cut, 0, bench.now);
        bench.time_probe();
        let measured = |bench: &Bench| bench.state.stats(0).totals.delivery_nanos.count();
        assert_eq!(measured(&bench), u64::from(written));
        bench.state.leave(first, CloseReason::ConnectionLost, 0);
        assert_eq!(measured(&bench), u64::from(written));
        assert!(bench.state.probe.begin(bench.now), "the measurement has ended");
    }
}

#[test]
fn commands_and_messages_are_counted_by_what_became_of_them_and_where_they_came_from() {
    let mut bench = Bench::new(LIMITS);
    let sender = open(&mut bench, "x");
    bench.send(sender, &message(1));
    bench.send(sender, &json!({"type": "close", "channel": "y"}));
    bench.send(sender, &json!({"type": "bogus"}));
    let draft = Draft::new(ChannelName::from_text("x"), 0);
    let received = Receipt { unix_ms: 5, instant: bench.now };
    bench.state.publish(None, draft, received);
    let totals = bench.state.stats(0).totals;
    assert_eq!(totals.messages, [1, 1]);
    assert_eq!(totals.commands, [1, 0, 1, 0, 0]);
    assert_eq!(totals.refused_commands, [0, 1, 0, 0, 0, 1]);
    assert_eq!((totals.message_listeners.count(), totals.message_listeners.sum()), (2, 1));
}
