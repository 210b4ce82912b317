#!/bin/bash
#
# purge.sh: the cost of purging a scope.
#
# A scope of KEYS (1000000) keys is purged, first when it has a slot of the wheel
# alone, and then when it shares the slot with another scope, so that its rows are
# deleted one by one.  Prints time and WAL of each, the size of the table before,
# after, and after VACUUM, and the time that each of CANCELS (5) purges takes to end
# when it is canceled while it deletes rows.
#
# Connects as psql does, as a superuser, in a database of its own, which is dropped
# at the end.

set -euo pipefail
keys=${KEYS:-1000000}
cancels=${CANCELS:-5}
database=idempotency_bench_purge

scratch=$(mktemp -d)
dropdb --if-exists "$database" 2>/dev/null
createdb "$database"
clean_up() {
	dropdb --force --if-exists "$database"
	rm -rf "$scratch"
}
trap clean_up EXIT
sql() {
	psql -XAtq -v ON_ERROR_STOP=1 -d "$database" "$@"
}
sql -c 'CREATE EXTENSION idempotency'
size() {
	sql -c "SELECT pg_size_pretty(pg_total_relation_size('idempotency.keys_1'))"
}

# fill OTHERS: store the keys of the scope, and OTHERS keys of another scope.
fill() {
	sql >/dev/null <<SQL
TRUNCATE idempotency.keys;
UPDATE idempotency.wheel SET until = clock_timestamp() + (slot + 1) * interval '1 day';
INSERT INTO idempotency.keys (scope, key, fingerprint, status, status_code, resource_id, response,
	attempt, claimed_at, completed_at, expires_at, slot, hash)
SELECT scope, 'key-' || n, decode(md5(n::text) || md5(n::text), 'hex'), 'completed', 201, n::text,
	jsonb_build_object('id', n, 'amount', 100, 'currency', 'EUR'), 1, now(), now(), now() + interval '30 hours', 1,
	idempotency.key_hash('key-' || n, scope)
FROM generate_series(1, $keys) AS n, LATERAL (SELECT 'payments') AS s (scope)
UNION ALL
SELECT scope, 'key-' || n, NULL, 'completed', 201, NULL, NULL, 1, now(), now(), now() + interval '30 hours', 1,
	idempotency.key_hash('key-' || n, scope)
FROM generate_series(1, $1) AS n, LATERAL (SELECT 'others') AS s (scope);
VACUUM (FREEZE, ANALYZE) idempotency.keys_1;
CHECKPOINT;
SQL
}

# measure NAME
measure() {
	local before from ms wal after
	before=$(size)
	from=$(sql -c 'SELECT pg_current_wal_insert_lsn()')
	ms=$(sql -c '\timing on' -c "SELECT idempotency.purge('payments')" | sed -nE 's/^Time: ([0-9]+).*/\1/p')
	wal=$(sql -c "SELECT pg_current_wal_insert_lsn() - '$from'")
	after=$(size)
	sql -c 'VACUUM idempotency.keys_1'
	printf '%-22s %8s ms %12s bytes of WAL   %s before, %s after, %s after VACUUM\n' "$1" "$ms" "$wal" "$before" "$after" "$(size)"
}

fill 0
measure 'alone in the slot'
fill 1000
for ((i = 1; i <= cancels; i++)); do
	PGAPPNAME=purge sql -c "SELECT idempotency.purge('payments')" >/dev/null 2>&1 &
	# After different times, at which it is deleting.
	sql -c "
		DO \$\$
		DECLARE
			began timestamptz;
			victim integer;
		BEGIN
			LOOP
				PERFORM pg_stat_clear_snapshot();
				SELECT pid INTO victim FROM pg_stat_activity
				WHERE application_name = 'purge' AND state = 'active' AND clock_timestamp() > query_start + $i * interval '200 ms';
				EXIT WHEN victim IS NOT NULL;
				PERFORM pg_sleep(0.001);
			END LOOP;
			began = clock_timestamp();
			PERFORM pg_cancel_backend(victim);
			WHILE EXISTS (SELECT FROM pg_stat_activity WHERE pid = victim AND state = 'active') LOOP
				PERFORM pg_stat_clear_snapshot(), pg_sleep(0.001);
			END LOOP;
			RAISE NOTICE '% ms', round(extract(epoch FROM clock_timestamp() - began) * 1000, 1);
		END
		\$\$" 2>&1 | sed -n 's/.*NOTICE:  //p' >>"$scratch/cancels"
	wait
done
measure 'with another scope'
printf 'a canceled purge ended after %s\n' "$(paste -sd, "$scratch/cancels")"
