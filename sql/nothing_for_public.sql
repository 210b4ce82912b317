-- PUBLIC has no privileges on the extension except on types, and no role has a
-- privilege without a grant: neither as a predefined role nor as the owner of
-- the schema.
CREATE TEMPORARY VIEW member AS
SELECT classid, objid
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'idempotency');
CREATE ROLE regress_idempotency_stranger;
CREATE ROLE regress_idempotency_reader;
GRANT pg_read_all_data, pg_write_all_data, pg_monitor TO regress_idempotency_reader;

SELECT count(*) > 30 AS many FROM member WHERE classid = 'pg_proc'::regclass;
SELECT objid::regprocedure AS "may execute", role
FROM member, unnest(ARRAY['regress_idempotency_stranger', 'regress_idempotency_reader']) AS role
WHERE classid = 'pg_proc'::regclass AND has_function_privilege(role, objid, 'EXECUTE');
SELECT objid::regprocedure AS "granted to PUBLIC" FROM member JOIN pg_proc AS p ON classid = 'pg_proc'::regclass AND objid = p.oid
WHERE EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee = 0);
SELECT objid::regclass AS relation, privilege
FROM member, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
WHERE classid = 'pg_class'::regclass AND has_table_privilege('regress_idempotency_stranger', objid, privilege);
SELECT privilege FROM unnest(ARRAY['USAGE', 'CREATE']) AS privilege
WHERE has_schema_privilege('regress_idempotency_stranger', 'idempotency', privilege);
SELECT has_type_privilege('regress_idempotency_stranger', 'idempotency.claim_result', 'USAGE') AS "of the type";

-- A role that may read all data can't claim, and so can't take over or forge.
SELECT outcome FROM idempotency.claim('k', 'nothing_for_public', lease => '1 ms');
SET ROLE regress_idempotency_reader;
SELECT idempotency.claim('k', 'nothing_for_public', lease => '1000 years');
SELECT idempotency.complete('k', 'nothing_for_public', '{"forged": true}', attempt => 2);
SELECT idempotency.lookup('k', 'nothing_for_public');
SELECT idempotency.once('k', 'nothing_for_public');
SELECT idempotency.grant_usage('regress_idempotency_reader');
SELECT idempotency.version();
SELECT * FROM idempotency.in_flight;
SELECT * FROM idempotency.stats;
RESET ROLE;
SELECT attempt FROM idempotency.keys WHERE scope = 'nothing_for_public';

-- The functions that grant_usage() grants; revoke_usage() revokes all of them.
SELECT idempotency.grant_usage('regress_idempotency_stranger');
SELECT proname FROM member JOIN pg_proc AS p ON classid = 'pg_proc'::regclass AND objid = p.oid
WHERE has_function_privilege('regress_idempotency_stranger', objid, 'EXECUTE') ORDER BY proname;
SELECT has_schema_privilege('regress_idempotency_stranger', 'idempotency', 'USAGE') AS usage,
	has_schema_privilege('regress_idempotency_stranger', 'idempotency', 'CREATE') AS "create";
\set SHOW_CONTEXT never
CREATE FUNCTION compiled() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT outcome FROM idempotency.claim('atomic', 'nothing_for_public', lease => '1 minute'); END;
CREATE FUNCTION idempotency.claim(mine integer) RETURNS integer LANGUAGE sql AS 'SELECT mine';
REVOKE EXECUTE ON FUNCTION idempotency.claim(integer) FROM PUBLIC;
SELECT idempotency.grant_usage('regress_idempotency_stranger');
SELECT has_function_privilege('regress_idempotency_stranger', 'idempotency.claim(integer)', 'EXECUTE') AS "of a function that is no member";
DROP FUNCTION idempotency.claim(integer);
SET ROLE regress_idempotency_stranger;
SELECT compiled();
RESET ROLE;
SELECT idempotency.revoke_usage('regress_idempotency_stranger');
SET ROLE regress_idempotency_stranger;
SELECT compiled();
RESET ROLE;
DROP ROLE regress_idempotency_stranger;

-- The role must exist; the privilege to call grant_usage() is not one to grant.
SELECT idempotency.grant_usage(NULL);
SELECT idempotency.grant_usage(0::regrole);
CREATE ROLE "regress ""idempotency"" $1";
SELECT idempotency.grant_usage('"regress ""idempotency"" $1"');
SELECT has_function_privilege('regress "idempotency" $1', 'idempotency.once(text, text, interval)', 'EXECUTE');
SELECT idempotency.revoke_usage('"regress ""idempotency"" $1"');
GRANT USAGE ON SCHEMA idempotency TO regress_idempotency_reader;
GRANT EXECUTE ON FUNCTION idempotency.grant_usage TO regress_idempotency_reader;
SET ROLE regress_idempotency_reader;
\set VERBOSITY sqlstate
SELECT idempotency.grant_usage('regress_idempotency_reader');
\set VERBOSITY default
SELECT idempotency.once('k', 'nothing_for_public');
RESET ROLE;

DROP OWNED BY regress_idempotency_reader;
DROP ROLE regress_idempotency_reader, "regress ""idempotency"" $1";
DROP FUNCTION compiled();
DELETE FROM idempotency.keys WHERE scope = 'nothing_for_public';
