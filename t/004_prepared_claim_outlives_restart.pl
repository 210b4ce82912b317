# A prepared transaction owns the keys that it claimed, before and after a
# restart and a crash, until COMMIT PREPARED makes its results known or
# ROLLBACK PREPARED frees its keys.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 10');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION idempotency');

sub one
{
	return $node->safe_psql('postgres', shift);
}

for my $key ('commit', 'rollback')
{
	one(qq{
BEGIN;
SELECT idempotency.claim('$key');
SELECT idempotency.complete('$key', response => '"of $key"');
PREPARE TRANSACTION '$key';
});
}
# Claimed and prepared, to be finished by a later transaction.
one(q{
BEGIN;
SELECT idempotency.claim('lease', lease => '1 hour');
PREPARE TRANSACTION 'lease';
});

my $outcomes = q{
SELECT string_agg(outcome, ', ') FROM unnest(ARRAY['commit', 'rollback', 'lease']) AS key,
	LATERAL idempotency.claim(key, wait => '0') AS c};

sub owns
{
	my $when = shift;
	is(one($outcomes), 'in_progress, in_progress, in_progress', "a prepared transaction owns its keys $when");
	is(one(q{SELECT count(*) FROM idempotency.lookup('commit')}), '0', "its results are not known $when");
}

owns('at first');
$node->restart;
owns('after a restart');
$node->stop('immediate');
$node->start;
owns('after a crash');

# Two duplicates wait for each.  After a rollback, the first that continues does
# the work, and the second gets its result.
my %duplicates;
for my $key ('commit', 'rollback')
{
	for (1 .. 2)
	{
		my $session = $node->background_psql('postgres');
		$session->query_until(qr/waiting/, qq{
\\echo waiting
BEGIN;
SELECT outcome || coalesce(' ' || response::text, '') AS answer, proceed
FROM idempotency.claim('$key', wait => '1 hour') \\gset
\\if :proceed
SELECT idempotency.complete('$key', response => '"second try"') \\g /dev/null
\\endif
COMMIT;
\\echo :answer
\\echo ended
});
		push @{ $duplicates{$key} }, $session;
	}
}
$node->poll_query_until('postgres',
	q{SELECT count(*) = 4 FROM pg_stat_activity WHERE wait_event_type = 'Lock'})
  or die 'the duplicates do not wait';
ok(1, 'duplicates wait for a prepared transaction that an earlier server prepared');

sub answers
{
	my $key = shift;
	my @answers = map { (split /\n/, $_->query_until(qr/ended/, "\n"))[0] } @{ $duplicates{$key} };
	$_->quit for @{ $duplicates{$key} };
	return join(', ', sort @answers);
}

one(q{COMMIT PREPARED 'commit'});
is(answers('commit'), 'replay "of commit", replay "of commit"', 'COMMIT PREPARED lets every duplicate replay');
one(q{ROLLBACK PREPARED 'rollback'});
is(answers('rollback'), 'new, replay "second try"', 'ROLLBACK PREPARED frees the key for one duplicate');
one(q{COMMIT PREPARED 'lease'});
is(one(q{SELECT outcome FROM idempotency.claim('lease')}), 'in_progress', 'a prepared claim becomes a lease');
one(q{SELECT idempotency.complete('lease', response => '"done"', attempt => 1)});
is(one(q{SELECT outcome, response FROM idempotency.claim('lease')}),
	'replay|"done"', 'the lease of a prepared claim is completed by its attempt');

done_testing();
