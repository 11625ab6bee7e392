"""What a release is made of, made here: archive, bill of materials, sums; and what must be refused, refused.

The sums are read by coreutils, the archive is unpacked by tar, and the program in it is asked its version.
Tags and the changelog are tried on a made-up checkout.

Usage: release.py PATH_OF_THE_BINARY     Needs cargo, tar, sha256sum, and cyclonedx-python-lib.
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
    # What is of this repository has no archive that a digest could be of.
    own = set()
    for member in declared["workspace"]["members"]:
        own.add(tomllib.loads((ROOT / member / "Cargo.toml").read_text(encoding="utf-8"))["package"]["name"])
    for part in told["components"]:
        check(part.get("licenses"), "each has a licence", part)
        check(("hashes" in part) == (part["name"] not in own), "each that is not ours has a digest", part)
    check(str(ROOT) not in text, "no folder of this machine is in it")
    again = dist.parent / "again.cdx.json"
    works(sys.executable, ROOT / "packaging" / "sbom.py", TARGET, again)
    check(again.read_bytes() == bill.read_bytes(), "the same crates, the same bill")


def sums_hold_for_these_files_and_no_others(dist):
    refused("not in", *release("sums", dist, "*.deb"))
    works(*release("sums", dist, "*.tar.gz", "*.zip", "*.cdx.json"))
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
    (checkout / "packaging").mkdir(parents=True)
    script = checkout / "packaging" / "release.py"
    shutil.copy(ROOT / "packaging" / "release.py", script)
    (checkout / "Cargo.toml").write_text('[package]\nname = "skynet"\nversion = "1.2.3"\n')
    changelog = checkout / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## [Unreleased]\n\n- Not yet.\n\n## [1.2.2] - 2026-01-01\n\n- Old.\n")
    refused("no section ## [1.2.3]", *release("version", "v1.2.3", script=script))
    changelog.write_text("# Changelog\n\n## [1.2.3] - 2026-01-02\n\n- New.\n\n## [1.2.2] - 2026-01-01\n\n- Old.\n")
    check(works(*release("version", "v1.2.3", script=script)) == "1.2.3", "the right tag is accepted")
    check(works(*release("notes", script=script)) == "- New.", "the notes are that section")
    refused("it must be v1.2.3", *release("version", "v1.2.4", script=script))
    refused("it must be v1.2.3", *release("version", "1.2.3", script=script))


def the_workflow_asks_for_what_its_jobs_make():
    """Each target that is archived is among what the draft must hold, and the other way round."""
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    made = set(re.findall(r"^ +target: (\S+)$", text, re.M))
    wanted = set(re.findall(r'"skynet-\$VERSION-(\S+?)\.(?:tar\.gz|zip)"', text))
    check(made and made == wanted, "what is made is what is asked for", sorted(made), sorted(wanted))


def main():
    if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).is_file():
        sys.exit("Usage: release.py PATH_OF_THE_BINARY")
    binary = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="skynet-release-") as folder:
        folder = pathlib.Path(folder)
        dist = folder / "dist"
        archives_depend_on_their_files_alone(binary, dist, folder)
        the_bill_names_what_is_inside(dist)
        sums_hold_for_these_files_and_no_others(dist)
        a_tag_is_the_version_and_the_changelog_knows_it(folder)
    the_workflow_asks_for_what_its_jobs_make()


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"FAILED  {failure.told()}")
    print("release: archives, bill of materials and sums are made, and what is wrong is refused")
