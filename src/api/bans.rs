//! `/bans`: who may not come in.

use super::answer::{Answer, Done};
use super::auth::{Owner, Reader};
use super::body::JsonText;
use super::models::{Ban, BanList, NewBan};
use super::problem::{Code, Problem, failures};
use super::types::{Network, Span, Time};
use super::{Shared, Tag};
use crate::hub::{self, BanTarget, MAX_BANS};
use crate::protocol::CloseReason;
use poem::http::StatusCode;
use poem_openapi::param::Path;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Most characters of a reason: what a close frame holds.
const MAX_REASON: usize = 123;

failures!(
    /// What may go wrong with the list.
    ListFailure:
);
failures!(
    /// What may go wrong when a ban is made.
    BanFailure: 400, 403, 408, 409, 413, 415, 500
);
failures!(
    /// What may go wrong when a ban is ended.
    UnbanFailure: 400, 403, 404, 500
);

/// Whom to ban: exactly one of `name`, `token` and `address`; and for how long: at most one of
/// `duration` and `expires_at`, else for good.
#[derive(Debug, Object)]
struct BanRequest {
    /// Clients that claim this name. Worth as much as the claim: they can claim another.
    #[oai(validator(min_length = 1, max_length = 64))]
    name: Option<String>,
    /// Clients that prove this name, which is that of a token of the configuration.
    #[oai(validator(min_length = 1, max_length = 64))]
    token: Option<String>,
    /// Clients from this address or network. A whole Minecraft server is one address.
    #[oai(validator(min_length = 1, max_length = 64))]
    address: Option<String>,
    /// What their programs are told.
    #[oai(validator(min_length = 1, max_length = 123))]
    reason: Option<String>,
    /// For how long, such as `10m` or `7days`.
    #[oai(validator(min_length = 1, max_length = 64))]
    duration: Option<String>,
    /// Until when.
    expires_at: Option<Time>,
}

/// The operations.
pub(super) struct Bans(pub Arc<Shared>);

#[OpenApi(tag = "Tag::Bans")]
impl Bans {
    /// List bans
    ///
    /// Those in force, oldest first; never more than ten thousand.
    #[oai(path = "/bans", method = "get", operation_id = "listBans")]
    async fn list(&self, _reader: Reader) -> Result<Answer<BanList>, ListFailure> {
        let bans = self.0.hub.bans().into_iter().map(Ban::from).collect();
        Ok(Answer::of(&BanList { bans }))
    }

    /// Ban
    ///
    /// Clients that it concerns are disconnected with the close code 4501 and the reason, at once
    /// and whenever they come back. A network is warned of in the answer when clients were
    /// connected from it.
    #[oai(path = "/bans", method = "post", operation_id = "createBan")]
    async fn create(
        &self,
        _owner: Owner,
        body: JsonText<BanRequest>,
    ) -> Result<Answer<NewBan, 201>, BanFailure> {
        let mut fields = body.fields()?;
        let network = fields.parsed("address", Network::parse, Network::ALLOWED)?;
        let chosen = [
            fields.text("name", 64)?.map(BanTarget::Name),
            fields.text("token", 64)?.map(BanTarget::Token),
            network.map(|network| BanTarget::Network(network.0)),
        ];
        let reason = fields.text("reason", MAX_REASON)?;
        let duration = fields.parsed("duration", Span::parse, Span::ALLOWED)?;
        let allowed =
            "it must be a time in UTC that is still to come, such as 2026-01-31T12:00:00Z";
        let expires_at = fields.parsed("expires_at", Time::parse, allowed)?;
        fields.finish()?;
        let mut chosen = chosen.into_iter().flatten();
        let (Some(target), None) = (chosen.next(), chosen.next()) else {
            return Err(Problem::body("give exactly one of name, token and address").into());
        };
        let now = unix_ms();
        let duration = match (duration, expires_at) {
            (Some(_), Some(_)) => {
                let detail = "give it or duration, not both";
                return Err(Problem::field("expires_at", detail).into());
            }
            (None, Some(end)) if end.0 <= now => {
                return Err(Problem::field("expires_at", allowed).into());
            }
            (None, Some(end)) => Some(end.0),
            (duration, None) => {
                duration.map(|duration| now.saturating_add(duration.milliseconds()))
            }
        };
        let reason = reason.unwrap_or_else(|| CloseReason::Banned.text().to_owned());
        let (ban, disconnected) = add_until(&self.0, target, reason, duration).await?;
        let covers = matches!(ban.target, BanTarget::Network(_)) && disconnected > 0;
        let warning = covers.then(|| {
            format!(
                "{disconnected} connected clients were of this network and have been disconnected; \
                 all computers of a Minecraft server share one address"
            )
        });
        let location = format!("{}/bans/{}", super::PREFIX, ban.id);
        let made = NewBan { ban: ban.into(), disconnected: disconnected as u64, warning };
        Ok(Answer::of(&made).at(location))
    }

    /// End a ban
    ///
    /// Whom it kept out may come in again.
    #[oai(path = "/bans/:id", method = "delete", operation_id = "deleteBan")]
    async fn delete(
        &self,
        _owner: Owner,
        /// The ban's ID.
        #[oai(validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
        id: Path<u64>,
    ) -> Result<Done, UnbanFailure> {
        if !self.0.hub.unban(id.0) {
            return Err(Problem::not_found(format!("no ban {} is in force", id.0)).into());
        }
        self.0.access.save_bans(&self.0.hub).await?;
        Ok(Done)
    }
}

/// Bans for a while, or for good; returns the ban and how many clients it has disconnected.
pub(super) async fn add(
    shared: &Shared,
    target: BanTarget,
    reason: String,
    duration: Option<Span>,
) -> Result<(hub::Ban, usize), Problem> {
    let end = duration.map(|duration| unix_ms().saturating_add(duration.milliseconds()));
    add_until(shared, target, reason, end).await
}

async fn add_until(
    shared: &Shared,
    target: BanTarget,
    reason: String,
    expires_at_ms: Option<u64>,
) -> Result<(hub::Ban, usize), Problem> {
    let Some(made) = shared.hub.ban(target, reason, expires_at_ms) else {
        let detail = format!("there are {MAX_BANS} bans, the most there may be; end some first");
        return Err(Problem::new(StatusCode::CONFLICT, Code::TooManyBans, detail));
    };
    shared.access.save_bans(&shared.hub).await?;
    Ok(made)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
