//! A server that sends every message back, made of the hub's own reading and writing of frames, so
//! that Autobahn's test suite, which wants an echo, can be run against them.
//!
//! `cargo run --package skynet-faults --example echo -- 127.0.0.1:9001`

use std::{
    env,
    error::Error,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use sha1_smol::Sha1;
use skynet::protocol::{
    Frame,
    websocket::{Decoder, HEADROOM, Incoming},
};

/// Enough for Autobahn's largest messages.
const LARGEST: usize = 64 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("where is it to listen? ADDRESS:PORT")?;
    for stream in TcpListener::bind(address)?.incoming() {
        let stream = stream?;
        // A connection that breaks is its own affair.
        thread::spawn(move || echo(stream).is_ok());
    }
    Ok(())
}

fn echo(mut stream: TcpStream) -> Result<(), Box<dyn Error>> {
    stream.set_nodelay(true)?;
    let (mut kept, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
    let end = loop {
        if let Some(end) = kept.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        let got = stream.read(&mut chunk)?;
        kept.extend_from_slice(if got > 0 { &chunk[..got] } else { return Ok(()) });
    };
    let head = String::from_utf8_lossy(&kept[..end]).into_owned();
    let key = head.lines().filter_map(|line| line.split_once(':'));
    let mut key = key.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
    let key = key.next().ok_or("no key")?.1.trim().to_owned();
    let digest = Sha1::from(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest().bytes();
    let accept = BASE64_STANDARD.encode(digest);
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    kept.drain(..end);
    let mut decoder = Decoder::new(LARGEST);
    loop {
        let mut at = 0;
        loop {
            let answer = match decoder.next(&mut kept, &mut at) {
                Ok(None) => break,
                Ok(Some(Incoming::Message { bytes, binary })) => {
                    let buffer = [&[0; HEADROOM][..], &bytes].concat();
                    if binary { Frame::binary(buffer) } else { Frame::text(buffer) }
                }
                Ok(Some(Incoming::Ping(payload))) => Frame::pong(payload),
                Ok(Some(Incoming::Pong(_))) => continue,
                Ok(Some(Incoming::Close(code))) => {
                    stream.write_all(Frame::close(code, "").wire())?;
                    return Ok(());
                }
                Err(violation) => {
                    let code = violation.reason().code();
                    stream.write_all(Frame::close(code, &violation.to_string()).wire())?;
                    return Ok(());
                }
            };
            stream.write_all(answer.wire())?;
        }
        kept.drain(..at);
        let got = stream.read(&mut chunk)?;
        kept.extend_from_slice(if got > 0 { &chunk[..got] } else { return Ok(()) });
    }
}
