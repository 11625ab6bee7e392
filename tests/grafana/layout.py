"""What the dashboards promise beyond Grafana's types: `layout.py`.

Identities that are each used once, panels that do not overlap and stay within Grafana's 24 columns, a
first screen that needs no scrolling, a description, a unit and thresholds on every panel, colours of
Grafana's palette alone (they have a shade for the light theme and one for the dark), every data source
a variable, every query about the chosen hubs alone and its rates over $__rate_interval. Also the form
of the files: as `json.dumps(…, indent=2)` writes them, so that a change shows as what it is.
"""

import json
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "grafana" / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
CHOSEN = 'job=~"$job", instance=~"$instance"'
COLUMNS = 24
# Rows of Grafana's grid that a window of 1920 by 1080 shows below its bars.
FIRST_SCREEN = 22
ROWS = {
    "skynet": ["Overview", "Connections", "Traffic", "Delivery health", "Commands", "Admin API", "Log", "Process"],
    "skynet-channel": ["Now", "Channel by channel"],
}
VARIABLES = {
    "skynet": ["datasource", "job", "instance", "quantile"],
    "skynet-channel": ["datasource", "job", "instance", "channel"],
}
QUANTILES = ["0.5", "0.9", "0.99", "0.999"]
UNITS = {"none", "short", "s", "bytes", "Bps", "percentunit", "mps", "eps", "cpm", "ops", "opm", "reqps", "reqpm"}
COLOURS = re.compile(r"(?:(?:super-light|light|semi-dark|dark)-)?(?:red|orange|yellow|green|blue|purple)")
METRIC = re.compile(r"\b((?:skynet|process)_\w+|up)\b(\{[^}]*\})?")


def problems(name: str, text: str, uids: set[str]) -> list[str]:
    """All that is wrong with one dashboard."""
    board = json.loads(text)
    found = []

    def want(right: bool, what: str) -> None:
        if not right:
            found.append(f"{name}: {what}")

    want(text == json.dumps(board, indent=2, ensure_ascii=False) + "\n", "is not written with an indent of 2")
    want(board["uid"] == name, f"the uid is {board['uid']!r}, not the file's name")
    for link in board["links"]:
        if link["url"].startswith("/d/"):
            want(link["url"].removeprefix("/d/") in uids, f"the link {link['url']} leads nowhere")
    annotations = board["annotations"]["list"]
    for annotation in annotations:
        where = f"annotation {annotation['name']!r}"
        want(annotation["datasource"] == DATASOURCE, f"{where}: its data source is not the variable")
        expression(annotation["expr"], lambda what, where=where: want(False, f"{where}: {what}"))
    variables(board, name, want)

    panels = board["panels"]
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    want(rows == ROWS[name], f"the rows are {rows}")
    ids = [panel["id"] for panel in panels]
    want(len(set(ids)) == len(ids), f"panels share an id: {sorted({i for i in ids if ids.count(i) > 1})}")
    taken: dict[tuple[int, int], str] = {}
    row = ""
    for panel in panels:
        where = f"panel {panel['id']} {panel['title']!r}"
        here = panel["gridPos"]
        want(0 <= here["x"] and here["w"] > 0 and here["x"] + here["w"] <= COLUMNS, f"{where}: leaves the {COLUMNS} columns")
        want(0 <= here["y"] and here["h"] > 0, f"{where}: has no place")
        for cell in ((x, y) for x in range(here["x"], here["x"] + here["w"]) for y in range(here["y"], here["y"] + here["h"])):
            if cell in taken:
                want(False, f"{where}: overlaps {taken[cell]}")
                break
            taken[cell] = where
        if panel["type"] == "row":
            row = panel["title"]
            want(not panel["collapsed"] and not panel["panels"], f"{where}: is collapsed")
            continue
        if row == ROWS[name][0]:
            want(here["y"] + here["h"] <= FIRST_SCREEN, f"{where}: is below the first screen")
        for what in contents(panel):
            want(False, f"{where}: {what}")
    return found


def variables(board: dict, name: str, want) -> None:
    """The variables are those that the dashboard is to have, each used and each of the chosen Prometheus."""
    listed = board["templating"]["list"]
    names = [variable["name"] for variable in listed]
    want(names == VARIABLES[name], f"the variables are {names}")
    everything = json.dumps([board["panels"], listed])
    for variable in listed:
        where = f"variable {variable['name']!r}"
        want(f"${variable['name']}" in everything or f"${{{variable['name']}}}" in everything, f"{where}: nothing uses it")
        if variable["type"] == "query":
            want(variable["datasource"] == DATASOURCE, f"{where}: its data source is not the variable")
            want(variable["multi"] and variable["includeAll"], f"{where}: does not let several or all be chosen")
            # Grafana leaves quotes in what it lists as they are, and a channel's name may have some.
            wanted = ".+" if variable["name"] == "channel" else None
            want(variable.get("allValue") == wanted, f"{where}: its `all` should be {wanted or 'what it lists'}")
        if variable["name"] == "quantile":
            want([option["value"] for option in variable["options"]] == QUANTILES, f"{where}: is not {QUANTILES}")
            want(variable["query"] == ",".join(QUANTILES), f"{where}: its query and its options differ")


def contents(panel: dict):
    """What is wrong within a panel."""
    defaults = panel["fieldConfig"]["defaults"]
    if len(panel.get("description", "")) < 20:
        yield "has no description"
    if defaults.get("unit") not in UNITS:
        yield f"has the unit {defaults.get('unit')!r}, which is none of {sorted(UNITS)}"
    if not defaults.get("thresholds", {}).get("steps"):
        yield "has no thresholds"
    else:
        values = [step["value"] for step in defaults["thresholds"]["steps"]]
        if values[0] is not None or None in values[1:] or values[1:] != sorted(values[1:]):
            yield f"has thresholds that do not rise from nothing: {values}"
    if panel["datasource"] != DATASOURCE:
        yield "has a data source that is not the variable"
    if not panel["targets"]:
        yield "asks nothing"
    references = [target["refId"] for target in panel["targets"]]
    if len(set(references)) != len(references):
        yield f"has queries of the same name: {references}"
    wrong = []
    for target in panel["targets"]:
        if target["datasource"] != DATASOURCE:
            yield f"query {target['refId']} has a data source that is not the variable"
        expression(target["expr"], wrong.append)
    yield from wrong
    for key, colour in colours(panel):
        if not COLOURS.fullmatch(colour):
            yield f"{key} is {colour!r}, which is no colour of Grafana's palette"


def expression(text: str, report) -> None:
    """Asks about the chosen hubs alone, with rates over the interval that Grafana gives."""
    for metric, selector in METRIC.findall(text):
        if CHOSEN not in selector:
            report(f"{metric} is not limited to the chosen job and instance")
    # Without what is quoted, the only square brackets are those of windows.
    bare = re.sub(r'"[^"]*"', "", text)
    for function, window in re.findall(r"\b(rate|irate|increase|delta|deriv|changes|resets)\([^[\]]*\[([^\]]*)\]", bare):
        allowed = ["$__rate_interval", "$__range"] if function == "increase" else ["$__rate_interval"]
        if window not in allowed:
            report(f"{function} is taken over {window}, not over {' or '.join(allowed)}")


def colours(value: object, key: str = ""):
    """Every colour that is named anywhere in a panel."""
    if isinstance(value, dict):
        for inner_key, inner in value.items():
            yield from colours(inner, inner_key)
    elif isinstance(value, list):
        for inner in value:
            yield from colours(inner, key)
    elif key in ("color", "fixedColor", "fill") and isinstance(value, str) and value != "dash":
        yield key, value


def main() -> None:
    files = sorted(FOLDER.glob("*.json"))
    uids = {path.stem for path in files}
    if uids != set(ROWS):
        raise SystemExit(f"grafana/dashboards holds {sorted(uids)}, and layout.py knows {sorted(ROWS)}")
    found = [problem for path in files for problem in problems(path.stem, path.read_text(), uids)]
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        raise SystemExit(f"{len(found)} problems in the dashboards")
    print(f"{len(files)} dashboards are laid out as they should be")


if __name__ == "__main__":
    main()
