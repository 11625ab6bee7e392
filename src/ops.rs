//! What an owner's tools ask for: health, readiness, metrics.
//!
//! Holds no content of messages, and so asks for no token.

use crate::gateway::Gateway;
use crate::hub::Hub;
use crate::metrics::{Metrics, Readings};
use crate::telemetry;
use poem::endpoint::make_sync;
use poem::http::StatusCode;
use poem::{Response, Route, get};
use std::sync::Arc;

/// `/healthz`: the process serves; `/readyz`: it takes new clients (503 while it stops);
/// `/metrics`: Prometheus's text format.
pub fn routes(hub: Hub, gateway: Gateway, metrics: Arc<Metrics>) -> Route {
    let ready_hub = hub.clone();
    Route::new()
        .at("/healthz", get(make_sync(|_| "ok\n")))
        .at("/readyz", get(make_sync(move |_| readiness(&ready_hub))))
        .at("/metrics", get(make_sync(move |_| exposition(&metrics, &hub, &gateway))))
}

fn readiness(hub: &Hub) -> Response {
    if hub.is_stopping() {
        return Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body("stopping\n");
    }
    Response::builder().body("ready\n")
}

fn exposition(metrics: &Metrics, hub: &Hub, gateway: &Gateway) -> Response {
    let text = metrics.render(&Readings {
        hub: hub.stats(),
        partial_bytes: gateway.partial_bytes(),
        log_lines_dropped: telemetry::dropped_lines(),
    });
    Response::builder().content_type("text/plain; version=0.0.4; charset=utf-8").body(text)
}
