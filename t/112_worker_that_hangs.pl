# One database does not delay the sweeps of the others for ever: a worker that
# takes too long is terminated. A name that matches no database is logged, once.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'idempotency'
idempotency.worker = off
idempotency.sweep_interval = '20 ms'
idempotency.sweep_databases = 'hangs, swept, Misspelled, postgres'
});
$node->start;

# The trigger is made a member of the extension, since any other trigger would stop
# the sweep at once.
for my $database ('hangs', 'swept')
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, q{
		CREATE EXTENSION idempotency;
		SELECT idempotency.claim('k', 'shop', ttl => '1 year', lease => '0.01 s');
		SELECT idempotency.complete('k', 'shop', attempt => 1, ttl => '0.01 s')});
}
$node->safe_psql('hangs', q{
	CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3600); RETURN NULL; END';
	ALTER EXTENSION idempotency ADD FUNCTION hang();
	CREATE TRIGGER hang BEFORE TRUNCATE ON idempotency.keys_0 EXECUTE FUNCTION hang();
	SELECT idempotency.once('fill ' || n, 'shop', ttl => n * interval '6 hours') FROM generate_series(1, 40) AS n;
	UPDATE idempotency.wheel SET until = clock_timestamp() WHERE slot = 0});

$node->append_conf('postgresql.conf', 'idempotency.worker = on');
$node->reload;
$node->wait_for_log(qr/ending the worker that sweeps expired idempotency keys of database "hangs"/);
ok(1, 'a worker that hangs is ended');
ok($node->poll_query_until('swept', 'SELECT count(*) = 0 FROM idempotency.keys'), 'and the next database is swept');

my $log = slurp_file($node->logfile);
my @named = $log =~ /database "(\w+)" in idempotency.sweep_databases does not exist/g;
is_deeply(\@named, ['misspelled'], 'the name that fits no database is logged once');

$node->append_conf('postgresql.conf', q{idempotency.sweep_databases = 'swept, gone'});
$node->reload;
$node->wait_for_log(qr/database "gone" in idempotency.sweep_databases does not exist/);

$node->stop('fast');
done_testing();
