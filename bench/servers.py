"""The servers that are compared: what each needs, how it is started, and when it serves.

Every run has a server of its own, on a free port of 127.0.0.1. What is installed goes under
target/bench, Debian's packages excepted.
"""

import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import time

from scenes import SETTINGS

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
DEADLINE_S = 15

NODE_PACKAGE = "ws@8.23.0"
PYTHON_PACKAGE = "socketify==0.0.31"


class Problem(Exception):
    """What kept the comparison from going on, in words."""


class Place:
    """Where things are built and installed."""

    def __init__(self):
        self.target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
        self.folder = self.target / "bench"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.load = self.target / "release" / "skynet-load"
        self.floor = self.target / "release" / "skynet-floor"
        self.skynet = self.target / "release" / "skynet"
        self.python = self.folder / "python" / "bin" / "python"
        self.node = self.folder / "node" / "node_modules"


def free_port():
    """A port of 127.0.0.1 that nobody has now, nor had a moment ago: not everybody could listen there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def run(*command, **more):
    """Runs a command of the installation; what it prints goes where ours goes."""
    command = [str(part) for part in command]
    try:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **more)
    except FileNotFoundError:
        raise Problem(f"{command[0]} is not installed here, and {shlex.join(command)} needs it") from None
    except subprocess.CalledProcessError as error:
        raise Problem(f"{shlex.join(command)} ended with {error.returncode}") from None


def build(place):
    """The generator and the floor, and Skynet as it is shipped; apart, so that neither chooses the
    other's features."""
    for package in ("skynet-bench", "skynet"):
        run("cargo", "build", "--locked", "--release", "--package", package, "--bins", cwd=ROOT)


class Server:
    """What every server has; each kind below says how it differs."""

    dialect = "skynet"
    path = "/connect"
    # The scenes that it plays by itself; none is all of them.
    scenes = None
    # It sends its listeners what they published themselves.
    echo = False
    # Debian's packages that it needs.
    debian = ()
    # It is ours, so anything wrong with it is a failure.
    ours = False
    # The first word of its command is all of its program, not what runs it.
    alone = True
    # What it is, above the tables.
    about = ""

    def __init__(self, name):
        self.name = name

    def install(self, place):
        """Gets what is needed beside Debian's packages."""

    def command(self, place, port, settings):
        """The command line, and what is to be in the environment. `settings` are Skynet's."""
        raise NotImplementedError


class Skynet(Server):
    """Skynet, as shipped but for the two limits on what one client may send; scenes may set more."""

    ours = True
    about = "Skynet, limits.messages_per_second and message_burst raised, all else as shipped"
    RAISED = {"LIMITS__MESSAGES_PER_SECOND": "1000000", "LIMITS__MESSAGE_BURST": "1000000"}

    def __init__(self, name, binary=None, settings=None, scenes=None):
        super().__init__(name)
        self.binary = binary
        self.scenes = scenes
        self.settings = settings or {}
        if binary or settings:
            what = [
                *([f"the binary {binary}"] if binary else []),
                *(f"{k}={v}" for k, v in self.settings.items()),
            ]
            self.about = f"as skynet, with {', '.join(what)}"

    def command(self, place, port, settings):
        environment = {
            "HUB__LISTEN": f"127.0.0.1:{port}",
            "ADMIN__LISTEN": "127.0.0.1:0",
            # With a token given it makes none, and keeps nothing.
            "ADMIN__TOKEN": "the-token-of-the-owner-in-benchmarks",
        }
        environment |= self.RAISED | settings | self.settings
        return [self.binary or place.skynet], {f"SKYNET_{k}": v for k, v in environment.items()}


class Floor(Server):
    """Our least possible program."""

    ours = True

    def __init__(self, name, mode, echo, about):
        super().__init__(name)
        self.mode, self.echo, self.about = mode, echo, about

    def command(self, place, port, settings):
        return [place.floor, port, self.mode], {}


class Ws(Server):
    alone = False
    about = f"a small server of ours on npm's {NODE_PACKAGE}, in Node"

    def install(self, place):
        if not (place.node / "ws").exists():
            quiet = {
                "npm_config_audit": "false",
                "npm_config_fund": "false",
                "npm_config_update_notifier": "false",
            }
            command = [
                "npm",
                "install",
                "--silent",
                "--no-save",
                "--prefix",
                place.folder / "node",
                NODE_PACKAGE,
            ]
            run(*command, env=os.environ | quiet)

    def command(self, place, port, settings):
        return ["node", HERE / "peers" / "ws.cjs", port], {"NODE_PATH": place.node}


class Uws(Server):
    alone = False
    about = (
        f"a small server of ours on uWebSockets (C++), by PyPI's {PYTHON_PACKAGE};"
        " Python sees each message once"
    )
    echo = True
    debian = ("libuv1",)

    def install(self, place):
        if not place.python.exists():
            run("python3", "-m", "venv", place.folder / "python")
        run(place.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PYTHON_PACKAGE)

    def command(self, place, port, settings):
        return [place.python, HERE / "peers" / "uws.py", port], {"PYTHONDONTWRITEBYTECODE": "1"}


class Nats(Server):
    about = "Debian's nats-server, by its websocket"
    dialect, path = "nats", "/"
    debian = ("nats-server",)

    def command(self, place, port, settings):
        configuration = place.folder / "nats.conf"
        configuration.write_text(
            "host: 127.0.0.1\nport: -1\n"
            f'websocket {{ host: "127.0.0.1", port: {port}, no_tls: true, compression: false }}\n'
        )
        return ["nats-server", "-c", configuration], {}


class Mosquitto(Server):
    about = "Debian's mosquitto, by its websocket; messages at most once, queues of any length"
    dialect, path, echo = "mqtt", "/", True
    debian = ("mosquitto",)

    def command(self, place, port, settings):
        configuration = place.folder / "mosquitto.conf"
        configuration.write_text(
            # 2.0.11 does not start with websockets alone: it counts its other listeners.
            f"listener {free_port()} 127.0.0.1\nlistener {port} 127.0.0.1\nprotocol websockets\n"
            "allow_anonymous true\nset_tcp_nodelay true\n"
            # Without a limit, since what it drops would count as lost.
            "max_queued_messages 0\npersistence false\nuser root\n"
        )
        # Debian puts it where not everybody's PATH leads.
        return ["mosquitto", "-c", configuration], {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}


SERVERS = [
    Skynet("skynet"),
    *(Skynet(name, settings=settings, scenes=scenes) for name, (settings, scenes) in SETTINGS.items()),
    Floor(
        "floor-each",
        "each",
        False,
        "the least possible program of ours, one write for each message and socket",
    ),
    Floor("floor-coalesce", "coalesce", True, "the same, one write for each socket and look at the sockets"),
    Uws("uws"),
    Ws("ws"),
    Nats("nats"),
    Mosquitto("mosquitto"),
]


def install(place, servers):
    """Everything that these servers need. Debian's packages are installed as root only."""
    needed = [package for server in servers for package in server.debian]
    status = ("dpkg-query", "-W", "-f", "${Status}")
    missing = []
    for package in needed:
        try:
            told = subprocess.run([*status, package], capture_output=True, text=True, check=False).stdout
        except FileNotFoundError:
            raise Problem(
                f"{', '.join(needed)} would come from Debian, and this is none:"
                " leave them out with --servers"
            ) from None
        if "ok installed" not in told:
            missing.append(package)
    if missing and os.geteuid() != 0:
        raise Problem(
            f"missing: {' '.join(missing)}. As root: apt-get install --no-install-recommends {' '.join(missing)}"
        )
    if missing:
        run("apt-get", "update", "-q", stdout=subprocess.DEVNULL)
        command = ("apt-get", "install", "-y", "-q", "--no-install-recommends", *missing)
        run(*command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, stdout=subprocess.DEVNULL)
    for server in servers:
        server.install(place)


class Running:
    """A server's process, from its start to the end of a `with`."""

    def __init__(self, place, server, settings):
        self.port = free_port()
        self.server = server
        command, more = server.command(place, self.port, settings)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SKYNET_")}
        environment |= {key: str(value) for key, value in more.items()}
        program = shutil.which(str(command[0]), path=environment.get("PATH"))
        # Of programs that share nothing but the system's libraries.
        self.program_kib = os.stat(program).st_size // 1024 if program and server.alone else None
        # What it logs is kept until the next run, for whoever looks for the reason of a failure.
        self.log = place.folder / f"{server.name}.log"
        with open(self.log, "wb") as log:
            began = time.monotonic()
            self.process = subprocess.Popen(
                [str(part) for part in command],
                env=environment,
                cwd=place.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait(began + DEADLINE_S)
        except BaseException:
            self.stop()
            raise
        # From the start of the process to the answer to a first handshake.
        self.start_ms = (time.monotonic() - began) * 1000

    def _wait(self, deadline):
        while not self._serves():
            if self.process.poll() is not None:
                raise Problem(
                    f"{self.server.name} has ended with {self.process.returncode}: {self.last_words()}"
                )
            if time.monotonic() > deadline:
                raise Problem(f"{self.server.name} does not serve after {DEADLINE_S} s: {self.last_words()}")
            # Asked more often, it would be held up by the question.
            time.sleep(0.0005)

    def _serves(self):
        protocol = "Sec-WebSocket-Protocol: mqtt\r\n" if self.server.dialect == "mqtt" else ""
        request = (
            f"GET {self.server.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}\r\n"
        )
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S) as probe:
                probe.sendall(request.encode())
                return probe.recv(64).startswith(b"HTTP/1.1 101 ")
        except OSError:
            return False

    def last_words(self):
        """The end of what it logged."""
        return self.log.read_text(errors="replace")[-500:].strip() or "it said nothing"

    def resident_kib(self):
        """Its resident memory now."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
