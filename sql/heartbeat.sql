-- heartbeat() renews the lease and returns its new end.
\getenv abs_srcdir PG_ABS_SRCDIR
\i :abs_srcdir/test/show_error.sql

SET idempotency.default_lease = '10 minutes';
SELECT outcome FROM idempotency.claim('key', 'heartbeat', '1', lease => '1 hour');
-- by the lease of the claim, not by the setting
SELECT h > clock_timestamp() + interval '59 minutes' AND h <= clock_timestamp() + interval '1 hour' AS one_hour,
	   h = lease_until AS stored
FROM idempotency.heartbeat('key', 'heartbeat', 1) AS h, idempotency.lookup('key', CASE WHEN h IS NOT NULL THEN 'heartbeat' END);
SELECT h > clock_timestamp() + interval '1 hour 59 minutes' AND h <= clock_timestamp() + interval '2 hours' AS two_hours
FROM idempotency.heartbeat('key', 'heartbeat', 1, '2 hours') AS h;
SELECT lease_until > clock_timestamp() + interval '1 hour 59 minutes' AS two_hours FROM idempotency.lookup('key', 'heartbeat');
SELECT outcome, retry_after > '1 hour 59 minutes' AS two_hours FROM idempotency.claim('key', 'heartbeat', '1');

-- it counts from the clock, not from the start of the transaction
BEGIN;
SELECT count(*) FROM pg_sleep(0.01);
SELECT idempotency.heartbeat('key', 'heartbeat', 1, '1 hour') > now() + interval '1 hour 0.01 s' AS clock;
COMMIT;

-- nothing else changes
SELECT idempotency.checkpoint('key', 'heartbeat', 'step', '{"a": 1}', 1);
CREATE TEMPORARY TABLE stored AS SELECT * FROM idempotency.lookup('key', 'heartbeat');
SELECT idempotency.heartbeat('key', 'heartbeat', 1, '3 hours') > clock_timestamp() AS renewed;
SELECT l.lease_until > stored.lease_until AS renewed,
	   to_jsonb(l) - 'lease_until' = to_jsonb(stored) - 'lease_until' AS else_unchanged
FROM stored, idempotency.lookup('key', 'heartbeat') AS l;

-- a lease that outlives the ttl keeps the key until its end, in whatever table of
-- the wheel the row belongs then
SELECT outcome, expires_at - claimed_at AS ttl FROM idempotency.claim('long', 'heartbeat', ttl => '1 hour', lease => '1 minute');
SELECT h = expires_at AS kept FROM idempotency.heartbeat('long', 'heartbeat', 1, '3 days') AS h,
	 idempotency.lookup('long', CASE WHEN h IS NOT NULL THEN 'heartbeat' END);
SELECT h = expires_at AS kept FROM idempotency.heartbeat('long', 'heartbeat', 1, '300 days') AS h,
	 idempotency.lookup('long', CASE WHEN h IS NOT NULL THEN 'heartbeat' END);
SELECT outcome FROM idempotency.claim('long', 'heartbeat');
SELECT idempotency.heartbeat('long', 'heartbeat', 1, '1 minute') < clock_timestamp() + interval '2 minutes' AS short_again;
SELECT idempotency.complete('long', 'heartbeat', '1', attempt => 1);
SELECT expires_at - completed_at AS ttl FROM idempotency.lookup('long', 'heartbeat');
SELECT count(*) FROM idempotency.keys WHERE scope = 'heartbeat' AND key = 'long';

-- only an unfinished claim has a lease
CALL pg_temp.show_error($$ SELECT idempotency.heartbeat('long', 'heartbeat', 1) $$);
SELECT lease_until FROM idempotency.lookup('long', 'heartbeat');
SELECT idempotency.release('key', 'heartbeat', 1);
CALL pg_temp.show_error($$ SELECT idempotency.heartbeat('key', 'heartbeat', 1) $$);
