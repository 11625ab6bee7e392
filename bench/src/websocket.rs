//! As much of RFC 6455 as a client of good manners needs when it chooses what is sent: no
//! extensions, no fragments.

/// Text, as the JSON of Skynet.
pub const TEXT: u8 = 1;
/// Bytes, as the protocols that only ride on websockets.
pub const BINARY: u8 = 2;
/// The other side ends the conversation.
pub const CLOSE: u8 = 8;
/// To be answered with [`PONG`] and the same payload.
pub const PING: u8 = 9;
/// The answer to [`PING`].
pub const PONG: u8 = 10;

/// The only key that is ever sent: what it must be answered with is known.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The answer to [`KEY`].
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The request that opens a websocket.
pub fn handshake(host: &str, path: &str, subprotocol: Option<&str>) -> Vec<u8> {
    let subprotocol =
        subprotocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{subprotocol}\r\n"
    )
    .into_bytes()
}

/// The length of the answer to [`handshake`], once all of it is there; an error says why it does not
/// open a websocket.
pub fn accepted(answer: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&answer[..end]);
    if head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT) {
        return Ok(Some(end + 4));
    }
    Err(format!("no websocket: {}", head.lines().next().unwrap_or_default()))
}

/// Appends one masked frame.
pub fn encode(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: [u8; 4]) {
    head(out, opcode, payload.len(), 0x80);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask);
}

/// Appends the head of an unmasked frame, as servers send them.
pub fn server_head(out: &mut Vec<u8>, opcode: u8, length: usize) {
    head(out, opcode, length, 0);
}

fn head(out: &mut Vec<u8>, opcode: u8, length: usize, masked: u8) {
    out.push(0x80 | opcode);
    match length {
        0..=125 => out.push(masked | length as u8),
        126..=65535 => {
            out.push(masked | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Masks or unmasks, which is the same.
pub fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Where a frame's payload starts and ends.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub opcode: u8,
    /// What a client masked it with.
    pub mask: Option<[u8; 4]>,
    /// The first byte of the payload.
    pub start: usize,
    /// The first byte after it.
    pub end: usize,
}

/// The frame that `bytes` begin with, once all of it is there.
#[inline]
pub fn decode(bytes: &[u8]) -> Option<Frame> {
    let [first, second, ..] = *bytes else {
        return None;
    };
    let (mut start, length) = match second & 0x7f {
        126 => (4, u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize),
        length => (2, length as usize),
    };
    let mut mask = None;
    if second & 0x80 != 0 {
        mask = Some(*bytes.get(start..)?.first_chunk()?);
        start += 4;
    }
    let end = start.checked_add(length)?;
    (bytes.len() >= end).then_some(Frame { opcode: first & 0x0f, mask, start, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [usize; 6] = [0, 1, 125, 126, 65535, 65536];

    #[test]
    fn a_frame_is_read_back_once_all_of_it_is_there() {
        for length in LENGTHS {
            let mut frame = Vec::new();
            server_head(&mut frame, TEXT, length);
            let start = frame.len();
            frame.resize(start + length, b'x');
            let end = frame.len();
            let whole = Frame { opcode: TEXT, mask: None, start, end };
            assert_eq!(decode(&frame), Some(whole));
            assert_eq!(decode(&frame[..end - 1]), None);
        }
    }

    #[test]
    fn a_masked_frame_holds_its_mask_and_the_payload_under_it() {
        for length in LENGTHS {
            let payload: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let mut bytes = Vec::new();
            encode(&mut bytes, BINARY, &payload, [1, 2, 3, 4]);
            let frame = decode(&bytes).expect("a whole frame");
            assert_eq!((frame.opcode, frame.mask), (BINARY, Some([1, 2, 3, 4])));
            unmask(&mut bytes[frame.start..frame.end], [1, 2, 3, 4]);
            assert_eq!(&bytes[frame.start..], payload);
        }
    }

    #[test]
    fn a_length_beyond_memory_is_a_frame_that_never_ends() {
        let mut bytes = vec![0x82, 127];
        bytes.extend_from_slice(&u64::MAX.to_be_bytes());
        assert_eq!(decode(&bytes), None);
    }

    #[test]
    fn only_the_right_answer_opens_a_websocket() {
        let right =
            format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
        assert_eq!(accepted(right.as_bytes()), Ok(Some(right.len())));
        assert_eq!(accepted(&right.as_bytes()[..right.len() - 1]), Ok(None));
        let full = accepted(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert_eq!(full, Err("no websocket: HTTP/1.1 503 Service Unavailable".into()));
    }
}
