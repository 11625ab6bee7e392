//! Certificates and keys that cannot be used: what the owner is told.

use skynet::{
    app::App,
    http::{Certificates, TlsFiles},
};

use crate::support::{
    config,
    json::Json,
    process::{Process, run_to_end},
    tls::{Files, made, made_for, pem},
};

fn read(files: &Files) -> Result<(), String> {
    let (certificate, key) = (files.certificate(), files.key());
    let files = TlsFiles { section: "hub.tls", certificate, key };
    Certificates::read(files).map(drop).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(files: &Files, setting: &str, why: &str) {
    let error = read(files).expect_err(why);
    assert!(error.starts_with(&format!("hub.tls.{setting} ")), "{error}");
    assert!(error.contains(why), "{error}");
    assert!(!error.contains("BEGIN PRIVATE KEY-----\n"), "nothing of the key is shown");
}

#[test]
fn each_way_to_get_the_files_wrong_is_told_by_setting_file_and_reason() {
    let (files, _) = Files::new();
    read(&files).expect("these are right");
    let (one, other) = (made(), made());

    for (certificate, key, setting, why) in [
        ("", one.key.as_str(), "certificate", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAA", &one.key, "certificate", "is broken PEM"),
        (one.key.as_str(), &one.certificate, "certificate", "belongs into the setting beside"),
        (&pem("CERTIFICATE", b"nothing"), &one.key, "certificate", "cannot be read"),
        ("0\u{1}binary", &one.key, "certificate", "is DER"),
        (&one.certificate, &other.key, "key", "is not the key of the first certificate"),
        (&one.certificate, "", "key", "holds no private key"),
        (&one.certificate, &one.certificate, "key", "belongs into the setting beside"),
        (&one.certificate, &pem("PRIVATE KEY", b"nothing"), "key", "of a kind that cannot be used"),
        (&one.certificate, &pem("ENCRYPTED PRIVATE KEY", b"x"), "key", "is encrypted"),
        (
            &one.certificate,
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
            "key",
            "is encrypted",
        ),
        (&one.certificate, &"x".repeat(1 << 21), "key", "larger than 1MiB"),
    ] {
        files.write(certificate, key);
        refused(&files, setting, why);
    }
    // The right one is first, whatever stands behind it.
    files.write(&format!("{}{}", one.certificate, other.certificate), &one.key);
    read(&files).expect("a chain");
    // And whatever editors put before it.
    files.write(&format!("\u{feff}{}", one.certificate), &format!("\u{feff}{}", one.key));
    read(&files).expect("a certificate and a key");
    files.write(&format!("{}{}", other.certificate, one.certificate), &one.key);
    refused(&files, "key", "own certificate comes first");

    std::fs::remove_file(files.key()).expect("it is there");
    refused(&files, "key", "does not exist");
    std::fs::create_dir(files.key()).expect("the name is free");
    refused(&files, "key", "is a folder");
}

#[tokio::test]
async fn a_hub_does_not_start_without_the_certificate_that_it_was_told_of() {
    let (files, _) = Files::new();
    std::fs::remove_file(files.certificate()).expect("it is there");
    let mut settings = config();
    settings.hub.tls = files.config();
    let error = App::build(settings).await.err().expect("it does not start").to_string();
    assert!(error.contains("hub.tls.certificate") && error.contains("does not exist"), "{error}");

    let (certificate, key) = (files.certificate(), files.key());
    let text = |path: &std::path::Path| path.to_str().expect("a path in UTF-8").to_owned();
    let settings = [
        ("SKYNET_HUB__TLS__CERTIFICATE", text(&certificate)),
        ("SKYNET_HUB__TLS__KEY", text(&key)),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (status, said) = run_to_end(&settings).await;
    assert_eq!(status.code(), Some(69), "{said}");
    assert!(said.contains(&error), "{said}");
}

/// The warnings of a hub that was started with these files and stopped.
#[cfg(unix)]
async fn warnings_with(files: &Files) -> Vec<Json> {
    let (certificate, key) = (files.certificate(), files.key());
    let text = |path: &std::path::Path| path.to_str().expect("a path in UTF-8").to_owned();
    let mut process = Process::start(&[
        ("SKYNET_HUB__TLS__CERTIFICATE", &text(&certificate)),
        ("SKYNET_HUB__TLS__KEY", &text(&key)),
    ]);
    process.signal("TERM");
    assert!(process.exit().await.success());
    let log = process.log();
    log.into_iter().filter(|line| text_of(line, "level") == "WARN").collect()
}

#[cfg(unix)]
fn text_of(line: &Json, key: &str) -> String {
    line.get(key).and_then(Json::as_text).unwrap_or_default()
}

#[cfg(unix)]
#[tokio::test]
async fn a_certificate_out_of_its_time_is_served_with_a_warning() {
    for (years, warning) in [
        (2019..2020, "the certificate has expired"),
        (4000..4096, "the certificate does not apply yet"),
    ] {
        let (files, _) = Files::new();
        let made = made_for(years);
        files.write(&made.certificate, &made.key);
        let warned = warnings_with(&files).await;
        let is = |line: &Json| {
            text_of(line, "message").starts_with(warning) && text_of(line, "setting") == "hub.tls"
        };
        assert!(warned.iter().any(is), "{warning}: {warned:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_key_that_everybody_may_read_is_served_with_a_warning() {
    use std::os::unix::fs::PermissionsExt;

    let (files, _) = Files::new();
    for (mode, expected) in [(0o644, true), (0o640, false)] {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(files.key(), mode).expect("it is the test's");
        let warned = warnings_with(&files).await;
        let is = |line: &Json| text_of(line, "setting") == "hub.tls.key";
        assert_eq!(warned.iter().any(is), expected, "{warned:?}");
    }
}
