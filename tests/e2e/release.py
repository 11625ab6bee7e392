"""What a release is made of, made here: archive, Debian package, bill of materials, licences, sums. And what must be
refused is refused.

The sums are read by coreutils, the archive is unpacked by tar, and the program in it is asked its version.
Versions, tags and the changelog are tried on a copy of the checkout.

Usage: release.py PATH_OF_THE_STATIC_BINARY     Needs cargo, tar, sha256sum, debhelper, lintian, and cyclonedx-python-lib.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile

sys.dont_write_bytecode = True

from stage import Failure, abridged  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = "x86_64-unknown-linux-gnu"
DEADLINE_S = 120
MOMENT = "1790000000"


def check(condition, expectation, *seen):
    if not condition:
        raise Failure("; ".join([expectation, *("seen: " + abridged(value) for value in seen)]))


def run(*command, cwd=ROOT):
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "SOURCE_DATE_EPOCH": MOMENT},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def works(*command, cwd=ROOT):
    done = run(*command, cwd=cwd)
    check(done.returncode == 0, f"{command[1] if len(command) > 1 else command[0]} works", done.stdout + done.stderr)
    return done.stdout.strip()


def release(*arguments, script=ROOT / "packaging" / "release.py"):
    return [sys.executable, script, *arguments]


def refused(because, *command):
    done = run(*command)
    check(done.returncode == 1 and because in done.stderr, f"refused with {because!r}", done.stdout + done.stderr)


def archives_depend_on_their_files_alone(binary, dist, folder):
    made = pathlib.Path(works(*release("archive", binary, TARGET, dist)))
    again = pathlib.Path(works(*release("archive", binary, TARGET, folder / "again")))
    check(made.name == again.name and made.read_bytes() == again.read_bytes(), "the same files, the same archive")
    works("tar", "--extract", "--gzip", "--file", made, cwd=folder)
    unpacked = folder / made.name.removesuffix(".tar.gz")
    holds = {path.name for path in unpacked.iterdir()}
    check(holds == {"skynet", "LICENSE", "README.md", "CHANGELOG.md", "config.toml"}, "what it holds", sorted(holds))
    version = works(*release("version"))
    check(works(unpacked / "skynet", "--version") == f"skynet {version}", "its program is of this version")

    program = folder / "skynet.exe"
    program.write_bytes(b"a program")
    made = pathlib.Path(works(*release("archive", program, "x86_64-pc-windows-msvc", dist)))
    with zipfile.ZipFile(made) as zipped:
        check(f"{made.stem}/skynet.exe" in zipped.namelist(), "Windows gets a zip", zipped.namelist())
    refused("is no target", *release("archive", program, "../elsewhere", dist))


def the_debian_package_of_the_static_program_is_sound(binary, dist):
    package = works("bash", ROOT / "packaging" / "debian" / "build.sh", binary, dist)
    works("lintian", "--fail-on", "error,warning", "--allow-root", package)
    needs = works("dpkg-deb", "--field", package, "Depends")
    check(needs == "adduser", "it needs no library, and so runs on every release of Debian", needs)


def the_bill_names_what_is_inside(dist):
    bill = dist / f"skynet-{TARGET}.cdx.json"
    # The script holds it against CycloneDX's own schema.
    print(works(sys.executable, ROOT / "packaging" / "sbom.py", TARGET, bill))
    text = bill.read_text(encoding="utf-8")
    told = json.loads(text)
    scopes = {part["name"]: part["scope"] for part in told["components"]}
    with open(ROOT / "Cargo.toml", "rb") as manifest:
        declared = tomllib.load(manifest)
    check(told["metadata"]["component"]["name"] == "skynet", "it is the program's", told["metadata"])
    for name in declared["dependencies"]:
        check(scopes.get(name) == "required", f"{name} is inside the program", scopes.get(name))
    for name in "mlua", "proptest":
        check(name in declared["dev-dependencies"], f"{name} is for tests")
        check(name not in scopes, f"{name}, which only tests use, is not inside", scopes.get(name))
    check(scopes.get("serde_derive") == "excluded", "a macro ran while it was built", scopes.get("serde_derive"))
    page = next((part for part in told["components"] if part["name"] == "swagger-ui-dist"), None)
    check(page and re.fullmatch(r"5\.\d+\.\d+", page["version"]), "the page of the API is in it too", page)
    brought = [node["ref"] for node in told["dependencies"] if page["bom-ref"] in node.get("dependsOn", [])]
    check(len(brought) == 1 and brought[0].startswith("poem-openapi@"), "with the crate that brings it", brought)
    # What is of this repository has no archive that a digest could be of, and the page is a part of another's.
    own = {page["name"]}
    for member in declared["workspace"]["members"]:
        own.add(tomllib.loads((ROOT / member / "Cargo.toml").read_text(encoding="utf-8"))["package"]["name"])
    for part in told["components"]:
        check(part.get("licenses"), "each has a licence", part)
        check(("hashes" in part) == (part["name"] not in own), "each that is not ours has a digest", part)
    check(str(ROOT) not in text, "no folder of this machine is in it")
    again = dist.parent / "again.cdx.json"
    works(sys.executable, ROOT / "packaging" / "sbom.py", TARGET, again)
    check(again.read_bytes() == bill.read_bytes(), "the same crates, the same bill")


def every_crate_inside_comes_with_its_licence(dist):
    texts, again = dist.parent / "THIRD-PARTY.txt", dist.parent / "again.txt"
    works(sys.executable, ROOT / "packaging" / "licences.py", TARGET, texts)
    text = texts.read_text(encoding="utf-8")
    listed, *parts = re.split(r"^={100}$", text, flags=re.MULTILINE)
    heads = [part.strip().splitlines()[0] for part in parts]
    bill = json.loads((dist / f"skynet-{TARGET}.cdx.json").read_text(encoding="utf-8"))
    inside = [part for part in bill["components"] if part["scope"] == "required" and "hashes" in part]
    check(len(inside) > 100, "the bill names them", len(inside))
    for part in inside:
        who = f"{part['name']} {part['version']}"
        check(f"\n{who}: " in listed, f"{who} is listed with its licence")
        check(any(who in head.rstrip(":").split(", ") for head in heads), f"{who} has a text")
    check(not re.search(r"^skynet", listed.split("\n\n", 1)[1], re.MULTILINE), "what is ours is under our own")
    page = next(part for part in bill["components"] if part["name"] == "swagger-ui-dist")
    check(f"Swagger UI {page['version']}" in listed, "the page of the API is listed with its version")
    # Of every kind of licence that the crates are under one sentence that only its text has.
    for sentence in [
        "Permission is hereby granted, free of charge", "TERMS AND CONDITIONS FOR USE, REPRODUCTION",
        "Neither the name of", "Permission to use, copy, modify, and",
    ]:  # fmt: skip
        check(sentence in text, f"there is a text with {sentence!r}")
    check(str(pathlib.Path.home()) not in text, "no folder of this machine is in it")
    works(sys.executable, ROOT / "packaging" / "licences.py", TARGET, again)
    check(again.read_bytes() == texts.read_bytes(), "the same crates, the same file")


def sums_hold_for_these_files_and_no_others(dist):
    refused("not in", *release("sums", dist, "*.rpm"))
    works(*release("sums", dist, "*.tar.gz", "*.zip", "*.deb", "*.cdx.json"))
    works("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=dist)
    works(*release("verify", dist))
    victim = next(dist.glob("*.zip"))
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(f"{victim.name} is not what", *release("verify", dist))
    victim.unlink()
    refused(f"{victim.name} is not there", *release("verify", dist))
    victim.write_bytes(whole)
    stranger = dist / "stranger"
    stranger.write_bytes(b"")
    refused("stranger is not in", *release("verify", dist))
    stranger.unlink()
    works(*release("verify", dist))


def a_tag_is_the_version_and_the_changelog_knows_it(folder):
    checkout = folder / "checkout"
    left_out = shutil.ignore_patterns(".git", "target", "__pycache__")
    shutil.copytree(ROOT, checkout, symlinks=True, ignore=left_out)
    script = checkout / "packaging" / "release.py"
    changelog = checkout / "CHANGELOG.md"
    now = works(*release("version"))
    changelog.write_text(f"# Changelog\n\n## [{now}] - 2026-01-01\n\n- New.\n")
    works(*release("version", f"v{now}", script=script))
    refused("is no version", *release("set", "1.2", script=script))
    check(works(*release("set", "1.2.3", script=script)) == "1.2.3", "a version is set")
    works("cargo", "metadata", "--locked", "--no-deps", "--format-version=1", cwd=checkout)
    library = checkout / "lua" / "skynet.lua"
    check('local VERSION = "1.2.3"' in library.read_text(), "in every file that has one")
    changelog.write_text("# Changelog\n\n## [Unreleased]\n\n- Not yet.\n\n## [1.2.2] - 2026-01-01\n\n- Old.\n")
    refused("no section ## [1.2.3]", *release("version", "v1.2.3", script=script))
    changelog.write_text("# Changelog\n\n## [1.2.3] - 2026-01-02\n\n- New.\n\n## [1.2.2] - 2026-01-01\n\n- Old.\n")
    check(works(*release("version", "v1.2.3", script=script)) == "1.2.3", "the right tag is accepted")
    right = library.read_text()
    library.write_text(right.replace("1.2.3", "1.2.2"))
    refused("lua/skynet.lua says 1.2.2", *release("version", "v1.2.3", script=script))
    library.write_text(right)
    check(works(*release("notes", script=script)) == "- New.", "the notes are that section")
    refused("it must be v1.2.3", *release("version", "v1.2.4", script=script))
    refused("it must be v1.2.3", *release("version", "1.2.3", script=script))


def the_workflow_asks_for_what_its_jobs_make():
    """Each target that is archived is among what the draft must hold, and the other way round."""
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    made = set(re.findall(r"^ +target: (\S+)$", text, re.M))
    wanted = set(re.findall(r'"skynet-\$VERSION-(\S+?)\.(?:tar\.gz|zip)"', text))
    check(made and made == wanted, "what is made is what is asked for", sorted(made), sorted(wanted))
    hidden = re.findall(r"^.*echo .*\$\(.*$", text, re.M)
    check(not hidden, "what fails is not hidden by the echo around it", hidden)


def main():
    if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).is_file():
        sys.exit("Usage: release.py PATH_OF_THE_STATIC_BINARY")
    binary = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="skynet-release-") as folder:
        folder = pathlib.Path(folder)
        dist = folder / "dist"
        archives_depend_on_their_files_alone(binary, dist, folder)
        the_debian_package_of_the_static_program_is_sound(binary, dist)
        the_bill_names_what_is_inside(dist)
        every_crate_inside_comes_with_its_licence(dist)
        sums_hold_for_these_files_and_no_others(dist)
        a_tag_is_the_version_and_the_changelog_knows_it(folder)
    the_workflow_asks_for_what_its_jobs_make()


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"FAILED  {failure.told()}")
    print("release: archives, Debian package, bill of materials, licences and sums are made, and what is wrong is refused")
