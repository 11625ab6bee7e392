//! The owner's side: one request on a connection of its own, or on one that is kept; and figures out
//! of the metrics.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::problem::{During, Outcome, Problem, ensure, soon};

/// The owner's token of every hub that is started here.
pub const TOKEN: &str = "the-token-of-the-owner-in-the-scenes";

/// The status of an answer and its body.
pub type Answer = (u16, String);

/// A connection to the admin listener that is kept open, for when there are no descriptors for
/// another.
pub struct Admin {
    stream: TcpStream,
    address: SocketAddr,
}

impl Admin {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(address: SocketAddr) -> Outcome<Admin> {
        let stream = soon("the admin listener accepts", TcpStream::connect(address)).await??;
        Ok(Admin { stream, address })
    }

    /// Asks for something; `body` is JSON or empty.
    ///
    /// # Errors
    /// The connection broke, or the answer is none.
    pub async fn ask(&mut self, method: &str, path: &str, body: &str) -> Outcome<Answer> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let exchange = async {
            self.stream.write_all(head.as_bytes()).await?;
            self.answer().await
        };
        soon("an answer", exchange).await?.during(format_args!("{method} {path}"))
    }

    async fn answer(&mut self) -> Outcome<Answer> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.more(&mut bytes).await?;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| Problem(format!("no status in {head:?}")))?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize =
            length.map_or(Ok(0), |length| length.trim().parse()).during("length")?;
        while bytes.len() < end + length {
            self.more(&mut bytes).await?;
        }
        Ok((status, String::from_utf8_lossy(&bytes[end..]).into_owned()))
    }

    async fn more(&mut self, bytes: &mut Vec<u8>) -> Outcome {
        let got = self.stream.read_buf(bytes).await?;
        ensure(got > 0, || "the connection ended before the answer".into())
    }

    /// The metrics, written after this call: the page is kept for a second, and counts how often it
    /// was asked for, so that one that is newer than the first answer is known by that.
    ///
    /// # Errors
    /// They are not served.
    pub async fn metrics(&mut self) -> Outcome<Page> {
        let first = self.page().await?;
        let kept = first.asked();
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(100));
        loop {
            pace.tick().await;
            let page = self.page().await?;
            if page.asked() > kept {
                return Ok(page);
            }
        }
    }

    async fn page(&mut self) -> Outcome<Page> {
        let (status, body) = self.ask("GET", "/metrics", "").await?;
        ensure(status == 200, || format!("/metrics answers {status}"))?;
        Ok(Page(body))
    }
}

/// The metrics at one moment.
pub struct Page(String);

impl Page {
    /// The sum of a metric's samples whose labels hold `label`; 0 when there is none.
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let samples = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            if !rest.starts_with([' ', '{']) || !rest.contains(label) {
                return None;
            }
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        });
        samples.sum()
    }

    /// The sum of all samples of a metric.
    pub fn get(&self, name: &str) -> f64 {
        self.sum(name, "")
    }

    fn asked(&self) -> f64 {
        self.sum("skynet_http_requests_total", "route=\"/metrics\"")
    }
}

/// One request on a connection of its own.
///
/// # Errors
/// There is no answer.
pub async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Outcome<Answer> {
    Admin::connect(address).await?.ask(method, path, body).await
}

/// The JSON of an answer that must be a success.
///
/// # Errors
/// It is none, or not JSON.
pub async fn json(address: SocketAddr, method: &str, path: &str, body: &str) -> Outcome<Value> {
    let (status, body) = ask(address, method, path, body).await?;
    ensure(status < 300, || format!("{method} {path} answers {status}: {body}"))?;
    serde_json::from_str(&body).during(format_args!("{method} {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_label() {
        let page =
            Page("# HELP a b\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 7\nab_c{x=\"1\"} 9\n".to_owned());
        assert_eq!(page.get("a"), 5.0);
        assert_eq!(page.sum("a", "x=\"2\""), 3.0);
        assert_eq!(page.get("ab"), 7.0);
        assert_eq!(page.get("b"), 0.0);
    }
}
