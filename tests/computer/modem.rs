//! The modem: rednet and programs written for modems, between computers of different servers.

use crate::{
    machine::{Computer, Options},
    support::{TestApp, config, with_app},
};

/// A computer with the modem beside a program.
fn computer(app: &TestApp, id: u32, program: &str) -> Computer {
    let program = format!(
        "local skynet = require 'skynet'\n skynet.modem()\n skynet.run(function()\n skynet.connect()\n{program}\nend)"
    );
    Computer::running(Options::beside(app.hub()).with_id(id), &program)
}

#[tokio::test]
async fn rednet_works_between_two_computers() {
    with_app(config(), async |app| {
        let answering = computer(
            app,
            7,
            "rednet.open('skynet')
            skynet.publish('ready', 1)
            local from, message, protocol = rednet.receive()
            print(from, message.text, message[1], message[3], message[5] ~= message[5], protocol)
            rednet.send(from, { reply = true, empty = {} }, 'back')
            from, message = rednet.receive('all') print(from, message)",
        );
        app.metric_is("skynet_messages_total", &[], 1.0).await;
        let asking = computer(
            app,
            8,
            "rednet.open('skynet')
            print(rednet.isOpen(), rednet.isOpen('skynet'), peripheral.find('modem', rednet.open))
            rednet.send(7, { text = 'a\\255', [1] = 'x', [3] = true, [5] = 0 / 0 }, 'greeting')
            local from, message, protocol = rednet.receive('back', 10)
            print(from, message.reply, type(message.empty), protocol)
            rednet.broadcast('to all', 'all')",
        );
        let printed = asking.succeeds().await;
        assert_eq!(printed, "true\ttrue\n7\ttrue\ttable\tback\n");
        assert_eq!(answering.ends().await, Ok(()));
        let screen = answering.shared.screen.lock().unwrap().transcript.clone();
        let expected = b"8\ta\xff\tx\ttrue\ttrue\tgreeting\n8\tto all\n";
        assert_eq!(String::from_utf8_lossy(&screen), String::from_utf8_lossy(expected));
    })
    .await;
}

#[tokio::test]
async fn hosts_are_found_by_rednet_lookup() {
    with_app(config(), async |app| {
        let host = computer(
            app,
            7,
            "rednet.open('skynet') rednet.host('shop', 'corner')
            skynet.publish('ready', 1) while true do os.pullEvent() end",
        );
        app.metric_is("skynet_messages_total", &[], 1.0).await;
        let asking = computer(
            app,
            8,
            "rednet.open('skynet') print(rednet.lookup('shop', 'corner'), rednet.lookup('shop', 'none'))",
        );
        assert_eq!(asking.succeeds().await, "7\tnil\n");
        drop(host);
    })
    .await;
}

#[tokio::test]
async fn a_program_for_modems_finds_channels_and_reply_channels() {
    with_app(config(), async |app| {
        let program = "
            local modem = peripheral.find('modem')
            print(modem.isWireless(), peripheral.getName(modem), peripheral.getType('skynet'),
              peripheral.hasType('skynet', 'modem'), #peripheral.getNames(), peripheral.isPresent('skynet'))
            print(#modem.getNamesRemote(), modem.isOpen(15), pcall(modem.open, 65536))
            modem.open(15) modem.open(65535) modem.open(0)
            print(modem.isOpen(15), modem.isOpen(16), peripheral.call('skynet', 'isOpen', 0))
            modem.close(0) print(modem.isOpen(0))
            skynet.publish('ready', 1)
            for i = 1, 2 do print(os.pullEvent('modem_message')) end
            modem.closeAll() print(modem.isOpen(15))
            skynet.remove_modem() print(peripheral.isPresent('skynet'), peripheral.find('modem'))";
        let mut other = app.listener("\"ready\"").await;
        let computer = computer(app, 1, program);
        other.event().await;
        // Any client can play a modem.
        for (channel, reply) in [(0, 1), (15, 43), (16, 1), (65535, 65533)] {
            let message = format!(
                r#"{{"type":"message","channel":"modem:{channel}","message":"on {channel}","reply":{reply}}}"#
            );
            other.command(&message).await;
        }
        let printed = computer.succeeds().await;
        let lines: Vec<_> = printed.lines().collect();
        assert_eq!(lines[0], "true\tskynet\tmodem\ttrue\t1\ttrue");
        assert!(lines[1].starts_with("0\tfalse\tfalse\t"), "{printed}");
        assert!(lines[1].ends_with("Expected number in range 0-65535"), "{printed}");
        assert_eq!(lines[2..4], ["true\tfalse\ttrue", "false"]);
        assert_eq!(lines[4], "modem_message\tskynet\t15\t43\ton 15");
        assert_eq!(lines[5], "modem_message\tskynet\t65535\t65533\ton 65535");
        assert_eq!(lines[6..], ["false", "false"]);
    })
    .await;
}

#[tokio::test]
async fn networks_of_different_names_do_not_hear_each_other() {
    with_app(config(), async |app| {
        let program = "
            local skynet = require 'skynet'
            local here, there = skynet.modem(), skynet.modem { side = 'other', network = 'secret' }
            skynet.run(function()
              skynet.connect() here.open(5) there.open(5)
              skynet.publish('ready', 1)
              print(os.pullEvent('modem_message'))
            end)";
        let mut other = app.listener("\"ready\"").await;
        let computer = Computer::running(Options::beside(app.hub()), program);
        other.event().await;
        other
            .command(r#"{"type":"message","channel":"modem:third:5","message":1,"reply":2}"#)
            .await;
        other
            .command(r#"{"type":"message","channel":"modem:secret:5","message":3,"reply":4}"#)
            .await;
        assert_eq!(computer.succeeds().await, "modem_message\tother\t5\t4\t3\n");
    })
    .await;
}

#[tokio::test]
async fn the_modem_program_gives_other_programs_a_modem_and_takes_it_away() {
    with_app(config(), async |app| {
        let server =
            format!("settings.set('skynet.server', 'ws://{}/connect/') settings.save()", app.hub());
        let files = [
            ("skynet.lua", crate::machine::LIBRARY),
            ("set.lua", server.as_str()),
            (
                "echo.lua",
                "local n = ... rednet.open('skynet') print('echo ' .. n) print(rednet.receive())",
            ),
        ];
        let set = Computer::start(Options::beside(app.hub()).with_id(3), &files, "set");
        set.succeeds().await;
        let listening = set.reboot("skynet modem echo once");
        listening.prints("echo once").await;
        app.metric_is("skynet_subscriptions", &[], 2.0).await;
        let sender =
            computer(app, 4, "rednet.open('skynet') rednet.send(3, 'hi') skynet.publish('x', 1)");
        sender.succeeds().await;
        drop(sender);
        assert!(listening.succeeds().await.ends_with("echo once\n4\thi\tnil\n"));
        let interactive = listening.reboot("skynet modem --network home");
        interactive.prints("until you type exit").await;
        interactive.types("echo two");
        interactive.prints("echo two\necho two").await;
        app.metric_is("skynet_subscriptions", &[], 2.0).await;
    })
    .await;
}

#[tokio::test]
async fn modems_on_two_sides_hear_the_same_channel_and_close_it_each_for_itself() {
    with_app(config(), async |app| {
        let program = "
            local left, right = skynet.modem { side = 'a' }, skynet.modem { side = 'b' }
            left.open(5) right.open(5)
            skynet.run(function()
              skynet.publish('ready', 1)
              local heard = {}
              for i = 1, 2 do
                local _, side, channel, reply, message = os.pullEvent('modem_message')
                heard[side] = message
              end
              print(heard.a, heard.b)
              left.close(5) print(left.isOpen(5), right.isOpen(5))
              skynet.publish('ready', 2)
              print(os.pullEvent('modem_message'))
            end)";
        let mut other = app.listener("\"ready\"").await;
        let computer = computer(app, 1, program);
        for said in ["x", "y"] {
            other.event().await;
            let message =
                format!(r#"{{"type":"message","channel":"modem:5","message":"{said}","reply":1}}"#);
            other.command(&message).await;
        }
        let printed = computer.succeeds().await;
        assert!(printed.ends_with("x\tx\nfalse\ttrue\nmodem_message\tb\t5\t1\ty\n"), "{printed}");
    })
    .await;
}
