"""Settings that change under a running hub: SIGHUP with good and bad files, while a client talks;
and SIGHUP because a terminal has been closed.

Usage: reload.py PATH_OF_THE_BINARY
Needs: this Python with `websockets`; a system with SIGHUP, terminals and /proc.
"""

import fcntl
import json
import os
import pathlib
import pty
import signal
import sys
import termios
import time
import urllib.error
import urllib.request

sys.dont_write_bytecode = True

from stage import DEADLINE_S, Failure, Server  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

TOKEN = "the-owner-of-this-test-0123456789"
PLAYER = "the-token-of-a-player-0123456789"


def check(condition, expectation, *seen):
    if not condition:
        raise Failure("; ".join([expectation, *map(str, seen)]))


class Hub:
    """A hub with a file of settings, its owner, and two clients that talk through it."""

    def __init__(self, server):
        self.server = server
        self.url = f"ws://{server.host}:{server.port}/connect"
        self.sent = 0

    def write(self, text):
        pathlib.Path(self.server.folder.name, "hub.toml").write_text(text, encoding="utf-8")

    def ask(self, method, path):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"http://{self.server.admin}{path}"
        request = urllib.request.Request(url, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name):
        lines = self.ask("GET", "/metrics")[1].splitlines()
        return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} "))

    def signal(self, result):
        """Sends SIGHUP and waits until the settings have been read."""
        self.until_read(result, lambda: self.server.process.send_signal(signal.SIGHUP))

    def until_read(self, result, act):
        """Waits until the settings have been read because of `act`."""
        name = f'skynet_config_reloads_total{{result="{result}"}}'
        before, end = self.metric(name), time.monotonic() + DEADLINE_S
        act()
        while self.metric(name) == before:
            check(time.monotonic() < end, f"settings are {result}", self.server.log.all[-5:])

    def talk(self, listener, publisher):
        """A message from one client to the other."""
        self.sent += 1
        publisher.send(json.dumps({"type": "message", "channel": "x", "message": self.sent}))
        publisher.recv(DEADLINE_S)
        event = json.loads(listener.recv(DEADLINE_S))
        check(event["message"] == self.sent, f"message {self.sent} is the next", event)


def settings_change_by_a_signal_and_nobody_is_disconnected(hub):
    with connect(hub.url) as listener, connect(hub.url) as publisher:
        listener.send(json.dumps({"type": "open", "channel": "x"}))
        listener.recv(DEADLINE_S)
        for round_ in range(10):
            hub.talk(listener, publisher)
            hub.write(f"[limits]\nmax_clients = {20 + round_}\n")
            hub.signal("applied")
            check(hub.metric("skynet_clients_limit") == 20 + round_, "the limit is in force")
            hub.talk(listener, publisher)
            hub.write('[limits]\nmax_clients = "many"\n')
            hub.signal("refused")
            check(hub.metric("skynet_clients_limit") == 20 + round_, "what was good is kept")
            check(hub.metric("skynet_config_last_reload_successful") == 0, "the owner can see it")
        hub.talk(listener, publisher)
        status, text = hub.ask("POST", "/api/v1/config/reload")
        problem = json.loads(text)
        check(status == 409 and problem["code"] == "invalid_config", "the call says why", text)
        check("limits.max_clients" in text and "hub.toml" in text, "by setting and file", text)


def a_token_that_is_taken_away_is_worth_nothing_at_once(hub):
    hub.write(f'[[hub.tokens]]\nname = "gate"\ntoken = "{PLAYER}"\n')
    hub.signal("applied")
    headers = {"Authorization": f"Bearer {PLAYER}"}
    with connect(hub.url, additional_headers=headers) as client:
        client.send('{"type":"ping"}')
        client.recv(DEADLINE_S)
        # Not an empty file, which would be refused as one that is lost.
        hub.write("[limits]\nmax_clients = 1000\n")
        status, text = hub.ask("POST", "/api/v1/config/reload")
        report = json.loads(text)
        check(status == 200 and report["closed_clients"] == 1, "one client is closed", text)
        try:
            client.recv(DEADLINE_S)
            raise Failure("the client goes on")
        except TimeoutError:
            raise Failure("the client is not told") from None
        except Exception as closed:
            code = getattr(getattr(closed, "rcvd", None), "code", None)
            check(code == 4502, "it is told by 4502", repr(closed))


class InATerminal(Server):
    """A hub that belongs to a terminal, with its log elsewhere; `told` is run in it before the program."""

    def __init__(self, told, *arguments, **settings):
        self.told = told
        super().__init__(*arguments, **settings)

    def popen(self, command, **how):
        self.terminal, of_the_hub = pty.openpty()

        def enter():
            fcntl.ioctl(of_the_hub, termios.TIOCSCTTY, 0)
            self.told()

        how |= {"stdin": of_the_hub, "stdout": of_the_hub}
        try:
            return super().popen(command, start_new_session=True, preexec_fn=enter, **how)
        finally:
            os.close(of_the_hub)

    def close_terminal(self):
        os.close(self.terminal)


def a_hub_ends_with_its_terminal_wherever_its_log_goes(binary):
    with InATerminal(lambda: None, binary, ADMIN__TOKEN=TOKEN) as server:
        Hub(server).signal("applied")
        server.close_terminal()
        check(server.exit_code() == 0, "it ends as at SIGTERM", server.log.finished()[-5:])
        check("the terminal has gone" in str(server.log.all), "it says why", server.log.all[-5:])


def a_hub_that_ignored_hangups_at_its_start_outlives_its_terminal(binary):
    def nohup():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with InATerminal(nohup, binary, ADMIN__TOKEN=TOKEN) as server:
        hub = Hub(server)
        hub.until_read("applied", server.close_terminal)
        hub.signal("applied")
        server.terminate()
        check(server.exit_code() == 0, "it ends when it is told to")


def main():
    if len(sys.argv) != 2:
        sys.exit("Usage: reload.py PATH_OF_THE_BINARY")
    for scene in [
        settings_change_by_a_signal_and_nobody_is_disconnected,
        a_token_that_is_taken_away_is_worth_nothing_at_once,
    ]:
        arguments, files = ["--config", "hub.toml"], {"hub.toml": ""}
        with Server(sys.argv[1], arguments, files, ADMIN__TOKEN=TOKEN) as server:
            scene(Hub(server))
            server.terminate()
            check(server.exit_code() == 0, "it ends")
        passed(scene)
    for scene in [
        a_hub_ends_with_its_terminal_wherever_its_log_goes,
        a_hub_that_ignored_hangups_at_its_start_outlives_its_terminal,
    ]:
        scene(sys.argv[1])
        passed(scene)


def passed(scene):
    print(f"ok      {scene.__name__.replace('_', ' ')}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"FAILED  {failure}")
