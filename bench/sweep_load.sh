#!/bin/bash
#
# sweep_load.sh: claims per second while expired keys are swept, beside those
# with no sweep.
#
# Keys that are claimed go to slots of the wheel:
#
#	none		two slots are in use, and the worker is off
#	wheel		the wheel turns every second, and each time empties a slot
#			with as many keys as are claimed in a second
#
# Keys that are claimed go to keys_long, where expired keys lie, too:
#
#	none_long	the worker is off
#	default		10,000 are deleted a minute, which is what the defaults allow
#	steady		as many are deleted as are claimed: of all keys that are
#			claimed at this rate, each is once deleted
#
# The worker comes every second, sixty times as often as by default, and deletes
# a second's share.  Slices of each kind take turns, in ROUNDS (20) rounds of
# LENGTH (3) seconds each, with CLIENTS (2) that claim and complete one new key in
# a transaction; each slice begins with the same tables, after a checkpoint.  What
# is compared is of the same round.  The sweep is to cost at most LIMIT (5) per
# cent, whichever it is: exits with 1 where the median of a kind is further below
# its none.  Tells how much was swept in a second, so that a slice without a sweep
# shows.
#
# Connects as psql does, as a superuser, to a server with the library preloaded,
# in a database of its own that is dropped in the end.  Sets idempotency.worker,
# wheel_tick, sweep_batch and sweep_interval by ALTER SYSTEM, and resets them.

set -euo pipefail
rounds=${ROUNDS:-20}
seconds=${LENGTH:-3}
clients=${CLIENTS:-2}
limit=${LIMIT:-5}
database=idempotency_bench_sweep
kinds=(none wheel none_long default steady)
declare -A base=([wheel]=none [default]=none_long [steady]=none_long)
settings=(worker wheel_tick sweep_batch sweep_interval)

scratch=$(mktemp -d)
dropdb --if-exists "$database" 2>/dev/null
createdb "$database"
clean_up() {
	psql -Xq -d postgres "${settings[@]/#/-cALTER SYSTEM RESET idempotency.}" -c 'SELECT pg_reload_conf()' >/dev/null
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

cat >"$scratch/claim.sql" <<'PGBENCH'
\set tenant random(1, 100)
BEGIN;
SELECT gen_random_uuid()::text AS key \gset
SELECT proceed FROM idempotency.claim(:key, 'payments/tenant-' || :tenant, '{"amount": 100, "currency": "EUR"}', ttl => :ttl::interval, lease => '1 s');
SELECT idempotency.complete(:key, 'payments/tenant-' || :tenant, '{"id": 1, "amount": 100, "currency": "EUR"}', '1', 201);
COMMIT;
PGBENCH

# claim TTL: for the length of a slice; prints claims per second.
claim() {
	pgbench -n -M prepared -c "$clients" -j "$clients" -T "$seconds" -D "ttl=$1" -f "$scratch/claim.sql" "$database" 2>&1 |
		sed -nE 's/^tps = ([0-9]+).*/\1/p'
}

# set_system WORKER TICK BATCH
set_system() {
	sql -c "ALTER SYSTEM SET idempotency.worker = $1" -c "ALTER SYSTEM SET idempotency.wheel_tick = '$2'" \
		-c "ALTER SYSTEM SET idempotency.sweep_batch = $3" -c "ALTER SYSTEM SET idempotency.sweep_interval = '1 s'" \
		-c 'SELECT pg_reload_conf()' >/dev/null
	until [ "$(sql -c "SELECT current_setting('idempotency.worker'), current_setting('idempotency.wheel_tick'), current_setting('idempotency.sweep_batch')")" = "$1|$2|$3" ]; do
		sleep 0.01
	done
}

# lay_wheel TICK: slots that end a tick after each other.  The worker, which comes a
# second from now, finds the first one just past, as it does with a tick of a day.
lay_wheel() {
	sql -c "UPDATE idempotency.wheel SET until = clock_timestamp() + (slot + 0.9) * interval '$1'"
}

# lay_expired SLOT KEYS
lay_expired() {
	sql -c "INSERT INTO idempotency.keys (scope, key, fingerprint, status, status_code, resource_id, response,
			attempt, claimed_at, completed_at, expires_at, slot, hash)
		SELECT scope, key, fingerprint, 'completed', 201, '1', response, 1, now(), now(), now(), $1, hash
		FROM expired LIMIT $2"
}

# run_slice KIND: prints claims, slots emptied and rows deleted per second.
run_slice() {
	local ttl tps
	set_system off '1 day' 10000
	# A worker that was about its work is waited for by TRUNCATE.
	sql -c 'TRUNCATE idempotency.keys'
	lay_wheel '1 day'
	case $1 in
		none | wheel)
			lay_expired 0 "$rate"
			[ "$1" = none ] || lay_expired 1 "$rate"
			;;
		*) lay_expired -1 $((rate * (seconds + 2))) ;;
	esac
	sql -c CHECKPOINT
	case $1 in
		none) ttl='1 day' ;;
		wheel)
			ttl='1 s'
			lay_wheel '1 s'
			set_system on '1 s' 10000
			;;
		none_long) ttl='30 days' ;;
		default)
			ttl='30 days'
			set_system on '1 day' 167
			;;
		steady)
			ttl='30 days'
			set_system on '1 day' "$rate"
			;;
	esac
	sql -c 'SELECT idempotency.stats_reset()' >/dev/null
	tps=$(claim "$ttl")
	sql -F ' ' -c "SELECT $tps, slots_cleared::float8 / $seconds, rows_deleted::float8 / $seconds FROM idempotency.stats WHERE scope = ''"
}

median() {
	sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# How many are claimed in a second, and as many expired keys for each second.
set_system off '1 day' 10000
rate=$(claim '30 days')
sql >/dev/null <<SQL
CREATE TABLE expired AS
SELECT scope, key, decode(md5(key), 'hex') AS fingerprint, jsonb_build_object('id', n, 'amount', 100, 'currency', 'EUR') AS response,
	idempotency.key_hash(key, scope) AS hash
FROM generate_series(1, $((rate * (seconds + 2)))) AS n,
	LATERAL (SELECT 'old-' || n AS key, 'payments/tenant-' || n % 100 AS scope) AS k;
VACUUM ANALYZE expired;
SQL

for ((round = 1; round <= rounds; round++)); do
	for kind in "${kinds[@]}"; do
		run_slice "$kind" >>"$scratch/$kind"
	done
done

printf '%-10s %18s  %-26s %22s %21s\n' sweep 'claims per second' 'of those with no sweep' 'slots emptied a second' 'rows deleted a second'
status=0
for kind in "${kinds[@]}"; do
	of_none=
	if [ -n "${base[$kind]:-}" ]; then
		paste -d ' ' "$scratch/$kind" "$scratch/${base[$kind]}" | awk '{ print 100 * $1 / $4 }' | sort -n >"$scratch/ratios"
		of_none=$(printf '%.1f %% (%.1f to %.1f)' "$(median <"$scratch/ratios")" "$(head -n 1 "$scratch/ratios")" "$(tail -n 1 "$scratch/ratios")")
		awk -v ratio="${of_none%% *}" -v limit="$limit" 'BEGIN { exit ratio < 100 - limit }' || status=1
	fi
	printf '%-10s %18.0f  %-26s %22.1f %21.0f\n' "$kind" "$(cut -d ' ' -f 1 "$scratch/$kind" | median)" "$of_none" \
		"$(cut -d ' ' -f 2 "$scratch/$kind" | median)" "$(cut -d ' ' -f 3 "$scratch/$kind" | median)"
done
echo "Medians of $rounds rounds of $seconds s each (lowest to highest), $clients clients; each is to be at least $((100 - limit)) %."
exit "$status"
