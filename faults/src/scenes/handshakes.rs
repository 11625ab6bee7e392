//! Handshakes of every wrong kind: what is refused is told so, and none becomes a client.

use super::{Figures, Stage};
use crate::{
    client::{Client, handshake},
    problem::{During, Outcome, ensure},
};

/// What a request must be answered with.
#[derive(Clone, Copy)]
enum Due {
    /// This status.
    Status(u16),
    /// Any refusal: a status from 400 up, or the end of the connection.
    Refused,
    /// Any answer, or the end: what is spoilt may still be right.
    Anything,
}

use Due::{Anything, Refused, Status};

/// A request with one of its lines changed, and what must come of it.
const CHANGED: &[(&str, &str, Due)] = &[
    ("GET", "POST", Status(405)),
    ("GET", "HEAD", Status(405)),
    ("GET", "PUT", Status(405)),
    ("GET", "OPTIONS", Status(405)),
    ("GET", "CONNECT", Refused),
    ("GET", "get", Refused),
    ("GET", "", Refused),
    ("GET", "G\0T", Refused),
    ("HTTP/1.1", "HTTP/1.0", Status(426)),
    ("HTTP/1.1", "HTTP/0.9", Refused),
    ("HTTP/1.1", "HTTP/2.0", Refused),
    ("HTTP/1.1", "HTTP/1.1 extra", Refused),
    ("HTTP/1.1", "", Refused),
    ("/connect", "/", Status(404)),
    ("/connect", "/connect/x", Status(404)),
    ("/connect", "/Connect", Status(404)),
    ("/connect", "//connect", Status(404)),
    ("/connect", "/connect%00", Status(404)),
    ("/connect", "connect", Refused),
    ("/connect", "/connect?name=", Status(400)),
    ("/connect", "/connect?id=%01", Status(400)),
    ("/connect", "/co nnect", Refused),
    ("Host:", "Hose:", Status(400)),
    ("Upgrade: websocket", "Upgrade: h2c", Status(426)),
    ("Upgrade: websocket", "Upgrade: websockets", Status(426)),
    ("Upgrade: websocket", "X: y", Status(426)),
    ("Upgrade: websocket", "Upgrade:", Status(426)),
    ("Connection: Upgrade", "Connection: keep-alive", Status(426)),
    ("Connection: Upgrade", "Connection: close", Status(426)),
    ("Connection: Upgrade", "X: y", Status(426)),
    ("Version: 13", "Version: 12", Status(426)),
    ("Version: 13", "Version: 14", Status(426)),
    ("Version: 13", "Version: 8", Status(426)),
    ("Version: 13", "Version: 013", Status(426)),
    ("Version: 13", "Version: thirteen", Status(426)),
    ("Version: 13", "Version:", Status(426)),
    ("Sec-WebSocket-Version: 13", "X: y", Status(426)),
    ("dGhlIHNhbXBsZSBub25jZQ==", "", Status(400)),
    ("dGhlIHNhbXBsZSBub25jZQ==", "short", Status(400)),
    ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", Status(400)),
    ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZXM=", Status(400)),
    ("dGhlIHNhbXBsZSBub25jZQ==", "!GhlIHNhbXBsZSBub25jZQ==", Status(400)),
    ("Sec-WebSocket-Key:", "X:", Status(400)),
    (
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version",
        Status(400),
    ),
    ("Upgrade: websocket", "Content-Length: 5\r\nUpgrade: websocket", Refused),
    ("Upgrade: websocket", "Transfer-Encoding: chunked\r\nUpgrade: websocket", Refused),
    ("Upgrade: websocket", "Content-Length: x\r\nUpgrade: websocket", Refused),
    ("Upgrade: websocket", "no colon\r\nUpgrade: websocket", Refused),
    ("Upgrade: websocket", "Bad Name: x\r\nUpgrade: websocket", Refused),
    ("Upgrade: websocket", "X: a\0b\r\nUpgrade: websocket", Refused),
    ("Upgrade: websocket", "Skynet-Name: \u{7f}\r\nUpgrade: websocket", Refused),
    ("\r\nHost", "\r\n folded: x\r\nHost", Refused),
];

pub(super) async fn play(stage: &Stage<'_>) -> Outcome<Figures> {
    let hub = stage.server.hub();
    let request = String::from_utf8_lossy(&handshake(hub)).into_owned();
    let mut requests: Vec<(String, Vec<u8>, Due)> = Vec::new();
    for (from, to, due) in CHANGED {
        ensure(request.contains(from), || format!("{from:?} is not in the request"))?;
        let changed = request.replacen(from, to, 1).into_bytes();
        requests.push((format!("{from:?} became {to:?}"), changed, *due));
    }
    let many = (0..200).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    let line =
        |more: &str| request.replacen("Upgrade:", &format!("{more}Upgrade:"), 1).into_bytes();
    requests.push(("200 headers".into(), line(&many), Refused));
    let long = format!("X: {}\r\n", "y".repeat(100_000));
    requests.push(("a header of 100,000 bytes".into(), line(&long), Refused));
    let path = request.replacen("/connect", &format!("/connect?{}", "y".repeat(100_000)), 1);
    requests.push(("a path of 100,000 bytes".into(), path.into_bytes(), Refused));
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    hello.extend([7; 500]);
    requests.push(("a hello of TLS".into(), hello, Refused));
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    requests.push(("the preface of HTTP/2".into(), preface, Refused));
    let proxy = [b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", request.as_bytes()].concat();
    requests.push(("a PROXY line that nobody asked for".into(), proxy, Refused));
    let mut random = fastrand::Rng::with_seed(stage.seed);
    for number in 0..stage.either(100, 5000) {
        let bytes = (0..random.usize(1..2000)).map(|_| random.u8(..)).collect();
        requests.push((format!("noise {number}"), bytes, Refused));
        let mut spoilt = request.clone().into_bytes();
        let at = random.usize(..spoilt.len());
        spoilt[at] = [0, b'\n', b'\r', 0xff][random.usize(..4)];
        requests.push((format!("byte {at} of a request spoilt"), spoilt, Anything));
    }
    let tried = requests.len() as u64;
    for (what, bytes, due) in requests {
        refused(hub, &bytes, due).await.during(what)?;
    }
    Ok(vec![("requests", tried)])
}

async fn refused(hub: std::net::SocketAddr, bytes: &[u8], due: Due) -> Outcome {
    let mut client = Client::tcp(hub).await?;
    // It may be refused before all of it is there.
    let _ = client.write(bytes).await;
    if !matches!(due, Status(_)) {
        // What is no whole request ends here; who asks for an answer stays until it is there.
        let _ = client.finish().await;
    }
    let status = client.status().await?;
    let holds = match due {
        Status(due) => status == Some(due),
        Refused => status.is_none_or(|status| status >= 400),
        Anything => true,
    };
    ensure(holds, || format!("the answer is {status:?}"))
}
