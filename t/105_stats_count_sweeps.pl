# The view stats counts every sweep, by the worker or by hand, and shows the
# error that ended the last one.
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
idempotency.worker = off
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION idempotency');

my $sweeps = q{SELECT sweeps, slots_cleared, rows_deleted, last_sweep IS NOT NULL, last_sweep_error
	FROM idempotency.stats WHERE scope = ''};

is($node->safe_psql('postgres', $sweeps), '1|0|0|t|', 'the sweep that lays the wheel is the first');

$node->safe_psql('postgres', q{
	UPDATE idempotency.wheel SET until = clock_timestamp() + (slot + 1) * interval '1 hour';
	SELECT idempotency.claim('a', 'slot', ttl => '0.01 s', lease => '0.01 s');
	SELECT idempotency.claim('b', 'long', ttl => '1 year', lease => '0.01 s');
	SELECT idempotency.complete('b', 'long', attempt => 1, ttl => '0.01 s');
	SELECT pg_sleep(0.02);
	UPDATE idempotency.wheel SET until = clock_timestamp() WHERE slot = 0;
	SELECT idempotency.sweep();
});
is($node->safe_psql('postgres', $sweeps), '2|1|1|t|', 'a sweep by hand is counted with what it removed');

$node->append_conf('postgresql.conf', 'idempotency.worker = on');
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT sweeps > 3 AND last_sweep_error IS NULL FROM idempotency.stats WHERE scope = ''}),
	'sweeps of the worker are counted');

$node->safe_psql('postgres', 'ALTER TABLE idempotency.keys_long RENAME TO hidden');
ok($node->poll_query_until('postgres', q{SELECT last_sweep_error ~ 'idempotency' FROM idempotency.stats WHERE scope = ''}),
	'the error that ended the last sweep is shown');
like(slurp_file($node->logfile), qr/ ERROR: .*\n(?:.*(?:DETAIL|HINT): .*\n)*.*CONTEXT:  idempotency sweeper for database postgres\n/,
	'the log names the database below it');

$node->safe_psql('postgres', 'ALTER TABLE idempotency.hidden RENAME TO keys_long');
ok($node->poll_query_until('postgres', q{SELECT last_sweep_error IS NULL FROM idempotency.stats WHERE scope = ''}),
	'the next sweep that succeeds clears it');

$node->stop;
done_testing();
