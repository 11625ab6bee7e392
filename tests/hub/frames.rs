//! RFC 6455 as the hub holds it: what breaks its rules ends that one connection with 1002, what
//! is larger than a frame may be with 1009, and nobody else notices.

use futures_util::future::join_all;

use crate::support::{
    TestApp, config,
    pair::undisturbed,
    raw::{
        BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, Raw, TEXT, fragment, frame, masked, parsed,
        publication,
    },
    unhurried, with_app,
};

const LARGEST: usize = 397_312;

/// A client with a channel open that another publishes to sends these bytes: it must see the
/// close code, then the end, and nothing of what is published after.
async fn closes_with(app: &TestApp, what: &str, bytes: &[u8], code: u16) {
    // One of its own, since several do this at once.
    let channel = format!("\"{what} {:?}\"", &bytes[..bytes.len().min(20)]);
    let mut offender = app.listener(&channel).await;
    let mut reporter = app.client().await;
    // The hub may hang up before it has read all of what it refuses.
    let _ = offender.try_write(bytes).await;
    let frame = offender.next().await;
    let frame = frame.unwrap_or_else(|| panic!("{what}: a close frame before the end"));
    // The connection is over, though neither side has hung up yet.
    reporter.publish(&channel, "1").await;
    let (got, reason) = frame.close();
    assert_eq!(got, Some(code), "{what}: {reason}");
    assert!(!reason.is_empty(), "{what}: the close says what was wrong");
    let _ = offender.try_write(&masked(CLOSE, &code.to_be_bytes())).await;
    assert_eq!(offender.next().await, None, "{what}: nothing follows a close frame");
}

/// All at once, because the hub may wait a while for an answer that it cannot read any more.
async fn all_close_with(kinds: &[(&str, Vec<u8>)], code: u16, reason: &str) {
    with_app(config(), async |app| {
        undisturbed(app.hub(), async || {
            let all = kinds.iter().map(|(what, bytes)| closes_with(app, what, bytes, code));
            join_all(all).await;
        })
        .await;
        app.disconnects(reason, kinds.len() as u32).await;
    })
    .await;
}

async fn all_close_with_1002(kinds: &[(&str, Vec<u8>)]) {
    all_close_with(kinds, 1002, "protocol_error").await;
}

/// A masked head with a length written in a given form, then the payload.
fn spelled(first: u8, length: &[u8], payload: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend_from_slice(length);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend(vec![b' '; payload]);
    bytes
}

#[tokio::test]
async fn frames_without_a_mask_close_with_1002() {
    all_close_with_1002(&[
        ("text", frame(FIN | TEXT, b"{}", None)),
        ("empty text", frame(FIN | TEXT, b"", None)),
        ("binary", frame(FIN | BINARY, b"{}", None)),
        ("ping", frame(FIN | PING, b"", None)),
        ("close", frame(FIN | CLOSE, &[3, 232], None)),
    ])
    .await;
}

#[tokio::test]
async fn reserved_bits_close_with_1002() {
    let mut kinds = Vec::new();
    for opcode in [TEXT, BINARY, PING, PONG, CLOSE] {
        for bit in [0x40, 0x20, 0x10] {
            kinds.push(("a reserved bit", frame(FIN | bit | opcode, b"", Some([1; 4]))));
        }
    }
    all_close_with_1002(&kinds).await;
}

#[tokio::test]
async fn reserved_opcodes_close_with_1002() {
    let reserved = (3..8).chain(11..16);
    let kinds = reserved.map(|opcode| ("a reserved opcode", masked(opcode, b"{}")));
    all_close_with_1002(&kinds.collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn control_frames_in_parts_or_too_long_close_with_1002() {
    all_close_with_1002(&[
        ("part of a ping", fragment(PING, b"a")),
        ("part of a pong", fragment(PONG, b"")),
        ("part of a close", fragment(CLOSE, &[3, 232])),
        ("a ping of 126 bytes", masked(PING, &[b'a'; 126])),
        ("a pong of 126 bytes", masked(PONG, &[b'a'; 126])),
        ("a ping of 65536 bytes", masked(PING, &[b'a'; 65_536])),
        ("a close of 126 bytes", masked(CLOSE, &[&[3, 232][..], &[b'a'; 124]].concat())),
    ])
    .await;
}

#[tokio::test]
async fn messages_in_wrong_parts_close_with_1002() {
    let begun = fragment(TEXT, b"{\"type\":");
    all_close_with_1002(&[
        ("a last part of nothing", masked(CONTINUATION, b"{}")),
        ("a part of nothing", fragment(CONTINUATION, b"{}")),
        ("a text inside a text", [begun.clone(), masked(TEXT, b"{}")].concat()),
        ("a binary inside a text", [begun.clone(), masked(BINARY, b"{}")].concat()),
        ("a second first part", [begun.clone(), fragment(TEXT, b"{}")].concat()),
        (
            "a text inside a text that has a second part",
            [begun, fragment(CONTINUATION, b""), masked(TEXT, b"{}")].concat(),
        ),
    ])
    .await;
}

#[tokio::test]
async fn lengths_written_the_long_way_close_with_1002() {
    let text = FIN | TEXT;
    all_close_with_1002(&[
        ("0 in two bytes", spelled(text, &[0x80 | 126, 0, 0], 0)),
        ("125 in two bytes", spelled(text, &[0x80 | 126, 0, 125], 125)),
        ("0 in eight bytes", spelled(text, &[0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 0], 0)),
        ("125 in eight bytes", spelled(text, &[0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 125], 125)),
        ("65535 in eight bytes", spelled(text, &[0x80 | 127, 0, 0, 0, 0, 0, 0, 255, 255], 65_535)),
        ("a ping in two bytes", spelled(FIN | PING, &[0x80 | 126, 0, 5], 5)),
    ])
    .await;
}

#[tokio::test]
async fn a_length_with_the_top_bit_closes_with_1002() {
    all_close_with_1002(&[
        ("2^63", spelled(FIN | TEXT, &[0x80 | 127, 128, 0, 0, 0, 0, 0, 0, 0], 0)),
        ("2^64-1", spelled(FIN | BINARY, &[255; 9], 0)),
    ])
    .await;
}

#[tokio::test]
async fn close_frames_that_are_no_such_thing_close_with_1002() {
    let mut kinds = vec![("a close of one byte", masked(CLOSE, &[3]))];
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16] {
        kinds.push(("a code that may not be sent", masked(CLOSE, &code.to_be_bytes())));
    }
    for reason in [&b"\xff"[..], b"cut \xe2\x98", b"\xed\xa0\x80", b"\xc0\x80"] {
        let payload = [&[3, 232][..], reason].concat();
        kinds.push(("a reason that is not UTF-8", masked(CLOSE, &payload)));
    }
    all_close_with_1002(&kinds).await;
}

#[tokio::test]
async fn a_frame_larger_than_a_frame_may_be_closes_with_1009() {
    let length = (LARGEST as u64 + 1).to_be_bytes();
    let head = [&[FIN | TEXT, 0x80 | 127], &length[..], &[0; 4]].concat();
    let half = "a".repeat(LARGEST / 2);
    let most_of_it = fragment(TEXT, half.as_bytes());
    let rest = fragment(CONTINUATION, half.as_bytes());
    let huge = [FIN | BINARY, 255, 127, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0];
    let kinds = [
        ("the head alone", head),
        ("the largest length there is", huge.to_vec()),
        ("the whole frame", masked(TEXT, &vec![b'a'; LARGEST + 1])),
        ("a joined message", [most_of_it, rest, masked(CONTINUATION, b"a")].concat()),
    ];
    all_close_with(&kinds, 1009, "frame_too_large").await;
}

#[tokio::test]
async fn a_frame_as_large_as_a_frame_may_be_is_read() {
    let command = r#"{"type":"open","channel":"x"}"#;
    let padded = command.to_owned() + &" ".repeat(LARGEST - command.len());
    with_app(config(), async |app| {
        let mut client = app.client().await;
        client.command(&padded).await;
        let (first, second) = padded.split_at(LARGEST / 3);
        client.write(&fragment(TEXT, first.as_bytes())).await;
        client.write(&masked(CONTINUATION, second.as_bytes())).await;
        assert!(client.reply_text().await.contains(r#""channels""#));
    })
    .await;
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload_and_no_pong_comes_unasked() {
    with_app(config(), async |app| {
        let mut client = app.client().await;
        let full = [0xff; 125];
        for payload in [&b""[..], b"a", b"\xff\x00\xfe", &full] {
            client.write(&masked(PING, payload)).await;
            let pong = client.frame().await;
            assert_eq!((pong.opcode, pong.payload.as_slice()), (PONG, payload));
        }
        // Pongs that nobody asked for are nothing to answer.
        client.write(&masked(PONG, b"unasked")).await;
        client.write(&masked(PONG, b"")).await;
        client.open("\"x\"").await;
        assert!(client.received().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn pings_and_commands_sent_at_once_are_all_answered() {
    with_app(config(), async |app| {
        let mut client = app.client().await;
        let mut bytes = Vec::new();
        for number in 0..50_u8 {
            let command = format!(r#"{{"type":"open","channel":{number}}}"#);
            bytes.extend(masked(PING, &[number]));
            bytes.extend(masked(TEXT, command.as_bytes()));
        }
        client.write(&bytes).await;
        let (mut pongs, mut replies) = (0_u8, 0_usize);
        while pongs < 50 || replies < 50 {
            let frame = client.frame().await;
            if frame.opcode == PONG {
                assert_eq!(frame.payload, [pongs], "pongs come in the order of the pings");
                pongs += 1;
            } else {
                replies += 1;
                let reply = parsed(&frame.text());
                assert_eq!(reply.array_of("channels").len(), replies);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_close_is_answered_with_a_close_and_nothing_follows() {
    with_app(config(), async |app| {
        let mut reporter = app.client().await;
        for payload in [&b""[..], &[3, 232], b"\x03\xe9going home", b"\x0b\xb8own", b"\x13\x87"] {
            let mut leaver = app.listener("\"news\"").await;
            leaver.write(&masked(CLOSE, payload)).await;
            let answer = leaver.frame().await;
            reporter.publish("\"news\"", "1").await;
            let sent = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            let (code, _) = answer.close();
            match sent {
                Some(sent) => assert_eq!(code, Some(sent), "the code comes back"),
                None => assert!([None, Some(1000)].contains(&code), "{code:?}"),
            }
            assert_eq!(leaver.next().await, None, "nothing follows a close frame");
        }
        app.disconnects("client_closed", 5).await;
    })
    .await;
}

#[tokio::test]
async fn what_follows_a_close_frame_is_not_read() {
    with_app(config(), async |app| {
        let mut listener = app.listener("\"x\"").await;
        let mut leaver = app.client().await;
        let after = masked(TEXT, publication("\"x\"", "\"after\"").as_bytes());
        leaver.write(&[masked(CLOSE, &[3, 232]), after].concat()).await;
        assert_eq!(leaver.close_code().await, Some(1000));
        app.disconnects("client_closed", 1).await;
        assert!(listener.received().await.is_empty());
    })
    .await;
}

/// Messages for [`ask_for_each`].
async fn fill_log(app: &TestApp) {
    let mut publisher = app.client().await;
    for number in 0..40 {
        let message = format!(r#"{{"n":{number},"pad":"{}"}}"#, "p".repeat(100_000));
        publisher.publish("\"x\"", &message).await;
    }
}

/// Asks for each message of the log by itself, newest first, all at once: 4 MB of replies, more
/// than its system takes in unread and more than may be queued.
async fn ask_for_each(app: &TestApp) -> (Raw, Vec<u8>) {
    let commands = (0..40).map(|place| {
        let command = format!(r#"{{"type":"log","start":{place},"end":{}}}"#, place + 1);
        masked(TEXT, command.as_bytes())
    });
    (Raw::narrow(app.hub()).await, commands.collect::<Vec<_>>().concat())
}

/// Reads the replies to [`ask_for_each`].
async fn told_of_each(client: &mut Raw) {
    for place in 0..40 {
        let reply = parsed(&client.reply_text().await);
        let entries = reply.array_of("log");
        let message = entries[0].get("message").expect("an entry has its message");
        assert_eq!(message.number_of("n"), f64::from(39 - place), "the replies come in order");
    }
}

#[tokio::test]
async fn commands_before_a_close_frame_are_carried_out_and_answered() {
    with_app(unhurried(), async |app| {
        fill_log(app).await;
        let mut listener = app.listener("\"y\"").await;
        let (mut leaver, commands) = ask_for_each(app).await;
        let last = masked(TEXT, publication("\"y\"", "\"last\"").as_bytes());
        leaver.write(&[commands, last, masked(CLOSE, &[3, 232])].concat()).await;
        told_of_each(&mut leaver).await;
        assert_eq!(parsed(&leaver.reply_text().await).text_of("message"), "last");
        assert_eq!(leaver.close_code().await, Some(1000));
        assert_eq!(listener.event().await.text_of("message"), "last");
        app.disconnects("client_closed", 2).await;
    })
    .await;
}

#[tokio::test]
async fn commands_before_the_end_of_the_stream_are_carried_out_and_answered() {
    with_app(unhurried(), async |app| {
        let mut listener = app.listener("\"y\"").await;
        let mut leaver = app.client().await;
        let commands =
            (0..50).map(|n| masked(TEXT, publication("\"y\"", &n.to_string()).as_bytes()));
        leaver.write(&commands.collect::<Vec<_>>().concat()).await;
        // In the game, closing a socket looks like this.
        leaver.half_close().await;
        for number in 0..50 {
            let reply = parsed(&leaver.reply_text().await);
            assert_eq!(reply.number_of("message"), f64::from(number));
            assert_eq!(listener.event().await.number_of("message"), f64::from(number));
        }
        assert_eq!(leaver.next().await, None, "then the connection ends");
        app.disconnects("client_closed", 1).await;
    })
    .await;
}

#[tokio::test]
async fn many_commands_before_the_end_of_the_stream_are_carried_out_and_answered() {
    with_app(unhurried(), async |app| {
        fill_log(app).await;
        let mut listener = app.listener("\"y\"").await;
        let (mut leaver, commands) = ask_for_each(app).await;
        let last = masked(TEXT, publication("\"y\"", "\"last\"").as_bytes());
        leaver.write(&[commands, last].concat()).await;
        // In the game, closing a socket looks like this.
        leaver.half_close().await;
        told_of_each(&mut leaver).await;
        assert_eq!(parsed(&leaver.reply_text().await).text_of("message"), "last");
        assert_eq!(leaver.next().await, None, "then the connection ends");
        assert_eq!(listener.event().await.text_of("message"), "last");
        app.disconnects("client_closed", 2).await;
    })
    .await;
}
