#!/bin/bash
#
# citus.sh: what a claim costs on Citus, against the same statements by hand.
#
# extension: claim, INSERT of the payment, complete.
# at once: the same, claimed with wait => '0'.
# same: the statements that claim and complete send, written by hand, on a table
#       like the extension's.
# hand: INSERT .. ON CONFLICT DO NOTHING of the key, INSERT of the payment,
#       UPDATE of the key, on a table as an application would define it.
#
# One transaction each, on a fresh key of one of TENANTS tenants, prepared.  One
# client runs one of them, chosen at random, again and again for LENGTH seconds on
# one connection, so that other load affects all of them.  The first tenth does not
# count.  Prints the median latency of each, and the extension's ratio to the others;
# exits with 1 if its ratio to "same" is over LIMIT, with a wait or without.
#
# The servers are given as to t/301_citus.pl, by CITUS_PGHOST, CITUS_PGPORT and
# CITUS_WORKER_PORTS; drops and creates the database idempotency_bench_citus
# there.  NODE is the port that the client connects to, the coordinator's.

set -euo pipefail
: "${CITUS_PGHOST:?}" "${CITUS_PGPORT:?}" "${CITUS_WORKER_PORTS:?}"
seconds=${LENGTH:-60}
tenants=${TENANTS:-1000}
limit=${LIMIT:-1.10}
node=${NODE:-$CITUS_PGPORT}
database=idempotency_bench_citus
read -ra workers <<<"${CITUS_WORKER_PORTS//,/ }"
work=$(mktemp -d)

# sql PORT DATABASE STATEMENT...
sql() {
	local port=$1 in=$2
	shift 2
	psql -XAtq -v ON_ERROR_STOP=1 -h "$CITUS_PGHOST" -p "$port" -d "$in" "${@/#/-c}"
}
drop() {
	local port
	for port in "$CITUS_PGPORT" "${workers[@]}"; do
		sql "$port" postgres "DROP DATABASE IF EXISTS $database WITH (FORCE)" 2>/dev/null
	done
}
trap 'drop || true; rm -rf "$work"' EXIT

drop
for port in "$CITUS_PGPORT" "${workers[@]}"; do
	sql "$port" postgres "CREATE DATABASE $database"
	sql "$port" "$database" 'CREATE EXTENSION citus'
done
sql "$CITUS_PGPORT" "$database" "SELECT citus_set_coordinator_host('$CITUS_PGHOST', $CITUS_PGPORT)"
for port in "${workers[@]}"; do
	sql "$CITUS_PGPORT" "$database" "SELECT citus_add_node('$CITUS_PGHOST', $port)" >/dev/null
done
sql "$CITUS_PGPORT" "$database" \
	'CREATE EXTENSION idempotency' \
	'CREATE TABLE payments (tenant text, key text, amount numeric, id uuid DEFAULT gen_random_uuid(), PRIMARY KEY (tenant, id))' \
	'CREATE TABLE hand (tenant text, key text, scope text, request_hash bytea, status text, status_code integer, resource_id text,
		response jsonb, claimed_at timestamptz, expires_at timestamptz, PRIMARY KEY (tenant, scope, key))' \
	"SELECT create_distributed_table('payments', 'tenant')" \
	"SELECT create_distributed_table('hand', 'tenant', colocate_with => 'payments')" \
	"SELECT idempotency.distribute('payments')" \
	'CREATE TABLE same (LIKE idempotency.distributed_keys INCLUDING ALL) WITH (fillfactor = 75)' \
	"SELECT create_distributed_table('same', 'tenant', colocate_with => 'payments')" >/dev/null
sql "$CITUS_PGPORT" "$database" 'SELECT citus_version(), version()'

request="'{\"amount\": 10, \"currency\": \"EUR\"}'"
response="'{\"paid\": 10, \"currency\": \"EUR\"}'"
fresh_key="\\set tenant random(1, $tenants)
\\set key random(1, 1000000000000000)"
payment="INSERT INTO payments (tenant, key, amount) VALUES (:tenant::text, :key::text, 10);"
cat >"$work/extension" <<END
$fresh_key
BEGIN;
SELECT outcome, attempt FROM idempotency.claim(:key::text, 'pay/' || :tenant::text, $request);
$payment
SELECT idempotency.complete(:key::text, 'pay/' || :tenant::text, $response, :key::text, 201);
COMMIT;
END
sed "s/\(claim(.*\));/\1, wait => '0');/" "$work/extension" >"$work/at-once"
cat >"$work/same" <<END
$fresh_key
BEGIN;
INSERT INTO same (scope, key, fingerprint, status, attempt, lease_until, claimed_at, expires_at, ttl, hash, row_version, claim_version, tenant)
	VALUES ('pay/' || :tenant::text, :key::text, sha256(convert_to($request::jsonb::text, 'UTF8')), 'in_progress', 1,
		now() + interval '1 minute', now(), now() + interval '1 day', NULL, md5(:key::text)::uuid, md5(:key::text)::uuid,
		md5(:key::text)::uuid, :tenant::text)
	ON CONFLICT (tenant, hash) DO NOTHING;
$payment
UPDATE same SET status = 'completed', status_code = 201, resource_id = :key::text, response = $response, lease_until = NULL,
	completed_at = now(), expires_at = now() + interval '1 day', row_version = md5('2' || :key::text)::uuid
	WHERE tenant = :tenant::text AND hash = md5(:key::text)::uuid AND row_version = md5(:key::text)::uuid;
COMMIT;
END
cat >"$work/hand" <<END
$fresh_key
BEGIN;
INSERT INTO hand (tenant, key, scope, request_hash, status, claimed_at, expires_at)
	VALUES (:tenant::text, :key::text, 'pay/' || :tenant::text, sha256(convert_to($request::jsonb::text, 'UTF8')), 'in_progress', now(), now() + interval '1 day')
	ON CONFLICT DO NOTHING;
$payment
UPDATE hand SET status = 'completed', status_code = 201, resource_id = :key::text, response = $response
	WHERE tenant = :tenant::text AND scope = 'pay/' || :tenant::text AND key = :key::text;
COMMIT;
END

(cd "$work" && pgbench -n -M prepared -c 1 -T "$seconds" -l --log-prefix=log -f extension -f at-once -f same -f hand \
	-h "$CITUS_PGHOST" -p "$node" "$database" >/dev/null)

# median SCRIPT: of its latencies, in microseconds.
median() {
	awk -v script="$1" '$4 == script { print $3 }' "$work"/log.* | tail -n +"$(($(wc -l <"$work"/log.*) / 40))" |
		sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}
extension=$(median 0)
at_once=$(median 1)
same=$(median 2)
hand=$(median 3)
awk -v extension="$extension" -v at_once="$at_once" -v same="$same" -v hand="$hand" -v limit="$limit" 'BEGIN {
	printf "extension %d us, at once %d us; the same statements %d us: %.2f, %.2f (limit %.2f); other statements %d us: %.2f, %.2f\n",
		extension, at_once, same, extension / same, at_once / same, limit, hand, extension / hand, at_once / hand
	exit extension / same > limit || at_once / same > limit
}'
