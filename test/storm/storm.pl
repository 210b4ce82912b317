# storm.pl: run the clients against servers, and inject faults.
#
#	storm.pl [-s SEED] [-d SECONDS] [-n CLIENTS] [-m] [-p] DIRECTORY
#
#	-m	mildly: one server and no faults, except steps of its clock
#	-p	over the portable edition
#
# Two servers, primary and synchronous standby, share a wall clock that can be
# set (weather.c).  Clients connect to the primary by a socket with a fixed name,
# which a failover makes point to the other server, or through PgBouncer, which
# uses that socket; without PgBouncer, all by the socket.  The faults and their
# times depend on the seed alone, and are written to DIRECTORY/schedule
# beforehand.  If a fault takes longer than until the next one is due, that one
# follows at once.
#
# Now and then, and in the end, the database is dumped and restored under another
# name, and all keys are claimed there.
#
# Leaves the input of check.pl in DIRECTORY.  DIRECTORY/wal/a and b may be mount
# points of small file systems, which can be filled up.  Needs the environment of
# test/throwaway-server.sh; clients and weather.so are expected next to this file.

use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use Getopt::Std;
use Time::HiRes qw(sleep time);

getopts('s:d:n:mp', \my %option) or exit 2;
my $directory = abs_path(shift) or die "usage: storm.pl [-s SEED] [-d SECONDS] [-n CLIENTS] [-m] [-p] DIRECTORY\n";
my $seed = $option{s} // 1;
my $duration = $option{d} // 30;
my $clients = $option{n} // 32;
my $mild = $option{m};
my $here = abs_path(dirname($0));

my %port = (a => 5441, b => 5442);
my $service = 6000;
my $pooler_port = 6432;
my ($primary, $standby) = ('a', $mild ? undef : 'b');
my $pooled = system('command -v pgbouncer >/dev/null') == 0;
my ($pooler, $load);
my $began;

# ---- the schedule ----

# How often each fault is in the deck, and what is drawn for it.
my %deck = (
	terminate => [ 4, sub { which => int rand 100, count => 1 + int rand 4 } ],
	crash => [ 2, sub { which => int rand 100 } ],
	stop_immediate => [ 1, sub { } ],
	fill_disk => [ 1, sub { } ],
	fail_over => [ 1, sub { } ],
	restart_pooler => [ 2, sub { } ],
	sweep => [ 3, sub { rows => (1, 50, 100000)[ rand 3 ] } ],
	foreign_trigger => [ 2, sub { table => (qw(keys keys_0 keys_long wheel policy))[ rand 5 ], level => (qw(ROW STATEMENT))[ rand 2 ] } ],
	restore => [ 1, sub { } ],
	clock_forward => [ 4, sub { by => (0.5, 1, 2.5, 20, 3600)[ rand 5 ] } ],
	clock_back => [ 2, sub { by => -(0.2, 1, 2)[ rand 3 ] } ]);
my @mild = qw(sweep foreign_trigger clock_forward clock_back);

# In the portable edition foreign triggers fire, as on any table.
if ($option{p})
{
	delete $deck{foreign_trigger};
	@mild = grep { $_ ne 'foreign_trigger' } @mild;
}

sub schedule
{
	my (@deck, @schedule);

	srand $seed;
	for (my $at = 1; $at < $duration; $at += 0.2 + rand 1.6)
	{
		@deck = map { ($_) x $deck{$_}[0] } $mild ? @mild : sort keys %deck unless @deck;
		my $fault = splice @deck, int rand @deck, 1;
		push @schedule, { at => $at, fault => $fault, $deck{$fault}[1]->() };
	}
	return @schedule;
}

# ---- servers ----

sub run
{
	system(@_) == 0 or die "failed: @_\n";
}

sub note { printf "%6.1f  %s\n", time - $began, join(' ', @_); }

sub slurp
{
	my ($name) = @_;

	open(my $file, '<', $name) or die "$name: $!\n";
	local $/;
	return scalar readline $file;
}

sub write_file
{
	my ($name, $text) = @_;

	open(my $file, '>', $name) or die "$name: $!\n";
	print $file $text;
	close $file or die "$name: $!\n";
}

# The answer, or undef if there was none.
sub ask
{
	my ($server, $sql, $database) = @_;

	open(my $psql, '-|', 'sh', '-c', 'exec psql -XAtq -d "$3" -p "$1" -c "$2" 2>/dev/null', 'sh',
		$port{$server}, $sql, $database // 'storm')
	  or die "psql: $!\n";
	my $answer = join '', <$psql>;
	close $psql or return undef;
	chomp $answer;
	return $answer;
}

sub wait_until
{
	my ($what, $condition) = @_;
	my $until = time + 60;

	while (!$condition->())
	{
		die "not in a minute: $what\n" if time > $until;
		sleep 0.02;
	}
}

sub wait_for_answers
{
	my $server = shift;

	wait_until("server $server answers", sub { (ask($server, 'SELECT pg_is_in_recovery()') // '') eq 'f' });
}

sub pg_ctl
{
	my ($server, @command) = @_;

	return system('pg_ctl', '-s', '-w', '-D', "$directory/$server", '-l', "$directory/server.$server.log", @command) == 0;
}

sub start
{
	my $server = shift;
	local $ENV{LD_PRELOAD} = "$here/weather.so";
	local $ENV{STORM_CLOCK} = "$directory/offset";

	return pg_ctl($server, '-o', "-p $port{$server}", 'start');
}

sub postmaster
{
	my $server = shift;

	open(my $file, '<', "$directory/$server/postmaster.pid") or die "postmaster.pid: $!\n";
	chomp(my $pid = <$file>);
	return $pid;
}

sub make_primary
{
	my $library = $option{p} ? '' : <<END;
shared_preload_libraries = 'idempotency'
idempotency.sweep_interval = '500 ms'
idempotency.wheel_tick = '1 s'
END
	my $schema = slurp("$here/schema.sql");

	$schema =~ s/^CREATE EXTENSION idempotency;.*?^UPDATE.*?\n/slurp("$here\/..\/..\/portable\/idempotency.sql")/ems if $option{p};
	write_file("$directory/schema.sql", $schema);
	write_file("$directory/storm.conf", <<END . $library . ($mild ? '' : "synchronous_standby_names = '*'\n"));
include '$ENV{TEMP_CONFIG}'
listen_addresses = ''
unix_socket_directories = '$directory'
fsync = off
log_line_prefix = '%m [%p] %e '
max_connections = 100
max_prepared_transactions = 100
deadlock_timeout = '200 ms'
autovacuum_naptime = '1 s'
min_wal_size = '4 MB'
max_wal_size = '16 MB'
wal_keep_size = '16 MB'
wal_sender_timeout = 0
wal_receiver_timeout = 0
wal_retrieve_retry_interval = '100 ms'
idempotency.default_wait = '500 ms'
END
	run("initdb -D '$directory/a' -X '$directory/wal/a/pg_wal' --wal-segsize=1 -A trust -N -U postgres --locale=C.UTF-8 -E UTF8 >'$directory/initdb.log'");
	open(my $conf, '>>', "$directory/a/postgresql.conf") or die;
	print $conf "include '$directory/storm.conf'\n";
	close $conf;
	start('a') or die "server a does not start\n";

	# There is no standby yet to wait for.
	local $ENV{PGOPTIONS} = '-c synchronous_commit=local -c client_min_messages=warning';
	run('psql', '-Xq', '-d', 'postgres', '-p', $port{a}, '-c', 'CREATE DATABASE storm');
	run("psql -Xq -v ON_ERROR_STOP=1 -d storm -p $port{a} -f '$directory/schema.sql' >/dev/null");
}

sub make_standby
{
	my $server = shift;

	run('rm', '-rf', "$directory/$server", "$directory/wal/$server/pg_wal");
	run('pg_basebackup', '-D', "$directory/$server", "--waldir=$directory/wal/$server/pg_wal",
		'-d', "port=$port{$primary}", '-c', 'fast', '-R', '--no-sync');
	start($server) or die "standby $server does not start\n";
	$standby = $server;
}

# Make the service's socket that of the primary.
sub direct_service
{
	symlink("$directory/.s.PGSQL.$port{$primary}", "$directory/new") or die "symlink: $!\n";
	rename("$directory/new", "$directory/.s.PGSQL.$service") or die "rename: $!\n";
}

sub start_pooler
{
	if (!$pooled)
	{
		symlink("$directory/.s.PGSQL.$service", "$directory/.s.PGSQL.$pooler_port") or die "symlink: $!\n";
		return;
	}
	write_file("$directory/pgbouncer.ini", <<END);
[databases]
storm = host=$directory port=$service dbname=storm user=postgres
[pgbouncer]
unix_socket_dir = $directory
listen_port = $pooler_port
auth_type = any
pool_mode = transaction
default_pool_size = 6
max_client_conn = 200
server_login_retry = 0.1
END
	$pooler = fork // die "fork: $!\n";
	if ($pooler == 0)
	{
		open(STDERR, '>>', "$directory/pgbouncer.log");
		open(STDOUT, '>&', \*STDERR);
		exec 'setpriv', '--pdeathsig', 'KILL', 'pgbouncer', "$directory/pgbouncer.ini";
		exit 127;
	}
}

sub stop_pooler
{
	kill TERM => $pooler;
	waitpid($pooler, 0);
	undef $pooler;
}

# ---- faults ----

my $offset = 0;

sub microseconds { return int(time * 1e6); }

sub append_line
{
	my ($name, @fields) = @_;

	open(my $file, '>>', "$directory/$name") or die "$name: $!\n";
	print $file join("\t", @fields), "\n";
	close $file;
}

sub set_clock
{
	my $by = shift;
	my $begun = microseconds();

	$offset += int($by * 1e6);
	open(my $file, '+<', "$directory/offset") or die "offset: $!\n";
	syswrite $file, pack('q<', $offset);
	close $file;
	append_line('clock', $begun, microseconds() + 1, $offset);
}

# Clients at work: the which-th and following.
sub victims
{
	my ($which, $count) = @_;
	my @pids = split /\n/, ask($primary, q{SELECT pid FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND datname = 'storm'
		ORDER BY state = 'idle', pid}) // '';

	return map { $pids[ ($which + $_) % (@pids / 2 + 1) ] // () } 0 .. $count - 1;
}

# A foreign trigger, for a moment.  CREATE TRIGGER does not wait long for its lock,
# and so delays no client for long.
sub put_foreign_trigger
{
	my ($table, $level) = @_;
	my $begun = microseconds();

	for (1 .. 20)
	{
		return unless defined ask($primary, 'SELECT 1');
		if (defined ask($primary, "SET lock_timeout = '50 ms'; SET client_min_messages = warning;
			CREATE TRIGGER log BEFORE INSERT OR UPDATE OR DELETE ON idempotency.$table FOR EACH $level EXECUTE FUNCTION fire()"))
		{
			my $put = microseconds();

			sleep 0.5;
			my $ended = microseconds();
			wait_until("the foreign trigger is dropped", sub {
				end_prepared();
				return defined ask($primary, "SET lock_timeout = '100 ms'; DROP TRIGGER log ON idempotency.$table");
			});
			append_line('triggers', $begun, $put, $ended, microseconds());
			return;
		}
		end_prepared();
	}
}

# Dump, restore, and ask for every key there; then look when it was done.
sub restore_elsewhere
{
	my $begun = microseconds();
	my $connection = "-p $port{$primary}";
	my $dumped = system("pg_dump $connection -f '$directory/dump' storm 2>'$directory/dump.log'") == 0;

	# The server may have restarted itself a moment ago.
	return 0 unless $dumped && defined ask($primary, 'DROP DATABASE IF EXISTS restored (FORCE)', 'postgres') &&
	  defined ask($primary, 'CREATE DATABASE restored TEMPLATE template0', 'postgres');
	system("psql -Xq -v ON_ERROR_STOP=1 $connection -d restored -f '$directory/dump' >/dev/null 2>'$directory/restore.log'") == 0
	  or die "the dump can't be restored: see restore.log\n";
	my $answers = ask($primary, q{SET client_min_messages = error; BEGIN;
		SELECT key, outcome, response->>'id' FROM (SELECT DISTINCT key FROM effect WHERE key > 0 ORDER BY key) AS known,
		LATERAL idempotency.claim(name_of(key), scope_of(key),
			CASE WHEN key % 10 <> 7 OR key >= 1000000 THEN jsonb_build_object('key', key) END, wait => '0');
		ROLLBACK}, 'restored');
	die "no answers from the restored database\n" unless defined $answers;
	my $ended = microseconds();
	append_line('restored', $begun, $ended, split(/\|/, $_, -1)) for split /\n/, $answers;
	ask($primary, 'DROP DATABASE restored (FORCE)', 'postgres');
	return 1;
}

my %do = (
	terminate => sub {
		my $fault = shift;
		ask($primary, "SELECT pg_terminate_backend($_)") for victims($fault->{which}, $fault->{count});
	},
	crash => sub {
		kill KILL => victims(shift->{which}, 1);
		sleep 0.1;
		wait_for_answers($primary);
	},
	stop_immediate => sub {
		pg_ctl($primary, '-m', 'immediate', 'stop');
		start($primary) or die "server $primary does not start again\n";
	},
	fill_disk => sub {
		my $filler = "$directory/wal/$primary/filler";

		system("cat /dev/zero >'$filler' 2>/dev/null");
		for (1 .. 30)
		{
			last unless defined ask($primary, 'SELECT pg_switch_wal()');
			sleep 0.1;
		}
		sleep 0.5;
		unlink $filler or die "$filler: $!\n";
		# The server may have restarted itself, be about to, or have given up.
		wait_until("server $primary is back", sub {
			return 1 if defined ask($primary, 'SELECT 1');
			start($primary) if system("pg_ctl -D '$directory/$primary' status >/dev/null") != 0;
			return 0;
		});
	},
	fail_over => sub {
		my $old = $primary;
		my $written = ask($primary, 'SELECT pg_current_wal_lsn()');

		wait_until('the standby has caught up', sub {
			return (ask($primary, "SELECT count(*) FROM pg_stat_replication
				WHERE sync_state = 'sync' AND flush_lsn >= '$written'") // 0) == 1;
		});
		# In its last moment the primary commits what the standby never receives: no
		# client may get it as an answer, neither the one whose commit waits nor one
		# that asks again once that has lost its connection.  (Replays of the portable
		# edition don't wait for the standby: there no commit is made to give up.)
		my $sender = ask($old, 'SELECT pid FROM pg_stat_replication');
		kill STOP => $sender;
		for (1, 2)
		{
			sleep 0.2;
			ask($old, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'}) unless $option{p};
		}
		sleep 0.2;
		kill QUIT => postmaster($old);
		kill KILL => $sender;
		wait_until("server $old is down", sub { return !-e "$directory/$old/postmaster.pid"; });
		pg_ctl($standby, 'promote') or die "server $standby is not promoted\n";
		$primary = $standby;
		direct_service();
		wait_for_answers($primary);
		make_standby($old);
	},
	restart_pooler => sub { stop_pooler(); sleep 0.2; start_pooler(); },
	foreign_trigger => sub { my $fault = shift; put_foreign_trigger($fault->{table}, $fault->{level}); },
	restore => \&restore_elsewhere,
	sweep => sub { ask($primary, 'SELECT idempotency.sweep(' . shift->{rows} . ')'); },
	clock_forward => sub { set_clock(shift->{by}); },
	clock_back => sub { set_clock(shift->{by}); });

# Prepared transactions whose clients have lost them: this program ends them.
my %prepared;

sub end_prepared
{
	my %seen = map { $_ => ($prepared{$_} // 0) + 1 } split /\n/, ask($primary, 'SELECT gid FROM pg_prepared_xacts') // '';

	for my $gid (grep { $seen{$_} > 2 } sort keys %seen)
	{
		ask($primary, ($gid =~ /[02468]$/ ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$gid'");
	}
	%prepared = %seen;
}

# ---- the storm ----

my $main = $$;

END
{
	if ($$ == $main)
	{
		my $status = $?;

		kill KILL => $load if $load;
		stop_pooler() if $pooler;
		for my $server (sort keys %port)
		{
			pg_ctl($server, '-m', 'immediate', 'stop') if -e "$directory/$server/postmaster.pid";
		}
		$? = $status;
	}
}
$SIG{INT} = $SIG{TERM} = sub { exit 130 };

$began = time;
$| = 1;
for my $name (keys %ENV) { delete $ENV{$name} if $name =~ /^PG(PORT|DATABASE|OPTIONS)$/; }
$ENV{PGHOST} = $directory;
$ENV{PGUSER} = 'postgres';
my @schedule = schedule();
write_file("$directory/schedule", join '', map { my $f = $_; join(' ', map { "$_=$f->{$_}" } sort keys %$f) . "\n" } @schedule);
write_file("$directory/offset", pack('q<', 0));
write_file("$directory/clock", "0\t0\t0\n");
write_file("$directory/$_", '') for qw(triggers restored);
mkdir "$directory/wal";
mkdir "$directory/wal/$_" for sort keys %port;
my $small = system("mountpoint -q '$directory/wal/a'") == 0;

my %obstacle = (
	fill_disk => !$small && 'no small file system could be mounted',
	restart_pooler => !$pooled && 'PgBouncer is not installed');

make_primary();
make_standby('b') unless $mild;
direct_service();
start_pooler();

$load = fork // die "fork: $!\n";
if ($load == 0)
{
	$ENV{PGDATABASE} = 'storm';
	open(STDERR, '>', "$directory/clients.log");
	exec "$here/clients", $seed, $clients, $directory;
	exit 127;
}
$began = time;
for my $fault (@schedule)
{
	# On a machine that is too slow for the schedule, there is no time between.
	end_prepared() if time > $began + $fault->{at};
	while ((my $left = $began + $fault->{at} - time) > 0)
	{
		end_prepared() if $left > 0.5;
		sleep($left < 0.3 ? $left : 0.3);
	}
	my $obstacle = $obstacle{ $fault->{fault} };
	if ($obstacle)
	{
		note("$fault->{fault} skipped: $obstacle");
		next;
	}
	$do{ $fault->{fault} }->($fault);
	note($fault->{fault}, map { "$_=$fault->{$_}" } grep { !/^(at|fault)$/ } sort keys %$fault);
}
sleep 0.05 while time < $began + $duration;
note('calm');
kill TERM => $load;
while (waitpid($load, 1) == 0)
{
	end_prepared();
	sleep 0.2;
}
my $status = $?;
undef $load;
die "a client failed\n" if $status;

sub dump_rows
{
	my ($name, $query) = @_;
	my $rows = ask($primary, "COPY ($query) TO STDOUT");

	die "no $name\n" unless defined $rows;
	write_file("$directory/$name", "$rows\n" =~ s/^\n//r);
}
dump_rows('effects', q{SELECT id, key, tx FROM effect});
dump_rows('keys', q{SELECT key_of(key, scope), status, coalesce(resource_id, '') FROM idempotency.keys});
write_file("$directory/ended", microseconds() . "\n");
$mild or restore_elsewhere() or die "the database can't be dumped in the end: see dump.log\n";
note('ended');
