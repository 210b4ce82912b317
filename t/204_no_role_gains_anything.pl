# A role has no privilege that it was not granted: neither a role that may read
# all data, nor one that owns the schema or may create objects in it, nor one
# that may create triggers on the tables. The sweeper, which runs as a
# superuser, executes no code of other roles; and tables that only look like
# the extension's are ignored.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'idempotency'
idempotency.sweep_interval = '30 ms'
idempotency.sweep_databases = 'postgres'
});
$node->start;

sub owner { return $node->safe_psql('postgres', $_[0]) }

# The answer to a role that has logged in; errors as SQLSTATEs.
sub as
{
	my ($role, $sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$sql",
		connstr => $node->connstr('postgres') . " user=$role", on_error_stop => 0);
	return join ' ', grep { length } $out, $err =~ /(?:ERROR|FATAL|PANIC): +(\S+)/g;
}

# Rounds of the worker that begin later than this call.
sub sweeps
{
	my $before = owner(q{SELECT coalesce(sum(sweeps), 0) FROM idempotency.stats});
	ok($node->poll_query_until('postgres', "SELECT sum(sweeps) >= $before + 2 FROM idempotency.stats"), $_[0]);
}

sub no_superuser
{
	is(owner(q{SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolsuper AND rolname IN ('app', 'reader', 'mover', 'trusted')}),
		'', "nobody is superuser: $_[0]");
}

owner(q{
CREATE ROLE app LOGIN;
CREATE ROLE reader LOGIN;
CREATE ROLE mover LOGIN;
CREATE ROLE trusted LOGIN;
GRANT pg_read_all_data, pg_write_all_data TO reader;
GRANT CREATE ON DATABASE postgres TO mover;
CREATE TABLE attacked (who name, where_ text);
GRANT ALL ON attacked TO PUBLIC;
-- The code that each attack tries to have run.
CREATE FUNCTION attack() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.attacked VALUES (current_user, TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME);
	EXECUTE 'ALTER ROLE mover SUPERUSER';
	RETURN coalesce(new, old);
END $$;
GRANT EXECUTE ON FUNCTION attack() TO PUBLIC;

-- Default privileges give nothing either.
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO mover, app;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO mover;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO mover;
CREATE EXTENSION idempotency;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM mover, app;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM mover;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM mover;
SELECT idempotency.grant_usage('app')});

# Roles that may read all data, or use the schema by default privileges.
for my $role ('reader', 'mover')
{
	is(as($role, qq{$_;}), '42501', "$role may not: $_") for
		q{SELECT outcome FROM idempotency.claim('k', 'bank')},
		q{SELECT idempotency.complete('k', 'bank', '{"forged": true}', attempt => 2)},
		q{SELECT idempotency.lookup('k', 'bank')},
		q{SELECT idempotency.execute('k', 'bank', 'pg_catalog.to_jsonb')},
		q{SELECT idempotency.set_policy('', ttl => '1 us')},
		q{SELECT idempotency.sweep()},
		q{SELECT * FROM idempotency.in_flight},
		q{SELECT idempotency.grant_usage('reader')};
}
is(as('reader', q{SELECT count(*) FROM idempotency.keys}), '0', 'pg_read_all_data reads the tables, as any');
is(as($_, 'CREATE TABLE idempotency.planted ()'), '42501', "$_ may not create objects in the schema") for 'app', 'reader', 'mover';
is(as('app', $_), '42501', "app may not: $_") for
	q{SELECT idempotency.forget('k', 'bank')},
	q{SELECT idempotency.distribute('attacked')},
	q{TABLE idempotency.policy},
	q{CREATE TRIGGER t AFTER TRUNCATE ON idempotency.keys_0 EXECUTE FUNCTION attack()};

# Settings that decide guarantees, by every way to set them in a session.
is(as('app', "SET idempotency.$_ = '1'; RESET ALL;"), '42501', "app may not set $_") for
	qw(default_ttl default_lease min_key_length max_key_length max_response_size sqlstate_prefix store wheel_tick sweep_batch);
is(as('app', q{ALTER ROLE app SET idempotency.default_ttl = '1 us'}), '42501', 'nor for itself');
isnt($node->psql('postgres', 'SELECT 1', connstr => $node->connstr('postgres') . q{ user=app options='-c idempotency.default_ttl=1us'}),
	0, 'nor when it connects');
is(as('app', q{SET idempotency.default_wait = '1 s'; SHOW idempotency.default_wait}), '1 s', 'but default_wait');

# A role that may create triggers on the tables, which GRANT ALL includes.
owner('GRANT ALL ON ALL TABLES IN SCHEMA idempotency TO trusted');
for my $on ('TRUNCATE ON idempotency.keys_0', 'INSERT ON idempotency.keys', 'INSERT OR UPDATE ON idempotency.wheel', 'DELETE ON idempotency.policy')
{
	is(as('trusted', "SET search_path = public; CREATE TRIGGER aa AFTER $on EXECUTE FUNCTION attack()"), '42501', "$on: the schema can't be used")
	  if $on =~ /TRUNCATE/ && owner('GRANT USAGE ON SCHEMA idempotency TO trusted') ne '';
	is(as('trusted', "CREATE TRIGGER aa AFTER $on EXECUTE FUNCTION attack()"), '', "a trigger is created: $on");
	owner(q{UPDATE idempotency.wheel SET until = clock_timestamp() WHERE slot = 0}) if $on =~ /TRUNCATE/;
	is(as('app', q{SELECT outcome FROM idempotency.claim('k', 'bank')}), '0A000', 'claims are refused');
	is(as('app', q{SELECT idempotency.once('k', 'bank')}), '0A000', 'and so is once');
	my ($table) = $on =~ /ON (\S+)/;
	owner("DROP TRIGGER aa ON $table");
}
owner(q{REVOKE ALL ON ALL TABLES IN SCHEMA idempotency FROM trusted});
no_superuser('by a trigger');
sweeps('the worker sweeps after that');

# A sweep reports an error while there is a trigger.
owner(q{GRANT TRIGGER ON idempotency.keys_1 TO trusted});
as('trusted', q{CREATE TRIGGER aa BEFORE TRUNCATE ON idempotency.keys_1 EXECUTE FUNCTION attack()});
owner(q{UPDATE idempotency.wheel SET until = clock_timestamp() WHERE slot = 1});
ok($node->poll_query_until('postgres', q{SELECT bool_or(last_sweep_error LIKE '%trigger that is not part of%') FROM idempotency.stats}),
	'the sweeper refuses to run a trigger');
owner(q{DROP TRIGGER aa ON idempotency.keys_1});
no_superuser('by a trigger that waits for the sweeper');

# A role that owns the schema, or may create in it, creates a false table of the
# distributed store.
my $key = '01234567-89ab-7def-8123-456789abcdef';
owner('ALTER SCHEMA idempotency OWNER TO mover; GRANT CREATE, USAGE ON SCHEMA idempotency TO app');
for my $role ('mover', 'app')
{
	is( as($role, q{
CREATE TABLE idempotency.distributed_keys (tenant text NOT NULL, scope text NOT NULL, key text NOT NULL, fingerprint bytea,
	status text NOT NULL, status_code integer, resource_id text, response jsonb, attempt integer NOT NULL, recovery_point text,
	state jsonb, lease_until timestamptz, claimed_at timestamptz, completed_at timestamptz, expires_at timestamptz NOT NULL,
	ttl interval, hash uuid NOT NULL, row_version uuid NOT NULL, claim_version uuid, PRIMARY KEY (tenant, hash));
INSERT INTO idempotency.distributed_keys (tenant, scope, key, status, attempt, expires_at, hash, row_version)
	VALUES ('', 's', 'k', 'completed', 1, '-infinity', gen_random_uuid(), gen_random_uuid());
CREATE TRIGGER attack BEFORE INSERT OR UPDATE OR DELETE ON idempotency.distributed_keys FOR EACH ROW EXECUTE FUNCTION attack();
CREATE CONSTRAINT TRIGGER attack_later AFTER INSERT OR DELETE ON idempotency.distributed_keys DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION attack();
GRANT ALL ON idempotency.distributed_keys TO PUBLIC}), '', "$role plants the table of the distributed store");
	sweeps('the worker sweeps on');
	is(owner("SELECT idempotency.once('$key $role', 'bank/1')"), 't', 'the owner claims');
	is(as('app', "SELECT idempotency.once('$key app $role', 'bank/1')"), 't', 'so does the application');
	is(owner("SELECT count(*) FROM idempotency.keys WHERE key LIKE '$key%$role'"), '2', 'in the tables of the extension');
	is(owner('SELECT count(*) FROM idempotency.distributed_keys'), '1', 'and the planted table is neither written nor swept');
	as($role, 'DROP TABLE idempotency.distributed_keys');
	no_superuser("by a planted table of $role");
}
owner('REVOKE CREATE ON SCHEMA idempotency FROM app');

# The owner of the schema renames it, and creates tables of other shapes, and a
# view, in a new one.
is( as('mover', q{
ALTER SCHEMA idempotency RENAME TO moved;
CREATE SCHEMA idempotency;
GRANT USAGE ON SCHEMA idempotency TO PUBLIC;
CREATE TYPE idempotency.claim_result AS (a integer);
CREATE TABLE idempotency.policy (scope bigint, ttl bigint);
INSERT INTO idempotency.policy VALUES (1094795585, 1094795585);
CREATE TABLE idempotency.wheel (slot smallint, until bigint);
INSERT INTO idempotency.wheel VALUES (32767, 1);
CREATE VIEW idempotency.keys AS SELECT 1094795585 AS scope;
CREATE TRIGGER attack BEFORE INSERT OR UPDATE OR DELETE ON idempotency.policy FOR EACH ROW EXECUTE FUNCTION attack();
CREATE TRIGGER attack BEFORE INSERT OR UPDATE OR DELETE ON idempotency.wheel FOR EACH ROW EXECUTE FUNCTION attack();
SELECT count(*) FROM generate_series(0, 7) AS n, LATERAL (SELECT 1) AS one;
DO $$ BEGIN
	FOR n IN 0 .. 7 LOOP
		EXECUTE format('CREATE TABLE idempotency.keys_%s (hash bigint PRIMARY KEY, key integer); CREATE TRIGGER attack BEFORE TRUNCATE ON idempotency.keys_%1$s EXECUTE FUNCTION attack()', n);
	END LOOP;
END $$}), '8', 'the schema is renamed, and another takes its name');
is(as('app', q{SELECT outcome, status_code FROM moved.claim('moved', 'bank', lease => '1 hour')}), 'new|', 'claims find the tables of the extension');
is(as('app', q{SELECT moved.complete('moved', 'bank', '"result"', attempt => 1)}), '', 'and complete');
is(as('app', q{SELECT outcome, response FROM moved.claim('moved', 'bank')}), 'replay|"result"', 'and replay');
is(as('app', q{SELECT key, status FROM moved.lookup('moved', 'bank')}), 'moved|completed', 'and look up');
owner(q{SELECT moved.set_policy('bank', ttl => '2 days'); SELECT moved.set_policy('gone'); SELECT moved.drop_policy('gone')});
is(owner(q{SELECT scope, ttl FROM moved.policy}), 'bank|2 days', 'policies are stored in theirs');
owner(q{UPDATE moved.wheel SET until = clock_timestamp() WHERE slot = 2});
ok($node->poll_query_until('postgres', q{SELECT min(until) > clock_timestamp() FROM moved.wheel}), 'the worker turns their wheel');
owner(q{INSERT INTO moved.keys (scope, key, status, attempt, expires_at, slot, hash)
	SELECT 'bank', 'copied', 'completed', 1, max(until) + '1 year', 3, moved.key_hash('copied', 'bank') FROM moved.wheel});
is(owner(q{SELECT max(until) > clock_timestamp() + '1 year' FROM moved.wheel WHERE slot = 3}), 't', 'rows that arrive raise its bounds');
owner(q{SELECT moved.grant_usage('trusted')});
is(as('trusted', q{SELECT moved.once('trusted', 'bank')}), 't', 'privileges are given on its functions');
owner(q{SELECT moved.forget('copied', 'bank')});
is(owner(q{SELECT scope, ttl FROM idempotency.policy}), '1094795585|1094795585', 'what was planted is as it was');
is(owner('TABLE attacked'), '', 'no code of anybody was run');
no_superuser('at the end');
is(owner('SELECT 1'), '1', 'and the server never crashed');
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC/, 'nor any of its processes');

$node->stop('fast');
done_testing();
