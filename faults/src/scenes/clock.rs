//! The system's clock goes back, and forth, by hours: the hub's times and IDs never go back, and what
//! it times by itself goes on.
//!
//! The clock is that of Debian's libfaketime, which the program is started with; a file tells it
//! how far to be off.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};

use super::{Figures, Stage};
use crate::{
    audit::Base,
    bystanders::Bystanders,
    client::{Client, publication},
    ledger::{Id, Ledger},
    problem::{During, Outcome, Problem, ensure},
    server::Server,
};

/// How far the clock is off, in seconds, one after the other.
const STEPS: [i64; 7] = [0, -3600, 60, -60, 86_400, -1_000_000_000, 0];

/// The library that stands between a program and the clock.
fn library() -> Outcome<PathBuf> {
    let found = fs::read_dir("/usr/lib").into_iter().flatten().flatten().find_map(|folder| {
        let library = folder.path().join("faketime/libfaketimeMT.so.1");
        library.exists().then_some(library)
    });
    found.ok_or_else(|| {
        Problem(
            "there is no libfaketime: install Debian's package faketime, or leave this scene out"
                .into(),
        )
    })
}

pub(super) async fn play(stage: &Stage<'_>) -> Outcome<Figures> {
    let library = library()?;
    let folder = Folder::new("clock")?;
    let offset = folder.0.join("offset");
    let off_by = |seconds: i64| fs::write(&offset, format!("{seconds:+}\n")).during("the clock");
    off_by(0)?;
    let setup = stage.setup.with(&[
        ("LD_PRELOAD", &library.to_string_lossy()),
        ("FAKETIME_TIMESTAMP_FILE", &offset.to_string_lossy()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ]);
    let server = Server::start(&setup).await?;
    let base = Base::of(&server).await?;
    let ledger = Arc::new(Ledger::default());
    let bystanders = Bystanders::start(server.hub(), ledger.clone()).await?;
    let mut client = Client::connect(server.hub()).await?;
    let (mut newest, mut messages) = (None, 0);
    // Two commands each, below the rate of commands that a client may send for long.
    let mut pace = interval(Duration::from_millis(5));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ahead = 0;
    for _ in 0..stage.either(1, 20) {
        for seconds in STEPS {
            off_by(seconds)?;
            ahead = ahead.max(seconds);
            for _ in 0..100 {
                pace.tick().await;
                let sent = Instant::now();
                let reply = client.command(&publication("clock", "\"what time is it?\"")).await?;
                let (id, time) = (Id::of(&reply), reply["time"].as_u64());
                let (Some(id), Some(time)) = (id, time) else {
                    return Err(Problem(format!("no time in {reply}")));
                };
                ledger.acknowledged(id, sent);
                let pong = client.command(r#"{"type":"ping"}"#).await?["time"].as_u64();
                ensure(Some((id, time)) > newest, || format!("{id} at {time} after {newest:?}"))?;
                ensure(pong >= Some(time), || format!("a ping at {pong:?} after {time}"))?;
                if let Some((_, before)) = newest {
                    ensure(time >= before, || format!("{time} after {before}"))?;
                }
                newest = Some((id, time));
                messages += 1;
            }
        }
    }
    // The steps were seen: the time of the last message is that of the clock furthest ahead.
    let now = std::time::UNIX_EPOCH.elapsed().during("this clock")?.as_millis() as u64;
    let time = newest.map_or(0, |(_, time)| time);
    let expected = now + ahead as u64 * 1000;
    let near = time.abs_diff(expected) < 120_000;
    ensure(near, || format!("the clock was not moved: {time}, and not about {expected}"))?;
    client.leave().await?;
    bystanders.unharmed().await?;
    base.audit(&server, &ledger, &[]).await?;
    Ok(vec![("messages", messages), ("steps", STEPS.len() as u64)])
}

/// A folder that goes with the scene.
pub(super) struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Outcome<Folder> {
        let name = format!("skynet-faults-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).during(folder.display())?;
        Ok(Folder(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0 as &Path);
    }
}
