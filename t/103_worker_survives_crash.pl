# Sweeping continues however the launcher, the worker or the server ended.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'idempotency'
idempotency.sweep_interval = '20 ms'
restart_after_crash = on
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION idempotency');

sub launcher
{
	$node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idempotency launcher'}) or die 'no launcher';
	return $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'idempotency launcher'});
}

sub goes_on
{
	my ($name) = @_;
	$node->safe_psql('postgres', q{
		SELECT idempotency.claim('a', 'slot', ttl => '0.01 s', lease => '0.01 s');
		SELECT idempotency.claim('b', 'long', ttl => '1 year', lease => '0.01 s');
		SELECT idempotency.complete('b', 'long', attempt => 1, ttl => '0.01 s');
		SELECT pg_sleep(0.02);
		UPDATE idempotency.wheel SET until = clock_timestamp() WHERE slot = (SELECT slot FROM idempotency.keys WHERE key = 'a');
	});
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM idempotency.keys}), $name);
	return;
}

goes_on('sweeping');

my $pid = launcher();
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
isnt(launcher(), $pid, 'the launcher is started again after it was terminated');
goes_on('sweeping goes on');

# kill -9 of the launcher makes the postmaster restart everything.
$pid = launcher();
kill 'KILL', $pid;
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid") or die 'no restart';
isnt(launcher(), $pid, 'the launcher is started again after kill -9');
goes_on('sweeping goes on after kill -9');

# A crash while a slot is being turned: the turn has happened as a whole or not at
# all, and live keys are stored.
$node->append_conf('postgresql.conf', 'idempotency.worker = off');
$node->reload;
$node->safe_psql('postgres', q{
	UPDATE idempotency.wheel SET until = clock_timestamp() + (slot + 1) * interval '1 hour';
	SELECT idempotency.claim('dead' || n, 'crash', ttl => '0.01 s', lease => '0.01 s') FROM generate_series(1, 100) AS n;
	SELECT idempotency.claim('live' || n, 'crash', ttl => '90 minutes', lease => '1 minute') FROM generate_series(1, 100) AS n;
	SELECT pg_sleep(0.1);
	UPDATE idempotency.wheel SET until = clock_timestamp() WHERE slot = 0;
});
my $counts = q{SELECT count(*) FILTER (WHERE key LIKE 'dead%'), count(*) FILTER (WHERE key LIKE 'live%'),
	(SELECT until > clock_timestamp() FROM idempotency.wheel WHERE slot = 0) FROM idempotency.keys WHERE scope = 'crash'};
$node->safe_psql('postgres', 'BEGIN; SELECT idempotency.sweep(); CHECKPOINT; ROLLBACK');
is($node->safe_psql('postgres', $counts), '100|100|f', 'a turn that is rolled back has not happened');
my ($stdout, $stderr);
$node->psql('postgres', q{BEGIN; SELECT idempotency.sweep(); SELECT pg_switch_wal();
	COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'}, stdout => \$stdout, stderr => \$stderr);
$node->poll_query_until('postgres', 'SELECT true') or die 'no restart';
is($node->safe_psql('postgres', $counts), '100|100|f', 'a turn cut short by a crash has not happened');
$node->safe_psql('postgres', 'SELECT idempotency.sweep()');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', $counts), '0|100|t', 'a turn that was committed outlives a crash');
is($node->safe_psql('postgres', q{SELECT count(*) FROM generate_series(1, 100) AS n, LATERAL idempotency.lookup('live' || n, 'crash')}),
	'100', 'every live key is found');

$node->append_conf('postgresql.conf', 'idempotency.worker = on');
$node->reload;
$node->safe_psql('postgres', 'TRUNCATE idempotency.keys');
goes_on('sweeping goes on after a crash of the server');
$node->stop('fast');
done_testing();
