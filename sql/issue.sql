-- issue() returns one key for each subject of a scope, until the key expires.

-- The same subject has the same key, on every device and in every transaction.
SELECT idempotency.issue('issue/pay', 'cart-1') AS key \gset
SELECT idempotency.issue('issue/pay', 'cart-1') = :'key' AS same;
BEGIN;
SELECT idempotency.issue('issue/pay', 'cart-1') = :'key' AS same;
SELECT idempotency.issue('issue/pay', 'cart-2') AS cart_2 \gset
SELECT idempotency.issue('issue/pay', 'cart-2') = :'cart_2' AS same;
COMMIT;
SELECT idempotency.issue('issue/pay', 'cart-2') = :'cart_2' AS same;

-- Another subject and another scope have another key.
SELECT count(DISTINCT key) FROM (VALUES
	(:'key'),
	(:'cart_2'),
	(idempotency.issue('issue/refund', 'cart-1')),
	(idempotency.issue('', 'cart-1')),
	(idempotency.issue('issue', 'pay/cart-1'))) AS issued (key);

-- It is a UUID of version 7, stored with the status "issued".
SELECT :'key' ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' AS version_7,
	clock_timestamp() - to_timestamp(('x' || left(replace(:'key', '-', ''), 12))::bit(48)::bigint / 1000.0) BETWEEN interval '0' AND interval '1 minute' AS of_now;
SELECT scope, status, attempt, claimed_at, lease_until, completed_at, resource_id,
	round(extract(epoch FROM expires_at - clock_timestamp()) / 3600) AS hours
FROM idempotency.lookup(:'key', 'issue/pay');

-- It is claimed, completed and replayed like any other key.
SELECT outcome, proceed, attempt FROM idempotency.claim(:'key', 'issue/pay', '{"amount": 7}', lease => '1 minute');
SELECT outcome, status_code FROM idempotency.claim(:'key', 'issue/pay', '{"amount": 7}');
SELECT idempotency.complete(:'key', 'issue/pay', '{"id": 1}', attempt => 1);
SELECT outcome, response FROM idempotency.claim(:'key', 'issue/pay', '{"amount": 7}');
SELECT outcome FROM idempotency.claim(:'key', 'issue/pay', '{"amount": 8}');

-- A device that asks later still gets the key, whose result is stored.
SELECT idempotency.issue('issue/pay', 'cart-1') = :'key' AS same;

-- A key whose issue was rolled back was never issued.
BEGIN;
SELECT idempotency.issue('issue/pay', 'cart-3') AS rolled_back \gset
ROLLBACK;
SELECT count(*) FROM idempotency.lookup(:'rolled_back', 'issue/pay');
BEGIN;
SAVEPOINT before_issue;
SELECT idempotency.issue('issue/pay', 'cart-3') AS rolled_back_too \gset
ROLLBACK TO SAVEPOINT before_issue;
SELECT idempotency.issue('issue/pay', 'cart-3') AS cart_3 \gset
COMMIT;
SELECT :'cart_3' NOT IN (:'rolled_back', :'rolled_back_too') AS another;
SELECT status FROM idempotency.lookup(:'cart_3', 'issue/pay');

-- After a key that has expired without a claim, another is issued.
SELECT idempotency.issue('issue/pay', 'cart-4') AS cart_4 \gset
SET session_replication_role = replica;
UPDATE idempotency.keys SET expires_at = clock_timestamp() WHERE key = :'cart_4';
RESET session_replication_role;
SELECT idempotency.issue('issue/pay', 'cart-4') AS cart_4_again \gset
SELECT :'cart_4_again' <> :'cart_4' AS another;
SELECT idempotency.issue('issue/pay', 'cart-4') = :'cart_4_again' AS same;

-- The same after a key that was removed.
DELETE FROM idempotency.keys WHERE scope = 'issue/pay' AND key = :'cart_4_again';
SELECT idempotency.issue('issue/pay', 'cart-4') NOT IN (:'cart_4', :'cart_4_again') AS another;

-- An issued key may be claimed at its last moment, and completed a ttl later: it
-- can live for three ttls, its own or the policy's, and so long its subject
-- keeps it.
SELECT idempotency.issue('issue/pay', 'cart-5', ttl => '1 hour') AS cart_5 \gset
SELECT status, resource_id = :'cart_5' AS of_this_key,
	round(extract(epoch FROM expires_at - clock_timestamp()) / 86400) AS days
FROM idempotency.lookup('cart-5', 'idempotency.issue/issue/pay');
SELECT idempotency.issue('issue/pay', 'cart-12', ttl => '2 days') IS NOT NULL AS issued;
SELECT round(extract(epoch FROM expires_at - clock_timestamp()) / 86400) AS days
FROM idempotency.lookup('cart-12', 'idempotency.issue/issue/pay');

-- The subject keeps a key that was released.
SELECT outcome FROM idempotency.claim(:'cart_5', 'issue/pay', lease => '1 minute');
SELECT idempotency.release(:'cart_5', 'issue/pay', attempt => 1);
SELECT idempotency.issue('issue/pay', 'cart-5') = :'cart_5' AS same;
SELECT outcome, attempt FROM idempotency.claim(:'cart_5', 'issue/pay', lease => '1 minute');

-- A claim without a ttl has the one with which the key was issued.
SELECT idempotency.issue('issue/pay', 'cart-6', ttl => '7 days') AS cart_6 \gset
SELECT outcome, round(extract(epoch FROM expires_at - claimed_at) / 86400) AS days
FROM idempotency.claim(:'cart_6', 'issue/pay', lease => '1 minute');
SELECT idempotency.complete(:'cart_6', 'issue/pay', attempt => 1);
SELECT status, round(extract(epoch FROM expires_at - completed_at) / 86400) AS days
FROM idempotency.lookup(:'cart_6', 'issue/pay');
SELECT idempotency.issue('issue/pay', 'cart-7', ttl => '7 days') AS cart_7 \gset
SELECT outcome, round(extract(epoch FROM expires_at - claimed_at) / 3600) AS hours
FROM idempotency.claim(:'cart_7', 'issue/pay', ttl => '2 hours', lease => '1 minute');

-- A second call does not change when the key expires.
SELECT idempotency.issue('issue/pay', 'cart-8', ttl => '7 days') AS cart_8 \gset
SELECT idempotency.issue('issue/pay', 'cart-8', ttl => '1 hour') = :'cart_8' AS same;
SELECT round(extract(epoch FROM expires_at - clock_timestamp()) / 86400) AS days
FROM idempotency.lookup(:'cart_8', 'issue/pay');

-- Issuing the same key again writes nothing.
BEGIN;
SELECT idempotency.issue('issue/pay', 'cart-8') = :'cart_8' AS same;
SELECT pg_current_xact_id_if_assigned() IS NULL AS nothing_written;
COMMIT;

-- It works at every isolation level.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT idempotency.issue('issue/pay', 'cart-9') AS cart_9 \gset
SELECT idempotency.issue('issue/pay', 'cart-9') = :'cart_9' AS same;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT idempotency.issue('issue/pay', 'cart-9') = :'cart_9' AS same;
COMMIT;

-- Invalid arguments.
SELECT idempotency.issue(NULL, 'cart-1');
SELECT idempotency.issue('issue/pay', NULL);
SELECT idempotency.issue('issue/pay', '');
SELECT idempotency.issue('issue/pay', repeat('s', 8193));
SELECT idempotency.issue('issue/pay', repeat('s', 8192)) = idempotency.issue('issue/pay', repeat('s', 8192)) AS same;
SELECT idempotency.issue('issue/pay', 'cart-10', ttl => '0');
SELECT idempotency.issue('issue/pay', 'cart-10', ttl => '-1 day');
-- A key that was issued and not claimed can't be completed.
\set VERBOSITY sqlstate
SELECT idempotency.complete(:'cart_8', 'issue/pay');
\set VERBOSITY default
-- A key that claim() would refuse is not issued.
SET idempotency.max_key_length = 35;
SELECT idempotency.issue('issue/pay', 'cart-10');
RESET idempotency.max_key_length;
SET idempotency.min_key_length = 37;
SELECT idempotency.issue('issue/pay', 'cart-10');
RESET idempotency.min_key_length;
-- The scopes in which issue() stores its records can't be claimed in.
SELECT idempotency.claim('cart-1', 'idempotency.issue/issue/pay');
SELECT idempotency.issue('idempotency.issue/issue/pay', 'cart-1');
SELECT outcome FROM idempotency.claim('cart-1', 'idempotency.issues', lease => '1 minute');
-- A read-only transaction issues nothing.
BEGIN READ ONLY;
SELECT idempotency.issue('issue/pay', 'cart-8');
ROLLBACK;
DO $$
BEGIN
	PERFORM idempotency.issue('issue/pay', '');
EXCEPTION WHEN SQLSTATE 'IK400' THEN
	RAISE NOTICE 'IK400';
END
$$;

-- An application needs only what grant_usage() grants.
CREATE ROLE regress_issue_app;
SELECT idempotency.grant_usage('regress_issue_app');
SET ROLE regress_issue_app;
SELECT idempotency.issue('issue/pay', 'cart-8') = :'cart_8' AS same;
SELECT idempotency.issue('issue/pay', 'cart-11') IS NOT NULL AS issued;
RESET ROLE;
SELECT idempotency.revoke_usage('regress_issue_app');
DROP ROLE regress_issue_app;
