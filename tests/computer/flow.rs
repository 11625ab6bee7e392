//! What a hub may do that the real one does at its worst moments: floods in one frame, silence, and
//! connections that break. A server of the test's own plays it.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    machine::{Computer, Options},
    support::raw::{self, FIN},
};

/// A websocket of a computer, at the server's end.
struct Socket {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Socket {
    async fn accept(listener: &TcpListener) -> (Socket, String) {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = Vec::new();
        while crate::support::http::find(&request, b"\r\n\r\n").is_none() {
            assert!(stream.read_buf(&mut request).await.expect("a request") > 0, "a whole request");
        }
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.expect("the answer is taken");
        let request = String::from_utf8(request).expect("a request in ASCII");
        (Socket { stream, unread: Vec::new() }, request)
    }

    async fn send(&mut self, text: &str) {
        let frame = raw::frame(FIN | raw::TEXT, text.as_bytes(), None);
        self.stream.write_all(&frame).await.expect("the frame is taken");
    }

    async fn close(&mut self, code: u16, reason: &str) {
        let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
        let frame = raw::frame(FIN | raw::CLOSE, &payload, None);
        self.stream.write_all(&frame).await.expect("the frame is taken");
    }

    /// Reads commands until one of a type comes.
    async fn until(&mut self, kind: &str) -> String {
        let wanted = format!("\"type\":\"{kind}\"");
        loop {
            while let Some((text, length)) = command(&self.unread) {
                self.unread.drain(..length);
                if text.contains(&wanted) {
                    return text;
                }
            }
            let read = self.stream.read_buf(&mut self.unread).await.expect("a command");
            assert!(read > 0, "a command of type {kind} before the end");
        }
    }
}

/// A masked frame at the front of some bytes, and its length.
fn command(bytes: &[u8]) -> Option<(String, usize)> {
    let (length, head) = match *bytes.get(1)? & 0x7f {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        short => (short.into(), 2),
    };
    let mask = bytes.get(head..head + 4)?;
    let payload = bytes.get(head + 4..head + 4 + length)?;
    let text = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    Some((String::from_utf8(text).expect("text"), head + 4 + length))
}

/// A computer whose hub is a server of the test's.
async fn computer_and_server(
    change: impl FnOnce(&mut Options),
    program: &str,
) -> (Computer, TcpListener) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let mut options = Options::beside(listener.local_addr().expect("an address"));
    change(&mut options);
    let program = format!("local skynet = require 'skynet' skynet.pause = 0.1\n{program}");
    (Computer::running(options, &program), listener)
}

/// A frame with numbered events.
fn batch(numbers: std::ops::Range<u32>) -> String {
    let events = numbers.map(|number| {
        format!(r#"{{"type":"message","channel":"a","message":{number},"ID":"id-{number:06}","time":1}}"#)
    });
    format!(r#"{{"type":"batch","events":[{}]}}"#, events.collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn a_thousand_messages_in_one_frame_become_a_thousand_events_in_order() {
    let program = "
        skynet.open('a')
        parallel.waitForAny(skynet.listen, function()
          local count = 0
          while count < 1000 do
            local _, channel, message = os.pullEvent('skynet_message')
            assert(message == count, 'got ' .. message .. ' for ' .. count)
            count = count + 1
          end
          print('all')
        end)";
    let (computer, listener) = computer_and_server(|_| (), program).await;
    let (mut socket, _) = Socket::accept(&listener).await;
    socket.until("open").await;
    socket.send(&batch(0..1000)).await;
    assert_eq!(computer.succeeds().await, "all\n");
    assert_eq!(computer.shared.events.dropped(), 0);
}

#[tokio::test]
async fn events_that_the_games_queue_dropped_are_queued_again() {
    let program = "
        skynet.open('a')
        parallel.waitForAny(function()
          os.pullEvent('websocket_message')
          for i = 1, 256 do os.queueEvent('noise') end
          while true do os.pullEvent('never') end
        end, skynet.listen, function()
          for count = 0, 99 do
            local _, _, message = os.pullEvent('skynet_message')
            assert(message == count, 'got ' .. message .. ' for ' .. count)
          end
          print('all')
        end)";
    let (computer, listener) = computer_and_server(|_| (), program).await;
    let (mut socket, _) = Socket::accept(&listener).await;
    socket.until("open").await;
    socket.send(&batch(0..100)).await;
    assert_eq!(computer.succeeds().await, "all\n");
    assert!(computer.shared.events.dropped() > 0, "the queue was full for a while");
}

#[tokio::test]
async fn a_flood_waits_for_receive_without_loss() {
    let program = "
        skynet.open('a')
        for i = 0, 2999 do
          local _, message = skynet.receive('a')
          assert(message == i, 'got ' .. message .. ' for ' .. i)
        end
        print('all', skynet.status().waiting, skynet.status().dropped)";
    let (computer, listener) = computer_and_server(|_| (), program).await;
    let (mut socket, _) = Socket::accept(&listener).await;
    socket.until("open").await;
    for part in 0..3 {
        socket.send(&batch(part * 1000..part * 1000 + 1000)).await;
    }
    assert_eq!(computer.succeeds().await, "all\t0\t0\n");
}

#[tokio::test]
async fn it_comes_back_after_every_code_but_45xx_and_opens_its_channels_again() {
    let program = "
        skynet.open('a') skynet.open(5)
        local ok, problem = pcall(skynet.run)
        print(problem)
        print(select(2, pcall(skynet.send, 'a', 1)))";
    let (computer, listener) = computer_and_server(|_| (), program).await;
    let mut addresses = std::collections::HashSet::new();
    for code in [1001, 1011, 4000, 4002] {
        let (mut socket, request) = Socket::accept(&listener).await;
        assert!(
            addresses.insert(request.lines().next().map(str::to_owned)),
            "an address of its own"
        );
        assert!(socket.until("open").await.contains("\"a\""));
        assert!(socket.until("open").await.contains("\"channel\":5"));
        socket.close(code, "go").await;
    }
    let (socket, _) = Socket::accept(&listener).await;
    drop(socket);
    let (mut socket, _) = Socket::accept(&listener).await;
    socket.close(4501, "too loud").await;
    let printed = computer.succeeds().await;
    let told =
        "The hub closed the connection and does not want this program back (4501): too loud\n";
    assert_eq!(printed, format!("{told}{told}"));
}

#[tokio::test]
async fn a_hub_that_does_not_answer_any_more_is_left_and_tried_again() {
    let (computer, listener) =
        computer_and_server(|_| (), "skynet.quiet = 0.1 skynet.open('a') skynet.run()").await;
    let (mut first, _) = Socket::accept(&listener).await;
    first.until("open").await;
    let (mut second, _) = Socket::accept(&listener).await;
    assert!(second.until("open").await.contains("\"a\""));
    drop(computer);
}

#[tokio::test]
async fn what_came_before_is_asked_for_by_the_last_id_or_by_the_hubs_time() {
    let program = "
        skynet.open('a') skynet.open('b')
        parallel.waitForAny(skynet.run, function()
          skynet.receive('a') print('got')
          while true do os.pullEvent() end
        end)";
    let (computer, listener) = computer_and_server(|_| (), program).await;
    let (mut socket, _) = Socket::accept(&listener).await;
    // The hello, then open and its ping, twice.
    socket.until("ping").await;
    socket.send(r#"{"type":"result","for":"ping","time":1}"#).await;
    for channel in ["a", "b"] {
        assert!(!socket.until("open").await.contains("since"), "nothing was read before");
        socket.send(&format!(r#"{{"type":"result","for":"open","channels":["{channel}"]}}"#)).await;
        socket.until("ping").await;
        socket.send(r#"{"type":"result","for":"ping","time":1700000000123}"#).await;
    }
    socket.close(1001, "restart").await;
    let (mut socket, _) = Socket::accept(&listener).await;
    for channel in ["a", "b"] {
        let open = socket.until("open").await;
        assert!(open.contains(r#""since":"018bcfe5-687b-7000-8000-000000000000""#), "{open}");
        socket.send(&format!(r#"{{"type":"result","for":"open","channels":["{channel}"]}}"#)).await;
    }
    let live = r#"{"type":"message","channel":"a","message":1,"ID":"018bcfe5-ffff-7000-8000-000000000000","time":1}"#;
    socket.send(live).await;
    computer.prints("got").await;
    socket.close(1001, "restart").await;
    // Both channels were open when it came, so both have been read to there.
    let (mut socket, _) = Socket::accept(&listener).await;
    for _ in 0..2 {
        let open = socket.until("open").await;
        assert!(open.contains(r#""since":"018bcfe5-ffff-7000-8000-000000000000""#), "{open}");
    }
    drop(computer);
}

#[tokio::test]
async fn an_answer_that_the_game_lost_is_told_and_later_answers_find_their_way() {
    let program = "
        skynet.connect()
        parallel.waitForAll(function() print(skynet.publish('a', 1, nil, 10)) end,
          function() print(#skynet.logs(0, 1)) end)";
    let (computer, listener) = computer_and_server(|_| (), program).await;
    let (mut socket, _) = Socket::accept(&listener).await;
    socket.until("ping").await;
    socket.send(r#"{"type":"result","for":"ping","time":1}"#).await;
    let log = socket.until("log").await;
    let (_, nonce) = log.split_once("\"nonce\":\"").expect("a nonce");
    let nonce = nonce.split('"').next().expect("a nonce");
    socket
        .send(&format!(r#"{{"type":"result","for":"log","log":[{{}}],"nonce":"{nonce}"}}"#))
        .await;
    let printed = computer.succeeds().await;
    assert!(printed.contains("nil\tits answer was lost"), "{printed}");
    assert!(printed.contains("1\n"), "{printed}");
}

#[tokio::test]
async fn nonsense_from_a_hub_is_told_and_does_no_harm() {
    let program = "
        skynet.open('a')
        parallel.waitForAny(skynet.listen, function()
          print('ready')
          for i = 1, 5 do print(select(2, os.pullEvent('skynet_error'))) end
          print(select(3, os.pullEvent('skynet_message')))
        end)";
    let (computer, listener) = computer_and_server(|_| (), program).await;
    let (mut socket, _) = Socket::accept(&listener).await;
    socket.until("open").await;
    computer.prints("ready").await;
    for nonsense in [
        "",
        "{\"type\":",
        r#"{"type":"message","message":"no channel"}"#,
        r#"{"type":"batch","events":[5]}"#,
        r#"{"type":"error","error":"of nobody's","for":"dance"}"#,
        r#"{"type":"unheard of"}"#,
        "[1,2]",
    ] {
        socket.send(nonsense).await;
    }
    socket.send(&batch(7..8)).await;
    let printed = computer.succeeds().await;
    let lines: Vec<_> = printed.lines().collect();
    assert!(lines[1].contains("no JSON: a value expected at byte 1"), "{printed}");
    assert!(lines[2].contains("no JSON"), "{printed}");
    assert!(lines[3].contains("makes no sense: a message without a channel"), "{printed}");
    assert!(lines[4].contains("makes no sense"), "{printed}");
    assert!(lines[5].starts_with("of nobody's\tdance"), "{printed}");
    assert!(lines[6].starts_with("7\ttable: "), "{printed}");
}

#[tokio::test]
async fn each_of_two_answers_of_the_same_words_counts() {
    let program = "
        for _ = 1, 2 do print(skynet.publish('a', 1, nil, 5)) end
        parallel.waitForAll(function() print(skynet.publish('a', 1, nil, 5)) end, function() skynet.sleep(0.2) end)";
    let (computer, listener) = computer_and_server(|_| (), program).await;
    let (mut socket, _) = Socket::accept(&listener).await;
    for _ in 0..3 {
        socket.until("message").await;
        socket.send(r#"{"type":"error","for":"message","error":"too many messages"}"#).await;
    }
    assert_eq!(computer.succeeds().await, "nil\ttoo many messages\n".repeat(3));
}

#[tokio::test]
async fn receive_and_request_wait_no_longer_than_they_were_told_for_a_hub_that_is_silent() {
    let program = "
        local from = os.clock()
        print(skynet.receive('a', 0.5))
        print(skynet.receive('a', 0))
        print(pcall(skynet.request, 'a', 1, 0.5))
        print(os.clock() - from < 3)
        print(skynet.receive('a', 10))";
    let (computer, listener) = computer_and_server(|_| (), program).await;
    computer.prints("true\n").await;
    // The attempt has gone on all the while, and the channel is opened when it comes off.
    let (mut socket, _) = Socket::accept(&listener).await;
    assert!(socket.until("open").await.contains("\"a\""));
    socket.send(&batch(7..8)).await;
    let printed = computer.succeeds().await;
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines[..2], ["nil\ttimeout", "nil\ttimeout"], "{printed}");
    assert!(lines[2].starts_with("false\tNot connected: no answer from ws://"), "{printed}");
    assert!(lines[4].starts_with("a\t7\t"), "{printed}");
}

#[tokio::test]
async fn what_has_come_is_received_while_the_hub_is_away() {
    let program = "
        skynet.open('a')
        while skynet.status().waiting < 3 do skynet.sleep(0.05) end
        print('here')
        while skynet.status().state ~= 'waiting' do skynet.sleep(0.05) end
        for i = 1, 3 do print(skynet.receive('a', 0)) end
        print(skynet.receive('a', 0.1))";
    let (computer, listener) = computer_and_server(|_| (), program).await;
    let (mut socket, _) = Socket::accept(&listener).await;
    socket.until("open").await;
    socket.send(&batch(0..3)).await;
    computer.prints("here").await;
    drop(listener);
    drop(socket);
    let printed = computer.succeeds().await;
    let lines: Vec<_> = printed.lines().collect();
    for (number, line) in lines[1..4].iter().enumerate() {
        assert!(line.starts_with(&format!("a\t{number}\t")), "{printed}");
    }
    assert_eq!(lines[4], "nil\ttimeout", "{printed}");
}

#[tokio::test]
async fn entries_of_the_log_that_moved_on_between_two_pages_are_given_once() {
    let program = "for _, entry in ipairs(skynet.logs(0, 4)) do print(entry.message) end";
    let (computer, listener) = computer_and_server(|_| (), program).await;
    let (mut socket, _) = Socket::accept(&listener).await;
    let entry = |n: u32| {
        format!(r#"{{"type":"message","channel":"a","message":{n},"ID":"id-{n}","time":1}}"#)
    };
    for (log, more) in [([4, 3], r#","truncated":true,"next":2"#), ([3, 2], "")] {
        let asked = socket.until("log").await;
        let nonce = asked.split("\"nonce\":\"").nth(1).unwrap().split('"').next().unwrap();
        let log = log.map(entry).join(",");
        socket
            .send(&format!(
                r#"{{"type":"result","for":"log","nonce":"{nonce}","log":[{log}]{more}}}"#
            ))
            .await;
    }
    assert_eq!(computer.succeeds().await, "4\n3\n2\n");
}

#[tokio::test]
async fn large_messages_for_a_slow_listener_do_not_pile_up_beyond_8_mib() {
    let program = "
        skynet.open('a')
        parallel.waitForAny(skynet.listen, function()
          local count, gaps, last = 0, 0
          repeat
            local event, _, _, full = os.pullEvent()
            if event == 'skynet_message' then count, last = count + 1, full.n end
            if event == 'skynet_gap' then gaps = gaps + 1 end
          until last == 2399
          local dropped = skynet.status().dropped
          print(dropped > 0, count + dropped, gaps > 0)
        end)";
    let slow = |options: &mut Options| options.events_per_second = Some(500);
    let (computer, listener) = computer_and_server(slow, program).await;
    let (mut socket, _) = Socket::accept(&listener).await;
    socket.until("open").await;
    // Tables take far more room in Lua than in JSON: 6 frames of 100 KB become 16 MB.
    let tables = "[".repeat(90) + &"]".repeat(90);
    for frame in 0..6 {
        let events = (frame * 400..frame * 400 + 400).map(|n| {
            format!(
                r#"{{"type":"message","channel":"a","message":{tables},"n":{n},"ID":"id-{n}"}}"#
            )
        });
        let events = events.collect::<Vec<_>>().join(",");
        socket.send(&format!(r#"{{"type":"batch","events":[{events}]}}"#)).await;
    }
    assert_eq!(computer.succeeds().await, "true\t2400\ttrue\n");
}
