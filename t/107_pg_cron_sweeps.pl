# A scheduler can replace the worker: pg_cron runs sweep(), as a role that may do
# nothing else.
#
# A minute is the shortest period in every version of pg_cron; a job for
# @reboot runs as soon as the server has started, so each start is a round.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
max_worker_processes = 20
cron.database_name = 'postgres'
idempotency.wheel_tick = '1 hour'
});
$node->append_conf('postgresql.conf', "cron.host = '" . $node->host . "'");
$node->start;
plan skip_all => 'pg_cron is not installed (Debian: postgresql-' . $node->pg_version->major . '-cron)'
  if $node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_cron'}) eq '0';

sub start_with
{
	my ($libraries) = @_;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$libraries'");
	$node->restart;
	return;
}

# Expired keys in slot 0, which is past, and in keys_long; and live keys.
sub leave_expired_keys
{
	$node->safe_psql('postgres', q{
		TRUNCATE idempotency.keys;
		UPDATE idempotency.wheel SET until = statement_timestamp() + (slot + 1) * interval '1 hour';
		SELECT idempotency.claim('a' || n, 'slot', ttl => '0.01 s', lease => '0.01 s') FROM generate_series(1, 100) AS n;
		SELECT idempotency.claim('b' || n, 'long', ttl => '1 year', lease => '0.01 s') FROM generate_series(1, 100) AS n;
		SELECT idempotency.complete('b' || n, 'long', attempt => 1, ttl => '0.01 s') FROM generate_series(1, 100) AS n;
		SELECT idempotency.claim('c', 'live', ttl => '90 minutes', lease => '1 minute'), idempotency.claim('d', 'live', ttl => '1 year', lease => '1 minute');
		SELECT pg_sleep(0.02);
		UPDATE idempotency.wheel SET until = clock_timestamp() - interval '1 hour' WHERE slot = 0;
	});
	return;
}

# Rounds that pg_cron has recorded: their roles and results.
sub rounds_are
{
	my ($rounds, $name) = @_;
	my $recorded = q{SELECT string_agg(username || ' ' || status, ', ' ORDER BY runid) FROM cron.job_run_details};
	ok($node->poll_query_until('postgres', "$recorded WHERE status IN ('succeeded', 'failed')", $rounds), $name)
	  or diag $node->safe_psql('postgres', $recorded);
	return;
}

sub is_swept
{
	my ($name) = @_;
	is($node->safe_psql('postgres', q{SELECT string_agg(key, ' ' ORDER BY key) FROM idempotency.keys}),
		'c d', "$name: the expired keys are gone, the live ones are there");
	is($node->safe_psql('postgres', q{SELECT until > clock_timestamp() - interval '30 minutes' FROM idempotency.wheel WHERE slot = 0}),
		't', "$name: the slot has its next upper bound");
	return;
}

start_with('pg_cron');
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_cron;
	CREATE EXTENSION idempotency;
	CREATE ROLE sweeper LOGIN;
	GRANT USAGE ON SCHEMA cron, idempotency TO sweeper;
	GRANT EXECUTE ON FUNCTION idempotency.sweep(bigint) TO sweeper;
	SET ROLE sweeper;
	SELECT cron.schedule('@reboot', 'SELECT idempotency.sweep()');
});

leave_expired_keys();
$node->restart;
rounds_are('sweeper succeeded', 'pg_cron runs sweep() by a connection');
is_swept('by a connection');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'idempotency%'}), '0',
	'there is no worker of the extension');
is($node->safe_psql('postgres', 'SELECT count(*) FROM idempotency.stats'), '0', 'nor counters');

# Preloaded for its counters, with the worker off; pg_cron has its own workers.
leave_expired_keys();
$node->append_conf('postgresql.conf', q{
idempotency.worker = off
cron.use_background_workers = on
});
start_with('pg_cron, idempotency');
rounds_are('sweeper succeeded, sweeper succeeded', 'pg_cron runs sweep() in a worker');
is_swept('in a worker');
is( $node->safe_psql('postgres', q{SELECT sweeps, slots_cleared, rows_deleted, last_sweep > pg_postmaster_start_time(), last_sweep_error
		FROM idempotency.stats WHERE scope = ''}),
	'1|1|100|t|', 'stats counts the sweep');

# The schedule of doc/replicas.md, for a primary whose standby is dumped at night:
# the hours are accepted, and the command is the one that has run above.
my ($outside) = slurp_file('doc/replicas.md') =~ /^  ```pgsql\n(.*?cron\.schedule.*?)^  ```$/ms;
$node->safe_psql('postgres', $_) foreach split /;\s*/, $outside;
is($node->safe_psql('postgres', q{SELECT schedule, active FROM cron.job WHERE command = 'SELECT idempotency.sweep()' AND jobname = 'idempotency'}),
	'* 0-1,5-23 * * *|t', 'a job sweeps outside of some hours');

$node->stop('fast');
ok(slurp_file($node->logfile) !~ qr/(?:ERROR|PANIC):/, 'the log has no error');
done_testing();
