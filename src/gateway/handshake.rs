//! The websocket handshake (RFC 6455, 4.2), and words for those who ask for something else.
//!
//! No extension and no subprotocol is ever accepted: permessage-deflate has broken connections
//! with the game's client, and an answer it did not ask for fails its handshake.

use super::entrance::Entrance;
use super::identity::Mistaken;
use super::link::Link;
use super::session::Session;
use super::socket::Socket;
use super::{Shared, farewell, identity};
use crate::access::{AddressPlace, Seldom, TooMany};
use crate::http::{Upgrade, client_address};
use crate::hub::{
    Admission, ClientInfo, ClientName, ClientSummary, Hub, Identity, NotAdmitted, TOKEN_GONE,
};
use crate::metrics::{Metrics, Rejection};
use crate::protocol::CloseReason;
use headers::{HeaderMapExt, SecWebsocketAccept, SecWebsocketKey};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use poem::{Endpoint, Request, Response};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info};

/// Longest User-Agent that is kept, in characters.
const MAX_USER_AGENT: usize = 128;

/// When a client that found the hub full may try again, in seconds.
const RETRY_AFTER_SECONDS: &str = "10";

/// When a client of an address with too many may try again, in seconds.
const ADDRESS_RETRY_SECONDS: &str = "5";

const WHAT_THIS_IS: &str = "This is a Skynet hub: a websocket endpoint for ComputerCraft \
    computers and other programs. Connect with a websocket client, in the game for instance with \
    http.websocket(\"ws://HOST:PORT/connect\").\n";

/// The endpoint of `/connect`.
pub(super) struct Connect {
    shared: Arc<Shared>,
    hub: Hub,
    entrance: Entrances,
    /// Refusals come in floods, because programs and pages try again by themselves; by their reason.
    refusals: [Seldom; Rejection::ALL.len()],
    /// So do clients that are closed as soon as they have joined.
    bad_tokens: Seldom,
    bans: Seldom,
}

/// The entrance as it is now.
type Entrances = Arc<watch::Sender<Arc<Entrance>>>;

impl Connect {
    pub fn new(shared: Arc<Shared>, hub: Hub, entrance: Entrances) -> Self {
        let refusals = Default::default();
        let (bad_tokens, bans) = Default::default();
        Self { shared, hub, entrance, refusals, bad_tokens, bans }
    }

    /// Counts a refused handshake, and closes its connection.
    fn reject(&self, rejection: Rejection, request: &Request, response: Response) -> Response {
        self.shared.metrics.reject(rejection);
        let (address, reason) = (client_address(request), rejection.label());
        match self.refusals[rejection as usize].tells(Instant::now()) {
            Some(untold) => info!(%address, reason, untold, "handshake refused"),
            None => debug!(%address, reason, "handshake refused"),
        }
        with(response, header::CONNECTION, "close")
    }

    /// The answer to a request of an address that has too much.
    fn too_many(&self, why: TooMany, request: &Request) -> Response {
        let (rejection, words) = match why {
            TooMany::Clients => (
                Rejection::AddressClients,
                "Your address has as many connections to this hub as one may have.\n",
            ),
            TooMany::Connections => (
                Rejection::AddressRate,
                "Your address connects too often; try again later, and less often.\n",
            ),
        };
        let response = answer(StatusCode::TOO_MANY_REQUESTS, words);
        let response = with(response, header::RETRY_AFTER, ADDRESS_RETRY_SECONDS);
        self.reject(rejection, request, response)
    }
}

impl Endpoint for Connect {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let address = client_address(&request).ip();
        let place = match self.shared.addresses.enter(address, Instant::now()) {
            Ok(place) => place.map(Box::new),
            Err(why) => return Ok(self.too_many(why, &request)),
        };
        let key = match check(&request) {
            Ok(key) => key,
            Err(wrong) => {
                return Ok(self.reject(Rejection::BadHandshake, &request, wrong.answer()));
            }
        };
        let Some(Upgrade(upgrade)) = request.extensions().get::<Upgrade>().cloned() else {
            let response = answer(StatusCode::BAD_REQUEST, "This connection cannot be upgraded.\n");
            return Ok(self.reject(Rejection::BadHandshake, &request, response));
        };
        let entrance = self.entrance.borrow().clone();
        if !entrance.allows_origin(request.headers()) {
            let words = "This hub does not take connections from this web page; its owner can list \
                the page's origin in hub.allowed_origins.\n";
            let response = answer(StatusCode::FORBIDDEN, words);
            return Ok(self.reject(Rejection::Origin, &request, response));
        }
        let identity = identity::identify(&request, &entrance);
        if let Err(Mistaken::Malformed(what)) = identity {
            let words = format!("{what} must be 1 to 64 printable characters.\n");
            let response = answer(StatusCode::BAD_REQUEST, words);
            return Ok(self.reject(Rejection::BadName, &request, response));
        }
        let admission = match self.hub.admit() {
            Ok(admission) => admission,
            Err(why) => {
                let (rejection, words) = match why {
                    NotAdmitted::Full => (Rejection::Full, "The hub is full; try again later.\n"),
                    NotAdmitted::Stopping => {
                        (Rejection::Stopping, "The hub is stopping; try again later.\n")
                    }
                };
                let response = answer(StatusCode::SERVICE_UNAVAILABLE, words);
                let response = with(response, header::RETRY_AFTER, RETRY_AFTER_SECONDS);
                return Ok(self.reject(rejection, &request, response));
            }
        };
        // Lua learns nothing of a refused handshake: who has no good token is let in and closed.
        let ((identity, rights), refused) = match identity {
            Ok(known) => (known, None),
            Err(mistaken) => ((Identity::default(), None), Some(mistaken.text())),
        };
        let (address, user_agent) = (client_address(&request), user_agent(&request));
        let info = ClientInfo { address, user_agent, identity, rights };
        let tells = if refused.is_some() {
            self.bad_tokens.tells(Instant::now())
        } else if admission.is_banned(&info) {
            self.bans.tells(Instant::now())
        } else {
            Some(0)
        };
        let entrances = (entrance, self.entrance.clone());
        let newcomer = Newcomer { admission, info, entrances, refused, tells, place };
        tokio::spawn(serve(self.shared.clone(), newcomer, upgrade));
        let mut response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .finish();
        response.headers_mut().typed_insert(SecWebsocketAccept::from(key));
        Ok(response)
    }
}

/// The answer to a request for anything but `/connect`.
pub(super) fn no_such_page(metrics: &Metrics) -> Response {
    metrics.reject(Rejection::NotFound);
    let words = format!(
        "Nothing is here; the hub is at /connect, a page about it at /, its programs for computers at \
         /install.lua and /skynet.lua.\n{WHAT_THIS_IS}"
    );
    with(answer(StatusCode::NOT_FOUND, words), header::CONNECTION, "close")
}

/// A client that is let in.
struct Newcomer {
    admission: Admission,
    info: ClientInfo,
    /// By which it came in, and the one that is now.
    entrances: (Arc<Entrance>, Entrances),
    /// Why it is closed at once, if it is.
    refused: Option<&'static str>,
    /// Whether the log tells of it, and how many like it have not been told before.
    tells: Option<u64>,
    place: Option<Box<AddressPlace>>,
}

/// Waits for the upgrade, and serves the client from then on.
///
/// From joining to having a link there is no `await`, and so no turn of the flusher on this program's
/// one thread: what it would be told to send or to close in between could not reach the client.
async fn serve(shared: Arc<Shared>, newcomer: Newcomer, upgrade: OnUpgrade) {
    // A client that has gone in the meantime has not been one.
    let Ok(upgraded) = upgrade.await else { return };
    let Some((socket, early)) = socket(upgraded) else { return };
    shared.metrics.connections.inc();
    let Newcomer { admission, info, entrances: (came_by, now), refused, tells, place } = newcomer;
    let (address, user_agent) = (info.address, info.user_agent.clone().unwrap_or_default());
    let name = info.identity.name.clone();
    let membership = admission.join(info, if tells.is_some() { said_goodbye } else { went });
    let key = membership.key();
    let proven = name.as_ref().is_some_and(ClientName::is_proven);
    let name = name.as_ref().map_or("", ClientName::as_str);
    match tells {
        Some(0) => info!(id = key.id(), %address, name, proven, ?user_agent, "client connected"),
        Some(untold) => {
            info!(id = key.id(), %address, name, proven, ?user_agent, untold, "client connected");
        }
        None => debug!(id = key.id(), %address, name, proven, ?user_agent, "client connected"),
    }
    // Asked after it has joined: who changes the entrance closes those who have joined before.
    let now = now.borrow().clone();
    let changed = !Arc::ptr_eq(&came_by, &now);
    let withdrawn = proven && changed && came_by.has_withdrawn(name, &now);
    let refused = refused.or(withdrawn.then_some(TOKEN_GONE));
    if let Some(text) = refused {
        shared.metrics.client_auth_failures.inc();
        membership.hub().close(key, CloseReason::BadToken, text);
    }
    let link = Arc::new(Link::new(key, socket));
    shared.links.insert(&link);
    // The handshake's future ends here; a session is a smaller one.
    tokio::spawn(farewell::serve(Session::new(shared, link, membership, early, place)));
}

/// The socket of an upgraded connection, and what hyper has read of it behind the handshake.
fn socket(upgraded: Upgraded) -> Option<(Socket, Vec<u8>)> {
    // What was read is copied, so that the session does not hold on to hyper's buffer of 8 KiB.
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => {
            return Some((Socket::plain(parts.io.into_inner()), parts.read_buf.to_vec()));
        }
        Err(upgraded) => upgraded,
    };
    let parts = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>().ok()?;
    let (stream, tls) = parts.io.into_inner().into_inner();
    Some((Socket::tls(stream, tls), parts.read_buf.to_vec()))
}

/// The end of a client that the log has not told of.
fn went(client: ClientSummary, reason: CloseReason) {
    let (address, reason) = (client.info.address, reason.label());
    debug!(id = client.key.id(), %address, reason, "client disconnected");
}

fn said_goodbye(client: ClientSummary, reason: CloseReason) {
    let connected = UNIX_EPOCH + Duration::from_millis(client.connected_at_ms);
    let seconds = connected.elapsed().unwrap_or_default().as_secs();
    let counters = client.counters;
    info!(
        id = client.key.id(),
        address = %client.info.address,
        reason = reason.label(),
        seconds,
        commands = counters.commands,
        refused = counters.refused,
        messages_in = counters.messages_in,
        messages_out = counters.messages_out,
        bytes_in = counters.bytes_in,
        bytes_out = counters.bytes_out,
        dropped = counters.dropped,
        "client disconnected"
    );
}

/// What is wrong with a request for `/connect`.
pub(super) enum Wrong {
    Method,
    NoUpgrade,
    Version,
    Key,
    NoHost,
    Body,
}

impl Wrong {
    fn answer(self) -> Response {
        match self {
            Self::Method => {
                let words = format!("Only GET is allowed here.\n{WHAT_THIS_IS}");
                with(answer(StatusCode::METHOD_NOT_ALLOWED, words), header::ALLOW, "GET")
            }
            Self::NoUpgrade => upgrade_required(WHAT_THIS_IS),
            Self::Version => {
                upgrade_required("Only version 13 of the websocket protocol is spoken here.\n")
            }
            Self::NoHost => {
                answer(StatusCode::BAD_REQUEST, "A Host header is needed (RFC 6455, 4.2.1).\n")
            }
            Self::Body => answer(StatusCode::BAD_REQUEST, "A websocket handshake has no body.\n"),
            Self::Key => answer(
                StatusCode::BAD_REQUEST,
                "Sec-WebSocket-Key must be given once: 16 bytes in base64.\n",
            ),
        }
    }
}

/// Checks a request for `/connect`; returns its key.
pub(super) fn check(request: &Request) -> Result<SecWebsocketKey, Wrong> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Wrong::Method);
    }
    let upgrade = has_token(headers, &header::UPGRADE, "websocket")
        && has_token(headers, &header::CONNECTION, "upgrade");
    if !upgrade || request.version() < Version::HTTP_11 {
        return Err(Wrong::NoUpgrade);
    }
    if !headers.contains_key(header::HOST) {
        return Err(Wrong::NoHost);
    }
    let length = headers.get(header::CONTENT_LENGTH);
    if length.is_some_and(|length| length != "0") || headers.contains_key(header::TRANSFER_ENCODING)
    {
        return Err(Wrong::Body);
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Wrong::Version);
    }
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).into_iter();
    let well_formed = match (keys.next(), keys.next()) {
        (Some(key), None) => is_key(key.as_bytes()),
        _ => false,
    };
    headers.typed_get().filter(|_| well_formed).ok_or(Wrong::Key)
}

fn upgrade_required(words: &'static str) -> Response {
    let response = answer(StatusCode::UPGRADE_REQUIRED, words);
    let response = with(response, header::UPGRADE, "websocket");
    with(response, header::SEC_WEBSOCKET_VERSION, "13")
}

fn answer(status: StatusCode, words: impl Into<poem::Body>) -> Response {
    Response::builder().status(status).content_type("text/plain; charset=utf-8").body(words)
}

fn with(mut response: Response, name: HeaderName, value: &'static str) -> Response {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

/// Whether a header that is a list of tokens, in one line or several, has `token` in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// Whether `key` is 16 bytes in base64.
fn is_key(key: &[u8]) -> bool {
    key.strip_suffix(b"==").is_some_and(|digits| {
        digits.len() == 22
            && digits.iter().all(|&digit| digit.is_ascii_alphanumeric() || b"+/".contains(&digit))
    })
}

pub(super) fn user_agent(request: &Request) -> Option<Box<str>> {
    let header = request.headers().get(header::USER_AGENT)?;
    let text = String::from_utf8_lossy(header.as_bytes());
    Some(text.chars().take(MAX_USER_AGENT).collect())
}
