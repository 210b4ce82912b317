# pg_upgrade carries keys, policies and wheel: the new server replays what the
# old one had completed, protects what it had leased, continues its attempts
# and turns its wheel. It carries a database with the portable edition, too.
#
# Needs a second, older major: OLD_PG_CONFIG names its pg_config, and both
# servers have the extension installed. test/upgrade.sh provides that.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use Test::More;

plan skip_all => 'OLD_PG_CONFIG does not name the pg_config of an older major'
  unless $ENV{OLD_PG_CONFIG};

# Each of the two finds the extension where it was installed.
delete $ENV{TEMP_CONFIG};

sub one
{
	my ($node, $sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql);
}

chomp(my $old_bin = qx($ENV{OLD_PG_CONFIG} --bindir));
chomp(my $new_bin = qx($ENV{PG_CONFIG} --bindir));
my $old = PostgreSQL::Test::Cluster->new('old', install_path => abs_path(dirname($old_bin)));
my $new = PostgreSQL::Test::Cluster->new('new');

# A worker that never pauses: it would turn the wheel during the upgrade if it
# could.
for my $node ($old, $new)
{
	$node->init(extra => [ '--data-checksums', '--locale=C', '--encoding=UTF8' ]);
	$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'idempotency'
idempotency.wheel_tick = '7 hours 13 minutes'
idempotency.sweep_interval = '1 ms'
});
}

# During the upgrade the worker is on; here the test sweeps.
sub start
{
	my ($node) = @_;
	$node->append_conf('postgresql.conf', 'idempotency.worker = off');
	$node->start;
}
start($old);

# Two databases: one whose wheel has turned several times, with the odd tick, and
# a new one.
my @databases = ('postgres', 'other');
one($old, 'CREATE DATABASE other');
one($old, 'CREATE ROLE app');
one($old, 'CREATE EXTENSION idempotency; SELECT idempotency.grant_usage(\'app\')', $_) for @databases;
one($old, q{
UPDATE idempotency.wheel SET until = clock_timestamp() - interval '5 days 3 hours' + slot * interval '7 hours 13 minutes';
DO 'BEGIN PERFORM idempotency.sweep(); END';
});

# Keys of every kind: in keys_long and, each a tick after the other, in seven of
# the slots.
for my $database (@databases)
{
	one($old, <<'SQL', $database);
DO $$
DECLARE
	ttl interval;
	tick constant interval := '7 hours 13 minutes';
	c idempotency.claim_result;
BEGIN
	FOREACH ttl IN ARRAY ARRAY[tick, 2 * tick, 3 * tick, '1 day', 4 * tick, 5 * tick, 6 * tick, 7 * tick, '10 days', '1 year'] LOOP
		c := idempotency.claim('completed ' || ttl, 'shop', '{"amount": 1}', ttl => ttl);
		PERFORM idempotency.complete('completed ' || ttl, 'shop', jsonb_build_object('ttl', ttl), 'id ' || ttl, 201);
		c := idempotency.claim('leased ' || ttl, 'shop', '{"amount": 1}', ttl => ttl, lease => '1 hour');
		PERFORM idempotency.checkpoint('leased ' || ttl, 'shop', 'charged', '{"charge": "ch_1"}', lease => '1 hour');
	END LOOP;
	c := idempotency.claim('failed', 'shop');
	PERFORM idempotency.fail('failed', 'shop', '{"title": "No funds"}', status_code => 402);
	c := idempotency.claim('long', 'shop');
	PERFORM idempotency.complete('long', 'shop', (SELECT jsonb_agg(md5(n::text)) FROM generate_series(1, 5000) AS n));
	c := idempotency.claim('erased', 'shop', '{"amount": 1}');
	PERFORM idempotency.complete('erased', 'shop', '"secret"');
	PERFORM idempotency.erase('erased', 'shop');
	c := idempotency.claim('released', 'shop');
	PERFORM idempotency.release('released', 'shop');
	c := idempotency.claim('run out', 'shop', lease => '1 hour');
	PERFORM idempotency.checkpoint('run out', 'shop', 'charged', '{"charge": "ch_2"}', lease => '1 millisecond');
	PERFORM idempotency.issue('cart', '42');
	c := idempotency.claim('expired', 'shop', ttl => '1 millisecond', lease => '1 millisecond');
	PERFORM idempotency.complete('expired', 'shop', '"gone"');
	c := idempotency.claim('expired long', 'shop', ttl => '1 year', lease => '1 millisecond');
	PERFORM idempotency.complete('expired long', 'shop', '"gone"', ttl => '1 millisecond');
END
$$;
SELECT idempotency.set_policy('', ttl => '36 hours');
SELECT idempotency.set_policy('shop', lease => '40 minutes', wait => '0', min_key_length => 3, cache_errors => '{23514,22}');
SELECT idempotency.set_policy('strict/tenant', require_request => true, require_issued => true, max_response_bytes => 100);
SQL
}

# The slot without live keys is past, and due while the servers are upgraded.
my $past = one($old, q{
SELECT pg_sleep(0.02) \g /dev/null
SELECT DISTINCT slot FROM idempotency.wheel EXCEPT SELECT slot FROM idempotency.keys WHERE expires_at > clock_timestamp()});
like($past, qr/^\d$/, 'the old server has live keys in all slots but one');
one($old, qq{
INSERT INTO idempotency.keys (scope, key, status, attempt, expires_at, slot, hash)
SELECT 'past', n::text, 'released', 1, now(), $past, idempotency.key_hash(n::text, 'past') FROM generate_series(1, 1000) AS n;
UPDATE idempotency.wheel SET until = now() WHERE slot = $past;
});

is(one($old, 'SELECT count(DISTINCT slot) FROM idempotency.keys'), '9', 'the old server has keys in all of the wheel and beyond');

one($old, 'CREATE DATABASE portable');
one($old, slurp_file('portable/idempotency.sql') . <<'SQL', 'portable');
BEGIN;
SELECT idempotency.claim('completed', 'shop', '{"amount": 1}');
SELECT idempotency.complete('completed', 'shop', '"done"');
COMMIT;
SELECT idempotency.claim('leased', 'shop', lease => '1 hour');
SQL

my %tables = (
	'row of keys' => q{SELECT md5(string_agg(k::text, E'\n' ORDER BY scope, key, slot)), count(*) FROM idempotency.keys AS k},
	'policy' => 'SELECT * FROM idempotency.policy ORDER BY scope',
	'until of the wheel' => 'SELECT slot, until FROM idempotency.wheel ORDER BY slot, until');
# The answer to a retry, without the remaining time.
my $answers = q{
SELECT key, c.outcome, c.status_code, c.resource_id, md5(c.response::text), c.claimed_at, c.completed_at, c.expires_at
FROM (SELECT key, scope, fingerprint FROM idempotency.keys
	WHERE scope = 'shop' AND status IN ('completed', 'failed', 'in_progress', 'erased') AND key !~ 'expired|run out' OFFSET 0) AS k,
	LATERAL idempotency.claim(key, scope, CASE WHEN fingerprint IS NOT NULL THEN '{"amount": 1}'::jsonb END) AS c
ORDER BY scope, key};
# W1
my $outlive = q{
SELECT count(*) FROM idempotency.keys AS k
WHERE slot <> -1 AND expires_at > (SELECT max(until) FROM idempotency.wheel AS w WHERE w.slot = k.slot)};
my $issued = q{SELECT idempotency.issue('cart', '42')};

my %before;
for my $database (@databases)
{
	$before{$database}{$_} = one($old, $_, $database) for (values %tables, $answers, $issued);
	unlike($before{$database}{$answers}, qr/\|(new|recovered|mismatch)\|/, "every retry is replayed or in progress in the old database $database");
}

$_->append_conf('postgresql.conf', 'idempotency.worker = on') for ($old, $new);
$old->stop;
chdir PostgreSQL::Test::Utils::tempdir();
command_ok(
	[ 'pg_upgrade', '--no-sync', '-b', $old_bin, '-B', $new_bin, '-d', $old->data_dir, '-D', $new->data_dir,
		'-s', $new->host, '-p', $old->port, '-P', $new->port ],
	'pg_upgrade, from ' . $old->pg_version . ' to ' . $new->pg_version);
start($new);

for my $database (@databases)
{
	my $in = "in database $database";
	is(one($new, $tables{$_}, $database), $before{$database}{ $tables{$_} }, "every $_ is there, and no other, $in") for sort keys %tables;
	is(one($new, $outlive, $database), '0', "no key outlives its slot $in");
	is(one($new, $answers, $database), $before{$database}{$answers}, "every retry is answered as before $in");
	is(one($new, $issued, $database), $before{$database}{$issued}, "a key that was handed out is handed out again $in");

	is(one($new, q{SELECT outcome FROM idempotency.claim('completed 1 day', 'shop', '{"amount": 2}')}, $database),
		'mismatch', "another request is recognized $in");
	is(one($new, q{SELECT outcome, attempt FROM idempotency.claim('released', 'shop')}, $database),
		'new|2', "the attempts of a released key go on $in");
	is(one($new, q{SELECT outcome, attempt, recovery_point, state FROM idempotency.claim('run out', 'shop')}, $database),
		'recovered|2|charged|{"charge": "ch_2"}', "an expired lease is taken over $in");
	my ($status, $stdout, $stderr) = $new->psql($database,
		qq{\\set VERBOSITY sqlstate\nSELECT idempotency.complete('run out', 'shop', attempt => 1);});
	like($stderr, qr/ERROR:  IK423$/, "its old owner is refused $in");
	one($new, q{SELECT idempotency.complete('leased 1 day', 'shop', '"done"', attempt => 1)}, $database);
	is(one($new, q{SELECT outcome, response FROM idempotency.claim('leased 1 day', 'shop', '{"amount": 1}')}, $database),
		'replay|"done"', "the owner of a lease completes $in");
	is(one($new, q{SELECT outcome, attempt FROM idempotency.claim('expired', 'shop')}, $database),
		'new|1', "an expired key is free $in");

	($status, $stdout, $stderr) = $new->psql($database,
		qq{\\set VERBOSITY sqlstate\nSELECT idempotency.claim('k1', 'strict/tenant');\nSELECT idempotency.claim('k1', 'strict/tenant/a', '1');\nSELECT idempotency.claim('k', 'shop');}, on_error_stop => 0);
	is(join(' ', $stderr =~ /ERROR:  (\w+)/g), 'IK400 IK404 IK400', "policies hold, for the scopes below them, too, $in");
	one($new, q{SELECT idempotency.claim('terms', 'shop/a')}, $database);
	is(one($new, q{SELECT lease_until - claimed_at, expires_at - claimed_at FROM idempotency.lookup('terms', 'shop/a')}, $database),
		'00:40:00|1 day 12:00:00', "and give lease and ttl $in");
	is(one($new, q{SET ROLE app; SELECT outcome FROM idempotency.claim('by app', 'shop')}, $database),
		'new', "an application may claim $in");
	($status, $stdout, $stderr) = $new->psql($database, 'SET ROLE app; SELECT FROM idempotency.keys');
	like($stderr, qr/permission denied/, "and may not read the keys $in");
}

is(one($new, q{
SELECT outcome, response FROM idempotency.claim('completed', 'shop', '{"amount": 1.0}');
SELECT outcome FROM idempotency.claim('leased', 'shop');
SELECT idempotency.complete('leased', 'shop', attempt => 1)}, 'portable'),
	"replay|\"done\"\nin_progress\n", 'the portable edition answers as before');
my ($status, $stdout, $stderr) = $new->psql('portable', q{SELECT idempotency.claim('unfinished', 'shop')});
like($stderr, qr/claim of idempotency key "unfinished" is unfinished/, 'and commits no unfinished claim');

# The wheel continues: the slot that was past is emptied, and turned.
is( one($new, qq{
SELECT slots_cleared, rows_deleted FROM idempotency.sweep();
SELECT until > clock_timestamp() FROM idempotency.wheel WHERE slot = $past;
SELECT string_agg(key, ', ') FROM idempotency.keys WHERE expires_at <= clock_timestamp() AND (scope = 'past' OR slot = -1);
}), "1|1\nt\n", 'sweep() empties the slot that is past, and turns it');
one($new, q{
SELECT idempotency.claim('later ' || n, 'shop', ttl => n * interval '5 hours') FROM generate_series(1, 15) AS n;
SELECT idempotency.complete('later ' || n, 'shop', attempt => 1) FROM generate_series(1, 15) AS n;
});
is(one($new, q{SELECT DISTINCT outcome FROM generate_series(1, 15) AS n, LATERAL idempotency.claim('later ' || n, 'shop')}),
	'replay', 'keys claimed after that are replayed');
is(one($new, $outlive), '0', 'no key outlives its slot after the turn');

$new->append_conf('postgresql.conf', 'idempotency.worker = on');
$new->reload;
ok($new->poll_query_until('other', q{SELECT count(*) = 0 FROM idempotency.keys WHERE key = 'expired long'}),
	'the worker sweeps the upgraded databases');
$new->stop;
done_testing();
