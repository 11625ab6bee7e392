//! Frames, as a client's bytes come.

use crate::protocol::websocket::{Decoder, Incoming, Violation};
use std::io::{self, Cursor, Read, Write};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// Most bytes of a message: small enough for small inputs to exceed, and to need a longer length.
const MAX_BYTES: usize = 300;

/// Most bytes of an input that say where the rest is cut.
const MAX_CUTS: usize = 15;

/// Decodes frames in one piece and cut where the first bytes of `data` say, and holds both against
/// another implementation.
///
/// # Panics
/// The three do not agree.
pub fn websocket(data: &[u8]) {
    let Some((&count, rest)) = data.split_first() else { return };
    let (cuts, stream) = rest.split_at(rest.len().min(usize::from(count) % (MAX_CUTS + 1)));
    let whole = decode([stream]);
    let mut pieces = vec![];
    let mut left = stream;
    for &cut in cuts {
        let (piece, behind) = left.split_at(left.len().min(cut.into()));
        pieces.push(piece);
        left = behind;
    }
    pieces.push(left);
    assert_eq!(decode(pieces), whole, "cut at {cuts:?}");
    assert_eq!(decode(stream.chunks(1)), whole, "byte by byte");
    beside_another(&whole, stream);
}

/// What a client has sent.
#[derive(Debug, PartialEq)]
enum Seen {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
}

/// All that `pieces` hold up to the first close frame, and what ended it, if something did.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Seen>, Result<(), Violation>) {
    let (mut decoder, mut kept, mut seen) = (Decoder::new(MAX_BYTES), vec![], vec![]);
    for piece in pieces {
        kept.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let incoming = match decoder.next(&mut kept, &mut at) {
                Ok(Some(incoming)) => incoming,
                Ok(None) => break,
                Err(violation) => {
                    assert!(!violation.to_string().is_empty());
                    return (seen, Err(violation));
                }
            };
            seen.push(match incoming {
                Incoming::Message { bytes, binary: true } => Seen::Binary(bytes.into()),
                Incoming::Message { bytes, binary: false } => Seen::Text(bytes.into()),
                Incoming::Ping(bytes) => Seen::Ping(bytes.into()),
                Incoming::Pong(bytes) => Seen::Pong(bytes.into()),
                Incoming::Close(code) => Seen::Close(code),
            });
            match seen.last() {
                Some(Seen::Close(_)) => return (seen, Ok(())),
                Some(Seen::Text(bytes) | Seen::Binary(bytes)) => assert!(bytes.len() <= MAX_BYTES),
                _ => {}
            }
        }
        kept.drain(..at);
        // Twice for how a buffer grows.
        assert!(decoder.kept_bytes() <= 2 * MAX_BYTES, "fragments are bounded");
    }
    (seen, Ok(()))
}

/// Holds what was decoded against tungstenite, which takes lengths that are not in their shortest
/// form, and refuses text that is not UTF-8 as soon as it sees it.
fn beside_another((ours, end): &(Vec<Seen>, Result<(), Violation>), stream: &[u8]) {
    // Its usual buffer is made anew for every input, and that takes longer than all the rest.
    let config = WebSocketConfig::default()
        .read_buffer_size(MAX_BYTES)
        .max_message_size(Some(MAX_BYTES))
        .max_frame_size(Some(MAX_BYTES));
    let mut other =
        WebSocket::from_raw_socket(OneWay(Cursor::new(stream)), Role::Server, Some(config));
    let mut theirs = vec![];
    let their_end = loop {
        match other.read() {
            Ok(Message::Text(text)) => theirs.push(Seen::Text(text.as_bytes().to_vec())),
            Ok(Message::Binary(bytes)) => theirs.push(Seen::Binary(bytes.to_vec())),
            Ok(Message::Ping(bytes)) => theirs.push(Seen::Ping(bytes.to_vec())),
            Ok(Message::Pong(bytes)) => theirs.push(Seen::Pong(bytes.to_vec())),
            Ok(Message::Close(frame)) => {
                theirs.push(Seen::Close(frame.map(|frame| frame.code.into())));
                break None;
            }
            Ok(Message::Frame(frame)) => panic!("a frame that was not asked for: {frame}"),
            Err(error) => break Some(error),
        }
    };
    let both = ours.len().min(theirs.len());
    for (our, their) in ours.iter().zip(&theirs) {
        // A code that was registered after the RFC, which they do not know.
        let unknown = (our, their) == (&Seen::Close(Some(1014)), &Seen::Close(Some(1002)));
        assert!(unknown || our == their, "{our:?} is {their:?} for them");
    }
    if ours.len() > both {
        assert!(matches!(their_end, Some(Error::Utf8(_))), "{ours:?} {their_end:?}");
    }
    match end {
        Ok(()) => assert_eq!(theirs.len(), both, "they have more"),
        Err(Violation::Protocol(
            "a length must be written in its shortest form"
            | "a close code that must not be sent"
            | "the top bit of a 64-bit length must be 0",
        )) => {}
        // A short one whose length is not in its shortest form is one for them.
        Err(Violation::Protocol("a control frame may have 125 bytes at most")) => {
            let short =
                |seen: &Seen| matches!(seen, Seen::Ping(_) | Seen::Pong(_) | Seen::Close(_));
            assert!(theirs.get(both).is_none_or(short), "they have taken a long one");
        }
        Err(violation) => {
            assert_eq!(theirs.len(), both, "they have more: {violation}");
            assert!(their_end.is_some(), "they have taken what we have not: {violation}");
        }
    }
}

/// A stream whose answers go nowhere.
struct OneWay<'a>(Cursor<&'a [u8]>);

impl Read for OneWay<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for OneWay<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
