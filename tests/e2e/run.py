"""The end-to-end test: the real binary, and three clients in three languages that talk through it.

Two of the websocket clients are not ours (Python `websockets`, Node `ws`); the third is a Lua program
that behaves as the game does (client.lua). Each scene below is one fact about the hub that is seen
from outside; they run in order on one server, which the last one stops.

Usage: run.py [--long] PATH_OF_THE_BINARY (--long: scenes that take a minute too)
Needs: this Python with `websockets`, Node with `ws` (NODE_PATH), LuaJIT or Lua 5.1 with LuaSocket and
lua-cjson. `.ci/run` installs them.
"""

import http.client
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import traceback

sys.dont_write_bytecode = True

from stage import DEADLINE_S, Failure, Stage, abridged  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
CHANNEL = "rendezvous"
PRIVATE = "a body that no log may hold"


def check(condition, expectation, *seen):
    if not condition:
        raise Failure("; ".join([expectation, *("seen: " + abridged(value) for value in seen)]))


class Play:
    """The clients of a stage, and what was published so far, newest first."""

    def __init__(self, stage):
        self.stage = stage
        self.server = stage.server
        self.python = stage.clients["python"]
        self.node = stage.clients["node"]
        self.lua = stage.clients["lua"]
        self.everybody = [self.python, self.node, self.lua]
        self.published = []

    def opened(self, client, channel, expected):
        answer = client.ask({"type": "open", "channel": channel})
        wanted = {"type": "result", "for": "open", "channels": expected}
        check(answer == wanted, f"{client.name}: open answers with the open channels", answer)

    def publish(self, sender, keys, receivers, send=None):
        """Sends a message and checks the sender's result and the event of each receiver."""
        command = {"type": "message", **keys}
        before = time.time_ns() // 1_000_000
        if send is None:
            sender.send(command)
        else:
            send()
        result = sender.frame()
        after = time.time_ns() // 1_000_000
        check(
            result.get("type") == "result" and result.get("for") == "message",
            f"{sender.name}: a message is answered with a result",
            result,
        )
        check(isinstance(result.get("ID"), str) and result["ID"], "the ID is a text", result)
        check(
            isinstance(result.get("time"), int) and before - 1 <= result["time"] <= after + 1,
            f"the time is now, in milliseconds ({before} to {after})",
            result,
        )
        event = command | {"ID": result["ID"], "time": result["time"]}
        wanted = event | {"type": "result", "for": "message"}
        check(result == wanted, "the result holds the keys of the message", result, wanted)
        for receiver in receivers:
            seen = receiver.frame()
            check(seen == event, f"{receiver.name} receives what {sender.name} sent", seen, event)
        self.published.insert(0, event)

    def publish_to_others(self, sender, message, /, **keys):
        others = [client for client in self.everybody if client is not sender]
        self.publish(sender, {"channel": CHANNEL, "message": message, **keys}, others)


def three_languages_connect_and_no_extension_is_negotiated(play):
    for client in play.everybody:
        connected = client.connect(play.server)
        check(connected["extensions"] == "", f"{client.name}: no extension", connected)


def everything_but_the_hub_itself_is_refused_with_a_status(play):
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for path, headers, wanted in [
        ("/elsewhere", upgrade, 404),
        ("/connect/further", upgrade, 404),
        ("/connect", {}, 426),
        ("/connect/", {}, 426),
    ]:
        connection = http.client.HTTPConnection(
            play.server.host, play.server.port, timeout=DEADLINE_S
        )
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        check(response.status == wanted, f"GET {path} gets {wanted}", response.status)
        check(wanted != 426 or b" " in body, "426 says in a sentence what this is", repr(body))


def the_installer_puts_the_library_on_a_computer_and_harms_no_other(play):
    done = subprocess.run(
        [lua(), str(HERE / "install.lua"), play.server.host, str(play.server.port)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    check(done.returncode == 0, "every scene of install.lua passes", done.stdout + done.stderr)


def open_answers_with_the_list_of_open_channels(play):
    for client in play.everybody:
        play.opened(client, CHANNEL, [CHANNEL])
        play.opened(client, CHANNEL, [CHANNEL])


def each_message_reaches_the_two_others_and_not_its_sender(play):
    # Whatever a sender received of its own would come before the next thing that it is sent.
    for turn in range(3):
        for client in play.everybody:
            play.publish_to_others(client, f"{client.name} says {turn}")


def all_keys_of_a_message_travel(play):
    value = {"list": [1, 2.5, "three", True], "nested": {"for": "you"}}
    for client in play.everybody:
        play.publish_to_others(client, value, sender=client.name, answer=42, urgent=False)


def the_servers_keys_replace_those_of_the_sender(play):
    play.python.send(
        {
            "type": "message",
            "channel": CHANNEL,
            "message": "forged",
            "ID": "mine",
            "time": 1,
            "for": "somebody",
        }
    )
    result = play.python.frame()
    check(result["for"] == "message", "the result says what it is for", result)
    check(result["ID"] != "mine" and result["time"] > 1, "ID and time are the server's", result)
    event = result | {"type": "message", "for": "somebody"}
    for receiver in [play.node, play.lua]:
        seen = receiver.frame()
        check(seen == event, f"{receiver.name}: the event keeps `for`", seen, event)
    play.published.insert(0, event)


def the_number_5_and_the_text_5_are_two_channels(play):
    play.opened(play.python, 5, [CHANNEL, 5])
    play.opened(play.node, "5", [CHANNEL, "5"])
    play.opened(play.lua, 5.5, [CHANNEL, 5.5])
    play.publish(play.lua, {"channel": 5, "message": "number"}, [play.python])
    play.publish(play.lua, {"channel": "5", "message": "text"}, [play.node])
    play.publish(play.python, {"channel": 5.5, "message": "fraction"}, [play.lua])
    # Nobody received what was not theirs: it would come before this.
    play.publish_to_others(play.lua, "after the numbers")
    play.publish_to_others(play.python, "after the numbers")


def text_beyond_ascii_arrives_as_it_was(play):
    channel = "caf\u00e9 \u2603 \U0001f600"
    opened = [CHANNEL, 5, channel], [CHANNEL, "5", channel], [CHANNEL, 5.5, channel]
    for client, channels in zip(play.everybody, opened):
        play.opened(client, channel, channels)
    for client in play.everybody:
        others = [other for other in play.everybody if other is not client]
        message = "\u00fcber \u65e5\u672c \U0001f469\u200d\U0001f680 \u0000 \u001f \u007f \u2028 \\ \" /"
        play.publish(client, {"channel": channel, "message": message}, others)


def lua_bytes_that_are_not_utf8_arrive_with_replacement_characters(play):
    def send():
        raw = b'{"type":"message","channel":"' + CHANNEL.encode() + b'","message":"caf\xe9"}'
        play.lua.order(do="send_hex", hex=raw.hex())

    keys = {"channel": CHANNEL, "message": "caf\ufffd"}
    play.publish(play.lua, keys, [play.python, play.node], send)


def a_message_of_100_kilobytes_arrives_whole(play):
    for client in play.everybody:
        play.publish_to_others(client, "".join(f"{n:07d}\n" for n in range(12_800)))


def a_message_too_large_for_a_computer_is_refused_and_nothing_happens(play):
    answer = play.node.ask({"type": "message", "channel": CHANNEL, "message": "x" * 131_072})
    check(answer["type"] == "error", "a message over the limit is an error", answer)
    check("130048" in answer["error"], "the error says what is allowed", answer)
    play.publish_to_others(play.node, "the connection lives")


def an_error_leaves_the_connection_as_it_was(play):
    # What the original client sends when it has reconnected: `open` without a channel.
    for client in play.everybody:
        for command in [{"type": "open"}, {"type": "close", "channel": "not open"}, {"type": "?"}]:
            answer = client.ask(command)
            check(
                answer["type"] == "error" and answer["error"],
                f"{client.name}: {command} is an error",
                answer,
            )
        play.publish_to_others(client, "still here")


def the_log_agrees_with_everybody_newest_first(play):
    newest = play.published[:4]
    for client in play.everybody:
        answer = client.ask({"type": "log", "start": 0, "end": 4})
        wanted = {"type": "result", "for": "log", "log": newest}
        check(answer == wanted, f"{client.name}: the four newest", answer, wanted)
        answer = client.ask({"type": "log", "start": -1})
        check(
            answer.get("log") == play.published[-1:],
            f"{client.name}: the oldest message",
            answer,
        )


def a_log_that_does_not_fit_into_a_frame_is_read_in_parts(play):
    for client in play.everybody:
        seen, start = [], 0
        while start < len(play.published):
            answer = client.ask({"type": "log", "start": start, "end": 1000})
            seen += answer["log"]
            check(bool(answer["log"]), f"{client.name}: each part advances", answer)
            start = answer.get("next", len(play.published))
            check(
                ("next" in answer) == (answer.get("truncated") is True),
                f"{client.name}: `next` where the log was truncated",
                answer,
            )
        check(seen == play.published, f"{client.name}: the parts make the whole log")


def a_listener_to_everything_receives_each_message_once(play):
    play.node.ask({"type": "open", "channel": "*"})
    play.publish(play.python, {"channel": "nobody's", "message": 1}, [play.node])
    play.publish_to_others(play.lua, "once")
    play.publish_to_others(play.python, "and again")
    play.node.ask({"type": "close", "channel": "*"})
    play.publish(play.python, {"channel": "nobody's", "message": 2}, [])
    play.publish_to_others(play.python, "the only one")


def a_computer_that_drops_its_connection_disturbs_nobody_and_comes_back(play):
    play.lua.order(do="drop")
    play.lua.expect("dropped")
    play.publish(play.python, {"channel": CHANNEL, "message": "one has gone"}, [play.node])
    play.publish(play.node, {"channel": CHANNEL, "message": "indeed"}, [play.python])
    play.lua.connect(play.server)
    answer = play.lua.ask({"type": "open"})
    check(answer["type"] == "error", "the original client's `open` after it came back", answer)
    play.opened(play.lua, CHANNEL, [CHANNEL])
    for client in play.everybody:
        play.publish_to_others(client, "all are here again")


def fifty_connections_a_second_for_a_minute_disturb_nobody(play):
    request = (
        "GET /connect HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    start = time.monotonic()
    for number in range(50 * 60):
        # The rate is the scene: each connection has its moment.
        time.sleep(max(0.0, start + number / 50 - time.monotonic()))
        address = (play.server.host, play.server.port)
        with socket.create_connection(address, timeout=DEADLINE_S) as connection:
            connection.sendall(request)
            answer = connection.recv(4096)
            check(answer.startswith(b"HTTP/1.1 101 "), "the hub lets everybody in", repr(answer))
        if number % 50 == 0:
            for client in play.everybody:
                play.publish_to_others(client, number)
    took = time.monotonic() - start
    check(took < 65, "fifty connections a second are no effort", took)


def sigterm_delivers_what_is_queued_and_closes_with_1001(play):
    play.publish(play.node, {"channel": CHANNEL, "message": PRIVATE}, [])
    play.server.terminate()
    for client in [play.python, play.lua]:
        seen = client.frame()
        check(seen == play.published[0], f"{client.name}: the last message arrives", seen)
    for client in play.everybody:
        closed = client.expect("closed")
        check(closed["code"] == 1001, f"{client.name}: close code 1001", closed)
        check(closed["reason"], f"{client.name}: the close frame says why", closed)
    code = play.server.exit_code()
    check(code == 0, "the server exits with 0", code)


def the_servers_log_is_json_and_holds_no_message(play):
    lines = play.server.log.finished()
    for line in lines:
        check(isinstance(json.loads(line), dict), "a line of the log is a JSON object", line)
        check("panicked" not in line, "nothing panicked", line)
        check(PRIVATE not in line, "no message body is logged", line)


SCENES_OF_A_MINUTE = [fifty_connections_a_second_for_a_minute_disturb_nobody]
LAST_SCENES = [
    sigterm_delivers_what_is_queued_and_closes_with_1001,
    the_servers_log_is_json_and_holds_no_message,
]
SCENES = [
    three_languages_connect_and_no_extension_is_negotiated,
    everything_but_the_hub_itself_is_refused_with_a_status,
    the_installer_puts_the_library_on_a_computer_and_harms_no_other,
    open_answers_with_the_list_of_open_channels,
    each_message_reaches_the_two_others_and_not_its_sender,
    all_keys_of_a_message_travel,
    the_servers_keys_replace_those_of_the_sender,
    the_number_5_and_the_text_5_are_two_channels,
    text_beyond_ascii_arrives_as_it_was,
    lua_bytes_that_are_not_utf8_arrive_with_replacement_characters,
    a_message_of_100_kilobytes_arrives_whole,
    a_message_too_large_for_a_computer_is_refused_and_nothing_happens,
    an_error_leaves_the_connection_as_it_was,
    the_log_agrees_with_everybody_newest_first,
    a_log_that_does_not_fit_into_a_frame_is_read_in_parts,
    a_listener_to_everything_receives_each_message_once,
    a_computer_that_drops_its_connection_disturbs_nobody_and_comes_back,
]


def lua():
    """Where a Lua that is old enough is; None if nowhere."""
    return shutil.which("luajit") or shutil.which("lua5.1")


def programs():
    """The command of each client. What is missing on this machine is said in one sentence each."""
    missing = []

    def needs(command, what):
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            missing.append(what)

    node = shutil.which("node")
    needs([sys.executable, "-c", "import websockets"], "the Python package websockets")
    if node is None:
        missing.append("Node")
    else:
        needs([node, "-e", "require('ws')"], "the Node package ws (found through NODE_PATH)")
    if lua() is None:
        missing.append("LuaJIT or Lua 5.1")
    else:
        needs([lua(), "-e", "require('socket.http')"], "LuaSocket (in Debian: lua-socket)")
        needs([lua(), "-e", "require('cjson')"], "lua-cjson (in Debian: lua-cjson)")
    if missing:
        sys.exit("The end-to-end test cannot run here. Missing: " + "; ".join(missing))
    return {
        "python": [sys.executable, str(HERE / "client.py")],
        "node": [node, str(HERE / "client.cjs")],
        "lua": [lua(), str(HERE / "client.lua")],
    }


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--long"]
    if len(arguments) != 1 or not pathlib.Path(arguments[0]).is_file():
        sys.exit("Usage: run.py [--long] PATH_OF_THE_BINARY")
    scenes = SCENES + (SCENES_OF_A_MINUTE if "--long" in sys.argv else []) + LAST_SCENES
    stage = Stage(arguments[0], programs())
    passed, name = 0, "the server and the clients start"
    try:
        with stage:
            play = Play(stage)
            for scene in scenes:
                name = scene.__name__.replace("_", " ")
                start = time.monotonic()
                scene(play)
                print(f"ok      {name} ({time.monotonic() - start:.2f} s)", flush=True)
                passed += 1
    except Exception as error:
        if not isinstance(error, Failure):
            traceback.print_exc(file=sys.stdout)
        print(f"FAILED  {name}\n        {error}")
        if stage.server is not None:
            print("The server's last lines:", *stage.server.log.finished()[-20:], sep="\n")
        print(f"e2e: {passed} passed, 1 failed")
        sys.exit(1)
    print(f"e2e: {passed} passed, 0 failed")


if __name__ == "__main__":
    main()
