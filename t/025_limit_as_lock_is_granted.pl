# A wait whose limit fires in the instant in which the lock is granted ends like
# any other: the claim is answered, and the caller's transaction continues.
#
# The instant can't be arranged from outside. Owners that roll back after a
# millisecond and claims that wait for a millisecond hit it now and then.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION idempotency');

# Each claim is rolled back at once.  An error of the wait itself would be caught, too.
my $loop = sub {
	my ($key, $wait, $hold) = @_;
	return qq{DO \$\$
DECLARE
	tries integer := 0;
	lost integer := 0;
BEGIN
	WHILE clock_timestamp() < now() + interval '10 s' LOOP
		tries := tries + 1;
		BEGIN
			IF (idempotency.claim('$key', wait => '$wait')).proceed THEN
				PERFORM pg_sleep($hold);
				RAISE division_by_zero;
			END IF;
		EXCEPTION
			WHEN division_by_zero THEN NULL;
			WHEN lock_not_available THEN lost := lost + 1;
		END;
	END LOOP;
	RAISE NOTICE '% lost of % tries', lost, tries;
END \$\$};
};

my @sessions;
my @output = map { '' } 1 .. 8;
for my $pair (1 .. 4)
{
	for my $session (0, 1)
	{
		my $statement = $session == 0 ? $loop->("k$pair", '1 minute', 0.001) : $loop->("k$pair", '1 ms', 0);
		push @sessions, IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $statement ],
			'2>', \$output[@sessions], IPC::Run::timeout(120));
	}
}
for my $session (0 .. $#sessions)
{
	$sessions[$session]->finish;
	like($output[$session], qr/ 0 lost of [1-9]\d{2,} tries/, "session $session loses no transaction");
}
done_testing();
