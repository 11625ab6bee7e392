//! One listener for clients and owner.

use std::net::{SocketAddr, TcpListener};

use super::{Caller, TOKEN, config};
use crate::support::{TestApp, http};

/// A port that was free a moment ago; port 0 never means one listener.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr()).expect("a free port")
}

async fn status(app: &TestApp, path: &str, token: bool) -> u16 {
    let bearer = if token { format!("Authorization: Bearer {TOKEN}\r\n") } else { String::new() };
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{bearer}\r\n");
    http::send(app.hub(), &request).await.status
}

#[tokio::test]
async fn one_listener_serves_both_and_shows_the_owners_business_for_the_token_alone() {
    let mut settings = config();
    settings.hub.listen = free();
    settings.admin.listen = settings.hub.listen.into();
    assert!(settings.shares_listener());
    let app = TestApp::start(settings).await;
    assert_eq!(app.hub(), app.admin());
    let mut client = app.listener("\"x\"").await;
    let told = Caller::owner(&app).post("/messages", r#"{"channel":"x","message":1}"#, 201).await;
    assert_eq!(told["received_by"], 1);
    assert_eq!(client.event().await.number_of("message"), 1.0);
    for (path, open, with_token) in [
        ("/healthz", 200, 200),
        ("/readyz", 200, 200),
        ("/admin", 200, 200),
        ("/api/v1/info", 401, 200),
        ("/docs", 401, 200),
        ("/openapi.json", 401, 200),
        ("/metrics", 401, 200),
        ("/", 200, 200),
        ("/install.lua", 200, 200),
        ("/skynet.lua", 200, 200),
        ("/nothing", 404, 404),
        ("/connect", 426, 426),
    ] {
        assert_eq!(status(&app, path, false).await, open, "{path} without a token");
        assert_eq!(status(&app, path, true).await, with_token, "{path} with the token");
    }
    app.stop().await;
}
