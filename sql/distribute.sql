-- distribute() creates the table of the distributed store if there is none;
-- undistribute() removes it; the setting idempotency.store selects the store.
SELECT current_database() AS tested \gset
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_idempotency_distribute;
CREATE DATABASE regress_idempotency_distribute;
\c regress_idempotency_distribute
SET client_min_messages = warning;
CREATE EXTENSION idempotency;
CREATE TABLE payments (id bigint PRIMARY KEY);

-- arguments
SELECT idempotency.distribute(NULL);
SELECT idempotency.distribute('payments', NULL);
SELECT idempotency.distribute('payments', 'first');
\echo :LAST_ERROR_SQLSTATE
SELECT idempotency.distribute('no_such_table');

-- Without the table there is nothing to remove or upgrade, and no store to select.
SELECT idempotency.undistribute();
\echo :LAST_ERROR_SQLSTATE
SELECT idempotency.upgrade_store();
SET idempotency.store = 'distributed';
SELECT outcome FROM idempotency.claim('key', 'payments/1');
\echo :LAST_ERROR_SQLSTATE
SELECT key FROM idempotency.lookup('key', 'payments/1');
RESET idempotency.store;

-- Claims of this transaction prevent it, and so does a snapshot.
BEGIN;
SELECT outcome FROM idempotency.claim('key', 'payments/1');
SELECT idempotency.distribute('payments');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT idempotency.distribute('payments');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT idempotency.distribute('payments');

-- The table is not a member of the extension; only its owner has privileges.
SELECT pg_describe_object('pg_class'::regclass, 'idempotency.distributed_keys'::regclass, 0),
	obj_description('idempotency.distributed_keys'::regclass) IS NOT NULL AS has_comment,
	relowner = (SELECT extowner FROM pg_extension WHERE extname = 'idempotency') AS is_extension_owners,
	EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype = 'e') AS is_member,
	(SELECT count(*) FROM aclexplode(relacl) WHERE grantee <> relowner) AS grants
FROM pg_class AS c WHERE oid = 'idempotency.distributed_keys'::regclass;

-- After the commit the table stores the keys, also of a session that has used the
-- other store; distributing again is an error.
SELECT outcome FROM idempotency.claim('key', 'payments/1', '{"amount": 1}', lease => '1 minute');
SELECT key, status, tenant FROM idempotency.distributed_keys;
SELECT idempotency.complete('key', 'payments/1', '"done"', attempt => 1);
SELECT outcome, response FROM idempotency.claim('key', 'payments/1', '{"amount": 1}');
SELECT count(*) FROM idempotency.keys WHERE expires_at > clock_timestamp();
SELECT idempotency.distribute('payments');
\echo :LAST_ERROR_SQLSTATE

-- A setting of superusers selects the other store.
SET idempotency.store = 'local';
SELECT key FROM idempotency.lookup('key', 'payments/1');
SET idempotency.store = 'distributed';
SELECT key FROM idempotency.lookup('key', 'payments/1');
RESET idempotency.store;
CREATE ROLE regress_distribute_app;
SELECT idempotency.grant_usage('regress_distribute_app');
CREATE SCHEMA traps AUTHORIZATION regress_distribute_app;
SET ROLE regress_distribute_app;
SET idempotency.store = 'local';
-- An application may use the store and its table, but not move it.
SELECT outcome, response FROM idempotency.claim('key', 'payments/1', '{"amount": 1}');
SELECT key FROM idempotency.distributed_keys;
SELECT idempotency.distribute('payments');
SELECT idempotency.undistribute();
SELECT idempotency.upgrade_store();
-- Nothing is looked up in the caller's search path.
SET search_path = traps;
CREATE FUNCTION trap(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE FUNCTION trap(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE OPERATOR = (FUNCTION = trap, LEFTARG = uuid, RIGHTARG = uuid);
CREATE OPERATOR = (FUNCTION = trap, LEFTARG = text, RIGHTARG = text);
SET search_path = traps, pg_catalog;
SELECT 'a'::text = 'a'::text;
SELECT outcome, attempt FROM idempotency.claim('trapped', 'payments/1', lease => '1 minute');
SELECT idempotency.heartbeat('trapped', 'payments/1', attempt => 1) IS NOT NULL AS renewed;
SELECT idempotency.complete('trapped', 'payments/1', attempt => 1);
SELECT outcome FROM idempotency.claim('trapped', 'payments/1');
RESET search_path;
RESET ROLE;
-- Statements run as the caller, who needs the privileges on the table.
REVOKE DELETE ON idempotency.distributed_keys FROM regress_distribute_app;
SET ROLE regress_distribute_app;
SELECT outcome FROM idempotency.claim('not granted', 'payments/1', lease => '1 minute');
RESET ROLE;
SELECT idempotency.grant_usage('regress_distribute_app');
SET ROLE regress_distribute_app;
SELECT outcome FROM idempotency.claim('granted', 'payments/1', lease => '1 minute');
SELECT current_user, current_setting('search_path');
RESET ROLE;
-- A sweep runs as the owner of the table.
CREATE ROLE regress_distribute_sweeper;
GRANT USAGE ON SCHEMA idempotency TO regress_distribute_sweeper;
GRANT EXECUTE ON FUNCTION idempotency.sweep TO regress_distribute_sweeper;
SELECT idempotency.once('expired', 'payments/1', '1 ms');
SELECT pg_sleep(0.002);
SET ROLE regress_distribute_sweeper;
SELECT rows_deleted FROM idempotency.sweep();
SELECT current_user;
RESET ROLE;
-- A trigger of another role is not run: writes and sweeps are refused.
CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'ran as %', current_user; RETURN new; END $$;
CREATE TRIGGER who BEFORE INSERT ON idempotency.distributed_keys FOR EACH ROW EXECUTE FUNCTION who();
SELECT outcome FROM idempotency.claim('triggered', 'payments/1');
SELECT key FROM idempotency.lookup('granted', 'payments/1');
SELECT idempotency.sweep();
DROP TRIGGER who ON idempotency.distributed_keys;
-- The table is used only if it belongs to the extension's owner; the schema must
-- not belong to another role.
BEGIN;
ALTER TABLE idempotency.distributed_keys OWNER TO regress_distribute_app;
SELECT key FROM idempotency.lookup('granted', 'payments/1');
ROLLBACK;
BEGIN;
ALTER SCHEMA idempotency OWNER TO regress_distribute_app;
\set VERBOSITY terse
SELECT key FROM idempotency.lookup('granted', 'payments/1');
\set VERBOSITY default
ROLLBACK;
BEGIN;
ALTER SCHEMA idempotency RENAME TO idempotency_renamed;
SELECT key FROM idempotency_renamed.lookup('granted', 'payments/1');
SELECT outcome FROM idempotency_renamed.claim('renamed', 'payments/1');
ROLLBACK;
SELECT key FROM idempotency.lookup('granted', 'payments/1');

-- Two keys that share the hash are an error, never a wrong answer.
INSERT INTO idempotency.distributed_keys (tenant, scope, key, status, attempt, expires_at, hash, row_version)
VALUES ('1', 'payments/1', 'other', 'completed', 1, 'infinity', idempotency.key_hash('forged', 'payments/1'), gen_random_uuid());
SELECT outcome FROM idempotency.claim('forged', 'payments/1');
\echo :LAST_ERROR_SQLSTATE
SELECT idempotency.complete('forged', 'payments/1', attempt => 1);
\echo :LAST_ERROR_SQLSTATE
DELETE FROM idempotency.distributed_keys WHERE key = 'other';

-- Back again.
SELECT idempotency.purge('payments/1') > 0 AS purged;
BEGIN;
SELECT outcome FROM idempotency.claim('key', 'payments/1');
SELECT idempotency.undistribute();
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT idempotency.undistribute();
ROLLBACK;
SELECT idempotency.undistribute();
SELECT to_regclass('idempotency.distributed_keys');
SELECT outcome FROM idempotency.claim('key', 'payments/1', lease => '1 minute');
SELECT scope, key FROM idempotency.keys;

-- DROP EXTENSION keeps the table and its keys.
DELETE FROM idempotency.keys;
SELECT idempotency.distribute('payments', tenant_from => 'none');
SELECT outcome FROM idempotency.claim('key', 'no tenant', lease => '1 minute');
SELECT idempotency.complete('key', 'no tenant', '"done"', attempt => 1);
DROP EXTENSION idempotency;
SELECT key, tenant FROM idempotency.distributed_keys;
CREATE EXTENSION idempotency;
SELECT outcome, response FROM idempotency.claim('key', 'no tenant');

-- Default privileges do not apply to the table.
SELECT idempotency.purge('no tenant');
SELECT idempotency.undistribute();
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO regress_distribute_app;
SELECT idempotency.distribute('payments');
SELECT has_table_privilege('regress_distribute_app', 'idempotency.distributed_keys', 'SELECT, INSERT, UPDATE, DELETE') AS open;

\c :tested
SET client_min_messages = warning;
DROP DATABASE regress_idempotency_distribute WITH (FORCE);
DROP ROLE regress_distribute_app, regress_distribute_sweeper;
