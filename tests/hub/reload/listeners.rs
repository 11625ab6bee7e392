//! What listeners ask of connections changes: certificates, proxies, pages, addresses.

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Owner, reloaded};
use crate::{
    api::{Caller, problem},
    support::{
        TestApp,
        http::sample,
        raw::{Raw, upgrade},
        tls::{Files, Trust, made, made_for},
        with_app,
    },
};

/// Until when the certificate that the hub serves holds, as the metrics have it.
const EXPIRY: (&str, &[(&str, &str)]) =
    ("skynet_tls_certificate_expiry_timestamp_seconds", &[("listener", "hub")]);

fn with_files(files: &Files, more: &str) -> String {
    let (certificate, key) = (files.certificate(), files.key());
    format!("[hub.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n{more}")
}

#[tokio::test]
async fn renewed_certificates_are_served_and_bad_ones_refuse_the_whole_reload() {
    let (files, der) = Files::new();
    let owner = Owner::new(&with_files(&files, ""));
    with_app(owner.loaded(), async |app| {
        let old = Trust::new(&der);
        let mut before = old.client(app.hub()).await;
        before.open("\"x\"").await;
        assert_eq!(reloaded(app).await["applied"], json!([]), "the files are what they were");
        app.metric_is(EXPIRY.0, EXPIRY.1, 67_090_118_400.0).await;

        let new = made_for(2020..4000);
        files.write(&new.certificate, &new.key);
        let report = reloaded(app).await;
        let named = json!(["hub.tls.certificate"]);
        assert_eq!((&report["changed"], &report["applied"]), (&named, &named));
        assert_eq!(report["needs_restart"], json!([]));
        let trust = Trust::new(&new.der);
        trust.client(app.hub()).await.publish("\"x\"", "1").await;
        assert_eq!(before.event().await.number_of("message"), 1.0);
        let stream = TcpStream::connect(app.hub()).await.expect("connects");
        assert!(old.try_over(stream).await.is_err(), "the old certificate is gone");
        const NEW_YEAR_OF_4000: f64 = 64_060_588_800.0;
        app.metric_is(EXPIRY.0, EXPIRY.1, NEW_YEAR_OF_4000).await;

        // The certificate of a key that is another's, beside a limit that could apply.
        files.write(&made().certificate, &new.key);
        owner.writes(&with_files(&files, "\n[limits]\nping_interval = \"20s\"\n"));
        let refused = Caller::owner(app).call("POST", "/config/reload").await;
        assert_eq!(problem(&refused, 409, Some("hub.tls.key")), "invalid_config");
        assert!(
            refused.body.contains("is not the key of the first certificate"),
            "{}",
            refused.body
        );
        assert_eq!(super::setting(app, "limits.ping_interval").await["value"], "\"25s\"");
        assert_eq!(app.metric(EXPIRY.0, EXPIRY.1).await, NEW_YEAR_OF_4000, "what is served counts");
        trust.client(app.hub()).await.publish("\"x\"", "2").await;
        assert_eq!(before.event().await.number_of("message"), 2.0);
    })
    .await;
}

#[tokio::test]
async fn other_names_of_certificates_wait_and_the_files_of_before_may_go() {
    let (files, der) = Files::new();
    let owner = Owner::new(&with_files(&files, ""));
    with_app(owner.loaded(), async |app| {
        let (others, _) = Files::new();
        owner.writes(&with_files(&others, ""));
        std::fs::remove_file(files.key()).expect("it was there");
        let report = reloaded(app).await;
        let waiting = json!(["hub.tls.certificate", "hub.tls.key"]);
        assert_eq!((&report["needs_restart"], &report["applied"]), (&waiting, &json!([])));
        Trust::new(&der).client(app.hub()).await.publish("\"x\"", "1").await;
    })
    .await;
}

/// How many clients have an address.
async fn clients_of(app: &TestApp, address: &str) -> usize {
    let page = Caller::owner(app).get(&format!("/clients?address={address}")).await;
    page["clients"].as_array().map_or(0, Vec::len)
}

/// A client behind a proxy, which tells its address by a header, and by a line before it.
async fn told_by(app: &TestApp, line: &str, header: &str) -> Raw {
    let mut client = Raw::tcp(app.hub()).await;
    let request = upgrade("/connect").replace("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"));
    client.write(format!("{line}{request}").as_bytes()).await;
    client.accepted().await;
    // What has been answered has been carried out.
    client.publish("\"x\"", "1").await;
    client
}

#[tokio::test]
async fn proxies_are_trusted_from_the_next_request_on() {
    let owner = Owner::new("");
    with_app(owner.loaded(), async |app| {
        const HEADER: &str = "X-Forwarded-For: 192.0.2.7";
        let _unknown = told_by(app, "", HEADER).await;
        assert_eq!(clients_of(app, "192.0.2.7").await, 0);
        owner.writes("[hub]\ntrusted_proxies = [\"127.0.0.1\"]\n\n");
        assert_eq!(reloaded(app).await["applied"], json!(["hub.trusted_proxies"]));
        let _known = told_by(app, "", HEADER).await;
        assert_eq!(clients_of(app, "192.0.2.7").await, 1);
        owner.writes("[hub]\ntrusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = true\n\n");
        assert_eq!(reloaded(app).await["applied"], json!(["hub.proxy_protocol"]));
        let line = "PROXY TCP4 192.0.2.8 10.0.0.1 56324 443\r\n";
        let _announced = told_by(app, line, "X-Other: 1").await;
        assert_eq!(clients_of(app, "192.0.2.8").await, 1);
        owner.writes("");
        reloaded(app).await;
        let _unknown = told_by(app, "", HEADER).await;
        assert_eq!(clients_of(app, "192.0.2.7").await, 1);
    })
    .await;
}

#[tokio::test]
async fn pages_and_addresses_are_limited_from_the_next_connection_on() {
    let owner = Owner::new("");
    with_app(owner.loaded(), async |app| {
        let asked = async |more: &str| -> (Raw, u16) {
            let mut client = Raw::tcp(app.hub()).await;
            let request = upgrade("/connect").replace("\r\n\r\n", &format!("\r\n{more}\r\n\r\n"));
            client.write(request.as_bytes()).await;
            let status = client.answer().await.expect("an answer").status;
            (client, status)
        };
        const PAGE: &str = "Origin: https://elsewhere.example";
        let (mut earlier, status) = asked(PAGE).await;
        assert_eq!(status, 101);
        owner.writes(
            "[hub]\nallowed_origins = [\"https://example.org\"]\n\n\
             [limits]\nmax_clients_per_address = 1\n",
        );
        let report: Value = reloaded(app).await;
        assert_eq!(
            report["applied"],
            json!(["hub.allowed_origins", "limits.max_clients_per_address"])
        );
        assert_eq!(asked(PAGE).await.1, 403);
        // Who connected before there was a limit is not counted by it.
        let (_counted, status) = asked("Origin: https://example.org").await;
        assert_eq!(status, 101);
        assert_eq!(asked("Origin: https://example.org").await.1, 429);
        earlier.publish("\"x\"", "1").await;
        let metrics = crate::support::http::fresh_metrics(app.admin()).await;
        assert_eq!(sample(&metrics, "skynet_clients", &[]), 2.0);
    })
    .await;
}
