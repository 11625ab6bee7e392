//! `/messages`.

use serde_json::json;

use super::{Caller, config, problem};
use crate::support::with_app;

#[tokio::test]
async fn a_message_travels_as_it_was_spelled_to_listeners_and_into_the_log() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut one = app.listener("\"doors\"").await;
        let mut all = app.listener("\"*\"").await;
        let body = r#"{"type":"x","ID":1,"channel":"doors","message":[1.0,1e400,12345678901234567890123],"for":"me"}"#;
        let response = owner.tell("POST", "/messages", "", body).await;
        assert_eq!(response.status, 201, "{response:?}");
        let event = one.event_text().await;
        assert_eq!(all.event_text().await, event);
        assert!(event.contains(r#""message":[1.0,1e400,12345678901234567890123]"#), "{event}");
        assert!(event.contains(r#""type":"message""#) && event.contains(r#""for":"me""#), "{event}");
        assert_eq!(response.body, format!(r#"{{"message":{event},"received_by":2}}"#));
        let location = response.header("location").unwrap().strip_prefix("/api/v1").unwrap();
        assert_eq!(owner.call("GET", location).await.body, event);
        assert_eq!(owner.call("GET", "/log").await.body, format!(r#"{{"log":[{event}]}}"#));
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_sends_nothing_and_is_answered_the_same() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut client = app.listener("1").await;
        let send = async |key: &str, body: &str| {
            let header = format!("Idempotency-Key: {key}\r\n");
            owner.tell("POST", "/messages", &header, body).await
        };
        let first = send("a", r#"{"channel":1,"message":"x"}"#).await;
        assert_eq!(first.status, 201);
        let again = send("a", r#"{"channel":1,"message":"x"}"#).await;
        assert_eq!((again.status, &again.body), (201, &first.body));
        let other = send("a", r#"{"channel":1,"message":"y"}"#).await;
        assert_eq!(problem(&other, 422, None), "key_reused");
        assert_eq!(send("b", r#"{"channel":1,"message":"x"}"#).await.status, 201);
        assert_eq!(client.received().await.len(), 2);
        let long = send(&"k".repeat(256), r#"{"channel":1}"#).await;
        assert_eq!(problem(&long, 400, Some("Idempotency-Key")), "invalid_parameter");
        assert_eq!(owner.get("/stats").await["totals"]["messages"], json!(2));
    })
    .await;
}
