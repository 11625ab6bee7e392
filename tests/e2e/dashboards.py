"""What the dashboards ask: the expressions of panels, variables and annotations, as Grafana sends them.

Grafana replaces variables before it asks Prometheus. Here the same is done, with the values that
Grafana would offer: for a variable that is a query, what Prometheus answers to that query.
"""

import json
import pathlib
import re

from stage import Failure

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "grafana" / "dashboards"
VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)(?::(\w+))?\}|\[\[(\w+)(?::(\w+))?\]\]")
LABEL_VALUES = re.compile(r"label_values\(\s*(?:(.+?)\s*,\s*)?(\w+)\s*\)", re.DOTALL)


class Expression:
    """An expression, where it stands, and how Grafana asks it: once, or over the time shown."""

    def __init__(self, where, text, instant):
        self.where, self.text, self.instant = where, text, instant


class Dashboard:
    """A dashboard's file."""

    def __init__(self, path):
        self.path, self.name = path, path.name
        self.content = json.loads(path.read_text(encoding="utf-8"))

    def panels(self):
        """All panels but rows, those inside of rows among them."""
        for panel in self.content["panels"]:
            inside = panel.get("panels", [])
            yield from inside
            if panel["type"] != "row":
                yield panel

    def expressions(self):
        """What its panels ask. A panel that asks nothing must be one of text."""
        for panel in self.panels():
            targets = panel.get("targets", [])
            if not targets and panel["type"] not in ("text", "alertlist", "dashlist"):
                raise Failure(f"{self.name}: panel {panel.get('title')!r} asks nothing")
            for target in targets:
                where = f"{self.name}: panel {panel['title']!r} {target.get('refId', '')}".rstrip()
                if not target.get("expr"):
                    raise Failure(f"{where}: no expression")
                yield Expression(where, target["expr"], bool(target.get("instant")))

    def annotations(self):
        """What is marked in all panels, Grafana's own notes left out."""
        for annotation in self.content["annotations"]["list"]:
            if annotation.get("builtIn"):
                continue
            where = f"{self.name}: annotation {annotation['name']!r}"
            text = annotation.get("expr") or annotation.get("target", {}).get("expr")
            if not text:
                raise Failure(f"{where}: no expression")
            yield Expression(where, text, False)

    def variables(self):
        return self.content["templating"]["list"]


def all_dashboards():
    found = [Dashboard(path) for path in sorted(FOLDER.glob("*.json"))]
    if not found:
        raise Failure(f"there is no dashboard in {FOLDER}")
    return found


def regex_escaped(value):
    """A value as Grafana puts it into a matcher of Prometheus: escaped for the regex, then for the text."""
    value = re.sub(r"[$^*{}\[\]+?.()|\\]", r"\\\g<0>", value)
    return value.replace("\\", "\\\\")


def one_of(values):
    """Several values as Grafana puts them into a matcher."""
    return values[0] if len(values) == 1 else f"({'|'.join(values)})"


class Values:
    """The values of the variables of a dashboard, and Grafana's own."""

    def __init__(self, prometheus, dashboard, start, end, scrape_s):
        # Grafana's rule for the Prometheus data source: four scrapes, or a step and a scrape.
        step = scrape_s
        rate = max(step + scrape_s, 4 * scrape_s)
        self._own = {
            "__interval": f"{step}s",
            "__interval_ms": str(step * 1000),
            "__rate_interval": f"{rate}s",
            "__rate_interval_ms": str(rate * 1000),
            "__range": f"{round(end - start)}s",
            "__range_s": str(round(end - start)),
            "__range_ms": str(round(end - start) * 1000),
            "__from": str(round(start * 1000)),
            "__to": str(round(end * 1000)),
        }
        self._prometheus, self._span = prometheus, (start, end)
        # By name: every choice, each as the text that it puts into an expression.
        self.choices = {}
        self.problems = []
        for variable in dashboard.variables():
            where = f"{dashboard.name}: variable {variable['name']!r}"
            try:
                self.choices[variable["name"]] = self._choices(variable)
            except Failure as failure:
                self.problems.append(f"{where}: {failure}")

    def _choices(self, variable):
        kind = variable["type"]
        if kind == "datasource":
            return ["prometheus"]
        if kind in ("custom", "interval"):
            values = [value.strip() for value in variable["query"].split(",")]
            # "label : value" is how a choice gets another name.
            values = [value.split(" : ")[-1] for value in values]
            # What is chosen at first comes first.
            values.sort(key=lambda value: value != variable.get("current", {}).get("value"))
        elif kind == "query":
            values = self._asked(variable)
        elif kind in ("constant", "textbox"):
            values = [variable["query"]]
        else:
            raise Failure(f"the kind {kind!r} is not known here")
        if not values:
            raise Failure("no values")
        several = variable.get("multi") or variable.get("includeAll")
        if not several:
            return [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
        escaped = [regex_escaped(value) for value in values]
        everything = variable.get("allValue") or one_of(escaped)
        return [everything, *escaped] if variable.get("includeAll") else escaped

    def _asked(self, variable):
        query = variable["query"]
        text = query if isinstance(query, str) else query["query"]
        definition = variable.get("definition", text)
        if definition != text:
            raise Failure(f"the definition {definition!r} is not the query {text!r}")
        asked = LABEL_VALUES.fullmatch(text.strip())
        if asked is None:
            raise Failure(f"{text!r} is not label_values(…)")
        span = {"start": f"{self._span[0]:.3f}", "end": f"{self._span[1]:.3f}"}
        if asked[1] is not None:
            span["match[]"] = self.fill(asked[1])[0]
        values = self._prometheus.ask(f"label/{asked[2]}/values", **span)
        wanted = variable.get("regex", "").strip("/")
        return [value for value in values if re.search(wanted, value)] if wanted else values

    def fill(self, expression):
        """The expression with each choice of the variables in it, one variable at a time; first the defaults."""
        used = {next(filter(None, found[:2] + found[3:4])) for found in VARIABLE.findall(expression)}
        for name in used - self._own.keys() - self.choices.keys():
            raise Failure(f"there is no variable ${name}")
        chosen = {name: self.choices[name][0] for name in used & self.choices.keys()}
        result = [self._with(expression, chosen)]
        for name in sorted(chosen):
            for choice in self.choices[name][1:]:
                result.append(self._with(expression, chosen | {name: choice}))
        return result

    def _with(self, expression, chosen):
        return VARIABLE.sub(
            lambda found: (chosen | self._own)[found[1] or found[2] or found[4]], expression
        )
