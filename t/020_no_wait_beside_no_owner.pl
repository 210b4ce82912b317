# claim(wait => '0') of a free key does not answer in_progress because of
# concurrent calls that own nothing. They hold the key's lock for a moment.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION idempotency');

for my $concurrent (
	q{SELECT idempotency.forget('k')},
	q{SELECT idempotency.claim('k', first_sent => now() - interval '1 year', wait => '0')})
{
	my $script = $node->basedir . '/concurrent.sql';
	open(my $file, '>', $script) or die $!;
	print $file "$concurrent;\n";
	close $file;
	my $pgbench = IPC::Run::start([ 'pgbench', '-n', '-c', '2', '-T', '5', '-f', $script, $node->connstr('postgres') ],
		'>', \my $out, '2>', \my $err, IPC::Run::timeout(60));
	$node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE query LIKE 'SELECT idempotency.%'}) or die;

	# Each claim is rolled back, so that the key stays free.
	my $outcomes = $node->safe_psql('postgres', q{
CREATE TEMP TABLE seen (outcome text);
DO $$
DECLARE
	c text;
BEGIN
	WHILE clock_timestamp() < now() + interval '3 s' LOOP
		BEGIN
			c := (idempotency.claim('k', wait => '0')).outcome;
			RAISE division_by_zero;
		EXCEPTION WHEN division_by_zero THEN
			INSERT INTO seen VALUES (c);
		END;
	END LOOP;
END $$;
SELECT string_agg(DISTINCT outcome, ', ') FROM seen;
});
	is($outcomes, 'new', "new during $concurrent");
	$pgbench->finish;
}
done_testing();
