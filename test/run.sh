#!/bin/bash
#
# run.sh: run every test of the checkout, and count.
#
#	test/run.sh [PART]...
#
# To be run by throwaway-server.sh, whose variables it uses.  Three of its parts
# are PostgreSQL's own: regress is pg_regress on sql/, isolation is
# pg_isolation_regress on specs/, and TAP is prove on t/; preloaded is isolation
# once more with the library preloaded, without which no claim is deferred;
# distributed is the first two over the distributed store, portable over the
# portable edition, storm a short storm.  All parts are run, or those that are
# named, whatever fails.  Failures are shown, results are left in $RESULTS, and the
# last line says how many passed and failed: for sql/ and specs/ the runner's own
# count, or that of distributed.sh, for t/ the files, for the storm the builds that
# it judged, and one for the logs of all servers, which must not have a crash.  A
# part that ends early, without its last line, counts as failed.

set -uo pipefail
read -ra make_extension <<<"$MAKE_EXTENSION"

passed=0
failed=0
closing=()
output=$RESULTS/output
diffs=(regression.diffs output_iso/regression.diffs)

# run_part NAME VARIABLE...: run installcheck with variables that leave one part.
run_part() {
	local name=$1
	shift
	"${make_extension[@]}" installcheck "$@" </dev/null 2>&1 | tee "$output"
	status=$?
	closing+=("$name: $(grep -E '^#? ?(All [0-9]+ tests? passed|[0-9]+ of [0-9]+ tests? failed)|^Files=|^Result: ' "$output" |
		tr '\n' ' ' | sed -E 's/^[# ]+| +$//g')")
}

# count PASSED FAILED
count() {
	passed=$((passed + $1))
	failed=$((failed + $2))
	# A runner that ends early may not have counted the failure.
	if [ "$status" != 0 ] && [ "$2" = 0 ]; then
		failed=$((failed + 1))
		closing[-1]+=" ended early with status $status"
	elif [ $(($1 + $2)) = 0 ]; then
		closing[-1]+="skipped: $(tail -n 1 "$output" | grep . || echo there are no tests of this kind)"
	fi
}

# The same two lines end a run of pg_regress and of pg_isolation_regress.
count_regress() {
	local all_passed some_failed
	all_passed=$(sed -nE 's/^#? ?All ([0-9]+) tests? passed.*/\1/p' "$output")
	some_failed=$(sed -nE 's/^#? ?([0-9]+) of ([0-9]+) tests? failed.*/\1 \2/p' "$output")
	if [ -n "$some_failed" ]; then
		read -r bad all <<<"$some_failed"
		count $((all - bad)) "$bad"
	else
		count "${all_passed:-0}" 0
	fi
}

count_files() {
	local files good skipped
	files=$(sed -nE 's/^Files=([0-9]+),.*/\1/p' "$output")
	good=$(grep -cE '^t/[^ ]+ \.+ ok$' "$output")
	skipped=$(grep -cE '^t/[^ ]+ \.+ skipped' "$output")
	count "$good" $((${files:-0} - good - skipped))
	if [ "$skipped" -gt 0 ]; then
		closing+=("$(grep -E '^t/[^ ]+ \.+ skipped' "$output")")
	fi
}

# restart LIBRARIES: the server, with these preloaded.  No worker sweeps while a
# spec has slots of its own.
restart() {
	psql -Xqc "LOAD 'idempotency'" -c "ALTER SYSTEM SET idempotency.worker = off" \
		-c "ALTER SYSTEM SET shared_preload_libraries = $1"
	pg_ctl -D "$SERVER_DATA" -l "$SERVER_LOG" -m fast -w -s restart </dev/null
}

run_storm() {
	test/storm/run.sh -d 25 </dev/null 2>&1 | tee "$output"
	status=$?
	closing+=("storm: $(grep -E '^A storm|^[0-9]+ passed' "$output" | tr '\n' ' ' | sed 's/ $//')")
}

run_distributed() {
	test/distributed.sh </dev/null 2>&1 | tee "$output"
	status=$?
	closing+=("distributed: $(tail -n 1 "$output")")
}

run_portable() {
	test/portable.sh </dev/null 2>&1 | tee "$output"
	status=$?
	closing+=("portable: $(tail -n 1 "$output")")
}

# These end with the same line as run.sh.
count_last_line() {
	local count
	count=$(sed -nE '$s/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$output")
	read -r good bad <<<"${count:-0 0}"
	count "$good" "$bad"
}

for part in ${*:-regress isolation preloaded distributed portable storm TAP}; do
	case $part in
		regress) run_part regress ISOLATION= TAP_TESTS=; count_regress ;;
		isolation) run_part isolation REGRESS= TAP_TESTS=; count_regress ;;
		preloaded)
			restart idempotency
			run_part preloaded REGRESS= TAP_TESTS=
			count_regress
			restart DEFAULT
			;;
		distributed) run_distributed; count_last_line ;;
		portable) run_portable; count_last_line ;;
		storm) run_storm; count_last_line ;;
		# Its tests mostly wait, each with servers of its own.
		TAP) run_part TAP REGRESS= ISOLATION= PROVE_FLAGS=--jobs=3; count_files ;;
		*) echo "run.sh: there is no part $part" >&2; exit 2 ;;
	esac
done

for file in "${diffs[@]}"; do
	[ ! -s "$file" ] || cat "$file"
done
for file in t/*.pl; do
	log=tmp_check/log/regress_log_$(basename "$file" .pl)
	if [ -f "$log" ] && ! grep -qE "^$file \.+ (ok|skipped)" "$output"; then
		printf '== the end of %s\n' "$log"
		tail -n 60 "$log"
	fi
done

# A signal for a fault of the process, and the findings of a sanitizer or of
# valgrind.  The server is stopped first, since a process may fail at its end.
crash='PANIC: |TRAP: |terminated by signal (4|6|7|8|11)\b|AddressSanitizer|runtime error: |^==[0-9]+== '
version=$(psql -XAtc 'SELECT version()')
pg_ctl -D "$SERVER_DATA" -m fast -w -s stop
status=$?
mapfile -t logs < <(find "$SERVER_LOG" tmp_check/log -name '*.log' 2>/dev/null)
if [ "$status" = 0 ] && ! grep -HE "$crash" "${logs[@]}"; then
	closing+=("server logs: no crash")
	passed=$((passed + 1))
else
	closing+=("server logs: a server logged the above, or did not stop")
	failed=$((failed + 1))
fi

rm "$output"
for what in results output_iso tmp_check/log "${diffs[@]}"; do
	[ ! -e "$what" ] || cp -R --parents "$what" "$RESULTS"
done

echo
echo "$version"
printf '%s\n' "${closing[@]}"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
