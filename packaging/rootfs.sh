#!/bin/sh
# Builds the root file system of the image: the program, what it is linked with, certificates, a user. The Dockerfiles run this;
# with `--try` it is run here, in a chroot, as that user.
#
#   packaging/rootfs.sh DIRECTORY PROGRAM          builds
#   packaging/rootfs.sh --try DIRECTORY            runs it (as root, for chroot)
#   packaging/rootfs.sh --python DIRECTORY         puts beside it what Dockerfile.python does: this machine's Python, disaster_recovery.py
#   packaging/rootfs.sh --try-python DIRECTORY     runs that as jobs of the disaster recovery guides do
set -eu

try() {
    root=$1
    run() { chroot --userspec=65532:65532 "$root" /usr/bin/rekeep "$@"; }
    export HOME=/var/lib/rekeep XDG_CACHE_HOME=/var/cache
    run --version
    # Backed up, restored and compared, with nothing of this system in reach.
    run demo --records 5000 --dir /tmp/demo | tail -n 1
    run serve key try >/dev/null
    printf 'service:\n  unlock: { password: try }\nstorage:\n  s: { local-storage: { path: /var/lib/rekeep/b } }\nbackup-routines: {}\n' >"$root/tmp/config.yml"
    chmod 644 "$root/tmp/config.yml"
    run serve -c /tmp/config.yml --check
    : >"$root/tmp/log"
    # Answers, and ends by SIGTERM within its bound.
    chroot --userspec=65532:65532 "$root" /usr/bin/rekeep serve -c /tmp/config.yml --state-dir /var/lib/rekeep/state --port 0 \
        >"$root/tmp/log" 2>&1 &
    pid=$!
    until grep -q 'listening on' "$root/tmp/log"; do
        kill -0 "$pid" || { cat "$root/tmp/log"; exit 1; }
        sleep 0.1
    done
    kill -TERM "$pid"
    wait "$pid"
    grep -q stopped "$root/tmp/log"
    # Nothing of the image belongs to the user but what is there to be written.
    [ -z "$(find "$root" -xdev -user 65532 -not -path "$root/var/*" -not -path "$root/tmp*" | head -n 1)" ]
    echo "the image's root file system works"
}

with_libraries() { # what a program, or a library, is linked with comes along
    ldd "$2" 2>/dev/null | grep -o '/[^ ]*' | sort -u | while read -r library; do
        mkdir -p "$1$(dirname "$library")"
        [ -e "$1$library" ] || cp -L "$library" "$1$library"
    done
}

python() {
    root=$1 python=$(readlink -f /usr/bin/python3)
    name=$(basename "$python")
    mkdir -p "$root/usr/lib" "$root/app/scripts"
    cp "$python" "$root/usr/bin/$name"
    cp -r "/usr/lib/$name" "$root/usr/lib/"
    for binary in "$python" "/usr/lib/$name"/lib-dynload/*.so; do with_libraries "$root" "$binary"; done
    ln -s "$name" "$root/usr/bin/python"
    cp "$(dirname "$0")/../scripts/disaster_recovery.py" "$root/app/scripts/"
}

try_python() {
    root=$1
    # The command of a job, in /app, with nothing set but what a job sets.
    job() {
        env -i PATH=/usr/bin HOME=/var/lib/rekeep REKEEP_PASSWORD=try BACKUP_STORAGE=local BACKUP_PATH=/var/lib/rekeep/dr \
            DEEPLAKE_STORAGE_LOCATION="$data" /usr/sbin/chroot --userspec=65532:65532 "$root" /usr/bin/python /app/scripts/disaster_recovery.py "$@"
    }
    data=/data
    mkdir -p "$root/data"
    job test
    echo "the image with Python works"
}

case "${1:-}" in
--try) try "$2"; exit ;;
--python) python "$2"; exit ;;
--try-python) try_python "$2"; exit ;;
esac

root=$1 program=$2
[ ! -e "$root" ] || { echo "$root is there already" >&2; exit 2; }
umask 022
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/etc/rekeep" "$root/var/lib/rekeep" "$root/var/cache/rekeep" "$root/tmp"
cp "$program" "$root/usr/bin/rekeep"
chmod 755 "$root/usr/bin/rekeep"
# A static program is linked with nothing; of any other the libraries come along.
with_libraries "$root" "$program"
for certificates in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
    [ ! -r "$certificates" ] || cp -L "$certificates" "$root/etc/ssl/certs/ca-certificates.crt"
done
printf 'root:x:0:0::/:/nologin\nrekeep:x:65532:65532::/var/lib/rekeep:/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nrekeep:x:65532:\n' >"$root/etc/group"
chmod 1777 "$root/tmp"
chown -R 65532:65532 "$root/var/lib/rekeep" "$root/var/cache/rekeep"
