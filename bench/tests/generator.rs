//! The generator against hubs that do what they should, and against one that does not: a fault that
//! it does not see would make every figure worthless.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::Value;
use skynet_bench::options::Options;
use skynet_bench::{scenario, websocket};

const DEADLINE: Duration = Duration::from_secs(10);

fn run(address: SocketAddr, server: u32, arguments: &str) -> Value {
    let fixed = format!("skynet-load {arguments} --address {address} --server {server}");
    let options = Options::try_parse_from(fixed.split_whitespace()).expect("options");
    scenario::run(&options).expect("a report")
}

/// The floor as a process of its own, killed when dropped.
struct Floor {
    process: Child,
    address: SocketAddr,
}

impl Floor {
    fn start(mode: &str) -> Floor {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let address = free.expect("a free port");
        let process = Command::new(env!("CARGO_BIN_EXE_skynet-floor"))
            .args([&address.port().to_string(), mode])
            .spawn()
            .expect("the floor starts");
        let floor = Floor { process, address };
        let deadline = Instant::now() + DEADLINE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the floor does not listen");
            thread::yield_now();
        }
        floor
    }

    fn run(&self, arguments: &str) -> Value {
        run(self.address, self.process.id(), arguments)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const SHORT: &str = "--warmup 0.05 --duration 0.2 --rest 0.05 --sample 1";

#[test]
fn every_scene_is_played_without_a_fault_at_the_floor() {
    for (mode, echo) in [("each", ""), ("coalesce", "--echo")] {
        let floor = Floor::start(mode);
        for scene in [
            "fanout --listeners 10",
            "fanout --listeners 10 --publishers 3 --rate 500 --burst 20",
            "fanout --listeners 10 --crowd 50 --fill 100 --size 20000",
            "many --channels 5 --listeners 3 --rate 500",
            "everyone --publishers 5",
            "wildcard --channels 5 --listeners 4",
            "idle --connections 20 --traffic 3",
            "connect --connections 20 --concurrency 4 --open",
        ] {
            let report = floor.run(&format!("{scene} {SHORT} {echo}"));
            assert_eq!(report["clean"], true, "{mode}, {scene}: {report}");
            if !scene.starts_with("connect") {
                assert!(report["deliveries"].as_u64() > Some(0), "{mode}, {scene}: {report}");
            }
        }
    }
}

#[test]
fn every_delivery_is_due_exactly_once_for_each_listener() {
    let floor = Floor::start("each");
    let expected = |scene: &str| {
        let report = floor.run(&format!("{scene} --rate 200 {SHORT}"));
        let published = report["published"].as_u64().expect("a number");
        assert_eq!(report["answers"], published, "{report}");
        (report["deliveries"].as_u64().expect("a number"), published)
    };
    let (deliveries, published) = expected("many --channels 4 --listeners 3");
    assert_eq!(deliveries, published * 3);
    let (deliveries, published) = expected("wildcard --channels 4 --listeners 3");
    assert_eq!(deliveries, published * 3);
    let (deliveries, published) = expected("everyone --publishers 4");
    assert_eq!(deliveries, published * 3, "nobody hears itself");
}

#[test]
fn listeners_that_never_read_do_not_hold_back_the_others() {
    let floor = Floor::start("coalesce");
    let report =
        floor.run(&format!("fanout --listeners 5 --stalled 3 --rate 200 --size 20000 {SHORT}"));
    assert_eq!((&report["clean"], &report["stalled"]), (&true.into(), &3.into()), "{report}");
}

/// What a hub sends to a listener, by its number, for an event; several, none, or something else.
type Behaviour = Box<dyn FnMut(usize, &str) -> Vec<String> + Send>;

/// A hub in this process that follows the protocol as far as `Behaviour` lets it.
struct Hub {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    stopped: bool,
    connections: Vec<TcpStream>,
    listeners: Vec<TcpStream>,
    behaviour: Behaviour,
    /// What a message is answered with.
    answer: &'static str,
}

const ANSWERED: &str = r#"{"type":"result","for":"message","channel":"room0"}"#;

impl Hub {
    fn start(answer: &'static str, behaviour: Behaviour) -> Hub {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Mutex::new(Shared {
            stopped: false,
            connections: Vec::new(),
            listeners: Vec::new(),
            behaviour,
            answer,
        }));
        let inner = Arc::clone(&shared);
        let accepting = thread::spawn(move || {
            let mut serving = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                let mut held = inner.lock().expect("the hub's state");
                if held.stopped {
                    break;
                }
                held.connections.push(stream.try_clone().expect("a clone"));
                let shared = Arc::clone(&inner);
                serving.push(thread::spawn(move || serve(stream, &shared)));
            }
            for thread in serving {
                thread.join().expect("a connection's thread");
            }
        });
        Hub { address, shared, accepting: Some(accepting) }
    }

    /// Sends `messages` messages in a closed loop and returns what was wrong.
    fn run(&self, messages: u32, arguments: &str) -> Value {
        let fixed = format!("fanout --fill {messages} --warmup 0 --duration 0 {arguments}");
        run(self.address, std::process::id(), &fixed)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let mut shared = self.shared.lock().expect("the hub's state");
        shared.stopped = true;
        for connection in &shared.connections {
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(shared);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.accepting.take() {
            thread.join().expect("the hub's thread");
        }
    }
}

fn serve(mut stream: TcpStream, shared: &Mutex<Shared>) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let mut upgraded = false;
    loop {
        match stream.read(&mut chunk) {
            Ok(read @ 1..) => bytes.extend_from_slice(&chunk[..read]),
            _ => return,
        }
        if !upgraded {
            if !bytes.ends_with(b"\r\n\r\n") {
                continue;
            }
            bytes.clear();
            upgraded = true;
            let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
            send_all(&mut stream, format!("HTTP/1.1 101 Yes\r\n{accept}\r\n\r\n").as_bytes());
        }
        while let Some(frame) = websocket::decode(&bytes) {
            let mut payload = bytes[frame.start..frame.end].to_vec();
            websocket::unmask(&mut payload, frame.mask.expect("clients mask"));
            bytes.drain(..frame.end);
            let text = String::from_utf8(payload).expect("text");
            let mut shared = shared.lock().expect("the hub's state");
            if text.contains(r#""open""#) {
                shared.listeners.push(stream.try_clone().expect("a clone"));
                let opened = r#"{"type":"result","for":"open","channels":["room0"]}"#;
                send_all(&mut stream, &frame_of(opened));
                continue;
            }
            let event = text.replacen('}', r#","ID":"0","time":1}"#, 1);
            let Shared { listeners, behaviour, answer, .. } = &mut *shared;
            send_all(&mut stream, &frame_of(answer));
            for (number, listener) in listeners.iter_mut().enumerate() {
                // Written at once, so that what follows a message is there when it is.
                let events: Vec<_> =
                    behaviour(number, &event).iter().map(|e| frame_of(e)).collect();
                send_all(listener, &events.concat());
            }
        }
    }
}

/// A frame of text, or a close frame with the code that the text is, or nothing for no text.
fn frame_of(text: &str) -> Vec<u8> {
    let (opcode, payload) = match text.parse::<u16>() {
        Ok(code) => (websocket::CLOSE, code.to_be_bytes().to_vec()),
        Err(_) => (websocket::TEXT, text.as_bytes().to_vec()),
    };
    let mut frame = Vec::new();
    if !payload.is_empty() {
        websocket::server_head(&mut frame, opcode, payload.len());
        frame.extend(payload);
    }
    frame
}

fn send_all(stream: &mut TcpStream, bytes: &[u8]) {
    // A generator that has seen enough is gone.
    let _ = stream.write_all(bytes);
}

/// Calls the behaviour for the event of this number only; the others arrive as they should.
fn only(
    number: usize,
    mut behaviour: impl FnMut(&str) -> Vec<String> + Send + 'static,
) -> Behaviour {
    let mut seen = 0;
    Box::new(move |_, event| {
        seen += 1;
        if seen - 1 == number { behaviour(event) } else { vec![event.to_owned()] }
    })
}

fn faults(report: &Value) -> Vec<(String, u64)> {
    let faults = report["faults"].as_object().expect("faults");
    let number = |value: &Value| value.as_u64().expect("a number");
    faults
        .iter()
        .map(|(name, value)| (name.clone(), number(value)))
        .filter(|(_, value)| *value > 0)
        .collect()
}

fn expect(report: &Value, expected: &[(&str, u64)]) {
    let expected: Vec<_> = expected.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    assert_eq!(faults(report), expected);
    assert_eq!(report["clean"], expected.is_empty());
}

#[test]
fn a_hub_that_does_as_it_should_has_no_faults() {
    let hub = Hub::start(ANSWERED, Box::new(|_, event| vec![event.to_owned()]));
    let report = hub.run(10, "--listeners 3 --sample 1");
    expect(&report, &[]);
    assert_eq!(report["orders"], 1);
}

#[test]
fn a_delivery_that_never_comes_is_lost_and_leaves_a_hole_in_the_order() {
    let hub = Hub::start(ANSWERED, only(3, |_| Vec::new()));
    expect(&hub.run(10, "--listeners 1"), &[("lost", 1), ("out_of_order", 1)]);
}

#[test]
fn a_delivery_that_comes_twice_is_surplus_and_out_of_order() {
    let hub = Hub::start(ANSWERED, only(9, |event| vec![event.to_owned(), event.to_owned()]));
    expect(&hub.run(10, "--listeners 1"), &[("out_of_order", 1), ("surplus", 1)]);
}

#[test]
fn deliveries_that_change_places_are_out_of_order() {
    let mut held = String::new();
    let mut seen = 0;
    let hub = Hub::start(
        ANSWERED,
        Box::new(move |_, event| {
            seen += 1;
            match seen {
                4 => {
                    held = event.to_owned();
                    Vec::new()
                }
                5 => vec![event.to_owned(), std::mem::take(&mut held)],
                _ => vec![event.to_owned()],
            }
        }),
    );
    expect(&hub.run(10, "--listeners 1"), &[("out_of_order", 3)]);
}

#[test]
fn a_delivery_that_says_nothing_or_is_cut_is_malformed() {
    let nothing = |_: &str| vec![r#"{"type":"message","message":"hello"}"#.to_owned()];
    let hub = Hub::start(ANSWERED, only(9, nothing));
    expect(&hub.run(10, "--listeners 1"), &[("lost", 1), ("malformed", 1)]);
    // The first delivery of which the delay is taken is looked at in whole.
    let shorter = |event: &str| vec![event.replace("xyz", "")];
    let hub = Hub::start(ANSWERED, only(0, shorter));
    expect(&hub.run(10, "--listeners 1 --sample 1"), &[("malformed", 1)]);
}

#[test]
fn answers_that_do_not_come_and_errors_are_counted() {
    let hub = Hub::start("", Box::new(|_, event| vec![event.to_owned()]));
    expect(&hub.run(10, "--listeners 1"), &[("unanswered", 10)]);
    let hub = Hub::start(r#"{"type":"error","error":"No."}"#, Box::new(|_, _| Vec::new()));
    let expected = [("lost", 10), ("refused", 10), ("unanswered", 10)];
    expect(&hub.run(10, "--listeners 1"), &expected);
}

#[test]
fn a_connection_that_the_hub_closes_is_gone_and_its_deliveries_are_lost() {
    let hub = Hub::start(ANSWERED, only(9, |_| vec!["4000".to_owned()]));
    expect(&hub.run(10, "--listeners 1"), &[("gone", 1), ("lost", 1)]);
}

#[test]
fn listeners_that_do_not_see_the_same_order_are_noticed() {
    let mut held = String::new();
    let hub = Hub::start(
        ANSWERED,
        Box::new(move |listener, event| match (listener, held.is_empty()) {
            (0, _) => vec![event.to_owned()],
            (_, true) => {
                held = event.to_owned();
                Vec::new()
            }
            (_, false) => vec![event.to_owned(), std::mem::take(&mut held)],
        }),
    );
    let report = hub.run(2, "--listeners 2 --publishers 2 --window 1");
    expect(&report, &[]);
    assert_eq!(report["orders"], 2, "each publisher's own order is kept, the common one is not");
}
