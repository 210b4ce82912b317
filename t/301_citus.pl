# On Citus, with keys stored next to the rows that they protect, the coordinator
# and the workers together keep the contract of one server.
#
# test/Citus.pm describes the servers that it needs.  Shards are moved in both of Citus's
# ways if wal_level is logical; a worker is killed if it runs on this machine as
# this user.
#
# CITUS_KEYS=10000 is the long form.

use strict;
use warnings;
use lib 'test';
use Citus;
use IPC::Run;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $test = $$;
my $keys = $ENV{CITUS_KEYS} // 800;
my $directory = PostgreSQL::Test::Utils::tempdir();

make_databases('idempotency_test_citus');
sql($coordinator, 'CREATE EXTENSION citus');
add_workers();
note(sql($coordinator, 'SELECT citus_version(), version()'));

sql($coordinator, q{
CREATE EXTENSION idempotency;
CREATE TABLE payments (tenant text, payment uuid DEFAULT gen_random_uuid(), key text, PRIMARY KEY (tenant, payment));
SET citus.shard_count = 8;
SELECT create_distributed_table('payments', 'tenant');
CREATE ROLE idempotency_test_app LOGIN;
SELECT idempotency.grant_usage('idempotency_test_app');
GRANT SELECT, INSERT ON payments TO idempotency_test_app;
});

# A whole request in one call; the client may connect to any node.
for my $port (@node)
{
	sql($port, q{
SET citus.enable_ddl_propagation = off;
CREATE FUNCTION pay(tenant text, key text, OUT outcome text, OUT payment text) LANGUAGE plpgsql AS $$
DECLARE
	c idempotency.claim_result := idempotency.claim(key, 'pay/' || tenant, '{"amount": 10}');
BEGIN
	outcome := c.outcome;
	payment := c.resource_id;
	IF c.proceed THEN
		INSERT INTO payments AS p (tenant, key) VALUES (pay.tenant, pay.key) RETURNING p.payment INTO payment;
		PERFORM pg_sleep(0.05);
		PERFORM idempotency.complete(key, 'pay/' || tenant, jsonb_build_object('payment', payment), payment, 201);
	END IF;
END
$$;
CREATE FUNCTION work(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO payments (tenant, key) VALUES ('ann', request->>'key');
	RETURN request;
END
$$;
});
}

# Without a distributed store.
fails($coordinator, q{SELECT idempotency.claim('local', 'pay/ann')},
	qr/ERROR:.*HINT: .*distribute/s, 'the local store refuses where several nodes hold shards');
fails($worker[0], q{SELECT idempotency.claim('local', 'pay/ann')},
	qr/ERROR:.*HINT: .*distribute/s, 'so it does on a worker');
is( sql($coordinator, q{
SET idempotency.store = 'local';
SELECT outcome FROM idempotency.claim('local', 'pay/ann', lease => '1 minute');
SELECT idempotency.complete('local', 'pay/ann', attempt => 1)}),
	"new\n", 'idempotency.store = local permits it');

# The store.
sql($coordinator, q{SELECT idempotency.distribute('payments')});
my $store = sql($coordinator, q{
SELECT s.logicalrelid FROM pg_dist_partition AS s JOIN pg_class ON oid = s.logicalrelid
JOIN pg_dist_partition AS b ON b.logicalrelid = 'payments'::regclass AND b.colocationid = s.colocationid
WHERE relnamespace = 'idempotency'::regnamespace});
like($store, qr/^idempotency\.\w+$/, 'distribute makes a store colocated with the business table');
fails($coordinator, q{SELECT idempotency.claim('k', 'pay')}, qr/ERROR:  IK400:.*HINT: /s, 'a scope without a tenant is IK400');

# One request.
my $pay = q{
SELECT outcome, attempt FROM idempotency.claim('%1$s', 'pay/ann', '{"amount": 10}');
INSERT INTO payments (tenant, key) VALUES ('ann', '%1$s');
SELECT idempotency.complete('%1$s', 'pay/ann', '{"paid": 10}', '%1$s', 201);};
my $effects = q{SELECT count(*) FROM payments WHERE key = '%s'};
is(sql($coordinator, sprintf("BEGIN; $pay ROLLBACK; $effects", 'back', 'back')), "new|1\n\n0", 'what is rolled back leaves no effect');
is(sql($worker[0], sprintf("BEGIN; $pay COMMIT; $effects", 'back', 'back')), "new|1\n\n1", 'and its key is free, on every node');
my $again = q{SELECT outcome, response, resource_id, status_code FROM idempotency.claim('back', 'pay/ann', '{"amount": 10}')};
is( on_all_nodes($again),
	join(' ', ('replay|{"paid": 10}|back|201') x @node),
	'a duplicate replays on every node');
is( sql($coordinator, q{SELECT outcome FROM idempotency.claim('back', 'pay/ann', '{"amount": 11}')}),
	'mismatch', 'another request with the key is a mismatch');
is(sql($coordinator, q{SELECT outcome FROM idempotency.claim('back', 'pay/bob', lease => '1 minute')}), 'new', 'another tenant has keys of its own');
is( sql($coordinator, q{
BEGIN;
SAVEPOINT s;
SELECT outcome FROM idempotency.claim('savepoint', 'pay/ann');
ROLLBACK TO s;
SELECT outcome FROM idempotency.claim('savepoint', 'pay/ann');
SELECT outcome FROM idempotency.claim('savepoint', 'pay/ann');
SELECT idempotency.complete('savepoint', 'pay/ann');
SELECT outcome FROM idempotency.claim('savepoint', 'pay/ann');
COMMIT}),
	"new\nnew\nin_progress\n\nreplay", 'savepoints and second claims are as on one server');

# Citus allows only one user in a transaction to write to colocated tables.
my $app = 'SET ROLE idempotency_test_app;';
is( sql($coordinator, "$app SELECT outcome FROM idempotency.claim('app', 'pay/ann', lease => '1 minute'); SELECT idempotency.complete('app', 'pay/ann', attempt => 1)"),
	"new\n", 'a role that was granted usage claims in transactions of its own');
sql($_, "SELECT idempotency.grant_usage('idempotency_test_app')") for @worker;
is( sql($worker[0], sprintf("$app BEGIN; $pay ROLLBACK; BEGIN; $pay COMMIT;", 'both', 'both') . sprintf($effects, 'both')),
	"new|1\n\nnew|1\n\n1", 'and also if it writes its rows, on a worker');

is( join(' ', map { sql($_, "SELECT c.outcome FROM generate_series(1, 3) AS n, idempotency.claim('no wait $_', 'pay/' || n, wait => '0', lease => '1 minute') AS c") =~ s/\n/ /gr } @node),
	join(' ', ('new') x (3 * @node)), 'a new connection is not taken for a wait');

# Citus sends values as text to other nodes, which read them with their own
# settings.
is( sql($_, q{
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'sql_standard';
SET standard_conforming_strings = off;
SET search_path = idempotency_none;
SELECT outcome FROM idempotency.claim(chr(39) || chr(92) || pg_backend_pid(), 'mail/ann', ttl => '30 days -2:00', lease => '1 hour');
RESET ALL;
SELECT bool_and(expires_at - claimed_at = '29 days 22:00'), bool_and(ttl = '30 days -2:00') FROM idempotency.distributed_keys
WHERE scope = 'mail/ann' AND key LIKE chr(39) || chr(92) || chr(92) || '%'}),
	"new\nt|t", 'values arrive as they are, whatever the settings') for $coordinator, $worker[0];

# Two concurrent requests.
for my $port ($coordinator, $worker[0], $worker[1])
{
	my $place = $port == $coordinator ? 'the coordinator' : "worker $port";
	my ($owner, $waiter) = (session($coordinator), session($port));
	my $waiting = q{SELECT count(*) > 0 FROM citus_lock_waits};

	my $key = "at once $port";
	is(ask($owner, 'BEGIN; ' . sprintf($pay, $key)), "new|1\n", "$place: an owner is at work");
	is( ask($waiter, qq{BEGIN; SELECT outcome, retry_after FROM idempotency.claim('$key', 'pay/ann', '{"amount": 10}', wait => '0')}),
		'in_progress|00:00:01', "$place: without a wait a duplicate gets in_progress");
	is(ask($waiter, qq{INSERT INTO payments (tenant, key) VALUES ('ann', 'other $key'); COMMIT; } . sprintf($effects, "other $key")),
		'1', "$place: and its transaction goes on");
	is( ask($waiter, qq{BEGIN; SELECT outcome FROM idempotency.claim('$key', 'pay/ann', wait => '$_')} .
			q{; SHOW lock_timeout; SHOW citus.propagate_set_commands; COMMIT}),
		"in_progress\n0\nnone", "$place: so it is where a wait of $_ has run out, and no setting is left") for '100 ms', '1100 ms';
	like(ask($waiter, qq{SET lock_timeout = 200; SELECT idempotency.claim('$key', 'pay/ann'); RESET lock_timeout}),
		qr/ERROR:  55P03/, "$place: the session's own lock_timeout keeps its meaning");
	say_to($waiter, qq{SELECT outcome, response FROM idempotency.claim('$key', 'pay/ann', '{"amount": 10}', wait => '1 min')});
	poll($coordinator, $waiting);
	ask($owner, 'COMMIT');
	is(answer($waiter), 'replay|{"paid": 10}', "$place: a duplicate that waits replays");
	is(sql($port, sprintf($effects, $key)), '1', "$place: one effect");

	ask($owner, 'BEGIN; ' . sprintf($pay, "$key, failing"));
	say_to($waiter, 'BEGIN; ' . sprintf($pay, "$key, failing") . 'COMMIT');
	poll($coordinator, $waiting);
	ask($owner, 'ROLLBACK');
	is(answer($waiter), "new|1\n", "$place: one that waits for an owner who fails becomes the owner");

	ask($owner, 'BEGIN; ' . sprintf($pay, "$key, repeatable"));
	say_to($waiter, qq{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT outcome FROM idempotency.claim('$key, repeatable', 'pay/ann')});
	poll($coordinator, $waiting);
	ask($owner, 'COMMIT');
	like(answer($waiter), qr/ERROR:  40001/, "$place: at REPEATABLE READ it has to be sent again");
	leave($_) for $owner, $waiter;
}

# A transaction prevents moves of its shards, also if the subtransaction that wrote
# to one was rolled back.  If the shard moved, a node that is neither the coordinator
# nor has had the shard would send the next claim to where the shard was, and it would
# be lost.
for my $place ('coordinator', 'worker')
{
	my $home = sql($coordinator, q{SELECT nodeport FROM citus_shards WHERE shardid = get_shard_id_for_distribution_column('payments', 'ann')});
	my $port = $place eq 'worker' ? (grep { $_ != $home } @worker)[0] : $coordinator;
	my ($owner, $claimant, $mover) = (session($coordinator), session($port), session($coordinator));
	my $pid = ask($mover, 'SELECT pg_backend_pid()');
	my $key = "parked $place";
	ask($owner, "BEGIN; SELECT outcome FROM idempotency.claim('$key, wait', 'pay/ann')");

	# Statements with generic plans.
	ask($claimant, "SELECT outcome FROM generate_series(1, 10) AS n, idempotency.claim('$key ' || n, 'pay/ann', lease => '1 minute')");
	for my $case ([ 'a wait has run out', "SELECT outcome FROM idempotency.claim('$key, wait', 'pay/ann', wait => '100 ms')", 'in_progress' ],
		[ 'a savepoint is rolled back', 'SAVEPOINT s; ' . sprintf($pay, "$key, savepoint") . 'ROLLBACK TO s', "new|1\n" ])
	{
		my ($event, $statements, $answer) = @$case;
		# What an earlier move has left behind.
		poll($coordinator, 'CALL citus_cleanup_orphaned_resources(); SELECT count(*) = 0 FROM pg_dist_cleanup');
		is(ask($claimant, "BEGIN; $statements"), $answer, "$place: $event");
		ask($owner, 'ROLLBACK');
		say_to($mover, ask($mover, qq{
SELECT format('SELECT citus_move_shard_placement(%s, %L, %s, %L, %s, %L)', s.shardid, s.nodename, s.nodeport, n.nodename, n.nodeport, 'block_writes')
FROM citus_shards AS s JOIN pg_dist_node AS n ON n.shouldhaveshards AND n.nodeport <> s.nodeport
WHERE s.shardid = get_shard_id_for_distribution_column('payments', 'ann') ORDER BY n.nodeport = $port LIMIT 1}));
		# The move waits for the claimant, on the claimant's node, or it is done.
		poll_any("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted",
			[ $coordinator, "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = $pid" ]);
		is(sql($coordinator, "SELECT state FROM pg_stat_activity WHERE pid = $pid"), 'active', "$place: the shard can't move before the transaction ends");
		is(ask($claimant, sprintf($pay, "$key, $event") . 'COMMIT'), "new|1\n", "$place: which goes on");
		unlike(answer($mover), qr/ERROR/, "$place: then the shard moves");
		is(ask($claimant, "SELECT outcome FROM idempotency.claim('$key, $event', 'pay/ann', '{\"amount\": 10}')"), 'replay', "$place: what was claimed meanwhile replays");
		is(sql($coordinator, sprintf($effects, "$key, $event")), '1', "$place: and its effect is there, once");
	}
	leave($_) for $owner, $claimant, $mover;
}

# Leases.
is( sql($worker[0], q{
SELECT outcome, attempt FROM idempotency.claim('lease', 'mail/ann', lease => '1 hour');
SELECT outcome, attempt, retry_after > '30 min' FROM idempotency.claim('lease', 'mail/ann');
SELECT idempotency.checkpoint('lease', 'mail/ann', 'sent', '{"to": "ann"}', 1, '1 ms');
SELECT pg_sleep(0.01)}), "new|1\nin_progress||t\n\n", 'a lease is kept');
is( sql($worker[1], q{SELECT outcome, attempt, recovery_point, state FROM idempotency.claim('lease', 'mail/ann', lease => '1 hour')}),
	'recovered|2|sent|{"to": "ann"}', 'an expired lease is taken over, with a higher attempt');
fails($worker[0], q{SELECT idempotency.complete('lease', 'mail/ann', attempt => 1)}, qr/ERROR:  IK423/, 'its old owner can no longer write');
fails($worker[1], q{SELECT idempotency.complete('lease', 'mail/ann')}, qr/ERROR:  IK428/, 'the new one must name its attempt');
is( sql($worker[1], q{
SELECT idempotency.complete('lease', 'mail/ann', '"sent"', attempt => 2);
SELECT status, response, attempt FROM idempotency.lookup('lease', 'mail/ann')}), "\ncompleted|\"sent\"|2", 'and does');

# Other functions.
my $execute = q{SELECT outcome, response FROM idempotency.execute('e', 'pay/ann', 'work', '{"key": "e"}');};
is(sql($worker[1], "$execute $execute") . '|' . sql($coordinator, sprintf($effects, 'e')),
	qq(new|{"key": "e"}\nreplay|{"key": "e"}|1), 'execute');
is( sql($coordinator, q{
BEGIN;
SELECT ord, outcome FROM idempotency.claim_many(ARRAY['m 1', 'm 2', 'm 1', 'back'], 'pay/ann',
	ARRAY['1', '2', '1', '{"amount": 10}']::jsonb[]);
SELECT idempotency.complete_many(ARRAY['m 1', 'm 2'], 'pay/ann');
COMMIT;
SELECT idempotency.once('m 3', 'pay/ann'), idempotency.once('m 3', 'pay/ann')}),
	"1|new\n2|new\n3|in_progress\n4|replay\n2\nt|f", 'batches and once');

# Expiry.
sql($worker[0], q{
SELECT idempotency.once('old ' || n, 'pay/' || n % 7, '1 ms') FROM generate_series(1, 30) AS n;
SELECT pg_sleep(0.01)});
is( sql($worker[1], q{BEGIN; SELECT outcome FROM idempotency.claim('old 7', 'pay/0'); SELECT idempotency.complete('old 7', 'pay/0'); COMMIT}),
	"new\n", 'an expired key is free');
my $rows = "SELECT count(*) FROM $store WHERE key LIKE 'old %'";
is(sql($worker[0], 'SELECT rows_deleted FROM idempotency.sweep()'), '0', 'a worker sweeps nothing');
is(sql($coordinator, "SELECT rows_deleted >= 0 FROM idempotency.sweep(); $rows"), "t\n1", 'the coordinator sweeps what has expired on all nodes');
is(sql($coordinator, q{SELECT idempotency.forget('old 7', 'pay/0')} . "; $rows"), "t\n0", 'a key is forgotten');

# Clients that send each of their keys until they have a reply.  They may get only
# errors after which the manual tells them to send the request again.
sub client
{
	my ($port, $name, @unanswered) = @_;
	my $give_up = time + $patience + $keys / 10;
	while (@unanswered && time < $give_up && getppid == $test)
	{
		# A file, since psql reads no further once it has lost its server.
		unlink "$directory/$name.requests";
		append_to_file("$directory/$name.requests",
			join '', map { sprintf "SELECT '%s', * FROM pay('tenant %d', '%s');\n", $_, /(\d+)$/ && $1 % 40, $_ } @unanswered);
		IPC::Run::run([ psql($port) ], '<', "$directory/$name.requests", '>>', "$directory/$name.replies", '2>>', "$directory/$name.errors");
		my %answered = map { /^(.*)\|(?:new|replay)\|/ ? ($1 => 1) : () } split /\n/, slurp_file("$directory/$name.replies");
		@unanswered = grep { !$answered{$_} } @unanswered;
		sleep 0.1;
	}
	return !@unanswered;
}

# Every key is sent by two clients, to different nodes, while the cluster is
# disturbed, as long as the clients work; returns how often.
sub under_load
{
	my ($what, $disturb) = @_;
	my $pairs = 3;
	my %client;
	my @all = map { "$what $_" } 1 .. $keys;
	for my $pair (1 .. $pairs)
	{
		for my $port ($pair % 2 ? $coordinator : $worker[1], $worker[0])
		{
			my $name = "$what $pair $port";
			my $pid = fork // die "fork: $!";
			POSIX::_exit(eval { client($port, $name, @all[ grep { $_ % $pairs == $pair - 1 } 0 .. $#all ]) } ? 0 : 1) if $pid == 0;
			$client{$pid} = $name;
		}
	}

	my ($times, $at_work, @gave_up) = (0, scalar keys %client);
	my @name = values %client;
	while ($at_work > 0)
	{
		$times++ if $disturb->($times);
		while ((my $pid = waitpid(-1, POSIX::WNOHANG())) > 0)
		{
			next if !$client{$pid};
			$at_work--;
			push @gave_up, $client{$pid} if $? != 0;
		}
		sleep 0.05;
	}
	is("@gave_up", '', "$what: every client has a reply for every key in the end");

	my %payment = map { split /\|/ } split /\n/, sql($coordinator, "SELECT key, payment FROM payments WHERE key LIKE '$what %'");
	is( sql($coordinator, "SELECT count(*), count(DISTINCT key) FROM payments WHERE key LIKE '$what %'"),
		"$keys|$keys", "$what: every key has one effect");
	my ($replies, @broken, @errors) = (0);
	for my $name (@name)
	{
		for my $reply (split /\n/, slurp_file("$directory/$name.replies"))
		{
			my ($key, $outcome, $payment) = split /\|/, $reply;
			next if $outcome eq 'in_progress';
			$replies++;
			push @broken, $reply if $payment ne ($payment{$key} // '');
		}
		push @errors, slurp_file("$directory/$name.errors") =~ /^(?!.*WARNING: ).*(?:ERROR|FATAL|PANIC): .*$/mg;
	}
	# Citus has no SQLSTATE for some of the errors when it loses a worker.
	my @unexpected = grep { !/: +(?:40001|40P01|08...|57P0.): |could not commit transaction for shard|connection to server|server closed the connection/ } @errors;
	is(join("\n", @broken), '', "$what: every reply holds");
	is(join("\n", @unexpected), '', "$what: clients meet no error but those to send again for");
	note("$what: $keys keys, $replies replies, ", scalar @errors, " errors, $times times");
	return $times;
}

my @mode = sql($coordinator, 'SHOW wal_level') eq 'logical' ? qw(block_writes force_logical) : qw(block_writes);
my $moves = under_load('moved', sub {
	my ($times) = @_;
	my $move = sql($coordinator, sprintf q{
SELECT format('SELECT citus_move_shard_placement(%%s, %%L, %%s, %%L, %%s, %%L)', s.shardid, s.nodename, s.nodeport, n.nodename, n.nodeport, '%s')
FROM citus_shards AS s JOIN pg_dist_node AS n ON n.shouldhaveshards AND n.nodeport <> s.nodeport
WHERE s.table_name = 'payments'::regclass ORDER BY random() LIMIT 1}, $mode[ $times % @mode ]);
	my ($out, $error) = try_sql($coordinator, $move);
	note($error) if $error;
	return !$error;
});
cmp_ok($moves, '>=', @mode, 'moved: shards were moved under the load, in each way');

my $data = is_here($worker[0]);
SKIP:
{
	skip 'the worker is not on this machine, or of another user', 5 unless $data;
	my $kills = under_load('killed', sub {
		my ($times) = @_;
		return 0 if $times >= 3;
		poll($coordinator, "SELECT count(*) >= $keys / 5 * ($times + 1) FROM payments WHERE key LIKE 'killed %'");
		my @process = split /\n/, sql($worker[0], 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');
		my ($postmaster) = split /\n/, slurp_file("$data/postmaster.pid");
		kill 'KILL', @process, $postmaster;
		start_again($data);
		return 1;
	});
	is($kills, 3, 'killed: the worker was killed under the load');
}

done_testing();
