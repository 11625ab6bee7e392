//! Tokens are in nothing that the program says: log at its most talkative, answers, arguments.

use std::net::SocketAddr;

use crate::support::{
    http,
    process::{Process, run_to_end},
    raw::{Raw, upgrade},
};

const OWNER: &str = "secret-of-the-owner-0001";
const READER: &str = "secret-of-a-reader-0002";
const DIRECT: &str = "secret-of-a-turtle-0003";
const FROM_FILE: &str = "secret-of-a-gate-0004";
/// What somebody presents who mistypes a secret: as good as one for who reads it in a log.
const WRONG: &str = "secret-mistyped-0005";
/// What all of them have in common.
const MARK: &str = "secret-";

struct Files {
    folder: tempfile::TempDir,
    config: String,
    reader: String,
}

fn files() -> Files {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (config, reader, gate) = (path("hub.toml"), path("reader"), path("gate"));
    std::fs::write(&reader, format!("{READER}\n")).expect("written");
    std::fs::write(&gate, format!("{FROM_FILE}\n")).expect("written");
    let text = format!(
        "[[hub.tokens]]\nname = \"turtle\"\ntoken = \"{DIRECT}\"\n\
         [[hub.tokens]]\nname = \"gate\"\ntoken_file = '{gate}'\n"
    );
    std::fs::write(&config, text).expect("written");
    Files { folder, config, reader }
}

/// Everything that answers a request, head and body.
async fn answer(address: SocketAddr, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n");
    format!("{:?}", http::send(address, &request).await)
}

#[tokio::test]
async fn no_token_right_or_wrong_is_in_the_log_in_an_answer_or_among_the_arguments() {
    let files = files();
    let mut hub = Process::start_with(
        &["--config", &files.config],
        &[
            ("SKYNET_ADMIN__TOKEN", OWNER),
            ("SKYNET_ADMIN__READ_TOKEN_FILE", &files.reader),
            ("SKYNET_TELEMETRY__LOG", "trace"),
        ],
    );
    let mut said = Vec::new();
    for token in [DIRECT, FROM_FILE, WRONG] {
        for handshake in [
            upgrade(&format!("/connect?token={token}")),
            upgrade("/connect").replacen(
                "\r\n",
                &format!("\r\nAuthorization: Bearer {token}\r\n"),
                1,
            ),
        ] {
            let mut client = Raw::tcp(hub.hub()).await;
            client.write(handshake.as_bytes()).await;
            said.push(format!("{:?}", client.accepted().await));
            if token == WRONG {
                said.push(format!("{:?}", client.closed_after(drop).await));
            } else {
                client.open("\"x\"").await;
            }
        }
        // A token where it does not belong, and requests that are wrong around it.
        said.push(answer(hub.hub(), &format!("/connect?token={token}"), "").await);
        said.push(answer(hub.hub(), &format!("/nothing?token={token}"), "").await);
    }
    // The wrong one first: of those that the API refuses the log tells one in ten seconds.
    for token in [WRONG, OWNER, READER] {
        let bearer = format!("Authorization: Bearer {token}\r\n");
        for path in ["/api/v1/config", "/api/v1/info", "/api/v1/clients", "/api/v1/nothing"] {
            said.push(answer(hub.admin(), path, &bearer).await);
        }
        let twice = format!("{bearer}{bearer}");
        said.push(answer(hub.admin(), "/api/v1/config", &twice).await);
        let basic = format!("Authorization: Basic {token}\r\n");
        said.push(answer(hub.admin(), "/api/v1/config", &basic).await);
    }
    assert!(said.iter().any(|text| text.contains("********")), "the configuration was shown");
    said.push(answer(hub.admin(), "/metrics", "").await);
    #[cfg(target_os = "linux")]
    {
        let arguments =
            std::fs::read(format!("/proc/{}/cmdline", hub.id())).expect("its arguments");
        said.push(String::from_utf8_lossy(&arguments).into_owned());
    }
    hub.signal("TERM");
    hub.exit().await;
    let log = hub.log();
    assert!(log.len() > 12, "it is talkative: {} lines", log.len());
    said.extend(log.iter().map(|line| format!("{line:?}")));
    for text in &said {
        assert!(!text.contains(MARK), "{text}");
    }
    drop(files.folder);
}

#[tokio::test]
async fn a_configuration_with_a_bad_secret_is_refused_without_showing_it() {
    let files = files();
    let two_words = files.folder.path().join("two-words");
    std::fs::write(&two_words, format!("{OWNER} {OWNER}\n")).expect("written");
    let two_words = two_words.to_str().expect("text");
    let spaced = format!("{OWNER} x");
    for settings in [
        [("SKYNET_ADMIN__TOKEN", spaced.as_str()), ("SKYNET_TELEMETRY__LOG", "trace")],
        [("SKYNET_ADMIN__TOKEN_FILE", two_words), ("SKYNET_TELEMETRY__LOG", "trace")],
        [("SKYNET_ADMIN__TOKEN", OWNER), ("SKYNET_ADMIN__READ_TOKEN", OWNER)],
        [("SKYNET_HUB__TOKENS", OWNER), ("SKYNET_TELEMETRY__LOG", "trace")],
    ] {
        let (status, said) = run_to_end(&settings).await;
        assert!(!status.success() && said.contains("skynet: "), "{said}");
        assert!(!said.contains(MARK), "{said}");
    }
}
