//! The programs: `skynet chat`, `tail`, `send`, `status` and the rest, as players type them.

use crate::{
    machine::{Computer, LIBRARY, Options},
    support::{TestApp, config, with_app},
};

/// A computer with the program installed and set up, into whose shell a command is typed.
async fn shell(app: &TestApp, id: u32, command: &str) -> Computer {
    let setup =
        format!("settings.set('skynet.server', 'ws://{}/connect/') settings.save()", app.hub());
    let files = [("skynet.lua", LIBRARY), ("setup.lua", setup.as_str())];
    let computer = Computer::start(Options::beside(app.hub()).with_id(id), &files, "setup");
    computer.succeeds().await;
    computer.reboot(command)
}

#[tokio::test]
async fn send_says_that_the_hub_has_it_and_tail_shows_it() {
    with_app(config(), async |app| {
        let tail = shell(app, 1, "skynet tail *").await;
        let named = shell(app, 2, "skynet tail 5").await;
        app.metric_is("skynet_subscriptions", &[], 2.0).await;
        let send = shell(app, 3, "skynet send doors it is open").await;
        assert_eq!(send.succeeds().await, "Sent to doors\n");
        tail.prints("doors computer 3: it is open\n").await;
        shell(app, 4, "skynet send 5 five").await.succeeds().await;
        named.prints("5 computer 4: five\n").await;
        tail.prints("5 computer 4: five\n").await;
        assert_eq!(named.printed(), "5 computer 4: five\n");
    })
    .await;
}

#[tokio::test]
async fn a_channel_is_a_number_a_text_or_several_words_as_it_is_quoted() {
    with_app(config(), async |app| {
        let mut other = app.client().await;
        for (typed, channel) in [("5", "5"), ("'5'", r#""5""#), (r#""my doors""#, r#""my doors""#)]
        {
            other.open(channel).await;
            let sent = shell(app, 1, &format!("skynet send {typed} hello")).await;
            sent.succeeds().await;
            let event = other.event_text().await;
            assert!(event.contains(&format!(r#""channel":{channel},"#)), "{typed}: {event}");
        }
    })
    .await;
}

#[tokio::test]
async fn status_says_where_the_hub_is_and_how_far() {
    with_app(config(), async |app| {
        let printed = shell(app, 9, "skynet status").await.succeeds().await;
        let hub = app.hub();
        assert!(printed.contains("as computer 9 (computer 9)"), "{printed}");
        assert!(
            printed.contains(&format!(
                "Hub: ws://{hub}/connect/\nNo token is set.\nConnected; an answer takes "
            )),
            "{printed}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_word_that_is_no_program_shows_the_help() {
    with_app(config(), async |app| {
        let computer = shell(app, 1, "skynet dance").await;
        assert_eq!(computer.ends().await, Err("There is no skynet dance".to_owned()));
        assert!(computer.printed().contains("skynet chat [channel]"));
        let help = shell(app, 1, "skynet").await.succeeds().await;
        assert!(help.contains("set skynet.server, skynet.name, skynet.token"), "{help}");
        let usage = shell(app, 1, "skynet send doors").await.ends().await;
        assert_eq!(usage, Err("What, and where? skynet send <channel> <message>".to_owned()));
        let version = concat!(env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!(shell(app, 1, "skynet version").await.succeeds().await, version);
    })
    .await;
}

#[tokio::test]
async fn two_players_chat() {
    with_app(config(), async |app| {
        let ann = shell(app, 1, "skynet chat lobby").await;
        let bob = shell(app, 2, "skynet chat lobby").await;
        app.metric_is("skynet_subscriptions", &[], 2.0).await;
        ann.types("hello bob");
        bob.prints("<computer 1> hello bob").await;
        bob.types("hello ann");
        ann.prints("<computer 2> hello ann").await;
        bob.types("/who");
        bob.prints("<computer 1> is here").await;
        let screen = bob.screen();
        assert!(screen.contains("\n<computer 1> hello bob\n<computer 2> hello ann\n"), "{screen}");
        let lines: Vec<_> = screen.lines().collect();
        assert_eq!(lines.last(), Some(&">"), "the line to type in is at the bottom: {screen}");
        ann.types("/quit");
        ann.succeeds().await;
        assert_eq!(ann.screen().trim(), "", "the screen is left clean");
        app.metric_is("skynet_clients", &[], 1.0).await;
    })
    .await;
}

#[tokio::test]
async fn the_chat_ends_with_control_t_and_leaves_the_hub() {
    with_app(config(), async |app| {
        let chat = shell(app, 1, "skynet chat").await;
        app.metric_is("skynet_subscriptions", &[], 1.0).await;
        chat.queue(vec!["terminate".into()]);
        assert_eq!(chat.ends().await, Err("Terminated".to_owned()));
        app.metric_is("skynet_clients", &[], 0.0).await;
    })
    .await;
}

#[tokio::test]
async fn the_install_line_works_as_typed_and_again_to_update() {
    with_app(config(), async |app| {
        let line = format!("wget run http://{}/install.lua", app.hub());
        let computer = Computer::start(Options::beside(app.hub()), &[], &line);
        let printed = computer.succeeds().await;
        let version = env!("CARGO_PKG_VERSION");
        assert!(printed.contains(version), "it says which version: {printed}");
        // The hub has written its own address into the file.
        let status = computer.reboot("skynet status");
        let printed = status.succeeds().await;
        assert!(printed.contains(&format!("Hub: ws://{}/connect/", app.hub())), "{printed}");
        let files = status.files();
        assert_eq!(files, ["skynet.lua"], "nothing else is left");
        let again = status.reboot(&line);
        again.succeeds().await;
        again.reboot("skynet send a b").succeeds().await;
    })
    .await;
}
