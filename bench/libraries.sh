#!/bin/bash
#
# libraries.sh: the cost of published libraries, compared with the bare payment
# through the same driver.
#
# Creates PYTHON's environment, and installs into it from PyPI exactly what
# libraries.txt locks; "pip-compile --generate-hashes" has generated that file from
# libraries.in, which names the libraries.  Writes $RESULTS/libraries.tsv, as load.sh
# does, and the versions to $RESULTS/libraries-versions.tsv; nothing if the libraries
# can't be installed.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./record.sh
part=libraries
environment=$(dirname "$(dirname "$PYTHON")")

progress "installing libraries"
if ! { /usr/bin/python3 -m venv "$environment" &&
	"$PYTHON" -m pip install -q --disable-pip-version-check --require-hashes -r libraries.txt; } >"$RESULTS/libraries.log" 2>&1; then
	echo "libraries.sh: left out, as they could not be installed:" >&2
	tail -n 3 "$RESULTS/libraries.log" >&2
	rm -rf "$environment"
	exit 0
fi
"$PYTHON" -m pip list --disable-pip-version-check 2>/dev/null |
	awk -v OFS='\t' '$1 ~ /^(dbos|aws_lambda_powertools|psycopg|SQLAlchemy|redis)$/ { print $1, $2 }' >"$RESULTS/libraries-versions.tsv"

work=$(mktemp -d "$PGHOST/libraries.XXXXXX")
trap stop_redis EXIT
start_redis redis everysec
createdb libraries
export PGDATABASE=libraries
sql -c 'CREATE EXTENSION idempotency'
create_candidates public 'to_jsonb(payment)'
for clients in 1 8; do
	record new "$PYTHON" libraries.py -c "$clients" -t "$seconds" -n "$rounds" -r "$work/redis" \
		bare extension powertools sqlalchemy dbos
done
