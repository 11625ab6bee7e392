//! `skynet healthcheck`: asks a running hub whether it is ready, as a container's health check does.
//!
//! One request over plain HTTP/1.1, made by hand: a health check runs every few seconds, beside the hub
//! and in its memory limit. It knows which address the configuration stands for, and reads no setting
//! else; whether the hub is ready is decided by [`ops`](crate::ops).

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::config::{AdminConfig, Authority, Host, PublicUrl};

/// How long the answer may take when nothing else is said.
pub const USUAL_TIMEOUT: &str = "3s";

/// The longest time that can be given.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// Bytes of an answer that are read; what comes after them is of no interest.
const MAX_ANSWER: u64 = 4096;

/// Characters of an answer's text that are shown.
const MAX_SHOWN: usize = 100;

/// Where the hub with this configuration answers. A listener on every address of the machine is asked by
/// its loopback address.
///
/// # Errors
///
/// The port is left to the system, so that nobody but the running hub knows it.
pub fn url(admin: &AdminConfig) -> Result<PublicUrl, String> {
    let (ip, port) = (admin.listen.ip(), admin.listen.port());
    if port == 0 {
        return Err(format!(
            "admin.listen is {}, so the system chose the port; say it with --url http://{}:PORT",
            admin.listen,
            Host::Ip(reachable(ip))
        ));
    }
    let authority = Authority { host: Host::Ip(reachable(ip)), port: Some(port) };
    Ok(PublicUrl { secure: false, authority })
}

/// The address by which this machine reaches what listens on `ip`.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Reads the URL of `--url`: scheme, host and perhaps a port.
///
/// # Errors
///
/// It is none, or its scheme is `https`.
pub fn read_url(text: &str) -> Result<PublicUrl, String> {
    let url: PublicUrl = text.parse()?;
    if url.secure {
        return Err("the hub's own listener is asked, which speaks http://".into());
    }
    Ok(url)
}

/// Reads the time of `--timeout`.
///
/// # Errors
///
/// It is no duration, none at all, or longer than [`MAX_TIMEOUT`].
pub fn read_timeout(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .ok()
        .filter(|timeout| (Duration::from_millis(1)..=MAX_TIMEOUT).contains(timeout))
        .ok_or_else(|| "write a duration from 1ms to 1h, such as 3s".into())
}

/// Asks the hub at `url` whether it is ready. Blocks for `timeout` at most, the resolution of a name
/// included.
///
/// # Errors
///
/// It is not, or does not answer; the text says which and what was asked.
pub fn ask(url: &PublicUrl, timeout: Duration) -> Result<(), String> {
    let asked = format!("{url}/readyz");
    let (tell, told) = mpsc::sync_channel(1);
    let request = {
        let url = url.clone();
        // Nobody listens any more when it comes too late.
        move || drop(tell.send(request(&url, timeout)))
    };
    // A thread of its own, because the resolution of a name knows no limit of time.
    thread::Builder::new()
        .spawn(request)
        .map_err(|error| format!("{asked} cannot be asked: {error}"))?;
    let answer = match told.recv_timeout(timeout) {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if !is_late(&error) => {
            return Err(format!("{asked} cannot be asked: {error}"));
        }
        _ => {
            let timeout = humantime::format_duration(timeout);
            return Err(format!("{asked} does not answer within {timeout}"));
        }
    };
    match status(&answer) {
        Some(200) => Ok(()),
        Some(status) => {
            Err(format!("not ready: {asked} answers {status} ({})", first_line(&answer)))
        }
        None => Err(format!("what answers at {asked} does not speak HTTP")),
    }
}

/// Whether a socket's own limit of time has run out; systems have two names for that.
fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// The answer of the first address that can be connected to.
fn request(url: &PublicUrl, timeout: Duration) -> io::Result<Vec<u8>> {
    let mut stream = connect(url, timeout)?;
    // So that the thread ends even where the process does not.
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let authority = &url.authority;
    let version = env!("CARGO_PKG_VERSION");
    stream.write_all(
        format!(
            "GET /readyz HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: skynet-healthcheck/{version}\r\n\
             Accept: text/plain\r\nConnection: close\r\n\r\n"
        )
        .as_bytes(),
    )?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

fn connect(url: &PublicUrl, timeout: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = match &url.authority.host {
        Host::Ip(ip) => vec![(*ip, url.port()).into()],
        Host::Name(name) => (name.as_str(), url.port()).to_socket_addrs()?.collect(),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "that name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The status of an answer: `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.")?;
    let digits = rest.strip_prefix(b"1 ").or_else(|| rest.strip_prefix(b"0 "))?.get(..3)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// The first line of an answer's text, without what a terminal could take for an order.
fn first_line(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let line = body.lines().next().unwrap_or("").trim();
    if line.is_empty() {
        return "without a text".into();
    }
    line.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::net::TcpListener;

    fn url_of(listen: &str) -> Result<String, String> {
        let mut config = Config::default();
        config.admin.listen = listen.parse().unwrap();
        url(&config.admin).map(|url| url.to_string())
    }

    /// What `ask` says to a listener that gives this answer and closes.
    fn asked_of(answer: &'static [u8]) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = read_url(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                seen.push(byte[0]);
            }
            stream.write_all(answer).unwrap();
            seen
        });
        let said = ask(&url, Duration::from_secs(20));
        let seen = String::from_utf8(server.join().unwrap()).unwrap();
        assert!(seen.starts_with("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:"), "{seen}");
        said
    }

    #[test]
    fn a_listener_on_every_address_is_asked_by_the_loopback() {
        assert_eq!(url_of("127.0.0.1:4568").unwrap(), "http://127.0.0.1:4568");
        assert_eq!(url_of("0.0.0.0:4568").unwrap(), "http://127.0.0.1:4568");
        assert_eq!(url_of("[::]:80").unwrap(), "http://[::1]:80");
        assert_eq!(url_of("192.0.2.1:9").unwrap(), "http://192.0.2.1:9");
    }

    #[test]
    fn a_port_that_the_system_chose_is_not_guessed() {
        let text = url_of("0.0.0.0:0").unwrap_err();
        assert!(text.contains("--url http://127.0.0.1:PORT"), "{text}");
    }

    #[test]
    fn only_200_is_ready_and_anything_else_is_told_with_its_text() {
        assert_eq!(asked_of(b"HTTP/1.1 200 OK\r\n\r\nready\n"), Ok(()));
        for (answer, told) in [
            (&b"HTTP/1.1 503 Service Unavailable\r\n\r\nstopping\n"[..], "answers 503 (stopping)"),
            (b"HTTP/1.1 204 No Content\r\n\r\n", "answers 204 (without a text)"),
            (b"HTTP/1.0 500 \r\n\r\n\x1b[31mred", "answers 500 ([31mred)"),
            (b"SSH-2.0-Server\r\n", "does not speak HTTP"),
            (b"HTTP/1.1 2x0 OK\r\n\r\n", "does not speak HTTP"),
            (b"HTTP/1.1 20", "does not speak HTTP"),
            (b"", "does not speak HTTP"),
        ] {
            let text = asked_of(answer).unwrap_err();
            assert!(text.contains(told), "{told:?} is missing in {text:?}");
        }
    }

    #[test]
    fn an_answer_without_an_end_is_read_no_further_than_needed() {
        const LONG: &[u8] = &[b'x'; 8192];
        let text = asked_of(LONG).unwrap_err();
        assert!(text.contains("does not speak HTTP"), "{text}");
    }

    #[test]
    fn a_hub_that_does_not_answer_is_given_up_in_time_and_one_that_is_not_there_at_once() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let url = read_url(&format!("http://{address}")).unwrap();
        let text = ask(&url, Duration::from_millis(50)).unwrap_err();
        assert!(text.ends_with("does not answer within 50ms"), "{text}");
        drop(silent);
        let text = ask(&url, Duration::from_secs(20)).unwrap_err();
        assert!(text.contains("cannot be asked"), "{text}");
    }

    #[test]
    fn urls_and_times_that_make_no_sense_are_refused() {
        for text in ["127.0.0.1:4568", "https://127.0.0.1:4568", "http://a/readyz", ""] {
            assert!(read_url(text).is_err(), "{text}");
        }
        assert_eq!(read_timeout("1m"), Ok(Duration::from_secs(60)));
        for text in ["0s", "5", "", "2h", "-1s", "100us"] {
            assert!(read_timeout(text).is_err(), "{text}");
        }
    }
}
