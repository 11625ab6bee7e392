"""The dashboards against Grafana's own types: `schema.py NODE_FOLDER`, where @grafana/schema and TypeScript are.

Each dashboard becomes a TypeScript program that assigns its parts to the types of @grafana/schema:
the dashboard, its variables, links and annotations, and of every panel the panel, its options, its
field configuration and what its overrides set, by the types of that kind of panel. tsc then refuses
a field that does not exist, a value that is not allowed, and one that is missing. Two things have no
type in that package and are written down here as Grafana's Prometheus plugin reads them: a query and
the query of an annotation. That a query means anything is for a Prometheus to say.
"""

import json
import subprocess
import sys
from pathlib import Path

DASHBOARDS = sorted((Path(__file__).parents[2] / "grafana" / "dashboards").glob("*.json"))
PANELS = {"stat": "Stat", "timeseries": "TimeSeries", "heatmap": "Heatmap", "table": "Table"}
WITHOUT_FIELD_CONFIG = {"stat"}

HEAD = """import type * as schema from '@grafana/schema';
%s
// Enums of text are written as their text in JSON.
type Plain<T> = unknown extends T ? T
  : T extends string ? (string extends T ? string : `${T}`)
  : T extends (infer E)[] ? Plain<E>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> }
  : T;
type Query = { refId: string; datasource: schema.DataSourceRef; expr: string; legendFormat: string }
  & ({ format: 'time_series' | 'heatmap'; range: true; instant?: never }
    | { format: 'time_series' | 'table'; instant: true; range?: never });
type AnnotationByPrometheus = schema.AnnotationQuery
  & { expr: string; step: string; useValueForTime: boolean; titleFormat: string; textFormat: string; tagKeys: string };
type Top = Omit<schema.Dashboard, 'panels' | 'annotations' | 'snapshot'>
  & Required<Pick<schema.Dashboard, 'uid' | 'title' | 'description' | 'time' | 'refresh'>>;
type Outside = 'options' | 'fieldConfig' | 'targets';
"""


def program(dashboard: dict) -> str:
    """The TypeScript whose types tsc compares."""
    imports = "\n".join(
        f"import type * as {name} from '@grafana/schema/dist/esm/raw/composable/{kind}/panelcfg/x/{name}PanelCfg_types.gen';"
        for kind, name in PANELS.items()
    )
    lines = [HEAD % imports]
    count = 0

    def check(kind: str, value: object) -> None:
        nonlocal count
        count += 1
        lines.append(f"export const v{count}: {kind} = {json.dumps(value)};")

    def without(value: dict, *keys: str) -> dict:
        return {key: inner for key, inner in value.items() if key not in keys}

    check("Plain<Top>", without(dashboard, "panels", "annotations"))
    for annotation in dashboard["annotations"]["list"]:
        check("Plain<AnnotationByPrometheus>", annotation)
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            check("Plain<schema.RowPanel>", panel)
            continue
        if panel["type"] not in PANELS:
            raise SystemExit(f"{panel['title']}: add the type of panel {panel['type']!r} to schema.py")
        kind = PANELS[panel["type"]]
        lines.append(f"// {panel['title']}")
        check("Plain<Omit<schema.Panel, Outside>>", without(panel, "options", "fieldConfig", "targets"))
        check(f"Plain<{kind}.Options>", panel["options"])
        for target in panel["targets"]:
            check("Query", target)
        config = panel["fieldConfig"]
        check("{ defaults: unknown; overrides: unknown[] }", config)
        check("Plain<Omit<schema.FieldConfig, 'custom'>>", without(config["defaults"], "custom"))
        if "custom" in config["defaults"] or panel["type"] not in WITHOUT_FIELD_CONFIG:
            check(f"Plain<{kind}.FieldConfig>", config["defaults"].get("custom"))
        for override in config["overrides"]:
            check("schema.MatcherConfig", override["matcher"])
            for setting in override["properties"]:
                owner, _, name = setting["id"].rpartition(".")
                of = f"{kind}.FieldConfig" if owner == "custom" else "schema.FieldConfig"
                check(f"Plain<Required<{of}>['{name}']>", setting["value"])
    return "\n".join(lines) + "\n"


def main(node: Path) -> None:
    folder = node / "dashboards"
    folder.mkdir(exist_ok=True)
    files = []
    for path in DASHBOARDS:
        files.append(folder / f"{path.stem}.ts")
        files[-1].write_text(program(json.loads(path.read_text())))
    if not files:
        raise SystemExit("no dashboards found")
    tsc = node / "node_modules" / ".bin" / "tsc"
    options = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext"]
    done = subprocess.run([tsc, *options, *files], cwd=folder, timeout=300)
    if done.returncode != 0:
        raise SystemExit("the dashboards do not have the types that Grafana gives them")
    print(f"{len(files)} dashboards have Grafana's types")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
