"""Life in a hub: clients that listen, talk, and come back whenever they are thrown out.

For tests that do things to the hub and to its clients without caring which client it is. Whoever is
told that it is banned asks the owner's API to end all bans, so that there is life to the end.
"""

import json
import threading
import urllib.error
import urllib.request

import websockets
from websockets.sync.client import connect

from stage import DEADLINE_S, Failure

BANNED = 4501
# From being thrown out to coming back, and between two messages of a client.
PAUSE_S = 0.2
CHANNELS = ["chat", "doors", 5, "5", 2.5, "a/b c", "caf\u00e9"]


class Life:
    """`count` clients, in threads, from entering to leaving the `with` block."""

    def __init__(self, server, token, count=6):
        self._server = server
        self._token = token
        self._over = threading.Event()
        self._here = threading.Semaphore(0)
        self._problems = []
        self._threads = [
            threading.Thread(target=self._live, args=(number,)) for number in range(count)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            if not self._here.acquire(timeout=DEADLINE_S):
                self._end()
                raise Failure(f"clients do not get in: {self._problems}")
        return self

    def __exit__(self, *_):
        self._end()
        if self._problems:
            raise Failure(f"clients came to grief: {self._problems}")

    def _end(self):
        self._over.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def _live(self, number):
        url = f"ws://{self._server.host}:{self._server.port}/connect"
        headers = {"Skynet-Computer-Id": str(number), "Skynet-Computer-Label": f"computer {number}"}
        # Some without a name: such clients can be banned by nothing but their address.
        if number % 3:
            headers["Skynet-Name"] = f"turtle-{number}"
        told = False
        try:
            while not self._over.is_set():
                try:
                    with connect(url, additional_headers=headers, compression=None) as socket:
                        self._talk(socket, number)
                        if not told:
                            self._here.release()
                            told = True
                        self._listen(socket)
                except websockets.ConnectionClosed as closed:
                    if closed.rcvd is not None and closed.rcvd.code == BANNED:
                        self._end_bans()
                self._over.wait(PAUSE_S)
        except Exception as problem:  # Told by the thread that waits for this one.
            self._problems.append(f"client {number}: {problem!r}")

    def _talk(self, socket, number):
        mine = [CHANNELS[number % len(CHANNELS)], "chat"]
        for channel in [*mine, "*"] if number == 0 else mine:
            socket.send(json.dumps({"type": "open", "channel": channel}))
        for channel in mine:
            message = {"text": f"computer {number} is here", "fuel": number * 1.5}
            socket.send(json.dumps({"type": "message", "channel": channel, "message": message}))

    def _listen(self, socket):
        while not self._over.is_set():
            try:
                socket.recv(timeout=PAUSE_S)
            except TimeoutError:
                continue

    def _end_bans(self):
        bans = self._call("GET", "/bans")
        for ban in bans["bans"]:
            try:
                self._call("DELETE", f"/bans/{ban['id']}")
            except urllib.error.HTTPError as error:
                # Another client was faster.
                if error.code != 404:
                    raise

    def _call(self, method, path):
        request = urllib.request.Request(
            f"http://{self._server.admin}/api/v1{path}",
            method=method,
            headers={"Authorization": f"Bearer {self._token}"},
        )
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
            body = response.read()
        return json.loads(body) if body else None
