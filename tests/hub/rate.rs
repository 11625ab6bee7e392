//! The rate limit: a token bucket over all commands of a client.

use std::time::Duration;

use skynet::config::Config;
use tokio::time::{Instant, interval};

use crate::support::{
    config,
    pair::undisturbed,
    raw::{PING, PONG, TEXT, masked, parsed, publication},
    wait_until, with_app,
};

fn slow(per_second: u32, burst: u32) -> Config {
    let mut settings = config();
    settings.limits.messages_per_second = per_second;
    settings.limits.message_burst = burst;
    settings
}

fn says_so(error: &str) {
    let error = error.to_lowercase();
    let words = ["rate", "per second", "a second", "too many", "too fast"];
    assert!(words.iter().any(|word| error.contains(word)), "{error:?} says why");
}

#[tokio::test]
async fn commands_past_the_burst_are_refused_and_the_connection_stays() {
    with_app(slow(1, 5), async |app| {
        let mut listener = app.listener("\"x\"").await;
        let mut client = app.client().await;
        let command = |number| masked(TEXT, publication("\"x\"", &format!("{number}")).as_bytes());
        let commands: Vec<_> = (0..12).map(command).collect();
        client.write(&commands.concat()).await;
        let (mut accepted, mut refused) = (Vec::new(), 0_u32);
        for _ in 0..12 {
            let reply = parsed(&client.reply_text().await);
            if reply.is("result") {
                accepted.push(reply.number_of("message"));
            } else {
                says_so(&reply.text_of("error"));
                refused += 1;
            }
        }
        // A machine that dawdles for a second or two earns a token or two.
        assert!((5..=8).contains(&accepted.len()), "{accepted:?}");
        assert_eq!(accepted[..5], [0.0, 1.0, 2.0, 3.0, 4.0]);
        app.metric_is("skynet_refused_commands_total", &[("reason", "rate_limit")], refused.into())
            .await;
        for message in &accepted {
            assert_eq!(listener.event().await.number_of("message"), *message);
        }
        assert!(listener.received().await.is_empty(), "what is refused reaches nobody");
        wait_until("the bucket has filled again", async || {
            client.ask(r#"{"type":"log","end":0}"#).await.is("result")
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn pings_are_no_commands_and_are_answered_past_the_rate() {
    with_app(slow(1, 4), async |app| {
        let mut client = app.client().await;
        for number in 0..20 {
            client.write(&masked(PING, &[number])).await;
            let pong = client.frame().await;
            assert_eq!((pong.opcode, pong.payload), (PONG, vec![number]));
        }
    })
    .await;
}

#[tokio::test]
async fn all_commands_take_from_the_same_bucket() {
    with_app(slow(1, 4), async |app| {
        let mut client = app.client().await;
        let commands = [
            r#"{"type":"open","channel":"x"}"#,
            r#"{"type":"message","channel":"x"}"#,
            r#"{"type":"log","end":0}"#,
            r#"{"type":"close","channel":"x"}"#,
        ];
        // The first four are the burst; of the next hundred a few are earned anew.
        let frames = commands.iter().cycle().take(104);
        let frames: Vec<_> = frames.map(|command| masked(TEXT, command.as_bytes())).collect();
        client.write(&frames.concat()).await;
        let mut refused = 0;
        for number in 0..104 {
            let reply = parsed(&client.reply_text().await);
            assert!(number >= 4 || reply.is("result"), "the burst is served: {reply:?}");
            if reply.is("error") {
                refused += 1;
            }
        }
        assert!(refused >= 90, "{refused} were refused");
    })
    .await;
}

#[tokio::test]
async fn one_client_past_its_rate_does_not_slow_another() {
    with_app(slow(200, 200), async |app| {
        undisturbed(app.hub(), async || {
            let mut client = app.client().await;
            let command = masked(TEXT, br#"{"type":"log","end":0}"#);
            client.write(&command.repeat(2000)).await;
            let mut refused = 0;
            for _ in 0..2000 {
                if parsed(&client.reply_text().await).is("error") {
                    refused += 1;
                }
            }
            assert!(refused >= 500, "{refused} were refused");
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn ten_seconds_past_the_rate_on_end_close_with_4002() {
    with_app(slow(10, 10), async |app| {
        let mut flood = app.client().await;
        // The other one goes past its rate as well, but takes a pause now and then.
        let mut bursts = app.client().await;
        let command = r#"{"type":"log","end":0}"#;
        let mut pace = interval(Duration::from_millis(20));
        let begun = Instant::now();
        let mut first_refusal = None;
        let mut round = 0_u32;
        let (code, reason) = loop {
            pace.tick().await;
            round += 1;
            assert!(begun.elapsed() < Duration::from_secs(20), "it is closed by now");
            if round % 250 < 60 {
                bursts.ask(command).await;
            }
            flood.write(&masked(TEXT, command.as_bytes())).await;
            let frame = flood.frame().await;
            if frame.opcode != TEXT {
                break frame.close();
            }
            let reply = parsed(&frame.text());
            if reply.is("error") {
                says_so(&reply.text_of("error"));
                first_refusal.get_or_insert_with(Instant::now);
            }
        };
        assert_eq!(code, Some(4002), "{reason}");
        let over = first_refusal.expect("it was refused before").elapsed();
        let fair = Duration::from_millis(9_500)..Duration::from_secs(14);
        assert!(fair.contains(&over), "closed after {over:?}");
        app.disconnects("rate_limited", 1).await;
        wait_until("the other one is served", async || bursts.ask(command).await.is("result"))
            .await;
    })
    .await;
}
