//! What an owner's tools ask for: health, readiness, metrics.
//!
//! Holds no content of messages, and so asks for no token.

use crate::hub::Hub;
use crate::metrics::{Metrics, Readings};
use poem::endpoint::make_sync;
use poem::http::StatusCode;
use poem::{Response, Route, RouteMethod, get};
use std::sync::Arc;

/// Adds `/healthz`: the process serves; `/readyz`: it takes new clients (503 while it stops).
pub fn health(route: Route, hub: &Hub) -> Route {
    let hub = hub.clone();
    route
        .at("/healthz", get(make_sync(|_| "ok\n")))
        .at("/readyz", get(make_sync(move |_| readiness(&hub))))
}

/// The metrics, in Prometheus's text format; `readings` reads what is kept elsewhere.
pub fn metrics(
    metrics: Arc<Metrics>,
    readings: impl Fn() -> Readings + Send + Sync + 'static,
) -> RouteMethod {
    get(make_sync(move |_| {
        let text = metrics.render(&readings());
        Response::builder().content_type("text/plain; version=0.0.4; charset=utf-8").body(text)
    }))
}

fn readiness(hub: &Hub) -> Response {
    if hub.is_stopping() {
        return Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body("stopping\n");
    }
    Response::builder().body("ready\n")
}
