-- grant_usage() grants all that an application needs; without it the functions
-- can't be called, and the tables can't be read in any case.
CREATE ROLE regress_idempotency_app;
SELECT outcome FROM idempotency.claim('secret', 'privileges/other tenant', '1', lease => '1 minute');
SELECT idempotency.complete('secret', 'privileges/other tenant', '"secret"', attempt => 1);

SET ROLE regress_idempotency_app;
SELECT idempotency.claim('key', 'privileges');
RESET ROLE;

SELECT idempotency.grant_usage('regress_idempotency_app');
SET ROLE regress_idempotency_app;
SELECT outcome, attempt FROM idempotency.claim('key', 'privileges', '1', lease => '1 minute');
SELECT idempotency.heartbeat('key', 'privileges', 1) > clock_timestamp() AS renewed;
SELECT idempotency.checkpoint('key', 'privileges', 'step', '1', 1);
SELECT idempotency.complete('key', 'privileges', '"result"', attempt => 1);
SELECT outcome, response FROM idempotency.claim('key', 'privileges', '1');
SELECT status, response FROM idempotency.lookup('key', 'privileges');
BEGIN;
SELECT outcome FROM idempotency.claim('released', 'privileges');
SELECT idempotency.release('released', 'privileges');
SELECT outcome FROM idempotency.claim('failed', 'privileges');
SELECT idempotency.fail('failed', 'privileges', '"reason"');
SELECT outcome FROM idempotency.claim('moved', 'privileges', ttl => '1 hour');
SELECT idempotency.complete('moved', 'privileges', '1', ttl => '30 days');
COMMIT;

-- a row can be read by its scope and key only
SELECT key FROM idempotency.keys;
SELECT key FROM ONLY idempotency.keys;
SELECT key FROM idempotency.keys_0;
SELECT key FROM idempotency.keys_long;
SELECT slot FROM idempotency.wheel;
INSERT INTO idempotency.keys DEFAULT VALUES;
INSERT INTO idempotency.keys_long DEFAULT VALUES;
UPDATE idempotency.keys SET response = NULL;
DELETE FROM idempotency.keys;
TRUNCATE idempotency.keys;
BEGIN;
LOCK idempotency.keys IN ACCESS EXCLUSIVE MODE;
ROLLBACK;
COPY idempotency.keys TO STDOUT;
UPDATE idempotency.wheel SET until = '-infinity';
ALTER TABLE idempotency.keys DROP CONSTRAINT keys_hash;
DROP FUNCTION idempotency.key_hash(text, text);
CREATE TABLE idempotency.mine (a integer);
SELECT has_column_privilege('idempotency.keys', 'key', 'SELECT') AS of_column;
SELECT relname, privilege
FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
WHERE relnamespace = 'idempotency'::regnamespace AND relkind IN ('r', 'p') AND has_table_privilege(pg_class.oid, privilege);

-- a view of the application reads with the privileges of its owner
CREATE TEMPORARY VIEW peep AS SELECT * FROM idempotency.keys;
SELECT key FROM peep;
RESET ROLE;

-- what one role claimed another may complete: scope and key are the identity
SELECT outcome FROM idempotency.claim('handed over', 'privileges', lease => '1 minute');
SET ROLE regress_idempotency_app;
SELECT idempotency.complete('handed over', 'privileges', '"by the application"', attempt => 1);
RESET ROLE;
SELECT outcome, response FROM idempotency.claim('handed over', 'privileges');
SELECT key, status FROM idempotency.keys WHERE scope LIKE 'privileges%' ORDER BY key COLLATE "C";

DROP VIEW peep;
SELECT idempotency.revoke_usage('regress_idempotency_app');
DROP ROLE regress_idempotency_app;
