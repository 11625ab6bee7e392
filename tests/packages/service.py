"""systemd's part, as far as it can be had without systemd: a unit's file is read, and what it says is done.

The user, its groups, the command line, the environment, the folders, the limits and signals are as the unit
says, and what the program tells systemd is listened to. What it keeps from the program cannot be put in force here; instead every system call of the program is
looked at, and none may be of those.
"""

import json
import os
import queue
import re
import shlex
import signal
import socket
import subprocess
import threading
import urllib.request

import websockets
from websockets.sync.client import connect

from chroot import Failure, check, run

DEADLINE_S = 20
CONFIG = "/etc/skynet/config.toml"
HUB, ADMIN = "127.0.0.1:4567", "127.0.0.1:4568"


class Unit:
    """What a unit's file says."""

    def __init__(self, file):
        self._values = {}
        for line in file.read_text().splitlines():
            if found := re.match(r"(\w+)=(.*)", line):
                self._values.setdefault(found[1], []).append(found[2].strip())

    def all(self, key):
        return self._values.get(key, [])

    def one(self, key):
        values = self.all(key)
        check(len(values) == 1, f"the unit has one line {key}=", values)
        return values[0]

    def final_codes(self):
        """Exit codes after which the program is not started again."""
        return {int(code) for code in self.one("RestartPreventExitStatus").split()}

    def command(self):
        return shlex.split(self.one("ExecStart"))

    def system_calls(self):
        """Those that the program may make: the lines apply in their order, the first one is a list of these."""
        groups, name = {}, None
        for line in run("systemd-analyze", "syscall-filter", "--no-pager").splitlines():
            if line.startswith("@"):
                name = line.strip()
                groups[name] = set()
            elif line.strip() and not line.strip().startswith("#") and name:
                groups[name].add(line.strip())

        def calls(word):
            if not word.startswith("@"):
                return {word}
            return set().union(*map(calls, groups[word]))

        allowed = set()
        for line in self.all("SystemCallFilter"):
            named = set().union(*map(calls, line.lstrip("~").split()))
            allowed = allowed - named if line.startswith("~") else allowed | named
        return allowed


class Service:
    """The hub as systemd would run it. It is killed at the end, if it still runs."""

    def __init__(self, chroot, unit):
        self._chroot, self.unit = chroot, unit
        self._process = None
        self._lines = None
        self._told = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._told is not None:
            self._told.close()

    def systemctl(self, verb):
        check(verb in ("start", "stop", "restart", "reload"), "systemctl is told what is known here", verb)
        if verb == "reload":
            self.reload()
            return
        if verb != "start" and self._process is not None:
            self.stop()
        if verb != "stop":
            self.start()

    def _spawn(self, *tracer):
        user, group = self.unit.one("User"), self.unit.one("Group")
        environment = {}
        for kind, base in [("State", "/var/lib"), ("Runtime", "/run")]:
            folder = f"{base}/{self.unit.one(f'{kind}Directory')}"
            mode = self.unit.one(f"{kind}DirectoryMode")
            self._chroot.shell(f"install -d -o {user} -g {group} -m {mode} {folder}")
            environment[f"{kind.upper()}_DIRECTORY"] = folder
        privileges = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        identity = [f"--reuid={user}", f"--regid={group}", "--init-groups"]
        limits = f"umask {self.unit.one('UMask')}; ulimit -n {self.unit.one('LimitNOFILE')}; "
        environment["NOTIFY_SOCKET"] = self._listen_to_the_program()
        environment["WATCHDOG_USEC"] = str(int(float(self.unit.one("WatchdogSec").removesuffix("s")) * 1e6))
        self._process = subprocess.Popen(
            [
                *tracer,
                *["chroot", self._chroot.root, "/bin/sh", "-c", f'{limits} exec "$@"', "sh"],
                *["setpriv", *privileges, *identity],
                *self.unit.command(),
            ],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "USER": user, **environment},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines = queue.Queue()
        threading.Thread(target=self._read, args=(self._process.stderr, self._lines), daemon=True).start()

    def _listen_to_the_program(self):
        """A new socket as systemd has one; returns where it is for the program."""
        if self._told is not None:
            self._told.close()
        path = "/run/notify"
        outside = self._chroot.path(path)
        outside.unlink(missing_ok=True)
        self._told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._told.bind(str(outside))
        self._told.settimeout(DEADLINE_S)
        outside.chmod(0o777)
        return path

    def _is_told(self, line):
        """Waits until the program says so; other news is passed over."""
        seen = []
        while not seen or line not in seen[-1]:
            try:
                seen.append(self._told.recv(4096).decode().splitlines())
            except TimeoutError:
                raise Failure(f"the program does not say {line!r} within {DEADLINE_S} s: {seen}") from None

    @staticmethod
    def _read(stream, lines):
        for line in stream:
            lines.put(line)
        lines.put(None)

    def start(self, *tracer):
        """Starts it and waits until it says that it is ready."""
        check(self.unit.one("Type") == "notify", "the unit waits for that too")
        self._spawn(*tracer)
        said, listening = [], 0
        while listening < 2:
            try:
                line = self._lines.get(timeout=DEADLINE_S)
            except queue.Empty:
                raise Failure(f"the service does not start within {DEADLINE_S} s: {said}") from None
            check(line is not None, "the service starts", "".join(said))
            said.append(line)
            listening += " listening " in line
        self._is_told("READY=1")
        self._is_told("WATCHDOG=1")

    def reload(self):
        """systemd's reload: what the unit has for it, and the program says when it is done."""
        command = self.unit.one("ExecReload").replace("$MAINPID", str(self._process.pid))
        # In this test's own processes: the chroot has the same.
        run(*shlex.split(command))
        self._is_told("RELOADING=1")
        self._is_told("READY=1")

    def stop(self, expected=0):
        """systemd's stop: SIGTERM, and a while to end in."""
        self._process.send_signal(signal.SIGTERM)
        self._ends_with(expected)

    def _ends_with(self, expected):
        seconds = float(self.unit.one("TimeoutStopSec").removesuffix("s"))
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"the service does not end within {seconds} s") from None
        self._process = None
        check(code == expected, f"the service ends with {expected}", code)

    def refuses_to_start(self, code):
        self._spawn()
        self._ends_with(code)

    def token(self):
        return self._chroot.shell(f"sudo -u skynet skynet token --config {CONFIG}").strip()

    def setting(self, key):
        """What a setting is, as the running hub says."""
        settings = self._asked("config")["settings"]
        return next(one["value"] for one in settings if one["setting"] == key)

    def uses_io_uring(self):
        return self._asked("info")["io_uring"]

    def _asked(self, path):
        request = urllib.request.Request(
            f"http://{ADMIN}/api/v1/{path}", headers={"Authorization": f"Bearer {self.token()}"}
        )
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
            return json.load(response)

    def carries_messages(self):
        with _client() as listener, _client() as sender:
            _ask(listener, {"type": "open", "channel": "chat"})
            _ask(sender, {"type": "message", "channel": "chat", "message": "hello"})
            event = json.loads(listener.recv(timeout=DEADLINE_S))
            check(event["message"] == "hello", "the listener hears the sender", event)

    def ends_well_on_sigterm(self):
        """The way of every `systemctl stop`: clients are told, the exit code is 0."""
        with _client() as client:
            self._process.send_signal(signal.SIGTERM)
            try:
                client.recv(timeout=DEADLINE_S)
            except websockets.ConnectionClosed as closed:
                check(closed.rcvd is not None and closed.rcvd.code == 1001, "it is told 1001", closed)
            else:
                raise Failure("nothing comes but the end")
        self._ends_with(0)

    def needs_nothing_that_the_unit_forbids(self, work, trace):
        """Runs it from start to end, with `work` between, and looks at each of its system calls."""
        self._start_traced(trace)
        work()
        self._stop_traced()
        text = trace.read_text(errors="replace")
        begin = text.index(f'execve("{self.unit.command()[0]}"')
        lines = [line.split(maxsplit=1)[1] for line in text[begin:].splitlines()[1:]]
        made = {found[1] for line in lines if (found := re.match(r"(\w+)\(", line))}
        check(len(made) > 30 and "accept4" in made, "the trace is that of the hub", sorted(made))
        check("io_uring_setup" in made, "it tries io_uring", sorted(made))
        allowed = self.unit.system_calls()
        for call in ["io_uring_setup", "io_uring_enter", "io_uring_register"]:
            check(call in allowed, f"the unit has nothing against {call}")
        refused = made - allowed
        check(not refused, "it makes no system call that the unit refuses", sorted(refused))
        families = set(re.findall(r"socket\((AF_\w+)", text[begin:]))
        allowed = set(self.unit.one("RestrictAddressFamilies").split())
        check(families and families <= allowed, "its sockets are of the unit's families", families)
        for line in lines:
            if self.unit.one("MemoryDenyWriteExecute") == "yes" and re.match(r"mmap|mprotect", line):
                check(not ("PROT_WRITE" in line and "PROT_EXEC" in line), "no memory is both", line)
            written = re.match(r'open(?:at)?\(.*?"([^"]*)", (?:.*(?:O_WRONLY|O_RDWR|O_CREAT))', line)
            if written:
                own = written[1].startswith(("/var/lib/skynet/", "/run/skynet/")) or written[1] == "/dev/null"
                check(own, "it writes into its own folders alone", line)

    def does_without_io_uring(self, work, trace):
        """Where it is refused as the unit refuses what it does not allow, the rest goes on."""
        code = self.unit.one("SystemCallErrorNumber")
        self._start_traced(trace, f"--inject=io_uring_setup:error={code}")
        check(self.uses_io_uring() is False, "it says that it does without")
        work()
        self._stop_traced()
        check("(INJECTED)" in trace.read_text(errors="replace"), "it was refused")

    def _start_traced(self, trace, *more):
        self.start("strace", "--follow-forks", "--quiet=all", "--output", trace, *more)

    def _stop_traced(self):
        # strace ends as the program does; it is the program that is told to.
        parent = self._process.pid
        child = run("pgrep", "--parent", parent).split()
        check(len(child) == 1, "strace runs one program", child)
        os.kill(int(child[0]), signal.SIGTERM)
        self._ends_with(0)


def _client():
    return connect(f"ws://{HUB}/connect", compression=None, open_timeout=DEADLINE_S)


def _ask(client, command):
    client.send(json.dumps(command))
    answer = json.loads(client.recv(timeout=DEADLINE_S))
    check(answer["type"] == "result", "the hub does as it is told", answer)
