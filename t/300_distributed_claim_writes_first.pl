# In the distributed store the first statement of a claim is the insertion; the
# row is read after a conflict, and only by transactions that have written
# first.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "max_prepared_transactions = 2");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION idempotency;
	CREATE TABLE payments (id bigint);
	SELECT idempotency.distribute('payments');
});
my ($status) = $node->psql('postgres', q{LOAD 'auto_explain'});
plan skip_all => 'auto_explain is not installed' if $status != 0;

# The statements of a call on the table of keys, in their order.
sub statements
{
	my ($call) = @_;
	my ($stdout, $stderr);
	$node->psql('postgres', qq{
		LOAD 'auto_explain';
		SET auto_explain.log_level = 'notice';
		SET auto_explain.log_nested_statements = on;
		SET auto_explain.log_min_duration = 0;
		$call
	}, stdout => \$stdout, stderr => \$stderr);
	return join ' ', $stderr =~ /Query Text: (INSERT|UPDATE|DELETE|SELECT)\b[^\n]*\bidempotency\.distributed_keys\b/g;
}

my $row = q{k.key = 'k' AND k.scope = 'payments/1'};
is(statements(q{SELECT idempotency.claim('k', 'payments/1', lease => '1 minute');}), 'INSERT', 'a new key is inserted');
is(statements(q{SELECT idempotency.claim('k', 'payments/1', lease => '1 minute');}), 'INSERT SELECT', 'a conflict is read after the insertion');
is(statements(q{SELECT idempotency.heartbeat('k', 'payments/1', attempt => 1);}), 'UPDATE UPDATE', 'a lease is renewed by updates');
is(statements(q{SELECT idempotency.complete('k', 'payments/1', attempt => 1);}), 'UPDATE UPDATE', 'a later completion begins with an update');
is(statements(q{SELECT idempotency.complete('k', 'payments/1', attempt => 1);}), 'UPDATE', 'completing again, too');
is(statements(q{SELECT idempotency.claim('k', 'payments/1', lease => '1 minute');}), 'INSERT SELECT', 'a replay is read after the insertion');
$node->safe_psql('postgres', qq{UPDATE idempotency.distributed_keys AS k SET status = 'in_progress', lease_until = '-infinity' WHERE $row});
is(statements(q{SELECT idempotency.claim('k', 'payments/1', lease => '1 minute');}), 'INSERT SELECT UPDATE', 'so is a lease before it is taken over');
$node->safe_psql('postgres', qq{UPDATE idempotency.distributed_keys AS k SET expires_at = '-infinity' WHERE $row});
is(statements(q{SELECT idempotency.claim('k', 'payments/1', lease => '1 minute');}), 'INSERT SELECT UPDATE', 'and an expired key');
is(statements(q{SELECT idempotency.release('k', 'payments/1', attempt => (idempotency.lookup('k', 'payments/1')).attempt);}),
	'SELECT UPDATE UPDATE', 'a release begins with an update; lookup() reads');
is(statements(q{SELECT idempotency.forget('k', 'payments/1');}), 'UPDATE DELETE', 'so does forget()');
is(statements(q{BEGIN; SELECT idempotency.claim('k', 'payments/1', lease => '1 minute'); SELECT idempotency.complete('k', 'payments/1'); COMMIT;}),
	'INSERT UPDATE', 'claim and completion in one transaction read nothing');
is(statements(q{SELECT idempotency.once('m', 'payments/1');}), 'INSERT', 'nor does once()');
is(statements(q{SELECT idempotency.once('m', 'payments/1');}), 'INSERT SELECT', 'but the second time');
is(statements(q{SELECT idempotency.claim('late', 'payments/1', first_sent => now() - interval '1 year', lease => '1 minute');}),
	'INSERT DELETE SELECT', 'a request that is too late inserts before it is refused');
is($node->safe_psql('postgres', q{SELECT count(*) FROM idempotency.distributed_keys WHERE key = 'late'}), '0', 'and leaves nothing');
$node->safe_psql('postgres', q{SELECT idempotency.set_policy('carts', require_issued => true)});
is(statements(q{SELECT idempotency.claim('not issued', 'carts/1', lease => '1 minute');}), 'INSERT DELETE SELECT', 'so does a key that was not issued');
unlike(statements(q{SELECT idempotency.issue('carts/1', 'one');}), qr/^SELECT/, 'issue() writes first');
is(statements(q{SELECT * FROM idempotency.claim_many(ARRAY['x', 'y'], 'payments/1', lease => '1 minute');}), 'INSERT INSERT', 'a batch inserts each key');
is(statements(q{
	BEGIN; SELECT idempotency.claim('s', 'payments/1', lease => '1 minute'); SAVEPOINT s; SELECT idempotency.heartbeat('s', 'payments/1');
	ROLLBACK TO s; SELECT idempotency.complete('s', 'payments/1'); COMMIT;}),
	'INSERT UPDATE UPDATE UPDATE', 'rows that a savepoint has undone are not relied on');

# The owner of a row is remembered only for its transaction, also if the session's
# next transaction is the first to use the table again.
my $connection = $node->connstr('postgres');
my ($stdout, $stderr);
$node->safe_psql('postgres', q{BEGIN; SELECT idempotency.claim('p', 'payments/1', lease => '1 minute'); PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'});
$node->psql('postgres', qq{
	\\set VERBOSITY sqlstate
	BEGIN; SELECT idempotency.claim('q', 'payments/1', lease => '1 minute'); PREPARE TRANSACTION 'q';
	\\! psql -X -d "$connection" -c "COMMIT PREPARED 'q'"
	SELECT idempotency.complete('q', 'payments/1');
	SELECT idempotency.complete('p', 'payments/1');
	SELECT idempotency.complete('p', 'payments/1', attempt => 1);
}, stdout => \$stdout, stderr => \$stderr, on_error_stop => 0);
is(() = $stderr =~ /IK428/g, 2, 'a prepared claim takes the attempt, in the session that prepared it and in another');
is($node->safe_psql('postgres', q{SELECT string_agg(key || ' ' || status, ', ' ORDER BY key) FROM idempotency.distributed_keys WHERE key IN ('p', 'q')}),
	'p completed, q in_progress', 'and with it is completed');

$node->stop;
done_testing();
