# A replay is as durable as the first answer: if a commit would wait for
# synchronous standbys, a replay is given only when they have confirmed the
# result.  So are the answers of issue() and complete() that write nothing.
#
# The owner's commit waits for a standby that does not answer, and its session
# is terminated: the result is visible, and would be lost by a failover.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'idempotency'\nidempotency.worker = off\nwal_keep_size = '1GB'");
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION idempotency');
$primary->backup('base');
my %standby;
for my $name (qw(s1 s2))
{
	$standby{$name} = PostgreSQL::Test::Cluster->new($name);
	$standby{$name}->init_from_backup($primary, 'base', has_streaming => 1);
	$standby{$name}->start;
}

sub set
{
	my ($names) = @_;
	$primary->safe_psql('postgres', "ALTER SYSTEM SET synchronous_standby_names = '$names'");
	$primary->reload;
	$primary->poll_query_until('postgres',
		$names eq '' ? q{SELECT count(*) = 0 FROM pg_stat_replication WHERE sync_state <> 'async'}
		: q{SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state <> 'async'})
	  or die "no synchronous standby";
	return;
}

# Make the calls in a session that is terminated while its commit waits.
sub caller_is_terminated
{
	my ($level, $calls) = @_;
	my ($out, $err) = ('', '');
	my $owner = IPC::Run::start(
		[ 'psql', '-XAt', '-d', $primary->connstr('postgres'), '-c', "SET synchronous_commit = $level", '-c', "SELECT $calls" ],
		'>', \$out, '2>', \$err, IPC::Run::timeout(60));
	$primary->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'})
	  or die 'the commit does not wait';
	$primary->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'});
	$owner->finish;
	return;
}

sub owner_is_terminated
{
	my ($key, $level) = @_;
	caller_is_terminated($level, "idempotency.once('$key')");
	return;
}

# The answer to a call within a second and a half: its result, or an SQLSTATE.
sub answer
{
	my ($call, @settings) = @_;
	my ($code, $out, $err) = $primary->psql('postgres', "SET statement_timeout = '1500 ms';\n"
		. join('', map { "SET $_;\n" } @settings) . "\\set VERBOSITY sqlstate\n$call");
	return $err =~ /ERROR:  (\w+)/ ? $1 : $out;
}

my $once = sub { "SELECT idempotency.once('$_[0]')" };

# Without synchronous standbys there is nothing to wait for.
is(answer($once->('free')), 't', 'the first');
is(answer($once->('free')), 'f', 'no synchronous standby: a replay');

set('s1');
for my $level (qw(remote_write on remote_apply))
{
	$primary->safe_psql('postgres', "SELECT FROM idempotency.claim('c $level', lease => '1 hour')");
	$standby{s1}->stop;
	caller_is_terminated($level, "idempotency.once('k $level'), idempotency.complete('c $level', attempt => 1), idempotency.issue('cart', '$level')");
	my @level = ("synchronous_commit = $level");

	is(answer($once->("k $level"), @level), '57014', "$level: no replay that a failover would make a lie");
	is(answer("SELECT outcome FROM idempotency.claim('k $level', wait => '0')", @level), '57014', "$level: claim()");
	is(answer("SELECT outcome FROM idempotency.claim_many('{k $level}')", @level), '57014', "$level: claim_many()");
	is(answer("SELECT outcome FROM idempotency.execute('k $level', '', 'jsonb_strip_nulls')", @level), '57014', "$level: execute()");
	is(answer("SELECT idempotency.complete('c $level', attempt => 1)", @level), '57014', "$level: complete() once more");
	is(answer("SELECT idempotency.complete_many('{c $level}', attempts => '{1}')", @level), '57014', "$level: complete_many() once more");
	is(answer("SELECT idempotency.issue('cart', '$level')", @level), '57014', "$level: issue() for another device");
	is(answer("SELECT status FROM idempotency.lookup('k $level')", @level), 'completed', "$level: lookup() does not wait");
	is(answer("SELECT outcome FROM idempotency.claim('k $level', request => '1')", @level), 'mismatch', "$level: nor does a mismatch");
	is(answer($once->("k $level"), 'synchronous_commit = local'), 'f', "$level: nor who asks for no standby");
	is(answer($once->("k $level"), @level, 'idempotency.durable_replay = off'), 'f', "$level: nor where it is switched off");

	# At the start of a segment there is no page yet that could be flushed.
	$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
	is(answer($once->("k $level"), @level), '57014', "$level: no replay at the start of a segment");

	$standby{s1}->start;
	$primary->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'}) or die;
	is(answer($once->("k $level"), @level), 'f', "$level: a replay when the standby has confirmed it");
	is(answer("SELECT idempotency.complete_many('{c $level}', attempts => '{1}')", @level), '1', "$level: and a completion once more");
	like(answer("SELECT idempotency.issue('cart', '$level')", @level), qr/^[-0-9a-f]{36}$/, "$level: and the issued key");
}

# A replay waits without a limit, can be canceled, and has no transaction id.
$standby{s1}->stop;
owner_is_terminated('waits', 'on');
my $waiter = $primary->background_psql('postgres', on_error_stop => 0);
my $pid = $waiter->query_safe('SELECT pg_backend_pid()');
chomp $pid;
$waiter->query_until(qr/asked/, "\\echo asked\nSELECT idempotency.once('waits');\nSELECT 'xid', pg_current_xact_id_if_assigned();\n");
$primary->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid") or die;
is($primary->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE pid = $pid AND relation IN (SELECT inhrelid FROM pg_inherits)"),
	'0', 'no table of keys is locked while it waits');
$primary->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$waiter->query('SELECT 1');
like($waiter->{stderr}, qr/canceling statement due to user request/, 'a cancel ends the wait');
unlike($waiter->{stderr}, qr/WARNING/, 'without a warning');
$waiter->{stderr} = '';
$waiter->query_until(qr/again/, "\\echo again\nSELECT 'once ' || idempotency.once('waits');\n");
$primary->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid") or die;
$standby{s1}->start;
like($waiter->query_safe("SELECT 'done'"), qr/once false.*done/s, 'the standby ends it');

# A confirmed result is replayed even while no standby answers.
$primary->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'}) or die;
$waiter->query_safe("SELECT pg_current_xact_id(); SELECT idempotency.once('k on')");
$standby{s1}->stop;
like($waiter->query_safe("SET statement_timeout = '5 s'; SELECT 'old ' || idempotency.once('waits')"), qr/old false/, 'what was confirmed before is replayed');
$waiter->quit;
$standby{s1}->start;

# Quorum: as many standbys as a commit waits for.
set('ANY 2 (s1, s2)');
$standby{s2}->stop;
owner_is_terminated('quorum', 'on');
is(answer($once->('quorum')), '57014', 'one of two is too few');
set('ANY 1 (s1, s2)');
# (Nothing is sent to a standby meanwhile: its last confirmation counts.)
is(answer($once->('quorum')), 'f', 'one of one is enough');
set('');
$standby{s2}->start;

# To the end: no client got an answer that the promoted standby does not have.
set('s1');
$standby{s1}->stop;
owner_is_terminated('lost', 'on');
is(answer($once->('lost')), '57014', 'no replay');
$primary->stop('immediate');
$standby{s1}->start;
$standby{s1}->promote;
is($standby{s1}->safe_psql('postgres', "SELECT idempotency.once('lost')"), 't', 'and it runs after the failover');

done_testing();
