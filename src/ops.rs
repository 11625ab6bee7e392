//! What an owner's tools ask for: health, readiness, metrics.
//!
//! Holds no content of messages; who may see the metrics is for the caller to decide.

use crate::hub::Hub;
use crate::metrics::{Metrics, Readings};
use crate::worker::{Panicked, Worker};
use bytes::Bytes;
use poem::endpoint::{make, make_sync};
use poem::error::InternalServerError;
use poem::http::StatusCode;
use poem::{Response, Route, RouteMethod, get};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long the metrics may be shown as they were.
const CACHED: Duration = Duration::from_secs(1);

/// Adds `/healthz`: the process serves; `/readyz`: it takes new clients (503 while it stops).
pub fn health(route: Route, hub: &Hub) -> Route {
    let hub = hub.clone();
    route
        .at("/healthz", get(make_sync(|_| "ok\n")))
        .at("/readyz", get(make_sync(move |_| readiness(&hub))))
}

/// The metrics, in Prometheus's text format; `readings` reads what is kept elsewhere. They are
/// written by `worker`, at most once a second, however many ask.
pub(crate) fn metrics(
    metrics: Arc<Metrics>,
    worker: Worker,
    readings: impl Fn() -> Readings + Send + Sync + 'static,
) -> RouteMethod {
    let write = move || Bytes::from(metrics.render(&readings()));
    let page = Arc::new(Page { write: Arc::new(write), worker, last: Mutex::default() });
    get(make(move |_| {
        let page = page.clone();
        async move {
            let text = page.read().await.map_err(InternalServerError)?;
            let content_type = "text/plain; version=0.0.4; charset=utf-8";
            Ok::<_, poem::Error>(Response::builder().content_type(content_type).body(text))
        }
    }))
}

/// A page that is kept for a while.
struct Page<W> {
    write: Arc<W>,
    worker: Worker,
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl<W: Fn() -> Bytes + Send + Sync + 'static> Page<W> {
    async fn read(&self) -> Result<Bytes, Panicked> {
        // Held while it is written: who asks meanwhile gets the same.
        let mut last = self.last.lock().await;
        if let Some((at, text)) = &*last
            && at.elapsed() < CACHED
        {
            return Ok(text.clone());
        }
        let (write, begun) = (self.write.clone(), Instant::now());
        // Elsewhere, so that no delivery waits for it.
        let text = self.worker.run(move || write()).await?;
        *last = Some((begun, text.clone()));
        Ok(text)
    }
}

fn readiness(hub: &Hub) -> Response {
    if hub.is_stopping() {
        return Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body("stopping\n");
    }
    Response::builder().body("ready\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn those_who_ask_together_get_one_page_and_an_old_one_is_written_anew() {
        let written = Arc::new(AtomicUsize::new(0));
        let count = written.clone();
        let write = move || Bytes::from(count.fetch_add(1, Ordering::Relaxed).to_string());
        let worker = Worker::start("metrics").unwrap();
        let page = Page { write: Arc::new(write), worker, last: Mutex::default() };
        let (a, b, c) = tokio::join!(page.read(), page.read(), page.read());
        let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
        assert_eq!((&a[..], &b[..], &c[..]), (&b"0"[..], &b"0"[..], &b"0"[..]));
        assert_eq!((a.as_ptr(), written.load(Ordering::Relaxed)), (c.as_ptr(), 1));
        if let Some((at, _)) = &mut *page.last.lock().await {
            *at -= CACHED;
        }
        assert_eq!(&page.read().await.unwrap()[..], b"1");
    }
}
