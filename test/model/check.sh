#!/bin/bash
#
# check.sh: check the models with Spin, as they are and with each deliberate bug.
#
# A model as it is must have no error, with each bug it must have one.  A search
# is exhaustive if the table says so.  The others keep two bits of each state
# (bitstate hashing) and run until they have finished or SECONDS_EACH (default 60)
# have passed: they are not a proof, and the line says how many states were seen.
# Partial order reduction is on throughout.
#
# Prints a line for each configuration, and how many passed and failed.  Needs
# spin and gcc, and installs them if they are missing.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=../packages.sh
. ../packages.sh
command -v spin >/dev/null && command -v gcc >/dev/null || ensure_packages spin=spin

seconds=${SECONDS_EACH:-60}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0
failed=0

# search exhaustive|bitstate DEFINITION...: runs the verifier on $model, sets states and errors.
search() {
	local kind=$1 status=0
	shift
	cp "$model" "$scratch"
	cd "$scratch"
	spin -a "$@" "$model" >spin.out || { cat spin.out; return 1; }
	if [ "$kind" = exhaustive ]; then
		gcc -O2 -w -DSAFETY -DCOLLAPSE -DMEMLIM=3800 -o pan pan.c
		timeout 600 ./pan -m200000 >pan.out 2>&1 || status=$?
	else
		gcc -O2 -w -DSAFETY -DBITSTATE -DMEMLIM=3800 -o pan pan.c
		timeout --signal=INT "$seconds" ./pan -m200000 -w33 >pan.out 2>&1 || status=$?
	fi
	cd "$OLDPWD"
	states=$(sed -nE 's/^ *([0-9.e+]+) states, stored.*/\1/p' "$scratch/pan.out")
	errors=$(sed -nE 's/.*errors: ([0-9]+).*/\1/p' "$scratch/pan.out")
	through=yes
	if [ "$status" != 0 ] || grep -qE 'max search depth too small|out of memory|Interrupted' "$scratch/pan.out"; then
		through=
	fi
}

# holds exhaustive|bitstate DEFINITION...: the model is right.
holds() {
	search "$@"
	if [ "${errors:-1}" = 0 ] && { [ "$1" = bitstate ] || [ -n "$through" ]; }; then
		passed=$((passed + 1))
		echo "holds     $model ${*:2}: $1, ${states:-?} states$([ -n "$through" ] || echo ", stopped after $seconds s")"
	else
		failed=$((failed + 1))
		echo "NOT HELD  $model ${*:2}: $(grep -E '^pan:' "$scratch/pan.out" | head -n 1)"
	fi
}

# breaks DEFINITION...: the bug is found.
breaks() {
	search bitstate "$@"
	if grep -q 'assertion violated' "$scratch/pan.out"; then
		passed=$((passed + 1))
		echo "found     $model $*: $(sed -nE 's/^pan:1: //p' "$scratch/pan.out")"
	else
		failed=$((failed + 1))
		echo "NOT FOUND $model $*: ${states:-?} states"
	fi
}

model=deferred.pml
holds exhaustive -DCLIENTS=2 -DCALLS=6
holds exhaustive -DCLIENTS=3 -DCALLS=3
breaks -DUNLOCK_AT_CLAIM
breaks -DUNLOCK_AT_INNER_LEVEL
breaks -DKEEP_CLAIM

model=claims.pml
holds exhaustive -DCLIENTS=2 -DKEYS=1 -DCALLS=1 -DLAST_TICK=2
holds bitstate -DCLIENTS=2 -DKEYS=1 -DCALLS=3 -DLAST_TICK=4
holds bitstate -DCLIENTS=2 -DKEYS=2 -DCALLS=3 -DLAST_TICK=3
holds bitstate -DCLIENTS=3 -DKEYS=1 -DCALLS=2 -DLAST_TICK=3
holds bitstate -DCLIENTS=3 -DKEYS=2 -DCALLS=2 -DLAST_TICK=3
holds bitstate -DCLIENTS=2 -DKEYS=1 -DCALLS=3 -DLAST_TICK=4 -DNO_SWEEPER
holds bitstate -DCLIENTS=2 -DKEYS=1 -DCALLS=3 -DLAST_TICK=3 -DFAR
# Each bug, within bounds that are sufficient for it.  LOCK_FIRST omits the
# unlocked probe.
breaks -DCALLS=3 -DLAST_TICK=4 -DNO_LOCK
breaks -DCALLS=3 -DLAST_TICK=4 -DREAD_BEFORE_LOCK
breaks -DCALLS=3 -DLAST_TICK=4 -DUNLOCK_EARLY
breaks -DCALLS=3 -DLAST_TICK=4 -DNO_WAIT
breaks -DCALLS=2 -DLAST_TICK=2 -DLOCK_FIRST -DNO_SWEEPER -DNO_FENCING
breaks -DCALLS=2 -DLAST_TICK=2 -DLOCK_FIRST -DNO_SWEEPER -DEXPIRED_COUNTS
breaks -DCLIENTS=1 -DCALLS=2 -DLAST_TICK=1 -DNO_SWEEPER -DGROW_IN_PLACE
breaks -DCALLS=1 -DLAST_TICK=3 -DLOCK_FIRST -DNO_SWEEPER -DSKIP_PAST_LEAVES
breaks -DCALLS=2 -DLAST_TICK=3 -DMOVE_WITHOUT_LOCK
breaks -DCALLS=2 -DLAST_TICK=3 -DSTALE_WHEEL
breaks -DCALLS=2 -DLAST_TICK=3 -DLOCK_FIRST -DNO_MESSAGE
breaks -DCALLS=2 -DLAST_TICK=3 -DLOCK_FIRST -DMESSAGE_LATE
breaks -DCLIENTS=1 -DCALLS=2 -DLAST_TICK=2 -DFAR -DNO_SECOND_LOOK
breaks -DCLIENTS=1 -DCALLS=2 -DLAST_TICK=2 -DFAR -DLAY_USED
breaks -DCLIENTS=1 -DCALLS=1 -DLAST_TICK=1 -DTURN_EARLY
breaks -DCLIENTS=1 -DCALLS=1 -DLAST_TICK=3 -DTURN_BUSY
breaks -DCLIENTS=1 -DCALLS=2 -DLAST_TICK=4 -DLOCK_FIRST -DSWEEP_WITHOUT_LOCK
breaks -DCLIENTS=1 -DCALLS=2 -DLAST_TICK=4 -DLOCK_FIRST -DSWEEP_WITHOUT_RECHECK

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
