//! The table of RFC 6455, each case alone, each whole and then a byte at a time.

use std::net::SocketAddr;

use skynet_bench::websocket::{CLOSE, PING, PONG, TEXT};
use tokio::task::JoinSet;

use super::{Figures, Stage};
use crate::{
    client::{Client, masked},
    problem::{During, Outcome, Problem, ensure, soon},
    table::{Case, Expected, cases},
};

/// Many, since the hub waits two seconds for the answer to a close after which it can read nothing.
const AT_ONCE: usize = 200;
/// Cases longer than this are not sent byte by byte.
const SHORT: usize = 300;

pub(super) async fn play(stage: &Stage<'_>) -> Outcome<Figures> {
    let hub = stage.server.hub();
    let (mut running, mut tried) = (JoinSet::new(), 0);
    let rounds = stage.either(1, 20);
    for _ in 0..rounds {
        for case in cases() {
            for pieces in [false, true] {
                if pieces && case.bytes.len() > SHORT {
                    continue;
                }
                if running.len() == AT_ONCE
                    && let Some(ended) = running.join_next().await
                {
                    ended.during("a case")??;
                }
                let case = case.clone();
                running.spawn(async move {
                    let held = try_case(hub, &case, pieces).await;
                    let how = if pieces { ", byte by byte" } else { "" };
                    held.during(format_args!("RFC 6455, {}, {}{how}", case.section, case.what))
                });
                tried += 1;
            }
        }
    }
    while let Some(ended) = running.join_next().await {
        ended.during("a case")??;
    }
    Ok(vec![("cases", cases().len() as u64), ("tried", tried)])
}

async fn try_case(hub: SocketAddr, case: &Case, pieces: bool) -> Outcome {
    let mut client = Client::connect(hub).await?;
    let size = if pieces { 1 } else { case.bytes.len() };
    for piece in case.bytes.chunks(size) {
        // The hub may hang up before it has read all of what it refuses.
        if client.write(piece).await.is_err() {
            break;
        }
    }
    match &case.expected {
        Expected::Goes(opcodes) => {
            // A ping of its own shows where the answers end and that the connection goes on.
            client.write(&masked(PING, b"the end")).await?;
            let mut came = Vec::new();
            loop {
                let frame = soon("an answer", client.next()).await?;
                let frame = frame.ok_or_else(|| Problem("the connection ended".into()))?;
                if frame.opcode == PONG && frame.payload == b"the end" {
                    break;
                }
                came.push(frame.opcode);
            }
            ensure(came == *opcodes, || format!("opcodes {came:?} came, not {opcodes:?}"))?;
            client.leave().await
        }
        Expected::Close(code) => {
            let (got, reason) = closed(&mut client).await?;
            ensure(got == Some(*code), || format!("closed with {got:?} ({reason}), not {code}"))?;
            ensure(!reason.is_empty(), || "the close does not say why".into())?;
            // The hub hangs up once it has its answer, or by itself.
            let _ = client.write(&masked(CLOSE, &code.to_be_bytes())).await;
            ended(&mut client).await
        }
        Expected::Answered(code) => {
            let (got, _) = closed(&mut client).await?;
            ensure(got == *code, || format!("answered with {got:?}, not {code:?}"))?;
            ended(&mut client).await
        }
    }
}

/// The close frame that comes after any answers.
async fn closed(client: &mut Client) -> Outcome<(Option<u16>, String)> {
    loop {
        let frame = soon("a close frame", client.next()).await?;
        let frame = frame.ok_or_else(|| Problem("the end without a close frame".into()))?;
        match (frame.opcode, frame.close()) {
            (_, Some((code, reason))) => return Ok((Some(code), reason)),
            (CLOSE, None) => return Ok((None, String::new())),
            (TEXT | PONG, None) => {}
            (opcode, None) => return Err(Problem(format!("opcode {opcode} came"))),
        }
    }
}

async fn ended(client: &mut Client) -> Outcome {
    let after = soon("the end", client.next()).await?;
    ensure(after.is_none(), || format!("after the close came {after:?}"))
}
