//! `/stats`, `/info`, `/config`, `/log-level`.

use super::{Caller, READ_TOKEN, TOKEN, config, problem};
use crate::support::with_app;
use serde_json::json;

#[tokio::test]
async fn the_server_says_what_it_is_and_how_it_does() {
    with_app(config(), async |app| {
        let reader = Caller::reader(app);
        let mut client = app.listener("1").await;
        client.publish("2", "1").await;
        let stats = reader.get("/stats").await;
        assert_eq!(stats["clients"], 1);
        assert_eq!(stats["channels"], 2);
        assert_eq!(stats["totals"]["commands"]["message"], 1);
        let info = reader.get("/info").await;
        assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(info["protocol_versions"], json!([1, 2]));
    })
    .await;
}

#[tokio::test]
async fn the_settings_are_shown_and_no_secret() {
    with_app(config(), async |app| {
        let shown = Caller::reader(app).call("GET", "/config").await;
        assert_eq!(shown.status, 200);
        assert!(shown.body.contains("limits.max_clients"), "{}", shown.body);
        assert!(shown.body.contains("admin.token"));
        assert!(!shown.body.contains(TOKEN) && !shown.body.contains(READ_TOKEN));
    })
    .await;
}

#[tokio::test]
async fn a_filter_that_is_none_is_refused_in_words() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        for body in [r#"{"log":"loud"}"#, r#"{"log":5}"#, "{}"] {
            let response = owner.tell("PUT", "/log-level", "", body).await;
            assert_eq!(problem(&response, 400, Some("log")), "invalid_body", "{body}");
        }
    })
    .await;
}
