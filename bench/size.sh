#!/bin/bash
#
# size.sh: the cost of a new key, by once(), and of a replay, among few and among many
# live keys.
#
#	bench/size.sh KEYS...
#
# A database for each number of keys, on one server; they take turns.  Commits do
# not wait for the disk, and everything is in memory, so that only the claim is
# measured: without full-page images, as between checkpoints, and with them, right
# after one.  The keys are inserted by SQL with the values that claim() and
# complete() store, in the order of their hashes, so that their index is built from
# left to right; new keys and replays then use random pages of it.  Writes
# $RESULTS/size.tsv, and the time that filling took to $RESULTS/fill.tsv.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./record.sh
part=size
[ -x pay ] || build_client

fill() {
	local keys=$1 database=keys_$1 from
	from=$(date +%s)
	createdb "$database"
	export PGDATABASE=$database
	sql -c 'CREATE EXTENSION idempotency' -c 'CREATE EXTENSION pg_prewarm'
	create_candidates public 'to_jsonb(payment)'
	sql -v keys="$keys" <<'SQL'
SELECT status FROM extension('fill', '{"reference": "fill", "account": 42, "amount": 19.90}') \g /dev/null
SELECT slot, expires_at FROM idempotency.keys \gset
SET work_mem = '2GB';
SET session_replication_role = replica;	-- a trigger would keep all rows to the end of the statement
BEGIN;
TRUNCATE idempotency.keys_:slot;	-- with wal_level = minimal, nothing of this is logged
INSERT INTO idempotency.keys_:slot (scope, key, status, status_code, resource_id, response, attempt,
	claimed_at, completed_at, expires_at, slot, hash)
SELECT 'payments', key, 'completed', 201, n::text,
	jsonb_build_object('id', n, 'amount', 19.90, 'account', 42, 'paid_at', '2026-01-01T00:00:00+00:00', 'reference', key),
	1, clock_timestamp(), clock_timestamp(), :'expires_at', :slot, hash
FROM (SELECT n, 'fill-' || n AS key, idempotency.key_hash('fill-' || n, 'payments') AS hash
	  FROM generate_series(1, :keys) AS n ORDER BY hash) AS filled;
COMMIT;
VACUUM (FREEZE, ANALYZE);
SQL
	printf '%s\t%s\t%s\n' "$keys" "$(($(date +%s) - from))" "$(sql -c "
		SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'idempotency.keys'::regclass")" >>"$RESULTS/fill.tsv"
}

for keys; do
	progress "writing $keys keys"
	fill "$keys"
done
for keys; do
	PGDATABASE=keys_$keys sql -c "
		SELECT sum(pg_prewarm(indexrelid)) + sum(DISTINCT pg_prewarm(indrelid)) FROM pg_index
		WHERE indrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'idempotency.keys'::regclass)" >/dev/null
done

export PGOPTIONS='-c synchronous_commit=off'
# full_page_images on|off
full_page_images() {
	sql -c "ALTER SYSTEM SET full_page_writes = $1" -c 'SELECT pg_reload_conf()' >/dev/null
	until [ "$(sql -c 'SHOW full_page_writes')" = "$1" ]; do
		sleep 0.01
	done
}
# Many short slices, so that compared slices run within the same second.
slice=0.1
for ((round = 1; round <= 3 * rounds; round++)); do
	full_page_images off
	for keys; do
		export PGDATABASE=keys_$keys
		record "new-among-$keys" ./pay -m new -c 1 -t "$slice" -n 1 once
		record "replay-among-$keys" ./pay -m replay -f "$keys" -c 1 -t "$slice" -n 1 claim
	done
	[ $((round % 3)) = 0 ] || continue
	full_page_images on
	for keys; do
		export PGDATABASE=keys_$keys
		sql -c CHECKPOINT
		record "imaged-among-$keys" ./pay -m new -c 1 -t "$slice" -n 1 once
	done
done
sql -c 'ALTER SYSTEM RESET full_page_writes' -c 'SELECT pg_reload_conf()' >/dev/null
