# fuzz_arguments.pl SEED SECONDS: print random calls of the extension's
# functions, for psql to run: odd values and NULLs, in all contexts in which a
# function can be called.  The same seed prints the same calls.

use strict;
use warnings;

my ($seed, $seconds) = @ARGV;
srand($seed);
$| = 1;
my $end = time + $seconds;

sub any { return $_[ rand @_ ] }
sub key { return any("'a'", "'b'", "'c'", "'k' || (random() * 20)::int", 'NULL', "''", "repeat('x', 255)", "repeat('x', 256)",
		"E'\\x01'", "'a b'", "U&'\\00e9'", "'\"quoted\"'", 'gen_random_uuid()::text') }
sub scope { return any("''", "'s'", "'s/t'", "'payments'", 'NULL', "repeat('y', 2000)", "'/'", "'idempotency.issue/s'") }
sub jsonb { return any('NULL', "'null'", "'{}'", "'[]'", "'1'", "'1.0e5'", "'\"\\u00e9\"'", "'{\"id\": 1, \"code\": \"23505\"}'", "'{\"code\": \"40001\"}'",
		"'{\"id\": {\"id\": [1, null]}}'", "(SELECT jsonb_agg(i) FROM generate_series(1, 2000) AS i)", "to_jsonb(repeat('z', 9000))", "'1e130000'") . '::jsonb' }
sub interval { return any('NULL', "'0'", "'1 microsecond'", "'-1 day'", "'1 second'", "'1 day'", "'8 days'", "'1 mon -30 days'", "'178000000 years'", "'-178000000 years'", "'infinity'") . '::interval' }
sub integer { return any('NULL', 0, 1, 2, -1, 99, 100, 200, 599, 600, 2147483647, -2147483648) . '::integer' }
sub attempt { return any('NULL', 'NULL', 1, 1, 2, 0, -1, 2147483647) . '::integer' }
sub bigint { return any('NULL', 0, 1, -1, 100, 9223372036854775807) . '::bigint' }
sub boolean { return any('NULL', 'true', 'false') . '::boolean' }
sub time_ { return any('NULL', 'now()', "'-infinity'", "'infinity'", "'4714-11-24 00:00:00+00 BC'", "'294276-12-31'", "now() - interval '2 days'") . '::timestamptz' }
sub keys_ { return any('NULL', "'{}'", "'{a,b,a}'", "'{a,NULL}'", "'[5:6]={a,b}'", "'{{a,b},{c,d}}'", 'ARRAY[' . join(',', key(), key()) . ']') . '::text[]' }
sub texts { return any('NULL', "'{}'", "'{1,2,3}'", "'{NULL,x}'", "'{{1},{2}}'") . '::text[]' }
sub jsonbs { return any('NULL', "'{}'", "'{1,2,3}'", "'{NULL,\"{}\"}'", "'{{1},{2}}'", "'[3:4]={1,2}'") . '::jsonb[]' }
sub integers { return any('NULL', "'{}'", "'{1,1,1}'", "'{1,NULL}'", "'{200,-1}'", "'{{1},{2}}'") . '::integer[]' }
sub errors { return any('NULL', "'{}'", "'{23}'", "'{23505,P0}'", "'{x}'", "'{NULL}'", "'{{23}}'") . '::text[]' }
sub command { return any("'work'", "'work'", "'failing'", "'work(jsonb)'", "'pg_sleep'", "'nothing'", "''", 'NULL', "'to_jsonb'", "'.'", "'\"'", "'jsonb_pretty'") }
sub table { return any('NULL', "'payments'", "'idempotency.keys'", "'idempotency.keys_0'", "'pg_class'", "'idempotency.stats'") . '::regclass' }
sub header { return any('NULL', "''", "'\"a\"'", "'a'", "'\"a\";b=1'", "'\"'", "':YQ==:'", "E'\\t\"a\"'", "repeat('(', 500)", "'x' || random()") }

my %function = (
	claim => [ \&key, \&scope, \&jsonb, \&interval, \&interval, \&interval, \&time_ ],
	complete => [ \&key, \&scope, \&jsonb, \&key, \&integer, \&attempt, \&interval ],
	fail => [ \&key, \&scope, \&jsonb, \&key, \&integer, \&attempt, \&interval ],
	release => [ \&key, \&scope, \&attempt ],
	heartbeat => [ \&key, \&scope, \&attempt, \&interval ],
	checkpoint => [ \&key, \&scope, \&key, \&jsonb, \&attempt, \&interval ],
	lookup => [ \&key, \&scope ],
	execute => [ \&key, \&scope, \&command, \&jsonb, \&interval, \&interval, \&errors ],
	once => [ \&key, \&scope, \&interval ],
	claim_many => [ \&keys_, \&scope, \&jsonbs, \&interval, \&interval, \&interval ],
	complete_many => [ \&keys_, \&scope, \&jsonbs, \&texts, \&integers, \&integers ],
	issue => [ \&scope, \&key, \&interval ],
	derive => [ \&key, \&scope ],
	parse_header => [ \&header, \&boolean ],
	request_key => [],
	key_hash => [ \&key, \&scope ],
	set_policy => [ \&scope, \&interval, \&interval, sub { any('NULL', "'100 ms'") . '::interval' }, \&boolean, sub { 'NULL' }, \&integer, \&integer, \&errors ],
	drop_policy => [ \&scope ],
	sweep => [ \&bigint ],
	forget => [ \&key, \&scope ],
	purge => [ \&scope ],
	erase => [ \&key, \&scope ],
	erase_scope => [ \&scope ],
	retain => [ \&key, \&scope, \&interval ],
	distribute => [ \&table, sub { any('NULL', "'none'", "'last'", "'x'") } ],
	undistribute => [],
	upgrade_store => [],
	unfinished_claims => [ \&key, \&scope ],
	claims_in_flight => [ \&key, \&scope ],
	holder => [ \&key, \&scope ],
	stats_counters => [],
	stats_reset => [],
	announce_change => [],
	raise_until => [],
	refuse_change => [],
	use_leaf => [],
	empty_wheel => [],
	version => [],
);
my @names = sort keys %function;

sub call
{
	my $name = any(@names, ('claim') x 8, ('complete') x 8, 'heartbeat', 'checkpoint', 'execute', 'once', 'claim_many', 'complete_many');
	my $arguments = $function{$name};
	my $given = any(scalar @$arguments, scalar @$arguments, int(rand(@$arguments + 1)));
	return "idempotency.$name(" . join(', ', map { $arguments->[$_]->() } 0 .. $given - 1) . ')';
}

my $serial = 0;

sub statement
{
	my $call = call();
	return any(
		"SELECT $call;",
		"SELECT * FROM $call;",
		"SELECT * FROM $call;",
		"SELECT count(*) FROM generate_series(1, 3), LATERAL (SELECT $call) AS c;",
		"SELECT ($call) IS NULL WHERE ($call) IS NOT NULL;",
		"INSERT INTO payments (key, amount) SELECT " . key() . ", random() FROM generate_series(1, 2)" . any('', ' ON CONFLICT DO NOTHING', ' RETURNING id') . ';',
		"UPDATE payments SET key = " . key() . " WHERE id = (random() * 100)::int;",
		"DO \$do\$ BEGIN PERFORM $call; EXCEPTION WHEN OTHERS THEN IF SQLSTATE = 'XX000' THEN RAISE; END IF; PERFORM " . call() . "; END \$do\$;",
		"DECLARE c$serial CURSOR" . any('', ' WITH HOLD') . " FOR SELECT * FROM $call; FETCH 2 FROM c$serial; CLOSE c$serial;",
		"PREPARE p$serial AS SELECT $call; EXECUTE p$serial; EXECUTE p$serial; DEALLOCATE p$serial;",
		"SET force_parallel_mode = on; SET parallel_setup_cost = 0; SELECT $call FROM payments LIMIT 3; RESET ALL;",
		"SELECT status, count(*) FROM idempotency.keys GROUP BY 1;",
		'SELECT * FROM idempotency.' . any('in_flight', 'stats', 'policy', 'wheel') . ';');
}

while (time < $end)
{
	$serial++;
	if (rand() < 0.4)
	{
		print statement(), "\n";
		next;
	}
	print 'BEGIN', any('', ' ISOLATION LEVEL REPEATABLE READ', ' ISOLATION LEVEL SERIALIZABLE', ' READ ONLY'), ";\n";
	for (0 .. rand 6)
	{
		my $savepoint = rand() < 0.6;
		print "SAVEPOINT s;\n" if $savepoint;
		print statement(), "\n";
		print any('ROLLBACK TO s', 'ROLLBACK TO s', 'RELEASE s'), ";\n" if $savepoint;
	}
	my $prepared = "fuzz $$ $serial";
	print any('COMMIT;', 'COMMIT;', 'ROLLBACK;',
		"PREPARE TRANSACTION '$prepared'; " . any('COMMIT', 'ROLLBACK') . " PREPARED '$prepared';"), "\n";
}
