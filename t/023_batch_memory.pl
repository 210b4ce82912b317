# Claiming 100,000 keys in one call, completing and replaying them, needs less
# than 64 MB beyond the memory of the arrays.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'reads the peak of memory from /proc' unless -r "/proc/$$/status";
plan skip_all => 'AddressSanitizer keeps memory that was freed' if ($ENV{LD_PRELOAD} // '') =~ /asan/;

my $allowed = 64 * 1024;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
# The shared buffers that a session has touched count as its memory.
$node->append_conf('postgresql.conf', "shared_buffers = '8MB'");
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION idempotency;
CREATE TABLE batch AS
SELECT array_agg('key ' || n) AS keys, array_agg(jsonb_build_object('amount', n, 'text', repeat(md5(n::text), 16))) AS requests
FROM generate_series(1, 100000) AS n;
});

# The peak memory of a session, in kB, after some statements.
sub peak
{
	my (@statements) = @_;
	my $session = $node->background_psql('postgres');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	chomp $pid;
	$session->query_safe($_) for @statements;
	my ($peak) = slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m;
	$session->quit;
	return $peak;
}

# When the arrays have been read, each is in memory once.
my $built = peak('SELECT cardinality(keys), cardinality(requests) FROM batch');
my $claimed = peak(
	"BEGIN",
	"SELECT count(*) FROM batch, idempotency.claim_many(keys, 'memory', requests) AS c WHERE c.proceed");
cmp_ok($claimed - $built, '<', $allowed, 'claiming 100,000 keys');
note 'claim_many: ' . ($claimed - $built) . ' kB';

my $completed = peak(
	"BEGIN",
	"SELECT count(*) FROM batch, idempotency.claim_many(keys, 'memory', requests) AS c WHERE c.proceed",
	"SELECT idempotency.complete_many(keys, 'memory', requests) FROM batch",
	"COMMIT");
cmp_ok($completed - $built, '<', $allowed, 'claiming and completing them in one transaction');
note 'claim_many and complete_many: ' . ($completed - $built) . ' kB';

my $replayed = peak("SELECT count(*) FROM batch, idempotency.claim_many(keys, 'memory', requests) AS c WHERE c.outcome = 'replay'");
cmp_ok($replayed - $built, '<', $allowed, 'replaying them');
note 'replay: ' . ($replayed - $built) . ' kB';

$node->stop;
done_testing();
