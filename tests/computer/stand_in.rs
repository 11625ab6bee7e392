//! The stand-in itself, held to the documentation of CC: Tweaked and to what was seen in the game.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    machine::{Computer, Options, Text, events::Value},
    support::{
        config,
        http::find,
        raw::{self, FIN, Raw},
        with_app,
    },
};

/// An address where nobody listens.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

/// A computer that runs a program, without a hub.
fn alone(program: &str) -> Computer {
    Computer::start(Options::beside(nowhere()), &[("program.lua", program)], "program")
}

/// What a program prints.
async fn printed_by(program: &str) -> String {
    alone(program).succeeds().await
}

/// A server that takes one websocket handshake and then writes what the test tells it to.
async fn bare_server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut bytes = Vec::new();
    while find(&bytes, b"\r\n\r\n").is_none() {
        assert!(stream.read_buf(&mut bytes).await.expect("a request") > 0, "a whole request");
    }
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    stream.write_all(answer.as_bytes()).await.expect("the answer is taken");
    stream
}

/// A program that opens a websocket and prints the events that come.
fn event_printer(address: SocketAddr) -> String {
    format!(
        "local ws = assert(http.websocket('ws://{address}/connect')) print('open')
        while true do
          local event = table.pack(os.pullEvent())
          for i = 1, event.n do event[i] = tostring(event[i]) end
          event[2] = ''
          if #event[3] > 20 then event[3] = #event[3] .. ' bytes' end
          print(table.concat(event, '|'))
        end"
    )
}

#[tokio::test]
async fn the_queue_holds_256_events_and_drops_the_rest_in_silence() {
    let computer = alone(
        "for i = 1, 300 do os.queueEvent('one', i) end
        local last
        os.startTimer(0.2)
        while true do
          local event, number = os.pullEvent()
          if event == 'timer' then break end
          last = number
        end
        print('last ' .. last)",
    );
    assert_eq!(computer.succeeds().await, "last 256\n");
    assert_eq!(computer.shared.events.dropped(), 44);
}

#[tokio::test]
async fn sleep_throws_events_away() {
    let printed = printed_by(
        "os.queueEvent('mine') sleep(0.05) os.queueEvent('other') print(os.pullEvent())",
    );
    assert_eq!(printed.await, "other\n");
}

#[tokio::test]
async fn a_filter_passes_over_other_events_but_terminate_comes_through() {
    let computer = alone(
        "os.queueEvent('a') os.queueEvent('b', 7) print(os.pullEvent('b'))
        print('waiting') os.pullEvent('never')",
    );
    computer.prints("b\t7\nwaiting").await;
    computer.queue(vec!["terminate".into()]);
    assert_eq!(computer.ends().await, Err("Terminated".to_owned()));
}

#[tokio::test]
async fn queued_tables_are_copies_without_functions() {
    let printed = printed_by(
        "local t = { 1, inner = { x = 2 }, f = print } os.queueEvent('e', t, print, 3)
        local _, copy, f, three = os.pullEvent('e')
        print(copy ~= t, copy[1], copy.inner.x, copy.f, f, three)",
    );
    assert_eq!(printed.await, "true\t1\t2\tnil\tnil\t3\n");
}

#[tokio::test]
async fn timers_fire_in_order_and_not_after_they_were_cancelled() {
    let printed = printed_by(
        "local late, early, gone = os.startTimer(0.2), os.startTimer(0.05), os.startTimer(0.1)
        os.cancelTimer(gone)
        local _, first = os.pullEvent('timer') local _, second = os.pullEvent('timer')
        print(first == early, second == late)",
    );
    assert_eq!(printed.await, "true\ttrue\n");
}

#[tokio::test]
async fn a_program_that_does_not_yield_is_ended() {
    let mut options = Options::beside(nowhere());
    options.patience = Duration::from_millis(100);
    let computer = Computer::start(options, &[("program.lua", "while true do end")], "program");
    let problem = computer.ends().await.expect_err("it is ended");
    assert!(problem.contains("Too long without yielding"), "{problem}");
}

#[tokio::test]
async fn parallel_gives_every_function_every_event() {
    let printed = printed_by(
        "local function take(name) return function()
          print(name .. ' ' .. select(2, os.pullEvent('e'))) end end
        os.queueEvent('e', 'x')
        parallel.waitForAll(take('one'), take('two'))
        os.queueEvent('e', 'y')
        print(parallel.waitForAny(function() os.pullEvent('never') end, take('three')))",
    );
    assert_eq!(printed.await, "one x\ntwo x\nthree y\n2\n");
}

#[tokio::test]
async fn files_and_settings_outlive_a_reboot_and_nothing_else_does() {
    let computer = alone(
        "settings.set('a', { 1, b = 'c\\n' }) settings.set('b', 2) settings.save()
        local f = fs.open('/dir/x', 'w') f.write('kept') f.close() gone = true print('done')",
    );
    computer.succeeds().await;
    let after = "local f = fs.open('dir/x', 'r')
        print(f.readAll(), settings.get('a')[1], settings.get('a').b, settings.get('b'), gone)";
    computer.shared.files.lock().unwrap().insert("after.lua".to_owned(), after.into());
    assert_eq!(computer.reboot("after").succeeds().await, "kept\t1\tc\n\t2\tnil\n");
}

#[tokio::test]
async fn a_computer_can_reboot_itself() {
    let printed = printed_by(
        "if fs.exists('once') then print('again') return end
        local f = fs.open('once', 'w') f.close() print('first') os.reboot()",
    );
    assert_eq!(printed.await, "first\nagain\n");
}

#[tokio::test]
async fn programs_find_shell_require_and_their_arguments() {
    let files = [
        (
            "program.lua",
            "local a, b = ... print(a, b, shell.getRunningProgram(), require('m').x, require('m').x)",
        ),
        ("m.lua", "local name, path = ... print(name, path) return { x = 5 }"),
    ];
    let computer = Computer::start(Options::beside(nowhere()), &files, "program one two");
    assert_eq!(computer.succeeds().await, "m\tm.lua\none\ttwo\tprogram.lua\t5\t5\n");
}

#[tokio::test]
async fn double_quotes_hold_words_together_and_do_not_reach_the_program() {
    let files = [("words.lua", "print(select('#', ...), ...)")];
    let line = r#"words a "b  c" '5' "6" """#;
    let computer = Computer::start(Options::beside(nowhere()), &files, line);
    assert_eq!(computer.succeeds().await, "5\ta\tb  c\t'5'\t6\t\n");
}

#[tokio::test]
async fn load_api_gives_what_the_file_leaves_in_its_environment() {
    let files = [
        ("program.lua", "os.loadAPI('api.lua') print(api.f(), f, dofile('value.lua'))"),
        ("api.lua", "function f() return shell == nil end return 5"),
        ("value.lua", "return shell == nil and 7"),
    ];
    let computer = Computer::start(Options::beside(nowhere()), &files, "program");
    assert_eq!(computer.succeeds().await, "true\tnil\t7\n");
}

#[tokio::test]
async fn serialise_json_has_the_habits_of_the_game() {
    let printed = printed_by(
        "print(textutils.serialiseJSON({ 'a\\233\"', {}, 0 / 0, textutils.empty_json_array }))
        print(textutils.unserialiseJSON)",
    );
    let printed = printed.await;
    assert!(printed.starts_with("[\"a\\u00e9\\\"\",{},"), "{printed}");
    assert!(printed.contains("nan,[]]"), "NaN is written as it comes: {printed}");
}

#[tokio::test]
async fn rednet_hears_itself_and_needs_a_modem_for_others() {
    let printed = printed_by(
        "print(rednet.send(1, 'self', 'p')) print(rednet.receive('p', 5))
        print(rednet.send(2, 'other')) print(pcall(rednet.open, 'left'))",
    );
    assert_eq!(printed.await, "true\n1\tself\tp\nfalse\nfalse\tNo such modem: left\n");
}

#[tokio::test]
async fn a_frame_of_131072_bytes_arrives_and_one_more_byte_ends_the_connection() {
    let (listener, address) = bare_server().await;
    let computer = Computer::start(
        Options::beside(address),
        &[("program.lua", &event_printer(address))],
        "program",
    );
    let mut stream = accept(&listener).await;
    let whole = raw::frame(FIN | raw::TEXT, &[b'x'; 131_072], None);
    let larger = raw::frame(FIN | raw::TEXT, &[b'x'; 131_073], None);
    stream.write_all(&whole).await.unwrap();
    computer.prints("websocket_message||131072 bytes|false").await;
    // The game may hang up before all of it is written.
    let _ = stream.write_all(&larger).await;
    computer.prints("websocket_closed||Could not connect|nil").await;
}

#[tokio::test]
async fn of_fragments_the_first_arrives_and_the_rest_vanishes() {
    let (listener, address) = bare_server().await;
    let computer = Computer::start(
        Options::beside(address),
        &[("program.lua", &event_printer(address))],
        "program",
    );
    let mut stream = accept(&listener).await;
    for (first, text) in [(raw::TEXT, "one"), (FIN, "two"), (FIN | raw::TEXT, "three")] {
        stream.write_all(&raw::frame(first, text.as_bytes(), None)).await.unwrap();
    }
    computer.prints("websocket_message||three|false").await;
    assert_eq!(
        computer.printed(),
        "open\nwebsocket_message||one|false\nwebsocket_message||three|false\n"
    );
}

#[tokio::test]
async fn a_ping_is_answered_while_the_program_is_busy() {
    let (listener, address) = bare_server().await;
    let program = format!(
        "local ws = assert(http.websocket('ws://{address}/')) print('open') while not stop do end"
    );
    let mut options = Options::beside(address);
    options.patience = Duration::from_secs(60);
    let computer = Computer::start(options, &[("program.lua", &program)], "program");
    let mut stream = accept(&listener).await;
    computer.prints("open").await;
    stream.write_all(&raw::frame(FIN | raw::PING, b"there?", None)).await.unwrap();
    let expected = raw::masked(raw::PONG, b"there?");
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn the_code_and_reason_of_a_close_reach_the_program_and_sending_fails_after_it() {
    let (listener, address) = bare_server().await;
    let program = format!(
        "local ws = assert(http.websocket('ws://{address}/'))
        print(select(3, os.pullEvent('websocket_closed'))) print(pcall(ws.send, 'x'))"
    );
    let computer =
        Computer::start(Options::beside(address), &[("program.lua", &program)], "program");
    let mut stream = accept(&listener).await;
    let payload = [&4501u16.to_be_bytes()[..], b"banned"].concat();
    stream.write_all(&raw::frame(FIN | raw::CLOSE, &payload, None)).await.unwrap();
    let printed = computer.succeeds().await;
    assert_eq!(printed, "banned\t4501\nfalse\tattempt to use a closed file\n");
}

#[tokio::test]
async fn closing_is_dropping_the_connection() {
    let (listener, address) = bare_server().await;
    let program = format!("local ws = assert(http.websocket('ws://{address}/')) ws.close()");
    let _computer =
        Computer::start(Options::beside(address), &[("program.lua", &program)], "program");
    let mut stream = accept(&listener).await;
    assert_eq!(stream.read(&mut [0; 16]).await.expect("the end"), 0, "no close frame");
}

#[tokio::test]
async fn a_private_address_needs_a_rule_with_its_port() {
    let (listener, address) = bare_server().await;
    let mut options = Options::beside(address);
    options.allowed.clear();
    let program =
        format!("print(http.websocket('ws://{address}/')) print(http.get('http://{address}/'))");
    let computer = Computer::start(options, &[("program.lua", &program)], "program");
    let refused = "false\tDomain not permitted\nnil\tDomain not permitted\tnil\n";
    assert_eq!(computer.succeeds().await, refused);
    drop(listener);
}

#[tokio::test]
async fn a_computer_has_four_websockets_and_those_with_one_address_hear_each_other() {
    with_app(config(), async |app| {
        let program = format!(
            "local url = 'ws://{}/connect'
            local first = assert(http.websocket(url)) local second = assert(http.websocket(url))
            first.send('{{\"type\":\"open\",\"channel\":5}}')
            print(second.receive())
            assert(http.websocket(url)) assert(http.websocket(url))
            print(pcall(http.websocket, url))
            second.close() print(type(http.websocket(url)))",
            app.hub()
        );
        let computer =
            Computer::start(Options::beside(app.hub()), &[("program.lua", &program)], "program");
        let printed = computer.succeeds().await;
        assert!(
            printed.starts_with("{\"type\":\"result\",\"for\":\"open\",\"channels\":[5]}\tfalse\n"),
            "{printed}"
        );
        assert!(printed.ends_with("Too many websockets already open\ntable\n"), "{printed}");
    })
    .await;
}

#[tokio::test]
async fn text_passes_as_utf8_today_and_as_latin1_before() {
    for (text, sent, received) in [
        (Text::Utf8, "b\u{fffd}é".as_bytes(), "é€".as_bytes()),
        (Text::Latin1, "bÿÃ©".as_bytes(), &b"\xe9?"[..]),
    ] {
        let (listener, address) = bare_server().await;
        let program = format!(
            "local ws = assert(http.websocket('ws://{address}/')) ws.send('b\\255\\195\\169')
            print(ws.receive())"
        );
        let mut options = Options::beside(address);
        options.text = text;
        let computer = Computer::start(options, &[("program.lua", &program)], "program");
        let mut stream = accept(&listener).await;
        let expected = raw::masked(raw::TEXT, sent);
        let mut frame = vec![0; expected.len()];
        stream.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame, expected, "{text:?}");
        stream.write_all(&raw::frame(FIN | raw::TEXT, "é€".as_bytes(), None)).await.unwrap();
        computer.ends().await.unwrap();
        let screen = computer.shared.screen.lock().unwrap().transcript.clone();
        assert_eq!(screen, [received, b"\tfalse\n"].concat(), "{text:?}");
    }
}

#[tokio::test]
async fn a_program_may_not_send_more_than_131072_bytes_at_once() {
    with_app(config(), async |app| {
        let program = format!(
            "local ws = assert(http.websocket('ws://{}/connect'))
            print(pcall(ws.send, ('x'):rep(131073))) ws.close()",
            app.hub()
        );
        let computer =
            Computer::start(Options::beside(app.hub()), &[("program.lua", &program)], "program");
        assert!(computer.succeeds().await.contains("Message is too large"));
    })
    .await;
}

#[tokio::test]
async fn a_refused_handshake_tells_its_status_alone() {
    with_app(config(), async |app| {
        let program = format!("print(http.websocket('ws://{}/elsewhere'))", app.hub());
        let computer =
            Computer::start(Options::beside(app.hub()), &[("program.lua", &program)], "program");
        let expected = "false\tInvalid handshake response getStatus: 404 Not Found\n";
        assert_eq!(computer.succeeds().await, expected);
    })
    .await;
}

#[tokio::test]
async fn a_slow_computer_handles_as_many_events_a_second_as_it_was_made_for() {
    let mut options = Options::beside(nowhere());
    options.events_per_second = Some(50);
    let program = "local from = os.epoch('utc')
        for i = 1, 10 do os.queueEvent('e') os.pullEvent('e') end
        print(os.epoch('utc') - from >= 180)";
    let computer = Computer::start(options, &[("program.lua", program)], "program");
    assert_eq!(computer.succeeds().await, "true\n");
}

#[tokio::test]
async fn a_program_without_a_hub_gets_could_not_connect() {
    let (listener, address) = bare_server().await;
    drop(listener);
    let program = format!("print(http.websocket('ws://{address}/'))");
    let computer =
        Computer::start(Options::beside(address), &[("program.lua", &program)], "program");
    assert_eq!(computer.succeeds().await, "false\tCould not connect\n");
}

#[tokio::test]
async fn a_player_types_and_a_program_reads() {
    let computer = alone("print('name?') print('hello ' .. read())");
    computer.prints("name?").await;
    computer.types("bob");
    computer.prints("hello bob").await;
    computer.queue(vec!["paste".into(), Value::from("x")]);
    assert!(computer.screen().starts_with("name?\n"));
}

#[tokio::test]
async fn the_websocket_of_a_computer_is_gone_when_it_is_switched_off() {
    with_app(config(), async |app| {
        let program =
            format!("ws = assert(http.websocket('ws://{}/connect')) print('open')", app.hub());
        let computer =
            Computer::start(Options::beside(app.hub()), &[("program.lua", &program)], "program");
        computer.succeeds().await;
        app.metric_is("skynet_clients", &[], 1.0).await;
        drop(computer);
        app.metric_is("skynet_clients", &[], 0.0).await;
        let mut client: Raw = app.client().await;
        client.half_close().await;
    })
    .await;
}
