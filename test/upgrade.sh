#!/bin/bash
#
# upgrade.sh: test that pg_upgrade carries the keys.
#
#	test/upgrade.sh [NEW [OLD]]
#
# from major OLD, or 15, to major NEW, or 17.  Both are installed in one chroot, as
# chroot.sh makes it, 700 megabytes.  Runs t/011_upgrade_carries_keys.pl there, and
# leaves its log in .build/upgrade/.
#
# Not all pairs can be upgraded at any time: 15.20 and 17.12 give every column an
# option that 18.6 and 19rc1, which are older, do not know.
#
# The last line is the count of upgrades, one.

set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR source=packages.sh
. test/packages.sh
# shellcheck source-path=SCRIPTDIR source=chroot.sh
. test/chroot.sh

new=${1:-17}
old=${2:-15}
root=$chroots/upgrade-$old-$new
log=$PWD/.build/upgrade
mkdir -p "$log"
lock_chroots
if [ ! -d "$root" ]; then
	packages=(gcc make libc6-dev perl libipc-run-perl)
	for major in "$old" "$new"; do
		if [ "$major" = 16 ]; then
			packages+=(postgresql-client-17)
		else
			packages+=("postgresql-$major" "postgresql-server-dev-$major")
		fi
	done
	make_chroot "$root" "$old $new" "${packages[@]}" || { packages_say "upgrade.sh: $reason"; exit 1; }
fi

rm -rf "$root/build"
mkdir -p "$root/build/extension"
tar --exclude=./.git --exclude=./.build --exclude=./tmp_check --exclude='*.o' --exclude='*.so' --exclude='*.bc' -cf - . |
	tar -C "$root/build/extension" --no-same-owner -xf -
status=0
in_chroot "$root" bash -euc '
	cd /build/extension
	pg_config() { if [ "$1" = 16 ]; then echo /opt/postgresql-16/bin/pg_config; else echo "/usr/lib/postgresql/$1/bin/pg_config"; fi; }
	for major in "$1" "$2"; do
		MAKE="make -s with_llvm=no COPT=-Werror PG_CONFIG=$(pg_config "$major")"
		$MAKE clean
		$MAKE
		$MAKE install >/dev/null
	done
	chown -R postgres /build
	exec setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/build OLD_PG_CONFIG="$(pg_config "$1")" \
		$MAKE installcheck REGRESS= ISOLATION= PROVE_TESTS=t/011_upgrade_carries_keys.pl
' bash "$old" "$new" || status=$?
rm -rf "$log/log"
cp -R "$root/build/extension/tmp_check/log" "$log/" || true
find "$root/build/extension/tmp_check" -path '*/pg_upgrade_output.d/*.log' -exec cp {} "$log/log/" \; || true
[ "$status" = 0 ] || grep -hE '^\[[^]]*\] *(not ok|#)' "$log"/log/regress_log_* || true
rm -rf "$root/build"
if [ "$status" = 0 ]; then echo "1 passed, 0 failed"; else echo "0 passed, 1 failed"; fi
exit "$status"
