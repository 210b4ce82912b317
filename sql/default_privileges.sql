-- Default privileges neither open the extension's tables and its owner's
-- functions to other roles nor close its functions to applications.
SELECT current_database() AS tested \gset
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_idempotency_default_privileges;
CREATE DATABASE regress_idempotency_default_privileges;
\c regress_idempotency_default_privileges
SET client_min_messages = warning;
CREATE ROLE "regress idempotency reader";
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO "regress idempotency reader";
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO "regress idempotency reader" WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
CREATE EXTENSION idempotency;
SELECT idempotency.grant_usage('"regress idempotency reader"');

SELECT c.relname, privilege
FROM pg_class AS c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
WHERE c.relnamespace = 'idempotency'::regnamespace AND c.relkind IN ('r', 'p', 'v')
	AND has_table_privilege('regress idempotency reader', c.oid, privilege);

SET ROLE "regress idempotency reader";
SELECT outcome FROM idempotency.claim('key', 'default privileges', lease => '1 minute');
SELECT idempotency.complete('key', 'default privileges', attempt => 1);
SELECT idempotency.once('once', 'default privileges');
SELECT idempotency.issue('default privileges', 'subject') IS NOT NULL AS issued;
SELECT idempotency.sweep();
SELECT idempotency.forget('key', 'default privileges');
SELECT idempotency.set_policy('');
SELECT key FROM idempotency.keys;
RESET ROLE;
SELECT outcome FROM idempotency.claim('key', 'default privileges');

\c :tested
SET client_min_messages = warning;
DROP DATABASE regress_idempotency_default_privileges;
DROP ROLE "regress idempotency reader";
