#!/usr/bin/env bash
# Prints the table of docs/measured.md with rekeep and its peers over the same data: restic and borg from Debian, rustic from
# the Rust registry. It installs what is missing (the packages need root), builds, makes the data and measures.
#
#   scripts/peers.sh [WORKDIR] [BENCH-ARGUMENT…]
#   scripts/peers.sh /mnt/quiet                                at full size: some 20 GiB of disk
#   scripts/peers.sh "" --scale 0.002 --runs 1                 whether it works
#   PEERS=restic,borg scripts/peers.sh                         without rustic, which takes ten minutes to build
#
# Data stay in WORKDIR for the next call; without it all is made in a folder that goes at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=${PEERS:-restic,borg,rustic}
rustic_version=0.11.4
tools=${CARGO_TARGET_DIR:-$PWD/target}/peers
dir=${1:-}
[ $# -eq 0 ] || shift

wants() { [[ ",$peers," == *",$1,"* ]]; }

missing=()
[ -x /usr/bin/time ] || missing+=(time)
if wants restic && ! command -v restic >/dev/null; then missing+=(restic); fi
if wants borg && ! command -v borg >/dev/null; then missing+=(borgbackup); fi
if [ ${#missing[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] || { echo "install first, as root: apt-get install ${missing[*]}" >&2; exit 1; }
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
fi

more=()
if wants rustic; then
  # A version that is there already stays.
  cargo install --quiet --locked --root "$tools" --version "$rustic_version" rustic-rs
  more+=(--rustic "$tools/bin/rustic")
fi
[ -z "$dir" ] || { mkdir -p "$dir"; more+=(--workdir "$dir"); }

{
  echo "$(nproc) processors, $(awk '/MemTotal/ {printf "%.0f GiB", $2 / 1048576}' /proc/meminfo), load $(cut -d' ' -f1-3 /proc/loadavg)"
  if wants restic; then restic version; fi
  if wants borg; then borg --version; fi
  if wants rustic; then "$tools/bin/rustic" --version; fi
} >&2
# What the data need and no more: other connectors cost only time to build.
exec cargo bench --no-default-features --features sqlite,files --bench peers -- --peers "$peers" "${more[@]}" "$@"
