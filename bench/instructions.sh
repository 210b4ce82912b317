#!/bin/bash
#
# instructions.sh: measure the cost of each candidate in instructions and bytes of
# WAL.
#
# Runs in the environment that test/throwaway-server.sh creates.  The database
# is filled on its server, which is then stopped for good, and a single-user backend
# runs under callgrind.  It reads a script of phases, PHASE transactions of one
# candidate each, with a call of pg_current_wal_insert_lsn() in between: at its
# entry callgrind dumps and resets its counters, and its result gives the WAL.  So
# start-up and shutdown are not counted.  Every candidate runs TURNS times, after a
# warm-up that is not counted, A B .. A B ..; the table shows the median.
#
# Every claim of a new key probes each slot of the wheel that has keys.  A new
# installation has one such slot; from the second day on there are two: the
# candidates of the second day run again when another slot has as many keys.
#
# Two floors: a function that makes the payment and inserts a row like a key's into
# a table with the same columns and index, without any check; and, for the three
# statements of a claim, calls of functions that have the same arguments and return
# at once.
#
# Full-page writes are off, as in the time between checkpoints.  The numbers do not
# depend on the machine's load and hardly on its type.
#
# Prints a table and writes it to $RESULTS/instructions.tsv.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
phase=${PHASE:-200}
warm_up=${WARM_UP:-300}
turns=${TURNS:-3}
filled=10000
work=$RESULTS/instructions
mkdir -p "$work"

. ./record.sh

createdb instructions
export PGDATABASE=instructions
install_portable
gcc -shared -fPIC -O2 -I"$("$PG_CONFIG" --includedir-server)" -x c - -o "$work/noop.so" <<'END'
#include "postgres.h"
#include "fmgr.h"
PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(noop);
Datum noop(PG_FUNCTION_ARGS) { PG_RETURN_NULL(); }
END
# Tables of a server in use, with as many keys in each.
sql -v answer='to_jsonb(payment)' -f - <<END
CREATE EXTENSION idempotency;
\i candidates.sql
\i portable.sql
CREATE TABLE plain_keys (LIKE idempotency.keys_0 INCLUDING STORAGE) WITH (fillfactor = 75);
CREATE UNIQUE INDEX ON plain_keys (hash);
CREATE FUNCTION plain(key text, request jsonb, OUT status integer, OUT body jsonb) LANGUAGE plpgsql AS \$\$
BEGIN
	INSERT INTO payments (reference, account, amount)
	VALUES (request->>'reference', (request->>'account')::integer, (request->>'amount')::numeric)
	RETURNING answer(payments) INTO body;
	status := 201;
	INSERT INTO plain_keys (scope, key, fingerprint, status, status_code, resource_id, response, attempt, claimed_at, completed_at, expires_at, claim_xid, slot, hash)
	VALUES ('payments', key, '0123456789abcdef', 'completed', status, body->>'id', body, 1, now(), now(), now(), '1', 1, key::uuid);
END \$\$;
CREATE FUNCTION noop_claim(key text, scope text DEFAULT '', request jsonb DEFAULT NULL, ttl interval DEFAULT NULL,
	lease interval DEFAULT NULL, wait interval DEFAULT NULL, first_sent timestamptz DEFAULT NULL) RETURNS idempotency.claim_result
LANGUAGE C AS '$work/noop', 'noop';
CREATE FUNCTION noop_complete(key text, scope text DEFAULT '', response jsonb DEFAULT NULL, resource_id text DEFAULT NULL,
	status_code integer DEFAULT NULL, attempt integer DEFAULT NULL, ttl interval DEFAULT NULL) RETURNS void
LANGUAGE C AS '$work/noop', 'noop';
\o /dev/null
SELECT count(plain(md5(n::text), '{"reference": "fill", "account": 1, "amount": 1}')) FROM generate_series(-$filled, -1) AS n;
SELECT count(extension('fill-' || n, '{"reference": "fill", "account": 1, "amount": 1}')),
	count(handwritten('fill-' || n, '{"reference": "fill", "account": 1, "amount": 1}')),
	count(handwritten_rules('fill-' || n, '{"reference": "fill", "account": 1, "amount": 1}')),
	count(handwritten_pair('fill-' || n, '{"reference": "fill", "account": 1, "amount": 1}')),
	count(portable('fill-' || n, '{"reference": "fill", "account": 1, "amount": 1}'))
FROM generate_series(1, $filled) AS n;
VACUUM (FREEZE, ANALYZE);
END
# Only one slot of the wheel has keys.
slot=$(sql -c "SELECT DISTINCT tableoid::regclass FROM idempotency.keys")
# Keys are UUIDs, numbered from 0, each used by one candidate only.
sql -F ' ' -c "SELECT key, idempotency.key_hash(key, 'payments')
	FROM generate_series(0, 24 * ($warm_up + $phase * $turns)) AS n, LATERAL (SELECT md5(n::text)::uuid::text AS key) AS k
	ORDER BY n" >"$work/keys"
sql -c 'SELECT round(avg(pg_column_size(response))) FROM idempotency.keys' >"$RESULTS/response.tsv"
pg_ctl -D "$PGHOST/data" -m fast -s -w stop

# The script.  A label for each phase goes to the file "phases".
SLOT=$slot perl -- - statements.sql "$work/keys" "$phase" "$warm_up" "$turns" "$filled" "$work/phases" >"$work/script" <<'END'
use strict;
use warnings;

my ($statements, $keys, $phase, $warm_up, $rounds, $filled, $phases) = @ARGV;
my ($number, %last) = (0);

sub lines { my ($name) = @_; open my $file, '<', $name or die "$name: $!"; return <$file> }
my %hash = map { split } my @keys = lines($keys);
@keys = map { (split)[0] } @keys;

sub request
{
	my ($key) = @_;
	return qq('{"reference": "$key", "account": 42, "amount": 19.90}');
}

my $insert = sub { my ($key) = @_; "EXECUTE payment ('$key', 42, 19.90)" };
my $body = sub { my ($key) = @_; qq('{"id": 4711, "amount": 19.90, "account": 42, "paid_at": "2026-01-01T00:00:00.000000+00:00", "reference": "$key"}') };
my $call = sub { my ($name) = @_; sub { my ($key) = @_; "EXECUTE $name ('$key', " . request($key) . ')' } };
my $claim = $call->('claim');
my $transaction = sub { my (@statements) = @_; sub { my ($key) = @_; ('BEGIN', (map { $_->($key) } @statements), 'COMMIT') } };

# label, its base, lines of one transaction, the candidate whose keys are used again
my @candidates = (
	['bare insert', '', $insert],
	['bare insert by statements', '', $transaction->($insert)],
	['bare insert in a function', '', $call->('bare')],
	['plain INSERT of such a row', 'bare insert in a function', $call->('plain')],
	['extension in a function', 'bare insert in a function', $call->('extension')],
	['extension in a function, IF', 'bare insert in a function', $call->('extension_if')],
	['extension by execute', 'bare insert in a function', $call->('execute')],
	['extension by statements', 'bare insert by statements', $transaction->(
		$claim, $insert, sub { my ($key) = @_; "EXECUTE complete ('$key', " . $body->($key) . ", '4711')" })],
	['no-ops by statements', 'bare insert by statements', $transaction->(
		$call->('noop_claim'), $insert, sub { my ($key) = @_; "EXECUTE noop_complete ('$key', " . $body->($key) . ", '4711')" })],
	['portable in a function', 'bare insert in a function', $call->('portable')],
	['hand-written function', 'bare insert in a function', $call->('handwritten')],
	['hand-written function, not waiting', 'bare insert in a function', $call->('handwritten_nowait')],
	['hand-written function, all rules', 'bare insert in a function', $call->('handwritten_rules')],
	['hand-written claim and complete', 'bare insert in a function', $call->('handwritten_pair')],
	['hand-written by statements', 'bare insert by statements', $transaction->(
		$call->('insert_key'), $insert, sub { my ($key) = @_; "EXECUTE update_key ('$key', " . $body->($key) . ')' })],
	['primary-key SELECT', '', sub { my ($key) = @_; "EXECUTE stored ('$hash{$key}')" }, 'extension in a function'],
	['replay, hand-written SELECT', 'primary-key SELECT', $call->('select_key'), 'hand-written function'],
	['replay by claim', 'primary-key SELECT', $claim, 'extension in a function'],
	['replay in a function', 'primary-key SELECT', $call->('extension'), 'extension in a function'],
	['replay by execute', 'primary-key SELECT', $call->('execute'), 'extension by execute'],
	['replay, portable', 'primary-key SELECT', $call->('portable'), 'portable in a function'],
	['replay, hand-written function', 'primary-key SELECT', $call->('handwritten'), 'hand-written function'],
	['replay, hand-written claim', 'primary-key SELECT', $call->('handwritten_pair'), 'hand-written claim and complete'],
	['once', '', sub { my ($key) = @_; "EXECUTE once ('$key')" }],
);
# The same, while a second slot holds keys.
my @second_day = (
	['extension in a function, second day', 'bare insert in a function', $call->('extension')],
	['extension by execute, second day', 'bare insert in a function', $call->('execute')],
	['once, second day', '', sub { my ($key) = @_; "EXECUTE once ('$key')" }],
);
# One statement for all keys of the phase.
my @bulk = (
	['bulk INSERT', '', sub { "INSERT INTO bulk SELECT 'm$number-' || n FROM generate_series(1, $_[0]) AS n ON CONFLICT DO NOTHING" }],
	['bulk once', '', sub { "SELECT count(*) FROM generate_series(1, $_[0]) AS n WHERE idempotency.once('m$number-' || n)" }],
	['bulk claim_many, complete_many', '', sub {
		my $keys = "(SELECT array_agg('b$number-' || n) FROM generate_series(1, $_[0]) AS n)";
		('BEGIN', "SELECT count(*) FROM idempotency.claim_many($keys)", "SELECT idempotency.complete_many($keys)", 'COMMIT') }],
);
# Ten times as many expired keys, in keys_long.
my $expired = sub { 'VACUUM idempotency.keys_long', "INSERT INTO idempotency.keys (scope, key, status, status_code, response, attempt, claimed_at, completed_at, expires_at, slot, hash)"
	. " SELECT '', 'x' || n, 'completed', 201, '{\"id\": 4711}', 1, now(), now(), now(), -1, idempotency.key_hash('x' || n, '') FROM generate_series(1, $_[0]) AS n" };
my @expiry = (
	['bulk DELETE of expired keys', '', sub { 'DELETE FROM idempotency.keys_long WHERE expires_at < clock_timestamp()' }, $expired],
	['bulk sweep of expired keys', '', sub { "SELECT rows_deleted / ($_[0] = rows_deleted)::int FROM idempotency.sweep($_[0])" }, $expired],
);

# A statement is a line, in a single-user backend.
my $text = join '', lines($statements);
$text =~ s/--.*//g;
print map { s/\s+/ /gr . "\n" } grep { /\S/ } split /;/, $text;
print "PREPARE stored (uuid) AS SELECT status_code, resource_id, response FROM $ENV{SLOT} WHERE hash = \$1\n";
print "PREPARE once (text) AS SELECT idempotency.once(\$1)\n";
print "CREATE TABLE bulk (key text PRIMARY KEY)\n";

open my $list, '>', $phases or die "$phases: $!";
sub run_phase
{
	my ($n, $label, $base, $lines, $again) = @_;
	my @keys = defined $again ? @{ $last{$again} }[ 0 .. $n - 1 ] : splice @keys, 0, $n;
	$last{$label} = \@keys;
	print map { "$_\n" } map { $lines->($_) } @keys;
	print "SELECT pg_current_wal_insert_lsn()\n";
	print $list "$label\t$base\t$n\n";
}
sub run_bulk
{
	my ($n, $label, $base, $lines, $before) = @_;
	if ($before)
	{
		print map { "$_\n" } $before->($n), 'SELECT pg_current_wal_insert_lsn()';
		print $list "filling\t\t$n\n";
	}
	print map { "$_\n" } $lines->($n);
	print "SELECT pg_current_wal_insert_lsn()\n";
	print $list "$label\t$base\t$n\n";
	$number += $n;
}

for my $round (0 .. $rounds)
{
	my $n = $round == 0 ? $warm_up : $phase;
	if ($round == 1)
	{
		print "SELECT pg_current_wal_insert_lsn()\n";
		print $list "warm-up\t\t1\n";
	}
	run_phase($n, @$_) for @candidates;
	run_bulk($n, @$_) for @bulk;
}
print map { "$_\n" } "SET idempotency.default_ttl = '2 days'",
	"SELECT count(*) FROM generate_series(1, $filled) AS n WHERE idempotency.once('another slot ' || n)", 'RESET idempotency.default_ttl';
for my $round (0 .. $rounds)
{
	run_phase($round == 0 ? $warm_up : $phase, $round == 0 ? ('filling', '', $_->[2]) : @$_) for @second_day;
}
# Last, since from now on keys_long is in use, and every claim probes it.
for (1 .. $rounds)
{
	run_bulk(10 * $phase, @$_) for @expiry;
}
END

progress "counting instructions: about a minute"
valgrind --tool=callgrind --callgrind-out-file="$work/callgrind" --dump-before=pg_current_wal_insert_lsn \
	--log-file="$work/valgrind.log" postgres --single -D "$PGHOST/data" \
	-c full_page_writes=off -c max_wal_size=8GB -c shared_buffers=512MB instructions <"$work/script" >"$work/output" 2>"$work/errors"
if grep -E 'ERROR|WARNING|FATAL|PANIC' "$work/errors" "$work/output" >&2; then
	echo "instructions.sh: the candidates' statements failed" >&2
	exit 1
fi

# The counters, in order, since callgrind numbers its files.
perl -- - "$work" >"$RESULTS/instructions.tsv" <<'END'
use strict;
use warnings;

my ($work) = @ARGV;
sub lines { my ($name) = @_; open my $file, '<', $name or die "$name: $!"; chomp(my @lines = <$file>); return @lines }
sub median { my @v = sort { $a <=> $b } @_; return ($v[@v / 2] + $v[(@v - 1) / 2]) / 2 }

my @lsns = map { /pg_current_wal_insert_lsn = "(\w+)\/(\w+)"/ ? hex($1) * 2**32 + hex($2) : () } lines("$work/output");
my ($warm, %instructions, %wal, %base, @labels);
my $i = 0;
for my $phase (lines("$work/phases"))
{
	my ($label, $base, $n) = split /\t/, $phase;
	$i++;
	if ($label eq 'warm-up') { $warm = 1; next }
	next if !$warm || $label eq 'filling';
	my ($total) = map { /^totals: (\d+)/ ? $1 : () } lines("$work/callgrind.$i");
	push @labels, $label unless $instructions{$label};
	$base{$label} = $base;
	push @{ $instructions{$label} }, $total / $n;
	push @{ $wal{$label} }, ($lsns[$i - 1] - $lsns[$i - 2]) / $n;
}
printf "%s\n", join "\t", 'candidate', 'base', 'instructions', 'over base', 'WAL bytes', 'over base', 'lowest', 'highest';
for my $label (@labels)
{
	my ($count, $bytes) = (median(@{ $instructions{$label} }), median(@{ $wal{$label} }));
	my $base = $base{$label};
	my @sorted = sort { $a <=> $b } @{ $instructions{$label} };
	printf "%s\t%s\t%.0f\t%s\t%.0f\t%s\t%.0f\t%.0f\n", $label, $base, $count,
		$base ? sprintf('%.0f', $count - median(@{ $instructions{$base} })) : '',
		$bytes, $base ? sprintf('%.0f', $bytes - median(@{ $wal{$base} })) : '', $sorted[0], $sorted[-1];
}
END
rm -r "$work"

awk -F '\t' 'NR == 1 { printf "%-40s %14s %10s %10s %10s\n", $1, $3, $4, $5, $6; next }
	{ printf "%-40s %14s %10s %10s %10s\n", $1, $3, $4, $5, $6 }' "$RESULTS/instructions.tsv"
