# Settings of the server, a database or a role can't stop the worker.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'idempotency'
idempotency.sweep_interval = '20 ms'
default_transaction_read_only = on
default_transaction_isolation = 'serializable'
statement_timeout = '1 ms'
idle_in_transaction_session_timeout = '1 ms'
search_path = 'trap'
});
$node->start;

# The test's own sessions must not be affected.
$ENV{PGOPTIONS} = '-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c lock_timeout=0'
  . ' -c default_transaction_read_only=off -c default_transaction_isolation=read\\ committed -c role=none'
  . ' -c session_replication_role=origin';

sub run
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

run('CREATE EXTENSION idempotency');
run(q{ALTER DATABASE postgres SET search_path = 'trap'});
run(q{ALTER DATABASE postgres SET statement_timeout = '1 ms'});
run(q{ALTER DATABASE postgres SET lock_timeout = '1 ms'});
run(q{ALTER DATABASE postgres SET default_transaction_read_only = on});
run(q{ALTER DATABASE postgres SET default_transaction_isolation = 'repeatable read'});
run(q{ALTER DATABASE postgres SET synchronous_commit = 'remote_apply'});
run(q{ALTER DATABASE postgres SET session_replication_role = 'replica'});
run(q{CREATE ROLE powerless; ALTER DATABASE postgres SET role = 'powerless'});
run(q{DO $$ BEGIN EXECUTE format('ALTER ROLE %I SET default_transaction_read_only = on', session_user); END $$});

# Traps on the search path: the extension must not look up anything there.
run(q{CREATE SCHEMA trap;
	CREATE TABLE trap.wheel (slot int); CREATE TABLE trap.keys_long (a int);
	CREATE FUNCTION trap.sweep(bigint) RETURNS int LANGUAGE sql AS 'SELECT 1/0'});

# A trigger that writes: the worker's transactions must be read-write, whatever the
# default is, and it must act as the owner of the tables.  The trigger is made a
# member of the extension, since any other trigger would stop the sweep.
run(q{CREATE TABLE public.seen (who name);
	CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
		$$BEGIN INSERT INTO public.seen VALUES (current_user); RETURN NULL; END$$;
	ALTER EXTENSION idempotency ADD FUNCTION public.note();
	CREATE TRIGGER note AFTER TRUNCATE ON idempotency.keys_0 FOR EACH STATEMENT EXECUTE FUNCTION public.note();
	ALTER TABLE idempotency.keys_0 ENABLE ALWAYS TRIGGER note});

run(q{
	SELECT idempotency.claim('a', 'slot', ttl => '0.01 s', lease => '0.01 s');
	SELECT idempotency.claim('b', 'long', ttl => '1 year', lease => '0.01 s');
	SELECT idempotency.complete('b', 'long', attempt => 1, ttl => '0.01 s');
	SELECT pg_sleep(0.02);
	UPDATE idempotency.wheel SET until = clock_timestamp() WHERE slot = (SELECT slot FROM idempotency.keys WHERE key = 'a');});

ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM idempotency.keys'), 'the keys are swept all the same');
is(run(q{SELECT string_agg((who = relowner::regrole::name)::text, ' ') FROM public.seen, pg_class WHERE oid = 'idempotency.keys'::regclass}),
	'true', 'as the owner of the tables, in a read-write transaction');
$node->stop('fast');
done_testing();
