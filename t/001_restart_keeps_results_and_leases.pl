# A restart of the server keeps the stored keys: results are replayed exactly
# as before, a lease protects its key for the same time, and its owner may
# finish.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION idempotency');

sub one
{
	return $node->safe_psql('postgres', shift);
}

one(q{
SELECT idempotency.claim('paid', 'shop', '{"amount": 10}', lease => '1 minute');
SELECT idempotency.complete('paid', 'shop', '{"id": 7}', '7', 201, attempt => 1);
SELECT idempotency.claim('refused', 'shop', lease => '1 minute');
SELECT idempotency.fail('refused', 'shop', '{"title": "No funds"}', status_code => 402, attempt => 1);
SELECT idempotency.claim('kept for a year', 'shop', ttl => '1 year', lease => '1 minute');
SELECT idempotency.complete('kept for a year', 'shop', '"still here"', attempt => 1);
SELECT idempotency.claim('given back', 'shop', lease => '1 minute');
SELECT idempotency.release('given back', 'shop', 1);
SELECT idempotency.claim('running', 'shop', lease => '1 hour');
SELECT idempotency.checkpoint('running', 'shop', 'charged', '{"charge": "ch_1"}', 1, '1 hour');
});

my $replays = q{
SELECT key, c FROM unnest(ARRAY['paid', 'refused', 'kept for a year']) AS key,
	LATERAL idempotency.claim(key, 'shop', CASE key WHEN 'paid' THEN '{"amount": 10}'::jsonb END, lease => '1 minute') AS c};
my $lease = q{SELECT l FROM idempotency.lookup('running', 'shop') AS l};
my $outcomes = q{
SELECT string_agg(c.outcome, ', ') FROM unnest(ARRAY['paid', 'refused', 'kept for a year']) AS key,
	LATERAL idempotency.claim(key, 'shop', CASE key WHEN 'paid' THEN '{"amount": 10}'::jsonb END, lease => '1 minute') AS c};

my $replays_before = one($replays);
my $lease_before = one($lease);
is(one($outcomes), 'replay, replay, replay', 'results are stored before the restart');

$node->restart;

is(one($outcomes), 'replay, replay, replay', 'results are replayed after a restart');
is(one($replays), $replays_before, 'a replay is the same before and after a restart, times included');
is(one(q{SELECT outcome, status_code FROM idempotency.claim('paid', 'shop', '{"amount": 11}', lease => '1 minute')}),
	'mismatch|422', 'another request for a completed key is recognized');
is(one($lease), $lease_before, 'a lease ends when it would have ended without the restart');
is( one(q{SELECT outcome, retry_after BETWEEN '59 minutes' AND '60 minutes'
	FROM idempotency.claim('running', 'shop', lease => '1 minute')}),
	'in_progress|t', 'a lease still protects its key after a restart');
is(one(q{SELECT outcome, attempt FROM idempotency.claim('given back', 'shop', lease => '1 minute')}),
	'new|2', 'a released key keeps its attempt over a restart');

one(q{SELECT idempotency.complete('running', 'shop', '"done"', attempt => 1)});
is(one(q{SELECT outcome, response FROM idempotency.claim('running', 'shop', lease => '1 minute')}),
	'replay|"done"', 'the owner of a lease completes after a restart');

done_testing();
