//! `/bans`.

use skynet::config::{HubToken, Secret};

use super::{Caller, config, json, named, problem};
use crate::support::{
    raw::{Raw, upgrade},
    with_app,
};

async fn banned(client: &mut Raw, reason: &str) {
    assert_eq!(client.closed_after(|_| ()).await, (Some(4501), reason.to_owned()));
}

#[tokio::test]
async fn a_banned_name_cannot_come_back_until_the_ban_ends() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut client = named(app, "griefer").await;
        let mut other = named(app, "smelter").await;
        let body = r#"{"name":"griefer","reason":"enough"}"#;
        let response = owner.tell("POST", "/bans", "", body).await;
        let made = json(&response, 201);
        assert_eq!(made["disconnected"], 1);
        assert_eq!(made.get("warning"), None);
        assert_eq!(response.header("location"), Some("/api/v1/bans/1"));
        banned(&mut client, "enough").await;
        banned(&mut named(app, "griefer").await, "enough").await;
        other.open("1").await;
        assert_eq!(owner.get("/bans").await["bans"].as_array().unwrap().len(), 1);
        owner.delete("/bans/1").await;
        named(app, "griefer").await.open("1").await;
        assert_eq!(problem(&owner.call("DELETE", "/bans/1").await, 404, None), "not_found");
    })
    .await;
}

#[tokio::test]
async fn a_banned_network_is_warned_of_when_clients_were_in_it() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let empty = owner.post("/bans", r#"{"address":"192.0.2.7"}"#, 201).await;
        assert_eq!(empty["ban"]["address"], "192.0.2.7/32");
        assert_eq!(empty.get("warning"), None);
        let mut client = app.client().await;
        let body = r#"{"address":"127.0.0.1/8","duration":"1h"}"#;
        let full = owner.post("/bans", body, 201).await;
        assert_eq!(full["ban"]["address"], "127.0.0.0/8");
        assert!(full["warning"].as_str().unwrap().contains("Minecraft server"));
        banned(&mut client, "banned by the owner of the server").await;
    })
    .await;
}

#[tokio::test]
async fn a_ban_of_an_ipv4_network_in_ipv6_spelling_concerns_those_who_are_in_it() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut client = app.client().await;
        let short = r#"{"address":"::ffff:127.0.0.0/8"}"#;
        let refused = owner.tell("POST", "/bans", "", short).await;
        assert_eq!(problem(&refused, 400, Some("address")), "invalid_body");
        let made = owner.post("/bans", r#"{"address":"::ffff:127.0.0.0/120"}"#, 201).await;
        assert_eq!(made["ban"]["address"], "127.0.0.0/24");
        banned(&mut client, "banned by the owner of the server").await;
    })
    .await;
}

#[tokio::test]
async fn bans_are_kept_in_the_file_and_a_file_that_cannot_be_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bans.json");
    let mut config = config();
    config.admin.bans_file = Some(path.clone());
    with_app(config, async |app| {
        let owner = Caller::owner(app);
        owner.post("/bans", r#"{"name":"griefer"}"#, 201).await;
        owner.post("/bans", r#"{"name":"other"}"#, 201).await;
        owner.delete("/bans/1").await;
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!(kept.contains("other") && !kept.contains("griefer"), "{kept}");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let response = owner.tell("POST", "/bans", "", r#"{"name":"third"}"#).await;
        assert_eq!(problem(&response, 500, None), "bans_not_saved");
        assert_eq!(owner.get("/bans").await["bans"][1]["name"], "third");
    })
    .await;
}

#[tokio::test]
async fn a_banned_token_or_network_cannot_come_back() {
    const DOOR: &str = "the-token-of-the-door-0123456789";
    let mut config = config();
    config.hub.tokens = vec![HubToken::new("door", Secret::new(DOOR))];
    with_app(config, async |app| {
        let come = async || {
            let mut client = Raw::tcp(app.hub()).await;
            client.write(upgrade(&format!("/connect?token={DOOR}")).as_bytes()).await;
            client.accepted().await;
            client
        };
        let owner = Caller::owner(app);
        let mut other = app.client().await;
        let mut client = come().await;
        owner.post("/bans", r#"{"token":"door","reason":"enough"}"#, 201).await;
        banned(&mut client, "enough").await;
        banned(&mut come().await, "enough").await;
        other.open("1").await;
        owner.delete("/bans/1").await;
        come().await.open("1").await;
        owner.post("/bans", r#"{"address":"127.0.0.0/8","reason":"all of you"}"#, 201).await;
        banned(&mut other, "all of you").await;
        banned(&mut come().await, "all of you").await;
        banned(&mut named(app, "somebody").await, "all of you").await;
        owner.delete("/bans/2").await;
        come().await.open("1").await;
    })
    .await;
}
