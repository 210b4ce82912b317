-- A request that was first sent longer ago than its key is remembered is not
-- run again if nothing is stored.
SELECT outcome, proceed, status_code, attempt, retry_after, response, claimed_at, completed_at, expires_at
FROM idempotency.claim('key', 'first_sent', '1', first_sent => clock_timestamp() - interval '1 day 1 minute');
-- it is not even claimed
SELECT count(*) FROM idempotency.lookup('key', 'first_sent');
SELECT count(*) FROM idempotency.keys WHERE scope = 'first_sent';

-- the ttl of this claim counts
SELECT outcome FROM idempotency.claim('key', 'first_sent', ttl => '1 hour', first_sent => clock_timestamp() - interval '61 minutes');
SELECT outcome FROM idempotency.claim('key', 'first_sent', ttl => '2 days', first_sent => clock_timestamp() - interval '60 hours');
SET idempotency.default_ttl = '10 minutes';
SELECT outcome FROM idempotency.claim('key', 'first_sent', first_sent => clock_timestamp() - interval '11 minutes');
RESET idempotency.default_ttl;
SELECT outcome FROM idempotency.claim('-infinity', 'first_sent', first_sent => '-infinity');
SELECT outcome FROM idempotency.claim('-infinity', 'first_sent', ttl => '5000 years', first_sent => '-infinity');
SELECT outcome FROM idempotency.claim('4714 BC', 'first_sent', first_sent => '4714-11-24 00:00:00+00 BC');

-- recent enough, in the future, unknown
SELECT outcome FROM idempotency.claim('recent', 'first_sent', first_sent => clock_timestamp() - interval '20 hours', lease => '1 minute');
SELECT outcome FROM idempotency.claim('now', 'first_sent', first_sent => clock_timestamp(), lease => '1 minute');
SELECT outcome FROM idempotency.claim('tomorrow', 'first_sent', first_sent => clock_timestamp() + interval '1 day', lease => '1 minute');
SELECT outcome FROM idempotency.claim('infinity', 'first_sent', first_sent => 'infinity', lease => '1 minute');
SELECT outcome FROM idempotency.claim('294276', 'first_sent', first_sent => '294276-12-31 00:00:00+00', lease => '1 minute');
SELECT outcome FROM idempotency.claim('unknown', 'first_sent', first_sent => NULL, lease => '1 minute');
SELECT outcome FROM idempotency.claim('longer', 'first_sent', ttl => '3 days', first_sent => clock_timestamp() - interval '2 days', lease => '1 minute');
SELECT outcome FROM idempotency.claim('longest', 'first_sent', ttl => '5000 years', first_sent => clock_timestamp() - interval '4999 years', lease => '1 minute');

-- a stored result is replayed, however old the request is
SELECT idempotency.complete('recent', 'first_sent', '1', attempt => 1);
SELECT outcome, response FROM idempotency.claim('recent', 'first_sent', first_sent => '-infinity');
SELECT outcome FROM idempotency.claim('recent', 'first_sent', '1', first_sent => '-infinity');
SELECT outcome FROM idempotency.claim('now', 'first_sent', first_sent => '-infinity');
SELECT idempotency.release('now', 'first_sent', 1);
SELECT outcome, attempt FROM idempotency.claim('now', 'first_sent', first_sent => '-infinity', lease => '1 minute');

-- also in the claim's own transaction
BEGIN;
SELECT outcome FROM idempotency.claim('own', 'first_sent');
SELECT outcome FROM idempotency.claim('own', 'first_sent', first_sent => '-infinity');
SELECT idempotency.complete('own', 'first_sent', '1');
SELECT outcome FROM idempotency.claim('own', 'first_sent', first_sent => '-infinity');
ROLLBACK;
SELECT outcome FROM idempotency.claim('own', 'first_sent', first_sent => '-infinity');
SELECT count(*) FROM idempotency.lookup('own', 'first_sent');

-- after the outcome "expired" the key is free at once
SELECT outcome FROM idempotency.claim('own', 'first_sent', lease => '1 minute');
SELECT count(*) AS row_count, count(DISTINCT key) AS keys FROM idempotency.keys WHERE scope = 'first_sent';
SELECT count(*) AS locks FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
