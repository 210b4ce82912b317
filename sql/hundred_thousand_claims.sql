-- Claims don't exhaust the lock table: a hundred thousand keys in one
-- transaction.
BEGIN;
SELECT outcome, count(*)
FROM generate_series(1, 100000) AS n, idempotency.claim('key ' || n, 'hundred_thousand', to_jsonb(n))
GROUP BY outcome;
SELECT count(*) < 200 AS few_locks FROM pg_locks WHERE pid = pg_backend_pid();
SELECT outcome, count(*)
FROM generate_series(1, 100000, 100) AS n, idempotency.claim('key ' || n, 'hundred_thousand', to_jsonb(n))
GROUP BY outcome;
SELECT count(idempotency.complete('key ' || n, 'hundred_thousand', to_jsonb(n)))
FROM generate_series(1, 100000) AS n;
SELECT count(*) < 200 AS few_locks FROM pg_locks WHERE pid = pg_backend_pid();
COMMIT;
SELECT outcome, count(*), count(*) FILTER (WHERE response = to_jsonb(n)) AS right_response
FROM generate_series(1, 100000, 10) AS n, idempotency.claim('key ' || n, 'hundred_thousand', to_jsonb(n))
GROUP BY outcome;
SELECT count(*) AS row_count, count(DISTINCT key) AS keys FROM idempotency.keys WHERE scope = 'hundred_thousand';
