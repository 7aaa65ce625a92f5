#!/usr/bin/env bash
# Tries what can be tried of packaging/ on this machine; ends with a line `not tried: …` for what cannot be.
#
#   packaging/check.sh [PROGRAM]      the program that goes into packages [default: target/debug/rekeep]
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:-target/debug/rekeep}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
not_tried=()
has() { command -v "$1" >/dev/null || { not_tried+=("$2: there is no $1"); return 1; }; }

# Shell as shells read it.
for script in packaging/rootfs.sh packaging/deb/*; do sh -n "$script"; done

# The unit: no line that systemd does not know, and how much it gives away.
if has systemd-analyze "unit files"; then
    cp packaging/systemd/rekeep.service "$scratch/rekeep.service"
    if systemd-analyze verify "$scratch/rekeep.service" 2>&1 | grep -v 'is not executable' | grep rekeep.service; then
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
if has helm "the chart"; then
    helm lint packaging/helm/rekeep
    helm template try packaging/helm/rekeep --set environmentSecret=more >"$scratch/chart.yaml"
    if has kubernetes-validate "the rendered chart"; then kubernetes-validate --strict --quiet "$scratch/chart.yaml"; fi
    for wrong in state.size=10 odd=1 service.port=0 image.pullPolicy=Sometimes; do
        if helm template try packaging/helm/rekeep --set "$wrong" >/dev/null 2>&1; then
            echo "the chart's schema takes $wrong"
            exit 1
        fi
    done
    echo "the chart is valid, and wrong values are refused"
fi

# Configurations, by the program itself.
sed 's/0\{64\}/&/' packaging/kubernetes/configmap.yaml | sed -n '/config.yml: |/,$p' | sed '1d; s/^    //' >"$scratch/kubernetes.yml"
for config in packaging/config.example.yml packaging/compose/config.yml "$scratch/kubernetes.yml"; do
    "$program" serve -c "$config" --check
done
if has promtool "the configuration of Prometheus"; then
    cp packaging/compose/prometheus.yml monitoring/alerts.yml "$scratch/"
    promtool check config "$scratch/prometheus.yml" | grep -m 1 SUCCESS
fi

# The image's root file system, run in a chroot; the image where an engine is.
if [ "$(id -u)" = 0 ]; then
    sh packaging/rootfs.sh "$scratch/root" "$program"
    sh packaging/rootfs.sh --try "$scratch/root"
else
    not_tried+=("the image's root file system: chroot needs root")
fi
if docker info >/dev/null 2>&1; then
    docker build -f packaging/Dockerfile -t rekeep .
    docker build -f packaging/Dockerfile.python -t rekeep-python .
    docker compose -f packaging/compose/docker-compose.yml config --quiet
else
    not_tried+=("images, docker-compose: no engine answers")
fi

# Packages, from the program that is there: where no release was built, this one stands in for it meanwhile.
if [ ! -e target/release/rekeep ]; then
    install -D "$program" target/release/rekeep
    trap 'rm -rf "$scratch" target/release/rekeep' EXIT
fi
if has cargo-deb "the Debian package"; then
    cargo deb --no-build --no-strip --package rekeep --output "$scratch/rekeep.deb" --quiet
    dpkg-deb --contents "$scratch/rekeep.deb" | awk '{ print $6 }' | grep -q '^./usr/bin/rekeep$'
    if has lintian "the Debian package by lintian"; then
        lintian --fail-on error --suppress-tags unstripped-binary-or-object "$scratch/rekeep.deb"
    fi
    if [ "$(id -u)" = 0 ] && ! dpkg-query -W rekeep >/dev/null 2>&1; then
        dpkg -i "$scratch/rekeep.deb" >/dev/null
        /usr/bin/rekeep --version
        getent passwd rekeep >/dev/null
        dpkg --purge rekeep >/dev/null
        [ ! -e /usr/bin/rekeep ]
        echo "the Debian package was installed and removed"
    fi
fi
if has cargo-generate-rpm "the RPM"; then
    cargo generate-rpm --output "$scratch/rekeep.rpm"
    if has rpm "the RPM by rpm"; then
        rpm -qp --scripts "$scratch/rekeep.rpm" >/dev/null
        rpm -qpl "$scratch/rekeep.rpm" | grep -q '^/usr/bin/rekeep$'
    fi
    if has rpmlint "the RPM by rpmlint"; then rpmlint --config packaging/rpmlint.toml "$scratch/rekeep.rpm"; fi
fi

for line in "${not_tried[@]}"; do echo "not tried: $line"; done
