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
create_candidates small 'to_jsonb(payment)'
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
sql -c 'VACUUM ANALYZE'
export PGOPTIONS='-c search_path=small'

together=(bare bare-function extension extension-statements execute handwritten handwritten-statements redis redis-always)
for clients in 1 8 32; do
	record new ./pay -m new -c "$clients" -t "$seconds" -n "$rounds" "${redis[@]}" "${together[@]}"
done
# As on a disk that takes a millisecond longer to flush.
PGOPTIONS="$PGOPTIONS -c commit_delay=1000 -c commit_siblings=0" \
	record slow ./pay -m new -c 8 -t "$seconds" -n "$rounds" "${redis[@]}" "${together[@]}"
record mix ./pay -m mix -c 8 -t "$seconds" -n "$rounds" "${redis[@]}" bare "${together[@]:2}"
for clients in 1 8 32; do
	record replay ./pay -m replay -c "$clients" -t "$seconds" -n "$rounds" "${redis[@]}" \
		select claim extension execute handwritten redis
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
