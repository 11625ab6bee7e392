//! HTTP by hand: one request on a connection of its own, the answer taken apart; and the metrics.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{DEADLINE, wait_until};

/// The answer to a request.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    /// Reads the part before the empty line.
    pub fn from_head(head: &str) -> Response {
        let mut lines = head.lines();
        let first = lines.next().expect("an answer has a first line");
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()));
        Response {
            status: status.unwrap_or_else(|| panic!("a status in {first:?}")),
            headers: headers.collect(),
            body: String::new(),
        }
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Sends a request as it stands and reads one answer, its body to the announced length or to the
/// end of the connection.
pub async fn send(address: SocketAddr, request: &str) -> Response {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let written = stream.write_all(request.as_bytes()).await;
        written.expect("the request is taken");
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = find(&bytes, b"\r\n\r\n") {
                break end;
            }
            let count = stream.read_buf(&mut bytes).await.expect("an answer");
            assert!(count > 0, "an answer before the end to {request:?}");
        };
        let mut response = Response::from_head(&String::from_utf8_lossy(&bytes[..head]));
        let mut body = bytes.split_off(head + 4);
        let length = response.header("content-length");
        let length = length.map_or(usize::MAX, |length| length.parse().expect("a length"));
        // HEAD announces a body that it does not send.
        if !request.starts_with("HEAD") {
            while body.len() < length
                && stream.read_buf(&mut body).await.expect("the body arrives") > 0
            {}
        }
        response.body = String::from_utf8(body).expect("a body in UTF-8");
        response
    };
    timeout(DEADLINE, exchange)
        .await
        .unwrap_or_else(|_| panic!("no answer within {DEADLINE:?} to {request:?}"))
}

/// Where a pattern begins.
pub fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|at| at == pattern)
}

/// The answer of the admin listener to a GET; HTTP/1.0, so that the body is never chunked.
pub async fn get(address: SocketAddr, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    send(address, &request).await
}

/// The metrics, at most a second old.
pub async fn metrics(admin: SocketAddr) -> String {
    let response = get(admin, "/metrics").await;
    assert_eq!(response.status, 200, "the metrics are served");
    response.body
}

/// The metrics as they are now, written after the call: the second page that differs from the one
/// kept before in how many requests for it there have been.
pub async fn fresh_metrics(admin: SocketAddr) -> String {
    let requests =
        |page: &str| sample(page, "skynet_http_requests_total", &[("route", "/metrics")]);
    let kept = requests(&metrics(admin).await);
    let mut page = String::new();
    wait_until("the metrics are written anew", async || {
        page = metrics(admin).await;
        requests(&page) > kept
    })
    .await;
    page
}

/// The sum of the samples of a metric that have all of these labels, as they are now; 0 when there
/// is none.
pub async fn metric(admin: SocketAddr, name: &str, labels: &[(&str, &str)]) -> f64 {
    sample(&fresh_metrics(admin).await, name, labels)
}

/// The sum of the samples of a metric on a page that have all of these labels; 0 when there is none.
pub fn sample(page: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let samples = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (set, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", rest.strip_prefix(' ')?),
        };
        let wanted = |(key, value): &(&str, &str)| set.contains(&format!("{key}=\"{value}\""));
        labels.iter().all(wanted).then(|| value.trim().to_owned())
    });
    samples.map(|value| value.parse::<f64>().expect("a sample is a number")).sum()
}
