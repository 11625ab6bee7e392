#!/usr/bin/env python3
"""Skynet beside its peers: `python3 bench/compare.py`.

Builds the release binaries, installs the peers (under target/bench; Debian's packages as root), and plays
every scene against every server, a fresh one for each run, in turn: A, B, C, C, B, A, A… so that whatever
else the machine does meets all of them. Prints tables of medians and appends a line of JSON for each run.

It ends with 1 when a delivery of a server of ours was lost, repeated, cut or out of order, or when a run
failed; no figure of time makes it fail. Linux only, and Python's standard library only.
"""

import argparse
import datetime
import json
import os
import pathlib
import resource
import shlex
import signal
import subprocess
import sys

import tables
from scenes import SCENES, SETTINGS
from servers import SERVERS, Place, Problem, Running, Skynet, build, install

QUICK_SERVERS = ["skynet", *SETTINGS, "floor-each", "floor-coalesce", "uws", "ws"]


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = {"servers": [server.name for server in SERVERS], "scenes": [scene.name for scene in SCENES]}
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one short round with few servers: asks for loss and order, its figures mean nothing",
    )
    parser.add_argument("--rounds", type=int, help="runs of each scene against each server (5)")
    parser.add_argument("--seconds", type=float, help="how long most scenes are measured (3)")
    for what in names:
        parser.add_argument(
            f"--{what}",
            type=lambda text: text.split(","),
            metavar="A,B",
            help=f"only these, of: {', '.join(names[what])}",
        )
    parser.add_argument(
        "--variant",
        type=variant,
        action="append",
        default=[],
        metavar="NAME[@BINARY][:KEY=VALUE,…]",
        help="one more Skynet, of another binary or with other settings (LIMITS__PING_INTERVAL=5s)",
    )
    parser.add_argument(
        "--results",
        type=pathlib.Path,
        help="lines of JSON are appended to it (target/bench/results.jsonl, begun anew)",
    )
    parser.add_argument(
        "--from",
        type=pathlib.Path,
        dest="source",
        metavar="FILE",
        help="play nothing: tables of the lines in this file",
    )
    parser.add_argument("--write", metavar="PAGE", help="put the tables between the markers of this page")
    given = parser.parse_args()
    for what, known in names.items():
        unknown = [name for name in getattr(given, what) or [] if name not in known]
        if unknown:
            parser.error(f"--{what}: {', '.join(unknown)} is not one of {', '.join(known)}")
    given.rounds = given.rounds or (1 if given.quick else 5)
    given.seconds = given.seconds or (0.5 if given.quick else 3.0)
    if given.rounds < 1 or not 0.1 <= given.seconds <= 600:
        parser.error("--rounds must be 1 or more, --seconds 0.1 to 600")
    if given.quick and given.write:
        parser.error("figures of --quick mean nothing and are not written into a page")
    return given


def variant(text):
    name, _, settings = text.partition(":")
    name, _, binary = name.partition("@")
    pairs = [pair.partition("=") for pair in settings.split(",") if pair]
    if not name or any(not key or not equals for key, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME[@BINARY][:KEY=VALUE,…]")
    if name in [server.name for server in SERVERS]:
        raise argparse.ArgumentTypeError(f"{name} is a server already")
    if binary and not os.access(binary, os.X_OK):
        raise argparse.ArgumentTypeError(f"{binary} is not a program")
    return Skynet(
        name, str(pathlib.Path(binary).resolve()) if binary else None, {key: value for key, _, value in pairs}
    )


def chosen(given):
    wanted = given.servers or (QUICK_SERVERS if given.quick else [server.name for server in SERVERS])
    servers = [server for server in SERVERS if server.name in wanted] + given.variant
    scenes = (
        [scene for scene in SCENES if scene.name in given.scenes]
        if given.scenes
        else [scene for scene in SCENES if scene.quick or not given.quick]
    )
    return servers, scenes


def play(place, given, scene, server):
    """One run: the figures of a line."""
    with Running(place, server, scene.skynet) as running:
        started = {
            "start_ms": round(running.start_ms, 2),
            "rss_start_kib": running.resident_kib(),
            "program_kib": running.program_kib,
        }
        command = [
            place.load,
            *scene.command(given.seconds, min(1.0, given.seconds / 4), given.quick),
            *("--address", f"127.0.0.1:{running.port}", "--path", server.path, "--dialect", server.dialect),
            *("--server", running.process.pid, "--label", f"{scene.name}/{server.name}"),
            *(["--echo"] if server.echo else []),
        ]
        command = [str(part) for part in command]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=120 + 10 * given.seconds * scene.longer,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Problem(f"the generator does not end: {shlex.join(command)}") from None
        if done.returncode != 0:
            raise Problem(
                f"{done.stderr.strip() or f'the generator ended with {done.returncode}'};"
                f" the server's last words: {running.last_words()}"
            )
        return started | {"report": json.loads(done.stdout), "told": done.stderr.strip()}


def verdict(line, server):
    """What is wrong with a run of a server of ours; None when nothing is."""
    if "problem" in line:
        return line["problem"]
    report = line["report"]
    if not report["clean"]:
        return f"{report['faults']} {line['told']}"
    if server.name not in ("floor-each", "floor-coalesce") and report.get("orders", 1) != 1:
        return f"listeners saw {report['orders']} different orders"
    return None


def brief(line):
    if "problem" in line:
        return line["problem"].splitlines()[0]
    report = line["report"]
    parts = [
        (name, report.get(key))
        for name, key in [
            ("µs/delivery", "us_per_delivery"),
            ("µs/log", "us_per_log"),
            ("µs/connection", "us_per_connection"),
            ("KiB/connection", "rss_per_connection_kib"),
        ]
    ]
    told = ", ".join(f"{value} {name}" for name, value in parts if value is not None)
    return told if report["clean"] else f"{told}; faults: {report['faults']}"


def plays(server, scene):
    """Whether a server has a part in a scene."""
    if server.scenes is not None:
        return scene.name in server.scenes
    return isinstance(server, Skynet) or not scene.only


def play_all(place, given, servers, scenes, results):
    """Every run, each line written as soon as it is there. Returns the lines, and what failed."""
    lines, failed = [], []
    same = {"command": command(), "machine": tables.machine()}
    for scene in scenes:
        for round_ in range(given.rounds):
            # Whoever was last is first next time.
            for server in servers if round_ % 2 == 0 else servers[::-1]:
                if not plays(server, scene):
                    continue
                line = {"scene": scene.name, "server": server.name, "round": round_}
                line["time"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
                line |= same
                try:
                    line |= play(place, given, scene, server)
                except Problem as problem:
                    line["problem"] = str(problem)
                lines.append(line)
                results.write(json.dumps(line) + "\n")
                results.flush()
                print(f"{scene.name}, {server.name}, round {round_ + 1}: {brief(line)}", flush=True)
                bad = verdict(line, server) if server.ours or given.quick else None
                if bad:
                    failed.append(f"{scene.name}, {server.name}, round {round_ + 1}: {bad}")
    return lines, failed


def command():
    """How this was called, without where files are: what to type for the same measurement."""
    words, kept = sys.argv[1:], []
    while words:
        word = words.pop(0)
        if word in ("--results", "--write"):
            words = words[1:]
        elif not word.startswith(("--results=", "--write=")):
            kept.append(word)
    return shlex.join(["python3", "bench/compare.py", *kept])


def about(lines, servers):
    """What stands above the tables."""
    days = sorted({line["time"][:10] for line in lines})
    commands = dict.fromkeys(f"`{line['command']}`" for line in lines)
    machines = dict.fromkeys(line["machine"] for line in lines)
    rounds = 1 + max(line["round"] for line in lines)
    known = {server.name: server.about for server in servers}
    used = dict.fromkeys(line["server"] for line in lines)
    return [
        f"Measured {' to '.join(dict.fromkeys((days[0], days[-1])))} on {' and '.join(machines)};"
        f" medians of {rounds} {'rounds' if rounds > 1 else 'round'}. Command: {' and '.join(commands)}.",
        "\n".join(f"- `{name}`: {known.get(name) or 'a variant of Skynet'}." for name in used),
    ]


def main():
    given = arguments()
    failed = []
    place = Place()
    servers, scenes = chosen(given)
    if given.source:
        lines = [json.loads(line) for line in given.source.read_text(encoding="utf-8").splitlines()]
        if not lines:
            raise Problem(f"{given.source} holds no runs")
    else:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        build(place)
        install(place, servers)
        path = given.results or place.folder / "results.jsonl"
        with open(path, "a" if given.results else "w", encoding="utf-8") as results:
            lines, failed = play_all(place, given, servers, scenes, results)
        print(f"\nEvery run: {path}\n")
    text = tables.page(tables.Runs(lines), about(lines, SERVERS + given.variant))
    if given.quick:
        print(f"{len(lines) - len(failed)} passed, {len(failed)} failed")
    else:
        print(text)
    if given.write:
        tables.write(given.write, text)
    for failure in failed:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    # What was started is stopped then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("compare.py: told to end"))
    try:
        sys.exit(main())
    except (Problem, OSError, ValueError) as problem:
        sys.exit(f"compare.py: {problem}")
    except KeyboardInterrupt:
        sys.exit("compare.py: stopped")
