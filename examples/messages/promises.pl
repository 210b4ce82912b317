#!/usr/bin/perl
#
# promises.pl CONSUMER [ARGUMENT]...: the promises that the consumer of messages
# has to keep.
#
# Starts a Redis of its own, and kills consumers: at two points, where it makes
# them wait, and then several times at random.  Every message has a different
# amount, so that a message that is lost or has its effect twice is detected.

use strict;
use warnings;

use File::Temp qw(tempdir);
use IPC::Open2;
use List::Util qw(shuffle);
use Test::More;
use Time::HiRes qw(sleep time);

my $directory = tempdir(CLEANUP => 1);
my $run = sprintf '%x-%x', time, $$;
my $amount = 0;
my %running;

END
{
	local $?;
	kill 'KILL', keys %running;
	waitpid $_, 0 for keys %running;
}
$SIG{$_} = sub { exit 1 } for qw(INT TERM);

sub start
{
	my $pid = fork() // die $!;
	if (!$pid)
	{
		%running = ();
		exec @_ or die "$_[0]: $!";
	}
	$running{$pid} = 1;
	return $pid;
}

sub kill_now
{
	my ($pid) = @_;
	kill 'KILL', $pid;
	waitpid $pid, 0;
	delete $running{$pid};
}

# Redis, and the consumers: each continues under its name when it is started again.
$ENV{REDIS_SOCKET} = "$directory/socket";
start('redis-server', '--port', 0, '--unixsocket', $ENV{REDIS_SOCKET}, '--save', '', '--dir', $directory,
	'--logfile', "$directory/log");

sub redis
{
	my $pid = open2(my $out, my $in, 'redis-cli', '-s', $ENV{REDIS_SOCKET});
	print $in map { "$_\n" } @_;
	close $in;
	my @replies = <$out>;
	waitpid $pid, 0;
	chomp @replies;
	return @replies;
}

my @consumer = @ARGV;
sub consumer { return start(@consumer, $_[0]) }

# A session of psql, which holds locks.
my $psql_pid = open2(my $from_psql, my $to_psql, qw(psql -XAtq -v ON_ERROR_STOP=1));

sub value_of
{
	print $to_psql "$_[0];\n";
	my $value = readline $from_psql;
	chomp $value;
	return $value;
}

sub until_true
{
	my ($what, $condition) = @_;
	for (my $end = time + 60; time < $end; sleep 0.02)
	{
		return if $condition->();
	}
	die "waited in vain for $what";
}

sub payments { return value_of('SELECT count(*) FROM payments') }

sub unacknowledged { return (redis('XPENDING payments ledger'))[0] // 0 }

sub all_consumed
{
	my %group = redis('XINFO GROUPS payments');
	return $group{pending} == 0 && $group{lag} eq '0';
}

# Send new messages, each of them $times times; messages differ in amount.
sub send_messages
{
	my ($count, $times) = @_;
	my @messages = map {
		$amount++;
		("XADD payments * id $run-$amount customer alice amount $amount") x $times
	} 1 .. $count;
	redis(shuffle(@messages));
}

sub is_exact
{
	until_true('the queue to be consumed', \&all_consumed);
	is(payments(), $amount, 'as many rows as messages');
	is(value_of('SELECT count(DISTINCT amount) FROM payments'), $amount, 'one for each');
}

until_true('Redis', sub { -S $ENV{REDIS_SOCKET} && (redis('PING'))[0] eq 'PONG' });
redis('XGROUP CREATE payments ledger 0 MKSTREAM');
value_of('TRUNCATE payments; SELECT 1');

subtest 'a message that was sent twice has one effect' => sub {
	send_messages(50, 2);
	my $consumer = consumer('one');
	is_exact();
	kill_now($consumer);
};

subtest 'a consumer is killed before its batch commits, and nothing is lost' => sub {
	my $before = payments();
	send_messages(50, 1);
	value_of('BEGIN; LOCK TABLE payments IN EXCLUSIVE MODE; SELECT 1');
	my $consumer = consumer('one');
	until_true('the consumer to insert', sub {
		value_of(q(SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'payments'::regclass)) == 1 });
	kill_now($consumer);
	value_of('COMMIT; SELECT 1');
	is(unacknowledged(), 50, 'all of the batch is unacknowledged');
	$consumer = consumer('one');
	is_exact();
	kill_now($consumer);
};

subtest 'a consumer is killed before it acknowledges its batch, and nothing is done twice' => sub {
	my $before = payments();
	send_messages(50, 1);
	value_of('BEGIN; LOCK TABLE payments IN EXCLUSIVE MODE; SELECT 1');
	my $consumer = consumer('one');
	until_true('the consumer to insert', sub {
		value_of(q(SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'payments'::regclass)) == 1 });
	redis('CLIENT PAUSE 60000 WRITE');
	value_of('COMMIT; SELECT 1');
	until_true('the batch to commit', sub { payments() == $before + 50 });
	kill_now($consumer);
	redis('CLIENT UNPAUSE');
	is(unacknowledged(), 50, 'all of the batch is unacknowledged');
	$consumer = consumer('one');
	is_exact();
	kill_now($consumer);
};

subtest 'consumers are killed again and again, and every message has one effect' => sub {
	my %consumer = map { $_ => consumer($_) } qw(one two);
	my $kills = 0;
	for (1 .. 10)
	{
		send_messages(200, 2);
		sleep 0.3 + rand 0.5;
		my ($name) = shuffle(keys %consumer);
		kill_now($consumer{$name});
		$kills++;
		$consumer{$name} = consumer($name);
	}
	is_exact();
	note("$kills kills");
	kill_now($_) for values %consumer;
};

close $to_psql;
waitpid $psql_pid, 0;
done_testing();
