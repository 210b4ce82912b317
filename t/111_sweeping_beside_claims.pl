# Keys of keys_long expire, are swept and are claimed again, all at the same
# time and on the same pages: no claim fails because its expired row was swept
# concurrently, and no row is swept that was claimed again meanwhile.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
log_statement = none
autovacuum_naptime = '1 s'
});
$node->start;
# All slots are past, so that all keys go to keys_long.
$node->safe_psql('postgres', q{
	CREATE EXTENSION idempotency;
	UPDATE idempotency.wheel SET until = clock_timestamp() - interval '1 day';
	CREATE TABLE kept (key text PRIMARY KEY);
});

# Now and then a key is claimed with a long ttl; then no other session owns it.
my $directory = $node->basedir;
append_to_file("$directory/claim.sql", q{
\set n random(1, 40)
\set keep random(1, 20)
BEGIN;
SELECT proceed FROM idempotency.claim(:n::text, 'load', ttl => '1 year', wait => '1 minute') \gset
\if :proceed
\if :keep = 1
INSERT INTO kept VALUES (:n);
SELECT idempotency.complete(:n::text, 'load', '"kept"');
\else
SELECT idempotency.complete(:n::text, 'load', ttl => '1 us');
\endif
\endif
COMMIT;
});
append_to_file("$directory/sweep.sql", "SELECT idempotency.sweep();\n");
append_to_file("$directory/forget.sql", q{
\set n random(1, 40)
BEGIN;
SELECT idempotency.forget(:n::text, 'load');
DELETE FROM kept WHERE key = :n::text;
COMMIT;
});
$node->command_ok([ 'pgbench', '-n', '-c', '6', '-T', '3', '-f', "$directory/claim.sql\@10", '-f', "$directory/sweep.sql\@10",
	'-f', "$directory/forget.sql\@1", 'postgres' ], 'no client got an error');

is($node->safe_psql('postgres', q{
	SELECT count(*) FROM kept
	WHERE NOT EXISTS (SELECT FROM idempotency.lookup(kept.key, 'load') WHERE response = '"kept"')}), '0', 'what was claimed to stay has stayed');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM kept'), '>', 0, 'some was');
$node->safe_psql('postgres', 'SELECT idempotency.sweep()');
is($node->safe_psql('postgres', 'SELECT count(*) FROM idempotency.keys'), $node->safe_psql('postgres', 'SELECT count(*) FROM kept'),
	'in the end no other row is left');
$node->stop('fast');
done_testing();
