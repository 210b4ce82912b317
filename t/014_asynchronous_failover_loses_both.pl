# Changes that an asynchronous standby has not received when its primary is
# lost are lost as key and effect together: on the promoted standby every key
# has its effect and every effect its key, and lost work runs again, once. On
# the standby lookup() shows the keys that have been replayed so far.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 8;
my $keys = 1000;

my $old = PostgreSQL::Test::Cluster->new('old');
$old->init(allows_streaming => 1);
$old->append_conf('postgresql.conf', 'max_connections = 50');
$old->start;
$old->safe_psql('postgres', <<'SQL');
CREATE EXTENSION idempotency;
CREATE SEQUENCE numbers;
CREATE TABLE payments (key text, payment text);
CREATE FUNCTION pay(key text, OUT outcome text, OUT payment text) LANGUAGE plpgsql AS $$
DECLARE
	c idempotency.claim_result := idempotency.claim(key, 'shop', '{"amount": 10}');
BEGIN
	outcome := c.outcome;
	payment := c.resource_id;
	IF c.proceed THEN
		payment := gen_random_uuid();
		INSERT INTO payments VALUES (pay.key, pay.payment);
		PERFORM pg_sleep(0.01);
		PERFORM idempotency.complete(key, 'shop', resource_id => payment);
	END IF;
END
$$;
CREATE VIEW alone AS
SELECT key FROM payments FULL JOIN (SELECT * FROM idempotency.keys WHERE scope = 'shop') AS keys USING (key)
WHERE status IS DISTINCT FROM 'completed' OR resource_id IS DISTINCT FROM payment;
SQL
$old->backup('base');
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init_from_backup($old, 'base', has_streaming => 1);
$new->start;

sub one
{
	my ($node, $sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

# lookup() on a standby that lags.
my $look_up = q{SELECT string_agg(key || ' ' || status, ', ' ORDER BY key)
FROM unnest(ARRAY['first', 'second']) AS k (wanted), LATERAL idempotency.lookup(wanted, 'lag')};
one($old, q{SELECT idempotency.claim('first', 'lag', lease => '1 minute')});
$old->wait_for_catchup($new, 'replay', $old->lsn('insert'));
one($new, 'SELECT pg_wal_replay_pause()');
$new->poll_query_until('postgres', q{SELECT pg_get_wal_replay_pause_state() = 'paused'}) or die 'replay goes on';
one($old, q{
SELECT idempotency.complete('first', 'lag', attempt => 1);
SELECT idempotency.claim('second', 'lag', lease => '1 minute');
});
$old->wait_for_catchup($new, 'flush', $old->lsn('insert'));
is(one($new, $look_up), 'first in_progress', 'lookup on a standby shows what was replayed, not what was received');
one($new, 'SELECT pg_wal_replay_resume()');
$old->wait_for_catchup($new, 'replay', $old->lsn('insert'));
is(one($new, $look_up), 'first completed, second in_progress', 'and the rest as soon as it is replayed');
one($old, q{SELECT idempotency.purge('lag')});

# The standby is cut off in the middle of the load.
my $script = $old->basedir . '/pay.sql';
append_to_file($script, "SELECT pay('key ' || nextval('numbers'));\n");
my ($output, $errors) = ('', '');
my $load = IPC::Run::start(
	[ 'pgbench', '-n', '-c', $clients, '-t', $keys / $clients, '-f', $script, $old->connstr('postgres') ],
	'>', \$output, '2>', \$errors);
my ($seen, @alone) = (0);
until ($seen >= $keys / 3)
{
	my ($count, $lonely) = split /\|/, one($new, 'SELECT (SELECT count(*) FROM payments), (SELECT count(*) FROM alone)');
	push @alone, $lonely if $lonely;
	$seen = $count;
}
$new->stop('immediate');
$load->finish;
like($output, qr/transactions actually processed: $keys\/$keys\n/, 'the primary acknowledges every payment');
is("@alone", '', 'no snapshot of a standby has a key or an effect alone');
# However fast the load was, these are too late.
one($old, q{SELECT count(pay('key ' || nextval('numbers'))) FROM generate_series(1, 10)});

my %told = map { split /\|/ } split /\n/, one($old, 'SELECT key, payment FROM payments');
$old->kill9;
$new->start;
$new->promote;

my %kept = map { split /\|/ } split /\n/, one($new, 'SELECT key, payment FROM payments');
my @lost = grep { !$kept{$_} } sort keys %told;
cmp_ok(scalar @lost, '>=', 10, 'acknowledged payments are lost');
cmp_ok(scalar keys %kept, '>=', $seen, 'and others are not');
is(one($new, 'SELECT count(*) FROM alone'), '0', 'what is lost is lost as key and effect together');

# Every client sends its request again, twice.
my $again = join '', map { "SELECT '$_', * FROM pay('$_');\n" x 2 } sort keys %told;
my (%outcomes, @wrong);
for my $reply (split /\n/, one($new, $again))
{
	my ($key, $outcome, $payment) = split /\|/, $reply;
	push @{ $outcomes{$key} }, $outcome;
	push @wrong, $reply if $kept{$key} && $payment ne $told{$key};
}
is(join(', ', map { "$_: @{ $outcomes{$_} }" } grep { "@{ $outcomes{$_} }" ne 'new replay' } @lost), '', 'what was lost runs again, once');
is(join(', ', map { "$_: @{ $outcomes{$_} }" } grep { "@{ $outcomes{$_} }" ne 'replay replay' } sort keys %kept), '', 'what was kept is replayed');
is("@wrong", '', 'with the result that was told before');
is(one($new, 'SELECT count(*), count(DISTINCT key), (SELECT count(*) FROM alone) FROM payments'),
	keys(%told) . '|' . keys(%told) . '|0', 'every key has one effect in the end');
note(scalar(@lost) . ' of ' . keys(%told) . ' lost');

$new->stop('fast');
done_testing();
