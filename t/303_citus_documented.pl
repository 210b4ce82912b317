# The statements of doc/scaling.md about Citus that go beyond the contract of one server.
#
# test/Citus.pm describes the servers that it needs.

use strict;
use warnings;
use lib 'test';
use Citus;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

make_databases('idempotency_test_citus');
sql($coordinator, 'CREATE EXTENSION citus');
add_workers();
sql($coordinator, q{
CREATE EXTENSION idempotency;
CREATE TABLE payments (tenant text, payment uuid DEFAULT gen_random_uuid(), key text, PRIMARY KEY (tenant, payment));
SET citus.shard_count = 8;
SELECT create_distributed_table('payments', 'tenant');
SELECT idempotency.distribute('payments');
CREATE TABLE ledger (entry text)});
my $pay = q{
SELECT outcome FROM idempotency.claim('%1$s', 'pay/ann');
INSERT INTO payments (tenant, key) VALUES ('ann', '%1$s');
SELECT idempotency.complete('%1$s', 'pay/ann');};
my $effects = q{SELECT count(*) FROM payments WHERE key = '%s'};
my $home_of_ann = q{SELECT nodeport FROM citus_shards WHERE shardid = get_shard_id_for_distribution_column('payments', 'ann')};
my $home = sql($coordinator, $home_of_ann);

# The connection of a session of the coordinator to the node of its rows.
sub connection_of
{
	my ($session) = @_;
	my $gpid = ask($session, 'SELECT citus_backend_gpid()');
	return "application_name LIKE 'citus_internal gpid=$gpid%'";
}

# Tables that Citus does not know are committed after the rows that it knows.
{
	my ($owner, $other) = (session($coordinator), session($coordinator));
	ask($_, 'BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM ledger') for $other, $owner;
	ask($owner, sprintf("$pay INSERT INTO ledger VALUES ('of the owner')", 'unknown'));
	ask($other, q{INSERT INTO ledger VALUES ('of another'); COMMIT});
	like(ask($owner, 'COMMIT'), qr/ERROR:  40001/, 'a transaction that has written to a table that Citus does not know fails with 40001');
	is(sql($worker[0], sprintf("$effects; SELECT outcome FROM idempotency.claim('%1\$s', 'pay/ann')", 'unknown')), "1\nreplay", 'its key and its payment are there');
	is(sql($coordinator, 'SELECT * FROM ledger'), 'of another', 'the work in that table is lost');
	leave($_) for $owner, $other;
}

# A node that is lost at the commit.
{
	my $session = session($coordinator);
	ask($session, 'BEGIN;' . sprintf($pay, 'lost before'));
	my $connection = connection_of($session);
	is(sql($home, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE $connection"), '1', 'a session has one connection to the node of its rows');
	poll($home, "SELECT count(*) = 0 FROM pg_stat_activity WHERE $connection");
	like(ask($session, 'COMMIT'), qr/ERROR: /, 'a commit fails if that is lost');
	ask($session, 'ROLLBACK');
	is(ask($session, 'BEGIN;' . sprintf("$pay COMMIT; $effects", 'lost before')), "new\n\n1", 'nothing was committed, which the claim tells');

	# The node commits, and is lost before it can say so.
	sql($home, q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
	sql($home, 'SELECT pg_reload_conf()');
	poll($home, q{SELECT current_setting('synchronous_standby_names') = 'nobody'});
	ask($session, 'BEGIN;' . sprintf($pay, 'lost after'));
	say_to($session, 'COMMIT');
	my $waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND $connection";
	poll($home, "SELECT count(*) = 1 $waiting");
	sql($home, "SELECT pg_terminate_backend(pid) $waiting");
	like(answer($session), qr/ERROR:  (XX000: could not commit transaction for shard|08)/, 'a commit fails if the node is lost after it has committed');
	sql($home, 'ALTER SYSTEM RESET synchronous_standby_names');
	sql($home, 'SELECT pg_reload_conf()');
	poll($home, q{SELECT current_setting('synchronous_standby_names') = ''});
	is(ask($session, "SELECT outcome FROM idempotency.claim('lost after', 'pay/ann');" . sprintf($effects, 'lost after')), "replay\n1", 'it was committed, which the claim tells');
	leave($session);
}

# Connections.
{
	my @session = map { session($coordinator) } 1 .. 4;
	my @connection = map { connection_of($_) } @session;
	ask($session[$_], "BEGIN; SELECT outcome FROM idempotency.claim('connected $_', 'pay/ann')") for 0 .. $#session;
	is(sql($home, 'SELECT count(*) FROM pg_stat_activity WHERE ' . join ' OR ', @connection), scalar @session, 'each session that claims has a connection to the node');
	ask($_, 'ROLLBACK') for @session;
	is(sql($home, 'SELECT count(*) FROM pg_stat_activity WHERE ' . join ' OR ', @connection), scalar @session, 'and keeps it');
	leave($_) for @session;
}

# Round trips.
sub round_trips
{
	my ($transaction) = @_;
	my $sql = "$transaction SET citus.log_remote_commands = on; SET client_min_messages = notice; $transaction";
	my $number = 0;
	$sql =~ s/KEY/'trip ' . $number++ . rand/ge;
	IPC::Run::run([ psql($coordinator) ], '<', \$sql, '>', \my $out, '2>', \my $notices);
	return join ' ', $notices =~ /issuing (\w+)/g;
}
my $by_hand = q{
BEGIN;
INSERT INTO payments (tenant, key) VALUES ('ann', 'KEY');
INSERT INTO payments (tenant, key) VALUES ('ann', 'KEY');
UPDATE payments SET key = 'KEY' WHERE tenant = 'ann' AND key = 'KEY';
COMMIT;};
is(round_trips($by_hand), 'BEGIN INSERT INSERT UPDATE COMMIT', 'the statements of a claim and its work, by hand');
for my $wait ('5 s', '0')
{
	is( round_trips(qq{
BEGIN;
SELECT idempotency.claim('again', 'pay/ann', wait => '$wait');
INSERT INTO payments (tenant, key) VALUES ('ann', 'KEY');
SELECT idempotency.complete('again', 'pay/ann');
SELECT idempotency.forget('again', 'pay/ann');
COMMIT;}) =~ s/ UPDATE DELETE COMMIT$/ COMMIT/r,
		'BEGIN INSERT RELEASE INSERT UPDATE COMMIT', "claimed with a wait of $wait, they take one round trip more");
}

# A wait lasts as long as it should, also if the session has waited on its own node
# before.
for my $port ($coordinator, $worker[0])
{
	my ($owner, $waiter, $holder) = (session($worker[-1]), session($port), session($port));
	my $key = "waits at $port";
	my $shard = sql($coordinator, q{SELECT get_shard_id_for_distribution_column('idempotency.distributed_keys', 'ann')});
	ask($owner, "BEGIN; SELECT outcome FROM idempotency.claim('$key', 'pay/ann')");
	my $pid = ask($waiter, 'BEGIN; SELECT pg_backend_pid()');
	ask($holder, "BEGIN; SELECT lock_shard_metadata(7, ARRAY[$shard])");
	my $begun = time;
	say_to($waiter, "SELECT outcome FROM idempotency.claim('$key', 'pay/ann', wait => '3 s')");
	poll($port, "SELECT $pid IN (SELECT pid FROM pg_locks WHERE NOT granted)");
	ask($holder, 'ROLLBACK');
	is(answer($waiter), 'in_progress', "$port: a wait for another transaction's claim runs out, after a wait for a lock");
	my $took = time - $begun;
	cmp_ok($took, '>=', 2.9, "$port: not too early");
	cmp_ok($took, '<', 3 + 0.1 * $patience, "$port: nor much later");
	is(ask($waiter, sprintf("$pay COMMIT", "$key, next")), "new\n", "$port: and the transaction goes on");
	leave($_) for $owner, $waiter, $holder;
}

# A shard is moved online, and a request is answered after its rows were copied.
sub move_online
{
	my ($key, $to) = @_;
	my ($holder, $mover) = (session($coordinator), session($coordinator));
	my $from = sql($coordinator, $home_of_ann);
	poll($coordinator, 'CALL citus_cleanup_orphaned_resources(); SELECT count(*) = 0 FROM pg_dist_cleanup');
	my $shard = sql($coordinator, q{SELECT get_shard_id_for_distribution_column('payments', 'ann')});
	ask($holder, "BEGIN; SELECT lock_shard_metadata(5, ARRAY[$shard])");
	say_to($mover, "SELECT citus_move_shard_placement($shard, '$host', $from, '$host', $to, 'force_logical')");
	poll($coordinator, "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
	# The move waits on the coordinator, and has not asked the workers yet.
	is(sql($worker[0], sprintf("BEGIN; $pay COMMIT; $effects", $key, $key)), "new\n\n1", "$key: a request is answered");
	ask($holder, 'ROLLBACK');
	unlike(answer($mover), qr/ERROR/, "$key: and the shard moved");
	is(sql($coordinator, $home_of_ann), $to, "$key: to another node");
	leave($_) for $holder, $mover;
}

# Clocks.
my $data = is_here($worker[1]);
my $shim = PostgreSQL::Test::Utils::tempdir() . '/weather.so';
SKIP:
{
	skip 'the worker is not on this machine, or of another user', 4 unless $data;
	skip 'there is no compiler', 4
	  unless eval { IPC::Run::run([ qw(cc -shared -fPIC -o), $shim, 'test/storm/weather.c' ], '2>', \my $why) };
	is(sql($coordinator, q{SELECT outcome, attempt FROM idempotency.claim('clocks', 'mail/ann', lease => '1 hour')}), 'new|1', 'a lease of an hour');
	open my $offset, '>', "$shim.offset" or die;
	binmode $offset;
	print $offset pack('q<', 2 * 3600 * 1_000_000);
	close $offset;
	chmod 0644, "$shim.offset";
	pg_ctl($data, '-m', 'fast', 'stop');
	{
		local $ENV{LD_PRELOAD} = $shim;
		local $ENV{STORM_CLOCK} = "$shim.offset";
		start_again($data);
	}
	is(sql($worker[1], q{SELECT outcome, attempt FROM idempotency.claim('clocks', 'mail/ann', lease => '1 hour')}), 'recovered|2',
		'is over for a node whose clock is two hours ahead');
	fails($coordinator, q{SELECT idempotency.complete('clocks', 'mail/ann', attempt => 1)}, qr/ERROR:  IK423/, 'the owner that it had is fenced');
	pg_ctl($data, '-m', 'fast', 'stop');
	start_again($data);
	is(on_all_nodes(q{SELECT outcome FROM idempotency.claim('clocks', 'mail/ann')}), join(' ', ('in_progress') x @node), 'and for the others the lease of the next owner lasts');
}

SKIP:
{
	skip 'wal_level is not logical', 8 if sql($worker[0], 'SHOW wal_level') ne 'logical';
	skip 'the worker is not on this machine, or of another user', 8 unless $data;
	my $elsewhere = (grep { $_ != $worker[1] } @worker)[0];
	move_online('moved online', $home == $worker[1] ? $elsewhere : $worker[1]);
	is(sql($coordinator, sprintf $effects, 'moved online'), '1', 'moved online: its row moved with the shard');
	move_online('moved back', $elsewhere) if sql($coordinator, $home_of_ann) == $worker[1];
	pg_ctl($data, '-m', 'fast', 'stop');
	{
		local $ENV{PGAPPNAME} = 'anything';
		start_again($data);
	}
	move_online('PGAPPNAME', $worker[1]);
	is(sql($coordinator, sprintf $effects, 'PGAPPNAME'), '0', 'PGAPPNAME: its row is lost, if that is in the environment of the server that the shard is moved to');
	pg_ctl($data, '-m', 'fast', 'stop');
	start_again($data);
}

done_testing();
