#!/usr/bin/env bash
# Installs what `duckdb-engine` links and loads into a folder: libduckdb.so and its signed extensions.
#
#   infra/local/duckdb.sh TARGET_DIR [x86_64|aarch64]
#
# The processor is this machine's unless it is named, as for a function that runs on another one.
# Idempotent and pinned: the library and the extensions are of one DuckDB version, the one that the
# `duckdb` crate of the worker is for. DuckDB's own download host is not needed.
set -euo pipefail
version=1.5.5
extensions=(httpfs postgres-scanner sqlite-scanner)

[ $# -eq 1 ] || [ $# -eq 2 ] || { echo "usage: $0 TARGET_DIR [x86_64|aarch64]" >&2; exit 2; }
for program in npm python3 unzip; do
    command -v "$program" > /dev/null || { echo "duckdb: install \`$program\` first" >&2; exit 1; }
done
# System and processor, as `uname` says it, and how npm, wheels and DuckDB each call them.
wanted=${2:+Linux $2}
case "${wanted:-$(uname -sm)}" in
    "Linux x86_64") npm=x64 wheel=manylinux2014_x86_64 platform=linux_amd64 ;;
    "Linux aarch64") npm=arm64 wheel=manylinux2014_aarch64 platform=linux_arm64 ;;
    *)
        echo "duckdb: this installs for Linux on x86-64 and arm64; elsewhere put libduckdb $version and an" \
            "\`extensions\` folder into $1 by hand" >&2
        exit 1
        ;;
esac
library="@duckdb/node-bindings-linux-$npm@$version-r.5"

mkdir -p "$1"
target=$(cd "$1" && pwd)
# DuckDB looks for an extension of that name under its version and platform.
folder="$target/extensions/v$version/$platform"
mkdir -p "$folder"
if [ -f "$target/installed-$version" ]; then
    echo "duckdb: $version is in $target"
    exit 0
fi
work=$(mktemp -d "$target/install.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "duckdb: libduckdb.so $version, from $library"
(cd "$work" && npm pack --silent "$library" > packed && tar -xzf "$(cat packed)" package/libduckdb.so package/LICENSE)

echo "duckdb: extensions ${extensions[*]}"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --platform "$wheel" \
    --dest "$work/wheels" \
    "${extensions[@]/#/duckdb-extension-}" --constraint <(printf "duckdb-extension-%s==$version\n" "${extensions[@]}")
for wheel in "$work"/wheels/*.whl; do
    unzip -q -o -j "$wheel" '*.duckdb_extension' -d "$work/extensions"
done

mv "$work"/extensions/* "$folder/"
mv "$work/package/libduckdb.so" "$target/libduckdb.so"
mv "$work/package/LICENSE" "$target/LICENSE"
touch "$target/installed-$version"
echo "duckdb: $version is in $target"
