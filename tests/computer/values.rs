//! What can be sent: bytes, sizes, tables, and the library's own JSON.

use crate::{
    library::computer,
    machine::{Computer, Options, Text},
    support::{config, unhurried, with_app},
};

#[tokio::test]
async fn any_string_of_bytes_comes_back_whole_on_games_of_every_age() {
    with_app(config(), async |app| {
        for (text, other) in [(Text::Utf8, Text::Latin1), (Text::Latin1, Text::Utf8)] {
            let all = "local all = {} for i = 0, 255 do all[#all + 1] = string.char(i) end
                all = table.concat(all) .. '\\195\\169'\n";
            let mut options = Options::beside(app.hub());
            options.text = text;
            let listener = format!(
                "local skynet = require 'skynet'\n{all} skynet.open('bytes') skynet.publish('ready', 1)
                local _, message, full = skynet.receive('bytes')
                print(message == all, full['k\\255'] == '\\254', #message)
                _, message = skynet.receive('bytes') print(#message, message:byte(1, 3))"
            );
            let mut outside = app.listener("\"ready\"").await;
            let listener = Computer::running(options.clone(), &listener);
            outside.event().await;
            options.text = other;
            let sender = format!(
                "local skynet = require 'skynet'\n{all} skynet.send('bytes', all, {{ ['k\\255'] = '\\254' }})
                skynet.publish('done', 1)"
            );
            let sender = Computer::running(options, &sender);
            sender.succeeds().await;
            outside.publish("\"bytes\"", "\"é€\\ud83d\\ude00\"").await;
            let printed = listener.succeeds().await;
            assert_eq!(printed, "true\ttrue\t258\n3\t233\t63\t63\n", "{text:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_message_at_the_limit_arrives_and_one_of_130_kib_is_refused_with_both_numbers() {
    with_app(config(), async |app| {
        let listener = computer(
            app,
            1,
            "skynet.open('big') skynet.publish('ready', 1)
            local _, message = skynet.receive('big') print(#message)
            _, message = skynet.receive('big') print(message)",
        );
        let mut outside = app.listener("\"ready\"").await;
        if listener.printed().is_empty() {
            outside.event().await;
        }
        let sender = computer(
            app,
            2,
            r#"local frame = '{"type":"message","channel":"big","message":""}'
            local most = 130048 - 65 - #frame
            print(skynet.publish('big', ('x'):rep(most)) ~= nil)
            print(pcall(skynet.send, 'big', ('x'):rep(most + 1)))
            print(pcall(skynet.send, 'big', ('x'):rep(130 * 1024)))
            print(pcall(skynet.send, 'big', ('\255'):rep(40000)))
            skynet.publish('big', 'and on')"#,
        );
        let printed = sender.succeeds().await;
        let lines: Vec<_> = printed.lines().collect();
        assert_eq!(lines[0], "true");
        assert!(
            lines[1].contains("130,049 bytes") && lines[1].contains("130,048 at most"),
            "{printed}"
        );
        assert!(lines[2].contains("133,") && lines[2].contains("130,048 at most"), "{printed}");
        assert!(lines[3].contains("240,0") && lines[3].contains("131,072 at most"), "{printed}");
        assert_eq!(listener.succeeds().await, format!("{}\nand on\n", 130_048 - 65 - 47));
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_sent_is_an_error_that_says_why() {
    with_app(config(), async |app| {
        let program = "
            local function try(...) local _, problem = pcall(...) print((problem:gsub('^[^ ]*:%d+: ', ''))) end
            try(skynet.send, 'a', 0 / 0)
            try(skynet.send, 'a', { 1, 2, x = 3 })
            try(skynet.send, 'a', { [1] = 1, [3] = 3 })
            try(skynet.send, 'a', { 1, nil, 3, [0] = 'lost' })
            try(skynet.send, 'a', print)
            local loop = {} loop[1] = loop
            try(skynet.send, 'a', loop)
            try(skynet.send, nil, 1)
            try(skynet.open, 0 / 0)
            try(skynet.open, ('x'):rep(256))
            try(skynet.receive, 'a', 'soon')
            try(skynet.open, 'a', 5)
            print(skynet.publish('a', { skynet.null, {}, skynet.json.empty_object }))
            print(skynet.status().state)";
        let printed = computer(app, 1, program).succeeds().await;
        let lines: Vec<_> = printed.lines().collect();
        for (line, part) in lines.iter().zip([
            "JSON has no such number",
            "both list items and named keys",
            "a list with holes",
            "a list with holes",
            "cannot send a function",
            "nested deeper than 120, or in themselves",
            "bad channel (string or number expected, got nil)",
            "bad channel",
            "a name of 256 bytes; 255 at most",
            "bad timeout (seconds or nil expected, got soon)",
            "bad options (table expected, got number)",
            "table",
            "open",
        ]) {
            assert!(line.contains(part), "{line:?} has {part:?}");
        }
        assert_eq!(lines.len(), 13);
    })
    .await;
}

#[tokio::test]
async fn json_reads_what_the_hub_writes_fast_enough_for_the_game() {
    with_app(unhurried(), async |app| {
        let program = r#"
            local json = skynet.json
            print(json.decode('{"a":[1,-2.5e3,null,true,false,"\\u00e9\\n\\ud83d"],"b":{}}').a[6] == '\233\n?')
            for _, bad in ipairs({ '', '{', '[1,]', '{"a"}', '"x', '01x', 'nul', '[1] 2', '"\\x"', '{"a":1,}', '"\\u12g4"' }) do
              local value, problem = json.decode(bad)
              assert(value == nil and problem:find('expected at byte'), bad)
            end
            for _, number in ipairs({ 0.1, 1 / 3, 1e21, -5, 2 ^ 53, 1e-7, 123456789012345 }) do
              assert(json.decode(json.encode(number)) == number, number)
            end
            print(json.encode({ 5, 1e15, 0.1, -0 }), json.encode({}), json.encode(skynet.null))
            local one = { type = 'message', channel = 'c', message = ('x'):rep(60), ID = 'i', time = 1700000000123 }
            local events = {}
            for i = 1, 800 do events[i] = one end
            local text = json.encode({ events = events })
            assert(#text > 80000 and #text < 131072, #text)
            local from = os.epoch('utc')
            for i = 1, 10 do json.decode(text) end
            local each = (os.epoch('utc') - from) / 10
            assert(each < 500, each)
            print('fast')"#;
        let printed = computer(app, 1, program).succeeds().await;
        let (first, rest) = printed.split_once('\n').expect("lines");
        assert_eq!(first, "true");
        assert!(rest.starts_with("[5,1e+15,0.1,"), "{rest}");
        assert!(rest.ends_with("\t[]\tnull\nfast\n"), "{rest}");
    })
    .await;
}
