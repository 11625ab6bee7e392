//! Counts the requests of a listener, by the route they matched.
//!
//! Routes are a closed set, the listener's own: what a request asked for is never a label as it
//! stands. Decides nothing about the answer.

use crate::metrics::Metrics;
use poem::{Endpoint, Request, Response};
use std::sync::Arc;
use std::time::Instant;

/// The route of requests that matched none.
const NO_ROUTE: &str = "none";

/// The routes of a listener.
#[derive(Debug, Default)]
pub struct Routes(Vec<Route>);

#[derive(Debug)]
struct Route {
    /// What stands between the slashes; `{…}` is any word.
    parts: Vec<String>,
    label: String,
}

impl Routes {
    /// Adds a route, such as `/api/v1/clients/{id}`, with the name that it is counted by.
    pub fn add(&mut self, path: &str, label: &str) {
        let parts = path.split('/').map(str::to_owned).collect();
        self.0.push(Route { parts, label: label.to_owned() });
    }

    /// The name of the route that a path matches.
    fn label(&self, path: &str) -> &str {
        // Of two, the one with more words of its own.
        let matching = self.0.iter().filter(|route| route.matches(path));
        let best = matching.min_by_key(|route| route.parameters());
        best.map_or(NO_ROUTE, |route| &route.label)
    }
}

impl Route {
    fn matches(&self, path: &str) -> bool {
        let mut given = path.split('/');
        let fits = |part: &String| {
            given
                .next()
                .is_some_and(|given| part == given || is_parameter(part) && !given.is_empty())
        };
        self.parts.iter().all(fits) && given.next().is_none()
    }

    fn parameters(&self) -> usize {
        self.parts.iter().filter(|part| is_parameter(part)).count()
    }
}

fn is_parameter(part: &str) -> bool {
    part.starts_with('{')
}

/// An endpoint whose requests are counted when their answers begin.
pub struct Counted<E> {
    endpoint: E,
    routes: Routes,
    metrics: Arc<Metrics>,
}

impl<E> Counted<E> {
    /// Counts the requests to `endpoint`, whose routes are `routes`.
    pub fn new(endpoint: E, routes: Routes, metrics: Arc<Metrics>) -> Self {
        metrics.expect_http(NO_ROUTE, "GET", "404");
        Self { endpoint, routes, metrics }
    }
}

impl<E: Endpoint> Endpoint for Counted<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let begun = Instant::now();
        let route = self.routes.label(request.uri().path());
        let method = request.method().clone();
        let response = self.endpoint.get_response(request).await;
        let status = response.status();
        self.metrics.http_answered(route, method.as_str(), status.as_str(), begun.elapsed());
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_counted_by_the_closest_route_and_never_as_it_stands() {
        let mut routes = Routes::default();
        for route in ["/", "/clients", "/clients/kick", "/clients/{id}", "/clients/{id}/x/{y}"] {
            routes.add(route, route);
        }
        routes.add("/docs/", "/docs");
        for (path, label) in [
            ("/", "/"),
            ("/clients", "/clients"),
            ("/clients/kick", "/clients/kick"),
            ("/clients/7", "/clients/{id}"),
            ("/clients/%7Bid%7D", "/clients/{id}"),
            ("/clients/7/x/a%20b", "/clients/{id}/x/{y}"),
            ("/docs/", "/docs"),
            ("/clients/", "none"),
            ("/clients/7/", "none"),
            ("/clients/7/x", "none"),
            ("/other", "none"),
            ("", "none"),
        ] {
            assert_eq!(routes.label(path), label, "{path}");
        }
    }
}
