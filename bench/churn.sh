#!/bin/bash
#
# churn.sh: the size on disk, and the dead row versions, of each candidate during an
# hour's churn.
#
# All candidates run at once on one server, for DURATION seconds (3600), at RATE (100)
# requests a second each; three of ten repeat the last key of their client.  A key
# is remembered for a tick of the wheel, of TICK seconds (120).  Once a minute expired
# keys are removed: by the sweeper of the extension, by sweep() of the portable
# edition, by DELETE from the hand-written tables.  The settings of autovacuum are the
# server's own.
#
# Runs in the environment that test/throwaway-server.sh creates.  Writes every ten
# seconds to $RESULTS/churn.tsv: second, candidate, rows, bytes of its tables and
# indexes, dead row versions in them; so far: rows inserted, rows updated or deleted,
# runs of autovacuum; for the extension slots cleared, else 0.  The candidate "catalogs"
# is pg_catalog.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./record.sh
duration=${DURATION:-3600}
rate=${RATE:-100}
tick=${TICK:-120}
printf '%s\n' "$duration" "$rate" "$tick" >"$RESULTS/churn-settings.tsv"

sql -c "ALTER SYSTEM SET idempotency.wheel_tick = '$tick s'" -c 'SELECT pg_reload_conf()' >/dev/null
createdb churn
sql -c "ALTER DATABASE churn SET idempotency.default_ttl = '$tick s'" -c "ALTER DATABASE churn SET portable.default_ttl = '$tick s'"
export PGDATABASE=churn
sql -c 'CREATE EXTENSION idempotency' -c 'CREATE EXTENSION pgstattuple'
install_portable
create_candidates public 'to_jsonb(payment)'
sql -f portable.sql -c "ALTER TABLE handwritten_keys ALTER expires_at SET DEFAULT now() + interval '$tick s'" \
	-c "UPDATE handwritten_rules_policy SET ttl = '$tick s'"

work=$(mktemp -d "$PGHOST/churn.XXXXXX")
jobs=()
trap '[ ${#jobs[@]} = 0 ] || kill "${jobs[@]}" 2>/dev/null || true' EXIT
# candidate NAME RATE CALL: the call has a key :key and a request :request.
candidate() {
	cat >"$work/$1" <<SQL
\set n :n + CASE WHEN random(1, 10) <= 7 THEN 1 ELSE 0 END
SELECT key, jsonb_build_object('reference', key, 'account', 42, 'amount', 19.90) AS request
FROM CAST(md5(concat('$1', :client_id::integer, :n::integer))::uuid AS text) AS key \gset
SELECT $3;
SQL
	pgbench -n -M prepared -c 2 -T "$duration" -R "$2" -D n=0 -f "$work/$1" >"$work/$1.out" 2>&1 &
	jobs+=($!)
}
candidate function $((rate / 2)) "extension(:key, :request)"
candidate execute $((rate - rate / 2)) "idempotency.execute(:key, 'payments', 'pay(jsonb)', :request)"
candidate portable "$rate" "portable(:key, :request)"
candidate handwritten "$rate" "handwritten(:key, :request)"
candidate handwritten-rules "$rate" "handwritten_rules(:key, :request)"

begun=$(date +%s)
look() {
	sql -F $'\t' -c "
		SELECT $(($(date +%s) - begun)), candidate, sum(tuple_count), sum(pg_total_relation_size(c.oid)), sum(dead_tuple_count),
			sum(n_tup_ins), sum(n_tup_upd + n_tup_del), sum(autovacuum_count),
			CASE candidate WHEN 'extension' THEN (SELECT sum(slots_cleared) FROM idempotency.stats) ELSE 0 END
		FROM pg_class AS c JOIN pg_stat_all_tables ON relid = c.oid,
			LATERAL (SELECT CASE WHEN c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'idempotency.keys'::regclass) THEN 'extension'
				WHEN c.oid = 'portable.keys'::regclass THEN 'portable' WHEN c.oid = 'handwritten_keys'::regclass THEN 'handwritten'
				WHEN c.oid = 'handwritten_rules_keys'::regclass THEN 'handwritten-rules'
				WHEN relnamespace = 'pg_catalog'::regnamespace THEN 'catalogs' END AS candidate) AS e, pgstattuple(c.oid)
		WHERE candidate IS NOT NULL AND relkind = 'r' GROUP BY candidate" >>"$RESULTS/churn.tsv"
}
look
for ((second = 10; second <= duration; second += 10)); do
	kill -0 "${jobs[@]}"
	sleep $((begun + second - $(date +%s)))
	look
	[ $((second % 60)) != 0 ] || sql -o /dev/null -c 'SELECT portable.sweep()' -c 'DELETE FROM handwritten_keys WHERE expires_at <= now()' \
		-c 'DELETE FROM handwritten_rules_keys WHERE expires_at <= now()'
	progress "churn, second $second of $duration"
done
for job in "${jobs[@]}"; do
	wait "$job"
done
jobs=()
cat "$work"/*.out >"$RESULTS/churn-load.txt"
