//! `/clients`: who is connected, who was, and how to get rid of them.

use super::answer::{Answer, Done};
use super::auth::{Owner, Reader};
use super::body::JsonText;
use super::channel_param::ChannelParam;
use super::models::{Client, ClientPage, ClientRights, ClientState, Kicked};
use super::paging::{Listing, Order, Page, Place, default_limit};
use super::problem::{Code, Problem, failures};
use super::types::{ChannelValue, Network, Span};
use super::{Shared, Tag};
use crate::hub::{BanTarget, ClientName, ClientSummary, ClientView, Hub, Selection};
use crate::protocol::{ChannelName, CloseReason};
use poem::http::StatusCode;
use poem_openapi::param::{Path, Query};
use poem_openapi::{Enum, Object, OpenApi};
use std::sync::Arc;

/// Most characters of a reason: what a close frame holds.
const MAX_REASON: usize = 123;

/// Most clients that the answer to a kick lists.
const MAX_LISTED: usize = 1000;

failures!(
    /// What may go wrong with a list.
    ListFailure: 400
);
failures!(
    /// What may go wrong with one client.
    ClientFailure: 400, 404
);
failures!(
    /// What may go wrong when one client is kicked.
    KickFailure: 400, 403, 404, 409, 500
);
failures!(
    /// What may go wrong when a channel is closed.
    CloseFailure: 400, 403, 404
);
failures!(
    /// What may go wrong when several clients are kicked.
    KickAllFailure: 400, 403, 408, 413, 415
);

/// By what clients are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ClientSort {
    /// By the time of connecting.
    #[default]
    ConnectedAt,
    /// By what waits to be sent to them.
    QueuedBytes,
    /// By the messages they have sent.
    MessagesIn,
    /// By the messages queued for them.
    MessagesOut,
    /// By the frames dropped.
    Dropped,
    /// By the time of their last command.
    LastActivity,
}

impl ClientSort {
    fn label(self) -> &'static str {
        match self {
            Self::ConnectedAt => "connected_at",
            Self::QueuedBytes => "queued_bytes",
            Self::MessagesIn => "messages_in",
            Self::MessagesOut => "messages_out",
            Self::Dropped => "dropped",
            Self::LastActivity => "last_activity",
        }
    }

    fn place(self, client: &ClientSummary) -> Place<u64> {
        let value = match self {
            Self::ConnectedAt => client.connected_at_ms,
            Self::QueuedBytes => client.queued_bytes as u64,
            Self::MessagesIn => client.counters.messages_in,
            Self::MessagesOut => client.counters.messages_out,
            Self::Dropped => client.counters.dropped,
            Self::LastActivity => client.last_activity_ms,
        };
        Place(value, client.key.id())
    }
}

/// Which clients are listed.
#[derive(Debug, Default)]
pub(super) struct ClientFilter {
    pub channel: Option<ChannelName>,
    pub network: Option<Network>,
    pub name: Option<String>,
}

impl ClientFilter {
    fn meets(&self, client: &ClientView) -> bool {
        self.channel.as_ref().is_none_or(|channel| client.has_open(channel))
            && self.knows(client.info())
    }

    /// All of it but the channel, which is not known of clients that have gone.
    fn knows(&self, info: &crate::hub::ClientInfo) -> bool {
        let address = info.address.ip().to_canonical();
        let name = info.identity.name.as_ref().map(ClientName::as_str);
        self.network.is_none_or(|network| network.0.contains(&address))
            && self.name.as_ref().is_none_or(|wanted| name == Some(wanted.as_str()))
    }
}

/// A page of connected clients.
pub(super) async fn open_clients(
    hub: &Hub,
    filter: &ClientFilter,
    sort: ClientSort,
    listing: Listing<u64>,
) -> ClientPage {
    let mut page = listing.page();
    let mut from = Some(0);
    while let Some(place) = from {
        from = hub.visit_clients(place, |view| {
            if filter.meets(&view) {
                let client = view.summary();
                page.offer(sort.place(&client), || Client::open(client));
            }
        });
        tokio::task::yield_now().await;
    }
    listed(page)
}

fn closed_clients(
    hub: &Hub,
    filter: &ClientFilter,
    sort: ClientSort,
    listing: Listing<u64>,
) -> ClientPage {
    let mut page = listing.page();
    for departed in hub.departed() {
        if filter.knows(&departed.client.info) {
            page.offer(sort.place(&departed.client), || Client::closed(departed));
        }
    }
    listed(page)
}

fn listed(page: Page<u64, Client>) -> ClientPage {
    let (clients, total, next) = page.finish();
    ClientPage { clients, total, next }
}

/// Whom to kick: exactly one of `channel`, `address`, `name` and `all`.
#[derive(Debug, Object)]
struct KickRequest {
    /// Those that have this channel open.
    channel: Option<ChannelValue>,
    /// Those from this address or network.
    #[oai(validator(min_length = 1, max_length = 64))]
    address: Option<String>,
    /// Those of this name, claimed or proven.
    #[oai(validator(min_length = 1, max_length = 64))]
    name: Option<String>,
    /// All of them; nothing but true is allowed.
    all: Option<bool>,
    /// What their programs are told.
    #[oai(validator(min_length = 1, max_length = 123))]
    reason: Option<String>,
    /// If true, nobody is kicked, and the answer lists who would be.
    dry_run: Option<bool>,
}

/// The operations.
pub(super) struct Clients(pub Arc<Shared>);

#[OpenApi(tag = "Tag::Clients")]
impl Clients {
    /// List clients
    ///
    /// Those that are connected, or the last thousand that have gone.
    #[oai(path = "/clients", method = "get", operation_id = "listClients")]
    #[allow(clippy::too_many_arguments)] // One for each parameter of the query.
    async fn list(
        &self,
        _reader: Reader,
        /// Only clients that have this channel open; not for those that have gone.
        channel: Query<Option<ChannelParam>>,
        /// Only clients from this address or network.
        address: Query<Option<Network>>,
        /// Only clients of this name, claimed or proven.
        #[oai(validator(min_length = 1, max_length = 64))]
        name: Query<Option<String>>,
        /// Those that are connected, or those that have gone.
        #[oai(default)]
        state: Query<ClientState>,
        /// By what they are sorted.
        #[oai(default)]
        sort: Query<ClientSort>,
        /// In which direction.
        #[oai(default)]
        order: Query<Order>,
        /// Most clients of a page.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<usize>,
        /// The page after that of an answer: its `next`.
        #[oai(validator(max_length = 4096))]
        cursor: Query<Option<String>>,
    ) -> Result<Answer<ClientPage>, ListFailure> {
        let (hub, sort) = (&self.0.hub, sort.0);
        let listing = Listing::new(sort.label(), order.0, limit.0, cursor.as_deref())?;
        let channel = channel.0.map(|channel| channel.0);
        let filter = ClientFilter { channel, network: address.0, name: name.0 };
        if state.0 == ClientState::Open {
            return Ok(Answer::of(&open_clients(hub, &filter, sort, listing).await));
        }
        if filter.channel.is_some() {
            let detail = "which channels a client had open is not kept; leave it out, or ask for \
                          state=open";
            return Err(Problem::parameter("channel", detail).into());
        }
        Ok(Answer::of(&closed_clients(hub, &filter, sort, listing)))
    }

    /// See a client
    ///
    /// Connected, or one of the last thousand that have gone. Only a proven name is worth
    /// anything against somebody who lies.
    #[oai(path = "/clients/:id", method = "get", operation_id = "getClient")]
    async fn get(
        &self,
        _reader: Reader,
        /// The client's ID.
        #[oai(validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
        id: Path<u64>,
    ) -> Result<Answer<Client>, ClientFailure> {
        let hub = &self.0.hub;
        let open = hub.see_client(id.0, |view| {
            let names = view.open().cloned().map(ChannelValue).collect();
            let rights = ClientRights::new(view.info().rights.as_deref());
            Client { open: Some(names), rights: Some(rights), ..Client::open(view.summary()) }
        });
        let closed = || {
            let departed = hub.departed();
            departed.into_iter().find(|gone| gone.client.key.id() == id.0).map(Client::closed)
        };
        Ok(Answer::of(&open.or_else(closed).ok_or_else(|| no_such_client(id.0))?))
    }

    /// Kick a client
    ///
    /// Its program sees the close code 4500 and the reason. Nothing keeps it from coming back but
    /// a ban, with which the code is 4501: `ban` bans the client's proven name, else the name it
    /// claims; never its address, which a whole Minecraft server shares.
    #[oai(path = "/clients/:id", method = "delete", operation_id = "kickClient")]
    async fn kick(
        &self,
        _owner: Owner,
        /// The client's ID.
        #[oai(validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
        id: Path<u64>,
        /// What its program is told.
        #[oai(validator(min_length = 1, max_length = 123))]
        reason: Query<Option<String>>,
        /// For how long its name is banned, such as `10m`.
        ban: Query<Option<Span>>,
    ) -> Result<Done, KickFailure> {
        let hub = &self.0.hub;
        let name = hub.see_client(id.0, |view| view.info().identity.name.clone());
        let name = name.ok_or_else(|| no_such_client(id.0))?;
        let Some(duration) = ban.0 else {
            let reason = reason.0.as_deref().unwrap_or(CloseReason::Kicked.text());
            return match hub.kick(id.0, reason) {
                true => Ok(Done),
                false => Err(no_such_client(id.0).into()),
            };
        };
        let target = match name {
            Some(ClientName::Proven(name)) => BanTarget::Token(name.into()),
            Some(ClientName::Claimed(name)) => BanTarget::Name(name.into()),
            None => {
                let detail = "this client has no name that could be banned; ban its address by \
                              POST /api/v1/bans, if that is what you want: all computers of a \
                              Minecraft server share one";
                return Err(Problem::new(StatusCode::CONFLICT, Code::NoName, detail).into());
            }
        };
        let reason = reason.0.unwrap_or_else(|| CloseReason::Banned.text().to_owned());
        super::bans::add(&self.0, target, reason, Some(duration)).await?;
        Ok(Done)
    }

    /// Close a channel for a client
    ///
    /// The client is told by an event `closed`, and stays connected.
    #[oai(
        path = "/clients/:id/channels/:channel",
        method = "delete",
        operation_id = "closeChannel"
    )]
    async fn close_channel(
        &self,
        _owner: Owner,
        /// The client's ID.
        #[oai(validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
        id: Path<u64>,
        /// The channel.
        channel: Path<ChannelParam>,
        /// What its program is told.
        #[oai(validator(min_length = 1, max_length = 123))]
        reason: Query<Option<String>>,
    ) -> Result<Done, CloseFailure> {
        let name = channel.0.0;
        let reason = reason.0.as_deref().unwrap_or("closed by the owner of the server");
        match self.0.hub.close_channel(id.0, &name, reason) {
            Some(true) => Ok(Done),
            Some(false) => {
                let detail = format!("this client does not have {} open", name.as_json());
                Err(Problem::not_found(detail).into())
            }
            None => Err(no_such_client(id.0).into()),
        }
    }

    /// Kick several clients
    ///
    /// By exactly one of `channel`, `address`, `name` and `all`: an empty filter does not mean
    /// everybody. With `dry_run` the answer lists who would be kicked.
    #[oai(path = "/clients/kick", method = "post", operation_id = "kickClients")]
    async fn kick_all(
        &self,
        _owner: Owner,
        body: JsonText<KickRequest>,
    ) -> Result<Answer<Kicked>, KickAllFailure> {
        let mut fields = body.fields()?;
        let network = fields.parsed("address", Network::parse, Network::ALLOWED)?;
        let chosen = [
            fields.channel("channel")?.map(Selection::Channel),
            network.map(|network| Selection::Network(network.0)),
            fields.text("name", 64)?.map(Selection::Name),
            fields.only_true("all")?.then_some(Selection::All),
        ];
        let reason = fields.text("reason", MAX_REASON)?;
        let dry_run = fields.flag("dry_run")?;
        fields.finish()?;
        let mut chosen = chosen.into_iter().flatten();
        let (Some(selection), None) = (chosen.next(), chosen.next()) else {
            let detail = "give exactly one of channel, address, name and all (which must be true)";
            return Err(Problem::body(detail).into());
        };
        let reason = reason.as_deref().unwrap_or(CloseReason::Kicked.text());
        let hub = &self.0.hub;
        let mut met = hub.select(&selection);
        if !dry_run {
            met.retain(|client| hub.kick(client.key.id(), reason));
        }
        let total = met.len() as u64;
        let clients = met.into_iter().take(MAX_LISTED).map(Client::open).collect();
        Ok(Answer::of(&Kicked { dry_run, total, clients }))
    }
}

fn no_such_client(id: u64) -> Problem {
    Problem::not_found(format!("no client {id} is connected"))
}
