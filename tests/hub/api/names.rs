//! Names at the handshake: claimed, proven by a token, and refused.

use serde_json::Value;
use skynet::config::{Config, HubToken, Secret};

use super::{Caller, config};
use crate::support::{TestApp, raw::Raw, raw::upgrade, with_app};

const DOOR: &str = "the-token-of-the-door-0123456789";

/// A hub where a token proves the name "door".
fn with_a_door() -> Config {
    let mut config = config();
    config.hub.tokens = vec![HubToken::new("door", Secret::new(DOOR))];
    config
}

/// A client with this path and these further headers.
async fn client(app: &TestApp, path: &str, headers: &str) -> Raw {
    let mut client = Raw::tcp(app.hub()).await;
    let request = upgrade(path).replacen("\r\n\r\n", &format!("\r\n{headers}\r\n"), 1);
    client.write(request.as_bytes()).await;
    client
}

/// What the owner sees of the only client.
async fn seen(app: &TestApp) -> Value {
    let clients = Caller::owner(app).get("/clients").await;
    assert_eq!(clients["total"], 1, "{clients}");
    clients["clients"][0].clone()
}

#[tokio::test]
async fn a_name_is_claimed_by_headers_or_by_the_query_and_shown_as_a_claim() {
    let headers = "Skynet-Name: mine\r\nSkynet-Computer-Id: 5\r\nSkynet-Computer-Label: Tür\r\n";
    for (path, headers) in [
        ("/connect", headers),
        ("/connect/?name=mine&id=5&label=T%C3%BCr", ""),
        ("/connect?name=other&id=6&label=x", headers),
    ] {
        with_app(with_a_door(), async |app| {
            let mut client = client(app, path, headers).await;
            client.accepted().await;
            let seen = seen(app).await;
            assert_eq!(
                (seen["name"].as_str(), &seen["proven"]),
                (Some("mine"), &Value::Bool(false))
            );
            assert_eq!(seen["computer_id"], "5");
            assert_eq!(seen["computer_label"], "Tür");
        })
        .await;
    }
}

#[tokio::test]
async fn a_token_proves_its_name_whatever_the_client_claims() {
    let bearer = format!("Authorization: Bearer {DOOR}\r\nSkynet-Name: somebody\r\n");
    let query = format!("/connect?token={DOOR}");
    for (path, headers) in [("/connect", &*bearer), (&*query, "")] {
        with_app(with_a_door(), async |app| {
            let mut client = client(app, path, headers).await;
            client.accepted().await;
            let seen = seen(app).await;
            assert_eq!(
                (seen["name"].as_str(), &seen["proven"]),
                (Some("door"), &Value::Bool(true))
            );
            assert!(!seen.to_string().contains(DOOR), "the token is nowhere to be seen");
        })
        .await;
    }
}

#[tokio::test]
async fn who_needs_a_token_and_has_no_good_one_is_let_in_and_closed_with_4502() {
    with_app(with_a_door(), async |app| {
        for (path, headers) in [
            ("/connect?token=guessed", ""),
            ("/connect", "Authorization: Bearer guessed\r\n"),
            ("/connect?name=door", ""),
            ("/connect", "Skynet-Name: door\r\n"),
        ] {
            let mut client = client(app, path, headers).await;
            client.accepted().await;
            assert_eq!(client.close_code().await, Some(4502), "{path} {headers}");
        }
        app.disconnects("bad_token", 4).await;
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_at_the_handshake() {
    with_app(with_a_door(), async |app| {
        let long = format!("/connect?name={}", "x".repeat(65));
        for (path, headers) in [
            ("/connect?name=", ""),
            (&*long, ""),
            ("/connect?label=a%0Ab", ""),
            ("/connect", "Skynet-Computer-Id: a\tb\r\n"),
        ] {
            let mut client = client(app, path, headers).await;
            let answer = client.answer().await.expect("an answer");
            assert_eq!(answer.status, 400, "{path} {headers}");
        }
    })
    .await;
}
