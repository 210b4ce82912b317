#!/bin/bash
#
# once.sh: the cost of once(), compared with the cheapest statement for the same work.
#
# A: INSERT .. SELECT of the messages for which once() is true into a table
#    without an index.
# B: INSERT .. SELECT .. ON CONFLICT DO NOTHING into a table with the columns of
#    idempotency.keys and its one index, filled as once() fills them.
#
# One statement each, with MESSAGES messages on fresh keys, A B A B .. RUNS times,
# after one of each that does not count.  Prints the time of each run, both medians,
# and their ratio; exits with 1 if the ratio is over LIMIT.  Connects as psql does,
# and drops and creates the database idempotency_bench_once.

set -euo pipefail
messages=${MESSAGES:-200000}
runs=${RUNS:-7}
limit=${LIMIT:-1.5}
database=idempotency_bench_once

dropdb --if-exists "$database" 2>/dev/null
createdb "$database"
trap 'dropdb --if-exists "$database"' EXIT
sql() {
	psql -XAtq -v ON_ERROR_STOP=1 -d "$database" "$@"
}

sql <<SQL
CREATE EXTENSION idempotency;
CREATE TABLE message AS SELECT n, 'message ' || n AS key FROM generate_series(1, $messages) AS n;
CREATE TABLE inbox (key text);
CREATE TABLE raw (LIKE idempotency.keys_0 INCLUDING DEFAULTS INCLUDING STORAGE);
CREATE UNIQUE INDEX ON raw (hash);
VACUUM ANALYZE message;
SQL

# Times the INSERT alone, in milliseconds.
a() {
	sql -c 'TRUNCATE idempotency.keys, inbox' -c CHECKPOINT
	sql -c '\timing on' -c "INSERT INTO inbox SELECT key FROM message WHERE idempotency.once(key, 'bench')" | milliseconds
}
b() {
	sql -c 'TRUNCATE raw' -c CHECKPOINT
	sql -c '\timing on' -c "
		INSERT INTO raw (scope, key, status, attempt, claimed_at, completed_at, expires_at, claim_xid, slot, hash)
		SELECT 'bench', key, 'completed', 1, t, t, t + interval '1 day', pg_current_xact_id()::xid, 1, idempotency.key_hash(key, 'bench')
		FROM message, LATERAL (SELECT clock_timestamp() AS t) AS now
		ON CONFLICT DO NOTHING" | milliseconds
}
milliseconds() {
	sed -nE 's/^Time: ([0-9.]+) ms.*/\1/p'
}
median() {
	sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

a >/dev/null
b >/dev/null
times_a=() times_b=()
for ((run = 1; run <= runs; run++)); do
	times_a+=("$(a)")
	times_b+=("$(b)")
	echo "run $run: once ${times_a[-1]} ms, raw ${times_b[-1]} ms"
done
median_a=$(printf '%s\n' "${times_a[@]}" | median)
median_b=$(printf '%s\n' "${times_b[@]}" | median)
ratio=$(awk -v a="$median_a" -v b="$median_b" 'BEGIN { printf "%.2f", a / b }')
echo "median of $runs, $messages messages: once $median_a ms, raw $median_b ms, ratio $ratio (limit $limit)"
awk -v ratio="$ratio" -v limit="$limit" 'BEGIN { exit !(ratio <= limit) }'
