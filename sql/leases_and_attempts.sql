-- A claim that was committed unfinished has a lease, which protects the key
-- until it expires; then the next request takes over with a higher attempt, and
-- the old owner can't write.
\getenv abs_srcdir PG_ABS_SRCDIR
\i :abs_srcdir/test/show_error.sql

-- Claim until the key is taken over.
CREATE FUNCTION pg_temp.take_over(key text, lease interval) RETURNS idempotency.claim_result
LANGUAGE plpgsql AS $$
DECLARE
	claim idempotency.claim_result;
	give_up timestamptz := clock_timestamp() + interval '10 s';
BEGIN
	LOOP
		claim := idempotency.claim(key, 'leases_and_attempts', '1', lease => lease);
		EXIT WHEN claim.outcome <> 'in_progress' OR clock_timestamp() > give_up;
		PERFORM pg_sleep(0.002);
	END LOOP;
	RETURN claim;
END $$;

SELECT outcome, proceed, attempt FROM idempotency.claim('key', 'leases_and_attempts', '1', lease => '1 hour');
SELECT outcome, proceed, status_code, attempt, completed_at,
	   retry_after > '59 minutes' AND retry_after <= '1 hour' AS what_is_left,
	   claimed_at < clock_timestamp() AS claimed, expires_at > clock_timestamp() AS expires
FROM idempotency.claim('key', 'leases_and_attempts', '1');

-- a committed lease is not waited for
SET statement_timeout = '30 s';
SELECT outcome FROM idempotency.claim('key', 'leases_and_attempts', '1', wait => '1 hour');
RESET statement_timeout;

-- the owner's lease counts, not that of the new claim
SELECT outcome FROM idempotency.claim('key', 'leases_and_attempts', '1', lease => '1 us');
SELECT outcome FROM idempotency.claim('key', 'leases_and_attempts', '1');

-- the owner shortens its lease, and the key is taken over several times
SELECT idempotency.heartbeat('key', 'leases_and_attempts', 1, '20 ms') < clock_timestamp() + interval '1 minute' AS short;
SELECT outcome, proceed, status_code, attempt, retry_after, response, completed_at FROM pg_temp.take_over('key', '20 ms');
SELECT outcome, proceed, status_code, attempt FROM pg_temp.take_over('key', '20 ms');
SELECT outcome, proceed, status_code, attempt FROM pg_temp.take_over('key', '1 hour');

-- superseded attempts change nothing
CREATE TEMPORARY TABLE stored AS SELECT * FROM idempotency.lookup('key', 'leases_and_attempts');
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'leases_and_attempts', '"late"', attempt => 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'leases_and_attempts', '"late"', attempt => 2) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'leases_and_attempts', '"late"', attempt => 3) $$);
CALL pg_temp.show_error($$ SELECT idempotency.fail('key', 'leases_and_attempts', '"late"', attempt => 3) $$);
CALL pg_temp.show_error($$ SELECT idempotency.release('key', 'leases_and_attempts', 3) $$);
CALL pg_temp.show_error($$ SELECT idempotency.heartbeat('key', 'leases_and_attempts', 3) $$);
CALL pg_temp.show_error($$ SELECT idempotency.checkpoint('key', 'leases_and_attempts', 'late', attempt => 3) $$);
SELECT stored = l AS unchanged FROM stored, idempotency.lookup('key', 'leases_and_attempts') AS l;

-- nor after the owner has completed the key
SELECT idempotency.complete('key', 'leases_and_attempts', '"in time"', attempt => 4);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'leases_and_attempts', '"in time"', attempt => 3) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'leases_and_attempts', '"late"', attempt => 1) $$);
SELECT outcome, response, attempt FROM idempotency.claim('key', 'leases_and_attempts', '1');
SELECT attempt FROM idempotency.lookup('key', 'leases_and_attempts');

-- an owner whose lease has expired but that was not superseded continues
SELECT outcome, attempt FROM idempotency.claim('slow', 'leases_and_attempts', lease => '1 us'), pg_sleep(0.001);
SELECT lease_until < clock_timestamp() AS run_out FROM idempotency.lookup('slow', 'leases_and_attempts');
SELECT idempotency.checkpoint('slow', 'leases_and_attempts', 'step', '1', 1, '1 us');
SELECT pg_sleep(0.001);
SELECT idempotency.heartbeat('slow', 'leases_and_attempts', 1, '1 us') < clock_timestamp() AS run_out;
SELECT pg_sleep(0.001);
SELECT idempotency.complete('slow', 'leases_and_attempts', '"slow but first"', attempt => 1);
SELECT outcome, response FROM idempotency.claim('slow', 'leases_and_attempts');

SELECT outcome, attempt FROM idempotency.claim('slow failure', 'leases_and_attempts', lease => '1 us'), pg_sleep(0.001);
SELECT idempotency.fail('slow failure', 'leases_and_attempts', '"failed"', attempt => 1);
SELECT outcome, response FROM idempotency.claim('slow failure', 'leases_and_attempts');

SELECT outcome, attempt FROM idempotency.claim('slow release', 'leases_and_attempts', lease => '1 us'), pg_sleep(0.001);
SELECT idempotency.release('slow release', 'leases_and_attempts', 1);
SELECT outcome, attempt FROM idempotency.claim('slow release', 'leases_and_attempts', lease => '1 minute');

-- a heartbeat after the lease has expired protects the key again
SELECT outcome, attempt FROM idempotency.claim('revived', 'leases_and_attempts', lease => '1 us'), pg_sleep(0.001);
SELECT idempotency.heartbeat('revived', 'leases_and_attempts', 1, '1 minute') > clock_timestamp() AS renewed;
SELECT outcome FROM idempotency.claim('revived', 'leases_and_attempts');

-- a takeover that is rolled back has no effect
SELECT outcome, attempt FROM idempotency.claim('undone', 'leases_and_attempts', '1', lease => '1 us'), pg_sleep(0.001);
BEGIN;
SELECT outcome, attempt FROM idempotency.claim('undone', 'leases_and_attempts', '1');
CALL pg_temp.show_error($$ SELECT idempotency.complete('undone', 'leases_and_attempts', attempt => 1) $$);
ROLLBACK;
SELECT idempotency.complete('undone', 'leases_and_attempts', '"first"', attempt => 1);
SELECT outcome, response FROM idempotency.claim('undone', 'leases_and_attempts', '1');

-- an attempt that never existed
SELECT outcome, attempt FROM idempotency.claim('never', 'leases_and_attempts', lease => '1 minute');
CALL pg_temp.show_error($$ SELECT idempotency.complete('never', 'leases_and_attempts', attempt => 2) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('never', 'leases_and_attempts', attempt => 2147483647) $$);
SELECT status, attempt FROM idempotency.lookup('never', 'leases_and_attempts');

SELECT count(*) AS row_count, count(DISTINCT key) AS keys FROM idempotency.keys WHERE scope = 'leases_and_attempts';
