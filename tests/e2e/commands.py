"""The documentation's commands, run as a reader would run them.

Starts the release binary with nothing configured but free ports and a name with a token, lets a few
clients in, and runs every `sh` block of each page in a shell: first to last, one hub for each page. A
block with one `curl` may be followed by a line `→ 200` and by a block that shows the answer; in a block
with several, each line tells its status in a comment, `# 200`. The answer must be the one that is
shown: the same keys, the same values. Times, counters and the like may differ (VOLATILE). IDs that are
shown stand for those that come (LEARNT), also in the commands below them. `"…": "…"` in an object, and
"…" at the end of a list, are more of the same.

Of README.md only the section of SECTION is run.

Usage: commands.py [--show] PATH_OF_THE_BINARY PAGE.md…   (--show: print each answer)
Needs bash and curl.
"""

import contextlib
import json
import pathlib
import re
import subprocess
import sys
import time

import websockets
from websockets.sync.client import connect

sys.dont_write_bytecode = True

from stage import DEADLINE_S, Failure, Server, abridged  # noqa: E402

SECTION = "The owner's API"
HUB, ADMIN = "127.0.0.1:4567", "127.0.0.1:4568"
GATE_TOKEN = "a-token-that-proves-the-name-gate"
CONFIG = f"""
[[hub.tokens]]
name = "gate"
token = "{GATE_TOKEN}"
"""
# Who is there, in the order of coming: headers, channels, messages. The last one leaves at once.
CAST = [
    (
        {"Skynet-Name": "lamps", "Skynet-Computer-Id": "12", "Skynet-Computer-Label": "Hall"},
        ["chat", 5],
        [],
    ),
    ({"Authorization": f"Bearer {GATE_TOKEN}"}, ["doors"], [("doors", "knock")]),
    ({}, ["chat"], [("chat", "hello")]),
    ({"Skynet-Name": "noisy"}, ["chat"], []),
    ({"Skynet-Name": "visitor"}, [], []),
]
VOLATILE = re.compile(
    r"time|.*_at|at|last_activity|.*_seconds|version|address|bytes_.*|.*_bytes|round_trip_ms|user_agent"
    r"|value|source"
)
LEARNT = {"ID", "id", "next"}
MORE = "…"
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\b\d{13}\b")


class Block:
    """A fenced block and the line `→ 200` below it, if there is one."""

    def __init__(self, line, language, text):
        self.line, self.language, self.text = line, language, text
        self.status = None


class Command:
    """What is run: some lines of shell, and what is claimed of them."""

    def __init__(self, line, text, status=None, answer=None):
        self.line, self.text, self.status, self.answer = line, text, status, answer


def blocks(page):
    """The fenced blocks of a page, of README.md those of its section."""
    found, fence, inside = [], None, page.name != "README.md"
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if fence is not None:
            if line == "```":
                found.append(fence)
                fence = None
            else:
                fence.text += line + "\n"
        elif page.name == "README.md" and line.startswith("## "):
            inside = line == f"## {SECTION}"
        elif inside and line.startswith("```"):
            fence = Block(number + 1, line[3:].strip(), "")
        elif inside and (claim := re.match(r"→ `?(\d{3})`?", line)):
            found[-1].status = int(claim[1])
    return found


def commands(page):
    result, all_blocks = [], blocks(page)
    for block, following in zip(all_blocks, [*all_blocks[1:], None]):
        if block.language != "sh":
            continue
        lines, number = [], block.line
        for line in block.text.splitlines():
            if lines and (lines[-1][1].endswith("\\") or lines[-1][1].count("'") % 2):
                lines[-1] = (lines[-1][0], lines[-1][1] + "\n" + line)
            elif line.strip() and not line.startswith("#"):
                lines.append((number, line))
            number += 1
        for number, line in lines:
            claim = re.search(r"#\s*(\d{3})\b[^'\"]*$", line)
            status = int(claim[1]) if claim else block.status
            answer = None
            if len(lines) == 1 and following is not None and following.language in ("json", "text"):
                answer = following
            if status is None and line.startswith("curl"):
                raise Failure(f"{page}:{number}: no status is claimed of this command")
            result.append(Command(number, line, status, answer))
    if not result:
        raise Failure(f"{page}: no command found")
    return result


class Reader:
    """Somebody who types what the page says."""

    def __init__(self, server, show):
        self._server, self._show = server, show
        self._variables = []
        # What the page shows, and what came instead.
        self._learnt = {}

    def run(self, command):
        text = command.text.replace(ADMIN, self._server.admin)
        text = text.replace(HUB, f"{self._server.host}:{self._server.port}")
        for shown, came in self._learnt.items():
            text = text.replace(shown, came)
        if command.status is None:
            # What is set is kept as it came: it may depend on what later commands change.
            names = re.findall(r"^\s*(\w+)=", text, re.MULTILINE)
            self._variables.append(self._shell(f"{text}\ndeclare -p {' '.join(names)}").stdout)
            return
        # What only looks may be asked again until what was done before has come to pass.
        patient = not re.search(r"\s-X|\s--request|\s-d|\s--data|\s--json|/stream", text)
        deadline = time.monotonic() + DEADLINE_S
        while True:
            body, status = self._curl(text)
            problem = None
            if status != command.status:
                problem = f"status {status}"
            elif command.answer is not None:
                problem = self._compare(command.answer, body)
            if problem is None or not patient or time.monotonic() > deadline:
                break
        if self._show:
            print(f"--- {text}\n{status} {body}")
        if problem is not None:
            raise Failure(f"{command.text}\n  {problem}\n  the answer: {status} {body}")

    def _shell(self, text):
        prelude = [
            "set -euo pipefail",
            f'skynet() {{ "{self._server.binary}" "$@"; }}',
            # The status goes where the answer does not.
            "curl() { command curl -sS --max-time 20 -w '%{stderr}\\n%{http_code}\\n' \"$@\"; }",
        ]
        script = "\n".join([*prelude, *self._variables, text])
        done = subprocess.run(
            ["bash", "-c", script],
            env=self._server.environment,
            cwd=self._server.folder.name,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S * 2,
            check=False,
        )
        if done.returncode != 0:
            raise Failure(f"{text}\n  ends with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def _curl(self, text):
        done = self._shell(text)
        return done.stdout, int(done.stderr.split()[-1])

    def _compare(self, answer, body):
        try:
            if answer.language == "json":
                self._same(json.loads(answer.text), json.loads(body), "")
            elif plain(answer.text) != plain(body):
                return f"this is shown: {answer.text}"
        except (Failure, json.JSONDecodeError) as problem:
            return str(problem)
        return None

    def _same(self, shown, came, where, key=""):
        """Fails unless what came is what is shown; learns IDs."""
        if isinstance(shown, dict) and isinstance(came, dict):
            more = MORE in shown
            wanted = {name for name in shown if name != MORE}
            if not (wanted <= came.keys() if more else wanted == came.keys()):
                raise Failure(f"{where or 'the answer'} shows {sorted(wanted)}, came {sorted(came)}")
            for name in wanted:
                self._same(shown[name], came[name], f"{where}.{name}", name)
        elif isinstance(shown, list) and isinstance(came, list):
            more = shown[-1:] == [MORE]
            wanted = shown[:-1] if more else shown
            if len(came) < len(wanted) or (len(came) > len(wanted) and not more):
                raise Failure(f"{where} shows {len(wanted)} entries, came {len(came)}")
            for index, entry in enumerate(wanted):
                self._same(entry, came[index], f"{where}[{index}]")
        elif kind(shown) != kind(came):
            raise Failure(f"{where} shows {abridged(shown)}, came {abridged(came)}")
        elif key in LEARNT and isinstance(shown, str):
            self._learnt[shown] = came
        elif shown != came and not VOLATILE.fullmatch(key):
            raise Failure(f"{where} shows {abridged(shown)}, came {abridged(came)}")


def kind(value):
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    return type(value).__name__


def plain(text):
    """Without what differs from one time to the next."""
    return TIME.sub("TIME", UUID.sub("UUID", text)).strip()


def enter(server, until):
    """Lets the cast in, `until` when. Whoever is thrown out stays out."""
    url = f"ws://{server.host}:{server.port}/connect"
    for headers, channels, messages in CAST:
        client = connect(
            url, additional_headers=headers, compression=None, user_agent_header="computer"
        )
        socket = until.enter_context(client)
        for channel in channels:
            socket.send(json.dumps({"type": "open", "channel": channel}))
            socket.recv(timeout=DEADLINE_S)
        for channel, message in messages:
            socket.send(json.dumps({"type": "message", "channel": channel, "message": message}))
            socket.recv(timeout=DEADLINE_S)
    socket.close()


def read(binary, page, show):
    server = Server(binary, arguments=["--config", "hub.toml"], files={"hub.toml": CONFIG})
    with server, contextlib.ExitStack() as until:
        enter(server, until)
        reader, count = Reader(server, show), 0
        for command in commands(page):
            try:
                reader.run(command)
            except Failure as failure:
                raise Failure(f"{page}:{command.line}: {failure}") from None
            count += command.status is not None
    print(f"ok      {page}: {count} commands")


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--show"]
    if len(arguments) < 2 or not pathlib.Path(arguments[0]).is_file():
        sys.exit("Usage: commands.py [--show] PATH_OF_THE_BINARY PAGE.md…")
    for page in arguments[1:]:
        read(arguments[0], pathlib.Path(page), "--show" in sys.argv)


if __name__ == "__main__":
    try:
        main()
    except (Failure, websockets.WebSocketException) as failure:
        sys.exit(f"FAILED  {failure}")
