-- An expired key counts as absent, whether or not its row was swept.
\getenv abs_srcdir PG_ABS_SRCDIR
\i :abs_srcdir/test/show_error.sql

CREATE PROCEDURE pg_temp.await_expiry(key text) LANGUAGE plpgsql AS $$
DECLARE
	give_up timestamptz := clock_timestamp() + interval '5 s';
BEGIN
	WHILE EXISTS (SELECT FROM idempotency.lookup(key, 'expired')) AND clock_timestamp() < give_up LOOP
		PERFORM pg_sleep(0.001);
	END LOOP;
END $$;

-- completed
BEGIN;
SELECT outcome FROM idempotency.claim('completed', 'expired', '1');
SELECT idempotency.complete('completed', 'expired', '1', 'id', 201, ttl => '10 ms');
COMMIT;
CALL pg_temp.await_expiry('completed');
SELECT count(*) FROM idempotency.lookup('completed', 'expired');
CALL pg_temp.show_error($$ SELECT idempotency.complete('completed', 'expired', '1', 'id', 201, attempt => 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('completed', 'expired', '1') $$);
SELECT outcome, proceed, attempt, status_code, response, completed_at FROM idempotency.claim('completed', 'expired', '2', lease => '1 minute');
-- nothing is left of what was stored
SELECT status, status_code, resource_id, response, completed_at FROM idempotency.lookup('completed', 'expired');
SELECT outcome FROM idempotency.claim('completed', 'expired', '1');
SELECT idempotency.complete('completed', 'expired', '2', attempt => 1);
SELECT outcome, response FROM idempotency.claim('completed', 'expired', '2');

-- failed
BEGIN;
SELECT outcome FROM idempotency.claim('failed', 'expired', '1');
SELECT idempotency.fail('failed', 'expired', '1', ttl => '10 ms');
COMMIT;
CALL pg_temp.await_expiry('failed');
SELECT outcome, attempt FROM idempotency.claim('failed', 'expired', '2', lease => '1 minute');

-- unfinished: no takeover, since an expired claim counts as absent
BEGIN;
SELECT outcome FROM idempotency.claim('unfinished', 'expired', '1', ttl => '10 ms', lease => '10 ms');
SELECT idempotency.checkpoint('unfinished', 'expired', 'step', '1', lease => '10 ms');
COMMIT;
CALL pg_temp.await_expiry('unfinished');
CALL pg_temp.show_error($$ SELECT idempotency.heartbeat('unfinished', 'expired', 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.checkpoint('unfinished', 'expired', 'step', attempt => 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.release('unfinished', 'expired', 1) $$);
SELECT outcome, recovery_point, state FROM idempotency.claim('unfinished', 'expired', '2', lease => '1 minute');
SELECT recovery_point, state FROM idempotency.lookup('unfinished', 'expired');

-- released
BEGIN;
SELECT outcome FROM idempotency.claim('released', 'expired', '1', ttl => '10 ms', lease => '10 ms');
SELECT idempotency.release('released', 'expired');
COMMIT;
CALL pg_temp.await_expiry('released');
SELECT outcome, attempt FROM idempotency.claim('released', 'expired', '2', lease => '1 minute');

-- with a first_sent from before
BEGIN;
SELECT outcome FROM idempotency.claim('sent before', 'expired', '1');
SELECT idempotency.complete('sent before', 'expired', '1', ttl => '10 ms');
COMMIT;
CALL pg_temp.await_expiry('sent before');
SELECT outcome, proceed, status_code, response
FROM idempotency.claim('sent before', 'expired', '1', ttl => '1 us', first_sent => clock_timestamp() - interval '1 s');

-- a long ttl, then a short one: the row that the claim finds is in another table
-- of the wheel than its own row will be
BEGIN;
SELECT outcome FROM idempotency.claim('long', 'expired', '1', ttl => '30 days');
SELECT idempotency.complete('long', 'expired', '1', ttl => '10 ms');
COMMIT;
CALL pg_temp.await_expiry('long');
SELECT outcome FROM idempotency.claim('long', 'expired', '2', ttl => '3 days', lease => '1 minute');
SELECT idempotency.complete('long', 'expired', '2', attempt => 1);
SELECT outcome, response FROM idempotency.claim('long', 'expired', '2');
BEGIN;
SELECT outcome FROM idempotency.claim('short', 'expired', '1');
SELECT idempotency.complete('short', 'expired', '1', ttl => '10 ms');
COMMIT;
CALL pg_temp.await_expiry('short');
SELECT outcome FROM idempotency.claim('short', 'expired', '2', ttl => '30 days', lease => '1 minute');
SELECT idempotency.complete('short', 'expired', '2', attempt => 1);
SELECT outcome, response FROM idempotency.claim('short', 'expired', '2');

-- an owner that has not ended its claim when it expired can't end the next one
SELECT outcome, attempt FROM idempotency.claim('late owner', 'expired', '1', ttl => '1 ms', lease => '1 ms');
CALL pg_temp.await_expiry('late owner');
SELECT outcome, attempt FROM idempotency.claim('late owner', 'expired', '2', lease => '1 hour');
SELECT idempotency.complete('late owner', 'expired', '1', attempt => 1);
SELECT idempotency.complete('late owner', 'expired', '2', attempt => 2);
SELECT outcome, response FROM idempotency.claim('late owner', 'expired', '2');

-- over and over, in one transaction and in many
DO $$
BEGIN
	FOR n IN 1 .. 20 LOOP
		RAISE DEBUG '%', idempotency.claim('often', 'expired', to_jsonb(n));
		PERFORM idempotency.complete('often', 'expired', to_jsonb(n), ttl => '1 us');
		PERFORM pg_sleep(0.0001);
		IF n % 2 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END $$;
SELECT outcome FROM idempotency.claim('often', 'expired', lease => '1 minute');

-- one live row for each key
SELECT key, count(*) FROM idempotency.keys WHERE scope = 'expired' AND expires_at > clock_timestamp()
GROUP BY key ORDER BY key COLLATE "C";
