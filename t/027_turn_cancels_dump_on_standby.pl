# A turn of the wheel on the primary cancels a dump on a standby that reads the
# slot; a dump succeeds if nothing is turned meanwhile, or if the standby
# delays replay. And what partial dumps and publications carry.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;
use Time::HiRes qw(usleep);

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 'logical');
$primary->append_conf('postgresql.conf', q{
shared_preload_libraries = 'idempotency'
idempotency.sweep_interval = '20 ms'
idempotency.worker = off
});
$primary->start;
$primary->safe_psql('postgres', q{
CREATE EXTENSION idempotency;
CREATE TABLE payments (id integer);
SELECT idempotency.set_policy('shop', ttl => '2 days');
});
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', q{
max_standby_streaming_delay = '50 ms'
hot_standby_feedback = on
});
$standby->start;

# A slot with a key, and an upper bound that is past.
sub past_slot
{
	$primary->safe_psql('postgres', q{
	SELECT idempotency.once(gen_random_uuid()::text, 'dump', ttl => '1 ms');
	SELECT pg_sleep(0.01);
	UPDATE idempotency.wheel SET until = clock_timestamp() WHERE slot IN (SELECT slot FROM idempotency.keys WHERE scope = 'dump');
	});
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
	return;
}

# Like pg_dump: lock all tables first, then read one after another, the keys when
# this test allows.
my $directory = PostgreSQL::Test::Utils::tempdir();

sub begin_dump
{
	my %dump = (in => '', out => '', err => '');

	unlink "$directory/locked", "$directory/go";
	$dump{in} = qq{
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
LOCK TABLE idempotency.keys IN ACCESS SHARE MODE;
SELECT count(*) FROM payments;
\\! touch $directory/locked; until [ -e $directory/go ]; do sleep 0.02; done
SELECT count(*) >= 0 FROM idempotency.keys;
};
	$dump{run} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $standby->connstr('postgres') ],
		'<', \$dump{in}, '>', \$dump{out}, '2>', \$dump{err}, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	until (-e "$directory/locked") { $dump{run}->pump_nb; usleep(20_000) }
	return \%dump;
}

sub ends_well
{
	my ($dump) = @_;

	append_to_file("$directory/go", '');
	return $dump->{run}->finish;
}

past_slot();
my $dump = begin_dump();
is($primary->safe_psql('postgres', 'SELECT slots_cleared FROM idempotency.sweep()'), '1', 'the primary turns a slot');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
ok(!ends_well($dump), 'the dump on the standby is canceled');
like(slurp_file($standby->logfile), qr/User was holding a relation lock for too long/, 'because of its lock on the slot');

# Remedy: no slot is turned while the dump runs.
past_slot();
$dump = begin_dump();
$primary->safe_psql('postgres', q{SELECT idempotency.once('k' || n, 'shop') FROM generate_series(1, 100) AS n});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
ok(ends_well($dump), 'it goes through if the worker is off meanwhile, however many keys are stored');
$primary->append_conf('postgresql.conf', 'idempotency.worker = on');
$primary->reload;
ok($primary->poll_query_until('postgres', q{SELECT count(*) = 0 FROM idempotency.keys WHERE scope = 'dump'}),
	'and the slot is turned when it is on again');
$primary->append_conf('postgresql.conf', 'idempotency.worker = off');
$primary->reload;

# Remedy: the standby delays the turn.
$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = -1');
$standby->reload;
$primary->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'idempotency%' AND datname IS NOT NULL});
past_slot();
$dump = begin_dump();
is($primary->safe_psql('postgres', 'SELECT slots_cleared FROM idempotency.sweep()'), '1', 'a slot is turned');
ok(ends_well($dump), 'the dump goes through if the standby may delay what it replays');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
is($standby->safe_psql('postgres', q{SELECT count(*) FROM idempotency.keys WHERE scope = 'dump'}), '0', 'and the turn is replayed after it');

# Partial dumps.
sub dumped
{
	my ($stdout) = run_command([ 'pg_dump', '-d', $primary->connstr('postgres'), @_ ]);
	return join ' ', map { $stdout =~ $_->[1] ? $_->[0] : () }
	  [ 'extension', qr/^CREATE EXTENSION/m ], [ 'keys', qr/^COPY idempotency\.keys_/m ], [ 'wheel', qr/^COPY idempotency\.wheel/m ],
	  [ 'policy', qr/^COPY idempotency\.policy/m ], [ 'payments', qr/^COPY public\.payments/m ];
}
is(dumped(), 'extension keys wheel policy payments', 'a dump of the database has keys, wheel and policies');
is(dumped('-n', 'public'), 'payments', 'one of the schema public has none of them');
like(dumped('-n', 'idempotency'), qr/^(keys wheel policy)?$/, 'one of the schema idempotency has no extension, and the rows by some versions of pg_dump');
is(dumped('-t', 'payments'), 'payments', 'one of a table has none of them');
is(dumped('--extension', 'idempotency', '-n', 'public'), 'extension keys wheel policy payments', 'with --extension, it has them');
is(dumped('-s'), 'extension', 'the schema alone has no keys');

# Publications.
$primary->safe_psql('postgres', 'CREATE PUBLICATION everything FOR ALL TABLES');
is($primary->safe_psql('postgres', q{
	SELECT count(*) FILTER (WHERE tablename LIKE 'keys\_%'), count(*) FILTER (WHERE tablename = 'wheel'), count(*) FILTER (WHERE tablename = 'policy')
	FROM pg_publication_tables WHERE pubname = 'everything' AND schemaname = 'idempotency'}),
	'9|1|1', 'a publication for all tables carries keys, wheel and policies');

done_testing();
