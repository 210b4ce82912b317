# A database moves from the portable edition to the extension without losing
# keys: results, requests, live leases, attempts, issued keys and policies are
# carried, in place and after a dump and restore; and a session that still
# calls the old functions, or waits for the old table, gets an error.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--locale=C', '--encoding=UTF8' ]);
# The library is preloaded before the database moves, which has no effect.
$node->append_conf('postgresql.conf', q{shared_preload_libraries = 'idempotency'});
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN; CREATE ROLE app LOGIN; CREATE DATABASE portable OWNER app_owner');

sub as_owner { my ($database, @rest) = @_; return $node->psql($database, @rest, extra_params => [ '-U', 'app_owner' ]) }

# Installed with one command, by a role that is not a superuser.
$node->command_ok([ 'psql', '-Xq1', '-v', 'ON_ERROR_STOP=1', '-f', 'portable/idempotency.sql', '-U', 'app_owner', '-d', $node->connstr('portable') ],
	'the owner of a database installs the portable edition');
is(as_owner('portable', <<'SQL'), 0, 'keys of every kind are stored');
\set ON_ERROR_STOP 1
SELECT idempotency.grant_usage('app');
SELECT idempotency.set_policy('shop', ttl => '2 days', min_key_length => 3);
DO $$
BEGIN
	PERFORM idempotency.claim('completed', 'shop', '{"amount": 1.0, "to": "\u00e9"}');
	PERFORM idempotency.complete('completed', 'shop', '{"id": 7}', '7', 201);
	PERFORM idempotency.claim('failed', 'shop');
	PERFORM idempotency.fail('failed', 'shop', '{"title": "No funds"}', status_code => 402);
	PERFORM idempotency.claim('leased', 'shop', '{"amount": 2}', lease => '1 hour');
	PERFORM idempotency.checkpoint('leased', 'shop', 'charged', '{"charge": "ch_1"}');
	PERFORM idempotency.claim('released', 'shop', lease => '1 hour');
	PERFORM idempotency.release('released', 'shop');
	PERFORM idempotency.once('event', 'webhooks');
	PERFORM idempotency.once('expired', 'webhooks', ttl => '1 us');
END
$$;
CREATE TABLE issued AS SELECT idempotency.issue('shop', 'cart 1') AS key;
SQL
# A second attempt, whose owner is still at work.
$node->safe_psql('portable', q{SELECT idempotency.claim('taken over', 'shop', lease => '1 us')});
$node->safe_psql('portable', q{SELECT idempotency.claim('taken over', 'shop', lease => '1 hour')});
my $kept = $node->safe_psql('portable', q{SELECT scope, key, status, response, attempt, recovery_point, state, lease_until, claimed_at, completed_at, expires_at
	FROM idempotency.keys WHERE key <> 'expired' ORDER BY scope, key});
$node->run_log([ 'pg_dump', '-Fc', '-f', "$PostgreSQL::Test::Utils::tmp_check/portable.dump", '-d', $node->connstr('portable') ]);

my $move = q{
BEGIN;
LOCK TABLE idempotency.keys IN ACCESS EXCLUSIVE MODE;
ALTER SCHEMA idempotency RENAME TO idempotency_old;
CREATE EXTENSION idempotency;
SELECT idempotency.adopt('idempotency_old');
SELECT idempotency.grant_usage('app');
COMMIT;
};

sub check_moved
{
	my ($database, $how) = @_;

	is($node->safe_psql($database, q{SELECT scope, key, status, response, attempt, recovery_point, state, lease_until, claimed_at, completed_at, expires_at
		FROM idempotency.keys ORDER BY scope, key}), $kept, "$how: what was stored is there, and what had expired is not");
	my $answer = sub { return $node->safe_psql($database, "SET ROLE app; SELECT outcome, status_code, response, attempt FROM idempotency.claim($_[0])") };
	is($answer->(q{'completed', 'shop', '{"to": "é", "amount": 1}'}), 'replay|201|{"id": 7}|', "$how: a retry gets the result");
	is($answer->(q{'completed', 'shop', '{"amount": 3}'}), 'mismatch|422||', "$how: another request does not");
	is($answer->(q{'failed', 'shop'}), 'replay|402|{"title": "No funds"}|', "$how: a failure is replayed");
	is($answer->(q{'leased', 'shop', '{"amount": 2}'}), 'in_progress|409||', "$how: a lease protects its key");
	is($answer->(q{'released', 'shop', '1', lease => '1 hour'}), 'new|||2', "$how: the attempt of a released key goes on");
	is($node->safe_psql($database, q{SELECT idempotency.once('event', 'webhooks'), idempotency.issue('shop', 'cart 1') = key FROM issued}), 'f|t',
		"$how: a message is recognized, and a subject keeps its key");
	isnt($node->psql($database, q{SELECT idempotency.complete('taken over', 'shop', attempt => 1)}), 0, "$how: an owner who was superseded is refused");
	is($node->psql($database, q{SELECT idempotency.complete('taken over', 'shop', '"done"', attempt => 2), idempotency.heartbeat('leased', 'shop', attempt => 1),
		idempotency.complete('leased', 'shop', '"done"', attempt => 1)}), 0, "$how: owners complete what they claimed before");
	is($node->safe_psql($database, q{SELECT scope, ttl, min_key_length FROM idempotency.policy}), 'shop|2 days|3', "$how: policies are there");
	my ($status, $out, $err) = $node->psql($database, q{SELECT idempotency_old.claim('late', 'shop', lease => '1 hour')});
	like($err, qr/the keys have moved/, "$how: the old functions raise");
	($status, $out, $err) = $node->psql($database, q{UPDATE idempotency_old.keys SET status = status});
	like($err, qr/the keys have moved/, "$how: the old table is closed");
	is($node->psql($database, 'DROP SCHEMA idempotency_old CASCADE'), 0, "$how: the old schema can go");
	return;
}

# A dump that is restored into a database with the extension, which then takes over.
$node->safe_psql('postgres', 'CREATE DATABASE restored OWNER app_owner');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), "$PostgreSQL::Test::Utils::tmp_check/portable.dump" ], 'the dump is restored');
$node->safe_psql('restored', $move);
check_moved('restored', 'restored');

# In place, while a session has cached plans, and claims wait for the table: rows
# that they would write to it would be lost.
my $cached = $node->background_psql('portable', on_error_stop => 0);
$cached->query_safe(q{CREATE TEMPORARY TABLE effect (a integer)});
$cached->query_safe(q{SELECT idempotency.once('cached ' || n, 'webhooks', ttl => '1 us') FROM generate_series(1, 10) AS n});
my $mover = $node->background_psql('portable');
$mover->query_safe(q{SET client_min_messages = warning; BEGIN; LOCK TABLE idempotency.keys IN ACCESS EXCLUSIVE MODE});
my $waiting = $node->background_psql('portable', on_error_stop => 0);
$waiting->query_until(qr/asked/, "\\echo asked\nSELECT 'got ' || outcome FROM idempotency.claim('meanwhile', 'shop', lease => '1 hour');\n");
$node->poll_query_until('portable', q{SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'idempotency.keys'::regclass)})
	or die 'nobody waits';
(my $rest = $move) =~ s/BEGIN;\nLOCK TABLE .*?;//;
$mover->query_safe($rest);
$mover->quit;
$waiting->quit;
is($node->safe_psql('portable', q{SELECT count(*) FROM idempotency_old.keys WHERE key = 'meanwhile'}), '0', 'a claim that waited for the old table has not written to it');
$cached->query(q{SELECT idempotency.once('after', 'webhooks')});
$cached->quit;
is($node->safe_psql('portable', q{SELECT count(*) FROM idempotency.keys WHERE key = 'after'}), '1', 'a session with cached plans calls the extension');
$node->safe_psql('portable', q{SELECT idempotency.forget('after', 'webhooks')});
check_moved('portable', 'in place');

# A schema that is not a portable edition.
my ($status, $out, $err) = $node->psql('portable', q{SELECT idempotency.adopt('public')});
like($err, qr/schema "public" does not contain the portable edition/, 'another schema is refused');
($status, $out, $err) = $node->psql('portable', q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT idempotency.adopt('public')});
like($err, qr/must run at READ COMMITTED/, 'an old snapshot is refused');

# An extension that has been used: two rows of a key would be two answers.
$node->safe_psql('postgres', 'CREATE DATABASE used OWNER app_owner');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('used'), "$PostgreSQL::Test::Utils::tmp_check/portable.dump" ], 'the dump is restored again');
$node->safe_psql('used', q{ALTER SCHEMA idempotency RENAME TO idempotency_old; CREATE EXTENSION idempotency});
my $open = $node->background_psql('used');
$open->query_safe(q{BEGIN; SELECT idempotency.claim('completed', 'shop', '{"amount": 5}')});
my $adopter = $node->background_psql('used', on_error_stop => 0);
$adopter->query_until(qr/asked/, "\\echo asked\nSELECT idempotency.adopt('idempotency_old');\n");
$node->poll_query_until('used', q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query ~ 'adopt' AND wait_event_type = 'Lock')})
	or die 'adopt() does not wait';
$open->query_safe(q{SELECT idempotency.complete('completed', 'shop'); COMMIT});
$open->quit;
$adopter->query('SELECT');
like($adopter->{stderr}, qr/the extension has stored keys/, 'an extension that has stored keys is refused, also keys of open claims');
$adopter->quit;

$node->stop;
done_testing();
