//! The functions of the library, on one or two computers, against the real hub.

use crate::{
    machine::{Computer, Options, Text},
    support::{
        TestApp, config,
        raw::{BINARY, masked},
        unhurried, with_app,
    },
    value::Cbor,
};

/// A computer beside a hub that runs a program with the library.
pub fn computer(app: &TestApp, id: u32, program: &str) -> Computer {
    let program = format!("local skynet = require 'skynet'\n{program}");
    Computer::running(Options::beside(app.hub()).with_id(id), &program)
}

#[tokio::test]
async fn it_loads_by_require_dofile_and_load_api() {
    with_app(config(), async |app| {
        let program = "
            local a, b = require 'skynet', dofile('skynet.lua')
            os.loadAPI('skynet.lua')
            print(a.VERSION, a.send ~= nil, b.send ~= nil, skynet.send ~= nil, type(skynet.open_channels))";
        let computer = Computer::running(Options::beside(app.hub()), program);
        let printed = computer.succeeds().await;
        assert!(printed.ends_with("\ttrue\ttrue\ttrue\ttable\n"), "{printed}");
    })
    .await;
}

#[tokio::test]
async fn with_load_api_the_fields_of_the_global_are_kept_and_obeyed() {
    with_app(config(), async |app| {
        let program = "
            local server = settings.get('skynet.server')
            settings.set('skynet.server', 'ws://127.0.0.1:1/wrong/')
            os.loadAPI('skynet.lua')
            skynet.server = server
            skynet.open('a')
            print(skynet.socket ~= nil, skynet.open_channels[1])
            skynet.disconnect() print(skynet.socket)";
        let computer = Computer::running(Options::beside(app.hub()), program);
        assert_eq!(computer.succeeds().await, "true\ta\nnil\n");
    })
    .await;
}

#[tokio::test]
async fn two_computers_and_another_client_talk() {
    with_app(config(), async |app| {
        let echo = computer(
            app,
            1,
            "skynet.open('doors') skynet.publish('ready', 1)
            while true do
              local channel, message, full = skynet.receive('doors')
              skynet.send('answers', { heard = message, on = channel, n = full.n })
            end",
        );
        let mut other = app.listener("\"ready\"").await;
        other.open("\"answers\"").await;
        other.event().await;
        let asker = computer(
            app,
            2,
            "skynet.open('answers') skynet.publish('doors', { list = { 1, 2.5, 'x' } }, { n = 7 })
            local channel, message = skynet.receive('answers')
            print(channel, message.heard.list[2], message.heard.list[3], message.on, message.n)
            channel, message = skynet.receive('answers')
            print(message.heard)",
        );
        let event = other.event_text().await;
        assert!(event.contains(r#""list":[1,2.5,"x"]"#) && event.contains(r#""n":7"#), "{event}");
        asker.prints("answers\t2.5\tx\tdoors\t7").await;
        other.publish("\"doors\"", "\"from outside\"").await;
        assert!(asker.succeeds().await.ends_with("from outside\n"));
        drop(echo);
    })
    .await;
}

#[tokio::test]
async fn the_library_and_clients_of_both_versions_share_a_channel() {
    let map = |entries: &[(&str, Cbor)]| {
        Cbor::Map(entries.iter().map(|(key, value)| (Cbor::text(key), value.clone())).collect())
    };
    let command = |kind: &str, what: Cbor| {
        masked(BINARY, &Cbor::Array(vec![Cbor::text(kind), what]).encode())
    };
    with_app(config(), async |app| {
        let (mut v1, mut v2) = (app.listener("\"room\"").await, app.client().await);
        v2.write(&command("open", Cbor::text("room"))).await;
        // Refused, which tells that what came before is carried out.
        v2.write(&command("mark", Cbor::Null)).await;
        v2.frame().await;
        let computer = computer(
            app,
            1,
            "skynet.open('room') skynet.send('room', { n = 1, bytes = '\\200\\255' })
            for i = 1, 2 do
              local channel, message, full = skynet.receive('room')
              print(type(full.ID), type(full.time), message.from, #message.bytes, message.bytes:byte(2))
            end",
        );
        let heard = v1.event().await;
        let bytes = heard.get("message").expect("a message").text_of("bytes");
        assert_eq!(bytes, "\u{c8}\u{ff}");
        let frame = v2.frame().await;
        let Ok(Cbor::Array(parts)) = Cbor::parse(&frame.payload) else { panic!("{frame:?}") };
        let message = parts[1].get("message").expect("a message");
        assert_eq!(message.get("bytes"), Some(&Cbor::text("\u{c8}\u{ff}")));
        v1.publish("\"room\"", r#"{"from":"v1","bytes":"\u00c8\u00ff"}"#).await;
        v2.frame().await;
        let bytes = map(&[("from", Cbor::text("v2")), ("bytes", Cbor::Bytes(vec![200, 255]))]);
        let message = map(&[("channel", Cbor::text("room")), ("message", bytes)]);
        v2.write(&command("message", message)).await;
        let printed = computer.succeeds().await;
        assert_eq!(printed, "string\tnumber\tv1\t2\t255\nstring\tnumber\tv2\t2\t255\n");
        assert_eq!(v1.event().await.get("message").expect("a message").text_of("from"), "v2");
    })
    .await;
}

#[tokio::test]
async fn a_program_of_the_original_api_works_unchanged() {
    with_app(config(), async |app| {
        let program = "
            skynet.connect()
            skynet.open('a') skynet.open('a') skynet.open(5)
            print(#skynet.open_channels, skynet.open_channels[2], skynet.socket ~= nil, skynet.server ~= nil)
            skynet.send('b', 'first')
            skynet.send('b', { 'second' }, { extra = true })
            local log
            repeat log = skynet.logs(0, 2) until #log == 2
            print(log[1].message[1], log[1].extra, log[2].message, #skynet.logs(0, 1))
            parallel.waitForAny(skynet.listen, function()
              skynet.send('ready', 1)
              for i = 1, 2 do
                local event, channel, message, full = os.pullEvent('skynet_message')
                print(event, channel, message, full.ID ~= nil, full.from)
              end
            end)
            skynet.connect(true)
            print(skynet.socket ~= nil)
            skynet.disconnect()";
        let mut other = app.listener("\"ready\"").await;
        let computer = computer(app, 1, program);
        other.event().await;
        other.command(r#"{"type":"message","channel":"a","message":"x","from":"me"}"#).await;
        other.publish("5", "true").await;
        let printed = computer.succeeds().await;
        let expected = "2\t5\ttrue\ttrue\nsecond\ttrue\tfirst\t1\n\
            skynet_message\ta\tx\ttrue\tme\nskynet_message\t5\ttrue\ttrue\tnil\ntrue\n";
        assert_eq!(printed, expected);
    })
    .await;
}

#[tokio::test]
async fn receive_ends_after_its_timeout_and_keeps_what_it_was_not_asked_for() {
    with_app(config(), async |app| {
        let program = "
            skynet.open('a') skynet.open('b') skynet.publish('ready', 1)
            print(skynet.receive('c', 0.1))
            local function next_on(channel) local _, message = skynet.receive(channel, 10) return message end
            print(next_on('b'), next_on('a'), next_on())
            print(skynet.receive(nil, 0))";
        let mut other = app.listener("\"ready\"").await;
        let computer = computer(app, 1, program);
        other.event().await;
        for (channel, message) in [("\"a\"", "1"), ("\"a\"", "2"), ("\"b\"", "3")] {
            other.publish(channel, message).await;
        }
        let printed = computer.succeeds().await;
        assert_eq!(printed, "nil\ttimeout\n3\t1\t2\nnil\ttimeout\n");
    })
    .await;
}

#[tokio::test]
async fn events_of_others_are_given_back_in_order_to_the_program_that_waited() {
    with_app(config(), async |app| {
        let program = "
            local before = os.pullEventRaw
            skynet.open('a')
            os.queueEvent('one', { 1 }) os.queueEvent('two') os.queueEvent('three')
            skynet.sleep(0.1)
            print(os.pullEvent()) print(os.pullEvent('three')) print(os.pullEventRaw == before)
            os.queueEvent('key', 5) os.queueEvent('new')
            print(skynet.receive('a', 0.1))
            print(os.pullEvent('key')) print(os.pullEvent())";
        let printed = computer(app, 1, program).succeeds().await;
        assert!(printed.starts_with("one\ttable: "), "{printed}");
        assert!(printed.ends_with("\nthree\ntrue\nnil\ttimeout\nkey\t5\nnew\n"), "{printed}");
    })
    .await;
}

#[tokio::test]
async fn beside_a_program_every_coroutine_has_its_own_messages_and_events_once() {
    with_app(config(), async |app| {
        let program = "
            skynet.open('a') skynet.open('b')
            local function taker(name, channel, times)
              return function()
                for i = 1, times do
                  local _, message = skynet.receive(channel)
                  print(name .. message)
                  if i == 1 and name == 'all' then skynet.publish('ready', 1) end
                end
              end
            end
            local function keys()
              for i = 1, 3 do print('key' .. select(2, os.pullEvent('key'))) end
            end
            parallel.waitForAny(skynet.run, function()
              parallel.waitForAll(taker('all', nil, 4), taker('a', 'a', 2), taker('b', 'b', 2), keys)
            end)
            print('done')";
        let mut other = app.listener("\"ready\"").await;
        let computer = computer(app, 1, program);
        app.metric_is("skynet_subscriptions", &[], 3.0).await;
        other.publish("\"a\"", "1").await;
        other.event().await;
        for key in 1..=3 {
            computer.queue(vec!["key".into(), f64::from(key).into()]);
        }
        for (channel, message) in [("\"b\"", "2"), ("\"a\"", "3"), ("\"b\"", "4")] {
            other.publish(channel, message).await;
        }
        let printed = computer.succeeds().await;
        for (line, times) in
            [("all1", 1), ("a1", 1), ("b2", 1), ("all4", 1), ("a3", 1), ("b4", 1), ("key1", 1), ("key3", 1)]
        {
            assert_eq!(printed.lines().filter(|one| *one == line).count(), times, "{line} in {printed}");
        }
        assert_eq!(printed.lines().count(), 12, "{printed}");
    })
    .await;
}

#[tokio::test]
async fn several_programs_on_one_computer_do_not_hear_each_others_frames() {
    with_app(config(), async |app| {
        let program = "
            local other = dofile('skynet.lua')
            skynet.open('a') other.open('b')
            -- Two connections: the answer says that the hub has seen what went before.
            skynet.ping() other.ping()
            local function main()
              skynet.publish('b', 'to b') other.publish('a', 'to a')
              local _, mine = skynet.receive() local _, theirs = other.receive()
              print(mine) print(theirs)
              print(skynet.receive(nil, 0.1)) print(other.receive(nil, 0.1))
            end
            main()
            parallel.waitForAny(skynet.run, other.run, main)";
        let printed = computer(app, 1, program).succeeds().await;
        let once = "to a\nto b\nnil\ttimeout\nnil\ttimeout\n";
        assert_eq!(printed, format!("{once}{once}"));
    })
    .await;
}

#[tokio::test]
async fn requests_are_answered_and_errors_and_silence_are_told() {
    with_app(config(), async |app| {
        let server = computer(
            app,
            1,
            "parallel.waitForAny(skynet.run, function()
              skynet.serve('sums', function(data, full)
                if data == 'slow' then sleep(0.2) return 'slept' end
                if data == 'nothing' then return nil end
                return data.a + data.b
              end)
            end)",
        );
        app.metric_is("skynet_subscriptions", &[], 1.0).await;
        let client = computer(
            app,
            2,
            "parallel.waitForAll(function() print(skynet.request('sums', 'slow')) end, function()
              print(skynet.request('sums', { a = 1, b = 2 }))
            end)
            print((skynet.request('sums', 'nothing')))
            local answer, problem = skynet.request('sums', { a = 1 })
            print(answer, problem:match('attempt to perform arithmetic') ~= nil)
            print(skynet.request('nobody', 1, 0.1))",
        );
        let printed = client.succeeds().await;
        assert!(printed.contains("slept\t") && printed.contains("3\t"), "{printed}");
        assert!(printed.ends_with("\nnil\nnil\ttrue\nnil\tno answer within 0.1 s\n"), "{printed}");
        drop(server);
    })
    .await;
}

#[tokio::test]
async fn domain_not_permitted_is_explained_with_the_rule_to_add() {
    with_app(config(), async |app| {
        let mut options = Options::beside(app.hub());
        options.allowed.clear();
        let address = app.hub();
        let program = format!(
            "settings.set('skynet.server', 'ws://{address}/connect/')
            require('skynet').send('a', 1)"
        );
        let files = [("skynet.lua", crate::machine::LIBRARY), ("program.lua", program.as_str())];
        let computer = Computer::start(options, &files, "program");
        let problem = computer.ends().await.expect_err("it may not connect");
        let rule = format!(
            "[[http.rules]]\n    host = \"127.0.0.1\"\n    port = {}\n    action = \"allow\"",
            address.port()
        );
        assert!(problem.contains("computercraft-server.toml"), "{problem}");
        assert!(problem.contains(&rule), "{problem}");
    })
    .await;
}

#[tokio::test]
async fn other_failures_to_connect_are_explained() {
    with_app(config(), async |app| {
        let program = format!(
            "for _, url in ipairs({{ 'http://x/', 'nonsense', 'ws://{}/elsewhere', 'ws://127.0.0.1:1/connect' }}) do
              skynet.server = url
              print((select(2, pcall(skynet.send, 'a', 1)):gsub('\\n.*', '')))
            end",
            app.hub()
        );
        let printed = computer(app, 1, &program).succeeds().await;
        let lines: Vec<_> = printed.lines().collect();
        assert!(lines[0].contains("\"http://x/\" is no address of a hub (Invalid scheme 'http')"), "{printed}");
        assert!(lines[1].contains("\"nonsense\" is no address of a hub (URL malformed)"), "{printed}");
        assert!(lines[2].contains("does it end in /connect/ ?"), "{printed}");
        assert!(lines[3].contains("Domain not permitted"), "{printed}");
    })
    .await;
}

#[tokio::test]
async fn a_computer_says_who_it_is() {
    let token = "the-owner-of-this-test-0123456789";
    let mut config = config();
    config.admin.token = Some(skynet::config::Secret::new(token));
    with_app(config, async |app| {
        let mut options = Options::beside(app.hub()).with_id(17);
        options.label = Some("gäte".to_owned());
        let program = "settings.set('skynet.name', 'gate') require('skynet').connect()
            print('in') os.pullEvent('never')";
        let computer = Computer::running(options, program);
        computer.prints("in").await;
        let admin = app.admin();
        let request = format!(
            "GET /api/v1/clients HTTP/1.0\r\nHost: {admin}\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        let clients = crate::support::http::send(admin, &request).await.body;
        for part in ["\"gate\"", "\"17\"", "\"g??te\"", "computercraft/"] {
            assert!(clients.contains(part), "{part} in {clients}");
        }
        drop(computer);
    })
    .await;
}

#[tokio::test]
async fn it_runs_on_the_first_releases_for_minecraft_1_12() {
    with_app(config(), async |app| {
        let mut options = Options::beside(app.hub());
        (options.modern, options.text) = (false, Text::Latin1);
        let program = "local skynet = require 'skynet' skynet.open('a')
            print(skynet.publish('b', 'x') ~= nil, #skynet.logs(), skynet.ping() ~= nil)";
        assert_eq!(Computer::running(options, program).succeeds().await, "true\t1\ttrue\n");
    })
    .await;
}

#[tokio::test]
async fn a_program_with_its_own_event_loop_hands_events_over() {
    with_app(config(), async |app| {
        let program = "
            skynet.open('a') skynet.publish('ready', 1)
            while true do
              local event = table.pack(os.pullEvent())
              local ours = skynet.handle(table.unpack(event, 1, event.n))
              if skynet.status().waiting > 0 then
                local _, message = skynet.receive('a', 0)
                print(message, ours)
                break
              end
            end";
        let mut other = app.listener("\"ready\"").await;
        let computer = computer(app, 1, program);
        other.event().await;
        other.publish("\"a\"", "\"hello\"").await;
        computer.prints("hello\ttrue").await;
        computer.succeeds().await;
    })
    .await;
}

#[test]
fn the_examples_of_the_documentation_are_lua() {
    let pages = [
        include_str!("../../docs/computercraft.md"),
        include_str!("../../docs/protocol.md"),
        include_str!("../../README.md"),
    ];
    let blocks = pages.iter().flat_map(|page| page.split("```lua\n").skip(1));
    let blocks: Vec<_> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() > 7, "the examples are found");
    for block in blocks {
        let loaded = mlua::Lua::new().load(block).into_function();
        assert!(loaded.is_ok(), "{}\n{block}", loaded.unwrap_err());
    }
}

#[tokio::test]
async fn publish_gives_the_answer_to_its_own_message_after_a_burst_of_others() {
    with_app(unhurried(), async |app| {
        let program = "
            for count = 1, 3 do
              for i = 1, 400 * count do skynet.send('a', i) end
              local sent, problem = skynet.publish('a', 'last ' .. count, nil, 10)
              print(sent and sent.message, problem)
            end";
        let printed = computer(app, 1, program).succeeds().await;
        assert_eq!(printed, "last 1\tnil\nlast 2\tnil\nlast 3\tnil\n");
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_is_told_and_does_not_end_a_program_that_remembers() {
    with_app(config(), async |app| {
        let program = "
            local open = fs.open
            function fs.open(path, mode)
              local file, problem = open(path, mode)
              if mode == 'w' then file.write = function() error('Out of space') end end
              return file, problem
            end
            skynet.open('a', { remember = true }) skynet.publish('ready', 1)
            print(skynet.receive('a'))
            skynet.sleep(1.5)
            local _, text = os.pullEvent('skynet_error') print(text)
            print(#fs.list('/.skynet'))";
        let mut other = app.listener("\"ready\"").await;
        let computer = computer(app, 1, program);
        other.event().await;
        other.publish("\"a\"", "1").await;
        let printed = computer.succeeds().await;
        assert!(printed.contains("cannot remember what was read on a: "), "{printed}");
        assert!(printed.ends_with("Out of space\n0\n"), "{printed}");
    })
    .await;
}
