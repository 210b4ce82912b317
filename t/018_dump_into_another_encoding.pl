# Keys of a database of one encoding are found, and their retries recognized, in
# a database of another encoding: hashes are computed when rows arrive, and
# fingerprints are computed from UTF-8.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 'logical', extra => [ '--locale=C', '--encoding=UTF8' ]);
$node->start;

# ASCII, characters that every encoding here has, and objects whose keys have
# another order in UTF-8, where an e with an acute accent is longer than "z".
my @requests = (
	q('{"amount": 1}'),
	q('"' || E'\u00e9t\u00e9' || '"'),
	q(jsonb_build_object(E'\u00e9', 1, 'z', 2, 'ab', 3, E'\u00e9z', 4)),
	q(jsonb_build_object('a', jsonb_build_array(jsonb_build_object(E'\u00fc', E'\u00e9', 'y', 1, 'aa', jsonb_build_object(E'\u00e9', 1, 'ab', 2, 'b', 3)), 5), E'\u00e9', '{}', 'b', '[]')),
	q(to_jsonb(ARRAY[E'\u00e9', 'e', E'\u00fc'])),
	q(jsonb_build_object(E'\u00e9', 1)));
my $key = q{E'cl\u00e9-' || n};
my $scope = q{E'caf\u00e9/\u00fc'};
my $request = 'CASE n ' . join(' ', map { "WHEN $_ THEN ($requests[$_])::jsonb" } 0 .. $#requests) . ' END';
my $all = "generate_series(0, $#requests) AS n";

sub create
{
	my ($database, $encoding) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
}

my $dumps = $node->basedir;
sub carry
{
	my ($from, $to) = @_;
	$node->command_ok([ 'pg_dump', '-f', "$dumps/$from", $node->connstr($from) ], "pg_dump of $from");
	$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($to), '-f', "$dumps/$from" ],
		"restore of $from into $to");
}

# Check a database that holds the keys of another.
sub holds_keys
{
	my ($database, $what) = @_;
	is($node->safe_psql($database, "SELECT count(*) FROM idempotency.keys WHERE hash = idempotency.key_hash(key, scope)"),
		scalar @requests, "every hash is that of its key: $what");
	is($node->safe_psql($database, "SELECT string_agg(outcome || response, ' ' ORDER BY n) FROM $all, idempotency.claim($key, $scope, $request)"),
		join(' ', map { "replay$_" } 0 .. $#requests), "every retry is replayed: $what");
	is($node->safe_psql($database, "SELECT DISTINCT outcome FROM $all, idempotency.claim($key, $scope, CASE n WHEN 0 THEN '1' ELSE '{\"amount\": 1}' END::jsonb)"),
		'mismatch', "another request is recognized: $what");
}

my %encoding = (latin1 => 'LATIN1', windows => 'WIN1252', japanese => 'EUC_JP', bytes => 'SQL_ASCII', utf8 => 'UTF8');
for my $database (sort keys %encoding)
{
	create($database, $encoding{$database});
	$node->safe_psql($database, 'CREATE EXTENSION idempotency');
	if ($encoding{$database} eq 'SQL_ASCII')
	{
		# It accepts no escapes, only the bytes.
		(my $raw = "SELECT idempotency.claim($key, $scope, $request) FROM $all; SELECT idempotency.complete($key, $scope, to_jsonb(n)) FROM $all;") =~
		  s/E'([^']*)'/my $s = $1; $s =~ s{\\u00(..)}{my $c = chr hex $1; utf8::encode($c); $c}ge; "'$s'"/ge;
		$node->safe_psql($database, "BEGIN; $raw COMMIT;");
	}
	else
	{
		$node->safe_psql($database, "BEGIN; SELECT idempotency.claim($key, $scope, $request) FROM $all; SELECT idempotency.complete($key, $scope, to_jsonb(n)) FROM $all; COMMIT;");
		holds_keys($database, $database);
	}
}
my $hashes = $node->safe_psql('utf8', 'SELECT hash, fingerprint FROM idempotency.keys ORDER BY hash');
for my $database (grep { $_ ne 'utf8' } sort keys %encoding)
{
	is($node->safe_psql($database, 'SELECT hash, fingerprint FROM idempotency.keys ORDER BY hash'),
		$hashes, "hashes and fingerprints are those of UTF-8: $database");
	is($node->safe_psql($database, q{SELECT idempotency.derive(convert_from('\\x636cc3a9', 'UTF8'), 'pay')}),
		$node->safe_psql('utf8', q{SELECT idempotency.derive(convert_from('\\x636cc3a9', 'UTF8'), 'pay')}),
		"derived keys are those of UTF-8: $database") if $database ne 'bytes';
	create("from_$database", 'UTF8');
	carry($database, "from_$database");
	holds_keys("from_$database", "$database into UTF8");
	next if $database eq 'bytes';
	create("into_$database", $encoding{$database});
	carry('utf8', "into_$database");
	holds_keys("into_$database", "UTF8 into $database");
}

# A subscriber finds the changed row by its hash.
create('subscriber', 'UTF8');
$node->safe_psql('latin1', "CREATE PUBLICATION idempotency FOR TABLE idempotency.keys, idempotency.wheel, idempotency.policy;");
$node->safe_psql('latin1', "SELECT pg_create_logical_replication_slot('encodings', 'pgoutput')");
$node->safe_psql('latin1', "SELECT idempotency.claim($key, 'changed', lease => '1 hour') FROM generate_series(7, 7) AS n");
my $connection = $node->connstr('latin1') =~ s/'//gr;
$node->safe_psql('subscriber', "CREATE EXTENSION idempotency; SELECT idempotency.empty_wheel()");
$node->safe_psql('subscriber', "CREATE SUBSCRIPTION encodings CONNECTION '$connection' PUBLICATION idempotency WITH (create_slot = false)");
$node->wait_for_subscription_sync($node, 'encodings', 'subscriber');
$node->safe_psql('latin1', "SELECT idempotency.complete($key, 'changed', '{}', attempt => 1) FROM generate_series(7, 7) AS n");
$node->wait_for_catchup('encodings');
is($node->safe_psql('subscriber', "SELECT status FROM generate_series(7, 7) AS n, idempotency.lookup($key, 'changed')"),
	'completed', 'a subscriber of another encoding has the change');
$node->safe_psql('subscriber', 'DROP SUBSCRIPTION encodings');

done_testing();
