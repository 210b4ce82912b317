# A Citus cluster for tests, on servers that are given, and sessions on its nodes.
#
# Servers with Citus and this extension: the coordinator at CITUS_PGPORT of
# CITUS_PGHOST, two workers or more at CITUS_WORKER_PORTS.  Both libraries are
# preloaded, prepared transactions are allowed, no password is needed.  A test works
# in databases of its own, which are dropped at its end.

package Citus;

use strict;
use warnings;
use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

our @EXPORT = qw($host $coordinator @worker @node $patience psql try_sql sql on_all_nodes fails poll poll_any
  session say_to answer ask leave make_databases add_workers in_database is_here pg_ctl start_again);

if (!$ENV{CITUS_PGHOST} || !$ENV{CITUS_PGPORT} || !$ENV{CITUS_WORKER_PORTS})
{
	plan skip_all => 'no server with Citus is given: set CITUS_PGHOST, CITUS_PGPORT and CITUS_WORKER_PORTS';
}

our $host = $ENV{CITUS_PGHOST};
our $coordinator = $ENV{CITUS_PGPORT};
our @worker = split /[ ,]+/, $ENV{CITUS_WORKER_PORTS};
our @node = ($coordinator, @worker);
our $patience = $PostgreSQL::Test::Utils::timeout_default;
# A server that a test starts must not inherit it (doc/scaling.md).
delete $ENV{PGAPPNAME};
my $test = $$;
my $database;
my @databases;

sub psql
{
	my ($port, $where) = @_;
	return ('psql', '-XAtq', '-h', $host, '-p', $port, '-d', $where // $database, '-v', 'VERBOSITY=verbose', '-f', '-');
}

# The output of statements, and the error of the first that fails.
sub try_sql
{
	my ($port, $sql, $where) = @_;
	IPC::Run::run([ psql($port, $where), '-v', 'ON_ERROR_STOP=1' ], '<', \$sql, '>', \my $out, '2>', \my $error);
	my $status = $?;
	chomp $out;
	return ($out, $status ? $error : '');
}

sub sql
{
	my ($out, $error) = try_sql(@_);
	die "$_[1]\n$error" if $error;
	return $out;
}

sub fails
{
	my ($port, $sql, $expected, $name) = @_;
	my ($out, $error) = try_sql($port, $sql);
	like($error, $expected, $name);
}

sub poll
{
	my ($port, $sql) = @_;
	for (1 .. $patience * 20)
	{
		return if sql($port, $sql) eq 't';
		sleep 0.05;
	}
	die "this does not come true: $sql";
}

# Wait until a query is true on any node, or another query on one node.
sub poll_any
{
	my ($anywhere, $other) = @_;
	for (1 .. $patience * 20)
	{
		return if grep { sql(@$_) eq 't' } (map { [ $_, $anywhere ] } @node), $other;
		sleep 0.05;
	}
	die "this does not come true: $anywhere";
}

# A session that runs one statement after another.
sub session
{
	my ($port) = @_;
	my $session = { in => '', out => '', error => '' };
	$session->{run} = IPC::Run::start([ psql($port) ],
		'<', \$session->{in}, '>', \$session->{out}, '2>', \$session->{error}, IPC::Run::timeout($patience));
	return $session;
}

sub say_to
{
	my ($session, $sql) = @_;
	$session->{in} .= "$sql;\n\\echo answered\n";
	$session->{run}->pump_nb;
}

# Its answer to the last statement: a result or an error.
sub answer
{
	my ($session) = @_;
	$session->{run}->pump until $session->{out} =~ s/^(.*?)\n?answered\n//s;
	my $answer = $1 . $session->{error};
	$session->{error} = '';
	return $answer;
}

sub ask
{
	my ($session, $sql) = @_;
	say_to($session, $sql);
	return answer($session);
}

sub leave
{
	my ($session) = @_;
	$session->{in} .= "\\q\n";
	$session->{run}->finish;
}

# Whether the server of a node runs on this machine as this user.
sub is_here
{
	my $data = sql(shift, 'SHOW data_directory');
	return -r "$data/postmaster.pid" && -O "$data/postmaster.pid" ? $data : undef;
}

sub pg_ctl
{
	my ($data, @command) = @_;
	return IPC::Run::run([ 'pg_ctl', '-D', $data, '-l', "$data/restarted.log", '-w', '-s', @command ], '<', \undef, '2>', \my $why);
}

# After the server was stopped or killed.  Another process may have its PID for a moment.
sub start_again
{
	my ($data) = @_;
	for (1 .. 100)
	{
		return if pg_ctl($data, 'start');
		sleep 0.1;
	}
	die "$data can't be started again";
}

# The answers of all nodes, separated by blanks.
sub on_all_nodes
{
	my ($sql) = @_;
	return join ' ', map { sql($_, $sql) } @node;
}

sub drop_databases
{
	# Citus' own connections hold each other's databases open for a moment.
	for my $port (@node)
	{
		for my $name (@databases)
		{
			for (1 .. 20)
			{
				my ($out, $error) = try_sql($port, "DROP DATABASE IF EXISTS $name WITH (FORCE)", 'postgres');
				last if !$error;
				sleep 0.5;
			}
		}
		try_sql($port, 'DROP ROLE IF EXISTS idempotency_test_app', 'postgres');
	}
}

END { my $status = $?; drop_databases() if defined $test && $test == $$; $? = $status }

# Work in a database of that name from now on.
sub in_database
{
	($database) = @_;
}

# Create it on all nodes, with Citus on the workers; it is not a cluster yet.
sub make_databases
{
	in_database(@_);
	push @databases, $database;
	drop_databases();
	sql($_, "CREATE DATABASE $database", 'postgres') for @node;
	sql($_, 'CREATE EXTENSION citus') for @worker;
}

sub add_workers
{
	sql($coordinator, "SELECT citus_set_coordinator_host('$host', $coordinator)");
	sql($coordinator, "SELECT citus_add_node('$host', $_)") for @worker;
}

1;
