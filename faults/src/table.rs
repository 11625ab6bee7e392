//! What RFC 6455 says about what a client sends, as a table: the bytes, and what must come of them.
//!
//! One line departs from the RFC on purpose: text that is not UTF-8 is taken, with U+FFFD for what is
//! wrong, because computers in the game send bytes for text (docs/protocol.md, How values travel).

use skynet_bench::websocket::{BINARY, CLOSE, PING, PONG, TEXT};

use crate::client::{MASK, masked};

/// The continuation of a message.
const CONTINUATION: u8 = 0;
/// The last, or only, frame of a message.
const FIN: u8 = 0x80;
/// `limits.max_frame_bytes` as shipped.
const LARGEST: usize = 397_312;

/// What must come of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// A close frame with this code, and then the end.
    Close(u16),
    /// The close frame is answered with this code, or with an empty one, and then comes the end.
    Answered(Option<u16>),
    /// Frames with these opcodes in this order, and the connection goes on.
    Goes(Vec<u8>),
}

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// The section of the RFC.
    pub section: &'static str,
    /// What is tried.
    pub what: String,
    /// What is sent after the handshake.
    pub bytes: Vec<u8>,
    /// What must come of it.
    pub expected: Expected,
}

/// A frame spelled out: first byte, length as it is to stand there (without the mask's bit), payload
/// under the mask.
fn spelled(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend_from_slice(length);
    bytes[1] |= 0x80;
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A frame that is not the last of its message.
fn part(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = masked(opcode, payload);
    bytes[0] &= !FIN;
    bytes
}

/// A frame as a server would send it.
fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![FIN | opcode, payload.len() as u8];
    bytes.extend_from_slice(payload);
    bytes
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    masked(CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// Collects cases of one section.
struct Section<'a>(&'static str, &'a mut Vec<Case>);

impl Section<'_> {
    fn case(&mut self, what: impl Into<String>, bytes: Vec<u8>, expected: Expected) {
        self.1.push(Case { section: self.0, what: what.into(), bytes, expected });
    }

    fn wrong(&mut self, what: impl Into<String>, bytes: Vec<u8>) {
        self.case(what, bytes, Expected::Close(1002));
    }
}

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    heads(&mut cases);
    lengths(&mut cases);
    parts(&mut cases);
    controls(&mut cases);
    closes(&mut cases);
    texts(&mut cases);
    cases
}

/// The first two bytes: reserved bits, opcodes, masks.
fn heads(cases: &mut Vec<Case>) {
    let mut section = Section("5.2", cases);
    for opcode in [TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG] {
        for bits in 1..8 {
            let mut bytes = masked(opcode, b"");
            bytes[0] |= bits << 4;
            section.wrong(format!("reserved bits {bits:03b} with opcode {opcode}"), bytes);
        }
    }
    for opcode in (3..8).chain(11..16) {
        for payload in [&b""[..], b"{}"] {
            let what = format!("reserved opcode {opcode}, {} bytes", payload.len());
            section.wrong(what, masked(opcode, payload));
        }
        section.wrong(format!("reserved opcode {opcode} in parts"), part(opcode, b"{}"));
        // The head is enough to know.
        section
            .wrong(format!("reserved opcode {opcode}, its head alone"), vec![FIN | opcode, 0x80]);
    }
    let mut section = Section("5.1", cases);
    for opcode in [TEXT, BINARY, PING, PONG, CLOSE] {
        section.wrong(format!("no mask, opcode {opcode}"), unmasked(opcode, b""));
        section.wrong(format!("no mask, opcode {opcode}, payload"), unmasked(opcode, &[3, 232]));
    }
}

/// Lengths in 7, 16 and 64 bits.
fn lengths(cases: &mut Vec<Case>) {
    let mut section = Section("5.2", cases);
    for length in [0_u16, 1, 125] {
        let bytes = [&[126][..], &length.to_be_bytes()].concat();
        let payload = vec![b' '; length.into()];
        section.wrong(format!("{length} in 16 bits"), spelled(FIN | TEXT, &bytes, &payload));
    }
    for length in [0_u64, 125, 126, 65_535] {
        let bytes = [&[127][..], &length.to_be_bytes()].concat();
        let payload = vec![b' '; length as usize];
        section.wrong(format!("{length} in 64 bits"), spelled(FIN | TEXT, &bytes, &payload));
    }
    for length in [1 << 63, u64::MAX, (1 << 63) | 5] {
        let bytes = [&[127][..], &length.to_be_bytes()].concat();
        section.wrong(format!("top bit of {length:#x}"), spelled(FIN | BINARY, &bytes, b""));
    }
    let mut section = Section("7.4.1", cases);
    for length in [LARGEST as u64 + 1, 1 << 32, (1 << 63) - 1] {
        let bytes = [&[127][..], &length.to_be_bytes()].concat();
        for opcode in [TEXT, BINARY] {
            let head = spelled(FIN | opcode, &bytes, b"");
            section.case(format!("{length} bytes announced"), head, Expected::Close(1009));
        }
    }
    let halves = [part(TEXT, &vec![b' '; LARGEST / 2]), masked(0, &vec![b' '; LARGEST / 2 + 1])];
    section.case("too large when joined", halves.concat(), Expected::Close(1009));
    let mut section = Section("5.2", cases);
    // A command that is padded to each length at which the form changes.
    for length in [125, 126, 127, 65_535, 65_536, LARGEST] {
        let command = br#"{"type":"ping"}"#;
        let padded = [&command[..], &vec![b' '; length - command.len()]].concat();
        let what = format!("{length} bytes in the shortest form");
        section.case(what, masked(TEXT, &padded), Expected::Goes(vec![TEXT]));
    }
}

/// Messages in parts.
fn parts(cases: &mut Vec<Case>) {
    let mut section = Section("5.4", cases);
    section.wrong("a last part of nothing", masked(CONTINUATION, b"{}"));
    section.wrong("a part of nothing", part(CONTINUATION, b"{}"));
    let whole = masked(TEXT, br#"{"type":"ping"}"#);
    let after = [whole.clone(), masked(CONTINUATION, b"{}")].concat();
    // The command before it is answered first.
    section.case("a part after a whole message", after, Expected::Close(1002));
    for (first, second) in [(TEXT, TEXT), (TEXT, BINARY), (BINARY, TEXT), (BINARY, BINARY)] {
        let begun = part(first, b"{");
        let what = format!("opcode {second} within opcode {first}");
        section.wrong(what.clone(), [begun.clone(), masked(second, b"}")].concat());
        section.wrong(format!("{what}, as a part"), [begun, part(second, b"}")].concat());
    }
    let command = br#"{"type":"ping"}"#;
    for opcode in [TEXT, BINARY] {
        for size in 1..command.len() {
            let mut pieces = command.chunks(size).peekable();
            let mut bytes = part(opcode, pieces.next().unwrap_or_default());
            while let Some(piece) = pieces.next() {
                let last = pieces.peek().is_none();
                let frame = if last { masked } else { part };
                bytes.extend(frame(CONTINUATION, piece));
            }
            let what = format!("opcode {opcode} in parts of {size}");
            section.case(what, bytes, Expected::Goes(vec![TEXT]));
        }
        let empty = [part(opcode, b""), part(0, b""), part(0, command), masked(0, b"")].concat();
        section.case("empty parts", empty, Expected::Goes(vec![TEXT]));
        let pinged =
            [part(opcode, &command[..4]), masked(PING, b"?"), masked(0, &command[4..])].concat();
        section.case("a ping between parts", pinged, Expected::Goes(vec![PONG, TEXT]));
        let ponged =
            [part(opcode, &command[..4]), masked(PONG, b"!"), masked(0, &command[4..])].concat();
        section.case("a pong between parts", ponged, Expected::Goes(vec![TEXT]));
        let closed = [part(opcode, &command[..4]), close(1000, b"")].concat();
        section.case("a close between parts", closed, Expected::Answered(Some(1000)));
    }
}

/// Control frames.
fn controls(cases: &mut Vec<Case>) {
    let mut section = Section("5.5", cases);
    for opcode in [CLOSE, PING, PONG] {
        let payload = if opcode == CLOSE { vec![3, 232] } else { vec![b'a'] };
        section.wrong(format!("part of a control frame, opcode {opcode}"), part(opcode, &payload));
        for length in [126, 127, 65_535, 65_536] {
            let mut payload = vec![b'a'; length];
            payload[..2].copy_from_slice(&[3, 232]);
            let what = format!("control frame of {length} bytes, opcode {opcode}");
            section.wrong(what, masked(opcode, &payload));
        }
        for form in [126, 127] {
            let head = vec![FIN | opcode, 0x80 | form];
            section.wrong(format!("opcode {opcode}, length form {form}, head alone"), head);
        }
    }
    let mut section = Section("5.5.2", cases);
    for length in [0, 1, 124, 125] {
        let ping = masked(PING, &vec![0xfe; length]);
        section.case(format!("ping of {length} bytes"), ping, Expected::Goes(vec![PONG]));
    }
    let mut section = Section("5.5.3", cases);
    for length in [0, 125] {
        // Nobody asked for it, and nothing comes of it.
        let bytes = [masked(PONG, &vec![1; length]), masked(PING, b"?")].concat();
        section.case(format!("pong of {length} bytes"), bytes, Expected::Goes(vec![PONG]));
    }
}

/// Close frames.
fn closes(cases: &mut Vec<Case>) {
    let mut section = Section("5.5.1", cases);
    section.case("an empty close", masked(CLOSE, b""), Expected::Answered(None));
    section.wrong("a close of one byte", masked(CLOSE, &[3]));
    let reasons = [
        (&b"\xff"[..], "a byte"),
        (b"caf\xe9", "Latin-1"),
        (b"\xed\xa0\x80", "a surrogate"),
        (b"\xf4\x90\x80\x80", "beyond Unicode"),
        (b"\xc0\x80", "overlong"),
        (b"ab\xe2\x82", "cut short"),
    ];
    for (reason, what) in reasons {
        section.wrong(format!("a close reason that is not UTF-8: {what}"), close(1000, reason));
    }
    let longest = "é".repeat(61) + "!";
    let bytes = close(1000, longest.as_bytes());
    section.case("a close reason of 123 bytes", bytes, Expected::Answered(Some(1000)));
    let after = [close(1000, b""), masked(TEXT, br#"{"type":"ping"}"#)].concat();
    section.case("data after a close", after, Expected::Answered(Some(1000)));
    let twice = [close(1000, b""), close(1001, b"")].concat();
    section.case("a second close", twice, Expected::Answered(Some(1000)));
    let mut section = Section("7.4", cases);
    let allowed = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4500, 4999,
    ];
    for code in allowed {
        section.case(
            format!("close code {code}"),
            close(code, b"bye"),
            Expected::Answered(Some(code)),
        );
    }
    let forbidden = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    for code in forbidden {
        section.wrong(format!("close code {code}"), close(code, b""));
    }
}

/// Texts that are not UTF-8: taken, and told in no other way than by U+FFFD.
fn texts(cases: &mut Vec<Case>) {
    let mut section = Section("8.1", cases);
    let texts = [
        (&b"\xff"[..], "a byte"),
        (b"caf\xe9", "Latin-1"),
        (b"\xed\xa0\x80", "a surrogate"),
        (b"\xf4\x90\x80\x80", "beyond Unicode"),
        (b"\xc0\x80", "overlong"),
        (b"\xe2\x82", "cut short"),
    ];
    for (text, what) in texts {
        let command = [br#"{"type":"ping","nonce":""#, text, br#""}"#].concat();
        section.case(what, masked(TEXT, &command), Expected::Goes(vec![TEXT]));
        for cut in 24..24 + text.len() {
            let bytes = [part(TEXT, &command[..cut]), masked(0, &command[cut..])].concat();
            section.case(format!("{what}, in two parts"), bytes, Expected::Goes(vec![TEXT]));
        }
    }
    // A character whose bytes come in two frames is none that is wrong.
    let command = "{\"type\":\"ping\",\"nonce\":\"€\"}".as_bytes();
    for cut in 24..27 {
        let bytes = [part(TEXT, &command[..cut]), masked(0, &command[cut..])].concat();
        section.case("a character in two parts", bytes, Expected::Goes(vec![TEXT]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_another_and_each_chapter_has_some() {
        let cases = cases();
        assert!(cases.len() > 200, "{}", cases.len());
        for section in
            ["5.1", "5.2", "5.4", "5.5", "5.5.1", "5.5.2", "5.5.3", "7.4", "7.4.1", "8.1"]
        {
            assert!(cases.iter().any(|case| case.section == section), "{section}");
        }
        for (number, case) in cases.iter().enumerate() {
            let again = cases[..number].iter().find(|other| other.bytes == case.bytes);
            assert!(again.is_none(), "{} is {:?}", case.what, again.map(|case| &case.what));
        }
    }
}
