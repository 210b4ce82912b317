#!/bin/bash
#
# memory.sh: the memory of one backend that claims and completes a million keys,
# or CLAIMS, in as many transactions.
#
# Writes $RESULTS/memory.tsv: transactions so far, and the private memory of the
# backend, in kB.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./record.sh
claims=${CLAIMS:-1000000}
progress "claiming $claims keys in one backend"
createdb memory
export PGDATABASE=memory
sql -c 'CREATE EXTENSION idempotency'
create_candidates public 'to_jsonb(payment)'
script=$(mktemp "$PGHOST/memory.XXXXXX")
cat >"$script" <<'SQL'
\set n random(1, 9223372036854775807)
SELECT status, body FROM extension('key-' || (:n)::text, '{"reference": "memory", "account": 42, "amount": 19.90}');
SQL
PGOPTIONS='-c synchronous_commit=off' pgbench -n -M prepared -t "$claims" -f "$script" >/dev/null 2>&1 &
pgbench=$!
while kill -0 "$pgbench" 2>/dev/null; do
	sql -F ' ' -c "SELECT d.xact_commit, a.pid FROM pg_stat_activity AS a, pg_stat_database AS d
		WHERE a.application_name = 'pgbench' AND d.datname = a.datname" |
		while read -r transactions pid; do
			awk -v transactions="$transactions" '/^RssAnon/ { print transactions "\t" $2 }' "/proc/$pid/status" 2>/dev/null || true
		done >>"$RESULTS/memory.tsv"
	sleep "$(awk -v n="$claims" 'BEGIN { print n < 100000 ? 0.5 : 3 }')"
done
wait "$pgbench"
