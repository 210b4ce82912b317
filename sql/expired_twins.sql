-- W4: after a restore the slots have later upper bounds, those of CREATE
-- EXTENSION, so that rows in a slot that was past are probed again, and a key
-- may have an expired row in two slots. Claiming the key leaves one live row,
-- and moving a row to the slot of the other one works as any move.
SET statement_timeout = '1 min';
CREATE FUNCTION leave_twins(twin text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	UPDATE idempotency.wheel SET until = '-infinity' WHERE slot > 1;
	UPDATE idempotency.wheel SET until = clock_timestamp() + interval '30 min' WHERE slot = 1;
	UPDATE idempotency.wheel SET until = clock_timestamp() + interval '20 min' WHERE slot = 0;
	PERFORM idempotency.once(twin, 'expired_twins', ttl => '1 us');
	-- slot 0 is past; as long as it is, the key goes to slot 1
	UPDATE idempotency.wheel SET until = '-infinity' WHERE slot = 0;
END $$;

BEGIN;
SELECT leave_twins('claimed');
COMMIT;
SELECT outcome FROM idempotency.claim('claimed', 'expired_twins', ttl => '1 us', lease => '1 us');
SELECT slot FROM idempotency.keys WHERE scope = 'expired_twins' ORDER BY slot;
INSERT INTO idempotency.wheel VALUES (0, clock_timestamp() + interval '1 day');
SELECT outcome FROM idempotency.claim('claimed', 'expired_twins', ttl => '2 hours', lease => '1 hour');
SELECT slot, expires_at > clock_timestamp() AS live FROM idempotency.keys WHERE scope = 'expired_twins' ORDER BY slot;

BEGIN;
SELECT leave_twins('moved');
COMMIT;
SELECT outcome FROM idempotency.claim('moved', 'expired_twins', ttl => '10 min', lease => '1 minute');
INSERT INTO idempotency.wheel VALUES (0, clock_timestamp() + interval '1 day');
SELECT idempotency.complete('moved', 'expired_twins', '"result"', attempt => 1, ttl => '2 hours');
SELECT outcome, response FROM idempotency.claim('moved', 'expired_twins');
SELECT slot, expires_at > clock_timestamp() AS live FROM idempotency.keys WHERE scope = 'expired_twins' AND key = 'moved';

TRUNCATE idempotency.keys;
SET session_replication_role = replica;
TRUNCATE idempotency.wheel;
RESET session_replication_role;
INSERT INTO idempotency.wheel SELECT slot, date_trunc('day', clock_timestamp(), 'UTC') + (slot + 1) * interval '24 hours' FROM generate_series(0, 7) AS slot;
DROP FUNCTION leave_twins;
