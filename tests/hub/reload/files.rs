//! The files beside the configuration, read again with it: bans, and the token that the hub keeps.

use std::path::{Path, PathBuf};

use serde_json::json;
use skynet::config::{Loaded, Sources, load};

use super::{Owner, reloaded};
use crate::{
    api::{Caller, TOKEN, json, named, problem},
    support::with_app,
};

#[tokio::test]
async fn a_file_of_bans_that_was_changed_by_hand_is_in_force() {
    let owner = Owner::new("");
    let path = owner.path("bans.json");
    let settings = format!("[admin]\nbans_file = {path:?}\n\n");
    owner.writes(&settings);
    with_app(owner.loaded(), async |app| {
        let mut banned = named(app, "mallory").await;
        let api = Caller::owner(app);
        api.post("/bans", r#"{"name":"eve"}"#, 201).await;
        reloaded(app).await;
        assert_eq!(app.stats().bans, 1, "what was written by the hub is what is there");
        let by_hand = std::fs::read_to_string(&path).expect("a file").replace("eve", "mallory");
        std::fs::write(&path, &by_hand).expect("written");
        let unsaved = api.tell("POST", "/bans", "", r#"{"name":"trent"}"#).await;
        assert_eq!(problem(&unsaved, 500, None), "bans_not_saved");
        assert!(unsaved.body.contains("settings read again"), "{}", unsaved.body);
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), by_hand);
        let report = reloaded(app).await;
        assert_eq!(report["closed_clients"], 1);
        for told in ["changed", "applied"] {
            assert_eq!(report[told], json!(["admin.bans_file"]));
        }
        assert_eq!(banned.close_code().await, Some(4501));
        assert_eq!(named(app, "mallory").await.close_code().await, Some(4501));
        named(app, "eve").await.publish("1", "1").await;
        api.post("/bans", r#"{"name":"trent"}"#, 201).await;
        let kept = std::fs::read_to_string(&path).expect("a file");
        assert!(kept.contains("mallory") && kept.contains("trent"), "{kept}");
        std::fs::write(&path, "[{").expect("written");
        let refused = api.call("POST", "/config/reload").await;
        assert_eq!(problem(&refused, 409, Some("admin.bans_file")), "invalid_config");
        assert_eq!(app.stats().bans, 2);
    })
    .await;
}

#[tokio::test]
async fn a_file_of_bans_that_is_moved_or_gone_frees_nobody() {
    let owner = Owner::new("");
    let (path, elsewhere) = (owner.path("bans.json"), owner.path("elsewhere.json"));
    let settings = |path: &PathBuf| format!("[admin]\nbans_file = {path:?}\n\n");
    owner.writes(&settings(&path));
    with_app(owner.loaded(), async |app| {
        let api = Caller::owner(app);
        api.post("/bans", r#"{"name":"eve"}"#, 201).await;
        std::fs::rename(&path, &elsewhere).expect("moved");
        let refused = api.call("POST", "/config/reload").await;
        assert_eq!(problem(&refused, 409, Some("admin.bans_file")), "invalid_config");
        assert!(refused.body.contains("is gone; put it back"), "{}", refused.body);
        for text in [settings(&elsewhere), String::new()] {
            owner.writes(&text);
            assert_eq!(reloaded(app).await["needs_restart"], json!(["admin.bans_file"]));
            assert_eq!(app.stats().bans, 1);
        }
        owner.writes(&settings(&path));
        std::fs::rename(&elsewhere, &path).expect("moved back");
        assert_eq!(reloaded(app).await["needs_restart"], json!([]));
        assert_eq!(named(app, "eve").await.close_code().await, Some(4501));
    })
    .await;
}

#[tokio::test]
async fn a_kept_token_that_was_replaced_or_removed_is_named() {
    const ANOTHER: &str = "the-owner-of-this-test-has-another";
    let owner = Owner::new("");
    let state = owner.path("state");
    std::fs::create_dir(&state).expect("a folder");
    let listen = "listen = \"127.0.0.1:0\"\n";
    owner.put("skynet.toml", &format!("[hub]\n{listen}[admin]\n{listen}state_dir = {state:?}\n"));
    let kept = state.join("admin-token");
    keep(&kept, TOKEN);
    with_app(owner.loaded(), async |app| {
        assert_eq!(reloaded(app).await["changed"], json!([]));
        keep(&kept, ANOTHER);
        let named = json!(["admin.state_dir"]);
        let report = reloaded(app).await;
        assert_eq!((&report["changed"], &report["applied"]), (&named, &named));
        let api = Caller::with(app, ANOTHER);
        std::fs::remove_file(&kept).expect("it is there");
        let report = json(&api.call("POST", "/config/reload").await, 200);
        assert_eq!((&report["changed"], &report["applied"]), (&named, &named));
        assert_eq!(api.call("GET", "/info").await.status, 401);
        assert!(kept.exists(), "a new one was made");
    })
    .await;
}

/// Writes a token as the hub keeps it.
fn keep(path: &Path, token: &str) {
    std::fs::write(path, token).expect("written");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let alone = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, alone).expect("it is the test's");
    }
}

#[tokio::test]
async fn tokens_wait_while_the_api_is_off_and_are_named_each_time() {
    let owner = Owner::new("");
    let config = owner.path("skynet.toml");
    // A file is no folder to keep a token in.
    let text = |more: &str| {
        format!(
            "[hub]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\nstate_dir = \
             {config:?}\n{more}"
        )
    };
    owner.put("skynet.toml", &text(""));
    let sources = Sources { file: Some(config.clone()), ..Sources::default() };
    let loaded: Loaded = load(&sources).expect("the file is good");
    let app = skynet::app::App::build(loaded).await.expect("it starts without the API");
    let (reloads, (stop, stopped)) = (app.reloads(), tokio::sync::oneshot::channel::<()>());
    let running = tokio::spawn(app.run(async {
        let _ = stopped.await;
    }));
    let reload = async || reloads.reload().await.expect("it runs").expect("the file is good");
    owner.put("skynet.toml", &text(&format!("token = \"{TOKEN}\"\n")));
    for changed in [vec!["admin.token"], vec![]] {
        let report = reload().await;
        assert_eq!(report.changed, changed);
        assert_eq!((report.applied.len(), report.needs_restart), (0, vec!["admin.token".into()]));
    }
    owner.put("skynet.toml", &text(""));
    assert!(reload().await.needs_restart.is_empty(), "it was taken back");
    stop.send(()).expect("it runs");
    running.await.expect("it ends well");
    assert!(reloads.reload().await.is_none(), "nobody is left to do it");
}
