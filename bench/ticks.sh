#!/bin/bash
#
# ticks.sh: claims under steady load: ten ticks of the expiry wheel, of TICK seconds
# each, with the background worker, which turns it.
#
# Writes $RESULTS/ticks.tsv, a line of pay.c for each second, and
# $RESULTS/ticks-size.tsv: second, bytes of the slots, slots that have keys, slots
# cleared so far.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./record.sh
part=ticks
tick=${TICK:-3}
[ -x pay ] || build_client

createdb ticks
export PGDATABASE=ticks
# settings NAME=VALUE...: of the server, from now on.
settings() {
	local setting
	for setting; do
		sql -c "ALTER SYSTEM SET ${setting%%=*} = '${setting#*=}'"
	done
	sql -c 'SELECT pg_reload_conf()' >/dev/null
}
settings "idempotency.wheel_tick=$tick s" "idempotency.default_ttl=$tick s" 'idempotency.sweep_interval=500 ms' idempotency.sweep_databases=ticks
sql -c 'CREATE EXTENSION idempotency'
create_candidates public 'to_jsonb(payment)'
# The wheel begins with the ticks of one day that it was installed with.
sql -c "UPDATE idempotency.wheel SET until = clock_timestamp() + (slot + 1) * interval '$tick s'"

watch_size() {
	local second
	for ((second = 0; ; second++)); do
		sql -F $'\t' -c "SELECT $second, sum(pg_total_relation_size(inhrelid)), count(*) FILTER (WHERE pg_relation_size(inhrelid) > 0),
			(SELECT sum(slots_cleared) FROM idempotency.stats)
			FROM pg_inherits WHERE inhparent = 'idempotency.keys'::regclass"
		sleep 1
	done
}
watch_size >"$RESULTS/ticks-size.tsv" &
watcher=$!
trap 'kill $watcher 2>/dev/null || true' EXIT
record ticks ./pay -m new -c 8 -t 1 -n $((10 * tick)) extension
kill "$watcher"
wait "$watcher" 2>/dev/null || true
for setting in wheel_tick default_ttl sweep_interval sweep_databases; do
	sql -c "ALTER SYSTEM RESET idempotency.$setting"
done
sql -c 'SELECT pg_reload_conf()' >/dev/null
