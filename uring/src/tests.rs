use super::{AT_ONCE, Ring, Send};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

fn ring() -> Option<Ring> {
    match Ring::new() {
        Ok(ring) => Some(ring),
        // Said aloud: a container may forbid it, and then there is nothing to test.
        Err(error) => {
            eprintln!("NOT TESTED: this system has no io_uring for us: {error}");
            None
        }
    }
}

fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    near.set_nonblocking(true).unwrap();
    (near, listener.accept().unwrap().0)
}

#[test]
fn every_socket_gets_its_own_bytes_and_every_send_one_result() {
    let Some(mut ring) = ring() else { return };
    // More than the ring has room for at once.
    let count = AT_ONCE * 2 + 3;
    let pairs: Vec<_> = (0..count).map(|_| UnixStream::pair().unwrap()).collect();
    let texts: Vec<_> = (0..count).map(|index| format!("to {index}")).collect();
    let sends = pairs.iter().zip(&texts).enumerate().map(|(tag, ((near, _), text))| Send {
        tag,
        socket: near.as_fd(),
        bytes: text.as_bytes(),
    });
    let mut seen: Vec<_> = (0..count).map(|_| 0).collect();
    for sent in ring.send_all(sends) {
        assert_eq!(sent.bytes().unwrap(), texts[sent.tag].len());
        seen[sent.tag] += 1;
    }
    assert!(seen.iter().all(|&times| times == 1), "{seen:?}");
    for ((near, mut far), text) in pairs.into_iter().zip(texts) {
        drop(near);
        let mut got = String::new();
        far.read_to_string(&mut got).unwrap();
        assert_eq!(got, text);
    }
}

#[test]
fn a_full_socket_takes_a_part_or_nothing_and_nobody_waits() {
    let Some(mut ring) = ring() else { return };
    let (near, mut far) = connection();
    let (other, mut its_far) = connection();
    let large: Vec<u8> = (0..64 << 20).map(|index: usize| (index % 251) as u8).collect();
    let first = [Send { tag: 0, socket: near.as_fd(), bytes: &large }];
    let mut taken = ring.send_all(first)[0].bytes().unwrap();
    assert!(0 < taken && taken < large.len(), "{taken}");
    // What the peer's side still takes; then there is no room for a byte.
    loop {
        let more = [Send { tag: 0, socket: near.as_fd(), bytes: &large[taken..] }];
        match ring.send_all(more)[0].bytes() {
            Ok(more) => taken += more,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                break;
            }
        }
    }
    // The full one keeps the other from nothing.
    let both = [
        Send { tag: 0, socket: near.as_fd(), bytes: b"no room" },
        Send { tag: 1, socket: other.as_fd(), bytes: b"room" },
    ];
    let mut results: Vec<_> =
        ring.send_all(both).iter().map(|sent| (sent.tag, sent.bytes().ok())).collect();
    results.sort_unstable();
    assert_eq!(results, [(0, None), (1, Some(4))]);
    let mut room = [0; 4];
    its_far.read_exact(&mut room).unwrap();
    assert_eq!(&room, b"room");
    drop(near);
    let mut got = Vec::new();
    far.read_to_end(&mut got).unwrap();
    assert!(got == large[..taken], "{} of {taken} bytes, or others", got.len());
}

#[test]
fn a_peer_that_is_gone_is_an_error_of_its_own_send_and_raises_no_signal() {
    let Some(mut ring) = ring() else { return };
    let (gone, far) = UnixStream::pair().unwrap();
    let (there, mut its_far) = UnixStream::pair().unwrap();
    drop(far);
    let both = [
        Send { tag: 0, socket: gone.as_fd(), bytes: b"nobody" },
        Send { tag: 1, socket: there.as_fd(), bytes: b"somebody" },
    ];
    for sent in ring.send_all(both) {
        match sent.tag {
            0 => assert_eq!(sent.bytes().unwrap_err().kind(), io::ErrorKind::BrokenPipe),
            _ => assert_eq!(sent.bytes().unwrap(), 8),
        }
    }
    let mut got = [0; 8];
    its_far.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"somebody");
    assert!(ring.is_usable());
}

#[test]
fn a_descriptor_that_is_no_socket_fails_alone_and_those_behind_it_are_sent() {
    let Some(mut ring) = ring() else { return };
    let no_socket = std::fs::File::open("/dev/null").unwrap();
    let (near, mut far) = UnixStream::pair().unwrap();
    let sends = [
        Send { tag: 0, socket: no_socket.as_fd(), bytes: b"nothing" },
        Send { tag: 1, socket: near.as_fd(), bytes: b"first" },
        Send { tag: 2, socket: no_socket.as_fd(), bytes: b"nothing" },
        Send { tag: 3, socket: near.as_fd(), bytes: b" second" },
    ];
    let mut results: Vec<_> =
        ring.send_all(sends).iter().map(|sent| (sent.tag, sent.bytes().ok())).collect();
    results.sort_unstable();
    assert_eq!(results, [(0, None), (1, Some(5)), (2, None), (3, Some(7))]);
    drop(near);
    let mut got = String::new();
    far.read_to_string(&mut got).unwrap();
    assert_eq!(got, "first second");
}

#[test]
fn a_list_whose_making_panics_sends_nothing_and_the_ring_goes_on() {
    let Some(mut ring) = ring() else { return };
    let (near, mut far) = UnixStream::pair().unwrap();
    let bytes = b"never".to_vec();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let sends = [0, 1].into_iter().map(|tag| {
            assert_eq!(tag, 0, "as the test wants it");
            Send { tag, socket: near.as_fd(), bytes: &bytes }
        });
        ring.send_all(sends).len()
    }));
    assert!(panicked.is_err());
    drop(bytes);
    assert_eq!(ring.send_all([Send { tag: 2, socket: near.as_fd(), bytes: b"then" }]).len(), 1);
    assert!(ring.send_all([]).is_empty());
    (&near).write_all(b".").unwrap();
    drop(near);
    let mut got = String::new();
    far.read_to_string(&mut got).unwrap();
    assert_eq!(got, "then.");
}
