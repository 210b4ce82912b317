#!/bin/bash
#
# distributed.sh: run the tests of the contract over the distributed store.
#
#	test/distributed.sh [TEST]...
#
# To be run by throwaway-server.sh, whose variables it uses.  The files are those
# that run over the local store; here they run in a database where distribute()
# has created an ordinary table without tenants: the contract does not depend on
# the store.  In the files the name of the table is changed, as tests make keys
# expire by hand.
#
# test/distributed/left_out says what is not run, and why: files that are not
# about the contract, or about the local store alone, and those permutations of
# specs in which the stores differ, as doc/scaling.md says.  If a file differs only
# a little, its expected output is in test/distributed/.
#
# The last line says how many files passed and failed.

set -uo pipefail

directory=$RESULTS/distributed
mkdir -p "$directory"/{sql,specs,expected,results,test}
cp test/show_error.sql "$directory/test/"
bindir=$("$PG_CONFIG" --bindir)
programs=$("$PG_CONFIG" --pkglibdir)/pgxs/src/test
passed=0
failed=0
# A step that waits although it should not is soon ended.
export PGISOLATIONTIMEOUT=10

# left_out FILE: the permutations that are left out, as a regular expression, or
# "all" for the file.
left_out() {
	awk -F '\t' -v file="$1" '$1 == file || $1 == "*" { print $2 }' test/distributed/left_out | paste -s -d '|'
}

# rename FILE: with the other table.
rename() {
	sed -E 's/\bidempotency\.keys\b/idempotency.distributed_keys/g
		s/^(ERROR:  (permission denied for|must be owner of) table) keys$/\1 distributed_keys/' "$1"
}

# permutations PATTERN FILE: a spec or its output without the permutations that
# match, and without the marks of waiting steps: an answer after a millisecond
# counts as immediate.
permutations() {
	awk -v pattern="$1" '
		/^permutation / && $0 ~ pattern { next }
		/^unused step name/ { next }
		/^starting permutation: / { skip = $0 ~ pattern }
		/^step [^ ]+: <\.\.\. completed>$/ { next }
		{ sub(/ <waiting \.\.\.>$/, "") }
		!skip' "$2"
}

# make_database NAME
make_database() {
	psql -Xqc "CREATE DATABASE $1" || exit
	psql -Xq -v ON_ERROR_STOP=1 "$1" >/dev/null <<-END || exit
		CREATE EXTENSION idempotency;
		CREATE TABLE business ();
		SELECT idempotency.distribute('business', tenant_from => 'none');
		ALTER DATABASE $1 SET idempotency.store = 'distributed';
	END
}

run_regress() {
	local output=$directory/regress.out bad
	make_database distributed_regress
	"$programs/regress/pg_regress" --use-existing --dbname=distributed_regress \
		--inputdir="$directory" --outputdir="$directory" --bindir="$bindir" "$@" </dev/null 2>&1 | tee "$output"
	bad=$(($# - $(grep -cE '^(ok |test .* ok )' "$output" || true)))
	passed=$((passed + $# - bad))
	failed=$((failed + bad))
	[ ! -s "$directory/regression.diffs" ] || cat "$directory/regression.diffs"
}

# run_spec NAME: whether its output is as expected.  $wanted is the file that was
# compared last.
run_spec() {
	local name=$1 alternate
	PGAPPNAME=isolation/$name PGTZ=PST8PDT PGDATESTYLE='Postgres, MDY' PGOPTIONS='-c intervalstyle=postgres_verbose' \
		"$programs/isolation/isolationtester" "dbname=distributed_isolation" \
		<"$directory/specs/$name.spec" 2>&1 | permutations '^$' /dev/stdin >"$result"
	for alternate in test/distributed/"$name".out expected/"$name".out expected/"$name"_1.out; do
		[ -e "$alternate" ] || continue
		wanted=$directory/expected/$name.out
		permutations "$pattern" <(rename "$alternate") >"$wanted"
		! diff -qB "$wanted" "$result" >/dev/null || return 0
	done
	return 1
}

# The tester may notice a wait of a millisecond, and then continues with the next
# step: such a spec is run again.
run_isolation() {
	local name pattern wanted result
	make_database distributed_isolation
	for name; do
		pattern=$(left_out "$name")
		result=$directory/results/$name.out
		permutations "$pattern" <(rename "specs/$name.spec") >"$directory/specs/$name.spec"
		# Without any permutation, all possible ones would be run.
		grep -q '^permutation ' "$directory/specs/$name.spec" || continue
		if run_spec "$name" || run_spec "$name" || run_spec "$name"; then
			echo "ok - $name"
			passed=$((passed + 1))
		else
			echo "not ok - $name"
			failed=$((failed + 1))
			diff -B -U 5 "$wanted" "$result"
		fi
	done
}

regress=()
isolation=()
for file in sql/*.sql specs/*.spec; do
	name=$(basename "${file%.*}")
	[ $# = 0 ] || [[ " $* " == *" $name "* ]] || continue
	[[ "|$(left_out "$name")|" != *"|all|"* ]] || continue
	if [ "$file" = "sql/$name.sql" ]; then
		regress+=("$name")
		rename "$file" >"$directory/$file"
		for file in expected/"$name".out expected/"$name"_[0-9].out test/distributed/"$name".out; do
			[ ! -e "$file" ] || rename "$file" >"$directory/expected/$(basename "$file")"
		done
	else
		isolation+=("$name")
	fi
done
[ ${#regress[@]} = 0 ] || run_regress "${regress[@]}"
[ ${#isolation[@]} = 0 ] || run_isolation "${isolation[@]}"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
