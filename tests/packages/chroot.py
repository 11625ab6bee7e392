"""A fresh system of this machine's own release in a folder: made once, unpacked for each test.

Its packages come from where this machine has its own. Nothing here knows what is installed into it.
"""

import fcntl
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import traceback

# For a command; debootstrap has MAKING_S.
DEADLINE_S = 120
MAKING_S = 600
# What a shell in the chroot knows beside Debian's own. sudo is not among the smallest of systems, and whoever
# reads the documentation has it.
PRELUDE = """
set -eu
cd /srv
sudo() {
    [ "$1" = -u ] || { "$@"; return; }
    user=$2; shift 2
    setpriv --reuid="$user" --regid="$user" --init-groups "$@"
}
"""


class Failure(Exception):
    """What was expected and what came instead."""

    def told(self):
        """It, behind the functions that it came from: the test's name is among them."""
        names = [frame.name for frame in traceback.extract_tb(self.__traceback__)]
        return " > ".join(name for name in names if name not in ("<module>", "main", "check")) + f": {self}"


def check(condition, expectation, *seen):
    if not condition:
        raise Failure("\n  seen: ".join([expectation, *map(str, seen)]))


def run(*command, also_stderr=False, fails=False, env=(), deadline=DEADLINE_S):
    """What a program prints. It must end well, or badly when it is to fail; then its errors are included."""
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if also_stderr or fails else subprocess.PIPE,
        env=os.environ | dict(env),
        text=True,
        timeout=deadline,
        check=False,
    )
    said = done.stdout + (done.stderr or "")
    check((done.returncode != 0) == fails, f"{command} ends {'badly' if fails else 'well'}", said)
    return done.stdout


def fresh_system(folder):
    """The smallest system of this machine's release, as an archive below `folder`."""
    codename = run("sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME").strip()
    archive = folder / f"{codename}.tar"
    if archive.exists():
        return archive
    targets = run("apt-get", "indextargets", "--format", "$(RELEASE) $(SITE)", "Created-By: Packages")
    sites = [site for release, site in map(str.split, targets.splitlines()) if release == codename]
    check(sites, f"apt knows where {codename} comes from", targets)
    tree = folder / "making"
    shutil.rmtree(tree, ignore_errors=True)
    said = run("debootstrap", "--variant=minbase", codename, tree, sites[0], deadline=MAKING_S)
    unfinished = archive.with_suffix(".unfinished")
    run("tar", "--create", "--numeric-owner", "--file", unfinished, "--directory", tree, ".")
    unfinished.rename(archive)
    shutil.rmtree(tree)
    check("Base system installed" in said, "debootstrap ends well", said)
    return archive


def bring_the_loopback_up():
    """In a network of one's own it is down at first."""
    get, put, up = 0x8913, 0x8914, 1
    with socket.socket() as any_socket:
        request = fcntl.ioctl(any_socket, get, struct.pack("16sH14x", b"lo", 0))
        flags = struct.unpack("16sH14x", request)[1] | up
        fcntl.ioctl(any_socket, put, struct.pack("16sH14x", b"lo", flags))


class Chroot:
    """The fresh system, with some packages in /srv; it is removed at the end.

    To be used in namespaces of its own (mounts, processes, network), which take with them what is left.
    """

    def __init__(self, archive, packages):
        self._archive, self._packages = archive, packages
        self.root = None

    def __enter__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="skynet-packages-"))
        try:
            run("tar", "--extract", "--numeric-owner", "--file", self._archive, "--directory", self.root)
            run("mount", "-t", "proc", "proc", self.root / "proc")
            for package in self._packages:
                shutil.copy(package, self.root / "srv")
            # Who reads the documentation says yes to apt; to dpkg nobody says anything.
            yes = self.root / "etc/apt/apt.conf.d/90yes"
            yes.write_text('APT::Get::Assume-Yes "true";\n')
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "--lazy", self.root / "proc"], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.root)

    def path(self, path):
        return self.root / path.lstrip("/")

    def shell(self, command, fails=False):
        """What a command prints there, its errors included."""
        inside = ["chroot", self.root, "/bin/bash", "-c", PRELUDE + command]
        # As after a login, with nothing of this machine's.
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"]
        return run(*clean, *inside, fails=fails, also_stderr=True)
