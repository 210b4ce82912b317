-- claim_many() and complete_many() do for each of many keys what claim() and
-- complete() do for one.
SELECT outcome, attempt FROM idempotency.claim('done', 'many', '1', lease => '1 minute');
SELECT idempotency.complete('done', 'many', '{"id": 7}', '7', 202, 1);
SELECT outcome FROM idempotency.claim('failed', 'many', lease => '1 minute');
SELECT idempotency.fail('failed', 'many', '"reason"', status_code => 402, attempt => 1);
SELECT outcome FROM idempotency.claim('leased', 'many', lease => '1 hour');
SELECT outcome FROM idempotency.claim('run out', 'many', lease => '1 us');
SELECT idempotency.checkpoint('run out', 'many', 'charged', '{"charge": 1}', 1, '1 us');
SELECT outcome FROM idempotency.claim('released', 'many', '1', lease => '1 minute');
SELECT idempotency.release('released', 'many', 1);
SELECT outcome FROM idempotency.claim('expired', 'many', '1', ttl => '1 us', lease => '1 us');
SELECT pg_sleep(0.001);
SELECT outcome FROM idempotency.claim('erased', 'many', '1', lease => '1 minute');
SELECT idempotency.complete('erased', 'many', '"secret"', attempt => 1);
SELECT idempotency.erase('erased', 'many');

-- in order, each by the rules of claim()
BEGIN;
SELECT ord, key, outcome, proceed, status_code, resource_id, response, attempt, recovery_point, state, retry_after BETWEEN '1 s' AND '1 hour' AS retry
FROM idempotency.claim_many(ARRAY['new', 'done', 'done', 'failed', 'leased', 'run out', 'released', 'expired', 'erased', 'new', 'another', 'new'], 'many',
	'{1, 1, 2, NULL, NULL, NULL, 2, 2, 3, 1, NULL, 2}');
-- and complete_many() for the keys that are owned
SELECT idempotency.complete_many(ARRAY['new', 'run out', 'released', 'expired', 'another'], 'many',
	ARRAY['1', 'null', NULL, '{}', '"a"']::jsonb[], '{id, NULL, "", 4, 5}', '{201, NULL, 404, NULL, 599}', '{1, 2, NULL, NULL, 1}');
SELECT ord, key, outcome, status_code, resource_id, response, attempt
FROM idempotency.claim_many(ARRAY['new', 'run out', 'released', 'expired', 'another'], 'many', '{1, NULL, 2, 2, NULL}');
COMMIT;
SELECT ord, key, outcome, status_code, resource_id, response, attempt
FROM idempotency.claim_many(ARRAY['new', 'run out', 'released', 'expired', 'another'], 'many', '{1, NULL, 2, 2, NULL}');
SELECT key, status, attempt, count(*) OVER (PARTITION BY key) AS row_count FROM idempotency.keys
WHERE scope = 'many' AND expires_at > clock_timestamp() ORDER BY key COLLATE "C";

-- the columns are those of a claim
SELECT * FROM idempotency.claim_many('{}');
SELECT array_agg(attname::text ORDER BY attnum) = (
	SELECT p.proargnames[7:] FROM pg_proc AS p WHERE p.oid = 'idempotency.claim_many'::regproc) AS same_columns
FROM (SELECT 'ord'::name AS attname, -2 AS attnum UNION ALL SELECT 'key', -1 UNION ALL
	SELECT attname, attnum FROM pg_attribute WHERE attrelid = 'idempotency.claim_result'::regclass) AS c;
SELECT count(*) AS different
FROM idempotency.claim_many('{new}', 'many', '{1}', lease => '1 minute') AS m, idempotency.claim('new', 'many', '1', lease => '1 minute') AS c
WHERE (m.outcome, m.proceed, m.status_code, m.resource_id, m.response, m.attempt, m.recovery_point, m.state, m.retry_after, m.claimed_at, m.completed_at, m.expires_at) IS DISTINCT FROM c;

-- empty arrays, and calls without the optional arguments
SELECT count(*) FROM idempotency.claim_many('{}', 'many', '{}');
SELECT idempotency.complete_many('{}', 'many', '{}', '{}', '{}', '{}');
SELECT idempotency.complete_many('{}');
BEGIN;
SELECT ord, key, outcome FROM idempotency.claim_many('{b, a}');
SELECT idempotency.complete_many('{a, b}');
SELECT ord, key, outcome, status_code, response FROM idempotency.claim_many('{{a, b}, {b, a}}');
ROLLBACK;

-- ttl and lease
BEGIN;
SELECT expires_at - claimed_at AS ttl FROM idempotency.claim_many('{ttl}', 'many', ttl => '3 days', lease => '2 hours');
SELECT lease_until - claimed_at AS lease FROM idempotency.lookup('ttl', 'many');
SELECT expires_at - claimed_at AS ttl FROM idempotency.claim_many('{long}', 'many', ttl => '1 hour', lease => '2 hours');
SELECT idempotency.complete_many('{ttl, long}', 'many');
SELECT key, expires_at - claimed_at AS ttl FROM idempotency.claim_many('{ttl, long}', 'many');
ROLLBACK;

-- in ordinary statements
SELECT count(*) FROM idempotency.claim_many('{x, y, z}', 'many/where', lease => '1 minute') AS c WHERE c.proceed;
SELECT key, outcome FROM idempotency.claim_many('{x, y, w}', 'many/where', lease => '1 hour') AS c ORDER BY ord DESC LIMIT 2;
SELECT (SELECT count(*) FROM idempotency.claim_many(ARRAY['row ' || n], 'many/where', lease => '1 minute') WHERE proceed) FROM generate_series(1, 3) AS n;

-- completing again
SELECT idempotency.complete_many('{x, y}', 'many/where', '{1, 2}', attempts => '{1, 1}');
SELECT idempotency.complete_many('{y, x, y}', 'many/where', '{2, 1, 2}', attempts => '{1, 1, 1}');

-- bad arguments
SELECT idempotency.claim_many(NULL, 'many');
SELECT idempotency.claim_many('{a, b}', 'many', '{1}');
SELECT idempotency.claim_many('{a, b}', 'many', '{1, 2, 3}');
SELECT idempotency.claim_many('{a, NULL}', 'many');
SELECT idempotency.claim_many('{a, ""}', 'many');
SELECT idempotency.claim_many(ARRAY['a', repeat('x', 256)], 'many');
SELECT idempotency.complete_many(NULL, 'many');
SELECT idempotency.complete_many('{x, NULL}', 'many/where');
\set VERBOSITY sqlstate
SELECT idempotency.claim_many(NULL, 'many');
SELECT idempotency.claim_many('{a, b}', 'many', '{1}');
SELECT idempotency.claim_many('{a, NULL}', 'many');
SELECT idempotency.claim_many('{a}', NULL);
SELECT idempotency.claim_many('{a}', 'many', ttl => '0');
SELECT idempotency.claim_many('{a}', 'many', lease => '0');
SELECT idempotency.claim_many('{a}', 'many', wait => '-1 s');
SELECT idempotency.claim_many('{}', 'many', wait => '-1 s');
SELECT idempotency.complete_many('{x, y}', 'many/where', '{1}', attempts => '{1, 1}');
SELECT idempotency.complete_many('{x, y}', 'many/where', resource_ids => '{1}', attempts => '{1, 1}');
SELECT idempotency.complete_many('{x, y}', 'many/where', status_codes => '{200, 201, 202}', attempts => '{1, 1}');
SELECT idempotency.complete_many('{x, y}', 'many/where', attempts => '{1}');
SELECT idempotency.complete_many('{w}', 'many/where', status_codes => '{99}', attempts => '{1}');
SELECT idempotency.complete_many('{w}', 'many/where', attempts => '{0}');
BEGIN READ ONLY;
SELECT idempotency.claim_many('{a}', 'many');
ROLLBACK;
BEGIN READ ONLY;
SELECT idempotency.complete_many('{a}', 'many');
ROLLBACK;
\set VERBOSITY default
SELECT count(*) FROM idempotency.keys WHERE scope = 'many' AND key IN ('a', 'b');

-- an error in one element undoes all of them
SELECT count(*) FROM idempotency.claim_many('{p, q, r, s}', 'many/errors', lease => '1 hour');
SELECT idempotency.checkpoint('q', 'many/errors', attempt => 1, lease => '1 us');
SELECT pg_sleep(0.001);
SELECT outcome, attempt FROM idempotency.claim('q', 'many/errors', lease => '1 hour');
\set VERBOSITY sqlstate
-- taken over
SELECT idempotency.complete_many('{p, q, r}', 'many/errors', '{1, 2, 3}', attempts => '{1, 1, 1}');
-- attempt left out in a later transaction
SELECT idempotency.complete_many('{p, q, r}', 'many/errors', '{1, 2, 3}', attempts => '{1, 2, NULL}');
SELECT idempotency.complete_many('{p, q, r}', 'many/errors', '{1, 2, 3}');
-- never claimed
SELECT idempotency.complete_many('{p, q, other}', 'many/errors', '{1, 2, 3}', attempts => '{1, 2, 1}');
-- twice, with different results
SELECT idempotency.complete_many('{p, q, p}', 'many/errors', '{1, 2, 3}', attempts => '{1, 2, 1}');
-- too large
SET idempotency.max_response_size = '1kB';
SELECT idempotency.complete_many('{p, q}', 'many/errors', ARRAY['1', to_jsonb(repeat('x', 2000))], attempts => '{1, 2}');
RESET idempotency.max_response_size;
SELECT idempotency.claim_many(ARRAY['t', repeat('x', 256)], 'many/errors');
\set VERBOSITY default
SELECT key, status, attempt FROM idempotency.keys WHERE scope = 'many/errors' ORDER BY key;
SELECT idempotency.complete_many('{p, q, r}', 'many/errors', '{1, 2, 3}', attempts => '{1, 2, 1}');
SELECT key, status, attempt, response FROM idempotency.keys WHERE scope = 'many/errors' ORDER BY key;

-- policies hold for each element
SELECT idempotency.set_policy('many/policy', require_request => true, min_key_length => 3, ttl => '2 hours', lease => '1 hour', max_response_bytes => 10);
\set VERBOSITY sqlstate
SELECT idempotency.claim_many('{long enough, too}', 'many/policy', '{1, NULL}');
SELECT idempotency.claim_many('{long enough, no}', 'many/policy', '{1, 2}');
\set VERBOSITY default
BEGIN;
SELECT ord, key, outcome, expires_at - claimed_at AS ttl FROM idempotency.claim_many('{long enough, yes}', 'many/policy', '{1, 2}');
\set VERBOSITY sqlstate
SELECT idempotency.complete_many('{long enough, yes}', 'many/policy', '{1, "12345678901"}');
\set VERBOSITY default
ROLLBACK;
SELECT count(*) FROM idempotency.keys WHERE scope = 'many/policy';
SELECT idempotency.drop_policy('many/policy');

-- savepoints, and an error that is caught
BEGIN;
SAVEPOINT before;
SELECT ord, outcome FROM idempotency.claim_many('{1, 2}', 'many/savepoint');
ROLLBACK TO before;
SELECT ord, outcome FROM idempotency.claim_many('{2, 3}', 'many/savepoint');
SAVEPOINT claimed;
SELECT idempotency.complete_many('{2, 4}', 'many/savepoint');
ROLLBACK TO claimed;
SELECT idempotency.complete_many('{2, 3}', 'many/savepoint');
COMMIT;
SELECT key, status FROM idempotency.keys WHERE scope = 'many/savepoint' ORDER BY key;

-- claims that are written when they are made: rows whose writing was rolled back are not found
BEGIN;
SELECT array_agg('written ' || n) AS written FROM generate_series(1, 100) AS n \gset
SAVEPOINT before;
SELECT count(*) FROM idempotency.claim_many(:'written', 'many/savepoint', lease => '1 minute');
ROLLBACK TO before;
SELECT idempotency.complete('written 50', 'many/savepoint');
ROLLBACK TO before;
SELECT count(*) FROM idempotency.claim_many(:'written', 'many/savepoint', lease => '1 minute') WHERE outcome = 'new';
SAVEPOINT claimed;
SELECT idempotency.complete_many(:'written', 'many/savepoint', status_codes => array_fill(201, '{100}'));
ROLLBACK TO claimed;
SELECT count(idempotency.forget('written ' || n, 'many/savepoint')) FROM generate_series(1, 10) AS n;
ROLLBACK TO claimed;
SELECT idempotency.complete_many(:'written', 'many/savepoint', array_fill('1'::jsonb, '{100}'));
COMMIT;
SELECT status, response, attempt, count(*) FROM idempotency.keys WHERE scope = 'many/savepoint' AND key LIKE 'written %' GROUP BY 1, 2, 3;

-- in the list of a SELECT
SELECT (c).ord, (c).outcome FROM (SELECT idempotency.claim_many('{listed 1, listed 2}', 'many', lease => '1 minute') AS c OFFSET 0) AS l;

SELECT count(*) - count(DISTINCT (scope, key)) AS keys_stored_twice FROM idempotency.keys WHERE scope LIKE 'many%' AND expires_at > clock_timestamp();
