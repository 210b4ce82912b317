#!/bin/bash
#
# dist.sh: check that the source archives are reproducible, and can be built.
#
# Makes them twice from the committed tree, from clones in different places, with
# a different umask and time zone, and compares the bytes.  Then builds the
# extension from the tarball, without git, and runs some of its tests.  The last
# line is the count of checks.

set -euo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=check.sh
. "$checkout/test/check.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch"

git clone -q "$checkout" "$scratch/one"
(umask 077 && git clone -q "$checkout" "$scratch/the other")
make -s -C "$scratch/one" dist
(umask 077 && TZ=Asia/Kolkata make -s -C "$scratch/the other" dist)
tarball=$(cd "$scratch/one/.build" && echo idempotency-*.tar.gz)
for file in "$tarball" "${tarball%.tar.gz}.zip"; do
	check "the same commit gives the same bytes: $file" cmp "$scratch/one/.build/$file" "$scratch/the other/.build/$file"
done

tar -C "$scratch" -xzf "$scratch/one/.build/$tarball"
cd "$scratch/${tarball%.tar.gz}"
check 'it has the files of the commit' diff <(git -C "$scratch/one" ls-files | sort) <(find . -type f | sed 's|^\./||' | sort)
# shellcheck disable=SC2016 # for the shell that throwaway-server.sh starts
check 'it builds, installs and works' test/throwaway-server.sh sh -c \
	'$MAKE_EXTENSION installcheck REGRESS="contract one_effect_per_key" ISOLATION=claim_race TAP_TESTS='

say_count
