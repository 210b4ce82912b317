#!/bin/bash
#
# include.sh [--check]: include files in the pages that show them.
#
# A page marks the place with a line that is followed by a code block:
#
#	<!-- include examples/python-asyncpg/payments.py -->
#	```python
#	```
#
# The block is replaced by the file.  --check changes nothing, and fails if a block
# differs from its file.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

shown=$(mktemp)
trap 'rm -f "$shown"' EXIT
status=0
while IFS= read -r page; do
	awk '
		within && /^```$/ { within = 0 }
		!within
		/^```/ && file != "" {
			while ((got = (getline line < file)) > 0)
				print line
			if (got < 0) {
				print FILENAME ": there is no file " file > "/dev/stderr"
				exit 1
			}
			close(file)
			within = 1
		}
		{ file = "" }
		match($0, /^<!-- include [^ ]+ -->$/) { file = $3 }
	' "$page" >"$shown"
	if cmp -s "$shown" "$page"; then
		continue
	elif [ "${1:-}" = --check ]; then
		diff -u --label "$page" --label "what it includes" "$page" "$shown" || status=1
	else
		cat "$shown" >"$page"
		echo "$page"
	fi
done < <(grep -rlE '^<!-- include ' doc --include='*.md')
[ "$status" = 0 ] || echo "Run doc/include.sh." >&2
exit "$status"
