#!/bin/bash
#
# upgrade.sh: test that pg_upgrade carries the keys.
#
#	test/upgrade.sh [NEW [OLD]]
#
# from major OLD, or 15, to major NEW, or 19, the oldest and the newest.  Both are
# installed in one chroot: the Debian suite that has NEW, with OLD from the suite
# that has it, from the mirror that this machine's apt uses.  The chroot is kept
# in ${XDG_CACHE_HOME:-~/.cache}/idempotency/, 700 megabytes, and used again.
# Runs t/011_upgrade_carries_keys.pl there, in namespaces of its own for mounts
# and processes, and leaves its log in .build/upgrade/.  Needs root, and
# mmdebstrap, which it installs where it is missing.

set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR source=packages.sh
. test/packages.sh

new=${1:-19}
old=${2:-15}
root=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/idempotency/upgrade-$old-$new
log=$PWD/.build/upgrade
mkdir -p "$(dirname "$root")" "$log"
[ "$(id -u)" = 0 ] || { packages_say "Only root can make and enter a chroot."; exit 1; }

# suite_of MAJOR
suite_of() {
	case $1 in
		15) echo bookworm ;;
		17) echo trixie ;;
		18) echo forky ;;
		19) echo experimental ;;
		*) packages_say "No Debian suite is known to have PostgreSQL $1."; return 1 ;;
	esac
}

# make_chroot: with all packages of the base suite, but those of one major each.
make_chroot() {
	local mirror base new_suite old_suite sources preferences validity package options=()
	command -v mmdebstrap >/dev/null || { apt_update && install_packages mmdebstrap; } || return
	# shellcheck disable=SC2016 # apt's own variables
	mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian //p' | sort -u | head -n 1)
	[ -n "$mirror" ] || { packages_say "apt knows no mirror of Debian."; return 1; }
	new_suite=$(suite_of "$new") && old_suite=$(suite_of "$old") || return
	base=$new_suite
	sources=("deb $mirror $new_suite main" "deb $mirror $old_suite main")
	preferences="Package: *\nPin: release n=$old_suite\nPin-Priority: 100\n"
	if [ "$new_suite" = experimental ]; then
		base=sid
		sources+=("deb $mirror sid main")
		preferences+="\nPackage: src:postgresql-$new\nPin: release a=experimental\nPin-Priority: 990\n"
	fi
	# shellcheck disable=SC2016 # mmdebstrap's hooks have the chroot as $1
	options=(
		--variant=minbase
		--aptopt='APT::Install-Recommends "false"'
		--dpkgopt='path-exclude=/usr/share/locale/*'
		--dpkgopt='path-exclude=/usr/share/doc/*'
		--dpkgopt='path-exclude=/usr/share/man/*'
		--essential-hook='mkdir -p "$1/etc/postgresql-common/createcluster.d" && echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.d/no-main-cluster.conf"'
		--essential-hook="printf '$preferences' >\"\$1/etc/apt/preferences.d/postgresql\""
		--include="postgresql-$old,postgresql-$new,gcc,make,libc6-dev,perl,libipc-run-perl"
	)
	# The package of the headers depends on a compiler of bitcode, which nobody
	# calls here: it is unpacked without what it depends on.
	for package in "postgresql-server-dev-$old" "postgresql-server-dev-$new"; do
		options+=("--customize-hook=chroot \"\$1\" sh -euc 'cd /var/tmp && apt-get download $package && dpkg -x ${package}_*.deb / && rm ${package}_*.deb'")
	done
	# A mirror that is behind may offer lists past their Valid-Until.  They are
	# signed all the same, and nothing but this test depends on the chroot.
	for validity in true false; do
		rm -rf --one-file-system "$root.new"
		if mmdebstrap --aptopt="Acquire::Check-Valid-Until \"$validity\"" "${options[@]}" "$base" "$root.new" "${sources[@]}" >"$log/chroot.log" 2>&1 </dev/null; then
			mv "$root.new" "$root"
			return
		fi
		grep -q 'is expired' "$log/chroot.log" || break
	done
	rm -rf --one-file-system "$root.new"
	tail -n 20 "$log/chroot.log" >&2
	packages_say "The chroot could not be made."
	return 1
}

[ -d "$root" ] || make_chroot

rm -rf "$root/build"
mkdir -p "$root/build/extension"
tar --exclude=./.git --exclude=./.build --exclude=./tmp_check --exclude='*.o' --exclude='*.so' --exclude='*.bc' -cf - . |
	tar -C "$root/build/extension" --no-same-owner -xf -
status=0
unshare --mount --pid --fork --kill-child --propagation private bash -euc '
	mount -t proc proc "$1/proc"
	mount --rbind /dev "$1/dev"
	mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
	exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 bash -euc '\''
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
	'\'' chroot "$2" "$3"
' unshare "$root" "$old" "$new" </dev/null || status=$?
rm -rf "$log/log"
cp -R "$root/build/extension/tmp_check/log" "$log/" || true
[ "$status" = 0 ] || grep -hE '^\[[^]]*\] *(not ok|#)' "$log"/log/regress_log_* || true
rm -rf "$root/build"
exit "$status"
