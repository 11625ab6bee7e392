//! The owner's API: what goes on in the hub, and a hand on it.
//!
//! A skin over [`crate::hub`]: nothing here holds state of its own but for keys of idempotence.
//! What is long is gone through in visits, so that no list holds up a delivery.
//!
//! - `channels`, `clients`, `log`, `messages`, `bans`, `server`: the operations, by resource.
//! - `stream`, `log_query`, `idempotency`: what some of them need.
//! - [`auth`]: who may call. `problem`: errors as RFC 9457 has them. `answer`, `models`: what is
//!   answered. `body`, `types`, `channel_param`, `paging`: what is asked.
//! - `document`: the OpenAPI document and its pages.

mod answer;
pub mod auth;
mod bans;
mod body;
mod channel_param;
mod channels;
mod clients;
mod document;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod idempotency;
mod log;
mod log_query;
mod messages;
mod models;
mod paging;
mod paths;
mod problem;
mod server;
mod stream;
mod types;

pub use auth::Access;
pub use document::{answers, document};

use crate::hub::Hub;
use crate::protocol::CommandLimits;
use crate::reload::{InForce, Reloads};
use idempotency::Remembered;
use paths::Paths;
use poem::endpoint::{BoxEndpoint, make_sync};
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, EndpointExt, IntoEndpoint, IntoResponse, Request, Response, Route};
use poem_openapi::Tags;
use problem::{Code, Problem};
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tokio::sync::watch;
use tokio::time::timeout;

/// Where the operations are.
pub const PREFIX: &str = "/api/v1";

/// What the API is built from.
pub struct Api {
    /// The hub.
    pub hub: Hub,
    /// Who may call.
    pub access: Access,
    /// The settings in force.
    pub in_force: InForce,
    /// What has them read again.
    pub reloads: Reloads,
    /// Turns true when streams are to end.
    pub stopping: watch::Receiver<bool>,
    /// Tells whether many clients are written to by one system call.
    pub uses_io_uring: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether the listener is the hub's too.
    pub placement: Placement,
}

/// On which listener the API is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// On one of its own: its index is `/`, and its documentation needs no token.
    Own,
    /// On the hub's: its index is `/admin`, and its documentation needs the token.
    WithTheHub,
}

/// What the operations share.
struct Shared {
    hub: Hub,
    access: Access,
    in_force: InForce,
    reloads: Reloads,
    started: SystemTime,
    started_instant: Instant,
    stopping: watch::Receiver<bool>,
    uses_io_uring: Box<dyn Fn() -> bool + Send + Sync>,
    remembered: Remembered,
}

impl Shared {
    /// What bounds a message.
    fn command_limits(&self) -> CommandLimits {
        let limits = &self.in_force.borrow().config.limits;
        CommandLimits::new(limits.max_channel_name_bytes, limits.max_message_bytes)
    }
}

/// How the operations are grouped.
#[derive(Tags)]
enum Tag {
    /// Who listens to what.
    Channels,
    /// What was said.
    Log,
    /// What you have to say.
    Messages,
    /// Who is connected.
    Clients,
    /// Who may not come in.
    Bans,
    /// What the server is and how it does.
    Server,
}

type Operations = (
    channels::Channels,
    log::Log,
    messages::Messages,
    clients::Clients,
    bans::Bans,
    server::Server,
);

fn operations(shared: &Arc<Shared>) -> Operations {
    (
        channels::Channels(shared.clone()),
        log::Log(shared.clone()),
        messages::Messages(shared.clone()),
        clients::Clients(shared.clone()),
        bans::Bans(shared.clone()),
        server::Server(shared.clone()),
    )
}

/// The routes: the operations below [`PREFIX`], `/openapi.json`, `/docs`, and the index.
pub fn routes(api: Api) -> impl Endpoint<Output = Response> + 'static {
    let access = api.access.clone();
    let shared = Arc::new(Shared {
        hub: api.hub,
        access: api.access,
        in_force: api.in_force,
        reloads: api.reloads,
        started: SystemTime::now(),
        started_instant: Instant::now(),
        stopping: api.stopping,
        uses_io_uring: api.uses_io_uring,
        remembered: Remembered::default(),
    });
    let service = document::service(operations(&shared));
    let paths = Arc::new(Paths::of::<Operations>(PREFIX));
    let guarded =
        |need, endpoint| Guarded { endpoint, access: access.clone(), need, paths: paths.clone() };
    let (index, pages) = match api.placement {
        Placement::Own => ("/", Need::Host),
        Placement::WithTheHub => ("/admin", Need::Token),
    };
    let docs = Arc::new(guarded(pages, document::docs().boxed()));
    let routes = Route::new()
        .at(index, document::index())
        .at("/openapi.json", guarded(pages, document::json().boxed()))
        .at("/docs", docs.clone())
        .at("/docs/", docs)
        .nest(PREFIX, guarded(Need::Token, service.into_endpoint()));
    guarded(Need::Host, routes.map_to_response().boxed())
}

/// Puts an endpoint that is none of the API's behind its token, such as the metrics when they are
/// on the hub's listener.
pub fn behind_token(
    access: &Access,
    endpoint: impl Endpoint + 'static,
) -> impl Endpoint<Output = Response> + 'static {
    Guarded {
        endpoint: endpoint.map_to_response().boxed(),
        access: access.clone(),
        need: Need::Token,
        paths: Arc::new(Paths::of::<()>(PREFIX)),
    }
}

/// Answers every request that it takes a token, which nobody can have: the API is off.
pub fn without_token() -> impl Endpoint<Output = Response> + 'static {
    make_sync(|_| {
        let detail = "a token is needed and none is known: the admin API is off, and the log of the \
                      start says why; admin.token gives it one";
        Problem::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, detail).into_response()
    })
}

/// What a request must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// That it means this host.
    Host,
    /// A token.
    Token,
}

/// An endpoint behind a guard, whose errors are problems.
struct Guarded {
    endpoint: BoxEndpoint<'static, Response>,
    access: Access,
    need: Need,
    paths: Arc<Paths>,
}

impl Guarded {
    async fn answer(&self, mut request: Request) -> poem::Result<Response> {
        match self.need {
            Need::Host => self.access.check_host(&request)?,
            Need::Token => self.access.check_token(&mut request).await?,
        }
        let has_body = [Method::POST, Method::PUT].contains(request.method());
        if self.need == Need::Token && has_body {
            let (most, time) = self.access.body_bounds();
            let body = request.take_body().into_bytes_limit(most);
            let Ok(body) = timeout(time, body).await else {
                let detail = format!("the body did not arrive within {} s", time.as_secs_f64());
                let status = StatusCode::REQUEST_TIMEOUT;
                return Err(Problem::new(status, Code::TooSlow, detail).into());
            };
            match body {
                Ok(bytes) => request.set_body(bytes),
                Err(poem::error::ReadBodyError::PayloadTooLarge) => {
                    let detail = format!("the body is larger than {most} bytes");
                    return Err(Problem::too_large(detail).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.endpoint.call(request).await
    }
}

impl Endpoint for Guarded {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let path = request.original_uri().path().to_owned();
        let mut response = match self.answer(request).await {
            Ok(response) => response,
            Err(error) if error.is_from_response() => error.into_response(),
            Err(error) => Problem::of_error(&error, &path, &self.paths).into_response(),
        };
        let headers = response.headers_mut();
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let unread = [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT];
        if unread.contains(&response.status()) {
            // What was not read would be taken for the next request.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}
