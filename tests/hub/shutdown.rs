//! The end: what is stopped accepts nobody, sends what is queued, pings, and closes with 1001.

use std::{net::TcpListener, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::api::{Caller, TOKEN, problem};
use crate::support::{
    TestApp, config,
    http::metric,
    json::Json,
    process::{Process, run_to_end},
    raw::{CLOSE, Frame, PING, PONG, Raw, TEXT, masked, parsed, publication, upgrade},
    unhurried, wait_until,
};

/// Room for whatever the tests queue, and a token for the owner.
const ROOMY: &[(&str, &str)] = &[
    ("SKYNET_LIMITS__MAX_QUEUE_BYTES", "16MiB"),
    ("SKYNET_LIMITS__MESSAGES_PER_SECOND", "1000000"),
    ("SKYNET_LIMITS__MESSAGE_BURST", "1000000"),
    ("SKYNET_ADMIN__TOKEN", TOKEN),
];

/// Reads the goodbye: a ping, then after the pong (or without one) the close with 1001.
async fn goodbye(client: &mut Raw, ping: Frame, answers: bool) -> Duration {
    assert_eq!(ping.opcode, PING, "a ping comes before the close: {ping:?}");
    let pinged = Instant::now();
    if answers {
        client.write(&masked(PONG, &ping.payload)).await;
    }
    let (code, reason) = client.frame().await.close();
    let waited = pinged.elapsed();
    assert_eq!(code, Some(1001), "{reason}");
    let _ = client.try_write(&masked(CLOSE, &1001_u16.to_be_bytes())).await;
    assert_eq!(client.next().await, None, "nothing follows a close frame");
    waited
}

fn number(frame: Frame) -> f64 {
    let event = parsed(&frame.text());
    assert!(event.is("message"), "{event:?}");
    let first = event.array_of("message").first().cloned();
    first.as_ref().and_then(Json::as_number).expect("a number")
}

/// Publishes so much for a client that does not read that it must be queued.
async fn queue_up(publisher: &mut Raw, count: u32) {
    for number in 0..count {
        let message = format!(r#"[{number},"{}"]"#, "m".repeat(100_000));
        publisher.send(&publication("\"x\"", &message)).await;
        assert_eq!(publisher.frame().await.opcode, TEXT);
    }
}

/// Reads what [`queue_up`] has sent, and the goodbye. What was sent is looked at afterwards: the hub does
/// not wait for a client that takes its time.
async fn reads_all(client: &mut Raw, count: u32) {
    let mut events = Vec::new();
    for _ in 0..count {
        events.push(client.frame().await);
    }
    let ping = client.frame().await;
    goodbye(client, ping, true).await;
    for (due, event) in (0..count).zip(events) {
        assert_eq!(number(event), f64::from(due));
    }
}

#[tokio::test]
async fn an_app_that_is_stopped_says_goodbye_after_the_pong() {
    let app = TestApp::start(config()).await;
    let mut client = app.listener("\"x\"").await;
    let stopped = app.stop();
    let talk = async {
        let ping = client.frame().await;
        goodbye(&mut client, ping, true).await
    };
    let (waited, ()) = tokio::join!(talk, stopped);
    assert!(waited < Duration::from_millis(900), "the pong is enough: {waited:?}");
}

/// It once found the connection closed without a word, and had asked in time.
#[tokio::test]
async fn who_has_connected_and_asks_as_the_app_stops_is_told_when_to_come_back() {
    let app = TestApp::start(config()).await;
    let mut late = Raw::tcp(app.hub()).await;
    // Accepted in their order.
    let mut client = app.client().await;
    let stopped = app.stop();
    let talk = async {
        let ping = client.frame().await;
        late.write(upgrade("/connect").as_bytes()).await;
        let answer = late.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("10")));
        goodbye(&mut client, ping, true).await;
    };
    tokio::join!(talk, stopped);
}

#[tokio::test]
async fn without_a_pong_the_goodbye_comes_after_a_second() {
    let app = TestApp::start(config()).await;
    let mut client = app.listener("\"x\"").await;
    let stopped = app.stop();
    let talk = async {
        let ping = client.frame().await;
        goodbye(&mut client, ping, false).await
    };
    let (waited, ()) = tokio::join!(talk, stopped);
    let second = Duration::from_millis(800)..Duration::from_secs(3);
    assert!(second.contains(&waited), "about a second: {waited:?}");
}

#[tokio::test]
async fn an_app_that_is_stopped_sends_what_is_queued_first() {
    let mut settings = unhurried();
    settings.limits.max_queue_bytes = 16 << 20;
    let app = TestApp::start(settings).await;
    // Of an ordinary socket: through a narrow one a busy machine takes longer than the hub waits for it.
    let mut slow = app.listener("\"x\"").await;
    let mut publisher = app.client().await;
    queue_up(&mut publisher, 90).await;
    assert!(app.metric("skynet_queued_bytes", &[]).await > 0.0, "the hub has to send some itself");
    let stopped = app.stop();
    let talk = reads_all(&mut slow, 90);
    let leave = async {
        let ping = publisher.frame().await;
        goodbye(&mut publisher, ping, true).await;
    };
    tokio::join!(talk, leave, stopped);
}

#[tokio::test]
async fn an_app_without_clients_stops_at_once() {
    let app = TestApp::start(config()).await;
    drop(app.client().await);
    app.is_empty().await;
    let begun = Instant::now();
    app.stop().await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "nobody to wait for: {took:?}");
}

#[tokio::test]
async fn unfinished_handshakes_do_not_hold_up_the_end() {
    let app = TestApp::start(config()).await;
    let mut silent = Raw::tcp(app.hub()).await;
    let mut begun = Raw::tcp(app.hub()).await;
    begun.write(b"GET /connect HT").await;
    // Served after the two above were accepted.
    drop(app.client().await);
    let at = Instant::now();
    app.stop().await;
    assert!(at.elapsed() < Duration::from_secs(5), "{:?}", at.elapsed());
    // Whoever finishes a handshake now is not let in.
    let request = upgrade("/connect");
    for (client, said) in [(&mut silent, 0), (&mut begun, "GET /connect HT".len())] {
        let _ = client.try_write(&request.as_bytes()[said..]).await;
        assert!(client.answer().await.is_none_or(|answer| answer.status >= 400));
    }
}

#[cfg(unix)]
async fn ends_well_after(signal: &str) {
    let mut hub = Process::start(ROOMY);
    let mut slow = Raw::connect(hub.hub()).await;
    slow.open("\"x\"").await;
    let mut listener = Raw::connect(hub.hub()).await;
    listener.open("\"y\"").await;
    let mut publisher = Raw::connect(hub.hub()).await;
    queue_up(&mut publisher, 90).await;
    publisher.publish("\"y\"", "[0]").await;
    assert!(
        metric(hub.admin(), "skynet_queued_bytes", &[]).await > 0.0,
        "it has some to send itself"
    );
    hub.signal(signal);
    let quick = async {
        assert_eq!(number(listener.frame().await), 0.0);
        let ping = listener.frame().await;
        goodbye(&mut listener, ping, true).await;
    };
    // The system has taken in some of what it is due, the hub holds the rest: all arrives whole.
    tokio::join!(quick, reads_all(&mut slow, 90));
    drop(publisher);
    let status = hub.exit().await;
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(TcpStream::connect(hub.hub()).await.is_err());
    assert!(TcpStream::connect(hub.admin()).await.is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn the_program_ends_well_on_sigterm() {
    ends_well_after("TERM").await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_program_ends_well_on_ctrl_c() {
    ends_well_after("INT").await;
}

/// A program told to stop while somebody does not read what is queued for it.
#[cfg(unix)]
pub async fn stuck() -> (Process, Raw) {
    let hub = Process::start(ROOMY);
    let mut slow = Raw::narrow(hub.hub()).await;
    slow.open("\"x\"").await;
    let mut publisher = Raw::connect(hub.hub()).await;
    queue_up(&mut publisher, 90).await;
    drop(publisher);
    hub.signal("TERM");
    wait_until("nobody is accepted any more", async || {
        TcpStream::connect(hub.hub()).await.is_err()
    })
    .await;
    (hub, slow)
}

#[cfg(unix)]
#[tokio::test]
async fn a_second_signal_ends_the_program_at_once() {
    let (mut hub, _slow) = stuck().await;
    hub.signal("TERM");
    let ended = timeout(Duration::from_secs(2), hub.exit()).await;
    ended.expect("it does not wait for anybody any more");
}

#[cfg(unix)]
#[tokio::test]
async fn a_program_that_stops_reads_no_settings_any_more() {
    let (hub, _slow) = stuck().await;
    let refused = Caller::at(hub.admin(), TOKEN).call("POST", "/config/reload").await;
    assert_eq!(problem(&refused, 503, None), "stopping");
}

#[cfg(unix)]
#[tokio::test]
async fn clients_that_take_nothing_cannot_hold_up_the_end_and_are_counted_as_stopped() {
    let mut hub = Process::start(ROOMY);
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = Raw::narrow(hub.hub()).await;
        client.open("\"x\"").await;
        clients.push(client);
    }
    let mut publisher = Raw::connect(hub.hub()).await;
    queue_up(&mut publisher, 90).await;
    hub.signal("TERM");
    let begun = Instant::now();
    let status = hub.exit().await;
    let took = begun.elapsed();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < Duration::from_secs(10), "ten seconds at most: {took:?}");
    let log = hub.log();
    let ended = log.iter().filter(|line| line.text_of("message") == "client disconnected");
    let reasons: Vec<String> = ended.map(|line| line.text_of("reason")).collect();
    assert_eq!(reasons, ["server_stopping"; 11], "each is said to have been stopped");
    drop((clients, publisher));
}

#[tokio::test]
async fn a_port_in_use_is_named_together_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it has an address");
    let settings = [("SKYNET_HUB__LISTEN", "hub.listen"), ("SKYNET_ADMIN__LISTEN", "admin.listen")];
    for (variable, setting) in settings {
        let (status, said) = run_to_end(&[(variable, &address.to_string())]).await;
        assert_eq!(status.code(), Some(69), "{status}: {said}");
        assert!(said.contains(&address.port().to_string()), "the port is named: {said}");
        assert!(said.contains(setting), "the setting is named: {said}");
    }
}
