# Behind PgBouncer in transaction mode, where each transaction of a client may
# run on another server connection, every key has one effect and its owner's
# result, whichever protocol the clients use, and no state of the extension
# stays in the connections.
#
# Prepared statements need PgBouncer 1.21.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

$ENV{PATH} .= ':/usr/sbin';
my $version = qx(pgbouncer --version 2>&1);
plan skip_all => 'PgBouncer is not installed'
  unless defined $version && $version =~ /^PgBouncer (\d+)\.(\d+)/m;
my $prepares = $1 > 1 || $2 >= 21;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION idempotency;
CREATE TABLE payments (mode integer, key text, request integer, id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
CREATE TABLE charges (mode integer, key text, attempt integer);
});

my $directory = PostgreSQL::Test::Utils::tempdir_short();
my $user = getpwuid($<);
append_to_file("$directory/users", qq{"$user" ""\n});
append_to_file("$directory/ini", join("\n",
	'[databases]', '* = host=' . $node->host . ' port=' . $node->port,
	'[pgbouncer]', 'pool_mode = transaction', 'listen_addr =', 'listen_port = 6432',
	"unix_socket_dir = $directory", 'auth_type = trust', "auth_file = $directory/users",
	'default_pool_size = 4', 'min_pool_size = 4', 'max_client_conn = 100', 'server_round_robin = 1',
	'ignore_startup_parameters = extra_float_digits, options', "logfile = $directory/log",
	$prepares ? ('max_prepared_statements = 100') : ()) . "\n");
my $pgbouncer = fork();
if ($pgbouncer == 0)
{
	exec 'pgbouncer', '-q', "$directory/ini" or exit 1;
}
END { my $status = $?; kill 'TERM', $pgbouncer if $pgbouncer; waitpid($pgbouncer, 0) if $pgbouncer; $? = $status }
my $through = "host=$directory port=6432 dbname=postgres user=$user";
my $up;
for (1 .. 100)
{
	$up = run_log([ 'psql', '-Xqc', 'SELECT 1', $through ], '>', \my $ignored, '2>', \my $why) and last;
	select undef, undef, undef, 0.1;
}
ok($up, 'PgBouncer is up');

# One transaction: claim, work and result.  Two: a lease, its work, its end; the
# second may run on another connection.
my $one = "$directory/one";
append_to_file($one, q{
\set number random(1, 40)
BEGIN;
SELECT proceed::int AS proceed FROM idempotency.claim('one ' || :mode::text || ' ' || :number::text, 'pgbouncer', to_jsonb(:number::int), wait => '10 s') \gset
\if :proceed
INSERT INTO payments (mode, key, request) VALUES (:mode::int, 'one ' || :mode::text || ' ' || :number::text, :number::int) RETURNING id \gset
SELECT idempotency.complete('one ' || :mode::text || ' ' || :number::text, 'pgbouncer', to_jsonb(:id::bigint), resource_id => (:id::bigint)::text);
\endif
COMMIT;
});
my $two = "$directory/two";
append_to_file($two, q{
\set number random(1, 40)
SELECT proceed::int AS proceed, coalesce(attempt, 0) AS attempt FROM idempotency.claim('two ' || :mode::text || ' ' || :number::text, 'pgbouncer', lease => '1 hour') \gset
\if :proceed
INSERT INTO charges VALUES (:mode::int, 'two ' || :mode::text || ' ' || :number::text, :attempt::int);
SELECT idempotency.checkpoint('two ' || :mode::text || ' ' || :number::text, 'pgbouncer', 'charged', attempt => :attempt::int);
SELECT idempotency.complete('two ' || :mode::text || ' ' || :number::text, 'pgbouncer', '"charged"', attempt => :attempt::int);
\endif
});

# A thread for each client: a client that waits for a connection, to prepare its
# statements, blocks its thread.
my %number = (simple => 1, extended => 2, prepared => 3);
for my $mode ('simple', 'extended', $prepares ? ('prepared') : ())
{
	command_ok([ 'pgbench', '-n', '-M', $mode, '-c', '12', '-j', '12', '-t', '40', '-D', "mode=$number{$mode}", '-f', $one, '-f', $two, $through ],
		"12 clients over 4 connections, $mode");
	is($node->safe_psql('postgres', qq{
SELECT count(*) > 0, count(*) = count(DISTINCT p.key), count(*) = count(*) FILTER (WHERE l.resource_id = p.id::text AND l.response = to_jsonb(p.id))
FROM payments AS p LEFT JOIN LATERAL idempotency.lookup(p.key, 'pgbouncer') AS l ON true WHERE mode = $number{$mode}}),
		't|t|t', "every key has one payment, whose id it replays, $mode");
	is($node->safe_psql('postgres', qq{
SELECT count(*) > 0, count(*) = count(DISTINCT c.key), bool_and(c.attempt = 1), bool_and(l.status = 'completed')
FROM charges AS c LEFT JOIN LATERAL idempotency.lookup(c.key, 'pgbouncer') AS l ON true WHERE mode = $number{$mode}}),
		't|t|t|t', "every lease is ended in a later transaction, $mode");
}
note('PgBouncer before 1.21 has no prepared statements') unless $prepares;

# The state of the connections, outside any transaction.
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()}),
	'>=', 4, 'the connections of the pool are open');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' OR relation = 'idempotency.keys_long'::regclass}),
	'0', 'no lock is left in them');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_class WHERE relpersistence = 't'}), '0', 'no temporary table is left in them');
my ($statements, $cursors, $settings) = ('', '', '');
for (1 .. 8)
{
	$statements .= $_ for qx(psql -XAtc "SELECT statement FROM pg_prepared_statements WHERE from_sql" "$through");
	$cursors .= $_ for qx(psql -XAtc "SELECT name FROM pg_cursors WHERE is_holdable" "$through");
	$settings .= $_ for qx(psql -XAtc "SELECT name FROM pg_settings WHERE source = 'session' AND name ~ '^idempotency|^(lock_timeout|search_path|role)\$'" "$through");
}
is("$statements$cursors$settings", '', 'no statement, cursor or setting is left in them');

done_testing();
