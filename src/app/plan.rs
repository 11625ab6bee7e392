//! The routes of a listener, as its requests are counted by them.

use super::Pages;
use crate::api;
use crate::http::{Counted, Routes};
use crate::metrics::Metrics;
use poem::{Endpoint, EndpointExt, Response};
use std::sync::Arc;

/// The routes of a listener, as its requests are counted by them.
pub(super) struct Plan {
    routes: Routes,
    metrics: Arc<Metrics>,
}

impl Plan {
    pub fn new(metrics: &Arc<Metrics>) -> Self {
        Self { routes: Routes::default(), metrics: metrics.clone() }
    }

    /// Adds routes that the API's document does not have.
    pub fn serve(&mut self, paths: &[&str]) {
        for path in paths {
            self.routes.add(path, path);
            for status in USUAL.iter().filter(|(of, _)| of == path).flat_map(|(_, all)| *all) {
                self.metrics.expect_http(path, "GET", status);
            }
        }
        // As good as without the slash at the end.
        for path in paths.iter().filter(|path| SLASHED.contains(path)) {
            self.routes.add(&format!("{path}/"), path);
        }
    }

    /// Adds the API's, whose index is `index`.
    pub fn serve_api(&mut self, index: &str) {
        self.serve(&[index, "/docs", "/openapi.json"]);
        for (path, method, status) in api::answers() {
            self.routes.add(&path, &path);
            self.metrics.expect_http(&path, &method, &status);
        }
    }

    pub fn count(self, endpoint: impl Endpoint<Output = Response> + 'static) -> Pages {
        Counted::new(endpoint, self.routes, self.metrics).boxed()
    }
}

/// What the routes that are not in the API's document may answer to GET.
const USUAL: [(&str, &[&str]); 10] = [
    ("/", &["200", "304", "400", "421"]),
    ("/admin", &["200", "421"]),
    ("/connect", &["101", "400", "403", "426", "429", "503"]),
    ("/docs", &["200", "421"]),
    ("/healthz", &["200"]),
    ("/install.lua", &["200", "304", "400"]),
    ("/metrics", &["200", "401", "429"]),
    ("/openapi.json", &["200", "421"]),
    ("/readyz", &["200", "503"]),
    ("/skynet.lua", &["200", "304", "400"]),
];

/// Routes that a slash may follow.
const SLASHED: [&str; 2] = ["/connect", "/docs"];
