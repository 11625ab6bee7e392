"""A real Prometheus on a port of its own, with the repository's scrape configuration and rules.

Of `grafana/prometheus` only what a test must change is changed: the address of the hub, the pauses, so
that seconds do for minutes, and what the file itself shows as a comment: the token. Whatever is asked
goes through Prometheus's HTTP API. Nothing here knows what the metrics mean.
"""

import json
import math
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from ruamel.yaml import YAML

from stage import DEADLINE_S, Failure, Lines

PROMETHEUS = pathlib.Path(__file__).resolve().parents[2] / "grafana" / "prometheus"


def need(program):
    """The path of a program of Debian's package `prometheus`."""
    path = shutil.which(program)
    if path is None:
        raise Failure(f"{program} is not installed: it is in Debian's package prometheus")
    return path


def yaml(text):
    return YAML(typ="safe").load(text)


def free_port():
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def scrape_config(target, instance, token_file, folder, scrape_s):
    """The repository's configuration with the hub at `target`, which is called `instance`; rules are looked for where they are."""
    text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
    if token_file is not None:
        # The lines about the token are there as a comment: exactly those are taken in.
        text, count = re.subn(
            r"^( *)# ?(authorization:)\n\1# ?( +credentials_file:) .*$",
            rf"\1\2\n\1\3 {token_file}",
            text,
            flags=re.MULTILINE,
        )
        if count != 1:
            raise Failure("prometheus.yml does not show, as a comment, how a token is given")
    config = yaml(text)
    pauses = {"scrape_interval": f"{scrape_s}s", "evaluation_interval": f"{scrape_s}s"}
    config["global"] |= pauses
    jobs = [job for job in config["scrape_configs"] if job["job_name"] == "skynet"]
    if len(jobs) != 1 or len(jobs[0].get("static_configs", [])) != 1:
        raise Failure("prometheus.yml has not one job named skynet with one list of targets")
    jobs[0]["static_configs"] = [{"targets": [target], "labels": {"instance": instance}}]
    config["scrape_configs"] = jobs
    if "rule_files" not in config:
        raise Failure("prometheus.yml names no rules")
    config["rule_files"] = [str(path) for path in rule_files(folder)]
    # Alerts are looked at where they are made; nobody is told.
    config.pop("alerting", None)
    return config


def rules():
    """The repository's files of rules and what is in them."""
    paths = sorted((PROMETHEUS / "rules").glob("*.yml"))
    if not paths:
        raise Failure("there are no rules in grafana/prometheus/rules")
    return {path: yaml(path.read_text(encoding="utf-8")) for path in paths}


def rule_files(folder):
    """Copies of the rules that are evaluated as often as everything else."""
    for path, content in rules().items():
        for group in content["groups"]:
            group.pop("interval", None)
        copy = pathlib.Path(folder, path.name)
        # What is JSON is YAML.
        copy.write_text(json.dumps(content), encoding="utf-8")
        yield copy


class Prometheus:
    """Debian's Prometheus, scraping the hub at `target` every `scrape_s`, from `__enter__` to `__exit__`.
    `instance` is what it calls the hub, its address if nothing is given."""

    def __init__(self, target, token=None, scrape_s=1, instance=None):
        self._target, self._token, self.scrape_s = target, token, scrape_s
        self._instance = instance or target
        self._folder = tempfile.TemporaryDirectory(prefix="skynet-prometheus-")
        self._process = None
        self.address = None

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def _start(self):
        folder = pathlib.Path(self._folder.name)
        token_file = None
        if self._token is not None:
            token_file = folder / "token"
            token_file.write_text(self._token, encoding="utf-8")
        config = folder / "prometheus.yml"
        config.write_text(
            json.dumps(scrape_config(self._target, self._instance, token_file, folder, self.scrape_s)),
            encoding="utf-8",
        )
        self.address = f"127.0.0.1:{free_port()}"
        self._process = subprocess.Popen(
            [
                need("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.address}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
        )
        self._log = Lines(self._process.stderr)
        self.wait(self._ready, "Prometheus to be ready")

    def _ready(self):
        if self._process.poll() is not None:
            raise Failure("Prometheus ended: " + "\n".join(self._log.finished()))
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=DEADLINE_S):
                return True
        except OSError:
            return False

    def stop(self):
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        if self._process is not None:
            self._process.wait()
        self._folder.cleanup()

    def wait(self, condition, what, seconds=DEADLINE_S):
        """What `condition` returns, as soon as it is something."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise Failure(f"waited {seconds} s for {what}")
            time.sleep(0.1)  # Between two looks at the condition.
        return value

    def ask(self, path, **parameters):
        """The data of an answer; an error that Prometheus tells is a failure with its text."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters, True)}"
        try:
            with urllib.request.urlopen(url, timeout=DEADLINE_S) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise Failure(json.load(error).get("error", str(error))) from None

    def at(self, expression, when=None):
        """The series that an expression has at a time: [(labels, value)], NaN left out."""
        moment = {} if when is None else {"time": f"{when:.3f}"}
        data = self.ask("query", query=expression, **moment)
        if data["resultType"] == "scalar":
            data["result"] = [{"metric": {}, "value": data["result"]}]
        found = [(series["metric"], float(series["value"][1])) for series in data["result"]]
        return [(labels, value) for labels, value in found if not math.isnan(value)]

    def over(self, expression, start, end, step=None):
        """The series of an expression over a time, as Prometheus tells them."""
        data = self.ask(
            "query_range",
            query=expression,
            start=f"{start:.3f}",
            end=f"{end:.3f}",
            step=step or self.scrape_s,
        )
        return data["result"]

    def scraped_since(self, when):
        """Waits for two good scrapes that began after `when`: what happened before is in the second."""

        def done():
            return sum(at > when for at in self.scrapes()) >= 2

        self.wait(done, "two scrapes of the hub")

    def scrapes(self):
        """The times of the last scrapes that succeeded."""
        data = self.ask("query", query='up{job="skynet"}[10m]')["result"]
        return [float(at) for series in data for at, up in series["values"] if up == "1"]
