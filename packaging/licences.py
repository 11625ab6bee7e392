"""The licences of what is inside the program, with their texts, for whoever gets it as a binary.

Nearly all of them ask that their notice goes with every copy. The texts are the files of the crates themselves,
each text once, with the crates that have it above it; the same crates give the same file.

Usage: licences.py TARGET FILE     Needs cargo. Python's standard library alone.
"""

import pathlib
import sys

import crates

# How files with a licence or a notice in them are called, whatever follows a dot or a dash.
NAMES = {"licence", "license", "copying", "copyright", "notice", "unlicense"}
# Crates whose archive has no such file, each with one that has the texts of the same licence. What it would have
# added, whose work it is, their manifests say.
WITHOUT = {"rfc7239": "itoa"}
RULE = "=" * 100

HEAD = f"""\
{crates.PROGRAM} is made of these crates beside its own code, each with its licence. Where one gives a choice, any of
its licences may be chosen. The texts follow. Rust's standard library, which it holds too, is under MIT OR Apache-2.0.
"""
SWAGGER_UI = """\
The page of the API is Swagger UI {version}, which {crate} brings. Copyright 2020-2021 SmartBear Software Inc.; it
is under Apache-2.0, whose text is below. The libraries in its bundle are those that its package swagger-ui-dist names
in swagger-ui-bundle.js.LICENSE.txt, on npm; the crate has not that file.
"""
STATIC = """
A static build holds the GNU C library too, which is under the LGPL 2.1 or later: the program can be linked with
another one from its source, by packaging/static.sh.
"""


def files(package):
    """The texts of a crate, by what is in them without regard to line ends."""
    folder = pathlib.Path(package["manifest_path"]).parent
    named = (
        path for path in sorted(folder.iterdir())
        if path.is_file() and path.name.lower().split(".")[0].split("-")[0] in NAMES
    )
    return [path.read_text(encoding="utf-8", errors="replace") for path in named]


def text(target):
    inside = crates.taken(target, crates.INSIDE)
    everything = crates.metadata(target)["packages"]
    packages = sorted(
        # What is of this repository is under its own LICENSE.
        (package for package in everything if package["source"] is not None),
        key=lambda package: (package["name"], package["version"]),
    )
    packages = [package for package in packages if (package["name"], package["version"]) in inside]
    by_name = {package["name"]: package for package in packages}
    lines, of_text = [], {}
    for package in packages:
        who = f"{package['name']} {package['version']}"
        lines.append(f"{who}: {crates.licence(package)}")
        found = files(package)
        if (package["name"] in WITHOUT) == bool(found):
            raise SystemExit(f"licences.py: {who} has {len(found)} texts of its licence: see WITHOUT")
        if not found:
            other = by_name[WITHOUT[package["name"]]]
            if crates.licence(other) != crates.licence(package):
                raise SystemExit(f"licences.py: {who} and {other['name']} are under different licences")
            lines[-1] += f" (by {', '.join(package['authors'])}; the texts are those that {other['name']} has)"
            found = files(other)
        for one in found:
            words = "\n".join(line.rstrip() for line in one.strip().splitlines())
            of_text.setdefault(" ".join(words.split()), (words, []))[1].append(who)
    crate, version = crates.swagger_ui(everything)
    swagger_ui = SWAGGER_UI.format(version=version, crate=f"{crate['name']} {crate['version']}")
    parts = ["\n".join([HEAD, *lines, "", swagger_ui]) + STATIC]
    parts += [f"{RULE}\n{', '.join(whose)}:\n\n{words}\n" for words, whose in of_text.values()]
    return "\n".join(parts)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    target, path = sys.argv[1], pathlib.Path(sys.argv[2])
    path.write_text(text(target), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
