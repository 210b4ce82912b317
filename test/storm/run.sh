#!/bin/bash
#
# run.sh: a storm over the extension, and over builds of it that were broken on
# purpose.
#
#	test/storm/run.sh [-d SECONDS] [-s SEED] [-n CLIENTS] [-p]
#
# storm.pl runs servers, clients and faults; check.pl judges the history that
# the clients wrote.  Then each patch of mutants/ is applied to a copy, and the
# same clients use that build, without faults: check.pl has to find a violation
# within a minute.
#
# With -p they use the portable edition, and the patches of mutants/portable/.
#
# To be run by test/throwaway-server.sh, whose variables it uses.  The files of a
# storm that failed are left in $RESULTS/storm.  The last line says how many of the
# builds were judged correctly.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
read -ra make_extension <<<"$MAKE_EXTENSION"

seconds=240
seed=$((RANDOM * 32768 + RANDOM))
clients=32
edition=()
while getopts d:s:n:p option; do
	case $option in
		d) seconds=$OPTARG ;;
		s) seed=$OPTARG ;;
		n) clients=$OPTARG ;;
		p) edition=(-p) ;;
		*) exit 2 ;;
	esac
done

scratch=$(mktemp -d "$PGHOST/XXXXXX")
job=
clean_up() {
	if [ -n "$job" ] && kill "$job" 2>/dev/null; then wait "$job" || true; fi
	rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
passed=0
failed=0

compile=(gcc -std=gnu11 -O2 -Wall -Wextra -Werror)
"${compile[@]}" -shared -fPIC weather.c -o weather.so
"${compile[@]}" -I"$("$PG_CONFIG" --includedir)" clients.c -o clients \
	-L"$("$PG_CONFIG" --libdir)" -Wl,-rpath,"$("$PG_CONFIG" --libdir)" -lpq

# with_small_disks DIRECTORY COMMAND...: exec the command, with a small file system
# for the WAL of each server, mounted in a private namespace.
# shellcheck disable=SC2016 # for the inner shell
with_small_disks() {
	mkdir -p "$1/wal/a" "$1/wal/b"
	exec unshare --user --map-root-user --mount sh -euc '
		directory=$1 uid=$2 gid=$3
		shift 3
		for server in a b; do
			mount -t tmpfs -o size=64m tmpfs "$directory/wal/$server"
		done
		exec unshare --user --map-user="$uid" --map-group="$gid" "$@"' \
		sh "$1" "$(id -u)" "$(id -g)" "${@:2}"
}

# storm DIRECTORY OPTION...
storm() {
	local program=(perl storm.pl "${edition[@]}" -n "$clients" "${@:2}" "$1") status=0
	mkdir "$1"
	if [ "$(with_small_disks "$1" id -u 2>/dev/null)" = "$(id -u)" ]; then
		with_small_disks "$1" "${program[@]}" &
	else
		"${program[@]}" &
	fi
	job=$!
	wait "$job" || status=$?
	job=
	return "$status"
}

# keep DIRECTORY: keep its files, except the servers' data.
keep() {
	mkdir -p "$RESULTS/storm"
	tar -C "$1" --exclude=./a --exclude=./b --exclude=./wal --exclude='./.s.*' -cf - . | tar -C "$RESULTS/storm" -xf -
}

echo "A storm of $seconds seconds, $clients clients, seed $seed:"
if storm "$scratch/storm" -s "$seed" -d "$seconds" && perl check.pl "${edition[@]}" "$scratch/storm"; then
	passed=$((passed + 1))
else
	echo "FAILED: the storm with seed $seed; its history is in the results"
	failed=$((failed + 1))
	keep "$scratch/storm"
fi
rm -rf "$scratch/storm"

# Servers load the extension's library from there.
library=$(sed -nE "s/^dynamic_library_path = '([^:]*):.*/\1/p" "$TEMP_CONFIG")
library=${library:-$("$PG_CONFIG" --pkglibdir)}/idempotency.so

# build_mutant PATCH
build_mutant() {
	if [ ${#edition[@]} != 0 ]; then
		cp "$scratch/idempotency.sql" ../../portable
		patch -s -p1 -d ../.. <"$1" || { echo "$1 does not apply"; return 1; }
		return
	fi
	rm -rf "$scratch/mutant"
	cp -Rp ../.. "$scratch/mutant"
	patch -s -p1 -d "$scratch/mutant" <"$1" || { echo "$1 does not apply"; return 1; }
	(cd "$scratch/mutant" && "${make_extension[@]}") || return
	cp "$scratch/mutant/idempotency.so" "$library.new"
	mv "$library.new" "$library"
}

# find_mutant NAME: whether it is found within a minute.
find_mutant() {
	local output=$scratch/output status round
	for ((round = 0; round < 5; round++)); do
		rm -rf "$scratch/mild"
		storm "$scratch/mild" -m -d 8 -s $((seed + round)) >"$output" || { cat "$output"; return 1; }
		status=0
		perl check.pl "${edition[@]}" "$scratch/mild" >"$output" || status=$?
		case $status in
			0) ;;
			1)
				echo "$1: found, round $((round + 1)): $(sort "$output" | grep VIOLATION | uniq -c | sort -rn | sed -E 's/ *([0-9]+) VIOLATION: /\1 x /' | paste -sd ';')"
				return 0
				;;
			*) cat "$output"; return 1 ;;
		esac
	done
	echo "$1 was not found"
	return 1
}

echo
echo "Builds that are broken on purpose:"
mutants=(mutants/*.patch)
[ ${#edition[@]} = 0 ] || mutants=(mutants/portable/*.patch)
if ! command -v patch >/dev/null; then
	echo "skipped: patch is not installed"
	mutants=()
fi
cp "$library" "$scratch/library"
cp ../../portable/idempotency.sql "$scratch"
for patch in "${mutants[@]}"; do
	name=$(basename "$patch" .patch)
	if build_mutant "$patch" && find_mutant "$name"; then
		passed=$((passed + 1))
	else
		echo "FAILED: $name"
		failed=$((failed + 1))
	fi
done
cp "$scratch/library" "$library.new"
mv "$library.new" "$library"

echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
