//! Frames of RFC 6455, as bytes: what clients send, decoded and held to the RFC; what the hub
//! sends, encoded once.
//!
//! Reads no socket and keeps no bytes of a frame that is not whole: the caller keeps those. Text
//! is handed on as bytes, since the hub takes text that is not UTF-8 (with U+FFFD for what is
//! wrong). Extensions are never negotiated, so reserved bits are never valid.

use super::closing::CloseReason;
use bytes::Bytes;
use std::borrow::Cow;

#[cfg(test)]
mod tests;

/// Most bytes of a reason in a close frame (RFC 6455, 5.5: 125, less two for the code).
pub const MAX_CLOSE_REASON_BYTES: usize = 123;

/// Bytes to leave free before a payload for [`Frame::text`] and [`Frame::binary`] to write the header into: the longest
/// header of a server's frame, which carries no mask.
pub const HEADROOM: usize = 10;

const MAX_CONTROL_BYTES: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// A whole frame from the hub to a client, header included. Cloning shares the bytes.
#[derive(Debug, Clone)]
pub struct Frame {
    wire: Bytes,
    header: u8,
}

impl Frame {
    /// A text frame of what follows the first [`HEADROOM`] bytes of `buffer`.
    ///
    /// # Panics
    /// If `buffer` is shorter than [`HEADROOM`].
    pub fn text(buffer: Vec<u8>) -> Self {
        Self::data(TEXT, buffer)
    }

    /// A binary frame of what follows the first [`HEADROOM`] bytes of `buffer`.
    ///
    /// # Panics
    /// If `buffer` is shorter than [`HEADROOM`].
    pub fn binary(buffer: Vec<u8>) -> Self {
        Self::data(BINARY, buffer)
    }

    fn data(opcode: u8, mut buffer: Vec<u8>) -> Self {
        let length = buffer.len() - HEADROOM;
        let header = header_bytes(length);
        let start = HEADROOM - header;
        write_header(&mut buffer[start..HEADROOM], opcode, length);
        Self { wire: Bytes::from(buffer).slice(start..), header: header as u8 }
    }

    /// A ping; at most 125 bytes of payload.
    pub fn ping(payload: &[u8]) -> Self {
        Self::control(PING, payload)
    }

    /// The answer to a ping.
    pub fn pong(payload: &[u8]) -> Self {
        Self::control(PONG, payload)
    }

    /// A close frame; the reason is cut to what fits. Without a code there is no payload.
    pub fn close(code: Option<u16>, reason: &str) -> Self {
        let Some(code) = code else { return Self::control(CLOSE, &[]) };
        let end = reason.floor_char_boundary(MAX_CLOSE_REASON_BYTES);
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(&reason.as_bytes()[..end]);
        Self::control(CLOSE, &payload)
    }

    fn control(opcode: u8, payload: &[u8]) -> Self {
        let payload = &payload[..payload.len().min(MAX_CONTROL_BYTES)];
        let mut wire = vec![0; 2];
        write_header(&mut wire, opcode, payload.len());
        wire.extend_from_slice(payload);
        Self { wire: wire.into(), header: 2 }
    }

    /// The bytes that go to the socket.
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }

    /// The bytes within the frame.
    pub fn payload(&self) -> &[u8] {
        &self.wire[self.header as usize..]
    }
}

fn header_bytes(length: usize) -> usize {
    match length {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Writes the header of an unfragmented frame without a mask; `header` has its exact length.
fn write_header(header: &mut [u8], opcode: u8, length: usize) {
    header[0] = FIN | opcode;
    match header.len() {
        2 => header[1] = length as u8,
        4 => {
            header[1] = 126;
            header[2..].copy_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// The length of the server's frame that begins `wire`, header included, if its header is there.
/// Used to find where a frame ends in bytes that were queued as whole frames.
pub fn server_frame_bytes(wire: &[u8]) -> Option<usize> {
    Some(match *wire.get(1)? {
        126 => 4 + u16::from_be_bytes(wire.get(2..4)?.try_into().ok()?) as usize,
        127 => 10 + u64::from_be_bytes(wire.get(2..10)?.try_into().ok()?) as usize,
        length => 2 + length as usize,
    })
}

/// Something whole that a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text or binary message, unmasked and joined.
    Message {
        /// What it holds.
        bytes: Cow<'a, [u8]>,
        /// Whether it is a binary one.
        binary: bool,
    },
    /// A ping with its payload.
    Ping(&'a [u8]),
    /// A pong with its payload.
    Pong(&'a [u8]),
    /// A close frame with its code.
    Close(Option<u16>),
}

/// Why a client's bytes cannot be taken: the connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// The framing is wrong; what was wrong.
    Protocol(&'static str),
    /// A frame or joined message exceeds the limit.
    TooLarge {
        /// Its bytes, as far as they were announced.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
}

impl Violation {
    /// The reason to close with.
    pub fn reason(self) -> CloseReason {
        match self {
            Self::Protocol(_) => CloseReason::ProtocolError,
            Self::TooLarge { .. } => CloseReason::FrameTooLarge,
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Protocol(what) => f.write_str(what),
            Self::TooLarge { bytes, limit } => {
                write!(f, "frame too large: {bytes} bytes; at most {limit} are allowed")
            }
        }
    }
}

/// Decodes what one client sends. Keeps the fragments of a message that is not whole, or, once it
/// skims, nothing.
#[derive(Debug)]
pub struct Decoder {
    max_bytes: usize,
    /// The fragments so far, while a fragmented message is under way.
    fragments: Option<Vec<u8>>,
    /// Whether they are those of a binary message.
    binary: bool,
    /// Where messages are passed over: bytes of the one under way that have yet to come.
    skip: Option<usize>,
}

struct Header {
    fin: bool,
    opcode: u8,
    /// Bytes of the header, mask included.
    bytes: usize,
    payload: usize,
    mask: [u8; 4],
}

fn is_control(opcode: u8) -> bool {
    opcode & 0x8 != 0
}

impl Decoder {
    /// A decoder that takes frames and joined messages of at most `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, fragments: None, binary: false, skip: None }
    }

    /// From here on passes over messages, however large, and throws away what is kept of one: only
    /// control frames are told. More than one of those the caller never has to keep.
    pub fn skim(&mut self) {
        self.max_bytes = usize::MAX;
        self.fragments = self.fragments.take().map(|_| Vec::new());
        self.skip.get_or_insert(0);
    }

    /// Bytes kept of a fragmented message that is not whole.
    pub fn kept_bytes(&self) -> usize {
        self.fragments.as_ref().map_or(0, Vec::capacity)
    }

    /// Whether the client is in the middle of a fragmented message.
    pub fn is_mid_message(&self) -> bool {
        self.fragments.is_some()
    }

    /// Decodes what begins `buffer` at `*at` and moves `*at` behind it. The payload is unmasked in
    /// place. `None` when more bytes are needed; they are to be appended to what is there from
    /// `*at` on, nothing of which has been changed.
    ///
    /// # Errors
    /// The bytes break RFC 6455 or exceed the limit; nothing after them can be decoded.
    pub fn next<'a>(
        &'a mut self,
        buffer: &'a mut [u8],
        at: &mut usize,
    ) -> Result<Option<Incoming<'a>>, Violation> {
        loop {
            if let Some(skip) = &mut self.skip {
                let skipped = (*skip).min(buffer.len() - *at);
                *at += skipped;
                *skip -= skipped;
            }
            let Some(header) = self.header(&buffer[*at..])? else { return Ok(None) };
            let start = *at + header.bytes;
            if self.skip.is_some() && !is_control(header.opcode) {
                *at = start;
                self.skip = Some(header.payload);
                self.fragments = (!header.fin).then(Vec::new);
                continue;
            }
            let end = start + header.payload;
            if end > buffer.len() {
                return Ok(None);
            }
            unmask(&mut buffer[start..end], header.mask);
            *at = end;
            let range = start..end;
            match (header.opcode, header.fin) {
                (CLOSE, _) => {
                    return close_code(&buffer[range]).map(|code| Some(Incoming::Close(code)));
                }
                (PING, _) => return Ok(Some(Incoming::Ping(&buffer[range]))),
                (PONG, _) => return Ok(Some(Incoming::Pong(&buffer[range]))),
                (TEXT | BINARY, true) => {
                    let bytes = Cow::Borrowed(&buffer[range]);
                    return Ok(Some(Incoming::Message { bytes, binary: header.opcode == BINARY }));
                }
                (opcode, false) => {
                    if opcode != CONTINUATION {
                        self.binary = opcode == BINARY;
                    }
                    self.fragments.get_or_insert_default().extend_from_slice(&buffer[range]);
                }
                (_, true) => {
                    let mut whole = self.fragments.take().unwrap_or_default();
                    whole.extend_from_slice(&buffer[range]);
                    return Ok(Some(Incoming::Message {
                        bytes: whole.into(),
                        binary: self.binary,
                    }));
                }
            }
        }
    }

    /// The header at the beginning of `bytes`, or `None` while it is not whole.
    fn header(&self, bytes: &[u8]) -> Result<Option<Header>, Violation> {
        let [first, second, ..] = *bytes else { return Ok(None) };
        let (fin, opcode) = (first & FIN != 0, first & !(FIN | RESERVED));
        // Whatever is wrong is said as soon as it can be seen, before a payload is waited for.
        self.check_opcode(first, fin, opcode)?;
        if second & MASKED == 0 {
            return Err(Violation::Protocol("a frame from a client must be masked"));
        }
        let (length_bytes, shortest) = match second & LENGTH {
            126 => (2, 126),
            127 => (8, 0x1_0000),
            _ => (0, 0),
        };
        if is_control(opcode) && length_bytes > 0 {
            return Err(Violation::Protocol("a control frame may have 125 bytes at most"));
        }
        let Some(extended) = bytes.get(2..2 + length_bytes) else { return Ok(None) };
        let payload = if length_bytes == 0 {
            u64::from(second & LENGTH)
        } else {
            extended.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
        };
        if payload >> 63 != 0 {
            return Err(Violation::Protocol("the top bit of a 64-bit length must be 0"));
        }
        if payload < shortest {
            return Err(Violation::Protocol("a length must be written in its shortest form"));
        }
        let joined = payload + self.fragments.as_ref().map_or(0, Vec::len) as u64;
        if !is_control(opcode) && joined > self.max_bytes as u64 {
            return Err(Violation::TooLarge { bytes: joined, limit: self.max_bytes });
        }
        let mask_at = 2 + length_bytes;
        let Some(mask) = bytes.get(mask_at..mask_at + 4) else { return Ok(None) };
        let mut header =
            Header { fin, opcode, bytes: mask_at + 4, payload: payload as usize, mask: [0; 4] };
        header.mask.copy_from_slice(mask);
        Ok(Some(header))
    }

    fn check_opcode(&self, first: u8, fin: bool, opcode: u8) -> Result<(), Violation> {
        let wrong = |what| Err(Violation::Protocol(what));
        if first & RESERVED != 0 {
            return wrong("reserved bits must be 0: no extension was negotiated");
        }
        match opcode {
            CONTINUATION if self.fragments.is_none() => {
                wrong("a continuation frame without a message to continue")
            }
            TEXT | BINARY if self.fragments.is_some() => {
                wrong("a new message before the last fragment of the one under way")
            }
            CONTINUATION | TEXT | BINARY => Ok(()),
            CLOSE | PING | PONG if fin => Ok(()),
            CLOSE | PING | PONG => wrong("a control frame must not be fragmented"),
            _ => wrong("a reserved opcode"),
        }
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = payload.chunks_exact_mut(8);
    for word in &mut words {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        word.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip([a, b, c, d].into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// The code of a close frame's payload, which is checked as RFC 6455, 5.5.1 and 7.4 have it.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let [high, low, reason @ ..] = payload else {
        return match payload {
            [] => Ok(None),
            _ => Err(Violation::Protocol("a close frame's payload of one byte")),
        };
    };
    let code = u16::from_be_bytes([*high, *low]);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol("a close code that must not be sent"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Violation::Protocol("a close reason that is not UTF-8"));
    }
    Ok(Some(code))
}
