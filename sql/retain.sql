-- retain() sets a new ttl for a result, counted from now.
SET client_min_messages = warning;
TRUNCATE idempotency.keys;
RESET client_min_messages;
UPDATE idempotency.wheel SET until = clock_timestamp() + (slot + 1) * interval '1 hour';
SELECT idempotency.once('k', 'retain', '30 minutes');
SELECT slot FROM idempotency.keys;
CREATE FUNCTION pg_temp.about(expires timestamptz, ttl interval) RETURNS boolean LANGUAGE sql RETURN expires BETWEEN clock_timestamp() + ttl - interval '1 minute' AND clock_timestamp() + ttl;
-- longer, in the same slot and in another (W1), and shorter
SELECT pg_temp.about(idempotency.retain('k', 'retain', '45 minutes'), '45 minutes');
SELECT slot FROM idempotency.keys;
SELECT pg_temp.about(idempotency.retain('k', 'retain', '150 minutes'), '150 minutes');
SELECT slot, pg_temp.about(expires_at, '150 minutes'), expires_at <= until AS w1 FROM idempotency.keys JOIN idempotency.wheel USING (slot);
SELECT pg_temp.about(idempotency.retain('k', 'retain', '1 year'), '1 year');
SELECT slot FROM idempotency.keys;
SELECT pg_temp.about(idempotency.retain('k', 'retain', '10 minutes'), '10 minutes');
SELECT idempotency.once('k', 'retain');
-- only as long as the result is stored
SELECT idempotency.retain('k', 'retain', '1 us') IS NOT NULL AS retained;
SELECT pg_sleep(0.001);
SELECT idempotency.retain('k', 'retain', '1 hour');
SELECT idempotency.once('k', 'retain');
-- failures and erased keys, too
BEGIN;
SELECT outcome FROM idempotency.claim('failed', 'retain');
SELECT idempotency.fail('failed', 'retain', '"reason"', ttl => '1 minute');
SELECT pg_temp.about(idempotency.retain('failed', 'retain', '1 hour'), '1 hour');
COMMIT;
SELECT idempotency.erase('failed', 'retain');
SELECT pg_temp.about(idempotency.retain('failed', 'retain', '2 hours'), '2 hours');
SELECT outcome, status_code, pg_temp.about(expires_at, '2 hours') FROM idempotency.claim('failed', 'retain');
-- keys without a result
SELECT idempotency.retain('unknown', 'retain', '1 hour');
SELECT outcome FROM idempotency.claim('leased', 'retain', lease => '1 hour');
SELECT idempotency.retain('leased', 'retain', '1 hour');
SELECT idempotency.release('leased', 'retain', 1);
SELECT idempotency.retain('leased', 'retain', '1 hour');
SELECT idempotency.retain('k', 'retain', NULL);
SELECT idempotency.retain('k', 'retain', '0');
SELECT idempotency.retain('k', 'retain', '-1 hour');
SELECT idempotency.retain(NULL, 'retain', '1 hour');
BEGIN READ ONLY;
SELECT idempotency.retain('k', 'retain', '1 hour');
ROLLBACK;
UPDATE idempotency.wheel SET until = date_trunc('day', clock_timestamp(), 'UTC') + (slot + 1) * interval '24 hours';
