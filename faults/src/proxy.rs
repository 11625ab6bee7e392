//! A TCP proxy that does to a connection what bad networks do, by a plan for each connection.
//!
//! It knows nothing of websockets: it takes bytes from one side and hands them to the other in pieces,
//! late, slowly, up to a byte, or not at all. All that it holds ends with it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rustix::net::{Shutdown, shutdown};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::problem::Outcome;

/// Bytes taken at once where the plan has no pieces.
const CHUNK: usize = 16 * 1024;

/// What becomes of a connection at the byte where a plan cuts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing is read or handed on any more, in either direction, and nobody is told: what is sent
    /// fills the buffers of the system.
    Silence,
    /// All is read and thrown away, in either direction, and nobody is told: the peer seems to take
    /// everything.
    Swallow,
    /// Both connections are reset.
    Reset,
    /// This direction ends in order; the other goes on.
    Finish,
    /// Both connections end in order.
    Close,
}

impl Cut {
    /// Every kind.
    pub const ALL: [Cut; 5] = [Cut::Silence, Cut::Swallow, Cut::Reset, Cut::Finish, Cut::Close];
}

/// What one direction of a connection is like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Way {
    /// Most bytes handed on at once; 0 for as many as come.
    pub piece: usize,
    /// The pause before each piece.
    pub delay: Duration,
    /// Bytes a second; 0 for as many as go.
    pub rate: u64,
    /// After how many bytes it is cut, and how.
    pub cut: Option<(u64, Cut)>,
}

/// What a connection is like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plan {
    /// From the client to the server.
    pub up: Way,
    /// From the server to the client.
    pub down: Way,
}

impl Plan {
    /// A plan drawn by chance: pieces, delays and a rate now and then, and a cut of any kind within
    /// the first `bytes` of one direction.
    pub fn drawn(random: &mut fastrand::Rng, bytes: u64) -> Plan {
        let mut way = || Way {
            piece: [0, 0, 0, 0, 1, 2, 7, 100][random.usize(..8)],
            delay: Duration::from_millis([0, 0, 0, 0, 0, 0, 1, 2][random.usize(..8)]),
            rate: 0,
            cut: None,
        };
        let mut plan = Plan { up: way(), down: way() };
        let kind = Cut::ALL[random.usize(..Cut::ALL.len())];
        let cut = Some((random.u64(..bytes), kind));
        if random.bool() {
            plan.up.cut = cut
        } else {
            plan.down.cut = cut
        }
        plan
    }
}

/// What has happened so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections that were taken.
    pub connections: AtomicU64,
    /// Of them, those that a plan has cut.
    pub cuts: AtomicU64,
}

/// A proxy that runs until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of `target`; `plan` is asked for the plan of each connection by its
    /// number, from 0.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start(
        target: SocketAddr,
        mut plan: impl FnMut(u64) -> Plan + Send + 'static,
    ) -> Outcome<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let counted = counts.clone();
        let task = tokio::spawn(async move {
            // Aborted with the task that owns it.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let number = counted.connections.fetch_add(1, Relaxed);
                connections.spawn(carry(client, target, plan(number), counted.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Proxy { address, counts, task })
    }

    /// Where it takes connections.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections and cuts so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.counts.connections.load(Relaxed), self.counts.cuts.load(Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(client: TcpStream, target: SocketAddr, plan: Plan, counts: Arc<Counts>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (stop, _) = watch::channel(None);
    let up = direction(&client, &server, plan.up, &stop, &counts);
    let down = direction(&server, &client, plan.down, &stop, &counts);
    tokio::join!(up, down);
    let stopped = *stop.borrow();
    match stopped {
        // Held until the proxy ends, so that neither side is told anything.
        Some(Cut::Silence) => std::future::pending().await,
        Some(Cut::Swallow) => {
            tokio::join!(swallow(&client), swallow(&server));
            std::future::pending().await
        }
        Some(Cut::Reset) => {
            let _ = (client.set_zero_linger(), server.set_zero_linger());
        }
        Some(Cut::Close | Cut::Finish) | None => {}
    }
}

/// Hands bytes on until one side or the plan ends it, or the other direction is cut.
async fn direction(
    from: &TcpStream,
    to: &TcpStream,
    way: Way,
    stop: &watch::Sender<Option<Cut>>,
    counts: &Counts,
) {
    let mut stopped = stop.subscribe();
    let mut buffer = vec![0; if way.piece > 0 { way.piece } else { CHUNK }];
    let pump = async {
        let mut passed = 0;
        loop {
            let mut most = buffer.len();
            if let Some((at, cut)) = way.cut {
                if passed >= at {
                    return Some(cut);
                }
                most = most.min((at - passed) as usize);
            }
            match read(from, &mut buffer[..most]).await {
                Ok(0) => break,
                Ok(got) => {
                    let rated = (got as u64 * 1_000_000).checked_div(way.rate).unwrap_or(0);
                    let pause = way.delay + Duration::from_micros(rated);
                    if !pause.is_zero() {
                        sleep(pause).await;
                    }
                    if write(to, &buffer[..got]).await.is_err() {
                        // Its other direction meets the end of it, if it has not ended yet.
                        return None;
                    }
                    passed += got as u64;
                }
                // What broke on one side breaks on the other.
                Err(_) => {
                    stop.send_replace(Some(Cut::Reset));
                    return None;
                }
            }
        }
        let _ = shutdown(to, Shutdown::Write);
        None
    };
    let cut = tokio::select! {
        cut = pump => cut,
        _ = stopped.wait_for(Option::is_some) => None,
    };
    match cut {
        None => {}
        Some(Cut::Finish) => {
            counts.cuts.fetch_add(1, Relaxed);
            let _ = shutdown(to, Shutdown::Write);
        }
        Some(cut) => {
            counts.cuts.fetch_add(1, Relaxed);
            stop.send_replace(Some(cut));
        }
    }
}

async fn read(from: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

async fn write(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn swallow(from: &TcpStream) {
    let mut buffer = vec![0; CHUNK];
    while read(from, &mut buffer).await.is_ok_and(|got| got > 0) {}
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    use super::*;
    use crate::problem::soon;

    /// A connection through a proxy with this plan: the client's end and the server's.
    async fn through(plan: Plan) -> (Proxy, TcpStream, TcpStream) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(server.local_addr().unwrap(), move |_| plan).await.unwrap();
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        let (accepted, _) = soon("the proxy connects", server.accept()).await.unwrap().unwrap();
        (proxy, client, accepted)
    }

    fn cut_up(at: u64, cut: Cut) -> Plan {
        Plan { up: Way { cut: Some((at, cut)), ..Way::default() }, ..Plan::default() }
    }

    #[tokio::test]
    async fn without_a_plan_all_bytes_and_both_ends_are_handed_on() {
        let (_proxy, mut client, mut server) = through(Plan::default()).await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut bytes = Vec::new();
        server.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"question");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        bytes.clear();
        client.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"answer");
    }

    #[tokio::test]
    async fn a_piece_is_the_most_that_comes_at_once() {
        let up = Way { piece: 3, delay: Duration::from_millis(2), ..Way::default() };
        let (_proxy, mut client, mut server) = through(Plan { up, ..Plan::default() }).await;
        client.write_all(b"12345678").await.unwrap();
        let mut bytes = [0; 8];
        let first = server.read(&mut bytes).await.unwrap();
        assert!((1..=3).contains(&first), "{first}");
        server.read_exact(&mut bytes[first..]).await.unwrap();
        assert_eq!(&bytes, b"12345678");
    }

    #[tokio::test]
    async fn a_reset_comes_at_its_byte_and_on_both_sides() {
        let (proxy, mut client, mut server) = through(cut_up(5, Cut::Reset)).await;
        client.write_all(b"12345678").await.unwrap();
        let error = client.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        // A reset throws away what has not been read, so the bytes before it may be there or not.
        let mut bytes = Vec::new();
        let error = server.read_to_end(&mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(b"12345".starts_with(&bytes), "{bytes:?}");
        assert_eq!(proxy.counts(), (1, 1));
    }

    #[tokio::test]
    async fn a_half_close_ends_one_direction_at_its_byte_and_leaves_the_other() {
        let (_proxy, mut client, mut server) = through(cut_up(5, Cut::Finish)).await;
        client.write_all(b"12345678").await.unwrap();
        let mut bytes = Vec::new();
        server.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"12345");
        server.write_all(b"still here").await.unwrap();
        let mut answer = [0; 10];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"still here");
    }

    #[tokio::test]
    async fn in_silence_nothing_arrives_and_nobody_is_told() {
        for cut in [Cut::Silence, Cut::Swallow] {
            let (proxy, mut client, mut server) = through(cut_up(5, cut)).await;
            client.write_all(b"12345678").await.unwrap();
            let mut bytes = [0; 5];
            server.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"12345");
            server.write_all(b"heard by nobody").await.unwrap();
            client.shutdown().await.unwrap();
            let quiet = Duration::from_millis(100);
            assert!(timeout(quiet, server.read(&mut [0])).await.is_err(), "{cut:?}");
            assert!(timeout(quiet, client.read(&mut [0])).await.is_err(), "{cut:?}");
            assert_eq!(proxy.counts(), (1, 1));
        }
    }
}
