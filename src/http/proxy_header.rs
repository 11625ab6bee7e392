//! The header of the PROXY protocol, by which a proxy says whose connection it passes on.
//!
//! Both versions are read, version 1 as a line and version 2 in binary, and nothing behind the header:
//! what follows is the client's own. Whether a peer may send one is for others to decide.
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest header of version 1, its end of line counted.
const MAX_LINE: usize = 107;

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Most bytes of addresses and additions in version 2; proxies send a few hundred.
const MAX_BODY: usize = 2048;

/// Reads the header; returns whose connection it is, or `None` when it is the proxy's own, as its
/// checks for life are.
///
/// # Errors
/// `InvalidData` when it is no header; else what the stream says.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut start = [0; SIGNATURE.len()];
    // The shortest line is longer than this: nothing behind the header is read.
    stream.read_exact(&mut start).await?;
    if start == *SIGNATURE {
        return binary(stream).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(wrong());
    }
    let mut line = start.to_vec();
    // A byte at a time, so that nothing behind the line is read.
    while !line.ends_with(b"\r\n") {
        if line.len() == MAX_LINE {
            return Err(wrong());
        }
        line.push(stream.read_u8().await?);
    }
    let text = std::str::from_utf8(&line[..line.len() - 2]).map_err(|_| wrong())?;
    parse_line(text).ok_or_else(wrong)
}

/// Reads the line of version 1; `None` when it is none.
fn parse_line(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ');
    if words.next() != Some("PROXY") {
        return None;
    }
    let family = words.next()?;
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Some(None);
    }
    let ip = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let source = ip(words.next()?)?;
    ip(words.next()?)?;
    let source_port = port(words.next()?)?;
    port(words.next()?)?;
    words.next().is_none().then_some(Some(SocketAddr::new(source, source_port)))
}

fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_| plain && !leading_zero)
}

/// Reads what follows the signature of version 2.
async fn binary(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let [command, family, length @ ..] = {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        head
    };
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_BODY {
        return Err(wrong());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    parse_binary(command, family, &body).ok_or_else(wrong)
}

fn parse_binary(command: u8, family: u8, body: &[u8]) -> Option<Option<SocketAddr>> {
    match command {
        // Version 2, the proxy's own connection.
        0x20 => Some(None),
        // Version 2, somebody's.
        0x21 => match family {
            // TCP over IPv4: both addresses, both ports.
            0x11 => {
                let (ip, rest) = body.split_first_chunk::<4>()?;
                let port = rest.get(4..8)?.first_chunk::<2>()?;
                Some(Some((Ipv4Addr::from(*ip), u16::from_be_bytes(*port)).into()))
            }
            // TCP over IPv6.
            0x21 => {
                let (ip, rest) = body.split_first_chunk::<16>()?;
                let port = rest.get(16..20)?.first_chunk::<2>()?;
                Some(Some((Ipv6Addr::from(*ip), u16::from_be_bytes(*port)).into()))
            }
            // Of a kind without an address.
            0x00 => Some(None),
            _ => None,
        },
        _ => None,
    }
}

fn wrong() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no header of the PROXY protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn header(bytes: &[u8]) -> Result<(Option<String>, Vec<u8>), io::ErrorKind> {
        let mut rest = bytes;
        let read = read(&mut rest).await.map_err(|error| error.kind())?;
        Ok((read.map(|address| address.to_string()), rest.to_vec()))
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE.as_slice(), &[command, family], &length, body].concat()
    }

    #[tokio::test]
    async fn a_line_says_whose_connection_it_is_and_nothing_behind_it_is_read() {
        for (line, address) in [
            ("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n", Some("192.0.2.1:56324")),
            ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", Some("[2001:db8::1]:1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            let read = header(format!("{line}GET /").as_bytes()).await;
            assert_eq!(read, Ok((address.map(str::to_owned), b"GET /".to_vec())), "{line}");
        }
    }

    #[tokio::test]
    async fn the_binary_header_says_it_too_and_its_additions_are_passed_over() {
        let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0xdc, 0x04, 1, 187, 4, 0, 1, 0];
        let mut v6 = vec![0; 36];
        v6[15] = 1;
        v6[33] = 7;
        for (command, family, body, address) in [
            (0x21, 0x11, &v4[..], Some("192.0.2.1:56324")),
            (0x21, 0x21, &v6, Some("[::1]:7")),
            (0x21, 0x00, &[], None),
            (0x20, 0x11, &v4, None),
            (0x20, 0x00, &[], None),
        ] {
            let read = header(&[v2(command, family, body), b"GET /".to_vec()].concat()).await;
            assert_eq!(read, Ok((address.map(str::to_owned), b"GET /".to_vec())));
        }
    }

    #[tokio::test]
    async fn everything_else_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE));
        let lines = [
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443 1\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324 +443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 065 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n",
            "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY TCP4 256.0.2.1 10.0.0.1 1 2\r\n",
            "proxy tcp4 192.0.2.1 10.0.0.1 1 2\r\n",
            long.as_str(),
        ];
        let v4 = [1; 12];
        let binary = [
            v2(0x11, 0x11, &v4),
            v2(0x22, 0x11, &v4),
            v2(0x21, 0x12, &v4),
            v2(0x21, 0x31, &[0; 216]),
            v2(0x21, 0x11, &v4[..7]),
            v2(0x21, 0x21, &v4),
            v2(0x20, 0x00, &vec![0; MAX_BODY + 1]),
        ];
        let all = lines.iter().map(|line| line.as_bytes().to_vec()).chain(binary);
        for bytes in all {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(header(&bytes).await, Err(io::ErrorKind::InvalidData), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_header_that_is_cut_at_any_byte_is_the_end_of_the_stream() {
        let line = b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n".to_vec();
        for whole in [line, v2(0x21, 0x11, &[1; 12])] {
            for end in 0..whole.len() {
                let read = header(&whole[..end]).await;
                assert_eq!(read, Err(io::ErrorKind::UnexpectedEof), "{end}");
            }
        }
    }
}
