#!/bin/bash
#
# wal.sh: the WAL of a key right after a checkpoint, by kind of key.
#
# KEYS (2000000) live keys of one kind, random UUIDs or UUIDs of version 7, are stored
# in the order of their generation.  After a checkpoint NEW (10000) new ones are
# claimed and completed, each in a transaction of its own.  Prints the size of the
# index, and the bytes of WAL and page images a key.
#
# Connects as psql does, as a superuser, in databases of its own, which are dropped
# at the end.

set -euo pipefail
keys=${KEYS:-2000000}
new=${NEW:-10000}
database=idempotency_bench_wal

clean_up() {
	dropdb --force --if-exists "$database" 2>/dev/null
}
trap clean_up EXIT
sql() {
	psql -XAtq -v ON_ERROR_STOP=1 -d "$database" "$@"
}

# measure NAME EXPRESSION: the expression computes a key from n.
measure() {
	clean_up
	createdb "$database"
	sql -v keys="$keys" -v new="$new" -v name="$1" <<SQL
CREATE EXTENSION idempotency;
SET synchronous_commit = off;
CREATE FUNCTION key(n integer) RETURNS text VOLATILE LANGUAGE sql AS \$\$ SELECT $2 \$\$;
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
CALL pay(:new, :keys + 10);
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT format('%-10s index of %s keys %s MB, WAL %s bytes a key, %s page images a key', :'name', :keys + :new,
	(SELECT sum(pg_indexes_size(relid)) / 1000000 FROM pg_partition_tree('idempotency.keys') WHERE isleaf)::integer,
	((pg_current_wal_insert_lsn() - :'before') / :new)::integer,
	round((wal_fpi - :images) / :new::numeric, 2))
FROM pg_stat_wal;
SQL
}

measure random 'gen_random_uuid()::text'
# A new millisecond for each key: as many bits of time differ as in a day of such keys.
measure UUIDv7 "lpad(left(to_hex(1700000000000 + n), -4), 8, '0') || '-' || right(to_hex(1700000000000 + n), 4)
	|| '-7' || substr(gen_random_uuid()::text, 16)"
