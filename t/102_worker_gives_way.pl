# Databases can be dropped, copied and renamed, and the extension dropped,
# while the worker runs as often as it can.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'idempotency'
idempotency.sweep_interval = '1 ms'
idempotency.wheel_tick = '2 ms'
});
$node->start;

# With this short tick every round has slots to turn, and rows to delete.
my $fill = q{SELECT idempotency.claim('k' || n, 'fill', ttl => '0.01 s', lease => '0.01 s') FROM generate_series(1, 200) AS n};

sub succeeds
{
	my ($db, $sql, $name) = @_;
	my ($stdout, $stderr);
	my $began = time;
	my $rc = $node->psql($db, $sql, stdout => \$stdout, stderr => \$stderr);
	is($rc, 0, $name) or diag $stderr;
	cmp_ok(time - $began, '<', 5, "$name, without a long wait");
	return;
}

$node->safe_psql('postgres', 'CREATE DATABASE d');
$node->safe_psql('d', 'CREATE EXTENSION idempotency');
$node->safe_psql('d', "UPDATE idempotency.wheel SET until = clock_timestamp(); $fill");
$node->poll_query_until('d', 'SELECT max(until) > clock_timestamp() FROM idempotency.wheel') or die 'not swept';

for my $round (1 .. 5)
{
	$node->safe_psql('d', $fill);
	succeeds('postgres', 'CREATE DATABASE copy TEMPLATE d', "copied in round $round");
	$node->safe_psql('copy', $fill);
	succeeds('postgres', 'ALTER DATABASE copy RENAME TO renamed', "renamed in round $round");
	$node->safe_psql('renamed', $fill);
	succeeds('renamed', 'DROP EXTENSION idempotency', "extension dropped in round $round");
	succeeds('renamed', "CREATE EXTENSION idempotency; $fill", "extension created in round $round");
	succeeds('postgres', 'DROP DATABASE renamed', "dropped in round $round");
}

$node->safe_psql('d', $fill);
my $began = time;
$node->stop('fast');
cmp_ok(time - $began, '<', 2, 'a fast shutdown takes less than two seconds');
ok(slurp_file($node->logfile) !~ qr/deadlock detected|PANIC/, 'nobody met a deadlock');
done_testing();
