//! Longer scenes: the hub restarts, computers reboot, floods come, owners ban.

use std::net::SocketAddr;

use skynet::config::{Config, Secret};

use crate::{
    machine::{Computer, Options},
    support::{TestApp, config, http, raw::Raw, unhurried, with_app},
};

const TOKEN: &str = "the-owner-of-this-test-0123456789";

fn computer(hub: SocketAddr, id: u32, program: &str) -> Computer {
    let program = format!("local skynet = require 'skynet' skynet.pause = 0.2\n{program}");
    Computer::running(Options::beside(hub).with_id(id), &program)
}

/// A configuration on the port of a hub that has stopped.
fn again_at(hub: SocketAddr) -> Config {
    let mut config = unhurried();
    config.hub.listen = hub;
    config
}

async fn publish_numbers(client: &mut Raw, channel: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        client.publish(channel, &number.to_string()).await;
    }
}

#[tokio::test]
async fn a_restart_under_a_chatting_computer_loses_nothing_that_the_log_has() {
    let app = TestApp::start(unhurried()).await;
    let hub = app.hub();
    let program = "
        skynet.open('chat') skynet.open('quiet')
        parallel.waitForAny(skynet.listen, function()
          skynet.publish('ready', 1)
          while true do
            local event, first, second, full = os.pullEvent()
            if event == 'skynet_message' then
              print(first .. ' ' .. second .. (full.replay and ' again' or ''))
              skynet.send('heard', second)
            elseif event == 'skynet_gap' then print('gap ' .. first) end
          end
        end)";
    let mut client = app.listener("\"ready\"").await;
    let computer = computer(hub, 1, program);
    client.event().await;
    publish_numbers(&mut client, "\"chat\"", 0..3).await;
    computer.prints("chat 2\n").await;
    drop(client);
    app.stop().await;
    // Before the computer is back, and after.
    let app = TestApp::start(again_at(hub)).await;
    let mut client = app.listener("\"heard\"").await;
    publish_numbers(&mut client, "\"chat\"", 3..6).await;
    client.publish("\"quiet\"", "\"psst\"").await;
    computer.prints("quiet psst").await;
    publish_numbers(&mut client, "\"chat\"", 6..9).await;
    computer.prints("chat 8\n").await;
    let printed = computer.printed();
    let heard: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix("chat ")).collect();
    let numbers = heard.iter().map(|line| line.split(' ').next().expect("a number"));
    let numbers: Vec<u32> = numbers.map(|number| number.parse().expect("a number")).collect();
    assert_eq!(numbers, (0..9).collect::<Vec<_>>(), "each once and in order: {printed}");
    assert!(printed.contains("gap chat"), "the log before the restart is gone, and that is told");
    drop((computer, client));
    app.is_empty().await;
    app.stop().await;
}

#[tokio::test]
async fn a_broken_connection_loses_nothing_at_all() {
    with_app(unhurried(), async |app| {
        let program = "
            skynet.open('a') skynet.open('b')
            skynet.publish('ready', 1)
            for i = 0, 29 do
              local channel, message, full = skynet.receive()
              assert(message == i, 'got ' .. message .. ' for ' .. i)
              if i % 10 == 4 then skynet.socket.close() end
              skynet.send('heard', i)
            end
            print('all')";
        let mut client = app.listener("\"heard\"").await;
        client.open("\"ready\"").await;
        let computer = computer(app.hub(), 1, program);
        client.event().await;
        for number in 0..30 {
            let channel = if number % 3 == 0 { "\"a\"" } else { "\"b\"" };
            client.publish(channel, &number.to_string()).await;
        }
        assert_eq!(computer.succeeds().await, "all\n");
    })
    .await;
}

#[tokio::test]
async fn a_computer_reboots_and_catches_up() {
    with_app(unhurried(), async |app| {
        let program = "
            skynet.open('jobs', { remember = true })
            skynet.publish('ready', 1)
            parallel.waitForAny(skynet.run, function()
              while true do print('job ' .. select(2, skynet.receive('jobs'))) end
            end)";
        let mut client = app.listener("\"ready\"").await;
        // What was said before the first start is not asked for.
        client.publish("\"jobs\"", "\"old\"").await;
        let computer = computer(app.hub(), 1, program);
        client.event().await;
        publish_numbers(&mut client, "\"jobs\"", 0..3).await;
        computer.prints("job 2\n").await;
        let last = client.command(r#"{"type":"log","end":1}"#).await;
        let last = last.array_of("log")[0].text_of("ID");
        computer.until("it has noted what it read", || noted(&computer).contains(&last)).await;
        let shared = computer.shared.clone();
        let before = computer.printed();
        drop(computer);
        publish_numbers(&mut client, "\"jobs\"", 3..6).await;
        let files = shared.files.lock().unwrap().clone();
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (path.as_str(), std::str::from_utf8(text).unwrap()))
            .collect();
        let again = Computer::start(shared.options.clone(), &files, "program");
        client.event().await;
        again.prints("job 5\n").await;
        client.publish("\"jobs\"", "6").await;
        again.prints("job 6\n").await;
        assert_eq!(before, "job 0\njob 1\njob 2\n");
        assert_eq!(again.printed(), "job 3\njob 4\njob 5\njob 6\n");
    })
    .await;
}

/// What a computer has noted of what it read.
fn noted(computer: &Computer) -> String {
    let files = computer.shared.files.lock().expect("no panic under the lock");
    let noted = files.iter().filter(|(name, _)| name.starts_with(".skynet/"));
    noted.map(|(_, text)| String::from_utf8_lossy(text).into_owned()).collect()
}

#[tokio::test]
async fn open_gives_the_last_messages_and_those_since_an_id() {
    with_app(unhurried(), async |app| {
        let mut client = app.client().await;
        publish_numbers(&mut client, "\"a\"", 0..10).await;
        publish_numbers(&mut client, "5", 0..3).await;
        let program = "
            local function next_on(channel)
              local name, message, full = skynet.receive(channel, 0.3)
              return name and message .. (full.replay and 'r' or '')
            end
            skynet.open('a', { last = 2 })
            print(next_on('a'), next_on('a'), next_on('a'))
            local log = skynet.logs(0, 2, 5)
            print(#log, log[1].channel, log[1].message, #skynet.logs(0, 100))
            skynet.open(5, { since = log[2].ID })
            print(next_on(5), next_on(5))
            print(select(2, pcall(skynet.open, 5, { last = 1 })))
            skynet.open('b', { since = 'no ID' })
            print(pcall(skynet.receive, 'b', 5))";
        let printed = computer(app.hub(), 1, program).succeeds().await;
        let lines: Vec<_> = printed.lines().collect();
        assert_eq!(lines[..3], ["8r\t9r\tnil", "2\t5\t2\t13", "2r\tnil"]);
        assert!(lines[3].contains("channel 5 is open already"), "{printed}");
        assert!(lines[4].starts_with("false\t"), "{printed}");
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_5000_at_a_computer_of_20_events_a_second_arrives_whole() {
    with_app(unhurried(), async |app| {
        let mut options = Options::beside(app.hub());
        options.events_per_second = Some(20);
        let program = "local skynet = require 'skynet'
            skynet.open('flood') skynet.publish('ready', 1)
            for i = 0, 4999 do
              local _, message = skynet.receive('flood')
              assert(message == i, 'got ' .. message .. ' for ' .. i)
            end
            print('whole', skynet.status().dropped)";
        let mut ready = app.listener("\"ready\"").await;
        let computer = Computer::running(options, program);
        ready.event().await;
        let mut sender = app.client().await;
        let mut bytes = Vec::new();
        for number in 0..5000 {
            let command = format!(r#"{{"type":"message","channel":"flood","message":{number}}}"#);
            bytes
                .extend(crate::support::raw::masked(crate::support::raw::TEXT, command.as_bytes()));
        }
        sender.write(&bytes).await;
        for _ in 0..5000 {
            sender.reply_text().await;
        }
        assert_eq!(computer.succeeds().await, "whole\t0\n");
        assert_eq!(computer.shared.events.dropped(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_banned_computer_stays_away() {
    let mut config = config();
    config.admin.token = Some(Secret::new(TOKEN));
    with_app(config, async |app| {
        let program = "settings.set('skynet.name', 'pest')
            local skynet = require 'skynet' skynet.pause = 0.05
            local ok, problem = pcall(skynet.run)
            print(problem)
            print(select(2, pcall(skynet.send, 'a', 1)))
            sleep(1)
            print('still away')";
        let computer = Computer::running(Options::beside(app.hub()), program);
        app.metric_is("skynet_clients", &[], 1.0).await;
        let admin = app.admin();
        let request = format!(
            "DELETE /api/v1/clients/1?reason=too+loud&ban=10m HTTP/1.0\r\nHost: {admin}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        assert_eq!(http::send(admin, &request).await.status, 204);
        computer.prints("still away").await;
        let told = "The hub closed the connection and does not want this program back (4501): too loud\n";
        assert_eq!(computer.printed(), format!("{told}{told}still away\n"));
        assert_eq!(app.metric("skynet_connections_total", &[]).await, 1.0, "it has not come back");
        // A new program tries once, and is told.
        let again = computer.reboot("program");
        again.prints("(4501)").await;
        again.prints("still away").await;
        assert_eq!(app.metric("skynet_connections_total", &[]).await, 2.0);
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_not_known_is_explained() {
    with_app(config(), async |app| {
        let program = "settings.set('skynet.token', 'made-up-token-0123456789')
            local skynet = require 'skynet'
            print(pcall(skynet.receive, 'a', 5))";
        let printed = Computer::running(Options::beside(app.hub()), program).succeeds().await;
        assert!(printed.starts_with("false\t") && printed.contains("(4502)"), "{printed}");
    })
    .await;
}
