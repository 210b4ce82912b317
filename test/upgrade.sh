#!/bin/bash
#
# upgrade.sh: test that pg_upgrade carries the keys.
#
#	test/upgrade.sh [NEW [OLD]]
#
# from major OLD, or 15, to major NEW, or 19, the oldest and the newest.  Both are
# installed in one chroot, as chroot.sh makes it, 700 megabytes.  Runs
# t/011_upgrade_carries_keys.pl there, and leaves its log in .build/upgrade/.

set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR source=packages.sh
. test/packages.sh
# shellcheck source-path=SCRIPTDIR source=chroot.sh
. test/chroot.sh

new=${1:-19}
old=${2:-15}
root=$chroots/upgrade-$old-$new
log=$PWD/.build/upgrade
mkdir -p "$log"
lock_chroots
if [ ! -d "$root" ]; then
	packages=(gcc make libc6-dev perl libipc-run-perl)
	for major in "$old" "$new"; do
		packages+=("postgresql-$major" "postgresql-server-dev-$major")
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
	for major in "$1" "$2"; do
		MAKE="make -s with_llvm=no COPT=-Werror PG_CONFIG=/usr/lib/postgresql/$major/bin/pg_config"
		$MAKE clean
		$MAKE
		$MAKE install >/dev/null
	done
	chown -R postgres /build
	exec setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/build OLD_PG_CONFIG="/usr/lib/postgresql/$1/bin/pg_config" \
		$MAKE installcheck REGRESS= ISOLATION= PROVE_TESTS=t/011_upgrade_carries_keys.pl
' bash "$old" "$new" || status=$?
rm -rf "$log/log"
cp -R "$root/build/extension/tmp_check/log" "$log/" || true
find "$root/build/extension/tmp_check" -path '*/pg_upgrade_output.d/*.log' -exec cp {} "$log/log/" \; || true
[ "$status" = 0 ] || grep -hE '^\[[^]]*\] *(not ok|#)' "$log"/log/regress_log_* || true
rm -rf "$root/build"
exit "$status"
