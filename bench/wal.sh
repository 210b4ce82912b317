#!/bin/bash
#
# wal.sh: the WAL of a key over a checkpoint cycle, by kind of key.
#
#	bench/wal.sh [KEYS]...
#
# KEYS (10000 and 1000000) live keys of one kind, random UUIDs or UUIDs of version 7,
# are stored in the order of their generation.  After a checkpoint CYCLE (100000) new
# ones are claimed and completed, each in a transaction of its own.  Prints the size
# of the index, and the bytes of WAL and page images a key, of the first 10000 after
# the checkpoint and of all; and the size of the response.
#
# Connects as psql does, as a superuser, in databases of its own, which are dropped
# at the end.

set -euo pipefail
cycle=${CYCLE:-100000}
database=idempotency_bench_wal

clean_up() {
	dropdb --force --if-exists "$database" 2>/dev/null
}
trap clean_up EXIT
sql() {
	psql -XAtq -v ON_ERROR_STOP=1 -d "$database" "$@"
}

# measure NAME KEYS EXPRESSION: the expression computes a key from n.
measure() {
	clean_up
	createdb "$database"
	sql -v keys="$2" -v cycle="$cycle" -v name="$1" <<SQL
CREATE EXTENSION idempotency;
SET synchronous_commit = off;
CREATE FUNCTION key(n integer) RETURNS text VOLATILE LANGUAGE sql AS \$\$ SELECT $3 \$\$;
SELECT idempotency.once('first', 'payments') \g /dev/null
SELECT slot, expires_at FROM idempotency.keys \gset
INSERT INTO idempotency.keys (scope, key, fingerprint, status, status_code, resource_id, response, attempt,
	claimed_at, completed_at, expires_at, slot)
SELECT 'payments', key(n), decode(md5(n::text), 'hex'), 'completed', 201, n::text,
	jsonb_build_object('id', n, 'amount', 100, 'currency', 'EUR'), 1, now(), now(), :'expires_at', :slot
FROM generate_series(1, :keys) AS n;
VACUUM (FREEZE, ANALYZE) idempotency.keys_:slot;
CREATE PROCEDURE pay(new integer, after integer) LANGUAGE plpgsql AS \$\$
DECLARE
	key text;
BEGIN
	FOR n IN after + 1 .. after + new LOOP
		key := key(n);
		PERFORM idempotency.claim(key, 'payments', '{"amount": 100}');
		PERFORM idempotency.complete(key, 'payments', jsonb_build_object('id', n, 'amount', 100, 'currency', 'EUR'), n::text, 201);
		COMMIT;
	END LOOP;
END \$\$;
CALL pay(10, :keys);
CHECKPOINT;
SELECT pg_current_wal_insert_lsn() AS before, wal_fpi AS images FROM pg_stat_wal \gset
CALL pay(10000, :keys + 10);
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT ((pg_current_wal_insert_lsn() - :'before') / 10000)::integer AS first, round((wal_fpi - :images) / 10000.0, 2) AS first_images
FROM pg_stat_wal \gset
CALL pay(:cycle - 10000, :keys + 10010);
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT format('%-7s %8s live, index %3s MB: first 10000 %s bytes and %s images a key, all %s %s bytes and %s images; response %s bytes',
	:'name', :keys, (SELECT sum(pg_indexes_size(relid)) / 1000000 FROM pg_partition_tree('idempotency.keys') WHERE isleaf)::integer,
	:'first', :'first_images', :cycle, ((pg_current_wal_insert_lsn() - :'before') / :cycle)::integer,
	round((wal_fpi - :images) / :cycle::numeric, 2),
	(SELECT pg_column_size(response) FROM idempotency.keys WHERE response IS NOT NULL LIMIT 1))
FROM pg_stat_wal;
SQL
}

[ $# -gt 0 ] || set -- 10000 1000000
for keys; do
	measure random "$keys" 'gen_random_uuid()::text'
	# A new millisecond for each key: as many bits of time differ as in a day of such keys.
	measure UUIDv7 "$keys" "lpad(left(to_hex(1700000000000 + n), -4), 8, '0') || '-' || right(to_hex(1700000000000 + n), 4)
	|| '-7' || substr(gen_random_uuid()::text, 16)"
done
