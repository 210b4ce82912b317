# Four sessions claim and complete the same 2,000 keys in one batch each, every
# session in its own order, round after round, some of them rolling back: no
# deadlock occurs, and each key has exactly one effect.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sessions = 4;
my $rounds = 5;
my $keys = 2000;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
# The server looks for deadlocks at once.
$node->append_conf('postgresql.conf', "deadlock_timeout = 1ms\nidempotency.default_wait = '5 minutes'");
$node->start;

sub one
{
	return $node->safe_psql('postgres', shift);
}

one(qq{
CREATE EXTENSION idempotency;
CREATE TABLE effect (round integer, key text);
CREATE TABLE ended (round integer, session integer, outcome text, count bigint);
-- up, down, and two shuffled
CREATE FUNCTION batch(round integer, session integer) RETURNS text[] LANGUAGE sql AS \$\$
	SELECT array_agg(round || '/' || n ORDER BY CASE session % 4 WHEN 0 THEN n WHEN 1 THEN -n ELSE hashint4(n + session) END)
	FROM generate_series(1, $keys) AS n
\$\$;
CREATE FUNCTION work(round integer, session integer, commits boolean) RETURNS void LANGUAGE plpgsql AS \$\$
DECLARE
	keys text[] := batch(round, session);
	mine text[];
BEGIN
	CREATE TEMPORARY TABLE claimed ON COMMIT DROP AS SELECT * FROM idempotency.claim_many(keys, 'batches');
	mine := (SELECT array_agg(key ORDER BY ord) FROM claimed WHERE proceed);
	INSERT INTO effect SELECT work.round, key FROM unnest(mine) AS key;
	PERFORM idempotency.complete_many(coalesce(mine, '{}'), 'batches', (SELECT array_agg(to_jsonb(work.session)) FROM unnest(mine)));
	INSERT INTO ended SELECT work.round, work.session, outcome, count(*) FROM claimed GROUP BY outcome;
	IF NOT commits THEN
		RAISE EXCEPTION 'rolled back' USING ERRCODE = 'serialization_failure';
	END IF;
END
\$\$;
});

# In each round two sessions fail at first, and retry.
for my $isolation ('read committed', 'serializable')
{
	one(q{TRUNCATE effect, ended; DELETE FROM idempotency.keys});
	local $ENV{PGOPTIONS} = '-c default_transaction_isolation=' . ($isolation =~ s/ /\\ /r);
	my $deadlocks = one('SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()');
	my @clients = map {
		my $session = $_;
		my $file = $node->basedir . "/$session.sql";
		unlink $file;
		for my $round (1 .. $rounds)
		{
			append_to_file($file, "SELECT work($round, $session, false);\n") if $session < 2;
			append_to_file($file, "SELECT work($round, $session, true);\n");
		}
		my %client = (out => '', err => '');
		$client{run} = IPC::Run::start(
			[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', $file ],
			'>', \$client{out}, '2>', \$client{err});
		\%client;
	} 0 .. $sessions - 1;
	$_->{run}->finish for @clients;
	my @errors = grep { /ERROR/ && !/rolled back/ } map { split /\n/, $_->{err} } @clients;
	is("@errors", '', "no session is refused: $isolation");
	is(one('SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()'),
		$deadlocks, "there is no deadlock: $isolation");
	is(one('SELECT count(*), count(DISTINCT (round, key)) FROM effect'),
		join('|', ($rounds * $keys) x 2), "each key has one effect: $isolation");
	is(one(q{SELECT count(*), count(DISTINCT key) FROM idempotency.keys WHERE status = 'completed'}),
		join('|', ($rounds * $keys) x 2), "each key has one result: $isolation");
	is(one(q{SELECT outcome, sum(count) FROM ended GROUP BY outcome ORDER BY outcome}),
		"new|" . $rounds * $keys . "\nreplay|" . $rounds * $keys * ($sessions - 1),
		"the second session replays: $isolation");
}

$node->stop;
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'nor does the log know of one');
done_testing();
