# If no worker can be started, the launcher logs it, continues, and sweeps as soon
# as a worker can start.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'idempotency'
idempotency.sweep_interval = '20 ms'
max_logical_replication_workers = 0
max_worker_processes = 1
});
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION idempotency;
SELECT idempotency.claim('k', 'shop', ttl => '1 year', lease => '0.01 s');
SELECT idempotency.complete('k', 'shop', attempt => 1, ttl => '0.01 s');
});
$node->wait_for_log(qr/could not start a worker to sweep expired idempotency keys/);
my $position = -s $node->logfile;
$node->wait_for_log(qr/could not start a worker to sweep expired idempotency keys/, $position);
is($node->safe_psql('postgres', 'SELECT count(*) FROM idempotency.keys'), '1', 'nothing is swept meanwhile');

$node->append_conf('postgresql.conf', 'max_worker_processes = 4');
$node->restart;
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM idempotency.keys'), 'the key is swept where there is room');

$node->stop;
done_testing();
