#!/usr/bin/env bash
# Builds the Debian package of a binary: packaging/debian/build.sh BINARY FOLDER [REVISION]
#
# The file is FOLDER/skynet_VERSION-REVISION_ARCHITECTURE.deb, the version that of the binary, the revision 1
# when none is given. The binary must be for this machine, which decides what the package depends on.
# Needs debhelper, and cargo and Python for the licences of the crates within. Its times are those of the commit, or of
# SOURCE_DATE_EPOCH where there is no git. The same times and binary give the same package, in whatever folder.
set -euo pipefail

if [ $# -lt 2 ] || [ $# -gt 3 ] || [ ! -x "$1" ]; then
    sed -n '2s/^# //p' "$0" >&2
    exit 64
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..
binary=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
revision=${3:-1}
version=$("$binary" --version | cut -d' ' -f2)
# Debian's order of versions puts 1.0~rc.1 before 1.0.
debian_version=${version/-/\~}-$revision
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
source=$work/skynet-$version
files=$source/files
doc=$files/usr/share/doc/skynet
mkdir -p "$source/debian" "$doc/examples"
umask 022

put() { # FILE MODE DESTINATION
    install -D -m "$2" "$1" "$files/$3"
}

say() { # DESTINATION COMMAND…: what the binary prints
    mkdir -p "$(dirname "$files/$1")"
    "$binary" "${@:2}" >"$files/$1"
}

put "$binary" 0755 usr/bin/skynet
put "$here/config.toml" 0644 etc/skynet/config.toml
say usr/share/man/man1/skynet.1 man
say usr/share/bash-completion/completions/skynet completions bash
say usr/share/zsh/vendor-completions/_skynet completions zsh
say usr/share/fish/vendor_completions.d/skynet.fish completions fish
say usr/share/doc/skynet/examples/config.toml default-config
cp -R "$root/README.md" "$root/SECURITY.md" "$root/docs" "$root/openapi" "$doc/"
cp -R "$root/grafana/dashboards" "$root/grafana/prometheus/rules" "$doc/examples/"
# Where the documents look for them.
mkdir -p "$doc/grafana/prometheus"
ln -s ../examples/dashboards "$doc/grafana/dashboards"
ln -s ../../examples/rules "$doc/grafana/prometheus/rules"
ln -s examples/config.toml "$doc/config.toml"
PYTHONDONTWRITEBYTECODE=1 python3 "$root/packaging/licences.py" "$(rustc -vV | sed -n 's/^host: //p')" \
    "$doc/THIRD-PARTY.txt" >"$work/log"
# As `install` and not as the checkout has them.
chmod -R u=rwX,go=rX "$files"

cp "$here"/{control,copyright,rules,skynet.service,skynet.socket,skynet.postinst,skynet.prerm,skynet.postrm,skynet.lintian-overrides} "$source/debian/"
cp "$root/CHANGELOG.md" "$source/"
maintainer=$(sed -n 's/^Maintainer: //p' "$here/control")
cat >"$source/debian/changelog" <<END
skynet ($debian_version) unstable; urgency=medium

  * Version $version. What changes for its users is in changelog.gz.

 -- $maintainer  $(date --utc --rfc-email --date "@$SOURCE_DATE_EPOCH")
END
(cd "$source" && dpkg-buildpackage --build=binary --no-sign --no-pre-clean >"$work/log" 2>&1) || {
    cat "$work/log" >&2
    exit 1
}
cp "$work"/skynet_*.deb "$out/"
printf '%s\n' "$out"/skynet_"$debian_version"_*.deb
