//! Instructions that the codec, a message and the log take: `cargo bench --bench instructions`.
//!
//! Counted by Valgrind's callgrind, so that the same program counts the same on any machine, however
//! busy: what time cannot tell on a shared machine, a count can. Each case has a limit a tenth above what
//! it took when it was last looked at; more is an error and wants a reason. Needs Linux, `valgrind`, and
//! `gungraun-runner` of the version in `Cargo.lock`, which `cargo install --locked gungraun-runner` has.
//!
//! The cases say what must not depend on sizes: a log reply of 100 of 100,000 is to cost what it costs of
//! 100, and the 10,001st client what the first one does.

#![allow(missing_docs, reason = "what the library's macros make has none")]

#[path = "support/room.rs"]
#[allow(dead_code, reason = "each benchmark needs its own part of it")]
mod room;

use gungraun::prelude::*;
use gungraun::{Callgrind, EventKind};
use room::{CHANNEL, LIMITS, Room, message, open};
use skynet::hub::{ClientKey, Written};
use skynet::protocol::websocket::{Decoder, Incoming};
use skynet::protocol::{Event, Frame, Request, Stamp, Stamper, cbor, command};
use std::hint::black_box;

/// Bytes of text in a message.
const TEXT: usize = 128;

/// A case whose instructions are `limit` at most.
fn at_most(limit: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, limit)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

// --- the codec ------------------------------------------------------------------------------------

fn masked(payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn message_frame(bytes: usize) -> Vec<u8> {
    masked(message(CHANNEL, bytes).as_bytes())
}

#[library_benchmark]
#[bench::of_128_bytes(args = (TEXT), setup = message_frame, config = at_most(350))]
#[bench::of_15_000_bytes(args = (15_000), setup = message_frame, config = at_most(5_000))]
fn a_frame(mut bytes: Vec<u8>) -> (bool, Vec<u8>) {
    let (mut decoder, mut at) = (Decoder::new(1 << 20), 0);
    let incoming = decoder.next(black_box(&mut bytes), &mut at);
    let whole = matches!(incoming, Ok(Some(Incoming::Message { .. })));
    (black_box(whole), bytes)
}

fn text(bytes: usize) -> String {
    message(CHANNEL, bytes)
}

fn an_open(_: usize) -> String {
    open(CHANNEL)
}

#[library_benchmark]
#[bench::a_message_of_128_bytes(args = (TEXT), setup = text, config = at_most(6_300))]
#[bench::a_message_of_15_000_bytes(args = (15_000), setup = text, config = at_most(72_000))]
#[bench::an_open(args = (0), setup = an_open, config = at_most(4_400))]
fn a_command_in_json(text: String) -> (Option<Request>, String) {
    (black_box(command::parse(black_box(&text), LIMITS)).ok(), text)
}

/// `["message", {"channel": …, "message": …}]`.
fn message_in_cbor(bytes: usize) -> Vec<u8> {
    let mut out = vec![0x82, 0x67];
    out.extend_from_slice(b"message");
    out.push(0xa2);
    for (key, value) in [("channel", CHANNEL), ("message", &"x".repeat(bytes))] {
        for text in [key, value] {
            match text.len() {
                0..24 => out.push(0x60 | text.len() as u8),
                _ => {
                    out.push(0x79);
                    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
                }
            }
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

#[library_benchmark]
#[bench::a_message_of_128_bytes(args = (TEXT), setup = message_in_cbor, config = at_most(5_000))]
#[bench::a_message_of_15_000_bytes(args = (15_000), setup = message_in_cbor, config = at_most(82_000))]
fn a_command_in_cbor(bytes: Vec<u8>) -> (Option<Request>, Vec<u8>) {
    (black_box(cbor::parse(black_box(&bytes), LIMITS)).ok(), bytes)
}

fn stamp() -> Stamp {
    Stamper::new(1).next(1_700_000_000_000)
}

fn event(bytes: usize) -> Event {
    command::parse_message(&text(bytes), LIMITS).expect("it is a message").stamp(stamp())
}

#[library_benchmark]
#[bench::of_128_bytes(args = (TEXT), setup = event, config = at_most(6_400))]
#[bench::of_15_000_bytes(args = (15_000), setup = event, config = at_most(35_000))]
fn an_event_in_cbor(event: Event) -> (Option<Frame>, Event) {
    (black_box(cbor::event_frame(black_box(&event), None, 1 << 20)).ok(), event)
}

library_benchmark_group!(
    name = codec,
    benchmarks = [a_frame, a_command_in_json, a_command_in_cbor, an_event_in_cbor]
);

// --- a message ------------------------------------------------------------------------------------

struct Publish {
    room: Room,
    sender: ClientKey,
    text: String,
}

/// A hub with so many listeners whose first messages have gone, with a full log of 1,000.
fn listeners(count: usize) -> Publish {
    let mut room = Room::new(1_000).expect("a hub");
    room.listen(count).expect("listeners");
    prepared(room, 1_001, message(CHANNEL, TEXT))
}

/// The same, whose listeners speak CBOR.
fn listeners_in_cbor(count: usize) -> Publish {
    let mut room = Room::new(1_000).expect("a hub");
    room.listen(count).expect("listeners");
    room.others_speak_cbor();
    prepared(room, 1_001, message(CHANNEL, TEXT))
}

fn prepared(mut room: Room, messages: usize, text: String) -> Publish {
    let sender = room.sender();
    for _ in 0..messages {
        room.send(sender, &message(CHANNEL, TEXT));
        room.write(Written::All);
    }
    Publish { room, sender, text }
}

#[library_benchmark]
#[bench::to_nobody(args = (0), setup = listeners, config = at_most(11_000))]
#[bench::to_one(args = (1), setup = listeners, config = at_most(11_000))]
#[bench::to_5(args = (5), setup = listeners, config = at_most(14_000))]
#[bench::to_100(args = (100), setup = listeners, config = at_most(67_000))]
#[bench::to_10_000(args = (10_000), setup = listeners, config = at_most(5_700_000))]
#[bench::to_100_in_cbor(args = (100), setup = listeners_in_cbor, config = at_most(74_000))]
fn a_message(mut publish: Publish) -> (usize, Publish) {
    publish.room.send(publish.sender, black_box(&publish.text));
    (publish.room.write(Written::All), publish)
}

#[library_benchmark]
#[bench::to_100(args = (100), setup = listeners, config = at_most(860_000))]
fn a_burst_of_20(mut publish: Publish) -> (usize, Publish) {
    for _ in 0..20 {
        publish.room.send(publish.sender, black_box(&publish.text));
    }
    (publish.room.write(Written::All), publish)
}

library_benchmark_group!(name = fan_out, benchmarks = [a_message, a_burst_of_20]);

// --- the log and the registries -------------------------------------------------------------------

/// A full log of so many messages, and a command that asks for the newest 100.
fn full_log(kept: usize) -> Publish {
    let room = Room::new(kept).expect("a hub");
    prepared(room, kept + 1, format!(r#"{{"type":"log","channel":"{CHANNEL}"}}"#))
}

#[library_benchmark]
#[bench::of_100_messages(args = (100), setup = full_log, config = at_most(30_000))]
#[bench::of_100_000_messages(args = (100_000), setup = full_log, config = at_most(30_000))]
fn a_log_of_100(mut publish: Publish) -> (usize, Publish) {
    publish.room.send(publish.sender, black_box(&publish.text));
    (publish.room.write(Written::All), publish)
}

/// A hub with so many clients that have a channel each.
fn clients(count: usize) -> Room {
    let mut room = Room::new(100).expect("a hub");
    for number in 0..count {
        let client = room.join().expect("a client");
        room.send(client, &open(&format!("channel-{number}")));
    }
    room.write(Written::All);
    // The allocator puts what those have given back in order when it is asked next.
    come_and_go(&mut room);
    room
}

fn come_and_go(room: &mut Room) {
    let client = room.join().expect("a client");
    room.send(client, &open("its own"));
    room.write(Written::All);
    room.leave();
}

#[library_benchmark]
#[bench::after_1(args = (1), setup = clients, config = at_most(11_000))]
#[bench::after_10_000(args = (10_000), setup = clients, config = at_most(11_000))]
fn a_client_with_a_channel(mut room: Room) -> Room {
    come_and_go(&mut room);
    room
}

library_benchmark_group!(
    name = log_and_registries,
    benchmarks = [a_log_of_100, a_client_with_a_channel]
);

main!(library_benchmark_groups = codec, fan_out, log_and_registries);
