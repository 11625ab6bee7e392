"""Do the dashboards, rules and documents fit what the hub exports? A real Prometheus is asked.

Starts the release binary with a token on /metrics and a few channels counted one by one, and Debian's
Prometheus with the configuration and the rules of `grafana/prometheus`; has an evening's incidents
happen (incidents.py) among computers that talk (crowd.py), and the hub start anew among them. A second hub, which
speaks TLS to players, is scraped by a Prometheus of its own and asked what is of TLS. Then every
expression of every panel, variable, annotation and rule goes through Prometheus's HTTP API. It fails with
a list of all that is wrong:

- an expression is an error, or has no data: no series, or nothing but NaN in the whole time; or what it
  selects has none. An alert that does not fire has no data, rightly (when it fires is promtool's test,
  beside the rules), but what it selects is there;
- a dashboard, a rule or a document names a metric that the hub does not export;
- the hub exports a metric that docs/metrics.md does not explain, or that no dashboard shows;
- promtool finds fault with what the hub exports.

Usage: observe.py PATH_OF_THE_BINARY
Needs the Python packages websockets and ruamel.yaml, and Debian's packages prometheus and openssl.
"""

import contextlib
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True

import incidents  # noqa: E402
import names  # noqa: E402
import prom  # noqa: E402
from certificate import certificate  # noqa: E402
from crowd import Crowd  # noqa: E402
from dashboards import Values, all_dashboards  # noqa: E402
from stage import DEADLINE_S, Failure, Server  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXPLAINED = ROOT / "docs" / "metrics.md"
TOKEN = "the-token-of-the-owner-while-a-prometheus-looks"
# What makes incidents of seconds out of those of minutes.
SETTINGS = {
    "ADMIN__TOKEN": TOKEN,
    "METRICS__REQUIRE_TOKEN": "true",
    "MESSAGE_LOG__MAX_MESSAGES": "100",
    "LIMITS__MAX_QUEUE_BYTES": "512KiB",
    "LIMITS__MESSAGES_PER_SECOND": "100",
    "LIMITS__MESSAGE_BURST": "200",
    "LIMITS__HANDSHAKE_TIMEOUT": "1s",
    "LIMITS__PING_INTERVAL": "500ms",
}
# Two of them have names that a regex would read otherwise, one is a number.
CONFIG = """
[metrics]
channels = ["chat", "doors", 5, "farm/wheat", "lamps (hall)"]
"""
# Only the hub that names channels has them, and only one that speaks TLS.
ONE_BY_ONE, OF_TLS = "skynet_channel_", "skynet_tls_"
# Families that no dashboard shows, each with the reason.
NOT_SHOWN = {}
# What is read for names: text that tells an owner which metrics there are.
TEXTS = ["README.md", "config.toml", "docs/*.md", "grafana/**/*.json", "grafana/**/*.y*ml", "grafana/**/*.md"]
# What the library for computers queues in the game: its events begin like our metrics.
LIBRARY = ROOT / "lua" / "skynet.lua"
COLONS = re.compile(r"(?<![\w:])(?:\w+:)*skynet\w*(?::[a-zA-Z_]\w*)+(?![\w:])")


def evening(prometheus, hub, restart):
    """The traffic; returns from when to when it went on."""
    start = time.time()
    with Crowd(hub.server, lambda _: 8, lambda _: 6), reader_of_the_log(hub):
        for incident in incidents.ALL:
            incident(hub)
        prometheus.scraped_since(time.time())
        restart()
        with reader_of_the_log(hub):
            for incident in incidents.ALL:
                incident(hub)
            prometheus.scraped_since(time.time())
            # At the end of the time that is looked at, everything goes on.
            return start, prometheus.scrapes()[-1]


@contextlib.contextmanager
def reader_of_the_log(hub):
    """Somebody who follows the live log meanwhile."""
    with hub.raw(hub.server.admin) as stream:
        stream.sendall(
            f"GET /api/v1/log/stream HTTP/1.1\r\nHost: {hub.server.admin}\r\n"
            f"Authorization: Bearer {hub.token}\r\n\r\n".encode()
        )
        if not stream.recv(4096).startswith(b"HTTP/1.1 200 "):
            raise Failure("the live log is not to be had")
        follow = threading.Thread(target=incidents.until_over, args=(stream,))
        follow.start()
        try:
            yield
        finally:
            # The hub may have ended the connection already.
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
            follow.join(DEADLINE_S)


def has_values(series):
    return any(value != "NaN" for one in series for _, value in one["values"])


class Proof:
    """What is asked, and everything that is wrong with the answers."""

    def __init__(self, prometheus, of_tls, span, families):
        self._prometheus, self._of_tls, self._families = prometheus, of_tls, families
        self._start, self._end = span
        self.wrong, self._asked = [], set()
        # What the dashboards name in their expressions.
        self._shown = set()
        rules = prom.rules()
        self._rules = [
            (f"{path.name}: {rule.get('alert') or rule.get('record')}", rule)
            for path, content in rules.items()
            for group in content["groups"]
            for rule in group["rules"]
        ]
        self._records = {rule["record"] for _, rule in self._rules if "record" in rule}

    def _ask(self, where, text, instant):
        """Asks an expression once; that it has no data, or is an error, is wrong."""
        if (text, instant) in self._asked:
            return
        self._asked.add((text, instant))
        prometheus = self._of_tls if OF_TLS in text else self._prometheus
        try:
            if instant:
                data = bool(prometheus.at(text, self._end))
            else:
                data = has_values(prometheus.over(text, self._start, self._end))
        except Failure as failure:
            self.wrong.append(f"{where}: {failure}\n          {text}")
            return
        if not data:
            self.wrong.append(f"{where}: no data\n          {text}")

    def dashboard(self, dashboard):
        values = Values(
            self._prometheus, dashboard, self._start, self._end, self._prometheus.scrape_s
        )
        self.wrong += values.problems
        for expression in [*dashboard.expressions(), *dashboard.annotations()]:
            try:
                filled = values.fill(expression.text)
                self._named(expression.where, filled[0], self._shown)
            except Failure as failure:
                self.wrong.append(f"{expression.where}: {failure}")
                continue
            for text in filled:
                self._ask(expression.where, text, expression.instant)
            # `or vector(0)` has data always: what it stands in for must be there too.
            for selector in names.selectors(filled[0]):
                self._ask(expression.where, selector, instant=False)

    @property
    def asked(self):
        """How many different expressions have been asked."""
        return len(self._asked)

    def rules(self):
        health = {
            rule["name"]: rule
            for group in self._prometheus.ask("rules")["groups"]
            for rule in group["rules"]
        }
        for where, rule in self._rules:
            self._named(where, rule["expr"], set())
            seen = health[rule.get("record") or rule["alert"]]
            if seen["health"] != "ok":
                self.wrong.append(f"{where}: {seen['health']}: {seen.get('lastError')}")
            if "record" in rule:
                self._ask(where, rule["expr"], instant=True)
                self._ask(where, rule["record"], instant=True)
            else:
                for selector in names.selectors(rule["expr"]):
                    self._ask(where, selector, instant=True)

    def _named(self, where, expression, shown):
        for name in names.metrics(expression):
            family = self._families.family(name)
            if family is not None:
                shown.add(family)
            # `up` and its like are Prometheus's own.
            elif name.startswith(("skynet", "process")) and name not in self._records:
                self.wrong.append(f"{where}: {name} is not exported")

    def texts(self):
        """Every page that names metrics names such as there are."""
        pages = [path for pattern in TEXTS for path in sorted(ROOT.glob(pattern))]
        events = set(re.findall(r'"(skynet_[a-z]+)"', LIBRARY.read_text(encoding="utf-8")))
        for page in pages:
            text = page.read_text(encoding="utf-8")
            where = page.relative_to(ROOT)
            for name in sorted(names.named_in(text) - events):
                if self._families.family(name) is None:
                    self.wrong.append(f"{where}: {name} is not exported")
            for name in sorted(set(COLONS.findall(text)) - self._records):
                self.wrong.append(f"{where}: no rule records {name}")

    def families(self):
        """Every family is explained, with its type and labels, and shown."""
        explained = names.explained(EXPLAINED.read_text(encoding="utf-8"))
        for family, kind in sorted(self._families.types.items()):
            cells = explained.get(family, [])
            if len(cells) < 3:
                self.wrong.append(f"docs/metrics.md: {family} is exported and not explained")
            elif cells[0] != kind:
                self.wrong.append(f"docs/metrics.md: {family} is a {kind}, not a {cells[0]}")
            elif missing := self._families.labels[family] - set(re.findall(r"`(\w+)`", cells[1])):
                self.wrong.append(f"docs/metrics.md: {family} has the labels {sorted(missing)} too")
            if (family in self._shown) == (family in NOT_SHOWN):
                problem = "is shown after all" if family in self._shown else "is on no dashboard"
                self.wrong.append(f"grafana/dashboards: {family} {problem}")


@contextlib.contextmanager
def with_a_certificate(binary):
    """A hub that speaks TLS to players; its metrics are had as those of the other."""
    with tempfile.TemporaryDirectory(prefix="skynet-observe-") as folder:
        chain, key = certificate(pathlib.Path(folder), "localhost")
        tls = {"HUB__TLS__CERTIFICATE": str(chain), "HUB__TLS__KEY": str(key)}
        with Server(binary, ["--config", "skynet.toml"], {"skynet.toml": CONFIG}, **SETTINGS, **tls) as server:
            yield server


def scrape(server, token=None):
    """The text of /metrics, which promtool must find good."""
    status, text = incidents.Hub(server, token).call("GET", "/metrics", token=token, wanted=200)
    checked = subprocess.run(
        [prom.need("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    if checked.returncode != 0 or checked.stdout or checked.stderr:
        raise Failure(f"promtool check metrics: {checked.stdout}{checked.stderr}")
    return names.Families(text)


class Restartable:
    """A hub that comes back at the same addresses with nothing of before."""

    def __init__(self, binary):
        addresses = {
            f"{listener}__LISTEN": f"127.0.0.1:{prom.free_port()}" for listener in ("HUB", "ADMIN")
        }
        self._start = lambda: Server(
            binary,
            ["--config", "skynet.toml"],
            {"skynet.toml": CONFIG},
            **SETTINGS,
            **addresses,
        )
        self.server = None

    def __enter__(self):
        self.server = self._start().__enter__()
        return self

    def __exit__(self, *_):
        self.server.stop()

    def restart(self):
        self.end()
        self.server = self._start().__enter__()

    def end(self):
        """Ends it as its owner would, and looks at how it went."""
        self.server.terminate()
        code = self.server.exit_code()
        panicked = [line for line in self.server.log.finished() if "panicked" in line]
        self.server.stop()
        if code != 0 or panicked:
            raise Failure(f"the hub ended with {code}: {panicked[:1]}")


def as_it_is_shipped(binary, families):
    """Without any setting /metrics is open, and has all but the channels one by one and the certificates."""
    with Server(binary) as server:
        there = scrape(server)
    wanted = {name for name in families.types if not name.startswith((ONE_BY_ONE, OF_TLS))}
    if there.types.keys() != wanted:
        raise Failure(f"/metrics without a setting differs by {there.types.keys() ^ wanted}")


def main():
    if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).is_file():
        sys.exit("Usage: observe.py PATH_OF_THE_BINARY")
    prom.need("promtool")
    with Restartable(sys.argv[1]) as running, with_a_certificate(sys.argv[1]) as encrypted:
        hub = incidents.Hub(running.server, TOKEN)
        hub.call("GET", "/metrics", token=None, wanted=401)

        def restart():
            running.restart()
            hub.server = running.server

        with (
            prom.Prometheus(hub.server.admin, TOKEN) as prometheus,
            prom.Prometheus(encrypted.admin, TOKEN, instance=hub.server.admin) as of_tls,
        ):
            start, end = evening(prometheus, hub, restart)
            print(f"ok      an evening of {end - start:.0f} s is scraped", flush=True)
            families = scrape(encrypted, TOKEN)
            wanted = {name for name in families.types if not name.startswith(OF_TLS)}
            if (there := scrape(hub.server, TOKEN).types.keys()) != wanted:
                raise Failure(f"with TLS and without the metrics differ by {there ^ wanted}")
            as_it_is_shipped(sys.argv[1], families)
            print(f"ok      promtool finds no fault with {len(families.types)} families", flush=True)
            proof = Proof(prometheus, of_tls, (start, end), families)
            for dashboard in all_dashboards():
                proof.dashboard(dashboard)
            proof.rules()
            proof.texts()
            proof.families()
        running.end()
    if proof.wrong:
        raise Failure("\n        ".join([f"{len(proof.wrong)} of these:", *proof.wrong]))
    print(f"observe: {proof.asked} expressions have data; names and documents agree")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"FAILED  {failure}")
