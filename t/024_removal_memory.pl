# Removing 100,000 keys, by purge() row by row or by one sweep() of keys_long,
# takes no more memory than removing 10,000, even if restored rows have long
# scopes.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'reads the peak of memory from /proc' unless -r "/proc/$$/status";
plan skip_all => 'AddressSanitizer keeps memory that was freed' if ($ENV{LD_PRELOAD} // '') =~ /asan/;

my $allowed = 10 * 1024;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
# The shared buffers that a session has touched count as its memory.
$node->append_conf('postgresql.conf', "shared_buffers = '8MB'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION idempotency');

sub fill
{
	my ($keys, $slot, $expires_at) = @_;
	$node->safe_psql('postgres', qq{
TRUNCATE idempotency.keys;
INSERT INTO idempotency.keys (scope, key, status, attempt, expires_at, slot, hash)
SELECT 'memory', n::text, 'completed', 1, $expires_at, $slot, idempotency.key_hash(n::text, 'memory')
FROM generate_series(1, $keys) AS n
UNION ALL
SELECT 'other', 'k', 'completed', 1, now() + interval '1 hour', $slot, idempotency.key_hash('k', 'other');
});
	return;
}

# The peak memory of a session, in kB, after a statement.
sub peak
{
	my ($statement, $result) = @_;
	my $session = $node->background_psql('postgres');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	chomp $pid;
	is($session->query_safe($statement), $result, $statement);
	my ($peak) = slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m;
	$session->quit;
	return $peak;
}

my ($few, $many) = (10_000, 100_000);
for my $case (
	[ 1, q{now() + interval '1 hour'}, q{SELECT idempotency.purge('memory')}, sub { $_[0] } ],
	[ -1, q{now() - interval '1 hour'}, q{SELECT idempotency.sweep(1000000)}, sub { "(0,$_[0])" } ])
{
	my ($slot, $expires_at, $statement, $result) = @$case;
	fill($few, $slot, $expires_at);
	my $of_few = peak($statement, $result->($few));
	fill($many, $slot, $expires_at);
	my $of_many = peak($statement, $result->($many));
	cmp_ok($of_many - $of_few, '<', $allowed, "$statement takes the same memory for ten times the rows");
	note "$of_few kB, $of_many kB";
}

$node->safe_psql('postgres', q{
TRUNCATE idempotency.keys;
INSERT INTO idempotency.keys (scope, key, status, attempt, expires_at, slot)
SELECT repeat('s', 10000000), n::text, 'released', 1, now() - interval '1 hour', -1 FROM generate_series(1, 20) AS n;
});
my $of_none = peak('SELECT idempotency.sweep(0)', '(0,0)');
my $of_long = peak('SELECT idempotency.sweep(20)', '(0,20)');
cmp_ok($of_long - $of_none, '<', $allowed, 'a sweep takes no memory for the scopes of rows');
note "$of_none kB, $of_long kB";

$node->stop;
done_testing();
