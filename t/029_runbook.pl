# The runbook's statements show an operator the fault, and correct it, in the
# situations for which they are written: with other sessions, a failing sweeper, a
# wrong clock.  (Examples in one session are run with all pages.)

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'idempotency'
idempotency.worker = off
idempotency.sweep_interval = '20 ms'
max_prepared_transactions = 2
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION idempotency');

# The blocks of SQL below each heading of the page.
my %blocks;
my $heading = '';
foreach my $part (split /^(?=## |```(?:pg)?sql\n)/m, slurp_file('doc/runbook.md'))
{
	$heading = $1 if $part =~ /^## (.*)/;
	push @{ $blocks{$heading} }, $1 if $part =~ /^```(?:pg)?sql\n(.*?)^```$/ms;
}

# The output of the one block below a heading that matches the pattern.
sub answer
{
	my ($of, $pattern) = @_;
	my ($block, @more) = grep { /$pattern/ } @{ $blocks{$of} };
	die "no block, or several: $of, $pattern" if !defined $block || @more;
	return $node->safe_psql('postgres', $block);
}

sub diagnosis { return { map { /^(\w+)\|(.*)/ } split /\n/, answer('Nothing expires any more. What is wrong?', 'preloaded') } }

sub becomes
{
	my ($column, $value, $name) = @_;
	my $shown;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$shown = diagnosis()->{$column};
		last if $shown =~ $value;
		usleep(100_000);
	}
	return like($shown, $value, $name);
}

sub pid_of
{
	my $pid = $_[0]->query_safe('SELECT pg_backend_pid()');
	chomp $pid;
	return $pid;
}

# Finding and ending the owner of a key.
my $owner = $node->background_psql('postgres');
my $owner_pid = pid_of($owner);
$owner->query_safe(q{BEGIN; SELECT outcome FROM idempotency.claim('order-18', 'charges/acme')});
my $waiter = $node->background_psql('postgres');
my $waiter_pid = pid_of($waiter);
$waiter->query_until(qr/asked/, "\\echo asked\nSELECT outcome FROM idempotency.claim('order-18', 'charges/acme', wait => '1 minute', lease => '1 hour');\n");
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND pid = $waiter_pid") or die 'nobody waits';
is(answer('Who holds this key?', 'holder'), "1|$owner_pid|||{$waiter_pid}", 'holder names the session that holds a key, and those that wait for it');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($owner_pid)");
like($waiter->query_safe('SELECT 1'), qr/^new$/m, 'once that is terminated the key is free');
is(answer('Who holds this key?', 'holder'), '1|||t|{}', 'holder shows a committed lease');
$waiter->quit;
eval { $owner->quit };
$node->safe_psql('postgres', q{SELECT idempotency.complete('order-18', 'charges/acme', attempt => 1); SELECT idempotency.purge('charges')});

$node->safe_psql('postgres', q{BEGIN; SELECT idempotency.once('order-18', 'charges/acme'); PREPARE TRANSACTION 'transfer'});
is((split /\|/, answer('Who holds this key?', 'holder'))[2], 'transfer', 'holder names a prepared transaction');
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'transfer'});
is(answer('Who holds this key?', 'holder'), '', 'after its rollback nobody holds the key');

# Nothing expires.
is(diagnosis()->{worker}, 'off', 'a worker that is off is seen');
my ($switch_on) = slurp_file('doc/runbook.md') =~ /`(ALTER SYSTEM RESET idempotency\.worker; [^`]*)`/;
$node->append_conf('postgresql.conf', 'idempotency.worker = on');
$node->safe_psql('postgres', 'ALTER SYSTEM SET idempotency.worker = off');
$node->reload;
$node->safe_psql('postgres', $_) foreach split /;\s*/, $switch_on;
becomes('worker', qr/^on$/, 'and switched on');
$node->safe_psql('postgres', 'SELECT idempotency.stats_reset()');
becomes('swept_within_an_hour', qr/^t$/, 'it sweeps');

$node->safe_psql('postgres', q{
	CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
	CREATE TRIGGER audit BEFORE INSERT ON idempotency.keys_3 FOR EACH ROW EXECUTE FUNCTION audit()});
becomes('last_sweep_error', qr/"keys_3" has a trigger/, 'a trigger that stops the sweeper is seen');
is(answer('Switch it off in an incident', 'pg_trigger'), 'idempotency.keys_3|audit', 'and listed');
$node->safe_psql('postgres', 'DROP TRIGGER audit ON idempotency.keys_3');
becomes('last_sweep_error', qr/^$/, 'without it, sweeps go well');

my $session = $node->background_psql('postgres');
my $pid = pid_of($session);
$session->query_safe('BEGIN; LOCK TABLE idempotency.wheel IN ACCESS EXCLUSIVE MODE');
my $users = sub { join ' ', map { join '|', (split /\|/)[ 0, 1, 3 ] } grep { /\|$pid\|/ } split /\n/, answer('Nothing expires any more. What is wrong?', 'pg_locks') };
is($users->(), "idempotency.wheel|$pid|AccessExclusiveLock", 'who has locked a table is listed');
$session->query_safe('ROLLBACK');

$node->safe_psql('postgres', q{BEGIN; SELECT idempotency.once('long', 'job'); PREPARE TRANSACTION 'transfer'});
like(answer('Nothing expires any more. What is wrong?', 'pg_locks'), qr/^idempotency\.keys_\d\|\|transfer\|RowExclusiveLock\|00:/m, 'a prepared transaction that uses a slot is listed');
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'transfer'});

$session->query_safe(q{BEGIN; SELECT idempotency.once('long', 'job')});
my $slot = $session->query_safe(q{SELECT tableoid::regclass FROM idempotency.keys WHERE key = 'long'});
chomp $slot;
$node->safe_psql('postgres', q{UPDATE idempotency.wheel SET until = clock_timestamp() WHERE 'idempotency.keys_' || slot = '} . "$slot'");
becomes('slots_past', qr/^1$/, 'a slot that is past and in use is seen');
like($users->(), qr/\Q$slot|$pid|RowExclusiveLock\E/, 'and who uses it');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
becomes('slots_past', qr/^0$/, 'once that is terminated the slot is turned');
eval { $session->quit };

# The sweeper disturbs.
answer('Switch it off in an incident', 'ALTER SYSTEM');
becomes('worker', qr/^off$/, 'the worker is switched off');
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'idempotency sweeper'}) or die 'it still sweeps';

# keys_long grows.
my $sizes = sub { return { map { (split /\|/)[ 0, 2 ] } split /\n/, answer('Which slots are full, and why does `keys_long` grow?', 'pg_size_pretty') } };
is(join(' ', sort keys %{ $sizes->() }), ' 0 1 2 3 4 5 6 7', 'each slot is listed, and keys_long');
my $small = $sizes->()->{''};
$node->safe_psql('postgres', q{SELECT count(idempotency.once('long ' || n, 'archive/1', ttl => '1 year')) FROM generate_series(1, 5000) AS n});
isnt($sizes->()->{''}, $small, 'keys that live long make keys_long larger');
is($node->safe_psql('postgres', q{BEGIN; SELECT FROM idempotency.holder('long 7', 'archive/1') \g /dev/null
	SELECT sum(seq_tup_read) FROM pg_stat_xact_user_tables WHERE schemaname = 'idempotency' AND relname LIKE 'keys%'}), '0', 'holder finds one key among them by the index');
like(answer('Which slots are full, and why does `keys_long` grow?', 'split_part'), qr/^archive\|5000\|t$/m, 'and their scope is listed');
answer('Which slots are full, and why does `keys_long` grow?', 'ALTER SYSTEM');
answer('Which slots are full, and why does `keys_long` grow?', 'reaches_further');
is($node->safe_psql('postgres', q{SELECT max(until) > now() + interval '20 days' FROM idempotency.wheel}), 't', 'a longer tick is in force');

# The clock was ahead by ten years, so that the wheel reached too far, and keys were claimed.
$node->safe_psql('postgres', q{
	UPDATE idempotency.wheel SET until = until + interval '10 years';
	SELECT idempotency.once('ahead', 'clock', ttl => now() + interval '10 years 1 day' - now());
	UPDATE idempotency.keys SET claimed_at = claimed_at + interval '10 years' WHERE key = 'ahead'});
my $ahead = answer('The clock was wrong', 'too_far');
is(() = $ahead =~ /^\d\|t$/mg, 8, 'a wheel that reaches too far is seen');
is(() = answer('The clock was wrong', 'too_far') =~ /^\d\|t$/mg, 1, 'the sweep has brought back all slots but the one with a key');
is(answer('The clock was wrong', 'claimed_at > clock_timestamp\(\);'), '1', 'the key that was claimed meanwhile');
is($node->safe_psql('postgres', q{SELECT expires_at < clock_timestamp() + interval '25 hours' FROM idempotency.lookup('ahead', 'clock')}),
	't', 'is remembered for a day');
$node->safe_psql('postgres', q{SELECT idempotency.retain('ahead', 'clock', '1 ms'); SELECT pg_sleep(0.01)});
$node->safe_psql('postgres', 'SELECT idempotency.sweep()') for 1 .. 2;
is(() = answer('The clock was wrong', 'too_far') =~ /^\d\|t$/mg, 0, 'and the sweep after its row has been deleted brings back its slot');

# It was behind: keys are given the difference before it is corrected.
$node->safe_psql('postgres', q{SELECT idempotency.once('behind', 'clock', ttl => '1 day')});
answer('The clock was wrong', '3 hours');
is($node->safe_psql('postgres', q{SELECT expires_at > clock_timestamp() + interval '26 hours' FROM idempotency.lookup('behind', 'clock')}),
	't', 'a key that was claimed while the clock was behind lives longer by the difference');

# Smaller after a purge.
my $size = q{SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('idempotency.keys')};
$node->safe_psql('postgres', q{SELECT count(idempotency.once('k' || n, 'charges/closed')) FROM generate_series(1, 5000) AS n});
my $before = $node->safe_psql('postgres', $size);
like(answer('Make it smaller after a purge', 'purge'), qr/^5000\nt$/, 'a scope is purged');
cmp_ok($node->safe_psql('postgres', $size), '<', $before, 'and its space given back');

# Waiting duplicates are answered at once.
$session = $node->background_psql('postgres');
$session->query_safe(q{BEGIN; SELECT idempotency.once('busy', 'charges/acme')});
answer('Switch it off in an incident', 'set_policy');
is($node->safe_psql('postgres', q{SET lock_timeout = '1 ms'; SELECT outcome FROM idempotency.claim('busy', 'charges/acme')}),
	'in_progress', 'a duplicate does not wait');

# A scope is renamed while some instances claim the old name alone, and, in the
# end, others the new name alone.
$node->safe_psql('postgres', (grep { /CREATE FUNCTION/ } @{ $blocks{'Rename a scope'} })[0] =~ s/^SELECT outcome.*//msr);
is($node->safe_psql('postgres', q{SELECT outcome FROM claim_renamed('busy', 'payments/acme', 'charges/acme', NULL)}), 'in_progress', 'held under the old name');
$session->query_safe('ROLLBACK');
my $outcomes = sub { $node->safe_psql('postgres', $_[0]) =~ s/\n+/ /gr };
my ($renamed, $old, $new) = map { "SELECT outcome FROM $_;" } q{claim_renamed('busy', 'payments/acme', 'charges/acme', NULL)},
	map { "idempotency.claim('busy', '$_/acme')" } 'charges', 'payments';
is($outcomes->(qq{BEGIN; $renamed SELECT idempotency.complete('busy', scope) FROM (VALUES ('charges/acme'), ('payments/acme')) AS renamed (scope);
	COMMIT; $renamed $old $new}) =~ s/ +/ /gr, 'new replay replay replay', 'free, it is claimed and completed under both');
$node->safe_psql('postgres', q{SELECT idempotency.purge('charges'), idempotency.purge('payments')});
$outcomes->(q{SELECT idempotency.once('busy', 'payments/acme')});
is($outcomes->("BEGIN; $renamed COMMIT; $renamed"), 'replay replay', 'claimed under the new name alone, it is not run under the old one');
$session->quit;

# Without the library nothing sweeps, and no counters are there.
$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
$node->restart;
my $without = diagnosis();
is("$without->{preloaded} $without->{launchers} $without->{swept_within_an_hour}", 'f 0 ', 'a library that is not preloaded is seen');

$node->stop;
done_testing();
