# A subscriber of the keys, the wheel and the policies has the publisher's
# state: lookup() finds every key there, even in a session that has read an
# earlier wheel, and when the subscriber takes over, it replays and refuses like
# the publisher. The commands are those of doc/replicas.md.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->start;
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical');
$subscriber->start;

sub on_publisher { return $publisher->safe_psql('postgres', shift) }
sub on_subscriber { return $subscriber->safe_psql('postgres', shift) }

# Keys of every kind, in keys_long and in every slot that can hold some.
sub claim_some
{
	my $prefix = shift;
	on_publisher(qq{
DO \$\$
DECLARE
	days integer;
	c idempotency.claim_result;
BEGIN
	FOR days IN 1 .. 10 LOOP
		c := idempotency.claim('$prefix done ' || days, 'shop', '{"amount": 1}', ttl => make_interval(days => days), lease => '1 minute');
		PERFORM idempotency.complete('$prefix done ' || days, 'shop', jsonb_build_object('days', days), days::text, 201);
		c := idempotency.claim('$prefix leased ' || days, 'shop', ttl => make_interval(days => days), lease => '1 hour');
	END LOOP;
	c := idempotency.claim('$prefix large', 'shop', lease => '1 minute');
	PERFORM idempotency.complete('$prefix large', 'shop', (SELECT jsonb_agg(md5(i::text)) FROM generate_series(1, 1000) AS i));
	c := idempotency.claim('$prefix released', 'shop', lease => '1 minute');
	PERFORM idempotency.release('$prefix released', 'shop');
END
\$\$;
-- later transactions: a completion that moves its row to another slot, and a step
SELECT idempotency.complete('$prefix leased 1', 'shop', '"late"', attempt => 1, ttl => '6 days');
SELECT idempotency.checkpoint('$prefix leased 2', 'shop', 'charged', '{"charge": "ch_1"}', attempt => 1);
});
}

my $rows = 'SELECT k FROM idempotency.keys AS k ORDER BY scope, key, slot';
my $looked_up = q{
SELECT l FROM (SELECT key, scope FROM idempotency.keys WHERE expires_at > clock_timestamp() OFFSET 0) AS k
LEFT JOIN LATERAL idempotency.lookup(k.key, k.scope) AS l ON true ORDER BY k.scope, k.key};
my $wheel = 'SELECT slot, max(until) FROM idempotency.wheel GROUP BY slot ORDER BY slot';
# W1
my $outlive = q{
SELECT count(*) FROM idempotency.keys AS k
WHERE slot <> -1 AND expires_at > (SELECT max(until) FROM idempotency.wheel AS w WHERE w.slot = k.slot)};

sub is_the_same
{
	my $what = shift;
	$publisher->wait_for_catchup('idempotency');
	is(on_subscriber($rows), on_publisher($rows), "the subscriber has every row: $what");
	is(on_subscriber($looked_up), on_publisher($looked_up), "lookup() finds every key there: $what");
	is(on_subscriber($wheel), on_publisher($wheel), "its wheel stands as the publisher's: $what");
	is(on_subscriber($outlive), '0', "no key outlives its slot there: $what");
}

on_publisher('CREATE EXTENSION idempotency');
# Slot 7 is past and empty when the subscriber's session first reads the wheel.
on_publisher(q{UPDATE idempotency.wheel SET until = until - interval '24 hours' * 10 WHERE slot = 7});
claim_some('before');

on_publisher(q{CREATE PUBLICATION idempotency FOR TABLE idempotency.keys, idempotency.wheel, idempotency.policy});
on_subscriber('CREATE EXTENSION idempotency');
on_subscriber('SELECT idempotency.empty_wheel()');
my $connection = $publisher->connstr('postgres') =~ s/'//gr;
on_subscriber("CREATE SUBSCRIPTION idempotency CONNECTION '$connection' PUBLICATION idempotency");
$subscriber->wait_for_subscription_sync($publisher, 'idempotency');
is_the_same('first copy');

my $session = $subscriber->background_psql('postgres');
is($session->query_safe(q{SELECT count(*) FROM idempotency.lookup('none')}), '0', 'a session of the subscriber knows its wheel');

claim_some('after');
is_the_same('changes');

# The turn of an empty slot truncates nothing: the session learns of it only by
# the change of the wheel.
is(on_publisher('SELECT slots_cleared FROM idempotency.sweep()'), '0', 'the publisher turns an empty slot');
on_publisher(q{
SELECT idempotency.claim('in turned slot', 'shop',
	ttl => (SELECT max(until) FROM idempotency.wheel WHERE slot = 7) - clock_timestamp() - interval '1 minute', lease => '1 minute');
SELECT idempotency.complete('in turned slot', 'shop', '"turned"', attempt => 1,
	ttl => (SELECT max(until) FROM idempotency.wheel WHERE slot = 7) - clock_timestamp() - interval '1 minute');
});
is(on_publisher(q{SELECT slot FROM idempotency.lookup('in turned slot', 'shop')}), '7', 'and stores a key in it');
$publisher->wait_for_catchup('idempotency');
is($session->query_safe(q{SELECT response FROM idempotency.lookup('in turned slot', 'shop')}),
	'"turned"', 'the session finds a key in the slot that was turned');
is_the_same('turn of an empty slot');

# A slot with expired rows is emptied on both sides.
on_publisher(q{
SELECT idempotency.claim('soon gone', 'shop', ttl => '1 millisecond', lease => '1 millisecond');
SELECT idempotency.purge('shop');
SELECT idempotency.claim('soon gone', 'shop', ttl => '1 millisecond', lease => '1 millisecond');
UPDATE idempotency.wheel SET until = clock_timestamp()
WHERE slot = (SELECT slot FROM idempotency.keys WHERE key = 'soon gone');
});
is(on_publisher('SELECT slots_cleared FROM idempotency.sweep()'), '1', 'the publisher empties a slot');
is_the_same('turn of a slot with keys');
is(on_subscriber(q{SELECT count(*) FROM idempotency.keys WHERE key = 'soon gone'}), '0', 'the slot is empty on the subscriber');

# The subscriber takes over.
claim_some('last');
on_publisher(q{SELECT idempotency.set_policy('strict', require_request => true)});
is($session->query_safe(q{SELECT count(*) FROM idempotency.lookup('none', 'strict')}), '0', 'the session knows the policies');
on_publisher(q{SELECT idempotency.set_policy('strict', min_key_length => 40, require_request => true)});
is_the_same('before the end');
on_subscriber('DROP SUBSCRIPTION idempotency');
my $answers = q{
SELECT outcome, status_code, resource_id, response FROM (SELECT key FROM idempotency.keys WHERE key LIKE 'last done %' ORDER BY key OFFSET 0) AS k,
	LATERAL idempotency.claim(key, 'shop', '{"amount": 1}', lease => '1 minute')};
is(on_subscriber($answers), on_publisher($answers), 'the subscriber replays what the publisher had completed');
is(on_subscriber(q{SELECT outcome FROM idempotency.claim('last done 3', 'shop', '{"amount": 2}', lease => '1 minute')}),
	'mismatch', 'it recognizes another request');
is(on_subscriber(q{SELECT outcome FROM idempotency.claim('last leased 3', 'shop', lease => '1 minute')}), 'in_progress', 'it protects a lease');
is(on_subscriber(q{SELECT outcome, attempt FROM idempotency.claim('last released', 'shop', lease => '1 minute')}), 'new|2', 'it keeps the attempt of a released key');
on_subscriber(q{SELECT idempotency.complete('last leased 4', 'shop', '"done"', attempt => 1)});
is(on_subscriber(q{SELECT response FROM idempotency.claim('last leased 4', 'shop', lease => '1 minute')}), '"done"', 'the owner of a lease completes');
is($session->query_safe(q{
DO $$
BEGIN
	PERFORM idempotency.claim('short', 'strict', '{}', lease => '1 minute');
EXCEPTION WHEN SQLSTATE 'IK400' THEN
	PERFORM set_config('test.refused', 'refused', false);
END
$$;
SELECT current_setting('test.refused', true);
}), 'refused', 'an older session knows a policy that came later');
$session->quit;
is(on_subscriber($outlive), '0', 'no key outlives its slot afterwards');

done_testing();
