#!/bin/bash
#
# sweep_load.sh: claims per second while expired keys are swept, compared with
# those with no sweep.
#
#	wheel	claimed keys go to slots of the wheel, which turns every two seconds,
#			and each time empties a slot with as many keys as are claimed in
#			two seconds
#	default	claimed keys go to keys_long, which also has expired keys; as many
#			are deleted as the defaults allow, 10,000 a minute
#	steady	the same, but a sweep deletes as many as were claimed in a second
#
# CLIENTS (2) claim and complete one new key in a transaction, for LENGTH (60)
# seconds without a pause; the worker sweeps every two seconds, thirty times as
# often as by default.  The claims in the second around the end of a sweep are
# compared with those in the following second, so that other load affects both.
# A sweep may cost at most LIMIT (5) per cent: exits with 1 if the median of a
# kind costs more.  Prints how much was swept each time, so that a run that swept
# nothing is noticed.
#
# Connects as psql does, as a superuser, to a server with the library preloaded,
# in a database of its own, which is dropped at the end.  Sets idempotency.worker,
# wheel_tick, sweep_batch, sweep_interval and sweep_databases with ALTER SYSTEM, and
# resets them.  Other databases are not swept: their slots were laid for another tick,
# and the sweeper would search them for expired rows.

set -euo pipefail
seconds=${LENGTH:-60}
clients=${CLIENTS:-2}
limit=${LIMIT:-5}
database=idempotency_bench_sweep
settings=(worker wheel_tick sweep_batch sweep_interval sweep_databases)

scratch=$(mktemp -d)
dropdb --if-exists "$database" 2>/dev/null
createdb "$database"
watcher=
stop_watching() {
	[ -z "$watcher" ] || kill "$watcher" 2>/dev/null || true
	watcher=
}
clean_up() {
	psql -Xq -d postgres "${settings[@]/#/-cALTER SYSTEM RESET idempotency.}" -c 'SELECT pg_reload_conf()' >/dev/null
	dropdb --force --if-exists "$database"
	rm -rf "$scratch"
}
trap clean_up EXIT
sql() {
	psql -XAtq -v ON_ERROR_STOP=1 -d "$database" "$@"
}
sql -c 'CREATE EXTENSION idempotency' -c "ALTER SYSTEM SET idempotency.sweep_databases = '$database'"
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

# claim TTL SECONDS: prints claims per second, and logs when each one ended.
claim() {
	rm -f "$scratch"/log.*
	pgbench -n -M prepared -c "$clients" -j "$clients" -T "$2" -D "ttl=$1" -l --log-prefix="$scratch/log" \
		-f "$scratch/claim.sql" "$database" 2>&1 | sed -nE 's/^tps = ([0-9]+).*/\1/p'
}

# set_system WORKER TICK BATCH
set_system() {
	sql -c "ALTER SYSTEM SET idempotency.worker = $1" -c "ALTER SYSTEM SET idempotency.wheel_tick = '$2'" \
		-c "ALTER SYSTEM SET idempotency.sweep_batch = $3" -c "ALTER SYSTEM SET idempotency.sweep_interval = '2 s'" \
		-c 'SELECT pg_reload_conf()' >/dev/null
	until [ "$(sql -c "SELECT current_setting('idempotency.worker'), current_setting('idempotency.wheel_tick'), current_setting('idempotency.sweep_batch')")" = "$1|$2|$3" ]; do
		sleep 0.01
	done
}

# Record when sweeps end, as long as this runs.
watch_sweeps() {
	stop_watching
	echo "SELECT extract(epoch FROM last_sweep) AS ended FROM idempotency.stats WHERE last_sweep IS NOT NULL \\watch 0.5" |
		psql -XAtq -d "$database" >"$scratch/sweeps" &
	watcher=$!
}

# compare: reads when sweeps and claims ended; prints claims in the second around
# the end of a sweep, and in the next one, for each sweep except those of the first
# five seconds, in which slots fill, and of the last two.
compare() {
	local begun
	begun=$(awk 'NR == 1 || $5 < first { first = $5 } END { print first }' "$scratch"/log.*)
	grep -E '^[0-9]+\.[0-9]+$' "$scratch/sweeps" | sort -nu |
		awk -v begun="$begun" -v seconds="$seconds" '
			function claims(from, n, i) { n = 0; for (i = from; i < from + 100; i++) n += at[i]; return n }
			FILENAME == "-" { sweeps[++n] = int(($1 - begun) * 100); next }
			{ at[($5 - begun) * 100 + int($6 / 10000)]++ }
			END {
				for (i = 1; i <= n; i++)
					if (sweeps[i] > 500 && sweeps[i] < 100 * (seconds - 2))
						print claims(sweeps[i] - 50), claims(sweeps[i] + 50)
			}' - "$scratch"/log.*
}

# run_kind KIND: writes pairs of counts, and prints slots emptied and rows deleted by a sweep.
run_kind() {
	local ttl
	set_system off '1 day' 10000
	# TRUNCATE waits for a worker that is still sweeping.
	sql -c 'TRUNCATE idempotency.keys'
	[ "$1" = wheel ] || sql -c "INSERT INTO idempotency.keys (scope, key, fingerprint, status, status_code, resource_id, response,
			attempt, claimed_at, completed_at, expires_at, slot, hash)
		SELECT scope, key, fingerprint, 'completed', 201, '1', response, 1, now(), now(), now(), -1, hash FROM expired"
	sql -c CHECKPOINT -c 'SELECT idempotency.stats_reset()' >/dev/null
	case $1 in
		wheel)
			ttl='2 s'
			sql -c "UPDATE idempotency.wheel SET until = clock_timestamp() + (slot + 1) * interval '2 s'"
			set_system on '2 s' 10000
			;;
		default)
			ttl='30 days'
			set_system on '1 day' 333
			;;
		steady)
			ttl='30 days'
			set_system on '1 day' "$rate"
			;;
	esac
	watch_sweeps
	claim "$ttl" "$seconds" >/dev/null
	stop_watching
	compare >"$scratch/$1"
	sql -F ' ' -c "SELECT slots_cleared::float8 / sweeps, rows_deleted::float8 / sweeps FROM idempotency.stats WHERE scope = ''"
}

# quantile FRACTION: of the numbers that it reads.
quantile() {
	sort -n | awk -v f="$1" '{ v[NR] = $1 } END { i = 1 + f * (NR - 1); j = int(i); print v[j] + (j < NR ? (i - j) * (v[j + 1] - v[j]) : 0) }'
}

# How many keys can be claimed in a second; and as many expired keys for each sweep.
set_system off '1 day' 10000
rate=$(claim '30 days' 3)
sql >/dev/null <<SQL
CREATE TABLE expired AS
SELECT scope, key, decode(md5(key), 'hex') AS fingerprint, jsonb_build_object('id', n, 'amount', 100, 'currency', 'EUR') AS response,
	idempotency.key_hash(key, scope) AS hash
FROM generate_series(1, $((rate * (seconds / 2 + 2)))) AS n,
	LATERAL (SELECT 'old-' || n AS key, 'payments/tenant-' || n % 100 AS scope) AS k;
VACUUM ANALYZE expired;
SQL

printf '%-8s %17s  %-26s %8s %15s %13s\n' sweep 'claims per second' 'of those with no sweep' sweeps 'slots emptied by' 'rows deleted'
status=0
for kind in wheel default steady; do
	read -r slots rows < <(run_kind "$kind")
	awk '{ print 100 * $1 / $2 }' "$scratch/$kind" >"$scratch/ratios"
	unswept=$(printf %.0f "$(cut -d ' ' -f 2 "$scratch/$kind" | quantile 0.5)")
	rate=$((unswept < rate ? unswept : rate))
	ratio=$(quantile 0.5 <"$scratch/ratios")
	printf '%-8s %17d  %-26s %8d %15.1f %13.0f\n' "$kind" "$unswept" \
		"$(printf '%.1f %% (%.1f to %.1f)' "$ratio" "$(quantile 0.25 <"$scratch/ratios")" "$(quantile 0.75 <"$scratch/ratios")")" \
		"$(wc -l <"$scratch/ratios")" "$slots" "$rows"
	awk -v ratio="$ratio" -v limit="$limit" 'BEGIN { exit ratio < 100 - limit }' || status=1
done
echo "Medians (and quartiles) of the claims in the second around each sweep, in % of those with no sweep, $clients clients; at least $((100 - limit)) % are required."
exit "$status"
