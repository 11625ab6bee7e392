//! Settings are read again and again while everybody talks, good ones and bad ones, by the signal and
//! by the API: nothing is lost, and only who came by a token that is gone has to go.

use std::{fs, path::Path, sync::Arc};

use rustix::process::Signal;
use skynet_bench::websocket;

use super::{Figures, Stage, clock::Folder};
use crate::{
    audit::Base,
    bystanders::Bystanders,
    client::Client,
    http::{self, Page},
    ledger::Ledger,
    problem::{During, Outcome, Problem, ensure, soon, wait_until},
    server::Server,
};

/// What the program says of a file that it refuses.
const REFUSED: &str = "the settings stay as they are: ";

const RELOAD: &str = "/api/v1/config/reload";

pub(super) async fn play(stage: &Stage<'_>) -> Outcome<Figures> {
    let folder = Folder::new("reloading")?;
    let file = folder.0.join("skynet.toml");
    write(&file, &good(0))?;
    let server = Server::start(&stage.setup.reading(&file)).await?;
    let base = Base::of(&server).await?;
    let ledger = Arc::new(Ledger::default());
    let bystanders = Bystanders::start(server.hub(), ledger.clone()).await?;
    let rounds = stage.either(8, 200);
    for round in 1..=rounds {
        let mut holder = holder(&server, round - 1).await?;
        write(&file, "[limits]\nmax_clients = \"many\"\n")?;
        refused(&server, round).await?;
        // Nobody has noticed, the one with the token neither.
        holder.command(r#"{"type":"ping"}"#).await?;
        write(&file, &good(round))?;
        applied(&server, round).await?;
        let gone = soon("who came by a token that is gone is closed", holder.event()).await??;
        ensure(gone == Err(Some(4502)), || format!("told {gone:?}, not 4502"))?;
    }
    let page = server.owner().await?.metrics().await?;
    let counted = [reloads(&page, "applied"), reloads(&page, "refused")];
    ensure(counted == [rounds as f64; 2], || format!("{counted:?} reloads of {rounds} each"))?;
    bystanders.unharmed().await?;
    base.audit(&server, &ledger, &[REFUSED]).await?;
    Ok(vec![("applied", rounds), ("refused", rounds)])
}

/// Settings that differ from those of any other round, and a token that is of this one alone.
fn good(round: u64) -> String {
    let (clients, seconds, channel) = (1_000 + round, 5 + round % 20, round % 7);
    format!(
        "[limits]\nmax_clients = {clients}\nping_interval = \"{seconds}s\"\n\
         max_channels_per_client = {clients}\n[metrics]\nrequire_token = true\nchannels = [\"bystanders\", {channel}]\n\
         [[hub.tokens]]\nname = \"holder\"\ntoken = \"{}\"\n",
        token(round)
    )
}

fn token(round: u64) -> String {
    format!("the-token-of-round-{round}")
}

fn write(file: &Path, text: &str) -> Outcome {
    fs::write(file, text).during(file.display())
}

/// A client that has shown the token of a round.
async fn holder(server: &Server, round: u64) -> Outcome<Client> {
    let mut client = Client::tcp(server.hub()).await?;
    let path = format!("/connect?token={}", token(round));
    client.write(&websocket::handshake(&server.hub().to_string(), &path, None)).await?;
    client.accepted().await?;
    client.command(r#"{"type":"ping"}"#).await?;
    Ok(client)
}

/// Has good settings read, and waits until they are in force.
async fn applied(server: &Server, round: u64) -> Outcome {
    if by_signal(round) {
        return signalled(server, "applied", round).await;
    }
    let report = http::json(server.admin(), "POST", RELOAD, "").await?;
    let closed = report["closed_clients"].as_u64();
    ensure(closed == Some(1), || format!("one client is closed: {report}"))
}

/// Has bad settings read, and waits until they are refused.
async fn refused(server: &Server, round: u64) -> Outcome {
    if by_signal(round) {
        return signalled(server, "refused", round).await;
    }
    let (status, body) = http::ask(server.admin(), "POST", RELOAD, "").await?;
    let told = status == 409 && body.contains("limits.max_clients");
    ensure(told, || format!("{status}: {body}"))
}

fn by_signal(round: u64) -> bool {
    round.is_multiple_of(2)
}

async fn signalled(server: &Server, result: &str, times: u64) -> Outcome {
    server.signal(Signal::HUP)?;
    wait_until("the settings are read", async || {
        let page = server.owner().await?.metrics().await?;
        Ok(reloads(&page, result) == times as f64)
    })
    .await
    .map_err(|problem| Problem(format!("{problem} ({result})")))
}

/// How often settings were read with this result.
fn reloads(page: &Page, result: &str) -> f64 {
    page.sum("skynet_config_reloads_total", &format!("result=\"{result}\""))
}
