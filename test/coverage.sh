#!/bin/bash
#
# coverage.sh: run every test, and report the lines of src/ that none of them ran.
#
#	test/coverage.sh PERCENT
#
# To be run by throwaway-server.sh on a build with --coverage.  Leaves every
# source file with the count of each line's runs in $RESULTS, and the lines that
# never ran in $RESULTS/never-run.  Fails if a test fails, or if less than PERCENT
# of the lines ran.  Lines that a killed process ran are not counted.

set -euo pipefail
minimum=$1

status=0
test/run.sh || status=$?

mkdir "$RESULTS/src"
for source in $(find src -name '*.c' | sort); do
	gcov -o "$(dirname "$source")" "$source" >/dev/null
	mv "$(basename "$source").gcov" "$RESULTS/src/"
done
rm -f ./*.gcov

# A line of gcov's output is COUNT:NUMBER:TEXT, with - for a line without code and
# ##### for a line that never ran.
awk -F: -v minimum="$minimum" -v never_run="$RESULTS/never-run" '
	FNR == 1 { file = FILENAME; sub(/.*\/src\//, "src/", file); sub(/\.gcov$/, "", file) }
	$1 ~ /-$/ { next }
	{ lines[file]++; all++ }
	$1 !~ /#####$/ { ran[file]++; all_ran++; next }
	{ line = $0; sub(/^[^:]*: *[0-9]+:/, "", line); print file ":" $2 + 0 ":" line >never_run }
	END {
		for (file in lines)
			printf "%-24s %5d of %5d lines ran, %5.1f %%\n", file, ran[file], lines[file], 100 * ran[file] / lines[file] | "sort"
		close("sort")
		printf "%-24s %5d of %5d lines ran, %5.1f %%; %d %% are required\n", "all", all_ran, all, 100 * all_ran / all, minimum
		exit !(all_ran * 100 >= minimum * all)
	}' "$RESULTS"/src/*.gcov || status=1
exit "$status"
