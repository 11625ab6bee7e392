//! The owner's API over real sockets, with websocket clients on the other side.

mod access;
mod bans;
mod channels;
mod clients;
mod document;
mod log;
mod messages;
mod names;
mod server;
mod shared;
mod stream;

use std::net::SocketAddr;

use serde_json::Value;
use skynet::config::{Config, Secret};

use crate::support::{
    self, TestApp,
    http::{self, Response},
    raw::{Raw, upgrade},
};

/// The token that may do everything.
pub const TOKEN: &str = "the-owner-of-this-test-0123456789";
/// The token that may read.
pub const READ_TOKEN: &str = "a-reader-of-this-test-0123456789";

/// The configuration of the other tests, with tokens for the owner.
pub fn config() -> Config {
    let mut config = support::unhurried();
    config.admin.token = Some(Secret::new(TOKEN));
    config.admin.read_token = Some(Secret::new(READ_TOKEN));
    config
}

/// Somebody who calls the API.
#[derive(Clone, Copy)]
pub struct Caller {
    admin: SocketAddr,
    token: &'static str,
}

impl Caller {
    /// The owner of an app.
    pub fn owner(app: &TestApp) -> Caller {
        Caller { admin: app.admin(), token: TOKEN }
    }

    /// Whoever has a token, at an address.
    pub fn at(admin: SocketAddr, token: &'static str) -> Caller {
        Caller { admin, token }
    }

    /// Somebody with another token.
    pub fn with(app: &TestApp, token: &'static str) -> Caller {
        Caller { admin: app.admin(), token }
    }

    /// Somebody who may read.
    pub fn reader(app: &TestApp) -> Caller {
        Caller { admin: app.admin(), token: READ_TOKEN }
    }

    /// The head of a request; HTTP/1.0, so that no answer is chunked.
    pub fn head(&self, method: &str, path: &str) -> String {
        let Caller { admin, token } = self;
        format!(
            "{method} /api/v1{path} HTTP/1.0\r\nHost: {admin}\r\nAuthorization: Bearer {token}\r\n"
        )
    }

    pub async fn call(&self, method: &str, path: &str) -> Response {
        http::send(self.admin, &format!("{}\r\n", self.head(method, path))).await
    }

    /// A call with further headers and a JSON body.
    pub async fn tell(&self, method: &str, path: &str, headers: &str, body: &str) -> Response {
        let head = self.head(method, path);
        let length = body.len();
        let request = format!(
            "{head}{headers}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        http::send(self.admin, &request).await
    }

    /// What a GET that must succeed answers.
    pub async fn get(&self, path: &str) -> Value {
        json(&self.call("GET", path).await, 200)
    }

    /// What a POST that must succeed answers.
    pub async fn post(&self, path: &str, body: &str, status: u16) -> Value {
        json(&self.tell("POST", path, "", body).await, status)
    }

    /// A DELETE that must succeed with 204.
    pub async fn delete(&self, path: &str) {
        let response = self.call("DELETE", path).await;
        assert_eq!((response.status, response.body.as_str()), (204, ""), "{path}");
    }
}

/// The JSON of an answer that must have a status.
pub fn json(response: &Response, status: u16) -> Value {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    serde_json::from_str(&response.body).expect("the answer is JSON")
}

/// The `code` of a problem that must have a status and, if it is named, concern one field.
pub fn problem(response: &Response, status: u16, field: Option<&str>) -> String {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    let problem: Value = serde_json::from_str(&response.body).expect("a problem is JSON");
    assert_eq!(problem["status"], status);
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    assert_eq!(problem["errors"][0]["field"].as_str(), field, "{problem}");
    problem["code"].as_str().expect("a code").to_owned()
}

/// A client that claims a name.
pub async fn named(app: &TestApp, name: &str) -> Raw {
    let mut client = Raw::tcp(app.hub()).await;
    client.write(upgrade(&format!("/connect?name={name}")).as_bytes()).await;
    client.accepted().await;
    client
}
