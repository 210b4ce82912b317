#!/bin/bash
#
# disk.sh: the size of the stored keys, tick after tick, under steady load.
#
# TICKS (20) ticks of LENGTH seconds (2), after four in which the wheel fills, with
# CLIENTS (2) that together claim and complete RATE (500) new keys a second, each
# remembered for a tick and a half.  Prints, for each tick, the largest of eight
# measured sizes of all tables and indexes of the keys, and the size of the system
# catalogs; and by how much the largest of the last ten ticks exceeds the largest
# of those before.  Exits with 1 if that is more than LIMIT (10) per cent.
#
# Connects as psql does, as a superuser, to a server with the library preloaded,
# in a database of its own, which is dropped at the end.  Sets idempotency.wheel_tick
# and sweep_interval with ALTER SYSTEM, and resets them.

set -euo pipefail
ticks=${TICKS:-20}
length=${LENGTH:-2}
clients=${CLIENTS:-2}
rate=${RATE:-500}
limit=${LIMIT:-10}
database=idempotency_bench_disk

scratch=$(mktemp -d)
dropdb --if-exists "$database" 2>/dev/null
createdb "$database"
load=
clean_up() {
	[ -z "$load" ] || kill "$load" 2>/dev/null || true
	wait
	psql -Xq -d postgres -c 'ALTER SYSTEM RESET idempotency.wheel_tick' \
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
	{ echo 'disk.sh: shared_preload_libraries lacks idempotency' >&2; exit 2; }

cat >"$scratch/claim.sql" <<'PGBENCH'
BEGIN;
SELECT gen_random_uuid()::text AS key \gset
SELECT proceed FROM idempotency.claim(:key, 'payments', '{"amount": 100, "currency": "EUR"}', ttl => :ttl::interval);
SELECT idempotency.complete(:key, 'payments', '{"id": 1, "amount": 100, "currency": "EUR"}', '1', 201);
COMMIT;
PGBENCH

sql -c "ALTER SYSTEM SET idempotency.wheel_tick = '$length s'" -c "ALTER SYSTEM SET idempotency.sweep_interval = '250 ms'" \
	-c 'SELECT pg_reload_conf()' >/dev/null
until [ "$(sql -c 'SHOW idempotency.wheel_tick')" = "$length s" ]; do sleep 0.01; done
sql -c "UPDATE idempotency.wheel SET until = now() + (slot + 1) * interval '$length s'"

pgbench -n -M prepared -c "$clients" -j "$clients" -R "$rate" -T $((100 + 10 * length * ticks)) \
	-D "ttl=$(awk -v l="$length" 'BEGIN { print l * 1.5 }') s" -f "$scratch/claim.sql" "$database" >"$scratch/load" 2>&1 &
load=$!
printf '%5s %10s %12s %12s %12s\n' tick keys 'keys, bytes' 'catalogs' 'keys claimed'
for ((tick = -3; tick <= ticks; tick++)); do
	for ((look = 0; look < 8; look++)); do
		sleep "$(awk -v l="$length" 'BEGIN { print l / 8 }')"
		sql -F ' ' -c "
			SELECT $tick, (SELECT count(*) FROM idempotency.keys),
				(SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'idempotency.keys'::regclass),
				(SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r'),
				(SELECT new FROM idempotency.stats WHERE scope = '')"
	done | sort -n -k 3 | tail -n 1 | tee -a "$scratch/sizes" | xargs printf '%5s %10s %12s %12s %12s\n'
done
awk -v ticks="$ticks" -v limit="$limit" '
	$1 < 1 { next }
	$1 > ticks - 10 { if ($3 > late) late = $3; next }
	{ if ($3 > early) early = $3 }
	END {
		if (!early) exit
		printf "largest of the last ten ticks: %+.1f per cent over that of the %d before (limit %s)\n", 100 * (late / early - 1), ticks - 10, limit
		exit late > early * (1 + limit / 100)
	}' "$scratch/sizes"
