"""What a release is made of: names, archives, checksums. Python's standard library alone.

    release.py version [TAG]            prints the version of Cargo.toml; with TAG, it must be that one's,
                                        every other file with a version in it must say the same, and
                                        CHANGELOG.md must have a section of it
    release.py set VERSION              writes that version into all of those files but CHANGELOG.md
    release.py notes                    prints that section
    release.py archive PROGRAM TARGET DIST [FILE…]
                                        DIST/skynet-VERSION-TARGET.tar.gz, .zip for Windows: the program,
                                        the licence, the default configuration, and FILE…
    release.py sums DIST [NAME…]        DIST/SHA256SUMS of everything in DIST; each NAME, in which * stands for
                                        any characters, must be there
    release.py verify DIST              whether DIST holds what SHA256SUMS says, and nothing else

An archive depends on its files alone: the same files make the same bytes. Times in it are those of
SOURCE_DATE_EPOCH, else 1980.
"""

import fnmatch
import gzip
import hashlib
import io
import os
import pathlib
import re
import sys
import tarfile
import time
import tomllib
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
SUMS = "SHA256SUMS"
# The first moment that a zip archive can hold.
EARLIEST = 315_532_800
BESIDE = ["LICENSE", "README.md", "CHANGELOG.md", "config.toml"]


VERSION = r"[0-9]+\.[0-9]+\.[0-9]+"
# Every place with the version in it: the file, and what stands around it there.
PLACES = [
    ("Cargo.toml", r'(?m)^version = "()"$'),
    *((f"{folder}Cargo.lock", r'(?m)^name = "skynet"\nversion = "()"$') for folder in ["", "fuzz/"]),
    ("lua/skynet.lua", r'(?m)^local VERSION = "()"$'),
    *((f"{folder}/compose.yaml", r"(?m)^    image: skynet:()$") for folder in ["packaging", "grafana"]),
    *((document, r'"version": "()"') for document in ["src/api/examples.json", "openapi/skynet.json"]),
    ("docs/admin-api.md", r'(?m)^  "version": "()"'),
    ("docs/hosting.md", r"(?:skynet[:-]|`v)()"),
    ("README.md", r'skynet starts version="()"'),
    # The package that is installed first; those after it are later ones, whichever.
    ("README.md", r"apt install \./skynet_()-1_amd64\.deb +#"),
]


class Wrong(Exception):
    """What is not as a release needs it."""


def version():
    with open(ROOT / "Cargo.toml", "rb") as manifest:
        return tomllib.load(manifest)["package"]["version"]


def places():
    """Each file with its text and its pattern, whose one group is the version."""
    for name, around in PLACES:
        pattern = re.compile(around.replace("()", f"({VERSION})"))
        text = (ROOT / name).read_text(encoding="utf-8")
        if not pattern.search(text):
            raise Wrong(f"{name} has no version where one was: see PLACES")
        yield name, text, pattern


def write(new):
    if not re.fullmatch(VERSION, new):
        raise Wrong(f"{new!r} is no version such as 1.2.3")
    for name, text, pattern in places():
        changed = pattern.sub(lambda found: found[0].replace(found[1], new), text)
        (ROOT / name).write_bytes(changed.encode())
    return new


def section():
    """The lines of CHANGELOG.md about this version, without their heading."""
    lines, inside = [], False
    for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            inside = re.match(r"## \[([^\]]+)\]", line)[1] == version()
        elif inside:
            lines.append(line)
    text = "\n".join(lines).strip()
    if not text:
        raise Wrong(f"CHANGELOG.md has no section ## [{version()}]")
    return text


def matching_version(tag):
    if tag != f"v{version()}":
        raise Wrong(f"the tag is {tag}, but Cargo.toml's version is {version()}: it must be v{version()}")
    # Documents speak of releases alone, and not of what comes before one.
    if re.fullmatch(VERSION, version()):
        for name, text, pattern in places():
            if others := set(pattern.findall(text)) - {version()}:
                raise Wrong(f"{name} says {', '.join(sorted(others))}, and Cargo.toml {version()}")
    section()
    return version()


def archive(program, target, dist, files):
    """Packs into one folder, named like the archive, so that unpacking scatters nothing."""
    if not re.fullmatch(r"[a-z0-9_]+(-[a-z0-9_]+)+", target):
        raise Wrong(f"{target!r} is no target such as x86_64-unknown-linux-gnu")
    moment = max(int(os.environ.get("SOURCE_DATE_EPOCH", EARLIEST)), EARLIEST)
    name = f"skynet-{version()}-{target}"
    packed = {pathlib.Path(program).name: (pathlib.Path(program), 0o755)}
    for path in [*(ROOT / beside for beside in BESIDE), *map(pathlib.Path, files)]:
        if path.name in packed:
            raise Wrong(f"two files would be {path.name}")
        packed[path.name] = (path, 0o644)
    entries = [
        (f"{name}/{inside}", path.read_bytes(), mode) for inside, (path, mode) in sorted(packed.items())
    ]
    dist.mkdir(parents=True, exist_ok=True)
    if "windows" in target:
        made = dist / f"{name}.zip"
        made.write_bytes(zipped(entries, moment))
    else:
        made = dist / f"{name}.tar.gz"
        made.write_bytes(gzip.compress(tarred(entries, moment), mtime=moment))
    return made


def tarred(entries, moment):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content, mode in entries:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), mode, moment
            entry.uname = entry.gname = "root"
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def zipped(entries, moment):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as folder:
        for name, content, mode in entries:
            entry = zipfile.ZipInfo(name, time.gmtime(moment)[:6])
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, mode << 16
            folder.writestr(entry, content)
    return packed.getvalue()


def assets(dist):
    """What is in the folder, with its digest; a folder in it is none of ours."""
    found = {}
    for path in sorted(dist.iterdir()):
        if not path.is_file() or path.is_symlink():
            raise Wrong(f"{path} is no file")
        if path.name != SUMS:
            with open(path, "rb") as content:
                found[path.name] = hashlib.file_digest(content, "sha256").hexdigest()
    if not found:
        raise Wrong(f"nothing is in {dist}")
    return found


def sums(dist, wanted):
    found = assets(dist)
    missing = [pattern for pattern in wanted if not fnmatch.filter(found, pattern)]
    if missing:
        raise Wrong(f"not in {dist}: {', '.join(missing)}; there: {', '.join(found)}")
    # The form of coreutils: `sha256sum --check SHA256SUMS` reads it.
    text = "".join(f"{digest}  {name}\n" for name, digest in found.items())
    (dist / SUMS).write_bytes(text.encode())
    return text.rstrip()


def verify(dist):
    found, said = assets(dist), {}
    for line in (dist / SUMS).read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ", 1)
        said[name] = digest
    wrong = [
        *(f"{name} is not there" for name in said.keys() - found.keys()),
        *(f"{name} is not in {SUMS}" for name in found.keys() - said.keys()),
        *(f"{name} is not what {SUMS} says" for name in said.keys() & found.keys() if said[name] != found[name]),
    ]
    if wrong:
        raise Wrong("; ".join(sorted(wrong)))
    return f"{len(said)} files are what {SUMS} says"


def main(arguments):
    match arguments:
        case ["version"]:
            return version()
        case ["version", tag]:
            return matching_version(tag)
        case ["set", new]:
            return write(new)
        case ["notes"]:
            return section()
        case ["archive", program, target, dist, *files]:
            return archive(program, target, pathlib.Path(dist), files)
        case ["sums", dist, *wanted]:
            return sums(pathlib.Path(dist), wanted)
        case ["verify", dist]:
            return verify(pathlib.Path(dist))
    sys.exit(__doc__)


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))
    except (Wrong, OSError) as problem:
        sys.exit(f"release.py: {problem}")
