"""What systemd would be told by the scripts of a package where it runs.

They ask whether it runs, and then `systemctl`, which here is a few lines that remember which units are active.
"""

RUNS = "/run/systemd/system"
PROGRAM = "/usr/bin/systemctl"
ACTIVE, TOLD = "/run/active-units", "/run/told-systemctl"
STAND_IN = f"""#!/bin/sh
words=
for word; do case $word in -*) ;; *) words="$words $word" ;; esac; done
set -- $words
echo "$*" >>{TOLD}
verb=$1
shift
case $verb in
start | restart | stop | is-active) cd {ACTIVE} ;;
esac
case $verb in
start | restart) touch "$@" ;;
stop) rm -f "$@" ;;
is-active) [ -e "$1" ] ;;
enable | preset)
    for unit; do
        file=$(find /lib/systemd/system /usr/lib/systemd/system -name "$unit" 2>/dev/null | head -n 1)
        folder=/etc/systemd/system/$(sed -n 's/^WantedBy=//p' "$file").wants
        mkdir -p "$folder"
        ln -sf "$file" "$folder/"
    done ;;
is-enabled) find /etc/systemd/system -name "$1" | grep -q . && echo enabled || echo disabled ;;
daemon-reload) ;;
*) exit 64 ;;
esac
"""


class Units:
    """The units of the chroot; with it the packages' scripts find a systemd, and afterwards none."""

    def __init__(self, chroot):
        self._chroot = chroot

    def __enter__(self):
        program = self._chroot.path(PROGRAM)
        program.write_text(STAND_IN)
        program.chmod(0o755)
        self._chroot.shell(f"mkdir -p {RUNS} {ACTIVE}")
        return self

    def __exit__(self, *_):
        self._chroot.shell(f"rm -rf {PROGRAM} {RUNS} {ACTIVE} {TOLD}")

    def active(self):
        return set(self._chroot.shell(f"ls {ACTIVE}").split())

    def told(self):
        """What it was told since this was last asked, of starting and stopping."""
        lines = self._chroot.shell(f"cat {TOLD}; rm {TOLD}").splitlines()
        return [line for line in lines if line.startswith(("start ", "restart ", "stop "))]
