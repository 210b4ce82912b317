#!/bin/bash
#
# connect.sh: the cost of the first claim of a session.
#
# A connection is made, sends one statement and is closed, TIMES (100) times by
# each candidate in each of ROUNDS rounds, in turn: a plain INSERT, a payment in a
# function, a claim and its completion around it, execute(), the hand-written
# function.  Writes $RESULTS/connect.tsv: candidate, round, milliseconds of a
# connection.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./record.sh
times=${TIMES:-100}
work=$(mktemp -d "$PGHOST/connect.XXXXXX")

createdb connect
export PGDATABASE=connect PGOPTIONS='-c synchronous_commit=off'
sql -c 'CREATE EXTENSION idempotency'
create_candidates public 'to_jsonb(payment)'

key="gen_random_uuid()::text"
request="'{\"reference\": \"new\", \"account\": 42, \"amount\": 19.90}'"
echo "INSERT INTO payments (reference, account, amount) VALUES ($key, 42, 19.90);" >"$work/insert"
for function in bare extension handwritten; do
	echo "SELECT status, body FROM $function($key, $request);" >"$work/$function"
done
echo "SELECT status_code, response FROM idempotency.execute($key, 'payments', 'pay', $request);" >"$work/execute"

progress 'first claims of new connections'
for ((round = 0; round <= rounds; round++)); do
	for candidate in insert bare extension execute handwritten; do
		ms=$(pgbench -n -C -t "$times" -f "$work/$candidate" 2>&1 | sed -nE 's/^tps = ([0-9.]+).*/\1/p' | awk '{ print 1000 / $1 }')
		[ "$round" = 0 ] || printf '%s\t%s\t%s\n' "$candidate" "$round" "$ms" >>"$RESULTS/connect.tsv"
	done
done
