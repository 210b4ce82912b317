# A promoted standby replays what the old primary had completed, keeps its
# leases, finishes what it had prepared, and has nothing that it had not
# committed.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = PostgreSQL::Test::Cluster->new('old');
$old->init(allows_streaming => 1);
$old->append_conf('postgresql.conf', 'max_prepared_transactions = 10');
$old->start;
$old->safe_psql('postgres', 'CREATE EXTENSION idempotency');
$old->backup('base');
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init_from_backup($old, 'base', has_streaming => 1);
$new->start;

$old->safe_psql('postgres', q{
BEGIN;
SELECT idempotency.claim('done', 'shop', '{"amount": 1}', lease => '1 minute');
SELECT idempotency.complete('done', 'shop', '{"id": 1}', '1', 201);
COMMIT;
SELECT idempotency.claim('leased', 'shop', lease => '1 hour');
SELECT idempotency.claim('run out', 'shop', lease => '1 hour');
SELECT idempotency.checkpoint('run out', 'shop', 'charged', attempt => 1, lease => '1 millisecond');
BEGIN;
SELECT idempotency.claim('prepared', 'shop', lease => '1 minute');
SELECT idempotency.complete('prepared', 'shop', '"prepared"');
PREPARE TRANSACTION 'prepared';
});
my $owner = $old->background_psql('postgres');
$owner->query_safe(q{
BEGIN;
SELECT idempotency.claim('unfinished', 'shop', lease => '1 minute');
SELECT idempotency.complete('unfinished', 'shop', '"never known"');
});
my $replay = q{SELECT c FROM idempotency.claim('done', 'shop', '{"amount": 1}', lease => '1 minute') AS c};
my $replay_before = $old->safe_psql('postgres', $replay);
# The uncommitted rows reach the standby with this commit.
$old->safe_psql('postgres', q{SELECT idempotency.claim('last', 'shop', lease => '1 hour')});
$old->wait_for_catchup($new);
# A session that is connected to the standby stays open during the promotion.
my $session = $new->background_psql('postgres');
is($session->query_safe(q{SELECT status FROM idempotency.lookup('done', 'shop')}),
	'completed', 'the standby knows the result');

$old->stop('immediate');
eval { $owner->quit };
$new->promote;

sub one
{
	return $new->safe_psql('postgres', shift);
}

is(one($replay), $replay_before, 'a promoted server replays a result of the old one, times included');
is($session->query_safe(q{SELECT outcome, status_code, resource_id FROM idempotency.claim('done', 'shop', '{"amount": 1}', lease => '1 minute')}),
	'replay|201|1', 'a session from before the promotion replays it too');
$session->quit;
is(one(q{SELECT outcome FROM idempotency.claim('done', 'shop', '{"amount": 2}', lease => '1 minute')}),
	'mismatch', 'another request under that key is recognized');
is(one(q{SELECT string_agg(outcome, ', ') FROM unnest(ARRAY['leased', 'last']) AS key,
	LATERAL idempotency.claim(key, 'shop', lease => '1 minute') AS c}),
	'in_progress, in_progress', 'leases of the old server protect their keys');
is(one(q{SELECT outcome, attempt, recovery_point FROM idempotency.claim('run out', 'shop', lease => '1 minute')}),
	'recovered|2|charged', 'a lease of the old server that has run out is taken over');
is(one(q{SELECT outcome, attempt FROM idempotency.claim('unfinished', 'shop', wait => '0', lease => '1 minute')}),
	'new|1', 'what the old server had not committed is free');
is(one(q{SELECT outcome FROM idempotency.claim('prepared', 'shop', wait => '0', lease => '1 minute')}),
	'in_progress', 'what the old server had prepared is still owned');
one(q{COMMIT PREPARED 'prepared'});
is(one(q{SELECT outcome, response FROM idempotency.claim('prepared', 'shop', lease => '1 minute')}),
	'replay|"prepared"', 'and is replayed when it is committed');
one(q{SELECT idempotency.complete('leased', 'shop', '"done"', attempt => 1)});
is(one(q{SELECT outcome, response FROM idempotency.claim('leased', 'shop', lease => '1 minute')}),
	'replay|"done"', 'the owner of a lease completes on the promoted server');

done_testing();
