//! `skynet healthcheck`: asks a running hub whether it is ready, as a container's health check does.
//!
//! One request of HTTP/1.1, made by hand: a health check runs every few seconds, beside the hub and in its
//! memory limit. [`Target`] says where it goes, `exchange` makes it; whether the hub is ready is decided
//! by [`ops`](crate::ops).

mod exchange;
mod target;

use std::{io, sync::mpsc, thread, time::Duration};

pub use target::Target;

/// How long the answer may take when nothing else is said.
pub const USUAL_TIMEOUT: &str = "3s";

/// The longest time that can be given.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// What a hub says that is ready.
const READY: &str = "ready";

/// Characters of an answer's text that are shown.
const MAX_SHOWN: usize = 100;

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

/// Asks the hub at `target` whether it is ready. Blocks for `timeout` at most, the resolution of a name
/// included.
///
/// # Errors
///
/// It is not, or does not answer; the text says which and what was asked.
pub fn ask(target: &Target, timeout: Duration) -> Result<(), String> {
    let asked = target.to_string();
    let (tell, told) = mpsc::sync_channel(1);
    let request = {
        let target = target.clone();
        // Nobody listens any more when it comes too late.
        move || drop(tell.send(exchange::exchange(&target, timeout)))
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
        Some(200) if first_line(&answer) == READY => Ok(()),
        Some(200) => Err(format!(
            "what answers at {asked} is no hub: it answers 200 ({})",
            first_line(&answer)
        )),
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
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    /// What `ask` says to a listener that gives this answer and closes.
    fn asked_of(answer: &'static [u8]) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
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
        let said = ask(&target, Duration::from_secs(20));
        let seen = String::from_utf8(server.join().unwrap()).unwrap();
        assert!(seen.starts_with("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:"), "{seen}");
        said
    }

    #[test]
    fn only_200_and_its_word_is_ready_and_anything_else_is_told_with_its_text() {
        assert_eq!(asked_of(b"HTTP/1.1 200 OK\r\n\r\nready\n"), Ok(()));
        for (answer, told) in [
            (&b"HTTP/1.1 503 Service Unavailable\r\n\r\nstopping\n"[..], "answers 503 (stopping)"),
            (b"HTTP/1.1 204 No Content\r\n\r\n", "answers 204 (without a text)"),
            (b"HTTP/1.0 500 \r\n\r\n\x1b[31mred", "answers 500 ([31mred)"),
            (b"HTTP/1.1 200 OK\r\n\r\nWelcome!\n", "is no hub: it answers 200 (Welcome!)"),
            (b"HTTP/1.1 200 OK\r\n\r\n", "is no hub: it answers 200 (without a text)"),
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
        let target = format!("http://{address}").parse().unwrap();
        let text = ask(&target, Duration::from_millis(50)).unwrap_err();
        assert!(text.ends_with("does not answer within 50ms"), "{text}");
        drop(silent);
        let text = ask(&target, Duration::from_secs(20)).unwrap_err();
        assert!(text.contains("cannot be asked"), "{text}");
    }

    #[test]
    fn times_that_make_no_sense_are_refused() {
        assert_eq!(read_timeout("1m"), Ok(Duration::from_secs(60)));
        for text in ["0s", "5", "", "2h", "-1s", "100us"] {
            assert!(read_timeout(text).is_err(), "{text}");
        }
    }
}
