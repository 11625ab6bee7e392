"""From the lines of many runs to tables in Markdown: medians, ratios, and what of the targets holds.

A line is what compare.py writes: {"scene", "server", "round", "start_ms", "rss_start_kib", "report"}, the
report being the generator's, or {"scene", "server", "round", "problem"} for a run that failed.
"""

import math
import pathlib
import platform
import statistics

from scenes import CPU, SCENES, SETTINGS, TARGETS, Target

BEGIN, END = "<!-- The comparison begins -->", "<!-- The comparison ends -->"
FAULTS = ("lost", "surplus", "out_of_order", "malformed", "unanswered", "refused", "gone")


def figure(line, path):
    """A figure of a run, by its dotted path in the line or in its report; None without it."""
    value = {**line.get("report", {}), **{k: v for k, v in line.items() if k != "report"}}
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


class Runs:
    """Lines by scene and server; of several for one round, the last counts."""

    def __init__(self, lines):
        self.lines = list(lines)
        self.by = {(line["scene"], line["server"], line["round"]): line for line in self.lines}
        played = dict.fromkeys(line["server"] for line in self.lines)
        # A setting that is played in a scene or two is no column of the large tables.
        self.servers = [name for name in played if name not in SETTINGS]

    def values(self, scene, server, path):
        """The figure of each round that has it."""
        found = {}
        for (of_scene, of_server, round_), line in self.by.items():
            value = figure(line, path)
            if (of_scene, of_server) == (scene, server) and value is not None:
                found[round_] = value
        return found

    def median(self, scene, server, path):
        """The median of the rounds; None where there is none."""
        values = self.values(scene, server, path)
        return statistics.median(values.values()) if values else None

    def ratio(self, target):
        """What a target bounds: the median of the rounds, of the figure or of its ratio."""
        values = self.values(target.scene, target.server, target.figure)
        if target.beside:
            others = self.values(target.beside_scene or target.scene, target.beside, target.figure)
            values = {r: v / others[r] for r, v in values.items() if others.get(r)}
        return statistics.median(values.values()) if values else None


def number(value, digits=3):
    """Three digits that count, and no exponent; a dash for nothing."""
    if value is None:
        return "–"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    text = f"{value:.{max(places, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def milliseconds(report_us):
    return number(None if report_us is None else report_us / 1000, 2)


def markdown(head, rows):
    """A table; columns of which no row has anything are left out."""
    keep = [0] + [c for c in range(1, len(head)) if any(row[c] not in ("–", "") for row in rows)]
    lines = [[head[c] for c in keep], ["---"] + ["---:"] * (len(keep) - 1)]
    lines += [[row[c] for c in keep] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def table(runs, title, groups, cell, first="scene"):
    """One row for each scene of these groups that was run, one column for each server."""
    played = {line["scene"] for line in runs.lines}
    rows = []
    for scene in SCENES:
        if scene.group in groups and scene.name in played:
            row = [cell(scene.name, server) for server in runs.servers]
            if any(text != "–" for text in row):
                rows.append([scene.title, *row])
    return f"**{title}**\n\n{markdown([first, *runs.servers], rows)}" if rows else None


def delays(runs, scene, server):
    parts = [runs.median(scene, server, f"delay_us.{q}") for q in ("p50", "p99", "p999", "max")]
    return "–" if None in parts else " / ".join(milliseconds(part) for part in parts)


def connections(runs):
    """What connections cost: one row for each figure."""
    figures = [
        ("the program's file, KiB", "alone", "program_kib"),
        ("resident memory at the start, KiB", "alone", "rss_start_kib"),
        ("from the start to serving, ms", "alone", "start_ms"),
        ("CPU while nobody is connected, % of a core", "alone", "idle_cpu_share"),
        ("CPU while 10,000 are, % of a core", "idle", "idle_cpu_share"),
        ("resident memory for each of 10,000 clients, KiB", "idle", "rss_per_connection_kib"),
        ("the same after 20 messages to all, KiB", "idle", "rss_per_connection_after_kib"),
        ("CPU for a connection with an open, µs", "connect", "us_per_connection"),
        ("connections a second", "connect", "connections_per_s"),
    ]
    rows = []
    for text, scene, path in figures:
        values = [runs.median(scene, server, path) for server in runs.servers]
        values = [v * 100 if v is not None and path == "idle_cpu_share" else v for v in values]
        if any(value is not None for value in values):
            rows.append([text, *map(number, values)])
    return f"**Connections**\n\n{markdown(['', *runs.servers], rows)}" if rows else None


def curves(runs):
    """Scenes that only Skynet plays: what its size changes."""
    figures = {
        "us_per_log": "µs a log",
        CPU: "µs a delivery",
        "us_per_delivery_before": "µs a delivery without logs",
        "us_per_connection": "µs a connection",
    }
    rows = []
    for scene in (scene for scene in SCENES if scene.only):
        for path, text in figures.items():
            if scene.group == "log" and path == CPU:
                continue
            values = [runs.median(scene.name, server, path) for server in runs.servers]
            if any(value is not None for value in values):
                rows.append([f"{scene.title}: {text}", *map(number, values)])
    return f"**The log, and many clients**\n\n{markdown(['', *runs.servers], rows)}" if rows else None


def settings(runs):
    """What a setting gives and costs, beside Skynet as it ships."""
    rows = []
    for name in SETTINGS:
        for scene in SCENES:
            ratio = runs.ratio(Target("", CPU, scene.name, server=name, beside="skynet"))
            if ratio is not None:
                p99 = (runs.median(scene.name, server, "delay_us.p99") for server in ("skynet", name))
                rows.append([f"`{name}`", scene.title, number(ratio), " → ".join(map(milliseconds, p99))])
    head = ["", "scene", "CPU × skynet", "p99, ms"]
    return f"**Settings**\n\n{markdown(head, rows)}" if rows else None


def targets(runs):
    """Each target, what was measured, and whether it holds."""
    rows = []
    for target in TARGETS:
        value = runs.ratio(target)
        if value is None:
            continue
        beside = f" × {target.beside}" if target.beside and not target.beside_scene else ""
        holds = []
        for name, bound in (("must", target.must), ("aim", target.aim)):
            if bound is not None:
                miss = "" if value <= bound else f" (by {number(value / bound * 100 - 100, 2)} %)"
                holds.append(f"{name} {'held' if value <= bound else 'missed'}{miss}")
        must, aim = (
            f"≤ {number(bound)}" if bound is not None else "–" for bound in (target.must, target.aim)
        )
        rows.append([target.text + beside, number(value), must, aim, ", ".join(holds)])
    return f"**Targets**\n\n{markdown(['', 'measured', 'must', 'aim', ''], rows)}" if rows else None


def wrong(runs):
    """What went wrong in any run, a line for each server and scene."""
    found = {}
    for line in runs.by.values():
        key = (line["server"], line["scene"])
        if "problem" in line:
            found.setdefault(key, []).append(line["problem"].splitlines()[0])
            continue
        faults = line["report"]["faults"]
        bad = [f"{faults[name]:,} {name.replace('_', ' ')}" for name in FAULTS if faults[name]]
        if bad:
            found.setdefault(key, []).append(", ".join(bad))
    lines = [
        f"- {server}, {scene}: {'; '.join(dict.fromkeys(what))}" for (server, scene), what in found.items()
    ]
    checked = sum(figure(line, "deliveries") or 0 for line in runs.lines)
    plural = "s" * (len(runs.by) > 1)
    head = f"**Loss and order.** {checked:,} deliveries were checked, in {len(runs.by):,} run{plural}"
    return (
        f"{head}; none was lost, repeated, cut or out of order."
        if not lines
        else f"{head}. What was wrong:\n\n" + "\n".join(lines)
    )


def machine():
    """This machine in words."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    kib = int(pathlib.Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0])
    cores = sum(
        line.startswith("processor") for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    )
    return (
        f"{cores} cores of {cpu}, {kib / 1048576:.0f} GiB of memory, Linux {platform.release().split('-')[0]}"
    )


def page(runs, about):
    """Everything, as it goes between the markers of the page. `about` are the paragraphs before it."""
    busy = [
        o / s
        for line in runs.lines
        if (o := figure(line, "others_busy_s")) is not None and (s := figure(line, "seconds"))
    ]
    if busy:
        about = [
            *about,
            f"Other programs used {statistics.median(busy) * 100:.0f} % of a core meanwhile (median of the"
            f" runs), {max(busy) * 100:.0f} % at most.",
        ]
    parts = [
        *about,
        targets(runs),
        table(
            runs,
            "Server CPU, µs for each delivery",
            ("closed", "paced"),
            lambda scene, server: number(runs.median(scene, server, CPU)),
        ),
        table(
            runs,
            "Delay, ms: p50 / p99 / p99.9 / max",
            ("paced",),
            lambda scene, server: delays(runs, scene, server),
        ),
        table(
            runs,
            "Deliveries a second in a closed loop",
            ("closed",),
            lambda scene, server: number(runs.median(scene, server, "deliveries_per_s")),
        ),
        settings(runs),
        connections(runs),
        curves(runs),
        wrong(runs),
    ]
    return "\n\n".join(part for part in parts if part)


def write(path, text):
    """Puts the text between the markers of a page."""
    path = pathlib.Path(path)
    page_text = path.read_text(encoding="utf-8")
    if (
        page_text.count(BEGIN) != 1
        or page_text.count(END) != 1
        or page_text.index(BEGIN) > page_text.index(END)
    ):
        raise ValueError(f"{path} must hold one line {BEGIN} and after it one line {END}")
    before, rest = page_text.split(BEGIN)
    after = rest.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
