"""The files beside the dashboards, and the compose files: `files.py`, with ruamel.yaml installed.

Every YAML file under grafana/ and packaging/ can be read and has no key twice; provisioning, the compose files
and Prometheus's configuration fit together (names, folders, ports); each alert says what it must, has its
section in docs/alerts.md, and is tested both ways; each recorded figure is tested. That the rules are
right is for promtool to say, and that a compose file is one for the schema of the Compose Specification.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "grafana"
PACKAGING = ROOT / "packaging"
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


def compose(folder: Path, expected: tuple[str, ...], public: set[str]) -> dict:
    """What each service of a compose file must have; only `public` ports are open to other machines."""
    said = read(folder / "compose.yaml")
    where = f"{folder.name}/compose.yaml"
    services = said["services"]
    for name in expected:
        want(name in services, f"{where} does not start {name}")
    for name, service in services.items():
        image = service["image"]
        pinned = re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-[\w.]+)?", image)
        want(pinned is not None, f"{where}: {image} is not pinned")
        # The game's image brings its own.
        want("healthcheck" in service or name == "minecraft", f"{where}: {name} has no health check")
        for port in service.get("ports", []):
            want(port in public or port.startswith("127.0.0.1:"), f"{where}: {name} publishes {port} to everybody")
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            exists = (folder / source).exists() if source.startswith(".") else source in said["volumes"]
            want(exists, f"{where}: {name} mounts {source}, which does not exist")
        for network in service["networks"]:
            want(network in said["networks"], f"{where}: {name} is in {network}, which does not exist")
    build = services["skynet"]["build"]
    want(((folder / build["context"]).resolve() / build["dockerfile"]).is_file(), f"{where}: the hub's Containerfile does not exist")
    with open(ROOT / "Cargo.toml", "rb") as manifest:
        version = tomllib.load(manifest)["package"]["version"]
    want(services["skynet"]["image"] == f"skynet:{version}", f"{where}: the hub's image is not called skynet:{version}")
    return said


def one_hub() -> None:
    """The compose files start the hub alike, and as the image means to be started."""
    hubs = [read(folder / "compose.yaml")["services"]["skynet"] for folder in (GRAFANA, PACKAGING)]
    for key in ("read_only", "cap_drop", "security_opt", "ulimits", "stop_grace_period", "healthcheck", "volumes"):
        want(hubs[0][key] == hubs[1][key], f"{key} of the hub differs between the compose files")
    image = (PACKAGING / "Containerfile").read_text()
    test = json.dumps(hubs[0]["healthcheck"]["test"][1:])
    want(f"CMD {test}" in image, f"the image's health check is not {test}")


def together() -> None:
    """What one file calls another is what it is called there."""
    services = compose(GRAFANA, ("skynet", "prometheus", "grafana"), {"4567:4567"})["services"]
    compose(PACKAGING, ("skynet", "minecraft"), {"4567:4567", "25565:25565"})
    one_hub()

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
    files = sorted(path for folder in (GRAFANA, PACKAGING) for end in ("yml", "yaml") for path in folder.rglob(f"*.{end}"))
    for path in files:
        read(path)
    alerts()
    together()
    for problem in FOUND:
        print(problem, file=sys.stderr)
    if FOUND:
        raise SystemExit(f"{len(FOUND)} problems in grafana/ and packaging/")
    print(f"{len(files)} files of grafana/ and packaging/ can be read and fit together")


if __name__ == "__main__":
    main()
