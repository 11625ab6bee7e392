//! Bytes that come in pieces: commands in several frames, frames and handshakes a byte at a time.

use tokio::task::yield_now;

use crate::support::{
    TestApp, config,
    raw::{
        BINARY, CONTINUATION, PING, PONG, Raw, TEXT, fragment, frame, masked, parsed, publication,
        upgrade,
    },
    with_app,
};

async fn bytewise(client: &mut Raw, bytes: &[u8]) {
    for byte in bytes {
        client.write(&[*byte]).await;
        // The hub runs on the same thread: now it sees this byte and no further one.
        yield_now().await;
    }
}

async fn sends_in_parts(app: &TestApp, parts: &[Vec<u8>]) {
    let mut listener = app.listener("\"x\"").await;
    let mut client = app.client().await;
    client.write(&parts.concat()).await;
    let reply = parsed(&client.reply_text().await);
    assert!(reply.is("result"), "{reply:?}");
    assert_eq!(reply.text_of("message"), "héllo");
    assert_eq!(listener.event().await.text_of("message"), "héllo");
}

#[tokio::test]
async fn a_command_in_several_frames_is_joined() {
    let command = publication("\"x\"", "\"héllo\"");
    let bytes = command.as_bytes();
    with_app(config(), async |app| {
        // Also in the middle of the é.
        for cut in 0..=bytes.len() {
            let (first, second) = bytes.split_at(cut);
            let parts = [fragment(TEXT, first), masked(CONTINUATION, second)];
            sends_in_parts(app, &parts).await;
        }
        let mut every_byte = vec![fragment(TEXT, b"")];
        every_byte.extend(bytes.iter().map(|byte| fragment(CONTINUATION, &[*byte])));
        every_byte.push(masked(CONTINUATION, b""));
        sends_in_parts(app, &every_byte).await;
    })
    .await;
}

#[tokio::test]
async fn a_binary_command_in_several_frames_is_joined() {
    let command = publication("\"x\"", "\"héllo\"");
    let (first, second) = command.as_bytes().split_at(9);
    with_app(config(), async |app| {
        let parts = [fragment(BINARY, first), masked(CONTINUATION, second)];
        sends_in_parts(app, &parts).await;
    })
    .await;
}

#[tokio::test]
async fn each_part_has_a_mask_of_its_own() {
    let command = publication("\"x\"", "\"héllo\"");
    let (first, second) = command.as_bytes().split_at(7);
    with_app(config(), async |app| {
        for masks in [[[0; 4], [255; 4]], [[1, 2, 3, 4], [0, 0, 9, 0]]] {
            let parts = [
                frame(TEXT, first, Some(masks[0])),
                frame(0x80 | CONTINUATION, second, Some(masks[1])),
            ];
            sends_in_parts(app, &parts).await;
        }
    })
    .await;
}

#[tokio::test]
async fn pings_between_the_parts_of_a_command_are_answered_at_once() {
    let command = publication("\"x\"", "\"between\"");
    let (first, second) = command.as_bytes().split_at(20);
    with_app(config(), async |app| {
        let mut client = app.client().await;
        client.write(&fragment(TEXT, first)).await;
        client.write(&masked(PING, b"one")).await;
        let pong = client.frame().await;
        assert_eq!((pong.opcode, pong.payload.as_slice()), (PONG, &b"one"[..]));
        client.write(&fragment(CONTINUATION, b"")).await;
        client.write(&masked(PONG, b"unasked")).await;
        client.write(&masked(PING, b"two")).await;
        let pong = client.frame().await;
        assert_eq!((pong.opcode, pong.payload.as_slice()), (PONG, &b"two"[..]));
        client.write(&masked(CONTINUATION, second)).await;
        let reply = parsed(&client.reply_text().await);
        assert_eq!(reply.text_of("message"), "between");
    })
    .await;
}

#[tokio::test]
async fn events_reach_a_client_in_the_middle_of_its_command() {
    let command = r#"{"type":"close","channel":"x"}"#.as_bytes();
    with_app(config(), async |app| {
        let mut client = app.listener("\"x\"").await;
        client.write(&fragment(TEXT, &command[..9])).await;
        client.write(&masked(CONTINUATION, &command[9..])[..3]).await;
        let mut other = app.client().await;
        other.publish("\"x\"", "1").await;
        assert_eq!(client.event().await.number_of("message"), 1.0);
        client.write(&masked(CONTINUATION, &command[9..])[3..]).await;
        assert!(parsed(&client.reply_text().await).array_of("channels").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_handshake_and_commands_arrive_a_byte_at_a_time() {
    with_app(config(), async |app| {
        let mut listener = app.listener("\"x\"").await;
        let mut client = Raw::tcp(app.hub()).await;
        bytewise(&mut client, upgrade("/connect/").as_bytes()).await;
        client.accepted().await;
        let long = format!("\"{}\"", "é".repeat(200));
        for message in ["\"short\"", &long] {
            let command = publication("\"x\"", message);
            bytewise(&mut client, &masked(TEXT, command.as_bytes())).await;
            let event = listener.event_text().await;
            assert!(event.contains(message), "{event}");
            assert!(client.reply_text().await.contains(message));
        }
        bytewise(&mut client, &masked(PING, b"slowly")).await;
        assert_eq!(client.frame().await.payload, b"slowly");
    })
    .await;
}

#[tokio::test]
async fn many_commands_in_one_segment_are_answered_in_order() {
    with_app(config(), async |app| {
        let mut client = app.client().await;
        let command = |number| publication("\"x\"", &format!("{number}"));
        let frames = (0..300).map(|number| masked(TEXT, command(number).as_bytes()));
        client.write(&frames.collect::<Vec<_>>().concat()).await;
        for number in 0..300 {
            let reply = parsed(&client.reply_text().await);
            assert_eq!(reply.number_of("message"), f64::from(number));
        }
    })
    .await;
}

#[tokio::test]
async fn segments_cut_anywhere_between_frames_and_inside_them_read_the_same() {
    let bytes: Vec<u8> = (0..40)
        .flat_map(|number| {
            let text = "y".repeat(number * 7);
            masked(TEXT, publication("\"x\"", &format!("\"{text}\"")).as_bytes())
        })
        .collect();
    with_app(config(), async |app| {
        for piece in [1, 2, 3, 5, 13, 64, 127, 1000, 4096] {
            let mut client = app.client().await;
            for part in bytes.chunks(piece) {
                client.write(part).await;
                yield_now().await;
            }
            for number in 0..40 {
                let reply = parsed(&client.reply_text().await);
                assert_eq!(reply.text_of("message").len(), number * 7);
            }
        }
    })
    .await;
}
