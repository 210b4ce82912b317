# W5: without sweeps all slots become past, and the contract is still kept; once
# there is a sweeper, one or two rounds empty them, and the wheel reaches as far
# ahead as before.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'idempotency'
idempotency.worker = off
idempotency.wheel_tick = '100 ms'
idempotency.sweep_interval = '20 ms'
});
$node->start;

sub one
{
	return $node->safe_psql('postgres', shift);
}

one(q{
CREATE EXTENSION idempotency;
UPDATE idempotency.wheel SET until = now() + (slot + 1) * interval '100 ms';
});

# Twenty ticks, in one session that has read the wheel before: in each tick, a key
# that lives for three ticks is claimed, and a key that does not expire.  Each is
# replayed as long as it lives, and later is new.
my $session = $node->background_psql('postgres');
$session->query_safe(q{
CREATE TABLE seen (tick int, what text, outcome text, is_right boolean);
DO $$
DECLARE
	c idempotency.claim_result;
BEGIN
	FOR tick IN 1 .. 20 LOOP
		FOR earlier IN 1 .. tick - 1 LOOP
			c := idempotency.claim('long ' || earlier, 'ticks');
			INSERT INTO seen VALUES (tick, 'lives on', c.outcome, c.outcome = 'replay' AND c.response = to_jsonb(earlier));
		END LOOP;
		c := idempotency.claim('again', 'ticks', ttl => '300 ms', lease => '1 ms');
		INSERT INTO seen VALUES (tick, 'again', c.outcome, NULL);
		IF c.proceed THEN
			PERFORM idempotency.complete('again', 'ticks', to_jsonb(tick));
		END IF;
		c := idempotency.claim('again', 'ticks');
		INSERT INTO seen VALUES (tick, 'duplicate', c.outcome, c.outcome IN ('replay', 'new'));
		c := idempotency.claim('long ' || tick, 'ticks', ttl => '1 hour');
		PERFORM idempotency.complete('long ' || tick, 'ticks', to_jsonb(tick));
		COMMIT;
		PERFORM pg_sleep(0.1);
	END LOOP;
END
$$;
});

is(one('SELECT max(until) < clock_timestamp() FROM idempotency.wheel'), 't', 'the wheel has run out');
is(one('SELECT count(*) FROM seen WHERE NOT is_right'), '0', 'every key was replayed as long as it lived');
cmp_ok(one(q{SELECT count(*) FROM seen WHERE what = 'again' AND outcome = 'new'}), '>=', 3, 'a key was free again each time it had expired');
is(one(q{SELECT string_agg(DISTINCT (slot = -1)::text, ' ') FROM idempotency.keys WHERE key LIKE 'long%'}), 'true', 'what the wheel does not reach lies in keys_long');
one(q{
SELECT idempotency.claim('expired ' || n, 'ticks', ttl => '1 ms', lease => '1 ms') FROM generate_series(1, 100) AS n;
});

# One session, so that no claim may find its key in progress.
my $retries = q{
SELECT string_agg(DISTINCT outcome, ' ') FROM generate_series(1, 20) AS n, LATERAL idempotency.claim('long ' || n, 'ticks') AS c
WHERE response = to_jsonb(n)};
$node->append_conf('postgresql.conf', 'idempotency.worker = on');
$node->reload;
ok($node->poll_query_until('postgres', q{
	SELECT count(*) FILTER (WHERE key NOT LIKE 'long%') = 0 AND count(*) = 20 FROM idempotency.keys}), 'the worker removes what has expired');
ok($node->poll_query_until('postgres', q{
	SELECT max(until) > clock_timestamp() + interval '500 ms' FROM idempotency.wheel}), 'and the wheel reaches ahead again');
is($session->query_safe($retries), 'replay', 'a session that knows the wheel from before replays what lives');
is(one($retries), 'replay', 'so does a new one');
$session->quit;

# The next key goes into the wheel.
$node->append_conf('postgresql.conf', q{
idempotency.wheel_tick = '1 hour'
});
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT max(until) > clock_timestamp() + interval '5 hours' FROM idempotency.wheel}), 'with a longer tick, further');
one(q{SELECT idempotency.once('in the wheel', 'ticks', ttl => '2 hours')});
is(one(q{SELECT slot >= 0 FROM idempotency.keys WHERE key = 'in the wheel'}), 't', 'and takes keys again');

$node->stop('fast');
ok(slurp_file($node->logfile) !~ qr/(?:ERROR|PANIC):/, 'the log has no error');
done_testing();
