# If the library is preloaded, idempotency.stats counts every call, by the
# scope of the policy that applied.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(extra => [ "--encoding", "UTF8" ]);
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->append_conf('postgresql.conf', 'idempotency.worker = off');
$node->start;

sub one
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql);
}

# The counters of a scope that are not zero: "claims 2, new 2".
sub counted
{
	my ($scope, $database) = @_;
	return one(qq{
SELECT string_agg(counter || ' ' || value, ', ' ORDER BY ord)
FROM idempotency.stats AS s,
	json_each_text(row_to_json(s)) WITH ORDINALITY AS c (counter, value, ord)
WHERE s.scope = '$scope' AND value <> '0'
	AND counter NOT IN ('scope', 'time_waited', 'stats_reset')}, $database);
}

sub preload
{
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'idempotency'");
	$node->restart;
}

# Not preloaded.

one('CREATE EXTENSION idempotency');
is(one(q{SELECT outcome FROM idempotency.claim('a', lease => '1 minute')}), 'new', 'a claim is made where nothing is counted');
one(q{
SELECT idempotency.set_policy('shop');
SELECT idempotency.claim('a', 'shop', lease => '1 minute');
SELECT idempotency.stats_reset();
});
is(one('SELECT count(*) FROM idempotency.stats'), '0', 'no rows where the library is not preloaded');
one(q{SELECT idempotency.drop_policy('shop')});
$node->append_conf('postgresql.conf', "session_preload_libraries = 'idempotency'");
$node->reload;
is(one('SELECT count(*) FROM idempotency.stats'), '0', 'no rows where the library comes with the session');

# Preloaded.

preload();
is(one('SELECT scope, claims, stats_reset > pg_postmaster_start_time() FROM idempotency.stats'),
	'|0|t', 'at first there is only the row of the empty scope');

# Every outcome, in one session, under no policy.
one(q{
SELECT idempotency.claim('completed', 'shop/a', '1', lease => '1 minute');
SELECT idempotency.complete('completed', 'shop/a', attempt => 1);
SELECT idempotency.claim('completed', 'shop/a', '1', lease => '1 minute');
SELECT idempotency.claim('completed', 'shop/a', '1', lease => '1 minute');
SELECT idempotency.claim('completed', 'shop/a', '2', lease => '1 minute');
SELECT idempotency.claim('leased', 'shop/a', lease => '1 minute');
SELECT idempotency.claim('leased', 'shop/a', lease => '1 minute');
SELECT idempotency.claim('leased', 'shop/a', lease => '1 minute');
SELECT idempotency.claim('leased', 'shop/a', lease => '1 minute');
SELECT idempotency.claim('taken over', 'shop/a', lease => '1 microsecond');
SELECT idempotency.claim('taken over', 'shop/a', lease => '1 microsecond');
SELECT idempotency.claim('old', 'shop/a', first_sent => 'yesterday', ttl => '1 hour', lease => '1 minute');
});
is( counted(''),
	'claims 11, new 3, recovered 1, replay 2, in_progress 3, mismatch 1, expired 1, completions 1, takeovers 1',
	'each outcome is counted, under no policy for the empty scope');
is(one('SELECT count(*) FROM idempotency.stats'), '1', 'a scope without a policy has no row');
is(one(q{SELECT time_waited FROM idempotency.stats WHERE scope = ''}), '00:00:00', 'nobody has waited');

# Policies that are created and dropped after a session has counted.
my $session = $node->background_psql('postgres');
sub claim_in_session
{
	my ($scope) = @_;
	$session->query_safe(qq{SELECT idempotency.claim(gen_random_uuid()::text, '$scope', lease => '1 minute')});
}
one('SELECT idempotency.stats_reset()');
is(counted(''), '', 'a reset sets the counters to zero');
claim_in_session('shop/a');
one(q{SELECT idempotency.set_policy('shop')});
claim_in_session($_) for ('shop', 'shop/a', 'shopping');
one(q{SELECT idempotency.set_policy('shop/a', ttl => '1 hour')});
claim_in_session($_) for ('shop', 'shop/a', 'shop/a/b', 'shop/ab');
one(q{SELECT idempotency.set_policy('', ttl => '1 hour')});
claim_in_session($_) for ('shopping', 'shop/a');
one(q{SELECT idempotency.drop_policy('shop/a')});
claim_in_session('shop/a');
$session->quit;
is( one(q{SELECT scope, new FROM idempotency.stats ORDER BY scope COLLATE "C"}),
	"|3\nshop|5\nshop/a|3",
	'a claim counts for the longest policy of its time');

# Ends of claims, and batches.
one(q{
SELECT idempotency.stats_reset();
SELECT idempotency.set_policy('ends');
CREATE FUNCTION pay(request jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT request';
CREATE FUNCTION refuse(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN RAISE division_by_zero; END';
SELECT idempotency.claim('c', 'ends', lease => '1 minute');
SELECT idempotency.complete('c', 'ends', '1', attempt => 1);
SELECT idempotency.complete('c', 'ends', '1', attempt => 1);
});
is(counted('ends'), 'claims 1, new 1, completions 1', 'the same result stored again is not counted');
one(q{
SELECT idempotency.claim('f', 'ends', lease => '1 minute');
SELECT idempotency.fail('f', 'ends', attempt => 1);
SELECT idempotency.claim('r', 'ends', lease => '1 minute');
SELECT idempotency.release('r', 'ends', attempt => 1);
SELECT idempotency.claim('r', 'ends', lease => '1 minute');
SELECT idempotency.heartbeat('r', 'ends', attempt => 2);
});
is( counted('ends'),
	'claims 4, new 4, completions 1, failures 1, releases 1',
	'failures and releases are counted, and a claim after a release as new');
one(q{
SELECT idempotency.stats_reset();
SELECT idempotency.once('o', 'ends'), idempotency.once('o', 'ends');
SELECT idempotency.execute('e', 'ends', 'pay', '1');
SELECT idempotency.execute('e', 'ends', 'pay', '1');
SELECT idempotency.execute('refused', 'ends', 'refuse', '1', cache_errors => '{22012}');
});
is( counted('ends'),
	'claims 5, new 3, replay 2, completions 2, failures 1',
	'once and execute count as a claim and its end');
one(q{
SELECT idempotency.stats_reset();
SELECT idempotency.claim_many('{1,2,3,c}', 'ends', '{1,2,3,null}', lease => '1 minute');
SELECT idempotency.complete_many('{1,2,3}', 'ends', attempts => '{1,1,1}');
});
is(counted('ends'), 'claims 4, new 3, replay 1, completions 3', 'a batch counts each of its keys');

# Calls are counted, not transactions; a call that is refused has no outcome.
one(q{
SELECT idempotency.stats_reset();
BEGIN;
SELECT idempotency.claim('rolled back', 'ends', lease => '1 minute');
SELECT idempotency.complete('rolled back', 'ends');
ROLLBACK;
});
is(counted('ends'), 'claims 1, new 1, completions 1', 'a call counts although it is rolled back');
$node->psql('postgres', $_)
  for (q{SELECT idempotency.claim('', 'ends', lease => '1 minute')},
	q{SELECT idempotency.complete('nobody''s', 'ends', attempt => 1)},
	q{SELECT idempotency.release('nobody''s', 'ends', attempt => 1)});
is(counted('ends'), 'claims 1, new 1, completions 1', 'a call that is refused does not count');
$node->psql('postgres', $_)
  for (q{SELECT idempotency.claim('leased', 'ends', '1', lease => '1 minute')}, q{SELECT idempotency.once('leased', 'ends')});
is( counted('ends'),
	'claims 3, new 2, mismatch 1, completions 1',
	'an outcome is counted also if it is raised as an error');

# Waits that end in four ways: by their limit, by statement_timeout, by
# lock_timeout, by the owner.  The first two count from a little before the wait.
my $owner = $node->background_psql('postgres');
my $waiter = $node->background_psql('postgres');
my $waited_before = 0;
# The number of waits, and whether the last one took the given milliseconds.
sub waited
{
	my ($least) = @_;
	my ($waits, $ms) = split /\|/,
	  one(q{SELECT waits, extract(epoch FROM time_waited) * 1000 FROM idempotency.stats WHERE scope = 'ends'});
	my $took = $ms - $waited_before;
	$waited_before = $ms;
	return $took >= $least && $took < 600_000 ? $waits : "$waits, the last one took $took ms";
}
one('SELECT idempotency.stats_reset()');
$owner->query_safe(q{BEGIN; SELECT idempotency.claim('held', 'ends', lease => '1 minute')});
one(q{SELECT idempotency.claim('held', 'ends', wait => '0', lease => '1 minute')});
is(waited(0), '0', 'an answer at once is no wait');
one(q{SELECT idempotency.claim('held', 'ends', wait => '500 ms', lease => '1 minute')});
is(waited(250), '1', 'a wait that runs out is counted with its time');
$node->psql('postgres', q{SET statement_timeout = '500 ms'; SELECT idempotency.claim('held', 'ends', lease => '1 minute')});
is(waited(250), '2', 'a wait that is canceled is counted with its time');
$node->psql('postgres', q{SET lock_timeout = '100 ms'; SELECT idempotency.complete('held', 'ends', attempt => 1)});
is(waited(100), '3', 'so is that of complete()');
$waiter->query_until(qr/waiting/, q{
\echo waiting
SELECT outcome FROM idempotency.claim('held', 'ends', wait => '1 hour', lease => '1 minute');
});
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted})
  or die 'nobody waits';
$owner->query_safe(q{SELECT idempotency.complete('held', 'ends'); COMMIT});
like($waiter->query_safe('SELECT 1'), qr/replay/, 'the waiter replays');
is(waited(0), '4', 'a wait that the owner ends is counted once');
is( counted('ends'),
	'claims 4, new 1, replay 1, in_progress 2, completions 1, waits 4',
	'a wait does not change how the claim is counted');
$_->quit for ($owner, $waiter);

# Each database has its own counters.
one('CREATE DATABASE other');
one(q{
CREATE EXTENSION idempotency;
SELECT idempotency.set_policy('ends');
SELECT idempotency.claim('elsewhere', 'ends', lease => '1 minute');
SELECT idempotency.claim('elsewhere', 'else', lease => '1 minute');
}, 'other');
is( one(q{SELECT scope, new FROM idempotency.stats ORDER BY scope COLLATE "C"}, 'other'),
	"|1\nends|1", 'a database sees its own counters');
one('SELECT idempotency.stats_reset()', 'other');
is(counted('ends', 'other'), '', 'and sets them to zero');
like(counted('ends'), qr/^claims 4/, 'but not those of others');

# A long scope is cut between characters.
my $long = 'ä' x 200;
one(qq{
SELECT idempotency.set_policy('$long');
SELECT idempotency.set_policy('$long/b');
SELECT idempotency.claim('long', '$long', lease => '1 minute');
SELECT idempotency.claim('long', '$long/b/c', lease => '1 minute');
});
is( one(q{SELECT scope = repeat('ä', 127), new FROM idempotency.stats WHERE scope LIKE 'ä%'}),
	't|2', 'long scopes with the same beginning are counted together');

# No room: entries of a dropped database are used again, then all further scopes
# are counted in one row.
$node->restart;
is(one('SELECT sum(claims) FROM idempotency.stats'), '0', 'a restart sets the counters to zero');
sub claim_under_policies
{
	my ($from, $to, $database) = @_;
	one(qq{
SELECT count(idempotency.set_policy('p' || i)) FROM generate_series($from, $to) AS i;
SELECT count(idempotency.claim(gen_random_uuid()::text, 'p' || i, lease => '1 minute')) FROM generate_series($from, $to) AS i;
}, $database);
}
sub rows
{
	return one(q{SELECT count(*), sum(claims), min(claims) FROM idempotency.stats WHERE scope LIKE 'p%'});
}
my $without_room = q{SELECT claims, new, sweeps IS NULL FROM idempotency.stats WHERE scope IS NULL};
claim_under_policies(1, 300, 'other');
one('DROP DATABASE other');
claim_under_policies(1, 400);
is(rows(), '400|400|1', 'the room of a dropped database is used again');
is(one($without_room), '', 'as long as there is room, every policy has a row');
# One of them is taken by the sweep that lays the wheel of the other database.
one('CREATE DATABASE another');
one('CREATE EXTENSION idempotency', 'another');
claim_under_policies(401, 600);
is(rows(), '510|510|1', 'there is room for 512 scopes');
is(one($without_room), '90|90|t', 'scopes without room count together');
claim_under_policies(1, 600);
is(rows(), '510|1020|2', 'no count is lost in a later session');
is(one($without_room), '180|180|t', 'nor one of those without room');
claim_under_policies(1, 1, 'another');
is(one($without_room, 'another'), '181|181|t', 'they show in every database');
one('SELECT idempotency.stats_reset()');
is(one('SELECT count(*), sum(claims) FROM idempotency.stats'), '511|0', 'a reset keeps the rows');

# Concurrent clients.  First uses of a policy collide:
one(q{
SELECT count(idempotency.drop_policy(scope)) FROM idempotency.policy;
SELECT count(idempotency.set_policy('race/' || i)) FROM generate_series(1, 400) AS i;
SELECT count(idempotency.once('k', 'race/' || i)) FROM generate_series(1, 400) AS i;
CREATE SEQUENCE arrived;
});
$node->restart;
$node->pgbench('--client=8 --jobs=2 --transactions=1 --no-vacuum', 0,
	[qr{processed: 8/8}], [qr{^$}], 'eight clients meet the same policies', { '210_race' => q{
DO $$
BEGIN
	FOR round IN 1 .. 80 LOOP
		PERFORM nextval('arrived');
		WHILE (SELECT last_value FROM arrived) < 8 * round LOOP
		END LOOP;
		PERFORM idempotency.once('k', 'race/' || i) FROM generate_series(5 * round - 4, 5 * round) AS i;
	END LOOP;
END $$;
} });
is( one(q{SELECT count(*), min(replay), max(replay) FROM idempotency.stats WHERE scope LIKE 'race/%'}),
	'400|8|8', 'each policy has one row, with the counts of all clients');

# The counters match the outcomes that the clients see:
$node->restart;
one(q{
SELECT count(idempotency.set_policy('storm/' || i)) FROM generate_series(1, 100) AS i;
CREATE TABLE seen (scope text, new int, replay int);
});
$node->pgbench('--client=8 --jobs=2 --transactions=250 --no-vacuum', 0,
	[qr{processed: 2000/2000}], [qr{^$}], 'eight clients claim', { '210_storm' => q{
\set policy random(1, 100)
\set key random(1, 5)
BEGIN;
SELECT (outcome = 'new')::int AS new, (outcome = 'replay')::int AS replay
FROM idempotency.claim(:key::text, 'storm/' || :policy, wait => '10 minutes', lease => '1 minute') \gset
\if :new
SELECT idempotency.complete(:key::text, 'storm/' || :policy);
\endif
INSERT INTO seen VALUES ('storm/' || :policy, :new, :replay);
COMMIT;
} });
is( one(q{
SELECT count(*) FROM (
	SELECT scope, new, replay, claims, completions FROM idempotency.stats WHERE scope LIKE 'storm/%'
	EXCEPT
	SELECT scope, sum(new), sum(replay), count(*), sum(new) FROM seen GROUP BY scope) AS wrong}),
	'0', 'the counters of each scope match the outcomes of its clients');
is(one(q{SELECT sum(claims) FROM idempotency.stats}), '2000', 'no count is lost');

# As fast as possible into one counter:
one(q{SELECT idempotency.claim_many(array_agg(i::text), 'storm/1', lease => '1 minute') FROM generate_series(1, 1000) AS i});
one(q{SELECT idempotency.complete_many(array_agg(key), 'storm/1', attempts => array_agg(1))
	FROM idempotency.keys WHERE scope = 'storm/1' AND status = 'in_progress'});
one('SELECT idempotency.stats_reset()');
$node->pgbench('--client=8 --jobs=2 --transactions=10 --no-vacuum', 0,
	[qr{processed: 80/80}], [qr{^$}], 'eight clients claim keys that have results', { '210_replay' => q{
SELECT count(*) FROM (SELECT array_agg(i::text) AS keys FROM generate_series(1, 1000) AS i) AS all_keys,
	idempotency.claim_many(keys, 'storm/1', lease => '1 minute');
} });
is(counted('storm/1'), 'claims 80000, replay 80000', 'no count is lost where one counter is in demand');

# A crash.
one(q{SELECT idempotency.once('before the crash')});
my $victim = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $victim->query_safe('SELECT pg_backend_pid()');
my $log = -s $node->logfile;
kill 'KILL', $pid;
$node->wait_for_log(qr/all server processes terminated; reinitializing/, $log);
$node->poll_query_until('postgres', 'SELECT true') or die 'the server does not come back';
eval { $victim->quit };
is(one('SELECT count(*), sum(claims) FROM idempotency.stats'), '1|0', 'a crash sets the counters to zero');
is(one(q{SELECT idempotency.once('before the crash')}), 'f', 'and leaves the keys');
is(counted(''), 'claims 1, replay 1', 'counting goes on after a crash');

done_testing();
