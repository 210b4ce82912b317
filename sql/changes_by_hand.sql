-- Changes by hand that would lose keys are refused; those of the extension's
-- functions and of a publisher are not.
SELECT outcome FROM idempotency.claim('k', 'by hand', '1', lease => '1 minute');
SELECT idempotency.complete('k', 'by hand', '"result"', attempt => 1);
UPDATE idempotency.keys SET expires_at = expires_at + interval '1 day';
UPDATE idempotency.keys_0 SET slot = 1 WHERE false;
UPDATE idempotency.keys_long SET hash = gen_random_uuid();
UPDATE idempotency.keys SET scope = 'other' WHERE scope = 'by hand';
INSERT INTO idempotency.keys_long TABLE idempotency.keys_long ON CONFLICT (hash) DO UPDATE SET key = 'other';
TRUNCATE idempotency.wheel;
DELETE FROM idempotency.wheel WHERE slot = 3;
TRUNCATE idempotency.keys, idempotency.wheel;
UPDATE idempotency.keys SET response = '"corrected"' WHERE scope = 'by hand';
SELECT outcome, response FROM idempotency.claim('k', 'by hand', '1');

-- as logical replication applies it
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE idempotency.keys SET expires_at = expires_at - interval '1 minute';
DELETE FROM idempotency.wheel WHERE slot = 3;
ROLLBACK;

-- A server that will subscribe empties its wheel while it stores no keys.
SELECT idempotency.empty_wheel();
BEGIN;
TRUNCATE idempotency.keys;
SELECT idempotency.empty_wheel();
SELECT count(*) FROM idempotency.wheel;
SELECT outcome, expires_at > clock_timestamp() AS remembered FROM idempotency.claim('k', 'by hand', '1');
SELECT idempotency.complete('k', 'by hand');
SELECT slot FROM idempotency.keys;
ROLLBACK;
SELECT outcome FROM idempotency.claim('k', 'by hand', '1');
SELECT idempotency.forget('k', 'by hand');
