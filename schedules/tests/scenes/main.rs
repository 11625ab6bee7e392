//! Scenes of several tasks that use the hub at once, each played in many orders.
//!
//! A wake-up that is lost shows as nobody being able to go on, which shuttle reports.

mod world;

use serde_json::{Value, json};
use shuttle::future::{spawn, yield_now};
use skynet_schedules::hub::{HubLimits, NotAdmitted, Told};
use skynet_schedules::protocol::{CloseReason, CommandLimits, command};
use std::collections::HashSet;
use std::sync::Arc;
use world::{LIMITS, World, in_many_orders};

fn open(channel: &str) -> Value {
    json!({"type": "open", "channel": channel})
}

fn message(n: u64) -> Value {
    json!({"type": "message", "channel": "x", "message": n})
}

/// The contents of the events among `frames`.
fn events(frames: &[Value]) -> Vec<u64> {
    let events = frames.iter().filter(|frame| frame["type"] == "message");
    events.map(|event| event["message"].as_u64().expect("a number")).collect()
}

fn has_events(count: usize) -> impl Fn(&[Value]) -> bool {
    move |frames| events(frames).len() >= count
}

#[test]
fn every_listener_gets_every_message_in_one_order_however_full_its_socket_is() {
    in_many_orders(|| async {
        let world = World::new(LIMITS);
        let (fast, slow) = (world.join(10_000), world.join(50));
        fast.send(&open("x"));
        slow.send(&open("x"));
        let publishers = [0, 10].map(|first| {
            let sender = world.join(10_000);
            spawn(async move {
                sender.send(&message(first));
                sender.send(&message(first + 1));
                sender.hang_up().await;
            })
        });
        let at_the_fast = fast.read_until(has_events(4)).await;
        let at_the_slow = slow.read_until(has_events(4)).await;
        assert_eq!(events(&at_the_fast), events(&at_the_slow));
        for publisher in publishers {
            publisher.await.unwrap();
        }
        fast.hang_up().await;
        slow.hang_up().await;
        world.end();
    });
}

#[test]
fn who_takes_the_place_of_a_client_gets_nothing_that_was_that_clients() {
    in_many_orders(|| async {
        let world = Arc::new(World::new(LIMITS));
        let (leaving, sender) = (world.join(30), world.join(10_000));
        leaving.send(&open("x"));
        let publisher = spawn(async move {
            for n in 0..3 {
                sender.send(&message(n));
            }
            sender.hang_up().await;
        });
        let next = spawn({
            let world = world.clone();
            async move {
                leaving.hang_up().await;
                let next = world.join(40);
                next.send(&json!({"type": "ping"}));
                let frames = next.read_until(|frames| !frames.is_empty()).await;
                assert_eq!(frames[0]["for"], "ping", "{frames:?}");
                next.hang_up().await;
            }
        });
        next.await.unwrap();
        publisher.await.unwrap();
        Arc::into_inner(world).expect("nobody else's").end();
    });
}

#[test]
fn a_kicked_client_has_a_beginning_of_what_was_published_and_then_its_reason() {
    in_many_orders(|| async {
        let world = World::new(LIMITS);
        let (listener, sender) = (world.join(60), world.join(10_000));
        listener.send(&open("x"));
        let id = listener.key.id();
        let publisher = spawn(async move {
            for n in 0..3 {
                sender.send(&message(n));
            }
            sender.hang_up().await;
        });
        let hub = world.hub.clone();
        let kick = spawn(async move { assert!(hub.kick(id, "enough"), "it was there") });
        let (frames, closing) = listener.closed().await;
        let all: Vec<u64> = (0..3).collect();
        assert!(all.starts_with(&events(&frames)), "{frames:?}");
        assert_eq!((closing.reason, &*closing.text), (CloseReason::Kicked, "enough"));
        publisher.await.unwrap();
        kick.await.unwrap();
        world.end();
    });
}

#[test]
fn what_is_caught_up_on_and_what_comes_live_are_one_sequence_while_the_log_forgets() {
    in_many_orders(|| async {
        let world = World::new(HubLimits { max_log_messages: 2, ..LIMITS });
        let (reader, sender) = (world.join(50), world.join(10_000));
        sender.send(&message(0));
        sender.send(&message(1));
        let publisher = spawn(async move {
            sender.send(&message(2));
            sender.send(&message(3));
            sender.hang_up().await;
        });
        reader.send(&json!({"type": "open", "channel": "x", "last": 2}));
        let frames = reader.read_until(|frames| events(frames).contains(&3)).await;
        let got = events(&frames);
        // The log has two at any time; what it forgot before it was sent is told as a gap.
        let gap = frames.iter().any(|frame| frame["type"] == "gap");
        let whole = got.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        assert!(whole || gap && got.is_sorted(), "{frames:?}");
        publisher.await.unwrap();
        reader.hang_up().await;
        world.end();
    });
}

#[test]
fn a_log_is_answered_with_consecutive_messages_while_it_forgets() {
    in_many_orders(|| async {
        let world = World::new(HubLimits { max_log_messages: 2, ..LIMITS });
        let (reader, sender) = (world.join(50), world.join(10_000));
        let publisher = spawn(async move {
            for n in 0..4 {
                sender.send(&message(n));
            }
            sender.hang_up().await;
        });
        reader.send(&json!({"type": "log"}));
        let is_log = |frame: &Value| frame["for"] == "log";
        let frames = reader.read_until(|frames| frames.iter().any(is_log)).await;
        let log = frames.iter().find(|frame| is_log(frame)).expect("a log");
        let mut got = events(log["log"].as_array().expect("a list"));
        got.reverse();
        assert!(got.len() <= 2 && got.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{frames:?}");
        publisher.await.unwrap();
        reader.hang_up().await;
        world.end();
    });
}

#[test]
fn who_connects_while_the_hub_stops_is_refused_or_closed_and_the_hub_empties() {
    in_many_orders(|| async {
        let world = Arc::new(World::new(LIMITS));
        let early = world.join(10_000);
        let comers: Vec<_> = (0..2)
            .map(|_| {
                let world = world.clone();
                spawn(async move {
                    match world.hub.admit() {
                        Ok(admission) => {
                            let (_, closing) = world.admitted(admission, 10_000).closed().await;
                            assert_eq!(closing.reason, CloseReason::ServerStopping);
                        }
                        Err(refused) => assert_eq!(refused, NotAdmitted::Stopping),
                    }
                })
            })
            .collect();
        let hub = world.hub.clone();
        let stop = spawn(async move {
            hub.stop(CloseReason::ServerStopping);
            hub.emptied().await;
            assert_eq!(hub.client_count(), 0);
        });
        early.closed().await;
        stop.await.unwrap();
        for comer in comers {
            comer.await.unwrap();
        }
        Arc::into_inner(world).expect("nobody else's").end();
    });
}

#[test]
fn a_reader_of_the_live_log_gets_every_message_once() {
    in_many_orders(|| async {
        let world = World::new(LIMITS);
        let sender = world.join(10_000);
        sender.send(&message(0));
        let publisher = spawn(async move {
            for n in 1..4 {
                sender.send(&message(n));
            }
            sender.hang_up().await;
        });
        let (mut tap, gap) = world.hub.tap(HashSet::new(), 10, None).expect("a tap");
        assert!(!gap);
        let mut events = Vec::new();
        // A message at a time, and others send in between.
        loop {
            let told = tap.backlog(1);
            if told.is_empty() {
                break;
            }
            events.extend(told.into_iter().map(|told| match told {
                Told::Event(event) => event,
                Told::Gap => panic!("the log has room for all"),
            }));
            yield_now().await;
        }
        while events.len() < 4 {
            let tapped = tap.next().await;
            assert!(!tapped.dropped);
            events.extend(tapped.events);
        }
        let got = events.iter().map(|event| {
            let event: Value = serde_json::from_slice(event.frame.payload()).expect("JSON");
            event["message"].as_u64().expect("a number")
        });
        assert!(got.eq(0..4));
        publisher.await.unwrap();
        drop(tap);
        world.end();
    });
}

#[test]
fn places_are_never_more_than_there_are_and_always_given_back() {
    in_many_orders(|| async {
        let world = World::new(HubLimits { max_clients: 2, ..LIMITS });
        let comers: Vec<_> = (0..3)
            .map(|_| {
                let hub = world.hub.clone();
                spawn(async move { hub.admit().ok() })
            })
            .collect();
        let mut admitted = vec![];
        for comer in comers {
            admitted.extend(comer.await.unwrap());
        }
        assert_eq!(admitted.len(), 2, "as many as there are places");
        drop(admitted);
        let places = [world.hub.admit().unwrap(), world.hub.admit().unwrap()];
        assert_eq!(world.hub.admit().unwrap_err(), NotAdmitted::Full);
        drop(places);
        world.hub.emptied().await;
        world.end();
    });
}

#[test]
fn the_owners_message_reaches_a_client_that_opens_the_channel_or_is_in_the_log_for_it() {
    in_many_orders(|| async {
        let world = World::new(LIMITS);
        let listener = world.join(50);
        let hub = world.hub.clone();
        let owner = spawn(async move {
            let limits = CommandLimits { max_channel_name_bytes: 255, max_event_bytes: 130_048 };
            let draft = command::parse_message(&message(7).to_string(), limits).unwrap();
            hub.publish(draft).reached
        });
        listener.send(&json!({"type": "open", "channel": "x", "last": 5}));
        let frames = listener.read_until(has_events(1)).await;
        let replayed = frames.iter().any(|frame| frame["replay"] == true);
        assert_eq!(usize::from(!replayed), owner.await.unwrap(), "{frames:?}");
        listener.hang_up().await;
        assert_eq!(events(&frames), [7]);
        world.end();
    });
}
