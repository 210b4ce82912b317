-- forget() removes a key whatever its state is: the next request runs like the
-- first one.
SELECT idempotency.forget('never claimed', 'forget');
SELECT outcome FROM idempotency.claim('completed', 'forget', '1', lease => '1 minute');
SELECT idempotency.complete('completed', 'forget', '"result"', attempt => 1);
SELECT outcome FROM idempotency.claim('failed', 'forget', '1', lease => '1 minute');
SELECT idempotency.fail('failed', 'forget', '"reason"', attempt => 1);
SELECT outcome FROM idempotency.claim('leased', 'forget', '1', lease => '1 hour');
SELECT outcome FROM idempotency.claim('run out', 'forget', '1', lease => '1 us');
SELECT outcome FROM idempotency.claim('released', 'forget', '1', lease => '1 minute');
SELECT idempotency.release('released', 'forget', 1);
SELECT outcome FROM idempotency.claim('expired', 'forget', '1', ttl => '1 us', lease => '1 us');
SELECT outcome FROM idempotency.claim('long', 'forget', '1', ttl => '1 year', lease => '1 us');
SELECT idempotency.once('once', 'forget');
SELECT outcome FROM idempotency.claim('erased', 'forget', '1', lease => '1 minute');
SELECT idempotency.complete('erased', 'forget', attempt => 1);
SELECT idempotency.erase('erased', 'forget');
SELECT pg_sleep(0.001);
DO $$
DECLARE
	name text;
	forgotten boolean;
	again boolean;
	c idempotency.claim_result;
BEGIN
	FOREACH name IN ARRAY '{completed, failed, leased, run out, released, expired, long, once, erased}'::text[] LOOP
		forgotten := idempotency.forget(name, 'forget');
		again := idempotency.forget(name, 'forget');
		c := idempotency.claim(name, 'forget', '2', lease => '1 minute');
		RAISE NOTICE '%: forgotten %, again %, then % attempt %', name, forgotten, again, c.outcome, c.attempt;
	END LOOP;
END $$;

-- byte for byte, in this scope only
SELECT outcome FROM (VALUES ('k', 'forget/1'), ('K', 'forget/1'), ('k', 'forget/2')) AS v (key, scope), idempotency.claim(key, scope, lease => '1 minute');
SELECT idempotency.forget('k', 'forget/1');
SELECT scope, key FROM idempotency.keys WHERE scope LIKE 'forget/%' ORDER BY scope, key;

-- in a transaction that is rolled back
BEGIN;
SELECT idempotency.forget('K', 'forget/1');
SELECT count(*) FROM idempotency.lookup('K', 'forget/1');
SELECT outcome FROM idempotency.claim('K', 'forget/1');
ROLLBACK;
SELECT status, attempt FROM idempotency.lookup('K', 'forget/1');
-- what the same transaction has claimed
BEGIN;
SELECT outcome FROM idempotency.claim('own', 'forget/1');
SELECT idempotency.forget('own', 'forget/1');
SAVEPOINT forgotten;
SELECT idempotency.complete('own', 'forget/1');
ROLLBACK TO forgotten;
SELECT outcome, attempt FROM idempotency.claim('own', 'forget/1');
SELECT idempotency.complete('own', 'forget/1', '"second"');
SELECT idempotency.forget('own', 'forget/1');
ROLLBACK TO forgotten;
COMMIT;
SELECT count(*) FROM idempotency.lookup('own', 'forget/1');
-- an owner whose key was forgotten finds nothing to complete
SELECT outcome FROM idempotency.claim('owned', 'forget/1', lease => '1 hour');
SELECT idempotency.forget('owned', 'forget/1');
SELECT idempotency.complete('owned', 'forget/1', attempt => 1);

\set VERBOSITY sqlstate
SELECT idempotency.forget(NULL);
SELECT idempotency.forget('');
SELECT idempotency.forget('k', NULL);
BEGIN READ ONLY;
SELECT idempotency.forget('K', 'forget/1');
ROLLBACK;
\set VERBOSITY default
SELECT idempotency.forget(key, scope) FROM idempotency.keys WHERE scope LIKE 'forget/%' ORDER BY scope, key;
SELECT count(*) FROM idempotency.keys WHERE scope LIKE 'forget/%';
