//! Finds the address of the client behind trusted proxies, once for each request.
//!
//! The peer of the connection stays what it is (`Request::remote_addr`): who trusts a proxy's other
//! headers needs it. Everything that asks who the client is asks here.

use crate::access::trace;
use crate::metrics::Metrics;
use ipnet::IpNet;
use poem::http::{HeaderName, HeaderValue};
use poem::{Endpoint, Request};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::sync::watch;
use tracing::debug;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of a request's client, in the request's extensions.
#[derive(Debug, Clone, Copy)]
struct Client(SocketAddr);

/// The address of a request's client; `0.0.0.0:0` where the connection has no address, as one to a
/// Unix socket has not.
pub fn client_address(request: &Request) -> SocketAddr {
    let traced = request.extensions().get::<Client>().map(|&Client(address)| address);
    let peer = || request.remote_addr().as_socket_addr().copied();
    traced.or_else(peer).unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into())
}

/// An endpoint whose requests know their client's address.
pub struct Traced<E> {
    endpoint: E,
    trusted_proxies: watch::Receiver<Arc<[IpNet]>>,
    metrics: Arc<Metrics>,
}

impl<E> Traced<E> {
    /// Believes what `trusted_proxies` say to `endpoint`; who they are is asked at each request.
    pub fn new(
        endpoint: E,
        trusted_proxies: watch::Receiver<Arc<[IpNet]>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { endpoint, trusted_proxies, metrics }
    }
}

impl<E: Endpoint> Endpoint for Traced<E> {
    type Output = E::Output;

    async fn call(&self, mut request: Request) -> poem::Result<E::Output> {
        if let Some(&peer) = request.remote_addr().as_socket_addr() {
            let lines: Vec<_> = request.headers().get_all(X_FORWARDED_FOR).iter().collect();
            let lines = lines.into_iter().map(HeaderValue::as_bytes);
            let traced = trace(peer, lines, &self.trusted_proxies.borrow());
            if traced.unreadable {
                self.metrics.unreadable_forwards.inc();
                debug!(%peer, address = %traced.address, "X-Forwarded-For holds what is no address");
            }
            request.extensions_mut().insert(Client(traced.address));
        }
        self.endpoint.call(request).await
    }
}
