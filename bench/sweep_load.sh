#!/bin/bash
#
# sweep_load.sh: claims per second while expired keys are swept, beside those
# with no sweep.
#
#	none	the worker is off
#	wheel	the wheel turns every second, and empties a slot each time
#	long	a batch of expired keys is deleted from keys_long every second, which
#		is sixty times as often as by default
#
# Short rounds of each in turn, ROUNDS of them (20) of LENGTH seconds (3), with CLIENTS
# (2) that claim and complete one new key in a transaction.  Each round begins
# with the same tables, after a checkpoint; the first of each kind does not
# count.  The sweep is to cost at most LIMIT
# (5) per cent: exits with 1 where the median of a kind is further below that of
# none.  Tells how much was swept, so that a round without a sweep shows.
#
# Connects as psql does, as a superuser, to a server with the library preloaded,
# in a database of its own that is dropped in the end.  Sets idempotency.worker,
# wheel_tick and sweep_interval by ALTER SYSTEM, and resets them.

set -euo pipefail
rounds=${ROUNDS:-20}
seconds=${LENGTH:-3}
clients=${CLIENTS:-2}
limit=${LIMIT:-5}
backlog=${BACKLOG:-$((10000 * (seconds + 2)))}
database=idempotency_bench_sweep
kinds=(none wheel long)

scratch=$(mktemp -d)
dropdb --if-exists "$database" 2>/dev/null
createdb "$database"
clean_up() {
	psql -Xq -d postgres -c 'ALTER SYSTEM RESET idempotency.worker' -c 'ALTER SYSTEM RESET idempotency.wheel_tick' \
		-c 'ALTER SYSTEM RESET idempotency.sweep_interval' -c 'SELECT pg_reload_conf()' >/dev/null
	dropdb --if-exists "$database"
	rm -rf "$scratch"
}
trap clean_up EXIT
sql() {
	psql -XAtq -v ON_ERROR_STOP=1 -d "$database" "$@"
}
sql -c 'CREATE EXTENSION idempotency'
[ "$(sql -c 'SELECT count(*) FROM idempotency.stats')" -gt 0 ] ||
	{ echo 'sweep_load.sh: shared_preload_libraries lacks idempotency' >&2; exit 2; }

# Expired keys, as claims leave them, to be copied into keys_long for a round.
sql <<SQL
CREATE TABLE backlog AS
SELECT 'payments/tenant-' || n % 100 AS scope, 'old-' || n AS key, decode(md5(n::text), 'hex') AS fingerprint,
	'completed' AS status, 201 AS status_code, n::text AS resource_id,
	jsonb_build_object('id', n, 'amount', 100, 'currency', 'EUR') AS response, 1 AS attempt,
	now() AS claimed_at, now() AS completed_at, now() AS expires_at, -1::smallint AS slot,
	idempotency.key_hash('old-' || n, 'payments/tenant-' || n % 100) AS hash
FROM generate_series(1, $backlog) AS n;
VACUUM ANALYZE backlog;
SQL

cat >"$scratch/claim.sql" <<'PGBENCH'
\set tenant random(1, 100)
BEGIN;
SELECT gen_random_uuid()::text AS key \gset
SELECT proceed FROM idempotency.claim(:key, 'payments/tenant-' || :tenant, '{"amount": 100, "currency": "EUR"}', ttl => :ttl::interval);
SELECT idempotency.complete(:key, 'payments/tenant-' || :tenant, '{"id": 1, "amount": 100, "currency": "EUR"}', '1', 201);
COMMIT;
PGBENCH

# set_system WORKER TICK
set_system() {
	sql -c "ALTER SYSTEM SET idempotency.worker = $1" -c "ALTER SYSTEM SET idempotency.wheel_tick = '$2'" \
		-c "ALTER SYSTEM SET idempotency.sweep_interval = '1 s'" -c 'SELECT pg_reload_conf()' >/dev/null
	until [ "$(sql -c 'SHOW idempotency.worker') $(sql -c 'SHOW idempotency.wheel_tick')" = "$1 $2" ]; do sleep 0.01; done
}

# run_round KIND: prints claims per second.
run_round() {
	local ttl='1 day'
	set_system off '1 day'
	# A worker that was about its work is waited for by TRUNCATE.
	sql -c 'TRUNCATE idempotency.keys' -c 'TRUNCATE idempotency.wheel' \
		-c "INSERT INTO idempotency.wheel SELECT slot, clock_timestamp() + (slot + 1) * interval '1 day' FROM generate_series(0, 7) AS slot"
	case $1 in
		wheel)
			ttl='500 ms'
			;;
		long)
			sql -c 'INSERT INTO idempotency.keys (scope, key, fingerprint, status, status_code, resource_id, response, attempt, claimed_at, completed_at, expires_at, slot, hash) SELECT * FROM backlog'
			;;
	esac
	sql -c CHECKPOINT -c 'SELECT idempotency.stats_reset()' >/dev/null
	case $1 in
		wheel)
			set_system on '1 s'
			sql -c "UPDATE idempotency.wheel SET until = now() + (slot + 1) * interval '1 s'"
			;;
		long) set_system on '1 day' ;;
	esac
	pgbench -n -M prepared -c "$clients" -j "$clients" -T "$seconds" -D "ttl=$ttl" -f "$scratch/claim.sql" "$database" 2>&1 |
		sed -nE 's/^tps = ([0-9.]+).*/\1/p'
}

median() {
	sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

for ((round = 0; round <= rounds; round++)); do
	for kind in "${kinds[@]}"; do
		tps=$(run_round "$kind")
		[ "$round" -gt 0 ] || continue
		echo "$tps" >>"$scratch/$kind"
		sql -F ' ' -c 'SELECT slots_cleared, rows_deleted FROM idempotency.stats' >>"$scratch/$kind.swept"
	done
done

base=$(median <"$scratch/none")
printf '%-6s %18s %8s %20s %20s\n' sweep 'claims per second' 'of none' 'slots emptied' 'rows deleted'
status=0
for kind in "${kinds[@]}"; do
	tps=$(median <"$scratch/$kind")
	printf '%-6s %18.0f %7.1f%% %12s a round %12s a round\n' "$kind" "$tps" \
		"$(awk -v a="$tps" -v b="$base" 'BEGIN { print 100 * a / b }')" \
		"$(cut -d' ' -f1 "$scratch/$kind.swept" | median)" "$(cut -d' ' -f2 "$scratch/$kind.swept" | median)"
	awk -v a="$tps" -v b="$base" -v limit="$limit" 'BEGIN { exit !(a >= b * (1 - limit / 100)) }' || status=1
done
echo "medians of $rounds rounds of $seconds s each, $clients clients; limit $limit per cent"
exit "$status"
