#!/bin/bash
#
# load.sh: throughput and latency of each candidate under each load.
#
# Runs in the environment that test/throwaway-server.sh creates, with durable
# commits.  The candidates of a load take turns on the same connections.  Writes
# $RESULTS/load.tsv: the load, and a line of pay.c, for each time slice.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./record.sh
part=load
work=$(mktemp -d "$PGHOST/load.XXXXXX")
trap stop_redis EXIT
[ -x pay ] || build_client
start_redis everysec everysec
start_redis always always
redis=(-r "$work/everysec" -R "$work/always")

createdb load
export PGDATABASE=load
sql -c 'CREATE EXTENSION idempotency'
install_portable
create_candidates small 'to_jsonb(payment)'
PGOPTIONS='-c search_path=small' sql -f portable.sql
create_candidates gated 'to_jsonb(payment)'
sql -c "CREATE FUNCTION gated.wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END'" \
	-c 'CREATE TRIGGER wait BEFORE INSERT ON gated.payments FOR EACH ROW EXECUTE FUNCTION gated.wait()'
for size in 1000 20000; do
	# A receipt that does not compress: digits of hashes.
	sql -c "CREATE TABLE receipt_$size AS SELECT left(string_agg(sha512(n::text::bytea)::text, ''), $size) AS text FROM generate_series(1, 200) AS n"
	create_candidates "answer_$size" "to_jsonb(payment) || jsonb_build_object('receipt', (SELECT text FROM public.receipt_$size))"
done
# Tables of a server in use, so that plans are not those for empty tables.
for schema in small answer_1000 answer_20000; do
	PGOPTIONS="-c search_path=$schema" sql -c "SELECT count(extension('fill-' || n, '{\"reference\": \"fill\", \"account\": 1, \"amount\": 1}')),
		count(handwritten('fill-' || n, '{\"reference\": \"fill\", \"account\": 1, \"amount\": 1}'))
		FROM generate_series(1, 1000) AS n" >/dev/null
done
export PGOPTIONS='-c search_path=small'
sql -c "SELECT count(portable('fill-' || n, '{\"reference\": \"fill\", \"account\": 1, \"amount\": 1}')) FROM generate_series(1, 1000) AS n" >/dev/null
sql -c 'VACUUM ANALYZE'

together=(bare bare-function extension extension-if extension-statements execute portable handwritten handwritten-statements redis redis-always)
for clients in 1 8 32; do
	record new ./pay -m new -c "$clients" -t "$seconds" -n "$rounds" "${redis[@]}" "${together[@]}"
done
# As on a disk that takes a millisecond longer to flush.
PGOPTIONS="$PGOPTIONS -c commit_delay=1000 -c commit_siblings=0" \
	record slow ./pay -m new -c 8 -t "$seconds" -n "$rounds" "${redis[@]}" "${together[@]}"
record mix ./pay -m mix -c 8 -t "$seconds" -n "$rounds" "${redis[@]}" bare "${together[@]:2}"
for clients in 1 8 32; do
	record replay ./pay -m replay -c "$clients" -t "$seconds" -n "$rounds" "${redis[@]}" \
		select claim extension execute portable handwritten select-compared redis
done
for size in 1000 20000; do
	export PGOPTIONS="-c search_path=answer_$size"
	record "new-$size" ./pay -m new -c 8 -t "$seconds" -n "$rounds" "${redis[@]}" bare extension execute handwritten redis
	record "replay-$size" ./pay -m replay -c 8 -t "$seconds" -n "$rounds" "${redis[@]}" select claim handwritten redis
done

export PGOPTIONS='-c search_path=small'
duplicates=(nothing extension extension-nowait handwritten handwritten-nowait redis)
record duplicates ./pay -m duplicates -k dup -c 1000 -n "$rounds" "${redis[@]}" "${duplicates[@]}"
# How often each payment was made.
sql -F $'\t' -c "SELECT reference, count(*) FROM payments WHERE reference LIKE 'dup-%' GROUP BY 1" >"$RESULTS/duplicates.tsv"

# Duplicates that wait for a running request, from its commit on.
PGOPTIONS='-c search_path=gated -c idempotency.max_waiters=1000 -c idempotency.default_wait=60s' \
	record waiters ./pay -m waiters -k wait -c 1000 -n "$rounds" gate extension execute handwritten

# Row versions that were replaced, for each key stored.
sql -F $'\t' -c "SELECT edition, sum(n_tup_ins), sum(n_tup_upd + n_tup_del) FROM pg_stat_user_tables,
	LATERAL (SELECT CASE WHEN schemaname = 'idempotency' AND relname LIKE 'keys%' THEN 'extension'
		WHEN schemaname = 'portable' AND relname = 'keys' THEN 'portable' WHEN relname = 'handwritten_keys' THEN 'handwritten' END AS edition) AS e
	WHERE edition IS NOT NULL GROUP BY 1" >"$RESULTS/versions.tsv"
