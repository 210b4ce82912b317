#!/bin/bash
#
# kinds.sh: WAL and instructions of a new key, by kind of key and number of live keys.
#
#	bench/kinds.sh [KEYS]...
#
# KEYS (10000, 1000000 and 20000000) live keys of one kind, random UUIDs or UUIDs of
# version 7, are stored in the order of their generation.  After a checkpoint CYCLE
# (100000) new ones are claimed and completed, each in a transaction of its own.  Then
# the server is stopped, and a single-user backend makes payments with new keys under
# callgrind, as instructions.sh does: with the index in memory, and without page images.
#
# Writes a line for each to $RESULTS/kinds.tsv: kind, live keys, bytes of tables and
# indexes, bytes of indexes, seconds to fill; bytes of WAL and page images a key, of the
# first 10000 after the checkpoint and of all; bytes of the response; instructions over
# the bare payment, of a claim and completion in a function and of execute().
#
# Runs in the environment that test/throwaway-server.sh creates.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./record.sh
cycle=${CYCLE:-100000}
phase=200
turns=3
work=$(mktemp -d "$PGHOST/kinds.XXXXXX")
export PGDATABASE=kinds

# Without the trigger that would keep all rows to the end of the statement.
fill() {
	sql -v keys="$1" -v answer='to_jsonb(payment)' <<SQL
CREATE EXTENSION idempotency;
CREATE EXTENSION pg_prewarm;
\i candidates.sql
CREATE FUNCTION key(n integer) RETURNS text VOLATILE LANGUAGE sql AS \$\$ SELECT $2 \$\$;
\o /dev/null
SELECT idempotency.once('first', 'payments');
SELECT count(bare('bare-' || n, '{"reference": "fill", "account": 1, "amount": 1}')) FROM generate_series(1, 1000) AS n;
\o
SELECT slot, expires_at FROM idempotency.keys \gset
ALTER TABLE idempotency.keys_:slot SET (autovacuum_enabled = off);
SET session_replication_role = replica;
BEGIN;
TRUNCATE idempotency.keys_:slot;	-- with wal_level = minimal, nothing of this is logged
INSERT INTO idempotency.keys_:slot (scope, key, fingerprint, status, status_code, resource_id, response, attempt,
	claimed_at, completed_at, expires_at, slot)
SELECT 'payments', key(n::integer), '0123456789abcdef', 'completed', 201, n::text,
	jsonb_build_object('id', n, 'amount', 100, 'currency', 'EUR'), 1, now(), now(), :'expires_at', :slot
FROM generate_series(1, :keys) AS n;
COMMIT;
SQL
}

# cycle KEYS: prints bytes and images, of the first 10000 and of all.
cycle() {
	sql -F $'\t' -v keys="$1" -v cycle="$cycle" <<'SQL'
SET synchronous_commit = off;
CREATE PROCEDURE pay(new integer, after integer) LANGUAGE plpgsql AS $$
DECLARE
	key text;
BEGIN
	FOR n IN after + 1 .. after + new LOOP
		key := key(n);
		PERFORM idempotency.claim(key, 'payments', '{"amount": 100}');
		PERFORM idempotency.complete(key, 'payments', jsonb_build_object('id', n, 'amount', 100, 'currency', 'EUR'), n::text, 201);
		COMMIT;
	END LOOP;
END $$;
CALL pay(10, :keys);
CHECKPOINT;
SELECT pg_current_wal_insert_lsn() AS before, wal_fpi AS images FROM pg_stat_wal \gset
CALL pay(10000, :keys + 10);
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT ((pg_current_wal_insert_lsn() - :'before') / 10000)::integer AS first, round((wal_fpi - :images) / 10000.0, 2) AS first_images
FROM pg_stat_wal \gset
CALL pay(:cycle - 10000, :keys + 10010);
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT :'first', :'first_images', ((pg_current_wal_insert_lsn() - :'before') / :cycle)::integer,
	round((wal_fpi - :images) / :cycle::numeric, 2),
	(SELECT pg_column_size(response) FROM idempotency.keys WHERE response IS NOT NULL LIMIT 1)
FROM pg_stat_wal;
SQL
}

# write_script KEYS: statements for a single-user backend, each in a line.
write_script() {
	local turn candidate key
	sql -c "SELECT key(n) FROM generate_series($1 + $cycle + 11, $1 + $cycle + 10 + $((3 * phase * (turns + 1)))) AS n" >"$work/keys"
	sql -c "SELECT 'SELECT pg_prewarm(' || indexrelid || ')' FROM pg_index WHERE indrelid IN
		(SELECT inhrelid FROM pg_inherits WHERE inhparent = 'idempotency.keys'::regclass)"
	grep -E '^PREPARE (bare|extension) ' statements.sql
	grep -A 1 '^PREPARE execute ' statements.sql | tr -d '\n'
	printf '\n'
	for ((turn = 0; turn <= turns; turn++)); do
		for candidate in bare extension execute; do
			for ((n = 0; n < phase; n++)); do
				read -r key
				printf "EXECUTE %s ('%s', '{\"reference\": \"%s\", \"account\": 42, \"amount\": 19.90}')\n" "$candidate" "$key" "$key"
			done
			echo 'SELECT pg_current_wal_insert_lsn()'
		done
	done <"$work/keys"
}

# count_instructions: prints those of a function and of execute(), over the bare payment.
count_instructions() {
	pg_ctl -D "$SERVER_DATA" -m fast -s -w stop
	rm -f "$work"/callgrind*
	valgrind --tool=callgrind --callgrind-out-file="$work/callgrind" --dump-before=pg_current_wal_insert_lsn \
		--log-file="$work/valgrind.log" postgres --single -D "$SERVER_DATA" \
		-c full_page_writes=off -c shared_buffers=3GB kinds <"$work/script" >"$work/output" 2>"$work/errors"
	pg_ctl -D "$SERVER_DATA" -l "$SERVER_LOG" -s -w start >/dev/null
	if grep -E 'ERROR|WARNING|FATAL|PANIC' "$work/errors" "$work/output" >&2; then
		echo "kinds.sh: the statements failed" >&2
		return 1
	fi
	# Phases take turns: bare, function, execute; the first turn is not counted.
	for ((n = 4; n <= 3 * (turns + 1); n++)); do
		echo "$((n % 3)) $(sed -nE 's/^totals: //p' "$work/callgrind.$n")"
	done | sort -n | awk -v phase="$phase" -v turns="$turns" '
		{ total[$1] = total[$1] " " $2 }
		function median(of, v) { split(total[of], v); return v[int((turns + 1) / 2)] / phase }
		END { printf "%.0f\t%.0f\n", median(2) - median(1), median(0) - median(1) }'
}

# measure NAME KEYS EXPRESSION: the expression computes a key from n.
measure() {
	local from seconds
	progress "$1 keys, $2 live"
	dropdb --force --if-exists --maintenance-db=postgres kinds
	createdb kinds
	from=$(date +%s)
	fill "$2" "$3"
	seconds=$(($(date +%s) - from))
	printf '%s\t%s\t%s\t%s\t%s\t' "$1" "$2" "$(sql -F $'\t' -c "SELECT sum(pg_total_relation_size(relid)), sum(pg_indexes_size(relid))
		FROM pg_partition_tree('idempotency.keys') WHERE isleaf")" "$seconds" "$(cycle "$2")"
	write_script "$2" >"$work/script"
	count_instructions
}

[ $# -gt 0 ] || set -- 10000 1000000 20000000
for keys; do
	measure random "$keys" 'gen_random_uuid()::text'
	# A new millisecond for each key: as many bits of time differ as in a day of such keys.
	measure UUIDv7 "$keys" "lpad(left(to_hex(1700000000000 + n), -4), 8, '0') || '-' || right(to_hex(1700000000000 + n), 4)
	|| '-7' || substr(gen_random_uuid()::text, 16)"
done >"$RESULTS/kinds.tsv"
dropdb --maintenance-db=postgres kinds
