# pg_dump carries the keys and the wheel: a restored database replays what the
# old one had completed and protects what it had leased, whichever format the
# dump has, and wherever the wheel of the new database was. The tables
# themselves belong to the extension, and CREATE EXTENSION creates them.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE old');
$node->safe_psql('old', q{CREATE EXTENSION idempotency; CREATE ROLE app; SELECT idempotency.grant_usage('app')});

# Keys of every kind, in keys_long and in every slot that can hold some.  The
# oldest keys have expired.
$node->safe_psql('old', <<'SQL');
DO $$
DECLARE
	ttl interval;
	c idempotency.claim_result;
BEGIN
	FOREACH ttl IN ARRAY ARRAY['1 hour', '1 day', '2 days', '3 days', '4 days', '5 days', '6 days', '7 days', '10 days', '1 year']::interval[] LOOP
		c := idempotency.claim('completed ' || ttl, 'shop', '{"amount": 1}', ttl => ttl, lease => '1 minute');
		PERFORM idempotency.complete('completed ' || ttl, 'shop', jsonb_build_object('ttl', ttl), 'id ' || ttl, 201);
		c := idempotency.claim('leased ' || ttl, 'shop', '{"amount": 1}', ttl => ttl, lease => '1 hour');
		PERFORM idempotency.checkpoint('leased ' || ttl, 'shop', 'charged', '{"charge": "ch_1"}', lease => '1 hour');
	END LOOP;
	c := idempotency.claim('released', 'shop', lease => '1 minute');
	PERFORM idempotency.release('released', 'shop');
	c := idempotency.claim('failed', 'shop', lease => '1 minute');
	PERFORM idempotency.fail('failed', 'shop', '{"title": "No funds"}', status_code => 402);
	c := idempotency.claim('odd: \ '' " \t ' || chr(10), E'a\\b\nc', lease => '1 minute');
	PERFORM idempotency.complete('odd: \ '' " \t ' || chr(10), E'a\\b\nc', '"\\ \n \" \t"');
	c := idempotency.claim('expired', 'shop', ttl => '1 millisecond', lease => '1 millisecond');
	PERFORM idempotency.complete('expired', 'shop', '"gone"');
END
$$;
SQL
my $slots = $node->safe_psql('old', 'SELECT count(DISTINCT slot) FROM idempotency.keys');
cmp_ok($slots, '>=', 8, 'the keys of the old database are spread over the wheel');

my $rows = q{
SELECT k.scope, k.key, k.fingerprint, k.status, k.status_code, k.resource_id, k.response, k.attempt,
	k.recovery_point, k.state, k.lease_until, k.claimed_at, k.completed_at, k.expires_at, k.ttl
FROM idempotency.keys AS k ORDER BY k.scope, k.key};
my $looked_up = q{
SELECT count(*), count(l.key), count(*) FILTER (WHERE l = k)
FROM idempotency.keys AS k LEFT JOIN LATERAL idempotency.lookup(k.key, k.scope) AS l ON true
WHERE k.expires_at > clock_timestamp()};
# The answer to a retry of each request, without the remaining time.
my $answers = q{
SELECT key, c.outcome, c.status_code, c.resource_id, c.response, c.claimed_at, c.completed_at, c.expires_at
FROM (SELECT key, scope, fingerprint FROM idempotency.keys
	WHERE status IN ('completed', 'failed', 'in_progress') AND key <> 'expired' OFFSET 0) AS k,
	LATERAL idempotency.claim(key, scope, CASE WHEN fingerprint IS NOT NULL THEN '{"amount": 1}'::jsonb END, lease => '1 minute') AS c
ORDER BY scope, key};
# W1
my $outlive = q{
SELECT count(*) FROM idempotency.keys AS k
WHERE slot <> -1 AND expires_at > (SELECT max(until) FROM idempotency.wheel AS w WHERE w.slot = k.slot)};

my $old_rows = $node->safe_psql('old', $rows);
my $old_answers = $node->safe_psql('old', $answers);
unlike($old_answers, qr/\|(new|recovered|mismatch)\|/, 'every retry is replayed or in progress in the old database');

# The dump of a table that belongs to an extension has its rows only.
my $dumps = $node->basedir;
my %format = (
	plain => [],
	custom => ['-Fc'],
	directory => ['-Fd'],
	by_root => [ '-Fc', '--load-via-partition-root' ],
	rows_only => ['--data-only']);
$node->command_ok([ 'pg_dump', @{ $format{$_} }, '-f', "$dumps/$_", $node->connstr('old') ], "pg_dump, $_")
  for sort keys %format;
my $plain = slurp_file("$dumps/plain");
like($plain, qr/^CREATE EXTENSION IF NOT EXISTS idempotency WITH SCHEMA idempotency;$/m, 'the dump creates the extension');
unlike($plain, qr/^\s*(CREATE|ALTER) (TABLE|FUNCTION|TYPE|INDEX)\b|ATTACH PARTITION/m,
	'the dump creates no object of the extension');
like($plain, qr/^COPY idempotency\.$_ /m, "the dump has the rows of $_") for ('wheel', 'keys_long', map { "keys_$_" } 0 .. 7);

sub restore
{
	my ($format, $database, @options) = @_;
	$node->command_ok(
		$format eq 'plain' || $format eq 'rows_only'
		? [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($database), '-f', "$dumps/$format" ]
		: [ 'pg_restore', '--exit-on-error', '-d', $node->connstr($database), @options, "$dumps/$format" ],
		"restore, $format, into $database");
}

sub is_restored
{
	my ($database, $what) = @_;
	is($node->safe_psql($database, $rows), $old_rows, "every row is restored: $what");
	is($node->safe_psql($database, $looked_up), $node->safe_psql('old', $looked_up),
		"every restored key is found: $what");
	is($node->safe_psql($database, $outlive), '0', "no restored key outlives its slot: $what");
	is($node->safe_psql($database, $answers), $old_answers, "every retry is answered as before: $what");
	is($node->safe_psql($database, q{SELECT outcome FROM idempotency.claim('completed 1 day', 'shop', '{"amount": 2}', lease => '1 minute')}),
		'mismatch', "another request is recognized: $what");
	is($node->safe_psql($database, q{SELECT outcome, attempt FROM idempotency.claim('released', 'shop', lease => '1 minute')}),
		'new|2', "a released key keeps its attempt: $what");
	is($node->safe_psql($database, q{SELECT outcome FROM idempotency.claim('expired', 'shop', lease => '1 minute')}),
		'new', "an expired key is free: $what");
	is($node->safe_psql($database, q{SET ROLE app; SELECT outcome FROM idempotency.claim('completed 1 day', 'shop', '{"amount": 1}')}),
		'replay', "a role with the privilege may claim: $what");
	is($node->safe_psql($database, q{SELECT has_function_privilege('app', 'idempotency.forget(text, text)', 'EXECUTE') OR has_table_privilege('app', 'idempotency.keys', 'SELECT')}),
		'f', "and do nothing else: $what");
	$node->safe_psql($database, q{SELECT idempotency.complete('leased 1 day', 'shop', '"done"', attempt => 1)});
	is($node->safe_psql($database, q{SELECT outcome, response FROM idempotency.claim('leased 1 day', 'shop', '{"amount": 1}', lease => '1 minute')}),
		'replay|"done"', "the owner of a lease completes: $what");

	# New keys are stored among the restored ones.
	$node->safe_psql($database, q{
SELECT idempotency.claim('later ' || days, 'shop', ttl => make_interval(days => days), lease => '1 minute') FROM generate_series(1, 12) AS days;
SELECT idempotency.complete('later ' || days, 'shop', attempt => 1) FROM generate_series(1, 12) AS days;
});
	is($node->safe_psql($database, q{
SELECT string_agg(DISTINCT outcome, ', ') FROM generate_series(1, 12) AS days,
	LATERAL idempotency.claim('later ' || days, 'shop', lease => '1 minute') AS c}),
		'replay', "keys claimed after the restore are replayed: $what");
	is($node->safe_psql($database, $outlive), '0', "no later key outlives its slot: $what");
}

for my $format (grep { $_ ne 'rows_only' } sort keys %format)
{
	$node->safe_psql('postgres', "CREATE DATABASE new_$format");
	restore($format, "new_$format");
	is_restored("new_$format", "$format format");
}

# In parallel, by another superuser, and in either order: the wheel before the
# keys, or after them.
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(parallel by_another wheel_first wheel_last);
restore('directory', 'parallel', '-j', '4');
is_restored('parallel', 'in parallel');
$node->safe_psql('postgres', 'CREATE ROLE another SUPERUSER LOGIN');
restore('custom', 'by_another', '-U', 'another');
is_restored('by_another', 'by another superuser');
my ($contents) = run_command([ 'pg_restore', '-l', "$dumps/custom" ]);
my @data = grep { / TABLE DATA / } split /\n/, $contents;
my @wheel = grep { / TABLE DATA idempotency wheel / } @data;
my @keys = grep { !/ TABLE DATA idempotency wheel / } @data;
is(scalar @wheel, 1, 'the dump lists the wheel');
my %order = (wheel_first => [ @wheel, reverse @keys ], wheel_last => [ @keys, @wheel ]);
for my $database (sort keys %order)
{
	append_to_file("$dumps/$database", join("\n", @{ $order{$database} }, ''));
	restore('custom', $database, '--section=pre-data');
	restore('custom', $database, '-L', "$dumps/$database");
	is_restored($database, $database);
}

# Into a database in which the extension was created on another day, and has been
# in use since: its wheel has other upper bounds.
for my $days (-20, -7, -3, 3, 20)
{
	my $database = 'wheel_' . ($days < 0 ? 'behind_' : 'ahead_') . abs($days);
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, qq{
CREATE EXTENSION idempotency;
SELECT idempotency.grant_usage('app');
UPDATE idempotency.wheel SET until = until + $days * interval '24 hours';
});
	if ($days < 0)
	{
		restore('rows_only', $database);
	}
	else
	{
		restore('custom', $database, '--data-only');
	}
	is_restored($database, "wheel moved by $days days");
}

# Into a database in use, from one whose slots are all past.  Each had its keys in
# other slots: the keys of both are found afterwards, also by a session that was
# connected before.
for my $database ('worn', 'used')
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION idempotency');
}
for my $pair ([ 'worn', 'used' ], [ 'old', 'worn' ])
{
	my ($from, $into) = @$pair;
	$node->safe_psql('worn', q{UPDATE idempotency.wheel SET until = until - 20 * interval '24 hours'}) if $from eq 'worn';
	for my $database ('worn', 'used')
	{
		$node->safe_psql($database, qq{
SELECT idempotency.claim('$from $into $database ' || days, 'shop', ttl => make_interval(days => days), lease => '1 minute') FROM generate_series(1, 10) AS days;
SELECT idempotency.complete('$from $into $database ' || days, 'shop', attempt => 1) FROM generate_series(1, 10) AS days;
});
	}
	my $session = $node->background_psql($into);
	$session->query_safe(q{SELECT count(*) FROM idempotency.lookup('any')});

	$node->command_ok([ 'pg_dump', '--data-only', '-f', "$dumps/$from", $node->connstr($from) ], "pg_dump of database $from");
	$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($into), '-f', "$dumps/$from" ],
		"restore it into database $into");
	my $found = q{
SELECT count(*) FROM idempotency.keys AS k, LATERAL idempotency.lookup(k.key, k.scope) AS l
WHERE l = k AND k.expires_at > clock_timestamp()};
	my $stored = $node->safe_psql($into, 'SELECT count(*) FROM idempotency.keys WHERE expires_at > clock_timestamp()');
	is($node->safe_psql($into, $found), $stored, "the keys of both are found: $from into $into");
	is($session->query_safe($found), $stored, "an older session finds them: $from into $into");
	is($node->safe_psql($into, $outlive), '0', "no key outlives its slot: $from into $into");
	$session->quit;
}

# A dump of the restored database is complete, too.
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dumps/again", $node->connstr('new_custom') ], 'pg_dump of a restored database');
$node->safe_psql('postgres', 'CREATE DATABASE again');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('again'), "$dumps/again" ], 'restore it');
is($node->safe_psql('again', $rows), $node->safe_psql('new_custom', $rows), 'every row is restored again');
is($node->safe_psql('again', $looked_up), $node->safe_psql('new_custom', $looked_up), 'every key is found again');
is($node->safe_psql('again', $outlive), '0', 'no key outlives its slot after the second restore');

done_testing();
