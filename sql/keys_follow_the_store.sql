-- distribute() and undistribute() carry all live keys, with all columns, or
-- refuse: no key is forgotten, and none can be claimed twice.
SELECT current_database() AS tested \gset
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_idempotency_follow;
CREATE DATABASE regress_idempotency_follow;
\c regress_idempotency_follow
SET client_min_messages = warning;
CREATE EXTENSION idempotency;
CREATE TABLE payments (id bigint PRIMARY KEY);
SELECT idempotency.set_policy('carts', ttl => '30 days -02:00');

-- Keys in every state.
BEGIN;
SELECT outcome FROM idempotency.claim('completed', 'payments/1', '{"amount": 1}');
SELECT idempotency.complete('completed', 'payments/1', '{"paid": 1}', 'p 1', 201);
SELECT outcome FROM idempotency.claim('failed', 'payments/1', '{"amount": 2}');
SELECT idempotency.fail('failed', 'payments/1', '{"paid": 0}', status_code => 402);
COMMIT;
SELECT outcome FROM idempotency.claim('leased', 'mail/tenant/1', lease => '1 hour', ttl => '90 days');
SELECT idempotency.checkpoint('leased', 'mail/tenant/1', 'sent', '{"to": "ann"}', 1);
SELECT outcome FROM idempotency.claim('released', 'mail/1', lease => '1 hour');
SELECT idempotency.release('released', 'mail/1', 1);
SELECT outcome FROM idempotency.claim('forgotten', 'mail/1', lease => '1 hour');
SELECT idempotency.forget('forgotten', 'mail/1');
SELECT idempotency.once('erased', 'mail/1');
SELECT idempotency.erase('erased', 'mail/1');
SELECT idempotency.issue('carts/1', 'a cart') AS issued \gset
SELECT idempotency.once('expired', 'no tenant', '1 ms');
SELECT pg_sleep(0.002);
CREATE TABLE before AS SELECT * FROM idempotency.keys WHERE expires_at > clock_timestamp();
SELECT status, count(*) FROM before GROUP BY status ORDER BY status;

-- Keys without a tenant are refused and listed, one for each scope.
SELECT idempotency.once('key', scope) FROM unnest('{"",payments,payments/}'::text[]) AS scope;
SELECT idempotency.distribute('payments');
\echo :LAST_ERROR_SQLSTATE
SELECT idempotency.once('key ' || n, 'many ' || n) FROM generate_series(1, 12) AS n;
\set VERBOSITY terse
SELECT idempotency.distribute('payments');
\set VERBOSITY default
SELECT count(idempotency.forget(key, scope)) FROM idempotency.keys WHERE key LIKE 'key%';
SELECT idempotency.distribute('payments');

-- What is stored is the same, and nothing is left behind.
SELECT count(*) FROM idempotency.keys;
SELECT key FROM before FULL JOIN idempotency.distributed_keys AS d USING (scope, key)
WHERE d.tenant IS DISTINCT FROM '1'
	OR to_jsonb(before) - '{claim_xid,slot}'::text[] IS DISTINCT FROM to_jsonb(d) - '{row_version,claim_version,tenant}'::text[];
SELECT outcome, response, resource_id, status_code FROM idempotency.claim('completed', 'payments/1', '{"amount": 1}');
SELECT outcome FROM idempotency.claim('completed', 'payments/1', '{"amount": 2}');
SELECT outcome, status_code FROM idempotency.claim('failed', 'payments/1', '{"amount": 2}');
SELECT outcome FROM idempotency.claim('leased', 'mail/tenant/1');
SELECT idempotency.complete('leased', 'mail/tenant/1');
SELECT idempotency.complete('leased', 'mail/tenant/1', '"done"', attempt => 1);
SELECT idempotency.issue('carts/1', 'a cart') = :'issued' AS the_same;
SELECT outcome, attempt FROM idempotency.claim('released', 'mail/1', lease => '1 hour');
SELECT outcome, attempt FROM idempotency.claim('forgotten', 'mail/1', lease => '1 hour');

-- A key that the local store has, too, is refused.
SELECT outcome FROM idempotency.claim('new', 'payments/1', lease => '1 hour');
SET idempotency.store = 'local';
SELECT outcome FROM idempotency.claim('new', 'payments/1', lease => '1 hour');
SELECT idempotency.once('local', 'payments/1');
RESET idempotency.store;
SELECT idempotency.undistribute();
\echo :LAST_ERROR_SQLSTATE
SET idempotency.store = 'local';
SELECT idempotency.complete('new', 'payments/1', attempt => 1), idempotency.forget('new', 'payments/1');
RESET idempotency.store;

-- Back: the same, and where no slot is emptied before they expire.
SELECT idempotency.once('expired', 'payments/1', '1 ms');
SELECT pg_sleep(0.002);
DROP TABLE before;
CREATE TABLE before AS SELECT * FROM idempotency.distributed_keys WHERE expires_at > clock_timestamp();
SELECT idempotency.undistribute();
SELECT to_regclass('idempotency.distributed_keys');
SELECT key, slot FROM before FULL JOIN idempotency.keys AS k USING (scope, key)
WHERE k.slot IS DISTINCT FROM -1
	OR to_jsonb(k) - '{claim_xid,slot}'::text[] IS DISTINCT FROM to_jsonb(before) - '{row_version,claim_version,tenant}'::text[];
SELECT outcome, response FROM idempotency.claim('completed', 'payments/1', '{"amount": 1}');
SELECT outcome, response FROM idempotency.claim('leased', 'mail/tenant/1');
SELECT outcome FROM idempotency.claim('released', 'mail/1');
SELECT idempotency.complete('released', 'mail/1', attempt => 2);
SELECT idempotency.sweep() IS NOT NULL AS swept;
SELECT outcome FROM idempotency.claim('released', 'mail/1');
SELECT idempotency.issue('carts/1', 'a cart') = :'issued' AS the_same;

\c :tested
SET client_min_messages = warning;
DROP DATABASE regress_idempotency_follow WITH (FORCE);
