# On Citus, no key and no policy is lost when one server becomes a cluster, when a
# cluster is restored as another one, and back.
#
# test/Citus.pm describes the servers that it needs.

use strict;
use warnings;
use lib 'test';
use Citus;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

sub each_node
{
	my ($answer) = @_;
	return join ' ', ($answer) x @node;
}

make_databases('idempotency_test_citus');
sql($coordinator, q{
CREATE EXTENSION citus;
CREATE EXTENSION idempotency;
CREATE TABLE payments (tenant text, payment uuid DEFAULT gen_random_uuid(), key text, PRIMARY KEY (tenant, payment));
SELECT idempotency.set_policy('policy', lease => '1 hour')});
add_workers();
sql($coordinator, q{SET citus.shard_count = 8; SELECT create_distributed_table('payments', 'tenant')});

# Keys of all nodes are carried over.
my $local = q{SET idempotency.store = 'local';};
sql($coordinator, "$local SELECT idempotency.once('homeless', 'pay'), idempotency.once('at the coordinator', 'pay/ann')");
sql($_, "$local SELECT idempotency.once('at $_ ' || n, 'pay/ann', '30 days -02:00') FROM generate_series(1, 1500) AS n") for @worker;
fails($coordinator, q{SELECT idempotency.distribute('payments')},
	qr/ERROR:  55006:.*DETAIL:  Key "homeless" of scope "pay"\..*HINT: /s, 'distribute refuses keys that have no tenant');
sql($coordinator, "SELECT idempotency.forget('homeless', 'pay')");
sql($worker[1], "$local SELECT idempotency.once('at the coordinator', 'pay/ann')");
fails($coordinator, q{SELECT idempotency.distribute('payments')},
	qr/ERROR:  55006:.*DETAIL:  Key "at the coordinator" of scope "pay\/ann"\..*HINT: /s, 'and keys that two nodes have stored');
sql($worker[1], "SELECT idempotency.forget('at the coordinator', 'pay/ann')");
sql($coordinator, q{SELECT idempotency.distribute('payments')});
is( on_all_nodes('SELECT ' . join(', ', map { "idempotency.once('at $_', 'pay/ann')" } 'the coordinator', map { "$_ 1500" } @worker)),
	each_node(join '|', ('f') x @node), 'keys of all nodes are carried over');
is( sql($coordinator, q{SELECT count(*), count(DISTINCT hash), min(ttl) FROM idempotency.distributed_keys WHERE key LIKE 'at ____ %'}),
	join('|', (1500 * @worker) x 2, '30 days -02:00:00'), 'all of them');
is( sql($coordinator, q{
SET citus.override_table_visibility = off;
SELECT (SELECT count(*) FROM idempotency.keys), pg_relation_size('idempotency.distributed_keys')}), '0|0', 'and no copy is left with the coordinator');
fails($worker[0], q{SELECT idempotency.distribute('payments')}, qr/ERROR: .*HINT: /s, 'a worker distributes nothing');

# Policies.
sub leased
{
	my ($what) = @_;
	return join ' ', map {
		my ($out, $error) = try_sql($_, "SELECT outcome FROM idempotency.claim('$what $_', 'policy/ann')");
		$out eq 'new' ? 'leased' : $error =~ /IK500/ ? 'none' : $error
	} @node;
}
is(leased('before'), each_node('leased'), 'policies hold on all nodes from distribute() on');
sql($coordinator, q{BEGIN; SELECT idempotency.drop_policy('policy'); ROLLBACK});
is(leased('rolled back'), each_node('leased'), 'also if one was dropped and that rolled back');
sql($coordinator, q{SELECT idempotency.drop_policy('policy')});
is(leased('dropped'), each_node('none'), 'one that is dropped holds on none');
fails($worker[0], q{SELECT idempotency.set_policy('policy', lease => '1 hour')}, qr/ERROR: .*HINT:  Connect to the coordinator/s, 'a worker sets none');
is(leased('of a worker'), each_node('none'), 'not even for itself');
my $data = is_here($worker[1]);
SKIP:
{
	skip 'the worker is not on this machine, or of another user', 2 unless $data;
	pg_ctl($data, '-m', 'fast', 'stop');
	fails($coordinator, q{SELECT idempotency.set_policy('policy', lease => '1 hour')}, qr/ERROR: /, 'a policy that one node would miss is not set');
	start_again($data);
	is(leased('unreachable'), each_node('none'), 'on no node');
}
sql($coordinator, q{SELECT idempotency.set_policy('policy', lease => '1 hour')});
is(leased('set'), each_node('leased'), 'one that is set holds on all');
sql($coordinator, q{DELETE FROM idempotency.policy});
is(leased('by hand'), each_node('leased'), 'a change by hand is in force on none');
sql($coordinator, q{SELECT idempotency.set_policy('another')});
is(leased('published'), each_node('none'), 'until the next policy is set');
sql($coordinator, q{SELECT idempotency.set_policy('policy', lease => '1 hour')});

# A table that Citus has ceased to distribute, and distributes again.
my $kept = q{SELECT idempotency.once('kept', 'mail/ann')};
is(sql($worker[0], $kept), 't', 'a key is stored');
sql($coordinator, q{SELECT undistribute_table('idempotency.distributed_keys')});
fails($_, $kept, qr/ERROR:  55000:.*HINT: .*distribute/s, 'claims are refused while Citus does not distribute the table') for @node;
is(sql($coordinator, q{SELECT status FROM idempotency.lookup('kept', 'mail/ann')}), 'completed', 'stored keys can be read');
sql($coordinator, q{SELECT idempotency.distribute('payments')});
is(on_all_nodes($kept), each_node('f'), 'distributed again, the keys are remembered');

# Back to the tables of one server.
my $stored = q{SELECT count(*), count(DISTINCT hash), count(response), max(attempt) FROM %s WHERE expires_at > clock_timestamp() AND key <> 'late'};
my $count = sql($coordinator, sprintf $stored, 'idempotency.distributed_keys');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
IPC::Run::run([ 'pg_dump', '-h', $host, '-p', $coordinator, '-f', $dump, 'idempotency_test_citus' ]) or die "pg_dump: $?";
{
	my ($late, $mover) = (session($worker[0]), session($coordinator));
	ask($late, q{BEGIN; SELECT outcome FROM idempotency.claim('late', 'mail/ann', lease => '1 hour')});
	say_to($mover, 'SELECT idempotency.undistribute()');
	poll_any('SELECT count(*) > 0 FROM pg_locks WHERE NOT granted', [ $coordinator, 'SELECT false' ]);
	ask($late, 'COMMIT');
	is(answer($mover), '', 'undistribute waits for a claim that is made on a worker');
	is(sql($coordinator, q{SELECT status FROM idempotency.lookup('late', 'mail/ann')}), 'in_progress', 'and carries it back');
	leave($_) for $late, $mover;
}
is(sql($coordinator, sprintf $stored, 'idempotency.keys'), $count, 'with all other keys');
is(sql($coordinator, q{SELECT to_regclass('idempotency.distributed_keys') IS NULL}), 't', 'and leaves no table');
fails($_, $kept, qr/ERROR:  55000:.*HINT: .*distribute/s, 'the local stores refuse claims of a cluster') for @node;

# A worker's own copy of its keys.
sql($coordinator, "DROP TABLE payments; SELECT idempotency.forget('at $worker[0] 1', 'pay/ann'), citus_remove_node('$host', $worker[0])");
fails($worker[0], $kept, qr/ERROR:  55000: /, 'a worker that has left the cluster refuses claims');
is(sql($worker[0], "$local SELECT idempotency.once('at $worker[0] ' || n, 'pay/ann') FROM generate_series(1, 2) AS n"), "f\nf",
	'unless idempotency.store is local: then it has its keys as they were');
is(sql($worker[0], "SELECT idempotency.purge('pay/ann'); $local SELECT idempotency.once('at $worker[0] 1', 'pay/ann')"), "1500\nt", 'until they are purged there');

# One server becomes a cluster.
make_databases('idempotency_test_grown');
sql($coordinator, q{
CREATE EXTENSION idempotency;
CREATE TABLE payments (tenant bigint, payment uuid DEFAULT gen_random_uuid(), key text, PRIMARY KEY (tenant, payment));
SELECT idempotency.set_policy('policy', lease => '1 hour');
SELECT idempotency.once('kept ' || n, 'pay/' || n) FROM generate_series(1, 40) AS n;
CREATE EXTENSION citus});
sql($coordinator, qq{
SELECT citus_set_coordinator_host('$host', $coordinator);
SELECT citus_set_node_property('$host', $coordinator, 'shouldhaveshards', true);
SET citus.shard_count = 8;
SELECT create_distributed_table('payments', 'tenant');
SELECT idempotency.once('in between', 'pay/1');
SELECT idempotency.distribute('payments')});
is(sql($coordinator, q{SELECT idempotency.once('kept 1', 'pay/1'), idempotency.once('in between', 'pay/1'), idempotency.once('alone', 'pay/1')}),
	'f|f|t', 'one server distributes its keys over itself');
add_workers();
is(on_all_nodes(q{SELECT string_agg(extname, '+' ORDER BY extname) FROM pg_extension WHERE extname IN ('citus', 'idempotency')}),
	each_node('citus+idempotency'), 'workers that join later get the extension');
sql($coordinator, q{SELECT rebalance_table_shards(shard_transfer_mode => 'block_writes')});
cmp_ok(sql($coordinator, q{SELECT count(DISTINCT nodeport) FROM citus_shards WHERE table_name = 'idempotency.distributed_keys'::regclass}), '>', 1, 'and shards');
is(on_all_nodes(q{SELECT count(*) FROM generate_series(1, 40) AS n WHERE idempotency.once('kept ' || n, 'pay/' || n)}),
	each_node('0'), 'all keys are remembered, on every node');
is(on_all_nodes(q{SELECT outcome FROM idempotency.claim(pg_backend_pid()::text, 'policy/1')}), each_node('new'), 'and the policies');

# A plain table that is distributed without distribute().
make_databases('idempotency_test_by_hand');
sql($coordinator, q{
CREATE EXTENSION idempotency;
CREATE TABLE payments (tenant text, key text);
SELECT idempotency.distribute('payments')});
is(sql($coordinator, $kept), 't', 'one server has a distributed store');
sql($coordinator, q{CREATE EXTENSION citus});
sql($_, q{CREATE EXTENSION idempotency}) for @worker;
add_workers();
sql($coordinator, q{
SELECT create_distributed_table('payments', 'tenant');
SELECT create_distributed_table('idempotency.distributed_keys', 'tenant', colocate_with => 'payments')});
fails($_, $kept, qr/ERROR:  55000:.*HINT: .*distribute/s, 'claims are refused if Citus distributes its table by hand, but no policies') for @node;
sql($coordinator, $_) for 'SELECT idempotency.undistribute()', q{SELECT idempotency.distribute('payments')};
is(on_all_nodes($kept), each_node('f'), 'once it is distributed by distribute() its keys are remembered, on every node');

# A dump of the coordinator becomes another cluster.
make_databases('idempotency_test_restored');
IPC::Run::run([ 'psql', '-XAtq', '-h', $host, '-p', $coordinator, '-d', 'idempotency_test_restored', '-v', 'ON_ERROR_STOP=1', '-f', $dump ],
	'>', \my $restored) or die "psql: $?";
add_workers();
fails($coordinator, $kept, qr/ERROR:  55000:.*HINT: .*distribute/s, 'after a restore claims are refused');
# Simulate the dump of a machine that computes other hashes.
sql($coordinator, q{UPDATE idempotency.distributed_keys SET hash = gen_random_uuid()});
sql($coordinator, q{SELECT create_distributed_table('payments', 'tenant'); SELECT idempotency.distribute('payments')});
is(on_all_nodes($kept), each_node('f'), 'once the keys are distributed they are remembered, on every node');
is(sql($coordinator, sprintf $stored, 'idempotency.distributed_keys'), $count, 'all of them');
is(leased('restored'), each_node('leased'), 'and the policies');

done_testing();
