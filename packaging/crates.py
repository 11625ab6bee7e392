"""Which crates the program is made of, as cargo says. Python's standard library alone."""

import json
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAM = "skynet"
# What is inside the program; macros ran while it was built, and so did build scripts.
INSIDE, EVERYTHING = "normal,no-proc-macro", "normal,build"


def cargo(*arguments):
    command = ["cargo", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def taken(target, edges):
    """The crates that cargo takes, as (name, version); the features are those of the program's own build."""
    lines = cargo(
        "tree", "--locked", f"--package={PROGRAM}", f"--target={target}", f"--edges={edges}",
        "--prefix=none", "--no-dedupe", "--format={p}",
    ).splitlines()
    # "serde v1.0.229", "serde_derive v1.0.229 (proc-macro)", "skynet v0.1.0 (/home/…)"
    return {(name, version.removeprefix("v")) for name, version, *_ in map(str.split, lines)}


def metadata(target):
    """What cargo knows of all crates for a target; their sources are on this machine afterwards."""
    return json.loads(cargo("metadata", "--locked", "--format-version=1", f"--filter-platform={target}"))


def licence(package):
    """A crate's licence as SPDX writes it; older crates write "MIT/Apache-2.0"."""
    if package["license"] is None:
        raise SystemExit(f"{package['name']} {package['version']} does not say what its licence is")
    return package["license"].replace("/", " OR ")


def swagger_ui(packages):
    """The crate that brings Swagger UI, which no manifest names, and the version that its bundle says it is of."""
    crate = next(package for package in packages if package["name"] == "poem-openapi")
    bundle = pathlib.Path(crate["manifest_path"]).parent / "src/ui/swagger_ui/swagger-ui-bundle.js"
    said = set(re.findall(r'PACKAGE_VERSION:"([0-9.]+)"', bundle.read_text(encoding="utf-8")))
    if len(said) != 1:
        raise SystemExit(f"{bundle} says these versions of Swagger UI: {sorted(said)}")
    return crate, said.pop()
