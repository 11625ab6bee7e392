//! What counting costs: `cargo bench --bench counting`.
//!
//! In one thread and without sockets: a client's command goes into the hub, and what it queues for 100
//! listeners is taken out and reported as written, which is all that the hub does of a delivery. Beside
//! it, what of that is counting:
//!
//! - the message: its source, the histograms of its bytes, its listeners and its time, and the two
//!   readings of the clock that the time needs;
//! - the deliveries: the mark that the one message under measurement leaves in each outbox. It is
//!   measured as the difference between a hub that measures every message and one that is kept from it
//!   by a listener that reads nothing, which is the dearest it can be.
//!
//! The table shows the median of the rounds.

#[path = "support/entry.rs"]
mod entry;
#[path = "support/room.rs"]
#[allow(dead_code, reason = "each benchmark needs its own part of it")]
mod room;

use room::{CHANNEL, Room, message, open};
use skynet::hub::{Source, Totals, Written};
use skynet::protocol::CommandKind;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

/// Listeners of the channel.
const LISTENERS: usize = 100;
/// Messages of one measurement.
const MESSAGES: usize = 2_000;
/// How often everything is measured.
const ROUNDS: usize = 15;
/// Calls of the functions that count a message, in one measurement.
const CALLS: usize = 200_000;

fn main() -> ExitCode {
    entry::main("counting", |_| run())
}

fn run() -> Result<(), String> {
    let (mut marked, mut unmarked) = (Bench::new()?, Bench::new()?);
    unmarked.block_measurement()?;
    let (mut with, mut without, mut message) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        // Turn by turn, so that a slow moment of the machine meets all.
        with.push(marked.publish());
        without.push(unmarked.publish());
        message.push(count_messages());
    }
    marked.check((MESSAGES * ROUNDS) as u64)?;
    unmarked.check(0)?;
    let (whole, bare, message) = (median(with), median(without), median(message));
    let marks = (whole - bare).max(0.0);
    println!("{LISTENERS} listeners, {ROUNDS} rounds of {MESSAGES} messages");
    println!("{:<46} {:>12} {:>12} {:>8}", "", "ns/message", "ns/delivery", "share");
    for (what, nanos) in [
        ("a message, in and out, every one measured", whole),
        ("the same while another is measured", bare),
        ("of it: counting the message, and the clock", message),
        ("of it: marks of the message under measurement", marks),
    ] {
        let (each, share) = (nanos / LISTENERS as f64, 100.0 * nanos / whole);
        println!("{what:<46} {nanos:>12.0} {each:>12.2} {share:>7.1}%");
    }
    Ok(())
}

/// A hub with a sender and listeners.
struct Bench(Room);

impl Bench {
    fn new() -> Result<Self, String> {
        let mut room = Room::new(1_000)?;
        room.listen(LISTENERS)?;
        Ok(Self(room))
    }

    /// Begins to measure a delivery that never ends, so that no other is measured.
    fn block_measurement(&mut self) -> Result<(), String> {
        let room = &mut self.0;
        let stuck = room.join()?;
        room.send(stuck, &open("stuck"));
        room.write(Written::All);
        let sender = room.sender();
        room.send(sender, &message("stuck", 1));
        room.write(Written::Left(0));
        // The sender's socket takes what it has of its own.
        room.hub().wrote(sender, 0);
        Ok(())
    }

    /// Nanoseconds for a message, of many, in and out.
    fn publish(&mut self) -> f64 {
        let (room, text) = (&mut self.0, message(CHANNEL, 100));
        let sender = room.sender();
        let begun = Instant::now();
        for _ in 0..MESSAGES {
            room.send(sender, &text);
            room.write(Written::All);
        }
        begun.elapsed().as_nanos() as f64 / MESSAGES as f64
    }

    /// Checks that all was delivered, and so many deliveries measured.
    fn check(&self, measured: u64) -> Result<(), String> {
        let totals = self.0.hub().stats().totals;
        let delivered = (LISTENERS * MESSAGES * ROUNDS) as u64;
        // What blocks the measurement is one more.
        let got = (totals.delivered / LISTENERS as u64, totals.delivery_nanos.count());
        let expected = (delivered / LISTENERS as u64, measured);
        if got == expected {
            return Ok(());
        }
        Err(format!("messages and measurements are {got:?} and should be {expected:?}"))
    }
}

/// Nanoseconds for the counting of a message, of many.
fn count_messages() -> f64 {
    let mut totals = Totals::default();
    let begun = Instant::now();
    for call in 0..CALLS {
        let received = Instant::now();
        let totals = black_box(&mut totals);
        totals.count_message(Source::Client, black_box(200 + call % 100), black_box(LISTENERS));
        totals.count_command_time(Some(CommandKind::Message), received.elapsed());
    }
    begun.elapsed().as_nanos() as f64 / CALLS as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
