-- A column that was added to the keys by hand is refused, not overwritten.
BEGIN;
SELECT outcome FROM idempotency.claim('stored', 'altered_keys');
ALTER TABLE idempotency.keys ADD COLUMN tenant text;
SAVEPOINT before;
SELECT idempotency.claim('key', 'altered_keys');
ROLLBACK TO before;
SELECT key FROM idempotency.lookup('key', 'altered_keys');
ROLLBACK TO before;
SELECT count(*) FROM idempotency.in_flight;
ROLLBACK;
SELECT outcome FROM idempotency.claim('key', 'altered_keys', lease => '1 minute');
DELETE FROM idempotency.keys WHERE scope = 'altered_keys';
