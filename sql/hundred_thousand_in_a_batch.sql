-- A hundred thousand keys in one call, with the default lock table.
CREATE TABLE batch AS
SELECT array_agg('key ' || n ORDER BY n) AS keys, array_agg(to_jsonb(n) ORDER BY n) AS requests FROM generate_series(1, 100000) AS n;
BEGIN;
SELECT c.outcome, count(*), count(*) FILTER (WHERE c.key = 'key ' || c.ord) AS right_key, min(ord), max(ord), count(DISTINCT ord)
FROM batch, idempotency.claim_many(keys, 'hundred_thousand_in_a_batch', requests) AS c GROUP BY c.outcome;
SELECT count(*) < 200 AS few_locks FROM pg_locks WHERE pid = pg_backend_pid();
SELECT count(*) FILTER (WHERE ord <> place) AS out_of_order
FROM (SELECT ord, row_number() OVER () AS place FROM batch, idempotency.claim_many(keys, 'hundred_thousand_in_a_batch', requests)) AS c;
SELECT idempotency.complete_many(keys, 'hundred_thousand_in_a_batch', requests) FROM batch;
SELECT count(*) < 200 AS few_locks FROM pg_locks WHERE pid = pg_backend_pid();
COMMIT;
SELECT c.outcome, count(*), count(*) FILTER (WHERE c.response = to_jsonb(c.ord)) AS right_response
FROM batch, idempotency.claim_many(keys[1:1000], 'hundred_thousand_in_a_batch', requests[1:1000]) AS c GROUP BY c.outcome;
SELECT count(*) AS row_count, count(DISTINCT key) AS keys FROM idempotency.keys WHERE scope = 'hundred_thousand_in_a_batch' AND status = 'completed';
SET work_mem = '64kB';
SELECT c.outcome, count(*), count(*) FILTER (WHERE ord <> place) AS out_of_order, count(*) FILTER (WHERE response <> to_jsonb(ord)) AS wrong_response
FROM (SELECT *, row_number() OVER () AS place FROM (SELECT c.* FROM batch, idempotency.claim_many(keys, 'hundred_thousand_in_a_batch', requests) AS c) AS c) AS c GROUP BY c.outcome;
RESET work_mem;
DROP TABLE batch;
