//! HTTP/1.1 in front of a poem endpoint: an accept loop of our own.
//!
//! poem's own server leaves slow handshakes open for ever, spins when descriptors run out, and
//! sets no TCP_NODELAY; this one has time limits for headers and for answers, makes room for newcomers, sleeps and
//! recovers, and leaves the upgrade of a connection to the endpoint. Knows nothing of the hub.
//!
//! - `listener`: what is bound, a port or a Unix socket (`unix`); `inherited`: what the service manager
//!   has bound already.
//! - `connection`: what comes before HTTP: a proxy's header (`proxy_header`), TLS (`certificates`).
//! - `crowd`: who holds the places, and who has to go; `silence`: who is known for asking nothing;
//!   `answer`: an answer, handed out in parts.
//! - `counted`: counts requests by route; `traced`: finds the client's address behind proxies.

mod answer;
mod certificates;
mod connection;
mod counted;
mod crowd;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(unix)]
mod inherited;
mod listener;
mod proxy_header;
mod silence;
mod traced;
#[cfg(unix)]
mod unix;

pub use certificates::{Certificates, Changed, ReadAnew, TlsError, TlsFiles};
pub use connection::Opening;
pub use counted::{Counted, Routes};
#[cfg(unix)]
pub use inherited::InheritedError;
pub use listener::{Inherited, Listener, Peer};
pub use traced::{Traced, client_address};

use crate::metrics::{ConnectionFailure, Metrics};
use answer::Answer;
use connection::Opened;
use crowd::{Crowd, Progress, Why};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use listener::Accepted;
use poem::endpoint::BoxEndpoint;
use poem::http::uri::Scheme;
use poem::http::{HeaderName, StatusCode, header};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Response};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use traced::X_FORWARDED_FOR;
use tracing::{debug, info, warn};

/// Most headers of a request.
const MAX_HEADERS: usize = 64;

/// Most bytes of a request's head, and of what is read ahead.
const MAX_HEAD_BYTES: usize = 16 * 1024;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How long a connection has for its first request when the listener stops, and as long before for what
/// comes before HTTP.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// How long to wait when no connection can be accepted for lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The upgrade of a request's connection, in the request's extensions.
#[derive(Debug, Clone)]
pub struct Upgrade(pub OnUpgrade);

/// A listener's endpoint and limits.
#[derive(Clone)]
pub struct Service {
    endpoint: Arc<BoxEndpoint<'static, Response>>,
    limits: Limits,
    opening: Opening,
    metrics: Arc<Metrics>,
}

/// A connection as its requests see it.
#[derive(Clone)]
struct Ends {
    local: Addr,
    peer: Peer,
    scheme: Scheme,
    progress: Progress,
}

/// What bounds the connections of a listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The listener's name in the log.
    pub listener: &'static str,
    /// How long a request's head may take, what comes before HTTP counted with the first, and how
    /// long an answer may take to be taken, what `answer_rate` gives it aside; what is set when a
    /// connection comes counts for all of it.
    pub head_timeout: watch::Receiver<Duration>,
    /// Bytes of an answer for which there is one second more.
    pub answer_rate: u64,
    /// Connections at a time, those that have been upgraded not counted, so that they cannot take the
    /// descriptors that all else needs. For one more, another goes that is at no request; if all are
    /// at one, it waits.
    pub max_connections: usize,
}

impl Service {
    /// Serves `endpoint` on connections that are opened as `opening` says.
    pub fn new(
        endpoint: impl Endpoint<Output = Response> + 'static,
        limits: Limits,
        opening: Opening,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { endpoint: Arc::new(poem::EndpointExt::boxed(endpoint)), limits, opening, metrics }
    }

    /// Accepts connections until `stop` turns true; then the listener is closed and each
    /// connection ends after the request it is at, or its first one, for which it has a moment. Returns
    /// when they have ended, or soon after that moment. Upgraded connections are not touched.
    pub async fn serve(self, listener: Listener, mut stop: watch::Receiver<bool>) {
        // Told once for each time it begins, not ten times a second.
        let mut failing = false;
        let crowd = Crowd::new(self.limits.max_connections);
        let listener_name = self.limits.listener;
        loop {
            let accept = async {
                let accepted = listener.accept().await?;
                let address = accepted.address().map(|peer| peer.ip().to_canonical());
                Ok((accepted, crowd.enter(address).await))
            };
            let accepted = tokio::select! {
                accepted = accept => accepted,
                () = stopped(&mut stop) => break,
            };
            match accepted {
                Ok((accepted, place)) => {
                    if std::mem::take(&mut failing) {
                        info!(listener = listener_name, "connections are accepted again");
                    }
                    let peer = accepted.address();
                    let progress = place.progress();
                    let connection =
                        self.clone().serve_connection(accepted, progress, stop.clone());
                    let metrics = self.metrics.clone();
                    tokio::spawn(async move {
                        let (failure, words) = tokio::select! {
                            () = connection => return,
                            why = place.has_to_go() => match why {
                                Why::Crowded => (ConnectionFailure::Crowded, "made room for another"),
                                Why::Overdue => (ConnectionFailure::Timeout, "its answer was not taken in time"),
                            },
                        };
                        metrics.connection_failed(listener_name, failure);
                        debug!(listener = listener_name, ?peer, "connection ended: {words}");
                    });
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.metrics.accept_errors.inc();
                    if !std::mem::replace(&mut failing, true) {
                        warn!(
                            listener = listener_name,
                            %error,
                            "no connection can be accepted; trying again"
                        );
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        // Who takes its answer slowly is not waited for.
        let _ = timeout(3 * LAST_MOMENT, crowd.emptied()).await;
    }

    async fn serve_connection(
        self,
        accepted: Accepted,
        progress: Progress,
        mut stop: watch::Receiver<bool>,
    ) {
        let head_timeout = *self.limits.head_timeout.borrow();
        let deadline = Instant::now() + head_timeout;
        let (stream, address) = match accepted {
            Accepted::Tcp(stream, address) => (stream, address),
            #[cfg(unix)]
            Accepted::Local(stream) => {
                let local = Addr::custom("unix", "");
                let ends = Ends { local, peer: Peer::Local, scheme: Scheme::HTTP, progress };
                return self.serve_http(stream, ends, head_timeout, deadline, stop).await;
            }
        };
        // Without it a small frame may wait 40 ms for the answer to the one before.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let Ok(local) = stream.local_addr() else { return };
        let opened = tokio::select! {
            opened = self.open(stream, address, deadline) => opened,
            () = async {
                stopped(&mut stop).await;
                sleep(LAST_MOMENT).await;
            } => return,
        };
        let ends = |peer, scheme| Ends { local: local.into(), peer, scheme, progress };
        match opened {
            Some((Opened::Plain(stream), peer)) => {
                self.serve_http(stream, ends(peer, Scheme::HTTP), head_timeout, deadline, stop)
                    .await;
            }
            // In a box: a plain connection needs no room for it.
            Some((Opened::Tls(stream), peer)) => {
                let ends = ends(peer, Scheme::HTTPS);
                Box::pin(self.serve_http(*stream, ends, head_timeout, deadline, stop)).await;
            }
            None => {}
        }
    }

    /// Does what comes before HTTP; counts a connection with which that does not succeed.
    async fn open(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        deadline: Instant,
    ) -> Option<(Opened, Peer)> {
        let listener = self.limits.listener;
        match timeout_at(deadline, Box::pin(self.opening.open(stream, peer))).await {
            Ok(Ok(opened)) => Some(opened),
            Ok(Err(not)) => {
                self.metrics.connection_failed(listener, not.failure);
                debug!(listener, %peer, reason = not.failure.label(), error = %not.error, "connection failed");
                None
            }
            Err(_) => {
                self.metrics.connection_failed(listener, ConnectionFailure::Timeout);
                debug!(listener, %peer, "the connection was not opened in time");
                None
            }
        }
    }

    /// Serves HTTP; by the deadline the head of the first request must be there.
    async fn serve_http(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        ends: Ends,
        head_timeout: Duration,
        deadline: Instant,
        mut stop: watch::Receiver<bool>,
    ) {
        let endpoint = self.endpoint;
        let (time, rate) = (head_timeout, self.limits.answer_rate);
        let (peer, progress) = (ends.peer, ends.progress.clone());
        let (asked, last_answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (is_asked, last_begins) = (asked.clone(), last_answer.clone());
        let service = service_fn(move |request| {
            is_asked.notify_one();
            let (endpoint, last_begins, ends) =
                (endpoint.clone(), last_begins.clone(), ends.clone());
            async move {
                // Not before: while the answer before is not taken, hyper does not begin with this.
                ends.progress.asked();
                let progress = ends.progress.clone();
                let response = respond(&endpoint, request, ends).await;
                if response.headers().get(header::CONNECTION).is_some_and(|value| value == "close")
                {
                    last_begins.notify_one();
                }
                let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                let answer = |body| Answer::new(body, progress, time, rate, upgraded);
                Ok::<_, Infallible>(response.map(answer))
            }
        });
        // Whoever asks and does not read would keep the place of another for ever.
        let overdue = async {
            if timeout_at(deadline, asked.notified()).await.is_err() {
                return;
            }
            last_answer.notified().await;
            sleep(head_timeout).await;
        };
        // Who has connected may have asked already: its request is on the way, or not read yet.
        let ending = async {
            stopped(&mut stop).await;
            let _ = timeout(LAST_MOMENT, progress.has_asked()).await;
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = overdue => {
                self.metrics.connection_failed(self.limits.listener, ConnectionFailure::Timeout);
                debug!(listener = self.limits.listener, %peer, "nothing was asked in time, or the answer not taken");
                return;
            }
            () = ending => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            let failure = if error.is_timeout() {
                ConnectionFailure::Timeout
            } else {
                ConnectionFailure::Broken
            };
            self.metrics.connection_failed(self.limits.listener, failure);
            debug!(listener = self.limits.listener, %peer, %error, "connection failed");
        }
    }
}

/// Waits until the listener is to stop, or nobody is left who could say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|&stop| stop).await;
}

async fn respond(
    endpoint: &BoxEndpoint<'static, Response>,
    mut request: hyper::Request<Incoming>,
    ends: Ends,
) -> hyper::Response<impl hyper::body::Body<Data = hyper::body::Bytes, Error = io::Error> + use<>> {
    let upgrade = Upgrade(hyper::upgrade::on(&mut request));
    request.extensions_mut().insert(upgrade);
    let remote = match ends.peer {
        Peer::Tcp(address) => address.into(),
        Peer::Announced(address) => {
            // Whoever the address is trusted as, these are the client's own words.
            for header in [X_FORWARDED_FOR, X_FORWARDED_PROTO] {
                request.headers_mut().remove(header);
            }
            address.into()
        }
        Peer::Local => Addr::custom("unix", ""),
    };
    if request.headers().get_all(header::HOST).iter().nth(1).is_some() {
        return hyper::Response::from(two_hosts());
    }
    let (local, remote) = (LocalAddr(ends.local), RemoteAddr(remote));
    let response = endpoint.get_response((request, local, remote, ends.scheme).into()).await;
    hyper::Response::from(response)
}

/// The answer to a request that names two hosts (RFC 9112, 3.2), of which others might take another one.
fn two_hosts() -> Response {
    let words = "The Host header must say once where this hub is.\n";
    let answer = Response::builder().status(StatusCode::BAD_REQUEST);
    answer.content_type("text/plain; charset=utf-8").body(words)
}

/// Errors of `accept` that concern the connection that was to be accepted, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
