//! The program as a service: signals that have the settings read, and a supervisor that is told.

use std::os::unix::net::UnixDatagram;

use super::Owner;
use crate::{
    api::TOKEN,
    support::{
        http,
        process::Process,
        raw::{PING, PONG, Raw, masked},
        wait_until,
    },
};

/// What a supervisor hears, but for figures of how the hub does.
struct Supervisor(UnixDatagram);

impl Supervisor {
    fn at(owner: &Owner) -> Supervisor {
        let socket = UnixDatagram::bind(owner.path("notify")).expect("a socket");
        socket.set_read_timeout(Some(crate::support::DEADLINE)).expect("a time limit");
        Supervisor(socket)
    }

    fn hears(&self, kind: &str) -> String {
        let mut bytes = [0; 512];
        loop {
            let count = self.0.recv(&mut bytes).expect("the program says something");
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if text.starts_with(kind) {
                return text;
            }
            assert!(text.starts_with("STATUS=") || text == "WATCHDOG=1", "{text}, not {kind}");
        }
    }
}

#[tokio::test]
async fn a_signal_has_the_settings_read_and_the_supervisor_hears_of_all_that_happens() {
    let owner = Owner::new("");
    let supervisor = Supervisor::at(&owner);
    let notify = owner.path("notify");
    owner.put("good.toml", "[limits]\nmax_clients = 7\n");
    std::fs::copy(owner.path("good.toml"), owner.path("skynet.toml")).expect("copied");
    let mut hub = Process::start_with(
        &["--config", owner.path("skynet.toml").to_str().expect("UTF-8")],
        &[
            ("NOTIFY_SOCKET", notify.to_str().expect("UTF-8")),
            ("WATCHDOG_USEC", "200000"),
            ("SKYNET_ADMIN__TOKEN", TOKEN),
        ],
    );
    supervisor.hears("READY=1");
    let status = supervisor.hears("STATUS=");
    assert_eq!(status, "STATUS=0 clients, 0 channels");
    supervisor.hears("WATCHDOG=1");
    let mut client = Raw::connect(hub.hub()).await;
    client.open("1").await;
    for (text, outcome) in [
        ("[limits]\nmax_clients = 9\n", "applied"),
        ("[limits]\nmax_clients = \"many\"\n", "refused"),
    ] {
        owner.put("skynet.toml", text);
        hub.signal("HUP");
        let begins = supervisor.hears("RELOADING=1");
        assert!(begins.contains("\nMONOTONIC_USEC="), "{begins}");
        supervisor.hears("READY=1");
        let labels = [("result", outcome)];
        let name = "skynet_config_reloads_total";
        wait_until(outcome, async || http::metric(hub.admin(), name, &labels).await == 1.0).await;
    }
    let metrics = http::fresh_metrics(hub.admin()).await;
    assert_eq!(http::sample(&metrics, "skynet_config_last_reload_successful", &[]), 0.0);
    assert_eq!(http::sample(&metrics, "skynet_clients_limit", &[]), 9.0);
    client.publish("1", "1").await;
    hub.signal("TERM");
    supervisor.hears("STOPPING=1");
    let ping = client.frame().await;
    assert_eq!(ping.opcode, PING);
    client.write(&masked(PONG, &ping.payload)).await;
    assert_eq!(client.close_code().await, Some(1001));
    assert!(hub.exit().await.success());
    let log = hub.log();
    let said = |text: &str| {
        let lines = log.iter().filter_map(|line| line.get("message").and_then(|m| m.as_text()));
        lines.filter(|line| line.contains(text)).count()
    };
    assert_eq!(said("the settings have been read again"), 1);
    assert_eq!(said("the settings stay as they are: limits.max_clients"), 1);
}
