-- A released key is free for the next claim, also with another request; only
-- its attempt is kept.
\getenv abs_srcdir PG_ABS_SRCDIR
\i :abs_srcdir/test/show_error.sql

SELECT outcome, attempt FROM idempotency.claim('key', 'release', '1', lease => '1 hour');
SELECT idempotency.checkpoint('key', 'release', 'step', '1', 1);
SELECT outcome FROM idempotency.claim('key', 'release', '2');
SELECT idempotency.release('key', 'release', 1);
SELECT status, attempt, fingerprint, status_code, resource_id, response, recovery_point, state, lease_until, completed_at
FROM idempotency.lookup('key', 'release');

-- the former owner can't change the key
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'release', attempt => 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.fail('key', 'release', attempt => 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.release('key', 'release', 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.heartbeat('key', 'release', 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.checkpoint('key', 'release', 'step', attempt => 1) $$);

-- the next claim may carry another request, which then counts
SELECT outcome, proceed, status_code, attempt, recovery_point, state FROM idempotency.claim('key', 'release', '2', lease => '1 minute');
SELECT outcome FROM idempotency.claim('key', 'release', '1');
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'release', '"first"', attempt => 1) $$);
SELECT idempotency.complete('key', 'release', '"second"', attempt => 2);
SELECT outcome, response FROM idempotency.claim('key', 'release', '2');
SELECT outcome, response FROM idempotency.claim('key', 'release', '1');

-- a completed key can't be released
CALL pg_temp.show_error($$ SELECT idempotency.release('key', 'release', 2) $$);
SELECT outcome, response FROM idempotency.claim('key', 'release', '2');

-- claimed and released over and over, the attempt rises
DO $$
BEGIN
	FOR n IN 1 .. 5 LOOP
		RAISE INFO '%', (SELECT (outcome, attempt) FROM idempotency.claim('often', 'release', to_jsonb(n)));
		PERFORM idempotency.release('often', 'release');
	END LOOP;
END $$;
SELECT outcome, attempt FROM idempotency.claim('often', 'release', lease => '1 minute');

-- a release that is rolled back has no effect
BEGIN;
SELECT idempotency.release('often', 'release', 6);
ROLLBACK;
SELECT outcome FROM idempotency.claim('often', 'release');

-- never claimed
CALL pg_temp.show_error($$ SELECT idempotency.release('absent', 'release', 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.release('absent', 'release') $$);
SELECT count(*) AS row_count, count(DISTINCT key) AS keys FROM idempotency.keys WHERE scope = 'release';
