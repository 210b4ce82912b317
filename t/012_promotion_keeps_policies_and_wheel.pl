# A standby follows policies and wheel, even in sessions that have read older ones.
# After promotion it continues with both: policies hold, keys are found in the
# slots where the old primary had put them, and the first sweep begins at once,
# not after an interval.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = PostgreSQL::Test::Cluster->new('old');
$old->init(allows_streaming => 1);
$old->append_conf('postgresql.conf', q{
shared_preload_libraries = 'idempotency'
idempotency.wheel_tick = '7 hours 13 minutes'
idempotency.sweep_interval = '1 day'
idempotency.worker = off
});
$old->start;
# The indexes of slots 0 and 1 have a root already: its creation would inform
# other sessions of the turn.
$old->safe_psql('postgres', q{
CREATE EXTENSION idempotency;
INSERT INTO idempotency.keys (scope, key, status, attempt, expires_at, slot, hash)
SELECT 'root', 'k', 'released', 1, now(), slot, idempotency.key_hash('k', 'root') FROM generate_series(0, 1) AS slot;
DELETE FROM idempotency.keys;
VACUUM idempotency.keys_0, idempotency.keys_1;
SELECT idempotency.set_policy('shop', lease => '10 minutes');
SELECT idempotency.set_policy('dropped', require_request => true);
UPDATE idempotency.wheel SET until = now() + (slot - 1) * interval '7 hours 13 minutes' - interval '1 minute';
SELECT idempotency.claim('early', 'shop', ttl => '6 hours');
SELECT idempotency.complete('early', 'shop', '"early"', attempt => 1, ttl => '6 hours');
});
$old->backup('base');
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init_from_backup($old, 'base', has_streaming => 1);
$new->append_conf('postgresql.conf', 'idempotency.worker = on');
$new->start;

sub one
{
	my ($node, $sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

one($old, q{
SELECT idempotency.set_policy('shop', lease => '20 minutes', min_key_length => 2);
SELECT idempotency.set_policy('shop/strict', require_issued => true);
SELECT idempotency.drop_policy('dropped');
SELECT idempotency.issue('shop/strict', 'cart');
});
$old->wait_for_catchup($new, 'replay', $old->lsn('write'));

# A session that has read the wheel before the turn.
my $session = $new->background_psql('postgres');
my $look_up = q{SELECT response FROM idempotency.lookup('%s', 'shop')};
is($session->query_safe(sprintf $look_up, 'early'), '"early"', 'a session of the standby knows the wheel');

# Slots 0 and 1 are past; once turned, they are at the next two ticks, and slot 1
# takes the keys that expire between them.
one($old, 'SELECT idempotency.sweep()');
one($old, q{
SELECT until - clock_timestamp() - interval '1 minute' AS ttl FROM idempotency.wheel WHERE slot = 1 \gset
SELECT idempotency.claim(key, 'shop', ttl => ttl) FROM (VALUES ('late', interval :'ttl'), ('long', '1 year'), ('leased', :'ttl')) AS k (key, ttl);
SELECT idempotency.complete('late', 'shop', '"late"', attempt => 1, ttl => :'ttl');
SELECT idempotency.complete('long', 'shop', '"long"', attempt => 1, ttl => '1 year');
});
is(one($old, q{SELECT string_agg(key || ' ' || slot, ', ' ORDER BY key) FROM idempotency.keys WHERE scope = 'shop'}),
	'early 2, late 1, leased 1, long -1', 'keys are in the slot that was turned');
my $wheel = q{SELECT slot, until FROM idempotency.wheel ORDER BY until};
my $policies = q{SELECT * FROM idempotency.policy ORDER BY scope};
my $issue = q{SELECT idempotency.issue('shop/strict', 'cart')};
my %before = map { $_ => one($old, $_) } ($policies, $issue);
$old->wait_for_catchup($new, 'replay', $old->lsn('write'));
is($session->query_safe(sprintf $look_up, $_), qq{"$_"}, "the session finds a key stored after the turn: $_") for ('late', 'long');

# Left for the new primary to sweep: a slot that is past, and an expired row in
# keys_long.
one($old, q{
SELECT idempotency.once('past', 'sweep', ttl => '1 millisecond');
SELECT idempotency.claim('past long', 'sweep', ttl => '1 year', lease => '1 millisecond');
SELECT idempotency.complete('past long', 'sweep', attempt => 1, ttl => '1 millisecond');
INSERT INTO idempotency.keys (scope, key, status, attempt, expires_at, slot, hash)
SELECT 'past', n::text, 'released', 1, now(), 6, idempotency.key_hash(n::text, 'past') FROM generate_series(1, 100) AS n;
UPDATE idempotency.wheel SET until = now() WHERE slot = 6;
});
$before{$wheel} = one($old, $wheel);
$old->wait_for_catchup($new, 'replay', $old->lsn('write'));
is(one($new, $_), $before{$_}, "the standby has what the primary has: $_") for ($wheel, $policies);
is(one($new, q{SELECT count(*) FROM idempotency.keys WHERE scope = 'past'}), '100', 'nothing is swept on the standby');
$old->stop('immediate');
$new->promote;

ok($new->poll_query_until('postgres', q{SELECT count(*) = 0 FROM idempotency.keys WHERE scope = 'past' OR key = 'past long'}),
	'the first sweep begins at once');
is(one($new, q{SELECT late.until > clock_timestamp(), mod(extract(epoch FROM late.until - turned.until), 25980) = 0
FROM idempotency.wheel AS late, idempotency.wheel AS turned WHERE late.slot = 6 AND turned.slot = 1}), 't|t', 'the slot is turned, in step with the old wheel');
is(one($new, q{
SELECT count(*) FROM idempotency.keys AS k
WHERE slot <> -1 AND expires_at > (SELECT max(until) FROM idempotency.wheel AS w WHERE w.slot = k.slot)}),
	'0', 'no key outlives its slot');

my $replay = q{SELECT string_agg(outcome || ' ' || response, ', ' ORDER BY ord)
FROM unnest(ARRAY['early', 'late', 'long']) WITH ORDINALITY AS k (key, ord), LATERAL idempotency.claim(key, 'shop')};
is($session->query_safe($replay), 'replay "early", replay "late", replay "long"', 'the session from before the promotion replays what lies in any slot');
is(one($new, $replay), 'replay "early", replay "late", replay "long"', 'so does a new one');
is(one($new, q{SELECT outcome FROM idempotency.claim('leased', 'shop', wait => '0')}), 'in_progress', 'a lease in a turned slot protects its key');
one($new, q{SELECT idempotency.complete('leased', 'shop', '"done"', attempt => 1, ttl => '1 year')});
is(one($new, q{SELECT outcome, response FROM idempotency.claim('leased', 'shop')}), 'replay|"done"', 'and its owner completes it');

for my $who ('session', 'new one')
{
	my $run = $who eq 'session' ? sub { $session->query_safe(shift) } : sub { one($new, shift) };
	$run->("SELECT idempotency.claim('terms $who', 'shop/a')");
	is($run->("SELECT lease_until - claimed_at FROM idempotency.lookup('terms $who', 'shop/a')"),
		'00:20:00', "a changed policy holds after the promotion: $who");
	is($run->("SELECT outcome FROM idempotency.claim('$who', 'dropped', lease => '1 minute')"), 'new', "a dropped one does not: $who");
}
my ($status, $stdout, $stderr) = $new->psql('postgres',
	qq{\\set VERBOSITY sqlstate\nSELECT idempotency.claim('k', 'shop');\nSELECT idempotency.claim('made up', 'shop/strict');}, on_error_stop => 0);
is(join(' ', $stderr =~ /ERROR:  (\w+)/g), 'IK400 IK404', 'the rules of policies hold after the promotion');
is(one($new, $issue), $before{$issue}, 'a key that was handed out is handed out again');

$session->quit;
$new->stop('fast');
done_testing();
