# The portable edition is installed as a migration is run, whatever the role and
# the database have set before, and runs nothing of another role. Sessions that wait
# for an owner that has waited itself are answered together, and a claim does not wait
# for the issue of its key.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $file = slurp_file('portable/idempotency.sql');
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--locale=C', '--encoding=UTF8' ]);
$node->append_conf('postgresql.conf', 'max_connections = 30');
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN; CREATE ROLE app LOGIN; CREATE ROLE other LOGIN');

# As one string of many statements, as drivers send it.
sub install
{
	my ($database, $before, $after) = @_;

	return $node->psql($database, "$before\n$file\n$after", extra_params => [ '-U', 'app_owner' ], on_error_stop => 1);
}

# The role's default privileges give away everything that it creates, and another
# role has functions and operators that fit better than those of pg_catalog.
$node->safe_psql('postgres', 'CREATE DATABASE given OWNER app_owner');
$node->safe_psql('given', 'GRANT CREATE, USAGE ON SCHEMA public TO other');
$node->safe_psql('given', q{
	CREATE TABLE trap (what text);
	GRANT INSERT ON trap TO PUBLIC;
	CREATE FUNCTION pg_relation_size(text) RETURNS bigint LANGUAGE plpgsql AS $$
	BEGIN INSERT INTO public.trap VALUES (current_user || ' pg_relation_size'); RETURN 0; END $$;
	CREATE FUNCTION same(oid, regprocedure) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN INSERT INTO public.trap VALUES (current_user || ' ='); RETURN $1 OPERATOR(pg_catalog.=) $2::oid; END $$;
	CREATE OPERATOR = (LEFTARG = oid, RIGHTARG = regprocedure, FUNCTION = same);
}, extra_params => [ '-U', 'other' ]);
my ($status, $out, $err) = install('given', q{
	ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO PUBLIC;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO app;
	ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO app;
	SET standard_conforming_strings = off;
}, q{
	CREATE TABLE after (path text);
	INSERT INTO after VALUES (current_setting('search_path'));
});
is($status, 0, 'the owner of a database installs the portable edition') or diag($err);
unlike($err, qr/WARNING/, 'without a warning');
is($node->safe_psql('given', 'SELECT path FROM after'), '"$user", public', 'the migration goes on with its own search_path');
is($node->safe_psql('given', q{
	SELECT 'idempotency' FROM pg_namespace, aclexplode(nspacl) AS a WHERE nspname = 'idempotency' AND grantee <> nspowner
	UNION ALL SELECT relname FROM pg_class, aclexplode(relacl) WHERE relnamespace = 'idempotency'::regnamespace AND grantee <> relowner
	UNION ALL SELECT proname FROM pg_proc, aclexplode(proacl) WHERE pronamespace = 'idempotency'::regnamespace AND grantee <> proowner}),
	'', 'no role but the owner has a privilege, whatever the default privileges are');
$node->safe_psql('given', q{
	CREATE FUNCTION pay(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
	SELECT idempotency.grant_usage('app');
	SELECT idempotency.once('k');
	SELECT idempotency.execute('k', 's', 'pay', '{"id": 1}');
	SELECT idempotency.execute('l', 's', 'pay(jsonb)', '{"id": 1}', cache_errors => '{23}')});
is($node->safe_psql('given', 'SELECT what FROM trap'), '', 'no function and no operator of another role runs');

# Keys for other services are those that the extension would derive.
$node->safe_psql('postgres', q{CREATE DATABASE latin1 OWNER app_owner TEMPLATE template0 ENCODING 'LATIN1'});
is((install('latin1', '', ''))[0], 0, 'and in a database of another encoding');
is($node->safe_psql('latin1', q{SELECT idempotency.derive(U&'\00e9', U&'\00fc')}), 'b7cbef72-3d0d-8b8d-9da8-a39705f08cd9',
	'where it derives the same keys');

# Sessions that wait for an owner in transactions of their own. When it rolls back,
# one of them becomes the owner; the others have its result at its commit, and keep
# none from the key until they end.
my $claim = q{SELECT outcome FROM idempotency.claim('k', 'waiters', wait => '1 min');};
my $owner = $node->background_psql('given');
$owner->query_safe("BEGIN; $claim");
my @waiters = map { $node->background_psql('given') } 1 .. 4;
my @pids = map { $_->query_safe('BEGIN; SELECT pg_backend_pid()') } @waiters;
my $working = sub { my $state = shift; return "SELECT count(*) FROM pg_stat_activity WHERE pid IN (" . join(', ', @pids) . ") AND $state" };
$_->query_until(qr/asked/, "\\echo asked\n$claim\n") for @waiters;
$node->poll_query_until('given', $working->(q{wait_event_type = 'Lock'}), '4') or die 'nobody waits';
$owner->query_safe('ROLLBACK');
$node->poll_query_until('given', $working->(q{state = 'idle in transaction'}), '1') or die 'nobody becomes the owner';
my $new = $node->safe_psql('given', $working->(q{state = 'idle in transaction'}) =~ s/count\(\*\)/pid/r);
my ($next) = grep { $pids[$_] == $new } 0 .. $#pids;
$waiters[$next]->query_safe(q{SELECT idempotency.complete('k', 'waiters'); COMMIT});
$node->poll_query_until('given', $working->(q{state = 'idle in transaction'}), '3') or die 'nobody is answered';
is(join(' ', map { $waiters[$_]->query_safe('COMMIT') } grep { $_ != $next } 0 .. $#waiters), 'replay replay replay',
	'waiters of an owner that was a waiter itself are answered together');
$_->quit for @waiters;

# A key that was handed to the client before the transaction that issued it has ended.
my $issued = $owner->query_safe(q{BEGIN; SELECT idempotency.issue('shop', 'cart')});
is($node->safe_psql('given', qq{SELECT outcome FROM idempotency.claim('$issued', 'shop', wait => '0')}, timeout => 30), 'in_progress',
	'a claim of a key whose issue has not committed waits no longer than it may');
$owner->quit;

$node->stop;
done_testing();
