# On a standby every function that writes raises the standard read-only error,
# and lookup() answers, even while the primary works on the key.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', 'max_prepared_transactions = 10');
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION idempotency');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

$primary->safe_psql('postgres', q{
BEGIN;
SELECT idempotency.claim('done', 'shop', '{"amount": 1}', lease => '1 minute');
SELECT idempotency.complete('done', 'shop', '{"id": 1}', '1', 201);
COMMIT;
SELECT idempotency.claim('leased', 'shop', lease => '1 hour');
SELECT idempotency.claim('being completed', 'shop', lease => '1 hour');
BEGIN;
SELECT idempotency.claim('prepared', 'shop', lease => '1 minute');
PREPARE TRANSACTION 'prepared';
});
my $owner = $primary->background_psql('postgres');
$owner->query_safe(q{
BEGIN;
SELECT idempotency.claim('being claimed', 'shop', lease => '1 minute');
SELECT idempotency.complete('being completed', 'shop', '"new"', attempt => 1);
});
# The uncommitted rows reach the standby with the next commit.
$primary->safe_psql('postgres', q{SELECT idempotency.claim('last', 'shop', lease => '1 minute')});
$primary->wait_for_catchup($standby);

my %writer = (
	'claim' => q{idempotency.claim('new', 'shop', lease => '1 minute')},
	'claim of a result' => q{idempotency.claim('done', 'shop', '{"amount": 1}', lease => '1 minute')},
	'complete' => q{idempotency.complete('leased', 'shop', attempt => 1)},
	'fail' => q{idempotency.fail('leased', 'shop', attempt => 1)},
	'release' => q{idempotency.release('leased', 'shop', 1)},
	'heartbeat' => q{idempotency.heartbeat('leased', 'shop', 1)},
	'checkpoint' => q{idempotency.checkpoint('leased', 'shop', 'step', attempt => 1)},);
for my $name (sort keys %writer)
{
	my ($status, $stdout, $stderr) =
	  $standby->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT $writer{$name};");
	is($stderr, 'psql:<stdin>:2: ERROR:  25006', "$name raises the read-only error on a standby");
}

sub looked_up
{
	my ($node, $key) = @_;
	return $node->safe_psql('postgres', qq{SELECT l FROM idempotency.lookup('$key', 'shop') AS l});
}

isnt(looked_up($standby, 'done'), '', 'lookup finds a result on a standby');
is(looked_up($standby, $_), looked_up($primary, $_), "lookup shows on a standby what it shows on the primary: $_")
  for ('done', 'leased', 'last');
is($standby->safe_psql('postgres', q{SELECT status FROM idempotency.lookup('being completed', 'shop')}),
	'in_progress', 'lookup on a standby shows a lease that is just being completed');
is(looked_up($standby, 'being claimed'), '', 'lookup on a standby does not show a claim that has not committed');
is(looked_up($standby, 'prepared'), '', 'lookup on a standby does not show a prepared claim');
is(looked_up($standby, 'unknown'), '', 'lookup on a standby finds nothing where nothing is stored');

$owner->query_safe('COMMIT');
$owner->quit;
$primary->safe_psql('postgres', q{COMMIT PREPARED 'prepared'});
$primary->wait_for_catchup($standby);
is(looked_up($standby, $_), looked_up($primary, $_), "lookup on a standby follows the commit: $_")
  for ('being completed', 'being claimed', 'prepared');

# READ ONLY on the primary is the same promise.
my ($status, $stdout, $stderr) = $primary->psql('postgres',
	"\\set VERBOSITY sqlstate\nBEGIN READ ONLY;\nSELECT idempotency.claim('new', 'shop', lease => '1 minute');");
is($stderr, 'psql:<stdin>:3: ERROR:  25006', 'claim raises the read-only error in a read-only transaction');

done_testing();
