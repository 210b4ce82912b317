-- An owner that returns after the end of its ttl, lease and slot is distinguished
-- from the new owner as long as the slot has not been emptied.

UPDATE idempotency.wheel SET until = clock_timestamp() + (slot + 1) * interval '1 hour';
UPDATE idempotency.wheel SET until = clock_timestamp() + interval '0.3 s' WHERE slot = 0;
SELECT outcome, attempt FROM idempotency.claim('k', 'late_owner', ttl => '10 ms', lease => '10 ms');
DO $$
BEGIN
	WHILE (SELECT until >= clock_timestamp() FROM idempotency.wheel WHERE slot = 0) LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT outcome, attempt FROM idempotency.claim('k', 'late_owner', ttl => '2 hours', lease => '1 minute');
SELECT idempotency.complete('k', 'late_owner', '"late"', attempt => 1);
SELECT idempotency.complete('k', 'late_owner', '"in time"', attempt => 2);
SELECT outcome, response FROM idempotency.claim('k', 'late_owner');
SELECT count(*) FROM idempotency.keys WHERE scope = 'late_owner';

UPDATE idempotency.wheel SET until = date_trunc('day', clock_timestamp(), 'UTC') + (slot + 1) * interval '24 hours';
