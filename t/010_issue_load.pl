# Twenty connections ask for the key of the same cart at the same time, cart
# after cart, some of them rolling back: each cart has one key, at every
# isolation level.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 20;
my $carts = 50;

my $node = PostgreSQL::Test::Cluster->new('issue_load');
$node->init;
$node->append_conf('postgresql.conf', "max_connections = 40\nidempotency.max_waiters = $clients\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION idempotency');

# Every client goes through the carts in the same order.
my $directory = PostgreSQL::Test::Utils::tempdir;
my $ask = q{
\set cart 1 + :cart
BEGIN;
INSERT INTO issued SELECT :cart, idempotency.issue('load', 'cart-' || :cart);
};
append_to_file("$directory/commit.sql", "$ask COMMIT;\n");
append_to_file("$directory/rollback.sql", "$ask ROLLBACK;\n");

foreach my $level ('read committed', 'repeatable read', 'serializable')
{
	$node->safe_psql('postgres', q{
		DROP TABLE IF EXISTS issued;
		CREATE TABLE issued (cart integer, key text);
		DELETE FROM idempotency.keys;
	});

	local $ENV{PGOPTIONS} = '-c default_transaction_isolation=' . ($level =~ s/ /\\ /r)
	  . ' -c idempotency.default_wait=60s';
	$node->command_ok(
		[
			'pgbench', '--no-vacuum', '--client' => $clients, '--jobs' => 2,
			'--transactions' => $carts, '--define' => 'cart=0',
			'--file' => "$directory/commit.sql\@4",
			'--file' => "$directory/rollback.sql\@1",
			'postgres'
		],
		"$level: every connection is answered");
	delete $ENV{PGOPTIONS};

	cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM issued'),
		'>', $clients * $carts / 2, "$level: most of them committed");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT cart FROM issued GROUP BY cart HAVING count(DISTINCT key) > 1) AS torn'),
		'0', "$level: no cart has two keys");
	is($node->safe_psql('postgres', 'SELECT count(DISTINCT cart) = count(DISTINCT key) FROM issued'),
		't', "$level: no two carts share a key");
	is($node->safe_psql('postgres', q{
			SELECT count(*) FROM idempotency.keys
			WHERE scope = 'load' AND status = 'issued' AND key NOT IN (SELECT key FROM issued)}),
		'0', "$level: every stored key was returned to a client");
	is($node->safe_psql('postgres', q{
			SELECT count(*) FROM issued
			WHERE NOT EXISTS (SELECT FROM idempotency.lookup(issued.key, 'load') AS k WHERE k.status = 'issued')}),
		'0', "$level: every returned key is stored as issued");
}

$node->stop;
done_testing();
