#!/bin/sh
# The program as one file that needs nothing of the system it runs on, Linux with glibc's compiler:
#   sh packaging/static.sh FOLDER
# puts it at FOLDER/skynet, and beside it the folder FOLDER/empty, which the Containerfile wants too.
#
# The C library is linked in (`crt-static`). Only the program itself is linked anew: what it is made
# of is shared with `cargo build --release`.
set -eu
cd "$(dirname "$0")/.."
[ $# -eq 1 ] || { echo 'Usage: static.sh FOLDER' >&2; exit 64; }

cargo rustc --locked --release --bin skynet -- -C target-feature=+crt-static
program=${CARGO_TARGET_DIR:-target}/release/skynet
# A program that asks for a loader or a library would not start in an empty image.
if readelf --wide --program-headers --dynamic "$program" | grep -E 'INTERP|NEEDED'; then
    echo "$program is not static: it needs what stands above" >&2
    exit 1
fi
mkdir -p "$1/empty"
cp "$program" "$1/skynet"
