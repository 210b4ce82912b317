# With a short tick the wheel turns many times while keys are claimed, expire
# and are claimed again: no key has two owners at a time, and no expired key is
# kept.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'idempotency'
idempotency.sweep_interval = '10 ms'
idempotency.wheel_tick = '100 ms'
log_statement = none
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION idempotency;
	UPDATE idempotency.wheel SET until = clock_timestamp();
	CREATE TABLE owned (key text, claimed_at timestamptz, expires_at timestamptz);
});
$node->poll_query_until('postgres', 'SELECT min(until) > clock_timestamp() FROM idempotency.wheel') or die 'not turned';
my $first = $node->safe_psql('postgres', 'SELECT max(until) FROM idempotency.wheel');

# Some keys expire within the wheel, some beyond it.
my $script = $node->basedir . '/claim.sql';
append_to_file($script, q{
\set n random(1, 40)
\set ttl 150 + :n * 20
INSERT INTO owned SELECT :n, claimed_at, expires_at
FROM idempotency.claim(:n::text, 'load', ttl => :ttl * interval '1 ms', lease => :ttl * interval '1 ms') WHERE outcome = 'new';
});
$node->command_ok([ 'pgbench', '-n', '-c', '4', '-T', '4', '-f', $script, 'postgres' ], 'claims while the wheel turns');

is($node->safe_psql('postgres', q{
	SELECT count(*) FROM (SELECT claimed_at < lag(expires_at) OVER (PARTITION BY key ORDER BY claimed_at) AS overlap FROM owned) AS o WHERE overlap
}), '0', 'no key had two owners at a time');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM owned'), '>', 100, 'keys were claimed again after they had expired');
cmp_ok($node->safe_psql('postgres', "SELECT extract(epoch FROM max(until) - '$first') FROM idempotency.wheel"), '>=', 3, 'the wheel has turned');
is($node->safe_psql('postgres', q{
	SELECT count(*) FROM (SELECT (extract(epoch FROM until - lag(until) OVER (ORDER BY until)) * 1000)::int AS ms FROM idempotency.wheel) AS d
	WHERE ms % 100 <> 0}), '0', 'in steps of the tick');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM idempotency.keys'), 'in the end nothing is kept');
$node->stop('fast');
ok(slurp_file($node->logfile) !~ qr/ERROR:|PANIC:/, 'nobody met an error');
done_testing();
