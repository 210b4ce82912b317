#!/bin/bash
#
# matrix.sh: run the tests on several major versions of PostgreSQL.
#
#	test/matrix.sh MAJOR...
#
# A major that is installed here, and the distribution's own, is tested here.
# Any other is tested in a chroot, as chroot.sh makes it, half a gigabyte each.
# A test leaves nothing in it.
#
# Of a passing run, only the end of the output is printed; all of it is in
# .build/matrix/MAJOR/, with the results.  The last line is the count over all
# majors.  A major that cannot be tested is skipped with the reason; under CI=true
# it counts as failed.

set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR source=packages.sh
. test/packages.sh
# shellcheck source-path=SCRIPTDIR source=chroot.sh
. test/chroot.sh

results=$PWD/.build/matrix
passed=0
failed=0
skipped=0
closing=()
reason=

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
	in_chroot "$root" env ASSUME_YES=1 make --no-print-directory -C /checkout test PARTS="regress isolation preloaded portable TAP" PG_CONFIG="$pg_config" || status=$?
	cp -R "$root/checkout/.build/test/." "$2" 2>/dev/null || true
	rm -rf "$root/checkout"
	return "$status"
}

# test_major MAJOR
test_major() {
	local major=$1 directory=$results/$1 output=$results/$1/output status=0 count
	local pg_config=/usr/lib/postgresql/$major/bin/pg_config root=$chroots/postgresql-$major
	local started=$SECONDS where=here run=test_here servers
	reason=
	rm -rf "$directory"
	mkdir -p "$directory"
	if [ ! -x "$pg_config" ] || [ -n "$(missing_server_packages "$pg_config")" ]; then
		where="in a chroot"
		run=test_in_chroot
		if [ ! -d "$root" ]; then
			echo "PostgreSQL $major: making a chroot for it, $root"
			if [ "$major" = 16 ]; then
				servers=(postgresql-client-17)
			else
				servers=("postgresql-$major" "postgresql-server-dev-$major")
			fi
			make_chroot "$root" "$major" "${servers[@]}" gcc make libc6-dev perl libipc-run-perl patch pgbouncer || true
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
lock_chroots
for major; do
	test_major "$major"
done

echo
printf '%s\n' "${closing[@]}"
[ "$skipped" = 0 ] || also=", $skipped skipped"
echo "$passed passed, $failed failed${also:-}"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
