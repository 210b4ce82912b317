-- wait => 0 answers at once, and nothing waits if no other transaction works
-- on the key.
SET statement_timeout = '60 s';

SELECT outcome, proceed FROM idempotency.claim('absent', 'wait_zero', wait => '0', lease => '1 minute');
SELECT outcome, retry_after > '0' AS retry_after FROM idempotency.claim('absent', 'wait_zero', wait => '0');
SELECT idempotency.complete('absent', 'wait_zero', '1', attempt => 1);
SELECT outcome, response FROM idempotency.claim('absent', 'wait_zero', wait => '0');
SELECT outcome FROM idempotency.claim('absent', 'wait_zero', '2', wait => '0');
SELECT outcome, attempt FROM idempotency.claim('run out', 'wait_zero', lease => '1 us', wait => '0');
SELECT outcome, attempt FROM idempotency.claim('run out', 'wait_zero', wait => '0', lease => '1 minute');
SELECT idempotency.release('run out', 'wait_zero', 2);
SELECT outcome, attempt FROM idempotency.claim('run out', 'wait_zero', wait => '0', lease => '1 minute');
SELECT outcome FROM idempotency.claim('old', 'wait_zero', wait => '0', first_sent => '-infinity');

-- a claim of the same transaction is not waited for
BEGIN;
SELECT outcome FROM idempotency.claim('own', 'wait_zero', wait => '0', lease => '1 minute');
SELECT outcome, retry_after FROM idempotency.claim('own', 'wait_zero', wait => '0');
SELECT outcome, retry_after FROM idempotency.claim('own', 'wait_zero', wait => '5000 years');
COMMIT;
-- against a committed lease, too
SELECT outcome FROM idempotency.claim('own', 'wait_zero', wait => '5000 years');

-- by the setting
SET idempotency.default_wait = '0';
SELECT outcome FROM idempotency.claim('setting', 'wait_zero', lease => '1 minute');
SELECT outcome FROM idempotency.claim('setting', 'wait_zero');
-- zero months, days and seconds, and a wait under a millisecond
SELECT outcome FROM idempotency.claim('zero', 'wait_zero', wait => '0 months', lease => '1 minute');
SELECT outcome FROM idempotency.claim('little', 'wait_zero', wait => '1 us', lease => '1 minute');
SELECT count(*) AS row_count, count(DISTINCT key) AS keys FROM idempotency.keys WHERE scope = 'wait_zero';
