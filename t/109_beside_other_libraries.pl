# The library shares the server's memory with another one, whichever is loaded
# first.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
my $available = $node->safe_psql('postgres',
	q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'});
plan skip_all => 'pg_stat_statements is not installed' if $available == 0;
$node->safe_psql('postgres', 'CREATE EXTENSION idempotency; CREATE EXTENSION pg_stat_statements');

for my $order ('pg_stat_statements, idempotency', 'idempotency, pg_stat_statements')
{
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$order'");
	$node->restart;
	$node->safe_psql('postgres', q{SELECT idempotency.claim('k', 'shop', lease => '1 minute')});
	is($node->safe_psql('postgres', q{SELECT claims FROM idempotency.stats WHERE scope = ''}), '1', "calls are counted: $order");
	is($node->safe_psql('postgres', q{SELECT calls FROM pg_stat_statements WHERE query LIKE 'SELECT idempotency.claim(%'}),
		'1', "and statements too: $order");
	$node->safe_psql('postgres', q{SELECT idempotency.forget('k', 'shop'), pg_stat_statements_reset()});
}

$node->stop;
done_testing();
