-- A claim that is rolled back to a savepoint is gone as if it had never been
-- made, and so is any other change of a key.
BEGIN;
SAVEPOINT before;
SELECT outcome, attempt FROM idempotency.claim('claim', 'savepoints', '1');
ROLLBACK TO before;
SELECT count(*) FROM idempotency.lookup('claim', 'savepoints');
SELECT outcome, attempt FROM idempotency.claim('claim', 'savepoints', '2');
ROLLBACK TO before;
-- many times
DO $$
BEGIN
	FOR n IN 1 .. 100 LOOP
		BEGIN
			IF (idempotency.claim('claim', 'savepoints', to_jsonb(n))).outcome IS DISTINCT FROM 'new' THEN
				RAISE WARNING 'claim % was not new', n;
			END IF;
			RAISE EXCEPTION USING ERRCODE = 'raise_exception';
		EXCEPTION WHEN raise_exception THEN
		END;
	END LOOP;
END $$;
SELECT outcome, attempt FROM idempotency.claim('claim', 'savepoints', '3', lease => '1 minute');
COMMIT;
SELECT outcome FROM idempotency.claim('claim', 'savepoints', '1');
SELECT outcome FROM idempotency.claim('claim', 'savepoints', '3');

-- completion
BEGIN;
SELECT outcome FROM idempotency.claim('complete', 'savepoints');
SAVEPOINT claimed;
SELECT idempotency.complete('complete', 'savepoints', '1', ttl => '30 days');
ROLLBACK TO claimed;
SELECT status, response FROM idempotency.lookup('complete', 'savepoints');
SELECT idempotency.fail('complete', 'savepoints', '2');
ROLLBACK TO claimed;
SELECT idempotency.release('complete', 'savepoints');
ROLLBACK TO claimed;
SELECT idempotency.checkpoint('complete', 'savepoints', 'step', '1', lease => '30 days');
ROLLBACK TO claimed;
SELECT status, recovery_point, state FROM idempotency.lookup('complete', 'savepoints');
SELECT idempotency.complete('complete', 'savepoints', '3');
RELEASE claimed;
COMMIT;
SELECT outcome, response FROM idempotency.claim('complete', 'savepoints');

-- takeover: the earlier owner is the owner again
SELECT outcome, attempt FROM idempotency.claim('takeover', 'savepoints', lease => '1 us');
SELECT pg_sleep(0.001);
BEGIN;
SAVEPOINT before;
SELECT outcome, attempt FROM idempotency.claim('takeover', 'savepoints');
ROLLBACK TO before;
SELECT status, attempt FROM idempotency.lookup('takeover', 'savepoints');
SELECT idempotency.complete('takeover', 'savepoints', '"first owner"', attempt => 1);
COMMIT;
SELECT outcome, response FROM idempotency.claim('takeover', 'savepoints');

-- an error in a subtransaction
BEGIN;
SELECT outcome FROM idempotency.claim('error', 'savepoints');
SAVEPOINT claimed;
SELECT idempotency.complete('error', 'savepoints', status_code => 99);
ROLLBACK TO claimed;
SELECT outcome FROM idempotency.claim('error', 'savepoints');
SELECT idempotency.complete('error', 'savepoints', '1');
COMMIT;
SELECT outcome, response FROM idempotency.claim('error', 'savepoints');

-- claimed in one level, completed in another, kept
BEGIN;
SAVEPOINT a;
SELECT outcome FROM idempotency.claim('levels', 'savepoints');
SAVEPOINT b;
SELECT idempotency.checkpoint('levels', 'savepoints', 'step');
RELEASE b;
RELEASE a;
SAVEPOINT c;
SELECT idempotency.complete('levels', 'savepoints', '1');
RELEASE c;
COMMIT;
SELECT outcome, response FROM idempotency.claim('levels', 'savepoints');

SELECT count(*) AS row_count, count(DISTINCT key) AS keys FROM idempotency.keys WHERE scope = 'savepoints';
