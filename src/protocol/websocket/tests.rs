use super::*;
use proptest::prelude::*;

/// A client's frame: first byte, payload, masked with a fixed key.
fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![0; header_bytes(payload.len())];
    write_header(&mut frame, 0, payload.len());
    frame[0] = first;
    frame[1] |= MASKED;
    frame.extend_from_slice(&mask);
    let start = frame.len();
    frame.extend_from_slice(payload);
    unmask(&mut frame[start..], mask);
    frame
}

/// Everything that `bytes` hold, messages and pings as text.
fn decode(mut bytes: Vec<u8>, max_bytes: usize) -> Result<Vec<String>, Violation> {
    let (mut decoder, mut at, mut seen) = (Decoder::new(max_bytes), 0, vec![]);
    while let Some(incoming) = decoder.next(&mut bytes, &mut at)? {
        seen.push(match incoming {
            Incoming::Message { bytes, .. } => String::from_utf8_lossy(&bytes).into_owned(),
            Incoming::Ping(p) => format!("ping {}", String::from_utf8_lossy(p)),
            Incoming::Pong(p) => format!("pong {}", String::from_utf8_lossy(p)),
            Incoming::Close(code) => format!("close {code:?}"),
        });
    }
    Ok(seen)
}

#[test]
fn fragments_are_joined_around_a_ping() {
    let mut bytes = client(TEXT, b"He");
    bytes.extend(client(FIN | PING, b"?"));
    bytes.extend(client(CONTINUATION, b""));
    bytes.extend(client(FIN | CONTINUATION, b"llo"));
    bytes.extend(client(FIN | BINARY, b"b"));
    assert_eq!(decode(bytes, 5).unwrap(), ["ping ?", "Hello", "b"]);
}

#[test]
fn what_rfc_6455_forbids_is_a_violation() {
    let masked_length = |length: &[u8]| [&[FIN | TEXT][..], length, &[0; 4]].concat();
    for (name, bytes) in [
        ("not masked", vec![FIN | TEXT, 1, b'x']),
        ("reserved bit", client(FIN | 0x40 | TEXT, b"")),
        ("reserved opcode", client(FIN | 0x3, b"")),
        ("reserved control opcode", client(FIN | 0xb, b"")),
        ("fragmented ping", client(PING, b"")),
        ("long ping", client(FIN | PING, &[0; 126])),
        ("stray continuation", client(FIN | CONTINUATION, b"")),
        ("new message inside", [client(TEXT, b""), client(TEXT, b"")].concat()),
        ("long form of a short length", masked_length(&[MASKED | 126, 0, 125])),
        (
            "longest form of a short length",
            masked_length(&[MASKED | 127, 0, 0, 0, 0, 0, 0, 255, 255]),
        ),
        ("top bit", masked_length(&[MASKED | 127, 128, 0, 0, 0, 0, 0, 0, 0])),
        ("close of one byte", client(FIN | CLOSE, &[3])),
        ("close code 1005", client(FIN | CLOSE, &1005_u16.to_be_bytes())),
        ("close code 999", client(FIN | CLOSE, &999_u16.to_be_bytes())),
        ("close reason", client(FIN | CLOSE, &[3, 232, 0xff])),
    ] {
        assert!(matches!(decode(bytes, 1000), Err(Violation::Protocol(_))), "{name}");
    }
}

#[test]
fn a_frame_or_message_over_the_limit_is_seen_before_its_payload() {
    let mut head = client(FIN | TEXT, &[b'x'; 200]);
    head.truncate(4);
    assert_eq!(decode(head, 199), Err(Violation::TooLarge { bytes: 200, limit: 199 }));
    let joined = [client(TEXT, b"1234"), client(FIN | CONTINUATION, b"56")].concat();
    assert_eq!(decode(joined, 5), Err(Violation::TooLarge { bytes: 6, limit: 5 }));
}

#[test]
fn a_servers_frame_tells_its_own_length() {
    for length in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
        let frame = Frame::text(vec![b' '; HEADROOM + length]);
        assert_eq!(frame.payload().len(), length);
        assert_eq!(server_frame_bytes(frame.wire()), Some(frame.wire().len()));
        let binary = Frame::binary(vec![b' '; HEADROOM + length]);
        assert_eq!((frame.wire()[0], binary.wire()[0]), (0x81, 0x82));
        assert_eq!(frame.wire()[1..], binary.wire()[1..]);
    }
}

#[test]
fn a_close_reason_is_cut_between_characters() {
    let frame = Frame::close(Some(4500), &"é".repeat(100));
    assert_eq!(frame.payload().len(), 2 + 122);
    assert_eq!(close_code(frame.payload()), Ok(Some(4500)));
}

proptest! {
    #[test]
    fn bytes_of_any_kind_never_panic(bytes: Vec<u8>) {
        let _ = decode(bytes, 100);
    }

    #[test]
    fn a_frame_split_anywhere_is_decoded_once_it_is_whole(
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        split in 0_usize..1000,
    ) {
        let bytes = client(FIN | BINARY, &payload);
        let split = split % bytes.len();
        let mut decoder = Decoder::new(300);
        let mut part = bytes[..split].to_vec();
        let mut at = 0;
        prop_assert_eq!(decoder.next(&mut part, &mut at), Ok(None));
        part.extend_from_slice(&bytes[split..]);
        prop_assert_eq!(
            decoder.next(&mut part, &mut at),
            Ok(Some(Incoming::Message { bytes: payload.into(), binary: true }))
        );
        prop_assert_eq!(at, bytes.len());
    }

    #[test]
    fn who_skims_is_told_the_control_frames_wherever_it_begins_and_keeps_no_more_than_one(
        kinds in proptest::collection::vec(0_usize..5, 1..20),
        size in 0_usize..70_000,
        begin in 0_usize..1_000_000,
        piece in 1_usize..100_000,
    ) {
        let (mut bytes, mut told, mut mid_message) = (vec![], vec![], false);
        for (number, kind) in kinds.into_iter().enumerate() {
            let payload = vec![b'x'; size >> number];
            let first = if mid_message { CONTINUATION } else { TEXT };
            match kind {
                0 => bytes.extend(client(FIN | first, &payload)),
                1 => bytes.extend(client(first, &payload)),
                2 => bytes.extend(client(FIN | PING, b"")),
                _ => {
                    told.push((bytes.len(), number));
                    bytes.extend(client(FIN | PONG, &[number as u8; 125]));
                }
            }
            mid_message = if kind < 2 { kind == 1 } else { mid_message };
        }
        // What is larger than it takes ends what it decodes as a session is served.
        let (mut decoder, mut kept, mut at) = (Decoder::new(60_000), bytes.clone(), 0);
        kept.truncate(begin % (bytes.len() + 1));
        while let Ok(Some(_)) = decoder.next(&mut kept, &mut at) {}
        let (mut seen, begun) = (vec![], at);
        decoder.skim();
        prop_assert_eq!(decoder.kept_bytes(), 0);
        let mut rest = kept.split_off(at);
        kept = vec![];
        for piece in [std::mem::take(&mut rest)].iter().map(Vec::as_slice).chain(
            bytes[begin % (bytes.len() + 1)..].chunks(piece),
        ) {
            kept.extend_from_slice(piece);
            at = 0;
            while let Some(incoming) = decoder.next(&mut kept, &mut at).expect("nothing is wrong") {
                match incoming {
                    Incoming::Pong(payload) => seen.push(usize::from(payload[0])),
                    other => prop_assert_eq!(other, Incoming::Ping(b"")),
                }
            }
            kept.drain(..at);
            prop_assert!(kept.len() < 6 + MAX_CONTROL_BYTES && decoder.kept_bytes() == 0);
        }
        let due: Vec<usize> =
            told.iter().filter(|(place, _)| *place >= begun).map(|&(_, number)| number).collect();
        prop_assert_eq!(seen, due);
    }
}
