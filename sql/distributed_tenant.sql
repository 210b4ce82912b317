-- In the distributed store the tenant of a key is the part of its scope after
-- the last slash, read as the type of the column by which rows are
-- distributed.
SELECT current_database() AS tested \gset
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_idempotency_tenant;
CREATE DATABASE regress_idempotency_tenant;
\c regress_idempotency_tenant
SET client_min_messages = warning;
CREATE EXTENSION idempotency;
CREATE TABLE payments (id bigint PRIMARY KEY);
SELECT idempotency.distribute('payments');

SELECT outcome FROM idempotency.claim('key', 'payments/acme', lease => '1 minute');
SELECT outcome FROM idempotency.claim('key', 'refunds/acme', lease => '1 minute');
SELECT outcome FROM idempotency.claim('key', 'v1/payments/ümlaut und mehr', lease => '1 minute');
SELECT tenant, scope FROM idempotency.distributed_keys ORDER BY scope;
-- no tenant
SELECT outcome FROM idempotency.claim('key', 'payments');
\echo :LAST_ERROR_SQLSTATE
SELECT outcome FROM idempotency.claim('key', 'payments/');
SELECT outcome FROM idempotency.claim('key');
SELECT idempotency.complete('key', 'payments', attempt => 1);
SELECT key FROM idempotency.lookup('key', 'payments');
SELECT idempotency.purge('nobody'), idempotency.erase_scope('nobody');
SELECT idempotency.forget('key', 'payments');
SELECT * FROM idempotency.claim_many(ARRAY['a', 'b'], 'payments');
SELECT idempotency.issue('carts', 'one');
\echo :LAST_ERROR_SQLSTATE
SET idempotency.sqlstate_prefix = 'PT';
SELECT idempotency.once('key', 'messages');
\echo :LAST_ERROR_SQLSTATE
RESET idempotency.sqlstate_prefix;

-- With a tenant, each function finds its key.
SELECT idempotency.issue('carts/acme', 'one') AS issued \gset
SELECT idempotency.issue('carts/acme', 'one') = :'issued' AS same;
SELECT outcome FROM idempotency.claim(:'issued', 'carts/acme', lease => '1 minute');
SELECT idempotency.once('key', 'messages/acme'), idempotency.once('key', 'messages/acme');
SELECT key, outcome FROM idempotency.claim_many(ARRAY['a', 'b', 'a'], 'payments/acme', lease => '1 minute');
SELECT idempotency.complete_many(ARRAY['a', 'b'], 'payments/acme', attempts => ARRAY[1, 1]);
SELECT idempotency.erase('a', 'payments/acme');
SELECT idempotency.forget('b', 'payments/acme');
SELECT key, outcome, status_code FROM idempotency.claim_many(ARRAY['a', 'b'], 'payments/acme', lease => '1 minute');
SELECT scope, pid = pg_backend_pid() AS here FROM idempotency.in_flight ORDER BY scope, key;
BEGIN;
SELECT outcome FROM idempotency.claim('mine', 'payments/acme');
SELECT key, pid = pg_backend_pid() AS here FROM idempotency.in_flight WHERE key = 'mine';
ROLLBACK;

-- A transaction can purge its own claim.
BEGIN;
SELECT outcome FROM idempotency.claim('mine', 'purged/acme');
SELECT idempotency.purge('purged/acme');
SELECT idempotency.complete('mine', 'purged/acme');
ROLLBACK;

-- Expired keys of all tenants are deleted, and no others.
UPDATE idempotency.distributed_keys SET expires_at = clock_timestamp() WHERE scope <> 'refunds/acme';
SELECT rows_deleted > 5 AS deleted FROM idempotency.sweep();
SELECT scope, key FROM idempotency.distributed_keys;
SELECT * FROM idempotency.sweep();
-- A claim of the transaction itself stays, though it has expired.
BEGIN;
SELECT outcome FROM idempotency.claim('own', 'swept/acme', ttl => '0.1 s', lease => '0.1 s');
SELECT pg_sleep(0.2);
SELECT rows_deleted FROM idempotency.sweep();
SELECT idempotency.complete('own', 'swept/acme', '1', ttl => '1 day');
COMMIT;
SELECT outcome, response FROM idempotency.claim('own', 'swept/acme');
SELECT idempotency.forget('own', 'swept/acme');
-- purge() returns the number of live keys.
SELECT outcome FROM idempotency.claim('another', 'refunds/acme', lease => '1 minute');
UPDATE idempotency.distributed_keys SET expires_at = clock_timestamp() WHERE key = 'another';
SELECT idempotency.purge('refunds/acme');
SELECT count(*) FROM idempotency.distributed_keys;

-- Scopes below are purged and erased, too, whatever their tenants; the attempt of
-- an unfinished claim stays, so that its owner is fenced.
SELECT idempotency.once('k', 'below/x/other'), idempotency.once('k', 'below/acme'), idempotency.once('k', 'belows/acme');
SELECT outcome FROM idempotency.claim('leased', 'below/acme', lease => '1 hour');
SELECT idempotency.erase_scope('below'), idempotency.erase_scope('below');
SELECT outcome, status_code FROM idempotency.claim('k', 'below/x/other');
SELECT idempotency.purge('below'), idempotency.purge('below');
SELECT scope, key, status, attempt FROM idempotency.distributed_keys ORDER BY scope, key;
SELECT outcome, attempt FROM idempotency.claim('leased', 'below/acme', lease => '1 hour');
SELECT idempotency.complete('leased', 'below/acme', attempt => 1);
BEGIN;
SELECT outcome FROM idempotency.claim('own', 'below/acme');
SELECT outcome FROM idempotency.claim('own leased', 'below/acme', lease => '1 hour');
SELECT idempotency.purge('below');
COMMIT;
SELECT scope, key, status, attempt FROM idempotency.distributed_keys ORDER BY scope, key;
DELETE FROM idempotency.distributed_keys;

-- Other types of tenants.  (On Citus the type is the business table's; here the
-- column is altered by hand.)
ALTER TABLE idempotency.distributed_keys ALTER tenant TYPE bigint USING tenant::bigint;
SELECT outcome FROM idempotency.claim('key', 'payments/42', lease => '1 minute');
SELECT outcome FROM idempotency.claim('key', 'payments/9223372036854775807', lease => '1 minute');
SELECT outcome FROM idempotency.claim('key', 'payments/9223372036854775808');
\echo :LAST_ERROR_SQLSTATE
SELECT outcome FROM idempotency.claim('key', 'payments/acme');
SELECT outcome FROM idempotency.claim('key', 'payments/42');
TRUNCATE idempotency.distributed_keys;
ALTER TABLE idempotency.distributed_keys ALTER tenant TYPE integer;
SELECT outcome FROM idempotency.claim('key', 'payments/42', lease => '1 minute');
SELECT outcome FROM idempotency.claim('key', 'payments/2147483648');
TRUNCATE idempotency.distributed_keys;
ALTER TABLE idempotency.distributed_keys ALTER tenant TYPE uuid USING NULL;
SELECT outcome FROM idempotency.claim('key', 'payments/5f1a0c6e-8c09-4d5c-9a7e-0a3a8d3f8f11', lease => '1 minute');
SELECT outcome FROM idempotency.claim('key', 'payments/42');
SELECT tenant FROM idempotency.distributed_keys;

\c :tested
SET client_min_messages = warning;
DROP DATABASE regress_idempotency_tenant WITH (FORCE);
