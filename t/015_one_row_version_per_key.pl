# If the server preloads the library, a key that is claimed without a lease is
# written once, with its result, by execute() or by claim() and complete();
# until then in_flight shows the claim, even after another session has died
# during a claim.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'idempotency'\nlog_min_messages = fatal");
$node->start;
$node->safe_psql('postgres', <<'END');
CREATE EXTENSION idempotency;
CREATE TABLE payments (id bigint GENERATED ALWAYS AS IDENTITY, key text);
CREATE FUNCTION pay(request jsonb) RETURNS jsonb LANGUAGE sql AS
	$$ INSERT INTO payments (key) VALUES (request->>'key') RETURNING jsonb_build_object('id', id) $$;
CREATE FUNCTION pay_slowly(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS
	$$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN pay(request); END $$;
END

# written NAME, SCOPE, KEY: rows inserted into and updated in the tables of keys by one transaction
sub written
{
	my ($scope, $key) = @_;
	return $node->safe_psql('postgres', <<END);
BEGIN;
SELECT outcome FROM idempotency.execute('$key', '$scope', 'pay', '{"key": "$key"}');
SELECT sum(n_tup_ins), sum(n_tup_upd) FROM pg_stat_xact_user_tables WHERE schemaname = 'idempotency' AND relname LIKE 'keys\\_%';
COMMIT;
END
}

is(written('shop', 'k'), "new\n1|0", 'one row version for a new key');
is(written('shop', 'k'), "replay\n0|0", 'none for a replay');
is(written('shop', 'k' x 255), "new\n1|0", 'the longest key is deferred');
is(written('s' x 257, 'k'), "new\n1|1", 'a scope too long to be shown is claimed at once');
is( $node->safe_psql('postgres', "SELECT key, outcome FROM idempotency.execute('k', 'again', 'pay'), (SELECT 'k' AS key) AS k;"
		. "SELECT status, attempt, lease_until IS NULL, completed_at >= claimed_at, expires_at - claimed_at FROM idempotency.lookup('k', 'again')"),
	"k|new\ncompleted|1|t|t|1 day",
	'the row is that of a claim and its completion');

# rows SQL: rows inserted into and updated in the tables of keys by a
# transaction, and the locks of keys that it holds at its end
sub rows
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', <<END);
BEGIN;
\\o /dev/null
$sql
\\o
SELECT sum(n_tup_ins), sum(n_tup_upd) FROM pg_stat_xact_user_tables WHERE schemaname = 'idempotency' AND relname LIKE 'keys\\_%';
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 18756 AND pid = pg_backend_pid();
ROLLBACK;
END
}

is(rows(q{SELECT idempotency.claim('c', 'shop');}), "0|0\n1", 'a claim is not written, and holds the lock of its key');
is(rows(q{SELECT idempotency.claim('c', 'shop', lease => '1 minute');}), "1|0\n0", 'one with a lease is');
is(rows(q{SELECT idempotency.claim('c', 'shop'); SELECT idempotency.complete('c', 'shop', '1');}), "1|0\n0", 'its completion is one row version');
is(rows(q{SELECT idempotency.claim('c', 'shop'); SELECT idempotency.checkpoint('c', 'shop', 'step'); SELECT idempotency.fail('c', 'shop', '1');}),
	"1|1\n0", 'a checkpoint writes a row');
is(rows(q{SELECT idempotency.claim('c', 'shop'); SELECT idempotency.forget('c', 'shop');}), "0|0\n0", 'a forgotten claim was never written');
is(rows(q{SELECT idempotency.claim('k', 'released', lease => '1 minute'); SELECT idempotency.release('k', 'released'); SELECT idempotency.claim('k', 'released');}),
	"1|2\n0", 'the claim of a key that has a row is written');
is(rows(q{SELECT count(idempotency.claim('c' || n, 'shop')) FROM generate_series(1, 17) AS n;}), "1|0\n16", 'the seventeenth open claim is written');
is( rows(q{SELECT count(idempotency.claim('c' || n, 'shop')) FROM generate_series(1, 17) AS n;
	SELECT count(idempotency.complete('c' || n, 'shop')) FROM generate_series(1, 17) AS n;
	SELECT count(idempotency.claim('d' || n, 'shop')) FROM generate_series(1, 3) AS n;}),
	"17|1\n3", 'claims that have ended make room');
is( rows(q{DO $$
BEGIN
	FOR n IN 1 .. 100 LOOP
		PERFORM idempotency.claim('c' || n, 'shop');
		BEGIN
			PERFORM idempotency.complete('c' || n, 'shop');
		EXCEPTION WHEN raise_exception THEN
		END;
	END LOOP;
END $$;}),
	"100|0\n1", 'also claims that were completed in a block');
is( rows(q{SELECT count(*) FROM idempotency.claim_many((SELECT array_agg(n::text) FROM generate_series(1, 20) AS n), 'shop');
	SELECT idempotency.complete_many((SELECT array_agg(n::text) FROM generate_series(1, 20) AS n), 'shop');}),
	"20|4\n0", 'a batch');
$node->safe_psql('postgres', <<'END');
CREATE FUNCTION pay_for_two(request jsonb) RETURNS jsonb LANGUAGE sql AS
	$$ SELECT response FROM idempotency.execute('inner', 'shop', 'pay', request) $$;
END
is(rows(q{SELECT idempotency.execute('outer', 'shop', 'pay_for_two');}), "2|0\n0", 'execute() within execute()');

# A command that forgets its own key has no row for its result.
$node->safe_psql('postgres', <<'END');
CREATE FUNCTION pay_and_forget(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS
	$$ BEGIN PERFORM idempotency.forget('forgotten', 'shop'); RETURN pay(request); END $$;
END
my (undef, undef, $error) = $node->psql('postgres', q{SELECT idempotency.execute('forgotten', 'shop', 'pay_and_forget', '{"key": "forgotten"}')});
like($error, qr/no claim of idempotency key "forgotten" is in progress/, 'a claim that its own command forgets is gone');
is($node->safe_psql('postgres', q{SELECT count(*) FROM payments WHERE key = 'forgotten'}), '0', 'and so is its work');

# who: the rows of in_flight
sub who
{
	return $node->safe_psql('postgres', 'SELECT scope, key, attempt, application_name, waiters, lease_until IS NULL FROM idempotency.in_flight ORDER BY scope, key');
}

# Sessions whose commands wait for this one.
my $stopper = $node->background_psql('postgres');
$stopper->query_safe('SELECT pg_advisory_lock(4711)');

# start_command NAME, SCOPE: a session during its command
sub start_command
{
	my ($name, $scope) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe("SET application_name = '$name'");
	$session->query_until(qr/begun/, <<END);
\\echo begun
SELECT outcome FROM idempotency.execute('slow', '$scope', 'pay_slowly', '{"key": "$scope"}');
END
	$node->poll_query_until('postgres', "SELECT wait_event = 'advisory' FROM pg_stat_activity WHERE application_name = '$name'")
	  or die "$name does not wait";
	return $session;
}

my $alice = start_command('alice', 'a');
my $bob = start_command('bob', 'b');
is(who(), "a|slow|1|alice|0|t\nb|slow|1|bob|0|t", 'every command that runs is in flight');

my $duplicate = $node->background_psql('postgres', on_error_stop => 0);
$duplicate->query_until(qr/begun/, <<'END');
\echo begun
SET application_name = 'duplicate';
SELECT outcome FROM idempotency.execute('slow', 'a', 'pay_slowly', '{"key": "a"}', wait => '3 minutes');
END
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM idempotency.in_flight WHERE scope = 'a' AND waiters = 1")
  or die 'the duplicate does not wait';
pass('a duplicate that waits for a command is counted');

$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid, 180000) FROM pg_stat_activity WHERE application_name = 'alice'");
$node->poll_query_until('postgres', "SELECT application_name = 'duplicate' FROM idempotency.in_flight WHERE scope = 'a'")
  or die 'the duplicate did not become the owner';
is(who(), "a|slow|1|duplicate|0|t\nb|slow|1|bob|0|t", 'the claim of a session that died is gone, and the duplicate owns the key');

$stopper->query_safe('SELECT pg_advisory_unlock(4711)');
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM idempotency.in_flight') or die 'still in flight';
is($node->safe_psql('postgres', "SELECT key, count(*) FROM payments WHERE key IN ('a', 'b') GROUP BY key ORDER BY key"), "a|1\nb|1", 'each command took effect once');

eval { $_->quit } foreach $stopper, $bob, $duplicate;
eval { $alice->quit };
$node->stop;
done_testing();
