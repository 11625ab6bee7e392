"""The processes of the end-to-end tests: the hub, and clients in other languages that are told what
to do. Every wait has a deadline, and whatever was started is stopped by the `__exit__` of `Server`
and of `Stage`.

Nothing here knows the protocol: what is sent and expected is in run.py and the other tests.

A client connects to the control port and speaks JSON lines. It is told
    {"do": "connect", "host": …, "port": …}   and tells "connected" with the negotiated `extensions`
    {"do": "send", "command": …}              encode this with your JSON library and send it as text
    {"do": "send_hex", "hex": …}              send these bytes as text (the Lua client)
    {"do": "drop"}                            end the TCP connection without a close frame (the Lua client)
and tells {"told": "ready" | "connected" | "frame" | "closed" | "dropped", …}.
"""

import json
import os
import pathlib
import queue
import signal
import socket
import subprocess
import tempfile
import threading
import time
import traceback

DEADLINE_S = 15


class Failure(Exception):
    """What was expected and what came instead."""

    def told(self):
        """It, behind the functions that it came from: the scene's name is among them."""
        names = [frame.name for frame in traceback.extract_tb(self.__traceback__)]
        return " > ".join(name for name in names if name not in ("<module>", "main", "check")) + f": {self}"


class Lines:
    """The lines of a stream, collected by a thread: to wait for, and to look through afterwards."""

    def __init__(self, stream):
        self.all = []
        self._new = queue.Queue()
        self._thread = threading.Thread(target=self._collect, args=(stream,), daemon=True)
        self._thread.start()

    def _collect(self, stream):
        for line in map(str.rstrip, stream):
            self.all.append(line)
            self._new.put(line)
        self._new.put(None)

    def next(self, waiting_for):
        """The next line. No line within the deadline, or the end of the stream, is a failure."""
        try:
            line = self._new.get(timeout=DEADLINE_S)
        except queue.Empty:
            raise Failure(f"{waiting_for}: nothing within {DEADLINE_S} s") from None
        if line is None:
            raise Failure(f"{waiting_for}: the process ended")
        return line

    def finished(self):
        """All lines, once the stream has ended."""
        self._thread.join(DEADLINE_S)
        return self.all


class Server:
    """The release binary on ports of its own choosing, with a state folder of its own.

    `settings` are given as the environment gives them: `ADMIN__TOKEN="…"`. `files`, by their names, are put
    into that folder, which is where the program is started.
    """

    def __init__(self, binary, arguments=(), files=(), **settings):
        self.binary = os.path.abspath(binary)
        self.folder = tempfile.TemporaryDirectory(prefix="skynet-e2e-")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("SKYNET_")}
        settings = {
            "HUB__LISTEN": "127.0.0.1:0",
            "ADMIN__LISTEN": "127.0.0.1:0",
            "ADMIN__STATE_DIR": self.folder.name,
            "TELEMETRY__FORMAT": "json",
        } | settings
        self.environment |= {f"SKYNET_{key}": value for key, value in settings.items()}
        for name, text in dict(files).items():
            pathlib.Path(self.folder.name, name).write_text(text, encoding="utf-8")
        self.process = self.popen(
            [self.binary, *arguments],
            env=self.environment,
            cwd=self.folder.name,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = Lines(self.process.stderr)
        self.host, self.port = None, None
        # The owner's listener: "127.0.0.1:12345".
        self.admin = None

    def popen(self, command, **how):
        return subprocess.Popen(command, **how)

    def __enter__(self):
        try:
            self.wait_until_listening()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_until_listening(self):
        """Learns the addresses from the log, where every bound address is told."""
        while self.port is None or self.admin is None:
            line = json.loads(self.log.next("the lines that tell where the server listens"))
            if line.get("message") != "listening":
                continue
            if line["listener"] == "hub":
                self.host, port = line["address"].rsplit(":", 1)
                self.port = int(port)
            if line["listener"] == "admin":
                self.admin = line["address"]

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def exit_code(self):
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise Failure(f"the server still runs {DEADLINE_S} s after SIGTERM") from None

    def stop(self):
        """Ends it, if it still runs, and removes its folder."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.folder.cleanup()


class Client:
    """A client program in another language."""

    def __init__(self, name, process, control):
        self.name = name
        self.process = process
        self._control = control
        self._told = Lines(control.makefile("r", encoding="utf-8", newline="\n"))

    def order(self, **order):
        self._control.sendall(json.dumps(order).encode() + b"\n")

    def expect(self, told):
        """The next thing that the client tells, which must be of this kind."""
        value = json.loads(self._told.next(f"{self.name}, waiting for {told!r}"))
        if value["told"] != told:
            raise Failure(f"{self.name}: expected {told!r}, got {abridged(value)}")
        return value

    def frame(self):
        return self.expect("frame")["value"]

    def connect(self, server):
        self.order(do="connect", host=server.host, port=server.port)
        return self.expect("connected")

    def send(self, command):
        self.order(do="send", command=command)

    def ask(self, command):
        """Sends a command and returns its answer, which must be the next frame."""
        self.send(command)
        return self.frame()


class Stage:
    """Starts the server and the clients, and stops them all at the end, whatever happened."""

    def __init__(self, binary, programs):
        self._binary = binary
        self._programs = programs
        self._started = []
        self._sockets = []
        self.server = None
        self.clients = {}

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self):
        self.server = Server(self._binary)
        self.server.wait_until_listening()
        control = socket.create_server(("127.0.0.1", 0))
        control.settimeout(DEADLINE_S)
        self._sockets.append(control)
        port = str(control.getsockname()[1])
        for name, command in self._programs.items():
            process = subprocess.Popen([*command, port, name], stdin=subprocess.DEVNULL)
            self._started.append(process)
            self.clients[name] = Client(name, process, self._accept(control, name, process))
            self.clients[name].expect("ready")

    def _accept(self, control, name, process):
        control.settimeout(0.2)
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            try:
                connection, _ = control.accept()
            except TimeoutError:
                if process.poll() is not None:
                    break
                continue
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(connection)
            return connection
        raise Failure(f"the {name} client did not start (exit code {process.poll()})")

    def stop(self):
        for connection in self._sockets:
            connection.close()
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
        if self.server is not None:
            self.server.stop()

    def __exit__(self, *_):
        self.stop()


def abridged(value, limit=400):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[:limit] + f"… ({len(text)} characters)"
