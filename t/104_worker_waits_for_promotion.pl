# A standby does not sweep; after promotion sweeping begins automatically.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', q{
shared_preload_libraries = 'idempotency'
idempotency.sweep_interval = '20 ms'
});
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION idempotency');
$primary->backup('backup');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

$primary->append_conf('postgresql.conf', 'idempotency.worker = off');
$primary->restart;
$primary->safe_psql('postgres', q{
	UPDATE idempotency.wheel SET until = clock_timestamp() + (slot + 1) * interval '1 hour';
	SELECT idempotency.claim('a', 'slot', ttl => '0.01 s', lease => '0.01 s');
	SELECT idempotency.claim('b', 'long', ttl => '1 year', lease => '0.01 s');
	SELECT idempotency.complete('b', 'long', attempt => 1, ttl => '0.01 s');
	SELECT idempotency.claim('c', 'live', ttl => '1 year', lease => '1 minute');
	SELECT pg_sleep(0.02);
	UPDATE idempotency.wheel SET until = clock_timestamp() WHERE slot = 0;
});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));

is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'idempotency%'}), '0',
	'no launcher on a standby');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM idempotency.keys'), '3', 'nothing is swept there');
my ($stdout, $stderr);
isnt($standby->psql('postgres', 'SELECT idempotency.sweep()', stdout => \$stdout, stderr => \$stderr), 0,
	'sweep() is refused there');
like($stderr, qr/cannot execute idempotency\.sweep\(\) (?:during recovery|in a read-only transaction)/, 'with the standard error');

$primary->stop('fast');
$standby->promote;
ok($standby->poll_query_until('postgres', q{SELECT count(*) = 1 AND min(key) = 'c' FROM idempotency.keys}),
	'after promotion the expired keys are swept');
ok($standby->poll_query_until('postgres', q{SELECT min(until) > clock_timestamp() FROM idempotency.wheel}), 'and the wheel is turned');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM idempotency.lookup('c', 'live')}), '1', 'a live key is still found');
$standby->stop('fast');
ok(slurp_file($standby->logfile) !~ qr/ERROR:  (?!cannot execute idempotency)/, 'the worker met no error');
done_testing();
