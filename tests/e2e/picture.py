"""The picture of the dashboard: its first screen with what a real Prometheus answers.

Starts the release binary and Prometheus, has an evening of some minutes happen (computers come, talk and
go; now and then something goes wrong), asks every expression of the first screen as Grafana does, and has
Grafana's own components draw the answers (picture/). Nothing in it is made up but the computers.

Usage: picture.py PATH_OF_THE_BINARY OUT.png [MINUTES] [--light]
Needs what observe.py needs, and what picture/draw.cjs needs.
"""

import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import incidents  # noqa: E402
from crowd import Crowd  # noqa: E402
from dashboards import FOLDER, Dashboard, Values  # noqa: E402
from prom import Prometheus  # noqa: E402
from stage import Failure, Server  # noqa: E402

DRAW = pathlib.Path(__file__).resolve().parent / "picture" / "draw.cjs"
TOKEN = "the-token-of-the-owner-while-a-picture-is-drawn"
SETTINGS = {
    "ADMIN__TOKEN": TOKEN,
    "MESSAGE_LOG__MAX_MESSAGES": "2000",
    "LIMITS__MAX_QUEUE_BYTES": "512KiB",
    "LIMITS__MESSAGE_BURST": "200",
    "LIMITS__PING_INTERVAL": "2s",
}
SCRAPE_S = 5
WIDTH = 1600
# The rows of the grid that a screen of 1920 by 1080 shows.
ROWS = 22
# When what goes wrong does, in parts of the evening.
EVENTS = [
    (0.08, incidents.the_owner_looks_around),
    (0.18, incidents.commands_are_refused),
    (0.27, incidents.handshakes_are_refused),
    (0.35, incidents.a_slow_client_is_closed),
    (0.44, incidents.somebody_shows_a_wrong_token),
    (0.52, incidents.somebody_vanishes),
    (0.60, incidents.somebody_is_kicked),
    (0.66, incidents.the_owner_errs),
    (0.73, incidents.the_api_is_asked_with_wrong_tokens),
    (0.78, incidents.commands_are_refused),
    (0.84, incidents.somebody_is_banned),
    (0.90, incidents.handshakes_are_refused),
    (0.95, incidents.the_owner_looks_around),
]


def evening(hub, prometheus, seconds):
    """Few at first, most after dinner, and some go to bed; returns when it was."""

    def size(t):
        part = t / seconds
        return round(14 + 46 * math.sin(math.pi * min(part * 0.8, 1)) ** 2 + 5 * math.sin(part * 23))

    def pace(t):
        return 0.7 + 0.45 * math.sin(t / seconds * 17) + (0.8 if 0.55 < t / seconds < 0.62 else 0)

    with Crowd(hub.server, size, pace):
        prometheus.scraped_since(time.time())
        start = time.time()
        for part, event in EVENTS:
            at = start + part * seconds
            prometheus.wait(lambda at=at: time.time() >= at, "the hour of an event", seconds)
            event(hub)
        prometheus.wait(lambda: time.time() >= start + seconds, "the end of the evening", seconds)
        prometheus.scraped_since(time.time())
        return start, prometheus.scrapes()[-1]


def legend(pattern, labels):
    """The name of a curve, as Grafana makes it of the pattern; None: it is left to Grafana."""
    if pattern in (None, "", "__auto"):
        return ", ".join(f'{name}="{value}"' for name, value in labels.items()) or None
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), pattern)


def answers(prometheus, values, panel, span):
    for target in panel.get("targets", []):
        text = values.fill(target["expr"])[0]
        if target.get("instant"):
            found = prometheus.ask("query", query=text, time=span[1])["result"]
            series = [(one["metric"], [one["value"]]) for one in found]
        else:
            found = prometheus.over(text, *span)
            series = [(one["metric"], one["values"]) for one in found]
        if not series:
            raise Failure(f"panel {panel['title']!r}: no data: {text}")
        pattern = values.fill(target.get("legendFormat", ""))[0]
        named = [
            {"name": legend(pattern, labels), "labels": labels, "values": points}
            for labels, points in series
        ]
        yield {"refId": target["refId"], "series": named}


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--light"]
    if len(arguments) not in (2, 3) or not pathlib.Path(arguments[0]).is_file():
        sys.exit("Usage: picture.py PATH_OF_THE_BINARY OUT.png [MINUTES] [--light]")
    seconds = 60 * float(arguments[2] if len(arguments) == 3 else 12)
    with Server(arguments[0], **SETTINGS) as server:
        hub = incidents.Hub(server, TOKEN)
        with Prometheus(server.admin, scrape_s=SCRAPE_S) as prometheus:
            span = evening(hub, prometheus, seconds)
            dashboard = Dashboard(FOLDER / "skynet.json")
            values = Values(prometheus, dashboard, *span, SCRAPE_S)
            picture = {
                "theme": "light" if "--light" in sys.argv else "dark",
                "width": WIDTH,
                "from": span[0],
                "to": span[1],
                "panels": [
                    {"panel": panel, "answers": list(answers(prometheus, values, panel, span))}
                    for panel in dashboard.content["panels"]
                    if panel["gridPos"]["y"] < ROWS
                ],
            }
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(picture, file)
        file.flush()
        drawn = subprocess.run(["node", DRAW, file.name, arguments[1]], timeout=120, check=False)
    if drawn.returncode != 0:
        raise Failure("the picture is not drawn, see above")
    print(f"picture: {arguments[1]} shows {span[1] - span[0]:.0f} seconds")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"FAILED  {failure}")
