-- A second claim of a key inside its owner's transaction is in progress
-- before the claim is completed, and a replay after it.
SET statement_timeout = '60 s';

BEGIN;
SELECT outcome, proceed, attempt FROM idempotency.claim('key', 'second_claim', '1');
-- it does not wait for itself, and the owner may end its work at any time
SELECT outcome, proceed, status_code, attempt, retry_after, response, completed_at
FROM idempotency.claim('key', 'second_claim', '1', wait => '1 hour');
SELECT outcome, proceed, status_code, attempt, retry_after FROM idempotency.claim('key', 'second_claim', '1', wait => '0');
-- also if the lease has expired: the transaction is still at work
SELECT outcome, attempt FROM idempotency.claim('short', 'second_claim', lease => '1 us');
SELECT pg_sleep(0.001);
SELECT outcome, attempt, retry_after FROM idempotency.claim('short', 'second_claim', lease => '1 us');
-- or even the ttl
SELECT outcome, attempt FROM idempotency.claim('shortest', 'second_claim', lease => '1 us', ttl => '1 us');
SELECT pg_sleep(0.001);
SELECT outcome, attempt, retry_after FROM idempotency.claim('shortest', 'second_claim', lease => '1 us', ttl => '1 us');
SELECT idempotency.complete('shortest', 'second_claim', ttl => '1 hour');
-- from within a savepoint
SAVEPOINT inner_transaction;
SELECT outcome, attempt FROM idempotency.claim('key', 'second_claim', '1');
SELECT idempotency.complete('key', 'second_claim', '"result"', 'id', 201);
SELECT outcome, proceed, status_code, resource_id, response, attempt, retry_after FROM idempotency.claim('key', 'second_claim', '1');
ROLLBACK TO inner_transaction;
SELECT outcome, attempt FROM idempotency.claim('key', 'second_claim', '1');
SELECT idempotency.complete('key', 'second_claim', '"other result"', 'id', 201);
SELECT outcome, proceed, status_code, resource_id, response, attempt, retry_after FROM idempotency.claim('key', 'second_claim', '1');
-- the request is compared with that of a completed claim
SELECT outcome, status_code, response FROM idempotency.claim('key', 'second_claim', '2');
COMMIT;
SELECT outcome, response FROM idempotency.claim('key', 'second_claim', '1');

-- failed and released in the same transaction
BEGIN;
SELECT outcome, attempt FROM idempotency.claim('failed', 'second_claim');
SELECT idempotency.fail('failed', 'second_claim', '"reason"', status_code => 402);
SELECT outcome, status_code, response FROM idempotency.claim('failed', 'second_claim');
SELECT outcome, attempt FROM idempotency.claim('released', 'second_claim', '1');
SELECT idempotency.release('released', 'second_claim');
SELECT outcome, attempt FROM idempotency.claim('released', 'second_claim', '2');
SELECT outcome, attempt FROM idempotency.claim('released', 'second_claim', '2');
SELECT idempotency.complete('released', 'second_claim', '2');
COMMIT;
SELECT outcome, response FROM idempotency.claim('released', 'second_claim', '2');

-- in one command
BEGIN;
SELECT array_agg((SELECT outcome FROM idempotency.claim('one command', 'second_claim', to_jsonb(n * 0))) ORDER BY n)
FROM generate_series(1, 3) AS n;
ROLLBACK;

SELECT key, count(*), min(status) AS status, min(attempt) AS attempt
FROM idempotency.keys WHERE scope = 'second_claim' GROUP BY key ORDER BY key COLLATE "C";
