"""The Debian package, tried as its owner will use it: in a fresh system of the same release as this one.

Builds the package (packaging/debian/build.sh) and a next version of it, checks both without installing them,
and then does in a chroot what the README's section of SECTION says, in its order, and more: install, start,
change a setting, upgrade, remove, install again, purge. systemd does not run there, so this program does in its
stead what the unit says: the user, the command line, the folders, the signals. What the unit keeps from the
program is checked by systemd-analyze, and by looking at every system call that the program makes.

Usage: debian.py PATH_OF_THE_BINARY FOLDER   (FOLDER: keeps the packages, and the fresh system for the next time)
Needs to be root, and debhelper, debootstrap, lintian, man-db, strace, systemd and this Python with `websockets`.
"""

import gzip
import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True

from chroot import Chroot, Failure, bring_the_loopback_up, check, fresh_system, run  # noqa: E402
from service import Service, Unit  # noqa: E402
from units import Units  # noqa: E402

APART = "--apart"
ROOT = pathlib.Path(__file__).resolve().parents[2]
UNIT = ROOT / "packaging" / "debian" / "skynet.service"
SECTION = "Install on Debian or Ubuntu"
CONFIG = "/etc/skynet/config.toml"
# What systemd-analyze may give at most; the README says what it gives.
WORST_EXPOSURE = 1.5
MARK = "# a line of the owner's own\n"
INSTALL = r"sudo apt install \./skynet_(\S+)_amd64\.deb"
# What the documents lead to and only a checkout has.
OF_A_CHECKOUT = ("LICENSE", "CONTRIBUTING.md", ".github/", "fuzz/", "schedules/", "packaging/", "grafana/compose.yaml")
NEW = "# New in this version.\n"


# --- the package itself -----------------------------------------------------------------------------


def build(binary, folder, revision):
    """The package, and that a build of it in another folder, without git, is the same to the byte."""
    moment = {"SOURCE_DATE_EPOCH": run("git", "-C", ROOT, "log", "-1", "--format=%ct").strip()}
    elsewhere = folder / "elsewhere"
    shutil.rmtree(elsewhere, ignore_errors=True)
    left_out = shutil.ignore_patterns(".git", "target", "__pycache__")
    shutil.copytree(ROOT, elsewhere, symlinks=True, ignore=left_out)
    built = [
        pathlib.Path(run(root / "packaging/debian/build.sh", binary, folder / name, revision, env=moment).strip())
        for root, name in [(ROOT, "a"), (elsewhere, "b")]
    ]
    first, second = built
    check(first.read_bytes() == second.read_bytes(), "two builds in two folders are the same to the byte")
    final = folder / first.name
    shutil.move(first, final)
    for name in ["a", "b", "elsewhere"]:
        shutil.rmtree(folder / name)
    return final


def version_of(package):
    return run("dpkg-deb", "--field", package, "Version").strip()


def repacked(package, version, settings=""):
    """The same as another version; with `settings` it comes with other settings too."""
    tree = package.parent / "repacked"
    shutil.rmtree(tree, ignore_errors=True)
    run("dpkg-deb", "--raw-extract", package, tree)
    config = tree / CONFIG[1:]
    config.write_text(config.read_text() + settings)
    control = tree / "DEBIAN" / "control"
    before = version_of(package)
    control.write_text(control.read_text().replace(f"Version: {before}", f"Version: {version}"))
    built = package.with_name(package.name.replace(before, version))
    run("dpkg-deb", "--root-owner-group", "--build", tree, built)
    shutil.rmtree(tree)
    return built


def the_package_holds_what_it_should(package):
    run("lintian", "--fail-on", "error,warning", "--allow-root", package)
    fields = run("dpkg-deb", "--field", package)
    for field in ["Depends: adduser, libc6 (>= ", "Installed-Size: ", "Architecture: ", "Section: net"]:
        check(field in fields, f"the control file has {field!r}", fields)
    listing = run("dpkg-deb", "--contents", package)
    for path in [
        "./usr/bin/skynet",
        f".{CONFIG}",
        "./usr/share/man/man1/skynet.1.gz",
        "./usr/share/bash-completion/completions/skynet",
        "./usr/share/zsh/vendor-completions/_skynet",
        "./usr/share/fish/vendor_completions.d/skynet.fish",
        "./usr/share/doc/skynet/copyright",
        "./usr/share/doc/skynet/THIRD-PARTY.txt",
        "./usr/share/doc/skynet/changelog.Debian.gz",
        "./usr/share/doc/skynet/docs/protocol.md",
        "./usr/share/doc/skynet/examples/config.toml",
        "./usr/share/doc/skynet/examples/dashboards/skynet.json",
    ]:
        check(re.search(f" {re.escape(path)}$", listing, re.MULTILINE), f"{path} is there", listing)
    # Newer releases have all of /lib below /usr.
    for unit in ["service", "socket"]:
        pattern = rf" \./(?:usr/)?lib/systemd/system/skynet\.{unit}$"
        check(re.search(pattern, listing, re.MULTILINE), f"skynet.{unit} is there", listing)
    tree = package.parent / "unpacked"
    shutil.rmtree(tree, ignore_errors=True)
    run("dpkg-deb", "--raw-extract", package, tree)
    for path in filter(pathlib.Path.is_file, tree.rglob("*")):
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        check(str(ROOT).encode() not in content, f"{path.relative_to(tree)} names no folder of this machine")
    its_documents_lead_to_each_other(tree / "usr/share/doc/skynet")
    shutil.rmtree(tree)


def its_documents_lead_to_each_other(doc):
    pages = [*doc.glob("*.md"), *doc.glob("docs/*.md")]
    check(len(pages) > 10, "there are documents", pages)
    for page in pages:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            there = (page.parent / link).resolve()
            known = str(there.relative_to(doc)).startswith(OF_A_CHECKOUT)
            check(known or there.exists(), f"{page.relative_to(doc)} leads to {link}")


def the_unit_is_sound_and_as_closed_as_the_readme_says(unit_file, binary, folder):
    # The program need not be installed here for its unit to be read.
    text = unit_file.read_text().replace("/usr/bin/skynet", str(binary.resolve()))
    read, socket = folder / "skynet.service", folder / "skynet.socket"
    read.write_text(text)
    shutil.copy(unit_file.with_suffix(".socket"), socket)
    said = run("systemd-analyze", "verify", "--man=no", read, socket, also_stderr=True)
    check(said.strip() == "", "systemd-analyze verify finds nothing", said)
    report = run("systemd-analyze", "security", "--offline=true", "--no-pager", read)
    read.unlink()
    socket.unlink()
    found = re.search(r"Overall exposure level for skynet\.service: (\S+)", report)
    check(found, "systemd-analyze security gives an exposure", report)
    exposure = float(found[1])
    check(exposure <= WORST_EXPOSURE, f"the exposure is at most {WORST_EXPOSURE}", report)
    check(f"exposure level {exposure}" in section(), "the README tells that", exposure)


def the_manual_page_and_the_completions_are_read_by_those_they_are_for(binary, folder):
    page = folder / "skynet.1"
    page.write_text(run(binary, "man"))
    said = run("man", "--warnings", "--local-file", page, also_stderr=True, env={"MANWIDTH": "80"})
    page.unlink()
    check("warning" not in said, "man has nothing to warn of", said)
    for heading in ["NAME", "SYNOPSIS", "COMMANDS", "FILES", "ENVIRONMENT", "SIGNALS", "EXIT STATUS"]:
        check(re.search(f"^{heading}$", said, re.MULTILINE), f"a section {heading}", said)
    script = folder / "completion"
    script.write_text(run(binary, "completions", "bash"))
    typed = (
        f"source {script}; COMP_WORDS=(skynet heal) COMP_CWORD=1; "
        "_skynet skynet heal skynet; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    said = run("bash", "-c", typed)
    script.unlink()
    check(said.split() == ["healthcheck"], "bash completes `skynet heal`", said)


# --- in the chroot ----------------------------------------------------------------------------------


def section():
    text = (ROOT / "README.md").read_text()
    found = re.search(rf"^## {SECTION}$(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    check(found, f"the README has a section {SECTION!r}")
    return found[1]


def commands():
    """The commands of the README's section, in their order, without their comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", section(), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [re.sub(r"\s+#.*", "", line) for line in lines]


class Owner:
    """Does what the README says, one command after the other."""

    def __init__(self, chroot, service):
        self._chroot, self._service = chroot, service
        self._commands = commands()
        self._architecture = run("dpkg", "--print-architecture").strip()

    def types(self, pattern):
        """Runs the next command, which must be like `pattern`. Returns what it printed."""
        check(self._commands, f"the README has a command like {pattern!r} too")
        command = self._commands.pop(0)
        check(re.fullmatch(pattern, command), f"the next command is like {pattern!r}", command)
        # What the reader does with an editor or with systemd is done elsewhere here.
        if command.startswith("sudoedit "):
            return None
        if systemctl := re.fullmatch(r"sudo systemctl (\w+) (?:--now )?skynet", command):
            return self._service.systemctl(systemctl[1])
        return self._chroot.shell(command.replace("_amd64.deb", f"_{self._architecture}.deb"))

    def is_done(self):
        check(not self._commands, "every command of the README was tried", self._commands)


def modes(chroot):
    """Who owns what, as the package or systemd makes it."""
    return {
        path: chroot.shell(f"stat -c '%U:%G %a' {path}").strip()
        for path in ["/etc/skynet", CONFIG, "/var/lib/skynet", "/usr/bin/skynet"]
    }


def a_first_installation_starts_nothing_where_systemd_does_not_run(chroot, owner):
    owner.types(INSTALL)
    check(chroot.shell("skynet --version").startswith("skynet "), "the program is there")
    seen = modes(chroot)
    wanted = {
        "/etc/skynet": "root:skynet 750",
        CONFIG: "root:root 644",
        "/var/lib/skynet": "skynet:skynet 700",
        "/usr/bin/skynet": "root:root 755",
    }
    check(seen == wanted, "files belong to whom they should", seen)
    user = chroot.shell("getent passwd skynet").strip()
    check(user.endswith(":/var/lib/skynet:/usr/sbin/nologin"), "the user cannot log in", user)
    shown = chroot.shell("test -e /etc/systemd/system/multi-user.target.wants/skynet.service && echo yes")
    check(shown == "yes\n", "the unit is to start with the machine")
    enabled = chroot.shell("find /etc/systemd -name skynet.socket")
    check(enabled == "", "its port is not systemd's unless the owner says so", enabled)
    outsider = chroot.shell(f"setpriv --reuid=nobody --clear-groups cat {CONFIG}", fails=True)
    check("Permission denied" in outsider, "others cannot read the settings", outsider)


def the_service_runs_and_is_used(chroot, owner, service):
    service.start()
    check(owner.types(r"skynet healthcheck") == "ready\n", "the hub is ready")
    token = owner.types(rf"sudo -u skynet skynet token --config {CONFIG}").strip()
    check(re.fullmatch(r"[0-9a-f]{64}", token), "the token alone is printed", token)
    check(service.setting("limits.max_clients") == "10000", "the token opens the API")
    service.carries_messages()
    service.ends_well_on_sigterm()
    said = chroot.shell("skynet healthcheck", fails=True)
    check("cannot be asked" in said, "the health check tells of the end", said)
    trace = pathlib.Path(str(chroot.root) + ".trace")
    try:
        service.needs_nothing_that_the_unit_forbids(service.carries_messages, trace)
        service.does_without_io_uring(service.carries_messages, trace)
    finally:
        trace.unlink(missing_ok=True)
    return token


def a_bad_setting_ends_with_78_and_a_good_one_counts_after_a_start_or_a_reload(chroot, owner, service):
    good = chroot.path(CONFIG).read_text() + MARK + "[limits]\nmax_clients = 77\n"
    chroot.path(CONFIG).write_text(good.replace("77", "0"))
    owner.types(rf"sudoedit {CONFIG}")
    said = chroot.shell(f"sudo -u skynet skynet check-config --config {CONFIG}", fails=True)
    check("limits.max_clients" in said, "check-config says what is wrong", said)
    service.refuses_to_start(78)
    final = service.unit.final_codes()
    check(final == {64, 78}, "systemd tries again after a port in use, and not after that", final)
    chroot.path(CONFIG).write_text(good)
    owner.types(rf"sudo -u skynet skynet check-config --config {CONFIG}")
    service.start()
    check(service.setting("limits.max_clients") == "77", "the changed setting counts")
    chroot.path(CONFIG).write_text(good.replace("77", "78"))
    owner.types(r"sudo systemctl reload skynet")
    check(service.setting("limits.max_clients") == "78", "it counts after a reload as well")
    chroot.path(CONFIG).write_text(good.replace("77", "0"))
    service.reload()
    # The hub is asked with a token that only a good file leads to.
    chroot.path(CONFIG).write_text(good)
    check(service.setting("limits.max_clients") == "78", "a bad one changes nothing")
    owner.types(r"sudo systemctl restart skynet")
    check(service.setting("limits.max_clients") == "77", "and after a restart")


def an_upgrade_keeps_settings_state_and_owners(chroot, owner, service, token):
    # Neither of them as the package has made it.
    chroot.shell(f"chmod 0640 {CONFIG}; chgrp skynet {CONFIG}; chmod 0710 {pathlib.Path(CONFIG).parent}")
    before = modes(chroot)
    # As systemd's part of the package's scripts does it where systemd runs.
    service.stop()
    owner.types(INSTALL)
    service.start()
    after = modes(chroot)
    check(after == before, "owners and modes stay as they were set", after)
    check(service.token() == token, "the owner's token is the same")
    check(service.setting("limits.max_clients") == "77", "the settings count")


def an_upgrade_with_new_settings_keeps_those_of_the_owner(chroot, owner, service):
    service.stop()
    owner.types(r"sudo apt install -o Dpkg::Options::=--force-confold \./skynet_(\S+)_amd64\.deb")
    text = chroot.path(CONFIG).read_text()
    check(MARK in text and NEW not in text, "the owner's settings stay", text)
    fresh = chroot.path(f"{CONFIG}.dpkg-dist").read_text()
    check(NEW in fresh, "the new ones are beside them", fresh)
    service.start()
    check(service.setting("limits.max_clients") == "77", "the settings count")


def settings_that_nobody_changed_are_renewed(chroot, first, last):
    for package in [first, last]:
        chroot.shell(f"apt install ./{package.name}")
    text = chroot.path(CONFIG).read_text()
    check(NEW in text, "untouched settings are those of the new version", text)
    chroot.shell("apt purge skynet; deluser --quiet skynet")


def only_the_service_reads_the_settings_whoever_made_its_user_or_took_the_folder_away(chroot, first, second):
    chroot.shell(f"useradd --system --gid nogroup skynet; apt install ./{first.name}")
    seen = modes(chroot)["/etc/skynet"]
    check(seen == "root:skynet 750", "a user without a group of its own gets one", seen)
    chroot.shell("rm -r /etc/skynet")
    chroot.shell(f"apt install ./{second.name}")
    seen = chroot.shell("stat -c '%U:%G %a' /etc/skynet").strip()
    check(seen == "root:skynet 750", "a folder that an upgrade makes anew is what it was", seen)
    chroot.shell("apt purge skynet; deluser --quiet skynet; delgroup --quiet --only-if-empty skynet")


def the_page_on_hosting_installs_it_without_the_package(chroot, binary):
    page = (ROOT / "docs" / "hosting.md").read_text()
    found = re.search(r"^```\n(install -m 0755 skynet .*?)^```$", page, re.MULTILINE | re.DOTALL)
    check(found, "docs/hosting.md says how to install it without the package")
    shutil.copy(binary, chroot.path("/srv/skynet"))
    shutil.copy(UNIT, chroot.path("/srv"))
    chroot.shell("mkdir -p /etc/systemd/system")
    # What is left to systemd is not done here.
    chroot.shell(re.sub(r"^(systemctl|journalctl) .*$", "", found[1], flags=re.MULTILINE))
    chroot.shell("install -d -o skynet -g skynet -m 0700 /var/lib/skynet")
    shown = chroot.shell(f"sudo -u skynet skynet check-config --config {CONFIG}")
    check("/var/lib/skynet/bans.json" in shown, "the settings are good ones", shown)
    outsider = chroot.shell(f"setpriv --reuid=nobody --clear-groups cat {CONFIG}", fails=True)
    check("Permission denied" in outsider, "others cannot read them", outsider)
    chroot.shell("cd /etc; rm -r skynet systemd/system/skynet.service /usr/bin/skynet /var/lib/skynet /srv/skynet")
    chroot.shell("deluser --quiet skynet")


def where_systemd_runs_an_enabled_socket_stays_over_an_upgrade_and_goes_at_a_removal(chroot, first, second):
    with Units(chroot) as units:
        chroot.shell(f"apt install ./{first.name}")
        check(units.active() == {"skynet.service"}, "the service alone is started", units.active())
        chroot.shell("systemctl enable skynet.socket; systemctl start skynet.socket")
        units.told()
        chroot.shell(f"apt install ./{second.name}")
        told = units.told()
        check(told == ["restart skynet.service"], "an upgrade restarts the service, and its port stays bound", told)
        chroot.shell("apt remove skynet")
        told = units.told()
        wanted = ["stop skynet.socket", "stop skynet.service"]
        check(told == wanted, "a removal stops both, first what would start the other again", told)
        chroot.shell("apt purge skynet; deluser --quiet skynet")


def a_removal_keeps_settings_and_state(chroot, owner, service):
    service.stop()
    owner.types(r"sudo apt remove skynet")
    check(not chroot.path("/usr/bin/skynet").exists(), "the program is gone")
    check(MARK in chroot.path(CONFIG).read_text(), "the settings stay")
    check(chroot.path("/var/lib/skynet/admin-token").exists(), "the state stays")


def installed_again_it_is_what_it_was(chroot, service, package, token):
    chroot.shell(f"apt install ./{package.name}")
    service.start()
    check(service.token() == token, "the owner's token is the same")
    check(service.setting("limits.max_clients") == "77", "the settings count")
    service.stop()


def a_purge_leaves_nothing_but_the_user(chroot, owner):
    owner.types(r"sudo apt purge skynet")
    for path in ["/etc/skynet", "/var/lib/skynet", "/usr/bin/skynet", "/usr/share/doc/skynet"]:
        check(not chroot.path(path).exists(), f"{path} is gone")
    links = chroot.shell("find /etc/systemd /var/lib/systemd -name '*skynet*'")
    check(links == "", "systemd remembers nothing", links)
    check("skynet" in chroot.shell("getent passwd skynet"), "the user stays")
    state = chroot.shell("dpkg-query -W -f '${Status}' skynet 2>&1", fails=True)
    check("no packages found" in state, "dpkg knows it no more", state)


def the_package_alone(binary, package, folder):
    the_package_holds_what_it_should(package)
    the_unit_is_sound_and_as_closed_as_the_readme_says(UNIT, binary, folder)
    the_manual_page_and_the_completions_are_read_by_those_they_are_for(binary, folder)
    print(f"ok      {package.name}: built twice, read by lintian, systemd-analyze, man and bash")


def the_package_installed(archive, binary, first, second, third):
    """In namespaces of its own: the addresses of the default configuration are free there."""
    bring_the_loopback_up()
    with Chroot(archive, [first, second, third]) as chroot:
        the_page_on_hosting_installs_it_without_the_package(chroot, binary)
        settings_that_nobody_changed_are_renewed(chroot, first, third)
        only_the_service_reads_the_settings_whoever_made_its_user_or_took_the_folder_away(chroot, first, second)
        where_systemd_runs_an_enabled_socket_stays_over_an_upgrade_and_goes_at_a_removal(chroot, first, second)
        with Service(chroot, Unit(UNIT)) as service:
            owner = Owner(chroot, service)
            a_first_installation_starts_nothing_where_systemd_does_not_run(chroot, owner)
            token = the_service_runs_and_is_used(chroot, owner, service)
            a_bad_setting_ends_with_78_and_a_good_one_counts_after_a_start_or_a_reload(chroot, owner, service)
            an_upgrade_keeps_settings_state_and_owners(chroot, owner, service, token)
            an_upgrade_with_new_settings_keeps_those_of_the_owner(chroot, owner, service)
            a_removal_keeps_settings_and_state(chroot, owner, service)
            installed_again_it_is_what_it_was(chroot, service, third, token)
            a_purge_leaves_nothing_but_the_user(chroot, owner)
            owner.is_done()
    print(f"ok      {first.name}: installed, used, upgraded, removed, installed again, purged")


def main():
    if sys.argv[1:2] == [APART]:
        the_package_installed(*map(pathlib.Path, sys.argv[2:]))
        return
    if len(sys.argv) != 3 or not pathlib.Path(sys.argv[1]).is_file() or os.geteuid() != 0:
        sys.exit("Usage, as root: debian.py PATH_OF_THE_BINARY FOLDER")
    binary, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve()
    folder.mkdir(parents=True, exist_ok=True)

    package = build(binary, folder, "1")
    the_package_alone(binary, package, folder)
    installs = [found[1] for command in commands() if (found := re.search(r"skynet_(\S+)_amd64", command))]
    check(len(installs) == 3, "the README installs three versions, one after the other", installs)
    check(installs[0] == version_of(package), "the first of them is this one", installs)
    later = [repacked(package, installs[1]), repacked(package, installs[2], NEW)]
    apart = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    again = [*apart, sys.executable, __file__, APART, fresh_system(folder), binary, package, *later]
    sys.exit(subprocess.run(again, check=False).returncode)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"FAILED  {failure.told()}")
