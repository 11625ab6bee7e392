//! What the hub serves to players: `/`, `/install.lua` and `/skynet.lua`, with its own address
//! filled in.
//!
//! - `address`: where the player who asks reaches the hub.
//! - `files`: the files that are built in, and how an address and the version get into them.
//!
//! Knows no hub; nothing here is the owner's business.

mod address;
mod files;

pub use files::PATHS;

use crate::reload::InForce;
use address::{Addresses, WhoAsks};
use files::{File, Served};
use headers::{HeaderMapExt, IfNoneMatch};
use poem::error::NotFoundError;
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, Request, Response, Route};

/// The size of the largest file that a computer downloads from here, in bytes; the address in it may
/// add a few hundred.
pub const LARGEST_DOWNLOAD_BYTES: usize = files::LARGEST_BYTES;

/// `route` with the pages at their paths; the address in them is by the settings in force.
pub fn add(route: Route, in_force: InForce) -> Route {
    files::all().fold(route, |route, (path, file)| {
        route.at(path, Page { file, in_force: in_force.clone() })
    })
}

/// One page. Its answers end the connection: the hub's listener has few places for those that are no
/// client's.
struct Page {
    file: File,
    in_force: InForce,
}

impl Endpoint for Page {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        // To a websocket client with a wrong path, "404" says more than "200".
        if wants_a_websocket(request.headers()) {
            return Err(NotFoundError.into());
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let answer = sentence(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD work here.\n");
            let answer = with(answer, header::ALLOW, "GET, HEAD");
            return Ok(with(answer, header::CONNECTION, "close"));
        }
        let addresses = Addresses::new(&self.in_force.borrow().config.hub);
        let answer = match addresses.of(&WhoAsks::of(&request)) {
            Ok(address) => respond(self.file.serve(&address), request.headers()),
            Err(words) => sentence(StatusCode::BAD_REQUEST, words),
        };
        let answer = match addresses.vary() {
            Some(vary) => with(answer, header::VARY, vary),
            None => answer,
        };
        let answer = with(answer, header::CACHE_CONTROL, addresses.cache_control());
        Ok(with(answer, header::CONNECTION, "close"))
    }
}

/// The file, or 304 for whoever has it already. Whether a body is sent in answer to HEAD is for the
/// server below to say.
fn respond(served: Served, headers: &HeaderMap) -> Response {
    let Served { text, content_type, policy, tag } = served;
    let known = headers.typed_get::<IfNoneMatch>();
    let mut response = match known.is_some_and(|known| !known.precondition_passes(&tag)) {
        true => Response::builder().status(StatusCode::NOT_MODIFIED).finish(),
        false => plain(StatusCode::OK, content_type, text),
    };
    response.headers_mut().typed_insert(tag);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

fn sentence(status: StatusCode, words: &'static str) -> Response {
    plain(status, "text/plain; charset=utf-8", words)
}

fn plain(status: StatusCode, content_type: &str, body: impl Into<poem::Body>) -> Response {
    let response = Response::builder().status(status).content_type(content_type).body(body);
    with(response, header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

fn with(mut response: Response, name: header::HeaderName, value: &'static str) -> Response {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

fn wants_a_websocket(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::UPGRADE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|item| item.trim().eq_ignore_ascii_case("websocket"))
}
