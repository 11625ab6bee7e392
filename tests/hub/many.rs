//! Ten thousand clients at once, against the real program.

#![cfg(unix)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use futures_util::{StreamExt, stream};

use crate::support::{http, process::Process, raw::Raw, wait_until};

const CLIENTS: u32 = 10_000;
/// Descriptors beside those of the clients: what the hub keeps for itself, and the other tests.
const SPARE: u64 = 800;

#[tokio::test]
async fn a_message_reaches_ten_thousand_clients() {
    let needed = u64::from(CLIENTS) + SPARE;
    let allowed = rlimit::increase_nofile_limit(u64::MAX).expect("the limit can be read");
    assert!(
        allowed >= needed,
        "this test needs {needed} open files at once in each of two processes, and this machine \
         allows {allowed}: raise the hard limit (ulimit -Hn {needed}) and try again"
    );
    let mut hub = Process::start(&[]);
    let address = hub.hub();
    // Several source addresses, so that the ports of none run out.
    let connecting = stream::iter(0..CLIENTS).map(|number| async move {
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2 + (number % 8) as u8));
        let mut client = Raw::connect_from(SocketAddr::new(source, 0), address).await;
        client.open("\"all\"").await;
        client
    });
    let mut clients: Vec<Raw> = connecting.buffer_unordered(100).collect().await;
    let connected = http::metric(hub.admin(), "skynet_clients", &[]).await;
    assert_eq!(connected, f64::from(CLIENTS));
    // One of them says it: with the default limit nobody else would be let in.
    let mut publisher = clients.pop().expect("there are clients");
    for number in 0..2 {
        let said = publisher.publish("\"all\"", &number.to_string()).await;
        for client in &mut clients {
            let event = client.event().await;
            assert_eq!(event.text_of("ID"), said.text_of("ID"));
        }
    }
    drop((clients, publisher));
    wait_until("nobody is left", async || {
        http::metric(hub.admin(), "skynet_clients", &[]).await == 0.0
    })
    .await;
    hub.signal("TERM");
    assert_eq!(hub.exit().await.code(), Some(0));
}
