-- A claim that has expired is not in flight, even while its row is stored.
SELECT outcome FROM idempotency.claim('long', 'expired_in_flight', ttl => '1 day', lease => '1 day');
SELECT outcome FROM idempotency.claim('short', 'expired_in_flight', ttl => '0.01 s', lease => '0.01 s');
SELECT pg_sleep(0.02);
SELECT key FROM idempotency.keys WHERE scope = 'expired_in_flight' ORDER BY key;
SELECT key FROM idempotency.in_flight WHERE scope = 'expired_in_flight' ORDER BY key;
