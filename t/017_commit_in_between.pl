# A commit between claim and completion is refused, in every protocol and in
# either store, also for PREPARE TRANSACTION, and before anything is committed on
# other servers; and it is counted.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'idempotency'\nmax_prepared_transactions = 2");
$node->start;
$node->safe_psql('postgres', <<'END');
CREATE EXTENSION idempotency;
CREATE TABLE payments (key text);
SELECT idempotency.set_policy('shop', ttl => '1 hour');
CREATE FUNCTION count_unfinished(scope text) RETURNS bigint LANGUAGE sql
	RETURN (SELECT unfinished FROM idempotency.stats AS s WHERE s.scope = count_unfinished.scope);
END

my $refused = qr/IK500: claim of idempotency key "k" is unfinished/;

# Each protocol, in autocommit: the rows are sent before the error, which comes at
# the end of the statement.
for my $protocol ('simple', 'extended', 'prepared')
{
	my $script = PostgreSQL::Test::Utils::tempdir() . "/$protocol.sql";

	append_to_file($script, "SELECT outcome FROM idempotency.claim('k', 'shop');\n");
	$node->command_checks_all([ 'pgbench', '-n', '-t', '1', '-M', $protocol, '-f', $script, 'postgres' ],
		2, [], [qr/claim of idempotency key "k" is unfinished/], "$protocol protocol: a claim by itself is refused");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM idempotency.keys'), '0', 'and leaves nothing');
is($node->safe_psql('postgres', q{SELECT count_unfinished('shop'), count_unfinished('')}), '3|0', 'counted by policy');

# pipelined statements are one transaction up to the Sync
my $pipeline = PostgreSQL::Test::Utils::tempdir() . '/pipeline.sql';
append_to_file($pipeline, <<'END');
\startpipeline
SELECT outcome FROM idempotency.claim('piped', 'shop');
INSERT INTO payments VALUES ('piped');
SELECT idempotency.complete('piped', 'shop');
\endpipeline
END
$node->command_ok([ 'pgbench', '-n', '-t', '1', '-M', 'extended', '-f', $pipeline, 'postgres' ], 'a pipeline with the completion commits');
is($node->safe_psql('postgres', q{SELECT status FROM idempotency.lookup('piped', 'shop')}), 'completed', 'as one transaction');

# errors SQL: the error messages that a session gets
sub errors
{
	my (undef, undef, $errors) = $node->psql('postgres', "\\set VERBOSITY verbose\n$_[0]", on_error_stop => 0);
	return $errors;
}

# An exception after a commit: the handler's work was rolled back.
like(errors(q{BEGIN; SELECT idempotency.claim('k', 'shop'); INSERT INTO payments VALUES ('k'); COMMIT; SELECT 1/0;}),
	$refused, 'a commit before an error is refused');
is($node->safe_psql('postgres', q{SELECT count(*) FROM payments WHERE key = 'k'}), '0', 'and its work is undone');

# PREPARE TRANSACTION
like(errors(q{BEGIN; SELECT idempotency.claim('k', 'shop'); INSERT INTO payments VALUES ('k'); PREPARE TRANSACTION 'unfinished';}),
	$refused, 'an unfinished claim can not be prepared');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), '0', 'and is not');
unlike(errors(q{BEGIN; SELECT idempotency.claim('done', 'shop'); SELECT idempotency.complete('done', 'shop'); PREPARE TRANSACTION 'completed'; COMMIT PREPARED 'completed';}),
	qr/ERROR/, 'a completed one can');
unlike(errors(q{BEGIN; SELECT idempotency.claim('leased', 'shop', lease => '1 hour'); PREPARE TRANSACTION 'leased';}),
	qr/ERROR/, 'so can a leased one');
$node->safe_psql('postgres', q{COMMIT PREPARED 'leased'});
is($node->safe_psql('postgres', q{SELECT outcome FROM idempotency.claim('leased', 'shop')}), 'in_progress', 'and protects its key');

# the distributed store
$node->safe_psql('postgres', q{SELECT idempotency.complete('leased', 'shop', attempt => 1); SELECT idempotency.purge('shop'); SELECT idempotency.distribute('payments');});
like(errors(q{SELECT idempotency.claim('k', 'shop/1');}), $refused, 'distributed store: a claim by itself is refused');
like(errors(q{BEGIN; SELECT idempotency.claim('k', 'shop/1'); SAVEPOINT s; SELECT idempotency.complete('k', 'shop/1'); ROLLBACK TO s; COMMIT;}),
	$refused, 'so is one whose completion was rolled back');
like(errors(q{BEGIN; SELECT idempotency.claim('k', 'shop/1'); SELECT idempotency.claim('p', 'shop/2'); SELECT idempotency.purge('shop/2'); COMMIT;}),
	qr/$refused\nDETAIL:  1 claim /, 'one of two, where the other was purged');
unlike(errors(q{BEGIN; SELECT idempotency.claim('k', 'shop/1'); SELECT idempotency.claim('l', 'shop/1'); SELECT idempotency.claim('f', 'shop/1');
	SELECT idempotency.complete('k', 'shop/1'); SELECT idempotency.heartbeat('l', 'shop/1', lease => '1 hour'); SELECT idempotency.forget('f', 'shop/1'); COMMIT;}),
	qr/ERROR/, 'claims that have ended are committed');
is($node->safe_psql('postgres', 'SELECT key, status FROM idempotency.distributed_keys ORDER BY key'), "k|completed\nl|in_progress", 'and stored');
$node->safe_psql('postgres', q{SELECT idempotency.complete('l', 'shop/1', attempt => 1); SELECT idempotency.purge('shop/1'); SELECT idempotency.undistribute();});

# Another server, which commits in a callback of its own: the session has used
# it before the claim, or uses it first after the claim.
SKIP:
{
	skip 'postgres_fdw is not installed', 4
		if $node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'}) eq '0';
	my ($host, $port) = ($node->host, $node->port);
	$node->safe_psql('postgres', 'CREATE DATABASE remote');
	$node->safe_psql('remote', 'CREATE TABLE payments (key text)');
	$node->safe_psql('postgres', <<END);
CREATE EXTENSION postgres_fdw;
CREATE SERVER remote FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'remote');
CREATE USER MAPPING FOR CURRENT_USER SERVER remote;
CREATE FOREIGN TABLE remote_payments (key text) SERVER remote OPTIONS (table_name 'payments');
END
	like(errors(q{SELECT count(*) FROM remote_payments; BEGIN; SELECT idempotency.claim('k', 'shop'); INSERT INTO remote_payments VALUES ('before'); COMMIT;}),
		$refused, 'a commit that spans servers is refused');
	like(errors(q{BEGIN; SELECT idempotency.claim('k', 'shop'); INSERT INTO remote_payments VALUES ('after'); COMMIT;}),
		$refused, 'also where the session has first used the other one after the claim');
	like(errors(q{BEGIN; SELECT idempotency.claim('k', 'shop'); SAVEPOINT s; SELECT idempotency.complete('k', 'shop'); INSERT INTO remote_payments VALUES ('kept?'); ROLLBACK TO s;
		INSERT INTO remote_payments VALUES ('after a savepoint'); COMMIT;}),
		$refused, 'or with the completion in a savepoint that was rolled back');
	is($node->safe_psql('remote', 'SELECT key FROM payments'), '', 'before the other server commits');
}

$node->stop;
done_testing();
