//! Fuzzing of what a connection begins with behind a proxy: the header of the PROXY protocol.

use super::proxy_header;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, ReadBuf};

/// Most bytes of an input that say where the rest is cut.
const MAX_CUTS: usize = 15;

/// Beginnings of a header that are tried, and all of it but the last byte.
const BEGINNINGS: usize = 128;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Reads a header in one piece, cut where the first bytes of `data` say, and byte by byte, and holds
/// it against a reader that has all of it before its eyes: it is the same, nothing behind it is
/// read, and a beginning of it is none.
///
/// # Panics
/// That does not hold.
pub fn proxy_header(data: &[u8]) {
    let Some((&count, rest)) = data.split_first() else { return };
    let (cuts, stream) = rest.split_at(rest.len().min(usize::from(count) % (MAX_CUTS + 1)));
    let whole = read(stream, &[]);
    assert_eq!(read(stream, cuts), whole, "cut at {cuts:?}");
    assert_eq!(read(stream, &[1; 4096]), whole, "byte by byte");
    match see(stream) {
        Seen::Header(address, bytes) => {
            assert_eq!(whole, (Ok(address), stream.len() - bytes));
            for end in (0..bytes).take(BEGINNINGS).chain([bytes - 1]) {
                assert_eq!(read(&stream[..end], cuts), (Err(ErrorKind::UnexpectedEof), 0));
            }
            if let Some(address) = address {
                for written in [line(address), binary(address)] {
                    assert_eq!(read(&written, cuts), (Ok(Some(address)), 0), "{written:?}");
                }
            }
        }
        Seen::Beginning => assert_eq!(whole, (Err(ErrorKind::UnexpectedEof), 0)),
        Seen::Wrong => assert_eq!(whole.0, Err(ErrorKind::InvalidData)),
        Seen::WrongSooner => {
            assert!(matches!(whole.0, Err(ErrorKind::InvalidData | ErrorKind::UnexpectedEof)));
        }
    }
}

/// What is read of a stream, and how many bytes of it are left.
fn read(bytes: &[u8], sizes: &[u8]) -> (Result<Option<SocketAddr>, ErrorKind>, usize) {
    let mut stream = Pieces { left: bytes, sizes, waits: false };
    let found = {
        let mut reading = pin!(proxy_header::read(&mut stream));
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(found) = reading.as_mut().poll(&mut context) {
                break found;
            }
        }
    };
    (found.map_err(|error| error.kind()), stream.left.len())
}

/// A stream that comes in pieces, and makes its reader wait for each.
struct Pieces<'a> {
    left: &'a [u8],
    /// How large they are; when these are used up, all the rest comes.
    sizes: &'a [u8],
    waits: bool,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.waits = !self.waits;
        if self.waits {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let size = match self.sizes.split_first() {
            None => usize::MAX,
            Some((&size, sizes)) => {
                self.sizes = sizes;
                usize::from(size).max(1)
            }
        };
        let (piece, left) = self.left.split_at(self.left.len().min(size).min(buffer.remaining()));
        buffer.put_slice(piece);
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

/// What stands at the beginning of a stream.
enum Seen {
    /// A header of so many bytes.
    Header(Option<SocketAddr>, usize),
    /// What may become one.
    Beginning,
    /// None.
    Wrong,
    /// A line that ends before the shortest one can: it may take more bytes until that is seen.
    WrongSooner,
}

fn see(stream: &[u8]) -> Seen {
    if stream.len() < SIGNATURE.len() {
        return Seen::Beginning;
    }
    if let Some(behind) = stream.strip_prefix(SIGNATURE) {
        let [version, family, high, low, body @ ..] = behind else { return Seen::Beginning };
        let length = usize::from(*high) << 8 | usize::from(*low);
        if length > 2048 {
            return Seen::Wrong;
        }
        if body.len() < length {
            return Seen::Beginning;
        }
        let number = |at: usize| u16::from(body[at]) << 8 | u16::from(body[at + 1]);
        let address = match (version, family, length) {
            (0x20, ..) | (0x21, 0, _) => None,
            (0x21, 0x11, 12..) => {
                Some((IpAddr::from([body[0], body[1], body[2], body[3]]), number(8)))
            }
            (0x21, 0x21, 36..) => {
                let groups: [u16; 8] = std::array::from_fn(|group| number(2 * group));
                Some((IpAddr::from(groups), number(32)))
            }
            _ => return Seen::Wrong,
        };
        return Seen::Header(address.map(SocketAddr::from), SIGNATURE.len() + 4 + length);
    }
    if &stream[..6] != b"PROXY " {
        return Seen::Wrong;
    }
    let longest = &stream[..stream.len().min(107)];
    match longest.windows(2).position(|two| two == b"\r\n") {
        None if stream.len() < 107 => Seen::Beginning,
        None => Seen::Wrong,
        Some(end) if end + 2 < SIGNATURE.len() => Seen::WrongSooner,
        Some(end) => match words(&stream[6..end]) {
            Some(address) => Seen::Header(address, end + 2),
            None => Seen::Wrong,
        },
    }
}

/// What follows `PROXY ` in a line.
fn words(line: &[u8]) -> Option<Option<SocketAddr>> {
    let text = std::str::from_utf8(line).ok()?;
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let read: fn(&str) -> Option<IpAddr> = match text.get(..5)? {
        "TCP4 " => |text| four(text).map(IpAddr::from),
        "TCP6 " => |text| eight(text).map(IpAddr::from),
        _ => return None,
    };
    let [from, to, from_port, to_port] =
        <[&str; 4]>::try_from(text[5..].split(' ').collect::<Vec<_>>()).ok()?;
    read(to)?;
    number(to_port, 65535)?;
    Some(Some(SocketAddr::new(read(from)?, number(from_port, 65535)? as u16)))
}

/// A number as it is spelled in one way only.
fn number(text: &str, most: u32) -> Option<u32> {
    (0..=5).contains(&text.len()).then_some(())?;
    let number = text.bytes().try_fold(0, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
    })?;
    (number <= most && number.to_string() == text).then_some(number)
}

/// An address of version 4.
fn four(text: &str) -> Option<[u8; 4]> {
    let parts: Option<Vec<u8>> =
        text.split('.').map(|part| number(part, 255).map(|number| number as u8)).collect();
    parts?.try_into().ok()
}

/// An address of version 6 (RFC 4291, 2.2).
fn eight(text: &str) -> Option<[u16; 8]> {
    let Some((before, behind)) = text.split_once("::") else {
        return groups(text, true)?.try_into().ok();
    };
    let (before, behind) = (groups(before, false)?, groups(behind, true)?);
    let zeros = 8usize.checked_sub(before.len() + behind.len()).filter(|&zeros| zeros > 0)?;
    [before, vec![0; zeros], behind].concat().try_into().ok()
}

/// Groups between colons, of which the last two may be an address of version 4.
fn groups(text: &str, ends_the_address: bool) -> Option<Vec<u16>> {
    if text.is_empty() {
        return Some(vec![]);
    }
    let parts: Vec<&str> = text.split(':').collect();
    let mut groups = vec![];
    for (at, part) in parts.iter().enumerate() {
        if part.contains('.') && at + 1 == parts.len() && ends_the_address {
            let [a, b, c, d] = four(part)?.map(u16::from);
            groups.extend([a << 8 | b, c << 8 | d]);
        } else {
            let plain =
                (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            groups.push(u16::from_str_radix(part, 16).ok().filter(|_| plain)?);
        }
    }
    Some(groups)
}

/// A header of version 1 that says this address.
fn line(address: SocketAddr) -> Vec<u8> {
    let (family, to) = if address.is_ipv4() { ("TCP4", "10.0.0.1") } else { ("TCP6", "::1") };
    format!("PROXY {family} {} {to} {} 443\r\n", address.ip(), address.port()).into_bytes()
}

/// A header of version 2 that says this address.
fn binary(address: SocketAddr) -> Vec<u8> {
    let (family, ip) = match address.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let to = vec![1; ip.len()];
    let ports = [address.port().to_be_bytes(), 443_u16.to_be_bytes()].concat();
    let body = [ip, to, ports].concat();
    [SIGNATURE, &[0x21, family, 0, body.len() as u8], &body].concat()
}
