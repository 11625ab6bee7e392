//! A listener that reads until it has heard a last message, or until its connection ends.

use std::time::Instant;

use serde_json::Value;
use skynet_bench::websocket::{BINARY, CLOSE};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    client::{Client, cbor_open, masked},
    ledger::{End, Heard, Id, Scope},
    problem::{Outcome, Problem, ensure, soon},
};

/// How a listener wants its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// One in each frame.
    Each,
    /// Several in a frame, ten frames a second.
    Batches,
    /// In CBOR.
    Cbor,
}

/// Until when a listener listens.
#[derive(Debug, Clone, Copy)]
enum Until {
    /// Its connection ends.
    End,
    /// It has heard this.
    Heard(Id),
    /// No longer.
    Now,
}

/// A listener that has its channel open and does not read yet.
pub struct Ready {
    client: Client,
    heard: Heard,
}

/// A listener that runs by itself.
pub struct Listener {
    task: JoinHandle<Outcome<Heard>>,
    until: watch::Sender<Until>,
}

impl Ready {
    /// Opens what `scope` says on a connection.
    ///
    /// # Errors
    /// The hub does not open it.
    pub async fn open(
        mut client: Client,
        name: &str,
        scope: Scope,
        manner: Manner,
    ) -> Outcome<Ready> {
        let channel = match &scope {
            Scope::One(channel) => channel,
            Scope::All => "*",
        };
        match manner {
            Manner::Each => client.open(channel).await?,
            Manner::Batches => {
                let open = format!(r#"{{"type":"open","channel":"{channel}","batch":true}}"#);
                drop(client.command(&open).await?);
            }
            Manner::Cbor => {
                client.write(&cbor_open(channel)).await?;
                // In CBOR only errors are told: one that is asked for says that the rest is done.
                client.write(&masked(BINARY, &[0x80])).await?;
                let told = soon("an answer in CBOR", client.told()).await?;
                ensure(told.is_some_and(|frame| frame.opcode == BINARY), || "no answer".into())?;
            }
        }
        let (opened, ids) = (Instant::now(), Vec::new());
        let heard = Heard { name: name.to_owned(), scope, opened, ids, end: End::Stayed };
        Ok(Ready { client, heard })
    }

    /// Reads from now on.
    pub fn listen(self) -> Listener {
        let (until, watched) = watch::channel(Until::End);
        Listener { task: tokio::spawn(listen(self.client, self.heard, watched)), until }
    }
}

impl Listener {
    /// Opens what `scope` says on a connection and listens from then on.
    ///
    /// # Errors
    /// The hub does not open it.
    pub async fn start(
        client: Client,
        name: &str,
        scope: Scope,
        manner: Manner,
    ) -> Outcome<Listener> {
        Ok(Ready::open(client, name, scope, manner).await?.listen())
    }

    /// What it heard, once it has heard the message with this ID.
    ///
    /// # Errors
    /// It does not hear it, and is not told that it will not.
    pub async fn through(self, id: Id) -> Outcome<Heard> {
        self.until.send_replace(Until::Heard(id));
        self.ended().await
    }

    /// What it has heard; it leaves by breaking its connection.
    ///
    /// # Errors
    /// What it was told is no event.
    pub async fn leave(self) -> Outcome<Heard> {
        self.until.send_replace(Until::Now);
        self.ended().await
    }

    /// What it heard, once its connection has ended.
    ///
    /// # Errors
    /// It does not end.
    pub async fn ended(self) -> Outcome<Heard> {
        let stop = self.task.abort_handle();
        match soon("a listener has heard all", self.task).await {
            Ok(heard) => heard.map_err(|error| Problem(error.to_string()))?,
            Err(problem) => {
                stop.abort();
                Err(problem)
            }
        }
    }
}

async fn listen(
    mut client: Client,
    mut heard: Heard,
    mut until: watch::Receiver<Until>,
) -> Outcome<Heard> {
    loop {
        let newest = heard.ids.last().copied();
        let done = |until: &Until| match until {
            Until::End => false,
            Until::Heard(last) => newest.is_some_and(|newest| newest >= *last),
            Until::Now => true,
        };
        let told = tokio::select! {
            told = client.told() => told,
            until = until.wait_for(done) => {
                if matches!(until.map(|until| *until), Ok(Until::Now)) {
                    heard.end = End::Left;
                }
                return Ok(heard);
            }
        };
        let Some(frame) = told else {
            heard.end = End::Dropped(None);
            return Ok(heard);
        };
        match frame.opcode {
            CLOSE => {
                heard.end = End::Dropped(frame.close().map(|(code, _)| code));
                return Ok(heard);
            }
            BINARY => heard.ids.extend(cbor_id(&frame.payload)),
            _ => {
                let event: Value = serde_json::from_slice(&frame.payload)
                    .map_err(|error| Problem(format!("{}: {error}", heard.name)))?;
                match event["events"].as_array() {
                    Some(events) => heard.ids.extend(events.iter().filter_map(Id::of)),
                    None => heard.ids.extend(Id::of(&event)),
                }
            }
        }
    }
}

/// The ID in an event in CBOR: the key `ID`, then a text of 36 bytes.
pub fn cbor_id(event: &[u8]) -> Option<Id> {
    let key = b"\x62ID\x78\x24";
    let at = event.windows(key.len()).position(|bytes| bytes == key)? + key.len();
    Id::parse(std::str::from_utf8(event.get(at..at + 36)?).ok()?)
}
