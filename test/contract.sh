#!/bin/bash
#
# contract.sh: run the tests of the contract over something other than the local
# store.
#
# To be sourced by distributed.sh and portable.sh, which are run by
# throwaway-server.sh and use its variables.  They set
#
#	other		the name: of the databases, and of the folder in test/
#	adapt FILE	prints a file of sql/, specs/ or expected/ as it is there
#	make_database NAME
#	tries		how often a spec is run until its output is as expected; 1 if unset
#
# and call run_contract with the names of tests, or with none for all.
#
# In the folder, left_out says what is not run, and why: it is the list of the
# differences.  If a file differs only a little, NAME.diff is applied to its
# expected output, or expected/NAME.out takes its place.  Files of sql/ and specs/
# there are run as well.
#
# The last line says how many files passed and failed.

programs=$("$PG_CONFIG" --pkglibdir)/pgxs/src/test
passed=0
failed=0
# A step that waits although it should not is soon ended.
export PGISOLATIONTIMEOUT=10

# left_out FILE: the permutations that are left out, as a regular expression, or
# "all" for the file.
left_out() {
	awk -F '\t' -v file="$1" '$1 == file || $1 == "*" { print $2 }' "test/$other/left_out" | paste -s -d '|'
}

# adapt_sql FILE, adapt_spec FILE: the same as adapt, if one kind differs.
adapt_sql() { adapt "$1"; }
adapt_spec() { adapt "$1"; }

# permutations PATTERN FILE: a spec or its output without the permutations that
# match.
permutations() {
	awk -v pattern="$1" '
		/^permutation / && $0 ~ pattern { next }
		/^unused step name/ { next }
		/^starting permutation: / { skip = $0 ~ pattern }
		!skip' "$2"
}

# expect FILE: apply the differences to expected output.
expect() {
	local change
	change=test/$other/$(basename "${1%.out}").diff
	[ ! -e "$change" ] || patch -s --no-backup-if-mismatch "$1" "$change" || exit
}

run_regress() {
	local output=$directory/regress.out bad
	make_database "${other}_regress"
	# From 16 on, expected/ is that of the current directory.
	(cd "$directory" && exec "$programs/regress/pg_regress" --use-existing --dbname="${other}_regress" --inputdir="$directory" \
		--outputdir="$directory" --bindir="$("$PG_CONFIG" --bindir)" "$@") </dev/null >"$output" 2>&1
	grep -vE '^(ok |test .* ok )' "$output"
	bad=$(($# - $(grep -cE '^(ok |test .* ok )' "$output" || true)))
	passed=$((passed + $# - bad))
	failed=$((failed + bad))
	[ ! -s "$directory/regression.diffs" ] || cat "$directory/regression.diffs"
}

# run_spec NAME PATTERN: whether its output is as expected.  $wanted is the file
# that was compared last.
run_spec() {
	local result=$directory/results/$1.out alternate
	PGAPPNAME=isolation/$1 PGTZ=PST8PDT PGDATESTYLE='Postgres, MDY' PGOPTIONS='-c intervalstyle=postgres_verbose' \
		"$programs/isolation/isolationtester" "dbname=${other}_isolation" <"$directory/specs/$1.spec" >"$result.raw" 2>&1
	permutations '^$' <(adapt_spec "$result.raw") >"$result"
	for alternate in "test/$other/expected/$1.out" "expected/$1.out" "expected/$1_1.out"; do
		[ -e "$alternate" ] || continue
		wanted=$directory/expected/$1.out
		permutations "$2" <(adapt_spec "$alternate") >"$wanted"
		expect "$wanted"
		! diff -qB "$wanted" "$result" >/dev/null || return 0
	done
	return 1
}

run_isolation() {
	local name spec pattern wanted try
	make_database "${other}_isolation"
	for name; do
		pattern=$(left_out "$name")
		pattern=${pattern:-^$}
		spec=specs/$name.spec
		[ -e "$spec" ] || spec=test/$other/$spec
		permutations "$pattern" <(adapt "$spec") >"$directory/specs/$name.spec"
		# Without any permutation, all possible ones would be run.
		grep -q '^permutation ' "$directory/specs/$name.spec" || continue
		wanted=/dev/null
		for ((try = ${tries:-1}; try > 0; try--)); do
			! run_spec "$name" "$pattern" || break
		done
		if [ "$try" -gt 0 ]; then
			passed=$((passed + 1))
		else
			echo "not ok - $name"
			failed=$((failed + 1))
			diff -B -U 5 "$wanted" "$directory/results/$name.out"
		fi
	done
}

run_contract() {
	local regress=() isolation=() file name output
	directory=$RESULTS/$other
	rm -rf "$directory"
	mkdir -p "$directory"/{sql,specs,expected,results,test}
	cp test/show_error.sql "$directory/test/"
	for file in {,"test/$other/"}{sql/*.sql,specs/*.spec}; do
		[ -e "$file" ] || continue
		name=$(basename "${file%.*}")
		[ $# = 0 ] || [[ " $* " == *" $name "* ]] || continue
		[[ "|$(left_out "$name")|" != *"|all|"* ]] || continue
		if [[ $file == *.spec ]]; then
			isolation+=("$name")
			continue
		fi
		regress+=("$name")
		adapt_sql "$file" >"$directory/sql/$name.sql"
		for output in expected/"$name".out expected/"$name"_[0-9].out "test/$other/expected/$name.out"; do
			[ -e "$output" ] || continue
			adapt_sql "$output" >"$directory/expected/$(basename "$output")"
			expect "$directory/expected/$(basename "$output")"
		done
	done
	[ ${#regress[@]} = 0 ] || run_regress "${regress[@]}"
	[ ${#isolation[@]} = 0 ] || run_isolation "${isolation[@]}"

	echo "$passed passed, $failed failed"
	[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}
