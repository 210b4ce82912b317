#!/bin/bash
#
# sqlsmith.sh: random statements against a database with the extension.
#
#	SMITH_SECONDS	how long (600)
#	SMITH_SEED		from which seed (a new one, which is printed)
#
# To be run by throwaway-server.sh, whose variables it uses, with
# log_line_prefix = '%m [%p] %e ' and log_error_verbosity = verbose.  At once:
# sqlsmith as a superuser and as an application's role, and fuzz_arguments.pl,
# calls of every function of the schema with odd arguments, as both.  Fails if a
# backend crashes, or if an internal error (XX000) comes from the extension's
# own source.  Those of the server's own functions are shown.

set -euo pipefail
seconds=${SMITH_SECONDS:-600}
seed=${SMITH_SEED:-$RANDOM}
echo "seed $seed, $seconds seconds"
log=$PGHOST/server.log

psql -Xq -v ON_ERROR_STOP=1 <<'END'
CREATE EXTENSION idempotency;
CREATE ROLE app LOGIN;
GRANT USAGE ON SCHEMA idempotency TO app;
CREATE TABLE payments (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text, amount numeric);
SELECT idempotency.guard_table('payments', 'key', 'payments');
GRANT ALL ON payments TO app;
CREATE FUNCTION work(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION failing(jsonb) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION USING ERRCODE = $1->>''code''; END';
SELECT idempotency.set_policy('', wait => '100 ms');
ALTER DATABASE postgres SET statement_timeout = '2 s';
END

pids=()
for role in postgres app; do
	timeout "$seconds" sqlsmith --target="host=$PGHOST port=$PGPORT dbname=postgres user=$role" \
		--exclude-catalog --verbose --seed="$seed" >"$RESULTS/sqlsmith.$role.out" 2>&1 &
	pids+=($!)
	for i in 1 2; do
		( perl test/fuzz_arguments.pl "$((seed + i))" "$seconds" | PGUSER=$role psql -Xq -v VERBOSITY=sqlstate >/dev/null 2>"$RESULTS/fuzz.$role.$i.out" ) &
		pids+=($!)
	done
done
for pid in "${pids[@]}"; do wait "$pid" || true; done

status=0
crashes=$(grep -cE 'PANIC: |TRAP: |was terminated by signal' "$log" || true)
internal=$(awk '/ XX[0-9A-Z]{3} ERROR:/ { message = $0 } /LOCATION:/ && message { print message " " $0; message = "" }' "$log" |
	sed -E 's/^.*ERROR:/ERROR:/; s/[0-9-]{10} .*LOCATION:/LOCATION:/' | sort | uniq -c | sort -rn)
own=$(grep -E "LOCATION: .*($(cd src && echo *.c | sed 's/\.c/\\.c/g; s/ /|/g')):" <<<"$internal" || true)
echo "statements of sqlsmith: $(grep -hoE 'queries: [0-9]+' "$RESULTS"/sqlsmith.*.out | sort -u | tail -n 2 | tr '\n' ' ')"
echo "errors that the calls with odd arguments met: $(cat "$RESULTS"/fuzz.*.out | grep -c ERROR || true), of $(cat "$RESULTS"/fuzz.*.out | sed -nE 's/.*ERROR: +//p' | sort -u | wc -l) SQLSTATEs"
echo "internal errors, with the place that raised them:"
printf '%s\n' "$internal"
if [ "$crashes" != 0 ] || [ -n "$own" ]; then
	grep -E 'PANIC: |TRAP: |was terminated by signal' "$log" | head -n 20 || true
	printf '%s\n' "$own"
	cp "$log" "$RESULTS/server.log"
	status=1
fi
psql -XAt <<'END' || status=1
SELECT 'keys stored: ' || count(*) FROM idempotency.keys;
SELECT 'keys with two live rows: ' || count(*) FROM
	(SELECT FROM idempotency.keys WHERE expires_at > clock_timestamp() GROUP BY hash HAVING count(*) > 1) AS twice;
END
echo "$crashes crashes, $(grep -c . <<<"$own" || true) internal errors of the extension"
exit "$status"
