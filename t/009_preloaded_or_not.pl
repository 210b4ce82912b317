# The extension works whether its library is loaded with the server, with the
# session, or only by the first call; its settings may be set before the
# library is loaded.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->start;

sub works
{
	my ($how, $key) = @_;
	# One session, from the first call of the library to a replay.
	is( $node->safe_psql('postgres', qq{
SET idempotency.default_ttl = '2 days';
BEGIN;
SELECT outcome, expires_at - claimed_at FROM idempotency.claim('$key', 'shop', '{"amount": 1}', lease => '1 minute');
SELECT idempotency.complete('$key', 'shop', '{"id": 1}', '1', 201) \\g /dev/null
COMMIT;
SELECT outcome, status_code, response FROM idempotency.claim('$key', 'shop', '{"amount": 1}', lease => '1 minute');
}),
		qq{new|2 days\nreplay|201|{"id": 1}}, "claim, complete and replay: $how");
	is($node->safe_psql('postgres', qq{SELECT status FROM idempotency.lookup('$key', 'shop')}),
		'completed', "a session finds what another one stored: $how");
}

my ($status, $stdout, $stderr) = $node->psql('postgres', 'CREATE EXTENSION idempotency');
like($stderr, qr/NOTICE:  library "idempotency" is not loaded with the server/, 'CREATE EXTENSION says what is missing');
is($node->safe_psql('postgres', 'SHOW shared_preload_libraries'), '', 'the library is not preloaded');
works('not preloaded', 'a');

# Before the library is loaded, a wrong setting can't be recognized; when it is
# loaded, a warning says so, and the default applies.
is( $node->safe_psql('postgres', qq{
SET idempotency.default_ttl = 'soon';
SELECT expires_at - claimed_at FROM idempotency.claim('wrong setting', lease => '1 minute');
}),
	'1 day', 'a wrong setting that was made before the library is loaded is replaced by the default');

# The library does not accept an earlier setting from a role that may not set it.
$node->safe_psql('postgres', q{CREATE ROLE app; SELECT idempotency.grant_usage('app')});
is( $node->safe_psql('postgres', qq{
SET ROLE app;
SET idempotency.default_ttl = '1 us';
SELECT expires_at - claimed_at FROM idempotency.claim('not allowed', lease => '1 minute');
}),
	'1 day', 'so is a setting that the role may not set');

for my $preload ('session_preload_libraries', 'shared_preload_libraries')
{
	$node->append_conf('postgresql.conf', "$preload = 'idempotency'");
	$node->restart;
	is($node->safe_psql('postgres', "SHOW $preload"), 'idempotency', "the library is in $preload");
	is($node->safe_psql('postgres', 'SHOW idempotency.default_ttl'), '1 day', "its settings are known at once: $preload");
	works($preload, $preload);
	is($node->safe_psql('postgres', q{SELECT outcome FROM idempotency.claim('a', 'shop', '{"amount": 1}', lease => '1 minute')}),
		'replay', "keys stored without preloading are replayed: $preload");

	($status, $stdout, $stderr) =
	  $node->psql('postgres', "\\set VERBOSITY sqlstate\nSET idempotency.default_ttl = 'soon';");
	is($stderr, 'psql:<stdin>:2: ERROR:  22023', "a wrong setting is refused: $preload");

	# Preloaded in a database that does not have the extension.
	is($node->safe_psql('template1', 'SELECT 1'), '1', "a database without the extension can be used: $preload");
	(undef, undef, $stderr) = $node->psql('postgres', 'DROP EXTENSION idempotency; CREATE EXTENSION idempotency');
	is($stderr =~ /not loaded with the server/ ? 1 : 0, $preload eq 'session_preload_libraries' ? 1 : 0, "CREATE EXTENSION says whether it is loaded with the server: $preload");
	works("$preload, extension created again", 'again');
	is($node->safe_psql('postgres', q{SELECT outcome FROM idempotency.claim('a', 'shop', '{"amount": 1}', lease => '1 minute')}),
		'new', "dropping the extension drops its keys: $preload");
	$node->safe_psql('postgres', q{SELECT idempotency.complete('a', 'shop', attempt => 1)});
	$node->adjust_conf('postgresql.conf', $preload, undef);
}

$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal/, 'no server process has crashed');

done_testing();
