#!/bin/sh
# Looks at what a package installed: the program runs, its user, its unit and its pages are there.
set -eu
/usr/bin/rekeep --version
getent passwd rekeep >/dev/null
/usr/bin/rekeep serve -c /usr/share/doc/rekeep/examples/config.yml --check >/dev/null
[ -e /usr/lib/systemd/system/rekeep.service ]
[ -z "$(find /etc/systemd/system -name rekeep.service)" ] # it is enabled by whoever has configured it
for page in rekeep rekeep-serve rekeep-backup; do
    gzip -dc "/usr/share/man/man1/$page.1.gz" | grep -q '^\.SH NAME'
done
# The unit as it is installed, with its program and its pages.
if command -v systemd-analyze >/dev/null; then
    ! systemd-analyze verify /usr/lib/systemd/system/rekeep.service 2>&1 | grep rekeep.service
fi
