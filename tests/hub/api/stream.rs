//! `/log/stream`.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Caller, config, problem};
use crate::support::{DEADLINE, TestApp, raw::Raw, with_app};

/// A reader of a stream.
struct Reader {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Reader {
    /// Begins to read; the head of the answer must be one of a stream.
    async fn start(admin: SocketAddr, request: &str, content_type: &str) -> Reader {
        let mut stream = TcpStream::connect(admin).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("the request is taken");
        let mut reader = Reader { stream, bytes: vec![] };
        let head = reader.until("\r\n\r\n").await.expect("a head");
        assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains(&format!("content-type: {content_type}\r\n")), "{head}");
        reader
    }

    async fn events(app: &TestApp, query: &str, headers: &str) -> Reader {
        let head = Caller::reader(app).head("GET", &format!("/log/stream{query}"));
        Reader::start(app.admin(), &format!("{head}{headers}\r\n"), "text/event-stream").await
    }

    /// What comes up to and with a mark; none at the end.
    async fn until(&mut self, mark: &str) -> Option<String> {
        let read = async {
            loop {
                let found = self.bytes.windows(mark.len()).position(|at| at == mark.as_bytes());
                if let Some(at) = found {
                    let rest = self.bytes.split_off(at + mark.len());
                    let text = std::mem::replace(&mut self.bytes, rest);
                    return Some(String::from_utf8(text).expect("text"));
                }
                if self.stream.read_buf(&mut self.bytes).await.expect("it can be read") == 0 {
                    assert!(self.bytes.is_empty(), "nothing is cut off");
                    return None;
                }
            }
        };
        timeout(DEADLINE, read).await.expect("in time")
    }

    /// The next event: its kind and its data.
    async fn event(&mut self) -> Option<(String, String)> {
        loop {
            let text = self.until("\n\n").await?;
            let line = |name: &str| {
                let lines = text.lines().filter_map(|line| line.strip_prefix(name));
                lines.map(str::to_owned).next()
            };
            if let Some(kind) = line("event: ") {
                return Some((kind, line("data: ").expect("data")));
            }
        }
    }

    /// The data of the next event, which must be a message.
    async fn message(&mut self) -> String {
        let (kind, data) = self.event().await.expect("a message");
        assert_eq!(kind, "message");
        data
    }
}

#[tokio::test]
async fn a_stream_tells_what_listeners_are_told_in_the_same_order() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut listener = app.listener("\"*\"").await;
        let mut stream = Reader::events(app, "", "").await;
        let mut some = Reader::events(app, "?channel=1&channel=x", "").await;
        let mut sender = app.client().await;
        for number in 0..50 {
            sender.publish("1", &number.to_string()).await;
            owner.post("/messages", &format!(r#"{{"channel":2,"message":{number}}}"#), 201).await;
        }
        for number in 0..100 {
            let told = stream.message().await;
            assert_eq!(told, listener.event_text().await);
            if number % 2 == 0 {
                assert_eq!(some.message().await, told);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_begins_with_the_last_and_ends_after_so_many() {
    with_app(config(), async |app| {
        let mut sender = app.client().await;
        for number in 0..5 {
            sender.publish("1", &number.to_string()).await;
        }
        let mut stream = Reader::events(app, "?last=2&count=3", "").await;
        for number in ["3", "4", "5"] {
            if number == "5" {
                sender.publish("1", "5").await;
            }
            assert!(stream.message().await.contains(&format!(r#""message":{number},"#)));
        }
        assert_eq!(stream.event().await, None);
        let mut short = Reader::events(app, "?max_seconds=1", "").await;
        assert_eq!(short.event().await, None);
    })
    .await;
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_event_or_says_that_some_are_missing() {
    let mut config = config();
    config.message_log.max_messages = 3;
    with_app(config, async |app| {
        let mut sender = app.client().await;
        let mut ids = vec![];
        for number in 0..5 {
            ids.push(sender.publish("1", &number.to_string()).await.text_of("ID"));
        }
        let header = |id: &str| format!("Last-Event-ID: {id}\r\n");
        let mut stream = Reader::events(app, "?count=1", &header(&ids[3])).await;
        assert!(stream.message().await.contains(&ids[4]));
        let mut gapped = Reader::events(app, "?count=3", &header(&ids[0])).await;
        let (kind, data) = gapped.event().await.unwrap();
        assert_eq!((kind.as_str(), data.contains(&ids[0])), ("gap", true));
        for id in &ids[2..] {
            assert!(gapped.message().await.contains(id));
        }
        assert_eq!(gapped.event().await, None);
    })
    .await;
}

#[tokio::test]
async fn lines_of_json_are_told_to_who_accepts_them() {
    with_app(config(), async |app| {
        let mut listener = app.listener("1").await;
        let head = Caller::owner(app).head("GET", "/log/stream?count=2");
        let request = format!("{head}Accept: application/x-ndjson\r\n\r\n");
        let mut stream = Reader::start(app.admin(), &request, "application/x-ndjson").await;
        let mut sender = app.client().await;
        sender.publish("1", "1").await;
        sender.publish("1", "2").await;
        assert_eq!(stream.until("\n").await.as_deref(), Some("\n"));
        for _ in 0..2 {
            let line = stream.until("\n").await.unwrap();
            assert_eq!(line.trim_end(), listener.event_text().await);
        }
        assert_eq!(stream.until("\n").await, None);
    })
    .await;
}

#[tokio::test]
async fn only_so_many_streams_are_served_and_one_that_ends_makes_room() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut streams = vec![];
        for _ in 0..64 {
            streams.push(Reader::events(app, "", "").await);
        }
        let refused = owner.call("GET", "/log/stream").await;
        assert_eq!(problem(&refused, 503, None), "too_many_streams");
        assert!(refused.header("retry-after").is_some());
        assert_eq!(owner.get("/stats").await["streams"], 64);
        streams.clear();
        crate::support::wait_until("the streams have ended", async || {
            owner.get("/stats").await["streams"] == 0
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_reader_too_slow_is_told_so_last_and_holds_up_nobody() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut stream = Reader::events(app, "", "").await;
        let mut listener = app.listener("1").await;
        let mut sender = app.client().await;
        let text = format!("\"{}\"", "x".repeat(100_000));
        // More than the tap and the sockets together hold.
        for _ in 0..200 {
            sender.publish("1", &text).await;
            listener.event_text().await;
        }
        let mut last = None;
        let mut messages = 0;
        // Heartbeats would keep it waiting for an end that does not come.
        let all = async {
            while let Some((kind, _)) = stream.event().await {
                messages += u32::from(kind == "message");
                last = Some(kind);
            }
        };
        timeout(2 * DEADLINE, all).await.expect("it ends in time");
        assert_eq!(last.as_deref(), Some("dropped"));
        assert!(messages < 200, "{messages}");
        assert_eq!(owner.get("/stats").await["streams"], 0);
    })
    .await;
}

#[tokio::test]
async fn streams_end_when_the_hub_stops() {
    let app = TestApp::start(config()).await;
    let mut stream = Reader::events(&app, "", "").await;
    Raw::connect(app.hub()).await.publish("1", "1").await;
    stream.message().await;
    let stopped = app.stop();
    assert_eq!(stream.event().await, None);
    stopped.await;
}

#[tokio::test]
async fn a_backlog_stays_in_the_log_and_what_leaves_it_first_is_a_gap() {
    let mut config = config();
    config.message_log.max_messages = 150;
    with_app(config, async |app| {
        let mut sender = app.client().await;
        let text = format!("\"{}\"", "x".repeat(100_000));
        let mut ids = vec![];
        // More than the sockets hold.
        for _ in 0..150 {
            ids.push(sender.publish("1", &text).await.text_of("ID"));
        }
        let mut stream = Reader::events(app, "?channel=1&last=150", "").await;
        assert!(stream.message().await.contains(&ids[0]));
        for _ in 0..140 {
            sender.publish("2", "2").await;
        }
        let mut told = 1;
        let data = loop {
            let (kind, data) = stream.event().await.expect("an event");
            if kind == "gap" {
                break data;
            }
            assert!(data.contains(&ids[told]), "{told}");
            told += 1;
        };
        assert!(data.contains(&ids[told - 1]), "it names the last that was told: {data}");
        // The rest of the log, and what comes later.
        for id in &ids[140..] {
            assert!(stream.message().await.contains(id));
        }
        sender.publish("1", "\"live\"").await;
        assert!(stream.message().await.contains("live"));
    })
    .await;
}
