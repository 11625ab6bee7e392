//! Unfinished frames: what they count, and who goes when all together are too many bytes.

use skynet::config::Config;
use tokio::io::AsyncReadExt;

use crate::support::{
    TestApp,
    raw::{CLOSE, PONG, Raw, TEXT, masked, parsed},
    unhurried, wait_until, with_app,
};

const LARGEST: usize = 397_312;

fn partial(total: usize) -> Config {
    let mut settings = unhurried();
    settings.limits.total_partial_bytes = total;
    settings
}

/// A command in a frame of so many bytes in all, its header of 14 bytes among them.
fn large(length: usize) -> Vec<u8> {
    let command = r#"{"type":"open","channel":"x"}"#.to_owned();
    let padding = " ".repeat(length - 14 - command.len());
    masked(TEXT, (command + &padding).as_bytes())
}

/// Writes bytes in pieces, each of which has been read before the next comes.
async fn in_pieces(app: &TestApp, client: &mut Raw, bytes: &[u8], held_already: usize) {
    let mut written = 0;
    for piece in bytes.chunks(100_000) {
        client.write(piece).await;
        written += piece.len();
        held(app, held_already + written).await;
    }
}

/// Waits until exactly so many bytes of unfinished frames are held.
async fn held(app: &TestApp, bytes: usize) {
    app.metric_is("skynet_partial_bytes", &[], bytes as f64).await;
}

#[tokio::test]
async fn the_smallest_total_has_room_for_the_largest_frame() {
    with_app(partial(LARGEST), async |app| {
        let frame = large(LARGEST);
        let (last, most) = frame.split_last().expect("it is not empty");
        let mut client = app.client().await;
        in_pieces(app, &mut client, most, 0).await;
        client.write(&[*last]).await;
        assert!(parsed(&client.reply_text().await).is("result"));
        held(app, 0).await;
    })
    .await;
}

#[tokio::test]
async fn unfinished_frames_count_their_bytes_and_within_the_total_nobody_is_closed() {
    with_app(partial(1 << 20), async |app| {
        // 1,020,000 of 1,048,576 bytes, while room for more than that is made for them.
        let frame = large(350_000);
        let mut clients = [app.client().await, app.client().await, app.client().await];
        for (number, client) in clients.iter_mut().enumerate() {
            in_pieces(app, client, &frame[..340_000], number * 340_000).await;
        }
        for client in &mut clients {
            client.write(&frame[340_000..]).await;
            assert!(parsed(&client.reply_text().await).is("result"));
        }
        held(app, 0).await;
        assert_eq!(app.metric("skynet_disconnects_total", &[]).await, 0.0);
    })
    .await;
}

/// A client that has sent so much of a frame.
async fn holder(app: &TestApp, frame: &[u8], bytes: usize) -> Raw {
    let mut client = app.client().await;
    client.write(&frame[..bytes]).await;
    client
}

/// Reads the close frame of a client that has kept the most, and answers it only when it has seen
/// that what it had kept is held no more.
async fn goes(app: &TestApp, client: &mut Raw, bytes_left: usize) {
    let (code, reason) = client.frame().await.close();
    assert_eq!(code, Some(1009), "{reason}");
    let held = app.metric("skynet_partial_bytes", &[]).await;
    assert_eq!(held, bytes_left as f64, "what it kept is thrown away at once");
    let _ = client.try_write(&masked(CLOSE, &1009_u16.to_be_bytes())).await;
    assert_eq!(client.next().await, None, "nothing follows a close frame");
}

#[tokio::test]
async fn past_the_total_those_go_that_keep_the_most_and_what_they_kept_goes_at_once() {
    with_app(partial(1 << 20), async |app| {
        let frame = large(390_000);
        let mut first = holder(app, &frame, 300_000).await;
        let mut largest = holder(app, &frame, 340_000).await;
        let mut second = holder(app, &frame, 320_000).await;
        let mut small = holder(app, &frame, 60_000).await;
        held(app, 1_020_000).await;
        small.write(&frame[60_000..100_000]).await;
        goes(app, &mut largest, 720_000).await;
        let mut late = holder(app, &frame, 310_000).await;
        held(app, 1_030_000).await;
        small.write(&frame[100_000..150_000]).await;
        goes(app, &mut second, 760_000).await;
        app.disconnects("frame_too_large", 2).await;
        for (client, sent) in [(&mut first, 300_000), (&mut small, 150_000), (&mut late, 310_000)] {
            client.write(&frame[sent..]).await;
            assert!(parsed(&client.reply_text().await).is("result"), "the others stay");
        }
        held(app, 0).await;
    })
    .await;
}

#[tokio::test]
async fn commands_that_wait_are_no_unfinished_frames() {
    let mut settings = partial(LARGEST);
    settings.limits.max_frame_bytes = 131_072;
    settings.limits.total_partial_bytes = 131_072;
    with_app(settings, async |app| {
        let mut publisher = app.client().await;
        publisher.publish("\"x\"", &format!("\"{}\"", "m".repeat(120_000))).await;
        // 60 kB of whole commands each, with 6 MB of replies due that nobody reads yet, so that
        // most of the commands must wait: together more than may be unfinished.
        let padding = " ".repeat(1200);
        let command = masked(TEXT, format!(r#"{{"type":"log"{padding}}}"#).as_bytes());
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = Raw::narrow(app.hub()).await;
            client.write(&command.repeat(50)).await;
            clients.push(client);
        }
        wait_until("everybody has something queued", async || {
            app.stats().queued_bytes > 8 * 50_000
        })
        .await;
        for client in &mut clients {
            for reply in 0..50 {
                let frame = client.frame().await;
                assert_eq!(frame.opcode, TEXT, "reply {reply}");
            }
        }
        assert_eq!(app.metric("skynet_disconnects_total", &[]).await, 0.0);
    })
    .await;
}

#[tokio::test]
async fn commands_that_wait_for_a_pace_count_like_unfinished_frames() {
    let mut settings = partial(LARGEST);
    settings.limits.max_frame_bytes = 131_072;
    settings.limits.total_partial_bytes = 131_072;
    with_app(settings, async |app| {
        let open = masked(TEXT, br#"{"type":"open","channel":"x","pace":1}"#);
        let ping = masked(TEXT, br#"{"type":"ping"}"#).repeat(40);
        let padded = format!(r#"{{"type":"ping"{}}}"#, " ".repeat(1000));
        let bytes = [open, ping, masked(TEXT, padded.as_bytes()).repeat(45)].concat();
        let mut clients = Vec::new();
        // Little is queued for each, and each has sent some 45,000 bytes of commands that wait.
        for _ in 0..8 {
            let mut client = app.client().await;
            client.write(&bytes).await;
            clients.push(client);
        }
        wait_until("somebody goes", async || {
            let labels = [("reason", "frame_too_large")];
            app.metric("skynet_disconnects_total", &labels).await > 0.0
        })
        .await;
        let held = app.metric("skynet_partial_bytes", &[]).await;
        assert!(held <= 131_072.0, "{held}");
    })
    .await;
}

#[tokio::test]
async fn behind_a_frame_that_is_too_large_the_answer_to_the_close_frame_is_found() {
    let mut settings = unhurried();
    settings.limits.max_frame_bytes = 131_072;
    with_app(settings, async |app| {
        let mut client = app.client().await;
        let frame = large(400_000);
        client.write(&frame[..200_000]).await;
        let (code, reason) = client.frame().await.close();
        assert_eq!(code, Some(1009), "{reason}");
        client.write(&frame[200_000..]).await;
        client.write(&masked(CLOSE, &1009_u16.to_be_bytes())).await;
        // Whose answer is not found is reset.
        let end = client.into_stream().read(&mut [0]).await;
        assert_eq!(end.expect("the connection ends in order"), 0);
    })
    .await;
}

#[tokio::test]
async fn of_a_client_that_is_being_closed_only_the_answers_count() {
    with_app(partial(LARGEST), async |app| {
        let frame = large(LARGEST);
        let mut client = Raw::tcp(app.hub()).await.shaken("/connect?token=wrong").await;
        client.write(&frame[..300_000]).await;
        let ping = client.frame().await;
        client.write(&frame[300_000..]).await;
        client.write(&masked(PONG, &ping.payload)).await;
        let (code, reason) = client.frame().await.close();
        assert_eq!(code, Some(4502), "{reason}");
        client.write(&frame).await;
        client.write(&masked(CLOSE, &4502_u16.to_be_bytes())).await;
        let end = client.into_stream().read(&mut [0]).await;
        assert_eq!(end.expect("the connection ends in order"), 0);
        held(app, 0).await;
    })
    .await;
}
