"""Takes each defence of SECURITY.md out, and sees that its test fails.

The lists beside this file, one for each section of the attacker's table, say what a defence is in the sources, and
what stands in its place when it is taken out. Each is taken out of a copy of the checkout, alone; the copy is
built, and the one test is run, which must fail: for a test in Python, in the function that the table names. With
the defences in, all of these tests must pass.

Usage: run.py --check                             reads the lists and the table, and builds nothing
       run.py [--only TEXT…] [--rust | --python]  the defences whose test or words have one of these texts

The tests in Python take what `.ci/run` has made below CARGO_TARGET_DIR: the release binary, the static one, and
the tools; they need root.
"""

import argparse
import collections
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib

sys.dont_write_bytecode = True

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
SCRATCH = TARGET / "defences"
TREE = SCRATCH / "tree"
BUILD_S = 1800
# For one test of Rust, and for a script of Python; a defence may give its own in `seconds`.
TEST_S, SCRIPT_S = 120, 900
# The tests in Python, with what they are given.
TOOLS = TARGET / "ci"
SCRIPTS = {
    "tests/e2e/proxies.py": [TARGET / "release" / "skynet"],
    "tests/e2e/release.py": [TARGET / "release" / "skynet"],
    "tests/e2e/image.py": [TOOLS / "image"],
    "tests/packages/debian.py": [TARGET / "release" / "skynet", SCRATCH / "packages"],
}
KEYS = {"test", "out", "file", "text", "by", "also", "seconds"}

RED, GREEN, FAULT = "red as it should", "STAYS GREEN", "CANNOT BE SAID"


class Fault(Exception):
    """Something is wrong with the lists, or with what is needed to try them."""


# --- the lists and the table --------------------------------------------------------------------------


class Test:
    """A test as SECURITY.md names it: `FILE::FUNCTION`."""

    def __init__(self, name):
        self.name = name
        self.file, self.function = name.split("::")
        self.is_rust = self.file.endswith(".rs")

    def is_there(self):
        path = ROOT / self.file
        word = "fn" if self.is_rust else "def"
        return path.is_file() and re.search(rf"\b{word} {self.function}\b", path.read_text(encoding="utf-8"))

    def target(self):
        """What cargo builds for it."""
        return ("--lib",) if self.file.startswith("src/") else ("--test", pathlib.Path(self.file).parts[1])

    def path(self):
        """Its name within that."""
        parts = [part for part in pathlib.Path(self.file).with_suffix("").parts if part != "mod"]
        parts = [*parts[1:], "tests"] if parts[0] == "src" else parts[2:]
        return "::".join([*parts, self.function])


class Defence:
    """A defence and how it is taken out."""

    def __init__(self, told):
        self.test = Test(told["test"])
        self.out = told["out"]
        self.changes = [(one["file"], one["text"], one["by"]) for one in [told, *told.get("also", [])]]
        self.seconds = told.get("seconds", TEST_S if self.test.is_rust else SCRIPT_S)

    def faults(self):
        for file, text, by in self.changes:
            found = (ROOT / file).read_text(encoding="utf-8").count(text) if (ROOT / file).is_file() else 0
            if found != 1 or text == by:
                yield f"{self.test.name}: {file} has it {found} times, not once: {text!r}"



def table():
    """The tests of SECURITY.md's attacker's table, by section."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    text = text.split("\n## The attacker's table\n", 1)[1]
    sections = collections.defaultdict(list)
    for line in text.splitlines():
        if line.startswith("### "):
            section = line.removeprefix("### ")
        elif line.startswith("## "):
            break
        elif line.startswith("|"):
            sections[section] += re.findall(r"`([\w./]+::\w+)`", line)
    return sections


def lists():
    """The defences of each section."""
    sections = {}
    for path in sorted(HERE.glob("*.toml")):
        with path.open("rb") as file:
            told = tomllib.load(file)
        for defence in told["defence"]:
            unknown = set(defence) - KEYS
            if unknown:
                raise Fault(f"{path.name}: {defence['test']} has {sorted(unknown)}, which nothing reads")
        sections[told["section"]] = [Defence(defence) for defence in told["defence"]]
    return sections


def faults(named, listed):
    """All that is wrong with the lists."""
    if set(named) != set(listed):
        yield f"the sections of the table are {sorted(named)}, those of the lists {sorted(listed)}"
    for section in sorted(set(named) & set(listed)):
        tests = {defence.test.name for defence in listed[section]}
        for test in named[section]:
            if test not in tests:
                yield f"no defence is listed for {test}"
        for test in sorted(tests - set(named[section])):
            yield f"{test} has a defence, and is not in the table's section {section!r}"
        for test in sorted(tests | set(named[section])):
            if not Test(test).is_there():
                yield f"there is no {test}"
        for defence in listed[section]:
            yield from defence.faults()


# --- the copy -----------------------------------------------------------------------------------------


def copy_checkout():
    """Brings the copy up to date; a file that is as it should be stays untouched, so that it is not built again."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    files = [name for name in os.fsdecode(listed).split("\0") if name and (ROOT / name).is_file()]
    for name in files:
        there, here = TREE / name, ROOT / name
        if not there.is_file() or there.read_bytes() != here.read_bytes():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(here, there)
    for path in [path for path in TREE.rglob("*") if path.is_file() and path.relative_to(TREE).parts[0] != "target"]:
        if str(path.relative_to(TREE)) not in set(files):
            path.unlink()


class Without:
    """The copy without a defence, until the end."""

    def __init__(self, defence):
        self._changes = defence.changes
        self._whole = {TREE / file: (TREE / file).read_bytes() for file, _, _ in self._changes}

    def __enter__(self):
        for file, text, by in self._changes:
            before = (TREE / file).read_text(encoding="utf-8")
            (TREE / file).write_text(before.replace(text, by), encoding="utf-8")

    def __exit__(self, *_):
        for path, whole in self._whole.items():
            path.write_bytes(whole)


# --- the tests ----------------------------------------------------------------------------------------


class Ran:
    """What became of a command: its exit code, none if it was ended at its time limit, and what it wrote."""

    def __init__(self, command, seconds):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SKYNET_")}
        environment |= {
            "CARGO_TARGET_DIR": str(SCRATCH / "build"),
            # Built often and looked into never.
            "CARGO_PROFILE_DEV_DEBUG": "0",
            "CARGO_INCREMENTAL": "1",
            # The copy has no commit, whose time it would be.
            "SOURCE_DATE_EPOCH": "1790000000",
        }
        log = SCRATCH / "last.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=TREE,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                self.code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.code = None
            finally:
                # With all that it has started.
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                process.wait()
        self.said = log.read_text(encoding="utf-8", errors="replace")

    def end(self):
        return "\n".join("    " + line for line in self.said.splitlines()[-25:])


def cargo(target, *arguments):
    return ["cargo", "test", "--locked", *target, *arguments]


def build(target):
    ran = Ran(cargo(target, "--no-run"), BUILD_S)
    if ran.code != 0:
        raise Fault("it does not build\n" + ran.end())


def test_rust(defence):
    """Runs the test of a program that is built already."""
    path = defence.test.path()
    ran = Ran(cargo(defence.test.target(), "--", "--exact", path), defence.seconds)
    if ran.code is None:
        raise Fault(f"not done within {defence.seconds} s\n{ran.end()}")
    if ran.code == 0 and re.search(r"^test result: ok\. 1 passed", ran.said, re.M):
        return GREEN
    if ran.code == 101 and re.search(r"^test result: FAILED\. 0 passed; 1 failed", ran.said, re.M):
        return RED
    raise Fault(f"the test neither passes nor fails, exit code {ran.code}\n{ran.end()}")


def script(test):
    if os.geteuid() != 0:
        raise Fault("it needs root")
    python = TOOLS / "python" / "bin" / "python"
    for path in [python, *SCRIPTS[test.file][:1]]:
        if not path.exists():
            raise Fault(f"{path} is not there; .ci/run makes it")
    if test.file == "tests/packages/debian.py":
        # A fresh system is made once for all.
        folder = SCRIPTS[test.file][1]
        folder.mkdir(parents=True, exist_ok=True)
        for made in (TOOLS / "packages").glob("*.tar"):
            if not (folder / made.name).exists():
                os.link(made, folder / made.name)
    return [python, test.file, *SCRIPTS[test.file]]


def failed_in(function, said):
    """Whether a script has failed there: it says so itself, or Python does."""
    told = re.search(r"^FAILED  ([\w<> ]+): ", said, re.M)
    if told:
        return function in told[1].split(" > ")
    return re.search(rf"^  File .*, in {function}$", said, re.M) is not None


def test_python(defence):
    ran = Ran(script(defence.test), defence.seconds)
    if ran.code is None:
        raise Fault(f"not done within {defence.seconds} s\n{ran.end()}")
    if ran.code == 0:
        return GREEN
    if failed_in(defence.test.function, ran.said):
        return RED
    raise Fault(f"it fails elsewhere than in {defence.test.function}\n{ran.end()}")


def all_pass(tests):
    """That the tests pass as things are: those of one program in one run."""
    groups = collections.defaultdict(list)
    for test in tests:
        groups[test.target() if test.is_rust else test.file].append(test)
    for target, tests in groups.items():
        begun = time.monotonic()
        names = sorted({test.path() if test.is_rust else test.function for test in tests})
        if tests[0].is_rust:
            build(target)
            ran = Ran(cargo(target, "--", "--exact", *names), len(names) * TEST_S)
            passed = re.search(rf"^test result: ok\. {len(names)} passed", ran.said, re.M)
        else:
            ran = Ran(script(tests[0]), SCRIPT_S)
            passed = True
        if ran.code != 0 or not passed:
            raise Fault(f"with the defences in, not all of {target} pass\n{ran.end()}")
        say("passes with its defences", begun, f"{len(names)} of {' '.join(target) if tests[0].is_rust else target}")


def say(verdict, begun, words):
    print(f"{verdict:<24} {time.monotonic() - begun:6.1f} s  {words}", flush=True)


def attempt(defences):
    """Takes each out; how many of each verdict there were. What several tests see taken out is built once."""
    verdicts = collections.Counter()
    groups = collections.defaultdict(list)
    for defence in sorted(defences, key=by_program):
        groups[defence.test.is_rust and defence.test.target(), str(defence.changes)].append(defence)
    for group in groups.values():
        with Without(group[0]):
            begun, unbuilt = time.monotonic(), None
            if group[0].test.is_rust:
                try:
                    build(group[0].test.target())
                except Fault as fault:
                    unbuilt = fault
            for defence in group:
                why = ""
                try:
                    if unbuilt:
                        raise unbuilt
                    verdict = (test_rust if defence.test.is_rust else test_python)(defence)
                except Fault as fault:
                    verdict, why = FAULT, f"\n    {fault}"
                verdicts[verdict] += 1
                say(verdict, begun, f"{defence.test.name}, without {defence.out}{why}")
                begun = time.monotonic()
    return verdicts


def by_program(defence):
    """Tests of one program after each other, and of those the ones with the same source."""
    target = defence.test.target() if defence.test.is_rust else (defence.test.file,)
    return not defence.test.is_rust, target, defence.changes[0][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="read the lists and the table alone")
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="of these tests, or in these words")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--rust", action="store_true", help="only the tests in Rust")
    kind.add_argument("--python", action="store_true", help="only the tests in Python")
    asked = parser.parse_args()

    named, listed = table(), lists()
    wrong = list(faults(named, listed))
    if wrong:
        sys.exit("\n".join(["FAILED", *wrong]))
    defences = [defence for section in listed.values() for defence in section]
    tests = sum(map(len, named.values()))
    if asked.check:
        print(f"defences: {len(defences)} are listed for {tests} tests of SECURITY.md, and stand in the sources once")
        return

    def wanted(defence):
        kind = (asked.rust or not asked.python) if defence.test.is_rust else (asked.python or not asked.rust)
        return kind and any(text in f"{defence.test.name} {defence.out}" for text in asked.only)

    begun = time.monotonic()
    defences = list(filter(wanted, defences))
    TREE.mkdir(parents=True, exist_ok=True)
    copy_checkout()
    all_pass([defence.test for defence in defences])
    verdicts = attempt(defences)
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())) or "none was chosen"
    print(f"defences: {told}; {(time.monotonic() - begun) / 60:.0f} minutes")
    if set(verdicts) != {RED}:
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except Fault as fault:
        sys.exit(f"FAILED  {fault}")
