#!/usr/bin/env bash
# Makes the Debian package and the RPM of a program that was built, with what only the program knows (its manual, completions
# of shells) and what only whoever builds knows (whose package it is). Needs cargo-deb, cargo-generate-rpm.
#
#   packaging/build.sh "NAME <ADDRESS>" deb|rpm… [-- OPTIONS OF cargo deb, cargo generate-rpm]
#
# The program is target/release/rekeep (of CARGO_TARGET_DIR, if that is set); the packages lie in target/packages.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
program=$target/release/rekeep
whose=${1:-}
[[ "$whose" =~ ^[^\<]+\ \<[^@]+@[^\>]+\>$ ]] || { echo "whose package is it? Give \"NAME <ADDRESS>\"" >&2; exit 2; }
shift
kinds=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do kinds+=("$1"); shift; done
[ $# = 0 ] || shift
[ -x "$program" ] || { echo "$program is not there: cargo build --release --locked" >&2; exit 2; }

# What is packed beside the program.
beside=$target/release/package
rm -rf "$beside"
mkdir -p "$beside/man" "$target/packages"
"$program" man --dir "$beside/man"
gzip -9n "$beside"/man/*.1
"$program" completions bash >"$beside/rekeep.bash"
"$program" completions zsh >"$beside/_rekeep"
"$program" completions fish >"$beside/rekeep.fish"
version=$("$program" --version | cut -d ' ' -f 2)
when=$(date -u -R -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}")
printf 'rekeep (%s-1) unstable; urgency=medium\n\n  * Built from the sources of version %s.\n\n -- %s  %s\n' \
    "$version" "$version" "$whose" "$when" | gzip -9n >"$beside/changelog.Debian.gz"

for kind in "${kinds[@]}"; do
    case "$kind" in
    deb) cargo deb --no-build --package rekeep --maintainer "$whose" --output "$target/packages/" "$@" ;;
    rpm)
        cargo generate-rpm --target-dir "$target" --output "$target/packages/" "$@"
        ;;
    *) echo "no kind of package: $kind" >&2; exit 2 ;;
    esac
done
