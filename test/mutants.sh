#!/bin/bash
#
# mutants.sh: check that the tests find builds that are broken on purpose.
#
#	test/mutants.sh [PATCH]...
#
# Each patch of test/mutants/ removes one check whose absence shows without a race,
# and begins with the variables for "make test" that name the tests that must then
# fail; without the patch they pass, as every other run shows.  The storm has
# patches of its own, for races.
#
# The last line says how many patches were found.

set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
# shellcheck source-path=SCRIPTDIR source=check.sh
. test/check.sh

scratch=$(mktemp -d "${TMPDIR:-/tmp}/idempotency.XXXXXX")
chmod a+rx "$scratch"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# found PATCH: whether the tests that it names were run, and one of them failed.
found() {
	local tests output=$scratch/output
	read -ra tests <<<"$(sed -n '1s/^Found by: //p' "$1")"
	[ ${#tests[@]} -gt 0 ] || { echo "it names no tests"; return 1; }
	rm -rf "$scratch/copy"
	mkdir "$scratch/copy"
	tar --exclude=./.git --exclude=./.build -cf - . | tar -C "$scratch/copy" -xf -
	patch -s -p1 -d "$scratch/copy" <"$1" || { echo "it does not apply"; return 1; }
	if make -s -C "$scratch/copy" test "${tests[@]}" >"$output" 2>&1; then
		echo "the tests pass"
		return 1
	fi
	grep -qE '^(test .* FAILED|not ok |t/.* Failed)' "$output" || { tail -n 20 "$output"; return 1; }
}

[ $# -gt 0 ] || set -- test/mutants/*.patch
for patch; do
	check "$(basename "$patch" .patch)" found "$patch"
done
say_count
