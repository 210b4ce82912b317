-- The extension installs into a schema idempotency of an application, and does
-- not change the application's objects.
SELECT current_database() AS tested \gset
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_idempotency_existing_schema;
CREATE DATABASE regress_idempotency_existing_schema;
\c regress_idempotency_existing_schema
SET client_min_messages = warning;
CREATE ROLE regress_idempotency_owner;
CREATE ROLE regress_idempotency_reader;
CREATE SCHEMA idempotency AUTHORIZATION regress_idempotency_owner;
SET ROLE regress_idempotency_owner;
CREATE TABLE idempotency.payment (id integer PRIMARY KEY);
INSERT INTO idempotency.payment VALUES (1);

-- The installation, which runs with the privileges of a superuser, does not call
-- the application's objects that have the names of PostgreSQL's.
CREATE FUNCTION idempotency.trap() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'code of the application was run by %', current_user;
END $$;
CREATE FUNCTION idempotency.format(text, integer) RETURNS text LANGUAGE sql AS $$ SELECT idempotency.trap() $$;
CREATE FUNCTION idempotency.times(integer, interval) RETURNS interval LANGUAGE sql AS $$ SELECT idempotency.trap()::interval $$;
CREATE OPERATOR idempotency.* (FUNCTION = idempotency.times, LEFTARG = integer, RIGHTARG = interval);
RESET ROLE;

-- Default privileges do not make these tables readable.
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;

-- The schema's owner could drop everything in it: the hint says what to do.
DO $$
DECLARE
	hint text;
BEGIN
	CREATE EXTENSION idempotency;
EXCEPTION WHEN object_not_in_prerequisite_state THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RAISE WARNING '%', replace(hint, quote_ident(current_user), 'you');
	EXECUTE rtrim(substr(hint, strpos(hint, 'ALTER')), '.');
END $$;
GRANT CREATE, USAGE ON SCHEMA idempotency TO regress_idempotency_owner;
CREATE EXTENSION idempotency;
SELECT extname, extnamespace::regnamespace FROM pg_extension WHERE extname = 'idempotency';
SELECT has_schema_privilege('regress_idempotency_owner', 'idempotency', 'CREATE') AS "create", has_schema_privilege('regress_idempotency_owner', 'idempotency', 'USAGE') AS usage;
SELECT outcome FROM idempotency.claim('key', '', '1', lease => '1 minute');
SELECT idempotency.complete('key', '', '"result"', attempt => 1);
SELECT outcome, response FROM idempotency.claim('key', '', '1');
SELECT count(*) FROM idempotency.keys;

-- the application's table has not changed
SELECT id FROM idempotency.payment;
SELECT relowner::regrole FROM pg_class WHERE oid = 'idempotency.payment'::regclass;
SELECT idempotency.grant_usage('regress_idempotency_reader');
SET ROLE regress_idempotency_reader;
SELECT outcome, response FROM idempotency.claim('key', '', '1');
SELECT relname AS readable FROM pg_class
WHERE relnamespace = 'idempotency'::regnamespace AND relkind IN ('r', 'p', 'v') AND has_table_privilege(oid, 'SELECT');
RESET ROLE;

-- Owning the schema gives no right to the tables.
ALTER SCHEMA idempotency OWNER TO regress_idempotency_owner;
SET ROLE regress_idempotency_owner;
SELECT key FROM idempotency.keys;
SELECT key FROM idempotency.keys_long;
RESET ROLE;

ALTER SCHEMA idempotency OWNER TO CURRENT_USER;

-- The extension's objects are dropped, the application's stay.
DROP EXTENSION idempotency;
\set VERBOSITY sqlstate
SELECT idempotency.claim('key');
\set VERBOSITY default
SELECT id FROM idempotency.payment;
SELECT count(*) FROM pg_class WHERE relnamespace = 'idempotency'::regnamespace AND relkind IN ('r', 'p');

-- Installed again, in a session that has used the earlier tables.
CREATE EXTENSION idempotency;
SELECT outcome FROM idempotency.claim('key', '', '2', lease => '1 minute');
SELECT idempotency.complete('key', '', '"new result"', attempt => 1);
SELECT outcome, response FROM idempotency.claim('key', '', '2', lease => '1 minute');
DROP EXTENSION idempotency;

-- A name that is taken is an error, and nothing is installed.
GRANT CREATE ON SCHEMA idempotency TO regress_idempotency_owner;
SET ROLE regress_idempotency_owner;
CREATE TABLE idempotency.keys (mine integer);
RESET ROLE;
\set SHOW_CONTEXT never
CREATE EXTENSION idempotency;
SELECT count(*) FROM pg_extension WHERE extname = 'idempotency';
SELECT count(*) FROM pg_proc WHERE pronamespace = 'idempotency'::regnamespace AND proname IN ('claim', 'key_hash');

-- Another schema is refused.
CREATE EXTENSION idempotency SCHEMA public;
\c :tested
DROP DATABASE regress_idempotency_existing_schema;
DROP ROLE regress_idempotency_owner;
DROP ROLE regress_idempotency_reader;
