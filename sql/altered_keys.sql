-- A column that was added to the keys by hand is refused, not overwritten.
BEGIN;
SELECT outcome FROM idempotency.claim('stored', 'altered_keys', lease => '1 minute');
ALTER TABLE idempotency.keys ADD COLUMN tenant text;
SAVEPOINT before;
SELECT idempotency.claim('key', 'altered_keys');
ROLLBACK TO before;
SELECT key FROM idempotency.lookup('key', 'altered_keys');
ROLLBACK TO before;
SELECT count(*) FROM idempotency.in_flight;
ROLLBACK;

-- Once it is dropped, everything works, whatever table it was added to.
BEGIN;
SELECT outcome FROM idempotency.claim('before', 'altered_keys', lease => '1 minute');
ALTER TABLE idempotency.keys ADD COLUMN tenant text DEFAULT 'here', ADD COLUMN second integer;
ALTER TABLE idempotency.keys DROP COLUMN tenant, DROP COLUMN second;
ALTER TABLE idempotency.wheel ADD COLUMN note text;
ALTER TABLE idempotency.wheel DROP COLUMN note;
ALTER TABLE idempotency.policy ADD COLUMN note text NOT NULL DEFAULT '';
ALTER TABLE idempotency.policy DROP COLUMN note;
ALTER TYPE idempotency.claim_result ADD ATTRIBUTE note text;
ALTER TYPE idempotency.claim_result DROP ATTRIBUTE note;
SELECT idempotency.set_policy('altered_keys', ttl => '20 days');
SELECT idempotency.complete('before', 'altered_keys', '1');
SELECT outcome, attempt FROM idempotency.claim('after', 'altered_keys', lease => '1 minute');
SELECT key, attempt FROM idempotency.holder('after', 'altered_keys');
SELECT idempotency.checkpoint('after', 'altered_keys', 'charged', '{}');
SELECT idempotency.complete('after', 'altered_keys', '2');
SELECT ord, outcome, response, expires_at - claimed_at AS ttl FROM idempotency.claim_many('{before,after,once}', 'altered_keys', wait => '0');
SELECT status, response FROM idempotency.lookup('after', 'altered_keys');
INSERT INTO idempotency.keys (scope, key, status, attempt, expires_at, slot) VALUES ('altered_keys', 'by hand', 'completed', 1, 'tomorrow'::timestamptz + interval '30 days', 3);
SELECT outcome FROM idempotency.claim('by hand', 'altered_keys');
UPDATE idempotency.wheel SET until = '-infinity' WHERE slot = 5;
SELECT FROM idempotency.sweep();
SELECT slot FROM idempotency.wheel WHERE slot = 5 AND until > now();
ROLLBACK;
SELECT outcome FROM idempotency.claim('key', 'altered_keys', lease => '1 minute');
DELETE FROM idempotency.keys WHERE scope = 'altered_keys';
