//! The disk with the file of bans is full: a ban holds in memory, the owner is told that it was not
//! kept, the file that is there stays whole, and once there is room all is kept again.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    sync::Arc,
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{Figures, Stage, clock::Folder};
use crate::{
    audit::Base,
    bystanders::Bystanders,
    client::Client,
    http::{ask, json},
    ledger::Ledger,
    problem::{During, Outcome, ensure, soon},
    server::Server,
};

/// What the program's log says of a ban that could not be written.
const NOT_KEPT: &str = "the bans are not saved";

/// A small disk of its own, unmounted with the scene.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(folder: &'a Path) -> Outcome<Disk<'a>> {
        let options = c"size=512k,mode=0700";
        let mounted = mount("tmpfs", folder, "tmpfs", MountFlags::empty(), Some(options));
        mounted.during("a small disk takes the right to mount (root), or leave this scene out")?;
        Ok(Disk(folder))
    }

    /// Writes to a file until there is no more room.
    fn fill(&self) -> Outcome {
        let mut file = File::create(self.0.join("filler"))?;
        while file.write_all(&[0; 512]).is_ok() {}
        Ok(())
    }

    fn free(&self) -> Outcome {
        fs::remove_file(self.0.join("filler")).during("the filler")
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.0, UnmountFlags::DETACH);
    }
}

pub(super) async fn play(stage: &Stage<'_>) -> Outcome<Figures> {
    let folder = Folder::new("disk")?;
    let disk = Disk::mount(&folder.0)?;
    let file = folder.0.join("bans.json");
    let setup = stage.setup.with(&[("SKYNET_ADMIN__BANS_FILE", &file.to_string_lossy())]);
    let server = Server::start(&setup).await?;
    let base = Base::of(&server).await?;
    let ledger = Arc::new(Ledger::default());
    let bystanders = Bystanders::start(server.hub(), ledger.clone()).await?;
    ban(&server, "first", 201).await?;
    let kept = fs::read(&file).during("the file of bans")?;
    let rounds = stage.either(5, 100);
    for round in 0..rounds {
        disk.fill()?;
        let name = format!("full {round}");
        let said = ban(&server, &name, 500).await?;
        ensure(said.contains("space"), || format!("the owner is told why, not {said}"))?;
        let now = fs::read(&file).during("the file of bans")?;
        ensure(round > 0 || now == kept, || "the file has changed".into())?;
        serde_json::from_slice::<serde_json::Value>(&now).during("the file is whole")?;
        // It is not in the file, and holds all the same.
        banned(&server, &name).await?;
        banned(&server, "first").await?;
        disk.free()?;
        ban(&server, &format!("room {round}"), 201).await?;
    }
    let bans = listed(&server).await?;
    ensure(bans == 1 + 2 * rounds as usize, || format!("{bans} bans are listed"))?;
    bystanders.unharmed().await?;
    base.audit(&server, &ledger, &[NOT_KEPT]).await?;
    drop(server);
    let again = Server::start(&setup).await?;
    let bans = listed(&again).await?;
    ensure(bans == 1 + 2 * rounds as usize, || format!("{bans} bans are there after a restart"))?;
    for name in ["first", "full 0", "room 0"] {
        banned(&again, name).await?;
    }
    Ok(vec![("full", rounds), ("bans", bans as u64)])
}

/// Bans a name; the answer must have this status.
async fn ban(server: &Server, name: &str, due: u16) -> Outcome<String> {
    let body = format!(r#"{{"name":"{name}"}}"#);
    let (status, said) = ask(server.admin(), "POST", "/api/v1/bans", &body).await?;
    ensure(status == due, || format!("a ban is answered {status}, not {due}: {said}"))?;
    Ok(said)
}

/// How many bans there are.
async fn listed(server: &Server) -> Outcome<usize> {
    let list = json(server.admin(), "GET", "/api/v1/bans", "").await?;
    Ok(list["bans"].as_array().map_or(0, Vec::len))
}

/// Whoever claims the name is closed with 4501.
async fn banned(server: &Server, name: &str) -> Outcome {
    let mut client = Client::tcp(server.hub()).await?;
    let path = format!("/connect?name={}", name.replace(' ', "%20"));
    let host = server.hub().to_string();
    client.write(&skynet_bench::websocket::handshake(&host, &path, None)).await?;
    client.accepted().await?;
    let told = soon("a close", client.told()).await?.and_then(|frame| frame.close());
    ensure(told.as_ref().is_some_and(|told| told.0 == 4501), || format!("{name} is told {told:?}"))
}
