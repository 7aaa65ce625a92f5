#!/usr/bin/env bash
# Tries what can be tried of packaging/ on this machine; ends with a line `not tried: …` for what cannot be.
#
#   packaging/check.sh [PROGRAM]      the program that goes into packages [default: target/debug/rekeep]
#
# Tools come from `tests/run --parts` (REKEEP_PARTS, or target/parts). REKEEP_REQUIRE_PARTS=1 makes a missing one a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(realpath "${1:-target/debug/rekeep}")
parts=${REKEEP_PARTS:-$PWD/target/parts}
export PATH="$parts/packagers/bin:$parts/kubernetes-validate/bin:$PATH"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
not_tried=() missing=0
has() { # TOOL WHAT: whether the tool is there, and what is not tried without it
    command -v "$1" >/dev/null && return 0
    not_tried+=("$2: there is no $1")
    missing=1
    return 1
}

# Shell as shells read it.
for script in packaging/rootfs.sh packaging/deb/p*; do sh -n "$script"; done
bash -n packaging/build.sh

# The unit: no line that systemd does not know, and how much it gives away.
if has systemd-analyze "unit files"; then
    cp packaging/systemd/rekeep.service "$scratch/rekeep.service"
    # Pages and the program are where the packages put them, and not here.
    if systemd-analyze verify --man=no "$scratch/rekeep.service" 2>&1 | grep -v 'is not executable' | grep rekeep.service; then
        echo "the unit has lines that systemd does not take"
        exit 1
    fi
    systemd-analyze security --offline=true --threshold=20 "$scratch/rekeep.service" | tail -n 1
fi

# Manifests and the chart, strictly by the schemas of Kubernetes.
if has kubernetes-validate "manifests"; then
    for file in packaging/kubernetes/*.yaml; do
        [ "$(basename "$file")" = kustomization.yaml ] || kubernetes-validate --strict --quiet "$file"
    done
    echo "manifests are valid"
fi
if has "$parts/helm/bin/python" "the chart"; then
    "$parts/helm/bin/python" packaging/helm/try.py "$scratch/chart.yaml"
    if has kubernetes-validate "the rendered chart"; then kubernetes-validate --strict --quiet "$scratch/chart.yaml"; fi
    echo "the chart is valid, and wrong values are refused"
fi

# Configurations, by the program itself.
sed -n '/config.yml: |/,$p' packaging/kubernetes/configmap.yaml | sed '1d; s/^    //' >"$scratch/kubernetes.yml"
for config in packaging/config.example.yml packaging/compose/config.yml "$scratch/kubernetes.yml"; do
    "$program" serve -c "$config" --check
done
if has promtool "the configuration of Prometheus"; then
    cp packaging/compose/prometheus.yml monitoring/alerts.yml "$scratch/"
    promtool check config "$scratch/prometheus.yml" >"$scratch/promtool"
    grep SUCCESS "$scratch/promtool"
fi

# What an image is built from holds everything that cargo asks for.
mkdir "$scratch/context"
tar -c --exclude=target $(sed 's|^|--exclude=./|' packaging/Dockerfile.dockerignore) . | tar -x -C "$scratch/context"
cargo metadata --offline --locked --no-deps --format-version 1 --manifest-path "$scratch/context/Cargo.toml" >/dev/null
echo "the image's sources are whole"

# The program without what only a debugger reads.
built=$scratch/target
install -D "$program" "$built/release/rekeep"
if has strip "symbols"; then strip "$built/release/rekeep"; fi

# The images' root file systems, run in a chroot; the images where an engine is.
if [ "$(id -u)" = 0 ]; then
    sh packaging/rootfs.sh "$scratch/root" "$built/release/rekeep"
    sh packaging/rootfs.sh --try "$scratch/root"
    if has /usr/bin/python3 "the image with Python"; then
        sh packaging/rootfs.sh --python "$scratch/root"
        sh packaging/rootfs.sh --try-python "$scratch/root"
    fi
else
    not_tried+=("the images' root file systems: chroot needs root")
fi
if docker info >/dev/null 2>&1; then
    docker build -f packaging/Dockerfile -t rekeep .
    docker build -f packaging/Dockerfile.python -t rekeep-python .
    docker compose -f packaging/compose/docker-compose.yml config --quiet
else
    not_tried+=("images, docker-compose: no engine answers")
fi

# Packages.
build() { CARGO_TARGET_DIR=$built packaging/build.sh "Whoever Builds <packages@example.org>" "$@"; }
may_install=
if [ "$(id -u)" = 0 ] && ! [ -e /usr/bin/rekeep ]; then may_install=1; else not_tried+=("installing: it needs root, and no rekeep that is there"); fi
if has cargo-deb "the Debian package"; then
    build deb -- --no-strip --fast --quiet >/dev/null
    deb=$(echo "$built"/packages/*.deb)
    if has lintian "the Debian package by lintian"; then lintian --fail-on error,warning "$deb"; fi
    if [ -n "$may_install" ]; then
        dpkg -i "$deb" >/dev/null
        packaging/installed.sh
        # A purge takes what the service made, and nothing beside it.
        mkdir -p /var/lib/rekeep/drills/one /var/lib/rekeep/backups/packs
        touch /var/lib/rekeep/state.db /var/lib/rekeep/lock /var/lib/rekeep/backups/packs/one
        dpkg --purge rekeep >/dev/null 2>&1
        [ ! -e /usr/bin/rekeep ] && [ ! -e /usr/share/doc/rekeep ]
        [ -e /var/lib/rekeep/backups/packs/one ] && [ "$(ls /var/lib/rekeep)" = backups ]
        rm -r /var/lib/rekeep
        echo "the Debian package was installed and removed"
    fi
fi
if has cargo-generate-rpm "the RPM"; then
    build rpm -- --payload-compress zstd
    rpm=$(echo "$built"/packages/*.rpm)
    if has rpmlint "the RPM by rpmlint"; then rpmlint --config packaging/rpmlint.toml --strict "$rpm" | tail -n 1; fi
    if has rpm "the RPM by rpm" && [ -n "$may_install" ]; then
        # On a system of another kind: what it needs is there and not known to rpm.
        rpm --dbpath "$scratch/rpm" --force-debian --nodeps -i "$rpm"
        packaging/installed.sh
        rpm --dbpath "$scratch/rpm" --force-debian -e rekeep
        [ ! -e /usr/bin/rekeep ] && [ ! -e /usr/lib/systemd/system/rekeep.service ]
        echo "the RPM was installed and removed"
    fi
fi

for line in "${not_tried[@]}"; do echo "not tried: $line"; done
if [ $missing = 1 ] && [ "${REKEEP_REQUIRE_PARTS:-0}" = 1 ]; then
    echo "a tool is missing, and all are required"
    exit 1
fi
