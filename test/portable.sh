#!/bin/bash
#
# portable.sh: run the tests of the contract over portable/idempotency.sql.
#
#	test/portable.sh [TEST]...
#
# To be run by throwaway-server.sh, whose variables it uses.  The files are those
# of sql/ and specs/ that run over the extension; here they run in databases in
# which a role that is not a superuser has run the portable file.  In the files
# keys_long is renamed, as there is one table; and the lines that say in which
# function an error was raised are removed, since functions are PL/pgSQL here.
#
# test/portable/left_out says what is not run, and why: it is the list of the
# differences.  If a file differs only a little, test/portable/NAME.diff is applied
# to the expected output.  Files of test/portable/sql and test/portable/specs are
# about the portable file alone.
#
# The last line says how many files passed and failed.

set -uo pipefail

directory=$RESULTS/portable
rm -rf "$directory"
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
	awk -F '\t' -v file="$1" '$1 == file || $1 == "*" { print $2 }' test/portable/left_out | paste -s -d '|'
}

# adapt FILE: with the other table, without contexts, and with the message of a
# row trigger about an unfinished claim.
adapt() {
	sed -E 's/\bidempotency\.keys_long\b/idempotency.keys/g
		s/^DETAIL:  [0-9]+ claims? of the transaction ha(s|ve) neither/DETAIL:  It has neither/' "$1" |
		awk '/^CONTEXT:  / { context = 1; next }
			context && /^(PL\/pgSQL function|SQL statement|SQL function|SQL expression|	| )/ { next }
			{ context = 0; print }'
}

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
	change=test/portable/$(basename "${1%.out}").diff
	[ ! -e "$change" ] || patch -s --no-backup-if-mismatch "$1" "$change" || exit
}

# make_database NAME: a database in which a role that is not a superuser has run
# the file.
make_database() {
	psql -Xqc "CREATE DATABASE $1 OWNER portable_owner" || exit
	psql -Xqc "ALTER DATABASE $1 SET statement_timeout = '2min'" || exit
	PGUSER=portable_owner psql -Xq -v ON_ERROR_STOP=1 -1 -f portable/idempotency.sql "$1" || exit
}

run_regress() {
	local output=$directory/regress.out bad
	make_database portable_regress
	"$programs/regress/pg_regress" --use-existing --dbname=portable_regress \
		--inputdir="$directory" --outputdir="$directory" --bindir="$bindir" "$@" </dev/null >"$output" 2>&1
	grep -vE '^(ok |test .* ok )' "$output"
	bad=$(($# - $(grep -cE '^(ok |test .* ok )' "$output" || true)))
	passed=$((passed + $# - bad))
	failed=$((failed + bad))
	[ ! -s "$directory/regression.diffs" ] || cat "$directory/regression.diffs"
}

run_isolation() {
	local name spec pattern wanted result alternate
	make_database portable_isolation
	for name; do
		pattern=$(left_out "$name")
		result=$directory/results/$name.out
		spec=specs/$name.spec
		[ -e "$spec" ] || spec=test/portable/specs/$name.spec
		permutations "${pattern:-^$}" <(adapt "$spec") >"$directory/specs/$name.spec"
		# Without any permutation, all possible ones would be run.
		grep -q '^permutation ' "$directory/specs/$name.spec" || continue
		PGAPPNAME=isolation/$name PGTZ=PST8PDT PGDATESTYLE='Postgres, MDY' PGOPTIONS='-c intervalstyle=postgres_verbose' \
			"$programs/isolation/isolationtester" "dbname=portable_isolation" \
			<"$directory/specs/$name.spec" 2>&1 | permutations '^$' /dev/stdin >"$result"
		for alternate in test/portable/expected/"$name".out expected/"$name".out expected/"$name"_1.out; do
			[ -e "$alternate" ] || continue
			wanted=$directory/expected/$name.out
			permutations "${pattern:-^$}" <(adapt "$alternate") >"$wanted"
			expect "$wanted"
			if diff -qB "$wanted" "$result" >/dev/null; then
				passed=$((passed + 1))
				continue 2
			fi
		done
		echo "not ok - $name"
		failed=$((failed + 1))
		diff -B -U 5 "${wanted:-/dev/null}" "$result"
	done
}

# as_regress FILE: a file or its expected output, without contexts.
as_regress() {
	echo '\set SHOW_CONTEXT never'
	adapt "$1"
}

psql -Xqc 'CREATE ROLE portable_owner LOGIN' || exit
regress=()
isolation=()
for file in sql/*.sql specs/*.spec test/portable/sql/*.sql test/portable/specs/*.spec; do
	[ -e "$file" ] || continue
	name=$(basename "${file%.*}")
	[ $# = 0 ] || [[ " $* " == *" $name "* ]] || continue
	[[ "|$(left_out "$name")|" != *"|all|"* ]] || continue
	if [[ $file == *.sql ]]; then
		regress+=("$name")
		as_regress "$file" >"$directory/sql/$name.sql"
		for output in {test/portable/,}expected/"$name".out expected/"$name"_[0-9].out; do
			[ -e "$output" ] || continue
			as_regress "$output" >"$directory/expected/$(basename "$output")"
			expect "$directory/expected/$(basename "$output")"
		done
	else
		isolation+=("$name")
	fi
done
[ ${#regress[@]} = 0 ] || run_regress "${regress[@]}"
[ ${#isolation[@]} = 0 ] || run_isolation "${isolation[@]}"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
