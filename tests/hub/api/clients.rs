//! `/clients`.

use serde_json::{Value, json};

use super::{Caller, config, named, problem};
use crate::support::{raw::Raw, with_app};

fn ids(page: &Value) -> Vec<u64> {
    let clients = page["clients"].as_array().unwrap();
    clients.iter().map(|client| client["id"].as_u64().unwrap()).collect()
}

async fn closes(client: &mut Raw, code: u16, reason: &str) {
    assert_eq!(client.closed_after(|_| ()).await, (Some(code), reason.to_owned()));
}

#[tokio::test]
async fn clients_are_listed_filtered_and_sorted_and_so_are_those_that_have_gone() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut one = named(app, "smelter").await;
        one.open("\"doors\"").await;
        let mut two = app.listener("\"lamps\"").await;
        two.publish("\"doors\"", "1").await;
        let list = async |query: &str| ids(&owner.get(&format!("/clients?{query}")).await);
        assert_eq!(list("").await, [1, 2]);
        assert_eq!(list("order=desc").await, [2, 1]);
        assert_eq!(list("channel=doors").await, [1]);
        assert_eq!(list("name=smelter").await, [1]);
        assert_eq!(list("name=smelt").await, [0; 0]);
        assert_eq!(list("address=127.0.0.0/8").await, [1, 2]);
        assert_eq!(list("address=192.0.2.1").await, [0; 0]);
        assert_eq!(list("sort=messages_in&order=desc&limit=1").await, [2]);
        assert_eq!(list("state=closed").await, [0; 0]);
        let client = owner.get("/clients/1").await;
        assert_eq!(client["name"], "smelter");
        assert_eq!(client["proven"], false);
        assert_eq!(client["open"], json!(["doors"]));
        assert_eq!(client["messages_out"], 1);
        assert_eq!(client["protocol"], 1);
        drop(one);
        app.metric_is("skynet_clients", &[], 1.0).await;
        assert_eq!(list("state=closed&name=smelter").await, [1]);
        let gone = owner.get("/clients/1").await;
        assert_eq!((&gone["state"], gone.get("open")), (&json!("closed"), None));
        assert!(gone["closed"]["reason"].is_string());
        assert_eq!(problem(&owner.call("GET", "/clients/99").await, 404, None), "not_found");
    })
    .await;
}

#[tokio::test]
async fn a_kicked_client_sees_the_code_and_the_reason_and_may_come_back() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut client = app.client().await;
        client.open("1").await;
        owner.delete("/clients/1?reason=too%20loud").await;
        closes(&mut client, 4500, "too loud").await;
        let mut again = app.client().await;
        again.open("1").await;
        owner.delete("/clients/2").await;
        closes(&mut again, 4500, "kicked by the owner of the server").await;
        app.is_empty().await;
        let gone = owner.get("/clients/1").await;
        assert_eq!(gone["closed"]["code"], 4500);
        assert_eq!(gone["closed"]["text"], "too loud");
        assert_eq!(problem(&owner.call("DELETE", "/clients/1").await, 404, None), "not_found");
    })
    .await;
}

#[tokio::test]
async fn a_kick_with_a_ban_bans_the_name_and_never_the_address() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut named_one = named(app, "griefer").await;
        let nameless = app.client().await;
        owner.delete("/clients/1?ban=10m&reason=out").await;
        closes(&mut named_one, 4501, "out").await;
        let mut again = named(app, "griefer").await;
        closes(&mut again, 4501, "out").await;
        let ban = owner.get("/bans").await["bans"][0].clone();
        assert_eq!(ban["name"], "griefer");
        assert!(ban["expires_at"].is_string());
        let conflict = owner.call("DELETE", "/clients/2?ban=10m").await;
        assert_eq!(problem(&conflict, 409, None), "no_name");
        assert!(conflict.body.contains("/bans"));
        assert_eq!(owner.get("/clients/2").await["state"], "open");
        drop(nameless);
    })
    .await;
}

#[tokio::test]
async fn several_are_kicked_by_one_filter_and_a_trial_kicks_nobody() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut one = app.listener("\"doors\"").await;
        let mut two = named(app, "smelter").await;
        two.open("\"doors\"").await;
        let mut three = named(app, "lamp").await;
        let trial = r#"{"channel":"doors","dry_run":true}"#;
        let tried = owner.post("/clients/kick", trial, 200).await;
        assert_eq!((&tried["dry_run"], ids(&tried)), (&json!(true), vec![1, 2]));
        let kicked = owner.post("/clients/kick", r#"{"name":"lamp","reason":"dark"}"#, 200).await;
        assert_eq!((&kicked["total"], ids(&kicked)), (&json!(1), vec![3]));
        closes(&mut three, 4500, "dark").await;
        let kicked = owner.post("/clients/kick", r#"{"address":"192.0.2.0/24"}"#, 200).await;
        assert_eq!(kicked["total"], 0);
        one.publish("\"x\"", "1").await;
        let kicked = owner.post("/clients/kick", r#"{"all":true}"#, 200).await;
        assert_eq!(ids(&kicked), [1, 2]);
        for client in [&mut one, &mut two] {
            closes(client, 4500, "kicked by the owner of the server").await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_channel_is_closed_for_a_client_which_is_told_and_stays() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut client = app.listener("\"doors\"").await;
        owner.delete("/clients/1/channels/doors?reason=secret").await;
        let told = client.text().await;
        assert_eq!(told, r#"{"type":"closed","channel":"doors","reason":"secret"}"#);
        owner.post("/messages", r#"{"channel":"doors"}"#, 201).await;
        assert!(client.received().await.is_empty());
        for path in ["/clients/1/channels/doors", "/clients/9/channels/doors"] {
            assert_eq!(problem(&owner.call("DELETE", path).await, 404, None), "not_found");
        }
    })
    .await;
}
