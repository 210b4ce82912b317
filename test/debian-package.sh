#!/bin/bash
#
# debian-package.sh: build the Debian packages, and see that they install, work
# and leave nothing behind.
#
# Builds, in a scratch directory, from the committed tree: the source package
# from "make dist", and a binary package for each PostgreSQL of the
# distribution that is supported.  Installs these, runs debian/tests/smoke, and
# purges them again, so it is for machines where that does no harm: it runs as
# root, and only where no package of the extension is installed.
#
# The last line is the count of checks.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=packages.sh
. "$here/packages.sh"

[ "$(id -u)" = 0 ] || { echo "debian-package.sh: to install packages takes root" >&2; exit 2; }
ensure_packages git=git dh=debhelper pg_buildext=postgresql-server-dev-all fakeroot=fakeroot
if dpkg-query -W -f '${Status}\n' 'postgresql-*-idempotency' 2>/dev/null | grep -q ' installed$'; then
	echo "debian-package.sh: a package of the extension is installed already" >&2
	exit 2
fi

passed=0
failed=0
# check NAME COMMAND...
check() {
	local name=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
		echo "ok: $name"
	else
		failed=$((failed + 1))
		echo "FAILED: $name"
	fi
}

scratch=$(mktemp -d)
packages=()
clean_up() {
	[ ${#packages[@]} = 0 ] || dpkg --purge "${packages[@]}" >/dev/null 2>&1 || true
	rm -rf "$scratch"
}
trap clean_up EXIT
chmod 755 "$scratch"

make -s -C "$here/.." dist
version=$(sed -nE '1s/.*\((.*)-[^-]*\).*/\1/p' "$here/../debian/changelog")
cp "$here/../.build/idempotency-$version.tar.gz" "$scratch/postgresql-idempotency_$version.orig.tar.gz"
tar -C "$scratch" -xzf "$scratch/postgresql-idempotency_$version.orig.tar.gz"
cd "$scratch/idempotency-$version"
# The binary packages are those of this distribution's PostgreSQL.
pg_buildext updatecontrol
dpkg-buildpackage -us -uc >"$scratch/log" 2>&1 || { tail -n 40 "$scratch/log"; echo "0 passed, 1 failed"; exit 1; }
cd "$scratch"
mapfile -t files < <(printf '%s\n' postgresql-*-idempotency_*.deb)
for file in "${files[@]}"; do
	packages+=("$(dpkg-deb -f "$file" Package)")
done
echo "built: ${packages[*]}"

for file in "${files[@]}"; do
	contents=$(dpkg-deb -c "$file")
	for wanted in /lib/idempotency.so /extension/idempotency.control /extension/idempotency--1.0.sql; do
		check "$file has $wanted" grep -q "$wanted" <<<"$contents"
	done
done
if command -v lintian >/dev/null; then
	check 'lintian finds no error' lintian --fail-on error --suppress-tags bogus-mail-host,bad-distribution-in-changes-file "${files[@]}"
fi

# Only for servers that are installed: the package depends on one.
installable=()
for file in "${files[@]}"; do
	major=$(dpkg-deb -f "$file" Package | cut -d- -f2)
	[ ! -x "/usr/lib/postgresql/$major/bin/postgres" ] || installable+=("$file")
done
check 'there is a server to install it for' [ ${#installable[@]} -gt 0 ]
files_of_ours() { find /usr /etc /var/lib -path /var/lib/dpkg -prune -o -name '*idempotency*' -print; }
files_of_ours >before
check 'the packages install' dpkg -i "${installable[@]}"
check 'the smoke test passes' idempotency-"$version"/debian/tests/smoke
check 'the packages are purged' dpkg --purge "${packages[@]}"
files_of_ours >after
check 'and leave nothing behind' diff before after

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
