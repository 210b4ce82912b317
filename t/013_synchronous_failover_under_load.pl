# A primary with a synchronous standby is killed under load, and the standby is
# promoted. Clients reconnect and resend each request without a reply: no key
# has a second effect, and every reply that was given remains true.
#
# Each key is sent by two clients at about the same time. At every second
# failover the standby has everything that the primary had committed, and no
# client got the reply; at the others the primary is killed at a random moment.
# FAILOVER_KEYS=20000 is the long form.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep);

my $keys = $ENV{FAILOVER_KEYS} // 2000;
my $failovers = $keys < 10_000 ? 2 : 6;
my $pairs = 16;
my $test = $$;

my @server = map { PostgreSQL::Test::Cluster->new("server$_") } 0 .. $failovers;
my $primary = $server[0];
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', 'max_connections = 100');
$primary->start;
$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION idempotency;
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
		PERFORM pg_sleep(0.02);
		PERFORM idempotency.complete(key, 'shop', resource_id => payment);
	END IF;
END
$$;
SQL

# From here on, a commit is acknowledged when it is on two servers.
$primary->append_conf('postgresql.conf', q{
synchronous_commit = remote_apply
synchronous_standby_names = '*'
});
$primary->reload;

sub attach_standby
{
	my ($standby) = @_;
	$primary->backup($standby->name);
	$standby->init_from_backup($primary, $standby->name, has_streaming => 1);
	$standby->start;
	$primary->poll_query_until('postgres',
		q{SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming')})
	  or die 'the standby does not catch up';
}

# Where the clients look for a primary.
my $service = sprintf "host='%s' port='%s' dbname=postgres target_session_attrs=primary",
  join(',', map { $_->host } @server), join(',', map { $_->port } @server);
my $directory = $primary->basedir;

# A client sends its keys one after another, and again until it has all replies:
# one line of "replies" for each key.
sub client
{
	my ($name, @unanswered) = @_;
	my $give_up = time + $PostgreSQL::Test::Utils::timeout_default;

	while (@unanswered && time < $give_up && getppid == $test)
	{
		# A file, since psql reads no further once it has lost its server.
		unlink "$directory/$name.requests";
		append_to_file("$directory/$name.requests", join '', map { "SELECT '$_', * FROM pay('$_');\n" } @unanswered);
		IPC::Run::run(
			[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $service, '-f', "$directory/$name.requests" ],
			'>>', "$directory/$name.replies", '2>>', "$directory/$name.errors");
		my %answered = map { /^(.*)\|(?:new|replay)\|/ ? ($1 => 1) : () } split /\n/, slurp_file("$directory/$name.replies");
		@unanswered = grep { !$answered{$_} } @unanswered;
		sleep 0.1;
	}
	return !@unanswered;
}

# Like a power failure: no process continues after another has died.
sub kill_primary
{
	my @processes = split /\n/, $primary->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');
	kill 'KILL', @processes;
	$primary->kill9;
}

attach_standby($server[1]);

my @all = map { "key $_" } 1 .. $keys;
my %client;
for my $pair (1 .. $pairs)
{
	for my $name ("$pair a", "$pair b")
	{
		my $pid = fork // die "fork: $!";
		if ($pid == 0)
		{
			# Not by die, which would stop the servers.
			my $answered = eval { client($name, @all[ grep { $_ % $pairs == $pair - 1 } 0 .. $#all ]) };
			warn $@ if $@;
			POSIX::_exit($answered ? 0 : 1);
		}
		$client{$pid} = $name;
	}
}

for my $failover (1 .. $failovers)
{
	my $standby = $server[$failover];
	my $share = $keys * $failover / ($failovers + 1);

	$primary->poll_query_until('postgres', "SELECT count(*) >= $share FROM payments") or die 'the clients do not get on';
	if ($failover % 2 == 0)
	{
		$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
		$primary->poll_query_until('postgres', "SELECT count(*) >= $pairs / 2 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
		  or die 'the commits do not wait for the standby';
		$primary->wait_for_catchup($standby, 'flush', $primary->lsn('insert'));
	}
	kill_primary();
	$standby->promote;
	$primary = $standby;
	if ($failover < $failovers)
	{
		attach_standby($server[ $failover + 1 ]);
	}
	else
	{
		$primary->append_conf('postgresql.conf', q{synchronous_standby_names = ''});
		$primary->reload;
	}
}

my @gave_up;
while ((my $pid = wait) > 0)
{
	push @gave_up, $client{$pid} if $client{$pid} && $? != 0;
}
is("@gave_up", '', 'every client has a reply for every key in the end');

my %payment = map { split /\|/ } split /\n/, $primary->safe_psql('postgres', 'SELECT key, payment FROM payments');
is($primary->safe_psql('postgres', 'SELECT count(*), count(DISTINCT key) FROM payments'), "$keys|$keys", 'every key has one effect');
is( $primary->safe_psql('postgres', q{
SELECT count(*) FROM payments FULL JOIN idempotency.keys USING (key)
WHERE status IS DISTINCT FROM 'completed' OR resource_id IS DISTINCT FROM payment}),
	'0', 'no key without its effect, and no effect without its key');

my ($replies, $lost, @broken, @errors) = (0, 0);
for my $name (values %client)
{
	for my $reply (split /\n/, slurp_file("$directory/$name.replies"))
	{
		my ($key, $outcome, $payment) = split /\|/, $reply;
		next if $outcome eq 'in_progress';
		$replies++;
		push @broken, $reply if $payment ne ($payment{$key} // '');
	}
	my $errors = slurp_file("$directory/$name.errors");
	push @errors, $errors =~ /^.*ERROR:.*$/mg;
	$lost += () = $errors =~ /connection to server was lost/g;
}
is(join("\n", @broken), '', 'every reply holds, also of a server that is gone');
is(join("\n", @errors), '', 'clients meet no error but lost connections');
is($replies, 2 * $keys, 'a reply is given once to each client');
cmp_ok($lost, '>=', $pairs * $failovers, 'the servers were killed under load');
note("$keys keys, $replies replies, $failovers failovers, $lost connections lost");

$primary->stop('fast');
done_testing();
