"""The container image, built by Debian's buildah and run as a container runs it.

The image is built from `packaging/Containerfile` with the static program that `packaging/static.sh` has
made; its first stage, which compiles inside a container, needs a base image from elsewhere and is left
out. Checked are what the image holds and says of itself, and then the program: started by the image's own
command line and environment, in the image's own files by chroot, as the image's own user.

Not checked: a container engine's namespaces and its network. Needs root (chroot) and buildah.

Usage: image.py FOLDER_OF_STATIC_SH
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request

from websockets.sync.client import connect

sys.dont_write_bytecode = True

from stage import DEADLINE_S, Failure, Lines, abridged  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
USER = 10001
# The program, its licences and what it starts with: more would be something that nobody meant to ship.
DOC = "usr/share/doc/skynet"
FILES = {
    **dict.fromkeys(["usr", "usr/bin", "usr/bin/skynet", "usr/share", "usr/share/doc", DOC], 0),
    **dict.fromkeys([f"{DOC}/LICENSE", f"{DOC}/THIRD-PARTY.txt", "var", "var/lib"], 0),
    "var/lib/skynet": USER,
}
MOST_MIB = 16
# Devices that every engine puts into a container, as the OCI's runtime specification has it: major, minor.
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}


def check(condition, expectation, *seen):
    if not condition:
        raise Failure("; ".join([expectation, *("seen: " + abridged(value) for value in seen)]))


class Store:
    """A store of images of our own, so that no other one of this machine is touched."""

    def __init__(self, folder):
        self._buildah = [
            "buildah",
            "--storage-driver=vfs",
            f"--root={folder}/images",
            f"--runroot={folder}/run",
        ]

    def run(self, *arguments):
        done = subprocess.run(
            [*self._buildah, *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        check(done.returncode == 0, f"buildah {arguments[0]} works", done.stdout + done.stderr)
        return done.stdout.strip()

    @contextlib.contextmanager
    def files_of(self, image):
        container = self.run("from", "--pull-never", image)
        try:
            yield pathlib.Path(self.run("mount", container))
        finally:
            self.run("rm", container)


def image_says(config):
    """What an engine reads: no root, the ports, the state, how it starts and how it is asked."""
    check(config["User"] == f"{USER}:{USER}", "a user without rights, as a number", config["User"])
    check(config["Entrypoint"] == ["/usr/bin/skynet"], "the program is the entrypoint", config)
    check(set(config["ExposedPorts"]) == {"4567/tcp", "4568/tcp"}, "both ports", config)
    check(set(config["Volumes"]) == {"/var/lib/skynet"}, "state in a volume", config)
    check(config["WorkingDir"] == "/var/lib/skynet", "it starts where its state is", config)
    health = config["Healthcheck"]
    check(health["Test"] == ["CMD", "/usr/bin/skynet", "healthcheck"], "a health check", health)
    check(0 < health["Timeout"] < health["Interval"], "no two health checks at once", health)


def image_holds(files):
    found = {}
    for path in files.rglob("*"):
        status = path.lstat()
        found[str(path.relative_to(files))] = status.st_uid
        check(not status.st_mode & (stat.S_ISUID | stat.S_ISGID), "nothing is setuid", str(path))
    check(found == FILES, "the image holds the program, its licences and the folder of its state alone", found)
    texts = (files / DOC / "THIRD-PARTY.txt").read_text(encoding="utf-8")
    check("tokio 1." in texts and "Permission is hereby granted" in texts, "the licences are those of what is in it")
    size = (files / "usr/bin/skynet").stat().st_size / (1 << 20)
    check(size < MOST_MIB, f"the program has less than {MOST_MIB} MiB", size)
    return size


def give_devices(files):
    (files / "dev").mkdir()
    for name, (major, minor) in DEVICES.items():
        path = files / "dev" / name
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        path.chmod(0o666)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


class Contained:
    """The image's program on ports that are free, as far as chroot goes the way an engine runs it."""

    def __init__(self, files, config):
        self.hub, self.admin = free_port(), free_port()
        self._environment = dict(pair.split("=", 1) for pair in config["Env"])
        for name, inside, outside in [("HUB", 4567, self.hub), ("ADMIN", 4568, self.admin)]:
            name = f"SKYNET_{name}__LISTEN"
            check(self._environment[name] == f"0.0.0.0:{inside}", f"{name} is open to the container's ports")
            # Other programs' ports are theirs: this machine is no container.
            self._environment[name] = f"127.0.0.1:{outside}"
        self._chroot = ["chroot", f"--userspec={config['User']}", str(files)]
        self._config = config

    def command(self, *arguments):
        return {
            "args": [*self._chroot, *self._config["Entrypoint"], *arguments],
            "env": self._environment,
            "stdin": subprocess.DEVNULL,
            "text": True,
        }

    def ask(self, *arguments):
        """Another program in the same container: its exit code and what it wrote."""
        done = subprocess.run(
            **self.command(*arguments), capture_output=True, timeout=DEADLINE_S, check=False
        )
        return done.returncode, done.stdout.strip(), done.stderr.strip()

    def __enter__(self):
        self.process = subprocess.Popen(**self.command(), stderr=subprocess.PIPE)
        self.log = Lines(self.process.stderr)
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def _wait_until_ready(self):
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=1) as answer:
                    check(answer.read().strip() == b"ready", "/readyz says that it is ready")
                    return
            except OSError as problem:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise Failure(f"the hub does not start: {problem}; {self.log.all}") from None


def it_serves_in_an_empty_system_without_rights(files, contained):
    with contained:
        status = pathlib.Path(f"/proc/{contained.process.pid}/status").read_text(encoding="utf-8")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        check(fields["Uid"].split() == [str(USER)] * 4, "it runs as the image's user", fields["Uid"])
        check(int(fields["CapEff"], 16) == 0, "it has no capability", fields["CapEff"])
        url = f"ws://127.0.0.1:{contained.hub}/connect"
        with connect(url) as one, connect(url) as other:
            other.send(json.dumps({"type": "open", "channel": "chat"}))
            check(json.loads(other.recv(DEADLINE_S))["channels"] == ["chat"], "a channel opens")
            one.send(json.dumps({"type": "message", "channel": "chat", "message": "hello"}))
            heard = json.loads(other.recv(DEADLINE_S))
            check(heard["message"] == "hello", "a message arrives", heard)
        code, token, complaint = contained.ask("token")
        kept = files / "var/lib/skynet/admin-token"
        check(code == 0 and kept.is_file(), "`skynet token` finds the kept token", code, complaint)
        check(token == kept.read_text(encoding="utf-8").strip(), "and prints it")
        check(kept.stat().st_uid == USER, "the token is the hub's own", kept.stat().st_uid)
        code, said, complaint = contained.ask("healthcheck")
        check(code == 0, "the health check is good while the hub runs", code, said + complaint)
        contained.process.send_signal(signal.SIGTERM)
        check(contained.process.wait(DEADLINE_S) == 0, "SIGTERM ends it with 0", contained.log.all)
    code, said, complaint = contained.ask("healthcheck")
    check(code == 1, "the health check is bad once the hub has gone", code, said + complaint)


def main():
    if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1], "skynet").is_file():
        sys.exit("Usage: image.py FOLDER_OF_STATIC_SH")
    with tempfile.TemporaryDirectory(prefix="skynet-image-") as folder:
        store = Store(folder)
        store.run(
            "bud",
            "--isolation=chroot",
            # Docker's format: that of OCI has no health check.
            "--format=docker",
            f"--build-context=compiled={os.path.abspath(sys.argv[1])}",
            f"--file={ROOT / 'packaging' / 'Containerfile'}",
            "--tag=skynet",
            str(ROOT),
        )
        config = json.loads(store.run("inspect", "--type=image", "skynet"))["Docker"]["config"]
        image_says(config)
        with store.files_of("skynet") as mounted:
            # A copy: what the program leaves behind is no part of the container's storage.
            files = pathlib.Path(folder, "files")
            shutil.copytree(mounted, files, symlinks=True)
            for path in mounted.rglob("*"):
                status = path.lstat()
                os.chown(files / path.relative_to(mounted), status.st_uid, status.st_gid)
        size = image_holds(files)
        give_devices(files)
        it_serves_in_an_empty_system_without_rights(files, Contained(files, config))
    print(f"image: {len(FILES)} files and folders, a program of {size:.1f} MiB, run as {USER} in its own files")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"FAILED  {failure.told()}")
