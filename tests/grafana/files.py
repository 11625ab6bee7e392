"""The files beside the dashboards: `files.py`, with ruamel.yaml installed.

Every YAML file under grafana/ can be read and has no key twice; provisioning, the compose file and
Prometheus's configuration fit together (names, folders, ports); each alert says what it must, has its
section in docs/alerts.md, and is tested both ways; each recorded figure is tested. That the rules are
right is for promtool to say, and that the compose file is one for the schema of the Compose Specification.
"""

import re
import sys
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "grafana"
SEVERITIES = {"critical", "warning", "info"}
FOUND: list[str] = []


def want(right: bool, what: str) -> None:
    if not right:
        FOUND.append(what)


def read(path: Path) -> dict:
    value = YAML(typ="safe", pure=True).load(path.read_text())
    want(isinstance(value, dict), f"{path.relative_to(ROOT)} is no mapping")
    return value


def rules(path: str, kind: str) -> dict[str, dict]:
    found = {}
    for group in read(GRAFANA / "prometheus" / "rules" / path)["groups"]:
        for rule in group["rules"]:
            want(kind in rule, f"{path}: {rule} is no {kind}")
            found[rule[kind]] = rule
    want(bool(found), f"{path} has no rules")
    return found


def alerts() -> None:
    """Each alert says what it must, is explained, and is tested both ways."""
    page = (ROOT / "docs" / "alerts.md").read_text()
    sections = re.findall(r"^## (\S+)$", page, re.MULTILINE)
    declared = rules("skynet-alerts.yml", "alert")
    tested: dict[str, set[bool]] = {}
    for test in read(GRAFANA / "prometheus" / "tests" / "skynet-alerts.yml")["tests"]:
        for case in test["alert_rule_test"]:
            tested.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    for name, alert in declared.items():
        texts = alert.get("annotations", {})
        want(alert.get("labels", {}).get("severity") in SEVERITIES, f"{name}: its severity is none of {sorted(SEVERITIES)}")
        want("for" in alert, f"{name}: fires at once, without `for`")
        want(bool(texts.get("summary")), f"{name}: has no summary")
        want("$value" in texts.get("description", ""), f"{name}: its description does not tell the value")
        want(texts.get("runbook") == f"docs/alerts.md#{name.lower()}", f"{name}: its runbook is {texts.get('runbook')!r}")
        want(name in sections, f"{name}: docs/alerts.md has no section for it")
        want(True in tested.get(name, ()), f"{name}: no test shows that it fires")
        want(False in tested.get(name, ()), f"{name}: no test shows that it stays quiet")
    for name in sections:
        want(name in declared, f"docs/alerts.md explains {name}, which is no alert")
    recorded = rules("skynet-recording.yml", "record")
    asked = [
        question["expr"]
        for test in read(GRAFANA / "prometheus" / "tests" / "skynet-recording.yml")["tests"]
        for question in test["promql_expr_test"]
    ]
    for name in recorded:
        want(any(name in expression for expression in asked), f"{name}: no test asks for it")


def together() -> None:
    """What one file calls another is what it is called there."""
    compose = read(GRAFANA / "compose.yaml")
    services = compose["services"]
    for name in ("skynet", "prometheus", "grafana"):
        want(name in services, f"compose.yaml does not start {name}")
    for name, service in services.items():
        image = service["image"]
        want(re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", image) is not None, f"compose.yaml: {image} is not pinned")
        want("healthcheck" in service, f"compose.yaml: {name} has no health check")
        for port in service.get("ports", []):
            public = port == "4567:4567"
            want(public or port.startswith("127.0.0.1:"), f"compose.yaml: {name} publishes {port} to everybody")
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            exists = (GRAFANA / source).exists() if source.startswith(".") else source in compose["volumes"]
            want(exists, f"compose.yaml: {name} mounts {source}, which does not exist")
        for network in service["networks"]:
            want(network in compose["networks"], f"compose.yaml: {name} is in {network}, which does not exist")
    context = (GRAFANA / services["skynet"]["build"]["context"]).resolve()
    want((context / services["skynet"]["build"]["dockerfile"]).is_file(), "compose.yaml: the hub's Containerfile does not exist")

    jobs = {job["job_name"]: job for job in read(GRAFANA / "prometheus" / "prometheus.yml")["scrape_configs"]}
    want(jobs["skynet"]["static_configs"][0]["targets"] == ["skynet:4568"], "prometheus.yml does not ask the compose file's hub")
    source = read(GRAFANA / "provisioning" / "datasources" / "prometheus.yml")["datasources"][0]
    want(source["type"] == "prometheus" and source["url"] == "http://prometheus:9090", "the data source is not the compose file's Prometheus")
    interval = read(GRAFANA / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]
    want(source["jsonData"]["timeInterval"] == interval, f"the data source does not know the scrape interval, {interval}")
    provider = read(GRAFANA / "provisioning" / "dashboards" / "skynet.yml")["providers"][0]
    mounted = {volume.split(":")[1] for volume in services["grafana"]["volumes"]}
    want(provider["options"]["path"] in mounted, "the dashboards are not mounted where the provisioning looks for them")


def main() -> None:
    files = sorted([*GRAFANA.rglob("*.yml"), *GRAFANA.rglob("*.yaml")])
    for path in files:
        read(path)
    alerts()
    together()
    for problem in FOUND:
        print(problem, file=sys.stderr)
    if FOUND:
        raise SystemExit(f"{len(FOUND)} problems in grafana/")
    print(f"{len(files)} files of grafana/ can be read and fit together")


if __name__ == "__main__":
    main()
