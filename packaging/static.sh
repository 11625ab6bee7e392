#!/bin/sh
# The program as one file that needs nothing of the system it runs on, Linux with glibc's compiler:
#   sh packaging/static.sh FOLDER
# puts it at FOLDER/skynet, and beside it what the Containerfile wants too: FOLDER/licences, with the texts of
# the licences of all that is inside, and the folder FOLDER/empty.
#
# The C library is linked in (`crt-static`). Only the program itself is linked anew: what it is made
# of is shared with `cargo build --release`. Needs readelf and, for the licences, Python.
set -eu
[ $# -eq 1 ] || { echo 'Usage: static.sh FOLDER' >&2; exit 64; }
mkdir -p "$1/licences" "$1/empty"
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

cargo rustc --locked --release --bin skynet -- -C target-feature=+crt-static
program=${CARGO_TARGET_DIR:-target}/release/skynet
# A program that asks for a loader or a library would not start in an empty image.
headers=$(readelf --wide --program-headers --dynamic "$program")
if printf '%s\n' "$headers" | grep -E 'INTERP|NEEDED'; then
    echo "$program is not static: it needs what stands above" >&2
    exit 1
fi
target=$(rustc -vV | sed -n 's/^host: //p')
PYTHONDONTWRITEBYTECODE=1 python3 packaging/licences.py "$target" "$folder/licences/THIRD-PARTY.txt"
cp LICENSE "$folder/licences/"
cp "$program" "$folder/skynet"
