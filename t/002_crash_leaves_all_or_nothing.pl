# A crash of the server between claim and complete leaves nothing of the claim
# and nothing of its work: a retry at once finds a free key. A committed claim
# keeps its lease, and is taken over once that has expired.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION idempotency');
$node->safe_psql('postgres', 'CREATE TABLE payments (key text)');

sub one
{
	return $node->safe_psql('postgres', shift);
}

one(q{
BEGIN;
SELECT idempotency.claim('committed', lease => '1 minute');
INSERT INTO payments VALUES ('committed');
SELECT idempotency.complete('committed', response => '{"id": 1}');
COMMIT;
SELECT idempotency.claim('long lease', lease => '1 hour');
SELECT idempotency.claim('short lease', lease => '1 hour');
SELECT idempotency.checkpoint('short lease', '', 'charged', '{"charge": "ch_1"}', 1, '1 second');
});

my $claimed = $node->background_psql('postgres');
$claimed->query_safe(q{
BEGIN;
SELECT idempotency.claim('claimed', lease => '1 minute');
INSERT INTO payments VALUES ('claimed');
});
my $completed = $node->background_psql('postgres');
$completed->query_safe(q{
BEGIN;
SELECT idempotency.claim('completed', lease => '1 minute');
INSERT INTO payments VALUES ('completed');
SELECT idempotency.complete('completed', response => '{"id": 2}');
});
# More is on disk than was committed.
one('CHECKPOINT');
is(one(q{SELECT string_agg(outcome, ', ') FROM unnest(ARRAY['claimed', 'completed']) AS key,
	LATERAL idempotency.claim(key, wait => '0', lease => '1 minute') AS c}),
	'in_progress, in_progress', 'both keys are held before the crash');

$node->stop('immediate');
$node->start;
eval { $_->quit } for ($claimed, $completed);

is(one(q{SELECT string_agg(key, ', ') FROM payments}), 'committed', 'a crash leaves no uncommitted work');
is(one(q{SELECT outcome, attempt FROM idempotency.claim('claimed', wait => '0', lease => '1 minute')}),
	'new|1', 'a crash between claim and complete leaves the key free');
is(one(q{SELECT outcome, attempt FROM idempotency.claim('completed', wait => '0', lease => '1 minute')}),
	'new|1', 'a crash between complete and commit leaves the key free');
is(one(q{SELECT outcome, response FROM idempotency.claim('committed', wait => '0', lease => '1 minute')}),
	'replay|{"id": 1}', 'a committed result is replayed after a crash');

is(one(q{SELECT outcome FROM idempotency.claim('long lease', lease => '1 minute')}),
	'in_progress', 'a committed lease protects its key after a crash');
$node->poll_query_until('postgres',
	q{SELECT NOT EXISTS (SELECT FROM idempotency.lookup('short lease') WHERE lease_until > clock_timestamp())})
  or die 'the lease does not run out';
is(one(q{SELECT outcome, attempt, recovery_point, state FROM idempotency.claim('short lease', lease => '1 minute')}),
	'recovered|2|charged|{"charge": "ch_1"}',
	'an expired lease is taken over with a higher attempt and its last checkpoint');

my ($status, $stdout, $stderr) = $node->psql('postgres',
	q{\set VERBOSITY sqlstate
SELECT idempotency.complete('short lease', response => '"late"', attempt => 1)});
like($stderr, qr/ERROR:  IK423/, 'the owner from before the crash is refused after the takeover');

done_testing();
