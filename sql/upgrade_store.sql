-- The table of the distributed store has the columns of the version that created
-- it. A table that lacks columns is refused until upgrade_store() has added them;
-- a table that has additional columns is used as it is.
SELECT current_database() AS tested \gset
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_idempotency_upgrade_store;
CREATE DATABASE regress_idempotency_upgrade_store;
\c regress_idempotency_upgrade_store
SET client_min_messages = warning;
CREATE EXTENSION idempotency;
CREATE TABLE payments (id bigint PRIMARY KEY);
SELECT idempotency.distribute('payments');
SELECT outcome FROM idempotency.claim('key', 'payments/1', lease => '1 minute');
SELECT idempotency.complete('key', 'payments/1', '"done"', attempt => 1);

-- the current table needs no upgrade
SELECT idempotency.upgrade_store();
-- the table of an older version
ALTER TABLE idempotency.distributed_keys DROP COLUMN recovery_point, DROP COLUMN claim_version;
SELECT outcome FROM idempotency.claim('key', 'payments/1');
\echo :LAST_ERROR_SQLSTATE
SELECT key FROM idempotency.lookup('key', 'payments/1');
SELECT idempotency.upgrade_store();
SELECT idempotency.upgrade_store();
SELECT outcome, response FROM idempotency.claim('key', 'payments/1');
BEGIN;
SELECT outcome FROM idempotency.claim('new', 'payments/1');
SELECT idempotency.checkpoint('new', 'payments/1', 'step');
SELECT idempotency.complete('new', 'payments/1');
COMMIT;
-- the table of a newer version
ALTER TABLE idempotency.distributed_keys ADD COLUMN of_the_future integer;
SELECT outcome, response FROM idempotency.claim('key', 'payments/1');
SELECT outcome FROM idempotency.claim('newer', 'payments/1', lease => '1 minute');
SELECT idempotency.upgrade_store();
-- A column of another type is refused, and not replaced.
ALTER TABLE idempotency.distributed_keys DROP COLUMN recovery_point, ADD COLUMN recovery_point integer;
SELECT outcome FROM idempotency.claim('key', 'payments/1');

\c :tested
SET client_min_messages = warning;
DROP DATABASE regress_idempotency_upgrade_store WITH (FORCE);
