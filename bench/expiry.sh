#!/bin/sh
# The cost of removing expired keys: a turn of the wheel, compared with DELETE and
# VACUUM of the same rows.
#
#	bench/expiry.sh [keys]			(default 1000000)
#
# Connects as psql does, as a superuser, in a database of its own, which is dropped
# at the end.  Prints time and WAL of both.  The first change of a page after a
# checkpoint is logged with the whole page; as on a busy server, most changes here
# are made without a checkpoint in between.
set -eu
keys=${1:-1000000}
database=idempotency_bench_expiry
sql() { psql -XAtq -v ON_ERROR_STOP=1 -d "$database" "$@"; }

psql -Xq -v ON_ERROR_STOP=1 -d postgres -c "CREATE DATABASE $database"
trap 'psql -Xq -d postgres -c "DROP DATABASE IF EXISTS $database"' EXIT
sql -c "CREATE EXTENSION idempotency"

# Keys with a small response, as those of a payment.  They are inserted into the
# slot by SQL, since only their number and size matter here, and in the order of
# the index, which is the fastest and gives the smallest index.
sql <<EOF
CREATE UNLOGGED TABLE expired AS
SELECT scope, key, decode(md5(key) || md5(key), 'hex') AS fingerprint, n::text AS resource_id,
	jsonb_build_object('id', n, 'amount', 100, 'currency', 'EUR') AS response, idempotency.key_hash(key, scope) AS hash
FROM generate_series(1, $keys) AS n,
	LATERAL (SELECT 'payments/tenant-' || n % 100 AS scope, 'key-' || n AS key) AS k
ORDER BY hash;
EOF
fill() {
	sql <<EOF
UPDATE idempotency.wheel SET until = clock_timestamp() + (slot + 1) * interval '1 hour';
INSERT INTO idempotency.keys_0 (scope, key, fingerprint, status, status_code, resource_id, response,
	attempt, claimed_at, completed_at, expires_at, slot, hash)
SELECT scope, key, fingerprint, 'completed', 201, resource_id, response,
	1, clock_timestamp(), clock_timestamp(), clock_timestamp(), 0, hash
FROM expired;
VACUUM (FREEZE, ANALYZE) idempotency.keys_0;
CHECKPOINT;
SELECT pg_sleep(0.01);
UPDATE idempotency.wheel SET until = clock_timestamp() WHERE slot = 0;
SELECT pg_sleep(0.01);
EOF
}

# measure NAME STATEMENT...: time as psql measures it, without connecting.
measure() {
	name=$1
	shift
	from=$(sql -c "SELECT pg_current_wal_insert_lsn()")
	ms=$(printf '%s;\n' '\timing on' "$@" | sed '1s/;$//' | sql | awk '/^Time:/ { ms += $2 } END { printf "%.0f", ms }')
	wal=$(sql -c "SELECT pg_current_wal_insert_lsn() - '$from'")
	printf '%-18s %8d ms %12d bytes of WAL\n' "$name" "$ms" "$wal"
}

fill >/dev/null
sql -c "SELECT count(*) || ' keys, ' || pg_size_pretty(pg_total_relation_size('idempotency.keys_0')) FROM idempotency.keys_0"
measure "turn of the wheel" "SELECT idempotency.sweep()"
sql -c "SELECT count(*) || ' keys left, ' || pg_size_pretty(pg_total_relation_size('idempotency.keys_0')) FROM idempotency.keys_0"
fill >/dev/null
measure "DELETE and VACUUM" "DELETE FROM idempotency.keys_0 WHERE expires_at <= clock_timestamp()" "VACUUM idempotency.keys_0"
sql -c "SELECT count(*) || ' keys left, ' || pg_size_pretty(pg_total_relation_size('idempotency.keys_0')) FROM idempotency.keys_0"
