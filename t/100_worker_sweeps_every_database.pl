# The worker starts with the server and sweeps every database that has the
# extension, including those created later; it follows the settings.
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
});
$node->start;

# Leave an expired key in a slot that is past, and one in keys_long.  The sweeper
# may lay the wheel meanwhile.
sub leave_expired_keys
{
	my ($db) = @_;
	$node->safe_psql($db, q{
		SELECT idempotency.claim('a', 'slot', ttl => '0.01 s', lease => '0.01 s');
		SELECT idempotency.claim('b', 'long', ttl => '1 year', lease => '0.01 s');
		SELECT idempotency.complete('b', 'long', attempt => 1, ttl => '0.01 s');
		SELECT pg_sleep(0.02);
		UPDATE idempotency.wheel SET until = clock_timestamp() WHERE slot = (SELECT slot FROM idempotency.keys WHERE key = 'a');
	});
	return;
}

sub is_swept
{
	my ($db, $name) = @_;
	ok($node->poll_query_until($db, q{
		SELECT count(*) = 0 AND (SELECT min(until) > clock_timestamp() FROM idempotency.wheel)
		FROM idempotency.keys}), $name);
	return;
}

# Rows of keys after a round that begins later than this call; a round is seen
# when it sweeps another database.
sub keys_after_a_round
{
	my ($db, $other) = @_;
	for (1 .. 2)
	{
		leave_expired_keys($other);
		is_swept($other, "another database is swept meanwhile");
	}
	return $node->safe_psql($db, 'SELECT count(*) FROM idempotency.keys');
}

$node->poll_query_until('postgres',
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idempotency launcher' AND datid IS NULL})
  or die 'no launcher';
pass('the launcher starts with the server, connected to no database');

$node->safe_psql('postgres', 'CREATE EXTENSION idempotency');
leave_expired_keys('postgres');
is_swept('postgres', 'the database is swept');

$node->safe_psql('postgres', 'CREATE DATABASE later');
$node->safe_psql('later', 'CREATE EXTENSION idempotency');
leave_expired_keys('later');
is_swept('later', 'a database created later is swept');

$node->safe_psql('postgres', 'CREATE DATABASE "Odd, name"');
$node->safe_psql('Odd, name', 'CREATE EXTENSION idempotency');
leave_expired_keys('Odd, name');
is_swept('Odd, name', 'one with an odd name, too');

# Chosen databases only.
$node->append_conf('postgresql.conf', q{idempotency.sweep_databases = 'postgres, "Odd, name", missing'});
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('idempotency.sweep_databases') <> ''});
leave_expired_keys('Odd, name');
is_swept('Odd, name', 'a chosen database is swept');
leave_expired_keys('later');
is(keys_after_a_round('later', 'postgres'), '2', 'one that was not chosen is not');
$node->append_conf('postgresql.conf', q{idempotency.sweep_databases = ''});
$node->reload;
is_swept('later', 'chosen again, it is');

# Template databases are not swept.
$node->safe_psql('postgres', 'ALTER DATABASE later IS_TEMPLATE true');
leave_expired_keys('later');
is(keys_after_a_round('later', 'postgres'), '2', 'a template is not swept');
$node->safe_psql('postgres', 'ALTER DATABASE later IS_TEMPLATE false');
is_swept('later', 'no longer a template, it is');

# The interval follows a reload, in both directions, at once.
$node->append_conf('postgresql.conf', q{idempotency.sweep_interval = '1 day'});
$node->reload;
my $waits = q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idempotency launcher' AND wait_event_type IN ('Extension')};
$node->poll_query_until('postgres', q{SELECT current_setting('idempotency.sweep_interval') = '1 day'});
$node->poll_query_until('postgres', $waits) or die 'the launcher does not rest';
leave_expired_keys('later');
sleep 1;
is($node->safe_psql('later', 'SELECT count(*) FROM idempotency.keys'), '2', 'a longer interval is kept');
$node->append_conf('postgresql.conf', q{idempotency.sweep_interval = '50ms'});
$node->reload;
is_swept('later', 'a shorter interval ends the rest at once');

# Off, and on again.
$node->append_conf('postgresql.conf', q{idempotency.worker = off});
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('idempotency.worker') = 'off'});
$node->poll_query_until('postgres', $waits) or die 'the launcher does not rest';
leave_expired_keys('later');
sleep 1;
is($node->safe_psql('later', 'SELECT count(*) FROM idempotency.keys'), '2', 'switched off, nothing is swept');
is($node->safe_psql('later', 'SELECT slots_cleared, rows_deleted FROM idempotency.sweep()'), '1|1',
	'sweep() does the same work by hand');
leave_expired_keys('later');
$node->append_conf('postgresql.conf', q{idempotency.worker = on});
$node->reload;
is_swept('later', 'switched on, it is swept');

# Fast shutdown.
my $began = time;
$node->stop('fast');
cmp_ok(time - $began, '<=', 2, 'a fast shutdown does not wait for the worker');

# Not preloaded: no launcher, and sweep() does the work.
$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
$node->start;
leave_expired_keys('later');
is($node->safe_psql('later', 'SELECT slots_cleared, rows_deleted FROM idempotency.sweep()'), '1|1',
	'without preload, sweep() does the work');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'idempotency%'}), '0',
	'and there is no launcher');
$node->stop;

ok(slurp_file($node->logfile) !~ qr/(?:ERROR|PANIC):/, 'the log has no error');
done_testing();
