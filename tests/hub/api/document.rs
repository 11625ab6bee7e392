//! The OpenAPI document and the pages.

use std::path::Path;

use serde_json::Value;

use super::config;
use crate::support::{http, with_app};

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let methods = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(method, operation)| {
            (format!("{} {path}", method.to_uppercase()), operation)
        })
    });
    methods.collect()
}

#[test]
fn the_committed_document_is_what_the_program_serves() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/skynet.json");
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == skynet::api::document(),
        "openapi/skynet.json is stale; run: skynet openapi > openapi/skynet.json"
    );
}

#[test]
fn every_operation_is_there_once_and_documented() {
    let text = skynet::api::document();
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut found: Vec<String> = operations(&document).into_iter().map(|(name, _)| name).collect();
    found.sort();
    let mut expected = [
        "GET /channels",
        "GET /channels/{channel}",
        "GET /channels/{channel}/listeners",
        "GET /log",
        "DELETE /log",
        "GET /log/{id}",
        "DELETE /log/{id}",
        "GET /log/stream",
        "POST /messages",
        "GET /clients",
        "GET /clients/{id}",
        "DELETE /clients/{id}",
        "DELETE /clients/{id}/channels/{channel}",
        "POST /clients/kick",
        "GET /bans",
        "POST /bans",
        "DELETE /bans/{id}",
        "GET /stats",
        "GET /info",
        "GET /config",
        "POST /config/reload",
        "PUT /log-level",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
    // A path written twice would lose an operation when it is read.
    assert_eq!(text.matches("\"operationId\"").count(), expected.len());
    for (name, operation) in operations(&document) {
        for key in ["operationId", "summary", "description", "tags", "security"] {
            assert!(!operation[key].is_null(), "{name} has no {key}");
        }
        let responses = operation["responses"].as_object().unwrap();
        for status in ["401", "421", "429"] {
            assert!(responses.contains_key(status), "{name} has no {status}");
        }
        let content = responses.values().flat_map(|response| response.get("content"));
        for (kind, content) in content.flat_map(|content| content.as_object().unwrap()) {
            let wants_example = kind != "application/problem+json";
            assert!(
                !wants_example || content.get("example").is_some(),
                "{name} {kind}: no example"
            );
        }
        let request = operation.get("requestBody");
        for content in request.iter().flat_map(|r| r["content"].as_object().unwrap().values()) {
            assert!(content.get("example").is_some(), "{name}: no example of a request");
        }
    }
}

#[tokio::test]
async fn the_pages_are_served_whole_and_lead_to_each_other() {
    with_app(config(), async |app| {
        let json = http::get(app.admin(), "/openapi.json").await;
        assert_eq!(json.body, skynet::api::document());
        let index = http::get(app.admin(), "/").await;
        for page in ["/docs", "/openapi.json", "/metrics", "/healthz", "/readyz"] {
            assert!(index.body.contains(&format!("href=\"{page}\"")), "{page}");
            assert_eq!(http::get(app.admin(), page).await.status, 200, "{page}");
        }
        let docs = http::get(app.admin(), "/docs").await;
        assert!(docs.body.contains("SwaggerUIBundle") && docs.body.contains("\"listChannels\""));
        for elsewhere in ["src=\"http", "href=\"http", "@import"] {
            assert!(!docs.body.contains(elsewhere), "{elsewhere}");
        }
    })
    .await;
}
