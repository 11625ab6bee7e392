//! Fuzzing of the hub: a sequence of steps, of which every byte means something.

use super::model::{Step, follow};
use serde_json::{Value, json};

/// Most steps of an input: what goes wrong can be reached with few, and long ones are slow.
const MAX_STEPS: usize = 300;

/// Reads steps from `data` and has the state and the naive model go through them.
///
/// # Panics
/// The two do not agree.
pub fn hub(data: &[u8]) {
    let mut bytes = data.iter().copied();
    follow(std::iter::from_fn(|| step(&mut bytes)).take(MAX_STEPS));
}

/// The next step: what happens, to whom, and with what.
fn step(bytes: &mut impl Iterator<Item = u8>) -> Option<Step> {
    let what = bytes.next()?;
    let client = |bytes: &mut dyn Iterator<Item = u8>| bytes.next().unwrap_or(0).into();
    Some(match what % 16 {
        0 => Step::Join,
        1 => Step::Leave(client(bytes)),
        2 => Step::Pass(vec![]),
        3 => Step::Pass(vec![client(bytes)]),
        4 => Step::Pass(vec![client(bytes), client(bytes)]),
        5 => Step::Unstick(client(bytes)),
        6 => Step::Tick(u64::from(bytes.next().unwrap_or(0)) * 3),
        _ => {
            let client = client(bytes);
            Step::Send(client, command(bytes))
        }
    })
}

fn command(bytes: &mut impl Iterator<Item = u8>) -> Value {
    let (what, with) = (bytes.next().unwrap_or(0), bytes.next().unwrap_or(0));
    let channels = [json!("a"), json!("b"), json!(5), json!("5"), json!("*")];
    let channel = &channels[usize::from(what >> 4) % channels.len()];
    match what % 16 {
        0..=2 => json!({"type": "open", "channel": channel}),
        3 => json!({"type": "open", "channel": channel, "last": with % 12}),
        4 => json!({"type": "open", "channel": channel, "batch": with % 2 == 0}),
        5 => json!({"type": "open", "channel": channel, "pace": with.max(1)}),
        6 => json!({"type": "open", "channel": channel, "pace": null, "batch": null}),
        7 => json!({"type": "close", "channel": channel}),
        8 => json!({"type": "log"}),
        9 => json!({"type": "log", "channel": channels[usize::from(with % 4)]}),
        10 => json!({"type": "ping"}),
        11 => json!({"type": "bogus"}),
        _ => json!({"type": "message", "channel": channel, "message": null}),
    }
}
