-- A transaction that works until its claim's slot is past is still the owner: it
-- does not become the owner a second time, and may complete with a ttl that
-- begins then.
BEGIN;
UPDATE idempotency.wheel SET until = clock_timestamp() + interval '1 s' WHERE slot = 0;
SELECT outcome, attempt FROM idempotency.claim('key', 'owner_outlives_slot', ttl => '0.01 s', lease => '0.01 s');
SELECT slot FROM idempotency.keys WHERE scope = 'owner_outlives_slot';
SELECT pg_sleep(extract(epoch FROM until - clock_timestamp()) + 0.01) FROM idempotency.wheel WHERE slot = 0;
SELECT until < clock_timestamp() AS past FROM idempotency.wheel WHERE slot = 0;
SELECT outcome, attempt FROM idempotency.claim('key', 'owner_outlives_slot', ttl => '0.01 s', lease => '0.01 s');
SELECT idempotency.complete('key', 'owner_outlives_slot', '"result"', ttl => '1 hour');
SELECT outcome, response FROM idempotency.claim('key', 'owner_outlives_slot');
SELECT count(*), bool_and(slot <> 0) AS moved FROM idempotency.keys WHERE scope = 'owner_outlives_slot';
ROLLBACK;
