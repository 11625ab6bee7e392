"""What goes wrong in a hub's evening, one function for each: each returns when it has come to pass.

They take a `Hub`: the server and the owner's token. What an incident shows of itself (a close code, a
status, an error) is looked at, so that a picture of it is not drawn from an incident that was none.
"""

import http.client
import json
import socket
import struct
import time
import urllib.parse

import websockets
from websockets.sync.client import connect

from stage import DEADLINE_S, Failure

TOO_SLOW, KICKED, BANNED, BAD_TOKEN = 4000, 4500, 4501, 4502
PROTOCOL_ERROR, FRAME_TOO_LARGE = 1002, 1009
MAPS = 80
HANDSHAKE = (
    "GET /connect HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
).encode()


class Hub:
    """A server and its owner's token."""

    def __init__(self, server, token):
        self.server, self.token = server, token

    def client(self, **headers):
        url = f"ws://{self.server.host}:{self.server.port}/connect"
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return connect(url, additional_headers=headers, compression=None, max_size=None)

    def raw(self, address=None, receive_bytes=None):
        """A TCP connection, to the hub's listener unless told otherwise."""
        host, port = (address or f"{self.server.host}:{self.server.port}").rsplit(":", 1)
        connection = socket.socket()
        connection.settimeout(DEADLINE_S)
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.connect((host, int(port)))
        return connection

    def call(self, method, path, body=None, token="", wanted=None, address=None, **headers):
        """A request to the admin listener with the owner's token; returns status and text."""
        if token == "":
            token = self.token
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
            body = body if isinstance(body, str) else json.dumps(body)
        connection = http.client.HTTPConnection(address or self.server.admin, timeout=DEADLINE_S)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            status, text = response.status, response.read().decode()
        finally:
            connection.close()
        if wanted is not None and status != wanted:
            raise Failure(f"{method} {path}: {status} instead of {wanted}: {text[:300]}")
        return status, text

    def api(self, method, path, body=None, wanted=200, **more):
        text = self.call(method, f"/api/v1{path}", body, wanted=wanted, **more)[1]
        return json.loads(text) if text.startswith(("{", "[")) else text

    def id_of(self, name):
        """The number of the client that calls itself so and is connected."""
        found = self.api("GET", f"/clients?name={urllib.parse.quote(name)}")["clients"]
        if len(found) != 1:
            raise Failure(f"{len(found)} clients are called {name!r}")
        return found[0]["id"]


def closed_with(client, code):
    """Reads until the connection is closed, which must be with this code."""
    try:
        while True:
            client.recv(timeout=DEADLINE_S)
    except websockets.ConnectionClosed as closed:
        came = closed.rcvd.code if closed.rcvd is not None else None
        if came != code:
            raise Failure(f"closed with {came} instead of {code}") from None


def ask(client, command):
    """The answer to a command, events before it left out."""
    client.send(command if isinstance(command, (str, bytes)) else json.dumps(command))
    while (answer := json.loads(client.recv(timeout=DEADLINE_S)))["type"] not in ("result", "error"):
        continue
    return answer


def somebody_is_kicked(hub):
    with hub.client(Skynet_Name="spammer") as client:
        ask(client, {"type": "open", "channel": "chat"})
        hub.api("DELETE", f"/clients/{hub.id_of('spammer')}?reason=enough", wanted=204)
        closed_with(client, KICKED)


def somebody_is_banned(hub):
    """And comes back, in vain; the ban stays for ten minutes."""
    with hub.client(Skynet_Name="griefer") as client:
        ask(client, {"type": "open", "channel": "chat"})
        hub.api("DELETE", f"/clients/{hub.id_of('griefer')}?ban=10m", wanted=204)
        closed_with(client, BANNED)
    with hub.client(Skynet_Name="griefer") as client:
        closed_with(client, BANNED)


def somebody_shows_a_wrong_token(hub):
    with hub.client(Authorization="Bearer not-a-token-of-this-hub") as client:
        closed_with(client, BAD_TOKEN)


def a_slow_client_is_closed(hub, channel="storage"):
    """It opens a channel that is sent maps, and reads nothing: 4000 waits behind what it has not read."""
    with hub.raw(receive_bytes=4096) as slow, hub.client(Skynet_Name="mapper") as mapper:
        slow.sendall(HANDSHAKE)
        if not slow.recv(4096).startswith(b"HTTP/1.1 101 "):
            raise Failure("the slow client is not let in")
        slow.sendall(text_frame(json.dumps({"type": "open", "channel": channel})))
        before = closings(hub)["too_slow"]
        # More than the system's buffers and the hub's queue hold.
        for _ in range(MAPS):
            ask(mapper, {"type": "message", "channel": channel, "message": "m" * 120_000})
        deadline = time.monotonic() + DEADLINE_S
        # It is counted when its socket is gone, two seconds after the close frame.
        while closings(hub)["too_slow"] == before:
            if time.monotonic() > deadline:
                raise Failure("the client that reads nothing is not closed")
            time.sleep(0.1)  # Between two looks.


def commands_are_refused(hub):
    with hub.client(Skynet_Name="learner") as client:
        for command in [
            "not JSON",
            "[1, 2]",
            "[" * 200 + "]" * 200,
            {"type": "fly"},
            {"type": "open"},
            {"type": "open", "channel": {}},
            {"type": "open", "channel": "n" * 256},
            {"type": "close", "channel": "never opened"},
            {"type": "log", "start": "first"},
            {"type": "message"},
            {"type": "message", "channel": "chat", "message": "m" * 131_072},
        ]:
            answer = ask(client, command)
            if answer["type"] != "error":
                raise Failure(f"{str(command)[:60]} is no error: {answer}")


def somebody_sends_too_much(hub):
    """More commands at once than `limits.message_burst` allows: some are refused."""
    burst = next(
        setting["value"]
        for setting in hub.api("GET", "/config")["settings"]
        if setting["setting"] == "limits.message_burst"
    )
    with hub.client(Skynet_Name="loop") as client:
        for _ in range(int(burst) + 50):
            client.send('{"type":"log","end":0}')
        answers = [json.loads(client.recv(timeout=DEADLINE_S)) for _ in range(int(burst) + 50)]
    if all(answer["type"] == "result" for answer in answers):
        raise Failure("nothing was held back")


def commands_of_every_kind(hub):
    with hub.client(Skynet_Name="visitor") as client:
        for command in [
            {"type": "open", "channel": "doors"},
            {"type": "message", "channel": "doors", "message": "knock"},
            {"type": "log"},
            {"type": "close", "channel": "doors"},
        ]:
            if ask(client, command)["type"] != "result":
                raise Failure(f"{command} was refused")
        # As CraftOS-PC sends bytes of Lua.
        client.send(b'{"type":"message","channel":"doors","message":"caf\xe9"}', text=True)
        if json.loads(client.recv(timeout=DEADLINE_S))["message"] != "caf\ufffd":
            raise Failure("what is not UTF-8 does not arrive with U+FFFD")


def frames_are_wrong(hub):
    with hub.client() as client:
        client.send("x" * 400_000)
        closed_with(client, FRAME_TOO_LARGE)
    with hub.raw() as client:
        client.sendall(HANDSHAKE)
        client.recv(4096)
        # Text without a mask, which RFC 6455 forbids a client.
        client.sendall(b"\x81\x02hi")
        until_over(client)


def somebody_vanishes(hub):
    """A connection that is reset, and one that ends within a frame."""
    for begun in [b"", b"\x81\xfe"]:
        with hub.raw() as client:
            client.sendall(HANDSHAKE)
            client.recv(4096)
            client.sendall(begun)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def handshakes_are_refused(hub):
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    whole = upgrade | {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    for path, headers, status in [
        ("/connect", {}, 426),
        ("/chat", {}, 404),
        ("/connect", upgrade, 400),
        ("/connect?name=%00", whole, 400),
    ]:
        address = f"{hub.server.host}:{hub.server.port}"
        hub.call("GET", path, token=None, address=address, wanted=status, **headers)


def connections_come_to_nothing(hub):
    """One that does not speak HTTP, and one that says nothing until its time is over, on each listener."""
    addresses = [f"{hub.server.host}:{hub.server.port}", hub.server.admin]
    for address in addresses:
        with hub.raw(address) as broken:
            broken.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            until_over(broken)
    silent = [hub.raw(address) for address in addresses]
    try:
        for connection in silent:
            connection.sendall(b"GET /connect HTTP/1.1\r\nHost:")
        for connection in silent:
            until_over(connection)
    finally:
        for connection in silent:
            connection.close()


def the_owner_looks_around(hub):
    for path in ["/info", "/stats", "/channels", "/clients", "/log?limit=5", "/bans", "/config"]:
        hub.api("GET", path)
    hub.api("GET", "/log/stream?last=1&max_seconds=1")
    hub.api("POST", "/messages", {"channel": "chat", "message": "restart at noon"}, wanted=201)
    for path in ["/healthz", "/readyz", "/docs", "/openapi.json"]:
        hub.call("GET", path, token=None, wanted=200)


def the_owner_errs(hub):
    hub.api("GET", "/clients/999999999", wanted=404)
    hub.api("GET", "/nothing", wanted=404)
    hub.api("GET", "/log?limit=many", wanted=400)
    hub.api("POST", "/messages", "{", wanted=400)
    hub.api("POST", "/bans", {}, wanted=400)
    hub.api("PATCH", "/bans", wanted=405)


def the_api_is_asked_with_wrong_tokens(hub):
    for path in ["/api/v1/clients", "/api/v1/log"]:
        hub.call("GET", path, token="a-guess", wanted=401)
    hub.call("GET", "/api/v1/stats", token=None, wanted=401)


def until_over(connection):
    """Reads until the other side has ended the connection."""
    try:
        while connection.recv(4096):
            continue
    except (ConnectionResetError, TimeoutError):
        pass


def text_frame(text):
    """A masked text frame of less than 126 bytes."""
    data, mask = text.encode(), b"\x01\x02\x03\x04"
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
    return bytes([0x81, 0x80 | len(data)]) + mask + masked


def closings(hub):
    """How many connections have ended so far, by reason."""
    return hub.api("GET", "/stats")["totals"]["disconnects"]


ALL = [
    commands_of_every_kind,
    commands_are_refused,
    somebody_sends_too_much,
    somebody_is_kicked,
    somebody_is_banned,
    somebody_shows_a_wrong_token,
    a_slow_client_is_closed,
    frames_are_wrong,
    somebody_vanishes,
    handshakes_are_refused,
    connections_come_to_nothing,
    the_owner_looks_around,
    the_owner_errs,
    the_api_is_asked_with_wrong_tokens,
]
