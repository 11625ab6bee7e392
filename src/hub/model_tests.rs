//! The state against the naive model, over steps as proptest draws them.

use super::model::{Step, follow};
use proptest::prelude::*;
use serde_json::json;

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
        8 => channel.prop_map(
            |channel| json!({"type": "message", "channel": channel, "message": null})
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
        follow(steps);
    }
}
