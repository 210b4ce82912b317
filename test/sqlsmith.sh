#!/bin/bash
#
# sqlsmith.sh: random statements against a database with the extension.
#
#	SMITH_SECONDS	how long (600)
#	SMITH_SEED		from which seed (a new one, which is printed)
#
# To be run by throwaway-server.sh, whose variables it uses, with
# log_line_prefix = '%m [%p] %e ' and log_error_verbosity = verbose.
# Concurrently: sqlsmith as a superuser and as an application's role, and the calls
# of fuzz_arguments.pl, as both roles and over both stores.  Fails if a backend
# crashes, or if an internal error (XX000) comes from the extension's own source.
# Those of the server's own functions are shown.

set -euo pipefail
seconds=${SMITH_SECONDS:-600}
seed=${SMITH_SEED:-$RANDOM}
echo "seed $seed, $seconds seconds"
log=$PGHOST/server.log

psql -Xqc 'CREATE ROLE app LOGIN' -c 'CREATE DATABASE distributed'
for database in postgres distributed; do
	psql -Xq -v ON_ERROR_STOP=1 "$database" <<'END'
CREATE EXTENSION idempotency;
SELECT idempotency.grant_usage('app');
CREATE TABLE payments (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text, amount numeric);
GRANT ALL ON payments TO app;
CREATE FUNCTION work(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION failing(jsonb) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION USING ERRCODE = $1->>''code''; END';
SELECT idempotency.set_policy('', wait => '100 ms');
ALTER DATABASE :"DBNAME" SET statement_timeout = '2 s';
END
done
psql -Xqc "SELECT idempotency.distribute('payments', 'none')" distributed

pids=()
for role in postgres app; do
	timeout "$seconds" sqlsmith --target="host=$PGHOST port=$PGPORT dbname=postgres user=$role" \
		--exclude-catalog --verbose --seed="$seed" >"$RESULTS/sqlsmith.$role.out" 2>&1 &
	pids+=($!)
	for database in postgres distributed; do
		( perl test/fuzz_arguments.pl "$((seed + ${#pids[@]}))" "$seconds" |
			PGUSER=$role psql -Xq -v VERBOSITY=sqlstate "$database" >/dev/null 2>"$RESULTS/fuzz.$role.$database.out" ) &
		pids+=($!)
	done
done
for pid in "${pids[@]}"; do wait "$pid" || true; done

status=0
crashes=$(grep -cE 'PANIC: |TRAP: |was terminated by signal' "$log" || true)
internal=$(awk '/ XX[0-9A-Z]{3} ERROR:/ { message = $0 } /LOCATION:/ && message { print message " " $0; message = "" }' "$log" |
	sed -E 's/^.*ERROR:/ERROR:/; s/[0-9-]{10} .*LOCATION:/LOCATION:/' | sort | uniq -c | sort -rn)
own=$(grep -E "LOCATION: .*($(find src -name '*.c' -printf '%f\n' | sed 's/\.c$/\\.c/' | paste -sd '|')):" <<<"$internal" || true)
echo "statements of sqlsmith: $(grep -hoE 'queries: [0-9]+' "$RESULTS"/sqlsmith.*.out | sort -u | tail -n 2 | tr '\n' ' ')"
echo "errors of the calls with odd arguments: $(cat "$RESULTS"/fuzz.*.out | grep -c ERROR || true), of $(cat "$RESULTS"/fuzz.*.out | sed -nE 's/.*ERROR: +//p' | sort -u | wc -l) SQLSTATEs"
echo "internal errors, with their locations:"
printf '%s\n' "$internal"
if [ "$crashes" != 0 ] || [ -n "$own" ]; then
	grep -E 'PANIC: |TRAP: |was terminated by signal' "$log" | head -n 20 || true
	printf '%s\n' "$own"
	cp "$log" "$RESULTS/server.log"
	status=1
fi
for database in postgres distributed; do
	psql -XAt "$database" <<'END' || status=1
SELECT coalesce(to_regclass('idempotency.distributed_keys'), 'idempotency.keys'::regclass) AS keys \gset
SELECT 'keys stored in ' || :'keys' || ': ' || count(*) FROM :keys;
SELECT 'keys with two live rows: ' || count(*) FROM
	(SELECT FROM :keys WHERE expires_at > clock_timestamp() GROUP BY hash HAVING count(*) > 1) AS twice;
END
done
echo "$crashes crashes, $(grep -c . <<<"$own" || true) internal errors of the extension"
exit "$status"
