-- once() is true the first time a key is seen and then always false, including
-- calls in a WHERE clause, whatever the plan.
SELECT idempotency.once('a', 'once') AS first, idempotency.once('a', 'once') AS second;
SELECT idempotency.once('a', 'once'), idempotency.once('a', 'once/other'), idempotency.once('A', 'once'), idempotency.once('a');
SELECT key, status, attempt, fingerprint IS NULL AS no_request, response, lease_until, completed_at = claimed_at AS at_once, expires_at - claimed_at AS ttl
FROM idempotency.lookup('a', 'once');
BEGIN;
SELECT idempotency.once('rolled back', 'once');
SELECT idempotency.once('rolled back', 'once');
ROLLBACK;
SELECT idempotency.once('rolled back', 'once');
BEGIN;
SAVEPOINT before;
SELECT idempotency.once('savepoint', 'once');
ROLLBACK TO before;
SELECT idempotency.once('savepoint', 'once');
COMMIT;
SELECT idempotency.once('savepoint', 'once');

-- ttl
SELECT expires_at - claimed_at AS ttl FROM (SELECT idempotency.once('month', 'once', '30 days')) AS o, LATERAL idempotency.lookup('month', 'once');
SELECT idempotency.once('short', 'once', '1 us');
SELECT pg_sleep(0.001);
SELECT idempotency.once('short', 'once', '1 hour') AS expired, idempotency.once('short', 'once') AS again;
SELECT idempotency.set_policy('once/policy', ttl => '2 hours');
SELECT expires_at - claimed_at AS ttl FROM (SELECT idempotency.once('policy', 'once/policy')) AS o, LATERAL idempotency.lookup('policy', 'once/policy');
SELECT idempotency.drop_policy('once/policy');

-- bad arguments
\set VERBOSITY sqlstate
SELECT idempotency.once(NULL, 'once');
SELECT idempotency.once('', 'once');
SELECT idempotency.once('bad', NULL);
SELECT idempotency.once(repeat('x', 256), 'once');
SELECT idempotency.once('bad', 'once', '0');
SELECT idempotency.once('bad', 'once', '-1 day');
BEGIN READ ONLY;
SELECT idempotency.once('a', 'once');
ROLLBACK;
\set VERBOSITY default

-- a key that was claimed by claim()
SELECT outcome FROM idempotency.claim('with a request', 'once', '1', lease => '1 minute');
SELECT idempotency.once('with a request', 'once');
SELECT idempotency.complete('with a request', 'once', attempt => 1);
SELECT idempotency.once('with a request', 'once');
SELECT outcome FROM idempotency.claim('without', 'once', lease => '1 hour');
SELECT idempotency.once('without', 'once');
SELECT idempotency.complete('without', 'once', '"result"', attempt => 1);
SELECT idempotency.once('without', 'once');
SELECT outcome FROM idempotency.claim('run out', 'once', lease => '1 us');
SELECT pg_sleep(0.001);
SELECT idempotency.once('run out', 'once');
\set VERBOSITY sqlstate
SELECT idempotency.complete('run out', 'once', attempt => 1);
\set VERBOSITY default
SELECT outcome FROM idempotency.claim('released', 'once', '1', lease => '1 minute');
SELECT idempotency.release('released', 'once', 1);
SELECT idempotency.once('released', 'once'), idempotency.once('released', 'once');
BEGIN;
SELECT outcome FROM idempotency.claim('own', 'once');
SELECT idempotency.once('own', 'once');
ROLLBACK;
\set VERBOSITY sqlstate
SELECT idempotency.once('with a request', 'once');
BEGIN;
SELECT outcome FROM idempotency.claim('own', 'once');
SELECT idempotency.once('own', 'once');
ROLLBACK;
\set VERBOSITY default
-- and the reverse: a key that once() has seen is completed
SELECT outcome, status_code, response FROM idempotency.claim('a', 'once');
SELECT outcome FROM idempotency.claim('a', 'once', '1');
\set VERBOSITY sqlstate
SELECT idempotency.complete('a', 'once', '"late"', attempt => 1);
\set VERBOSITY default

-- messages, some of them delivered twice
CREATE TABLE delivery (id integer PRIMARY KEY, message text, account integer);
INSERT INTO delivery SELECT n, 'm' || n % 700, n % 700 % 10 FROM generate_series(1, 1000) AS n;
CREATE TABLE account (account integer PRIMARY KEY, currency text);
INSERT INTO account SELECT n, 'EUR' FROM generate_series(0, 9) AS n;
CREATE TABLE inbox (message text);
ANALYZE delivery, account;
INSERT INTO inbox SELECT message FROM delivery WHERE idempotency.once(message, 'once/insert');
INSERT INTO inbox SELECT message FROM delivery WHERE idempotency.once(message, 'once/insert');
SELECT count(*), count(DISTINCT message) FROM inbox;
TRUNCATE inbox;

-- other conditions are evaluated first: messages that they exclude stay unseen
SELECT count(*) FROM delivery WHERE idempotency.once(message, 'once/condition') AND id <= 100;
SELECT count(*) FROM idempotency.keys WHERE scope = 'once/condition';

-- LIMIT: further messages stay unseen
SELECT count(*) FROM (SELECT message FROM delivery WHERE idempotency.once(message, 'once/limit') LIMIT 10) AS ten;
SELECT count(*) FROM idempotency.keys WHERE scope = 'once/limit';
SELECT count(*) FROM (SELECT message FROM delivery WHERE idempotency.once(message, 'once/limit') LIMIT 1000) AS rest;

-- joined afterwards, by every method of joining
CREATE FUNCTION joined(method text) RETURNS TABLE (plan text, messages bigint, different bigint, seen bigint) LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	PERFORM set_config('enable_nestloop', (method = 'nestloop')::text, true), set_config('enable_hashjoin', (method = 'hashjoin')::text, true),
		set_config('enable_mergejoin', (method = 'mergejoin')::text, true), set_config('enable_material', 'off', true), set_config('enable_memoize', 'off', true);
	FOR line IN EXPLAIN (COSTS OFF) SELECT FROM account JOIN (SELECT * FROM delivery WHERE idempotency.once(message, 'once/' || method) OFFSET 0) AS delivery USING (account) LOOP
		plan := coalesce(plan, line);
	END LOOP;
	WITH new AS MATERIALIZED (SELECT * FROM delivery WHERE idempotency.once(message, 'once/' || method))
	SELECT count(*), count(DISTINCT message) INTO messages, different FROM new JOIN account USING (account);
	SELECT count(*) INTO seen FROM idempotency.keys WHERE scope = 'once/' || method;
	RETURN NEXT;
END $$;
SELECT joined.* FROM unnest('{nestloop, hashjoin, mergejoin}'::text[]) AS method, joined(method);

SELECT count(*) - count(DISTINCT (scope, key)) AS keys_stored_twice FROM idempotency.keys WHERE scope LIKE 'once%';
SELECT idempotency.forget('a');
DROP FUNCTION joined(text);
DROP TABLE delivery, account, inbox;
