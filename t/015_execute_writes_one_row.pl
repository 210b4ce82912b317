# With the library loaded by the server, execute() writes its key once, with the
# result; while its command runs, in_flight shows the claim, also after another
# session has died in one.

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
is(written('shop', 'k' x 255), "new\n1|0", 'the longest key is put off');
is(written('s' x 257, 'k'), "new\n1|1", 'a scope too long to be shown is claimed at once');
is( $node->safe_psql('postgres', "SELECT key, outcome FROM idempotency.execute('k', 'again', 'pay'), (SELECT 'k' AS key) AS k;"
		. "SELECT status, attempt, lease_until IS NULL, completed_at >= claimed_at, expires_at - claimed_at FROM idempotency.lookup('k', 'again')"),
	"k|new\ncompleted|1|t|t|1 day",
	'the row is what a claim and its completion leave');

# A command that forgets its own key has nothing to store its result under.
$node->safe_psql('postgres', <<'END');
CREATE FUNCTION pay_and_forget(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS
	$$ BEGIN PERFORM idempotency.forget('forgotten', 'shop'); RETURN pay(request); END $$;
END
my (undef, undef, $error) = $node->psql('postgres', q{SELECT idempotency.execute('forgotten', 'shop', 'pay_and_forget', '{"key": "forgotten"}')});
like($error, qr/no claim of idempotency key "forgotten" is in progress/, 'a claim that its own command forgets is gone');
is($node->safe_psql('postgres', q{SELECT count(*) FROM payments WHERE key = 'forgotten'}), '0', 'and so is its work');

# who: what in_flight shows
sub who
{
	return $node->safe_psql('postgres', 'SELECT scope, key, attempt, application_name, waiters, lease_until IS NULL FROM idempotency.in_flight ORDER BY scope, key');
}

# Sessions whose commands wait until this one lets them go on.
my $stopper = $node->background_psql('postgres');
$stopper->query_safe('SELECT pg_advisory_lock(4711)');

# start_command NAME, SCOPE: a session in the middle of its command
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
