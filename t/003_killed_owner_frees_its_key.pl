# kill -9 of a backend in the middle of its work makes the server restart
# itself: the key of that backend is free, and committed work of others is
# kept.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION idempotency');
$node->safe_psql('postgres', 'CREATE TABLE payments (key text)');

sub one
{
	return $node->safe_psql('postgres', shift);
}

one(q{
BEGIN;
SELECT idempotency.claim('earlier', lease => '1 minute');
SELECT idempotency.complete('earlier', response => '"kept"');
COMMIT;
SELECT idempotency.claim('leased', lease => '1 hour');
});
my $started = one('SELECT pg_postmaster_start_time()');

my $owner = $node->background_psql('postgres');
$owner->query_safe(q{
BEGIN;
SELECT idempotency.claim('held', lease => '1 minute');
INSERT INTO payments VALUES ('held');
});
my $pid = $owner->query_safe('SELECT pg_backend_pid()');
is(one(q{SELECT outcome FROM idempotency.claim('held', wait => '0', lease => '1 minute')}), 'in_progress', 'the backend holds the key');

# A duplicate that waits for the owner when it is killed.
my $duplicate = $node->background_psql('postgres', on_error_stop => 0);
$duplicate->query_until(qr/waiting/, q{
\echo waiting
SELECT outcome FROM idempotency.claim('held', wait => '1 hour', lease => '1 minute');
});
$node->poll_query_until('postgres',
	qq{SELECT count(*) = 1 FROM pg_stat_activity WHERE $pid = ANY (pg_blocking_pids(pid))})
  or die 'the duplicate does not wait';

kill 'KILL', $pid;
$node->wait_for_log(qr/all server processes terminated; reinitializing/);
$node->poll_query_until('postgres', 'SELECT true') or die 'the server does not come back';
eval { $_->quit } for ($owner, $duplicate);

is(one('SELECT pg_postmaster_start_time()'), $started, 'the server restarted itself');
is(one('SELECT count(*) FROM payments'), '0', 'nothing is left of the killed work');
is(one(q{SELECT outcome, attempt FROM idempotency.claim('held', wait => '0', lease => '1 minute')}),
	'new|1', 'the key that a killed backend held is free');
is(one(q{SELECT outcome, response FROM idempotency.claim('earlier', lease => '1 minute')}),
	'replay|"kept"', 'a committed result is replayed after the server restarted itself');
is(one(q{SELECT outcome FROM idempotency.claim('leased', lease => '1 minute')}),
	'in_progress', 'a committed lease outlives the restart');

done_testing();
