-- sweep() deletes expired rows, at most the given number, the oldest first.
TRUNCATE idempotency.keys;
SELECT idempotency.once('long ' || n, 'portable_sweep', ttl => '1 hour') FROM generate_series(1, 3) AS n;
SELECT count(idempotency.once('short ' || n, 'portable_sweep', ttl => n * interval '1 us')) FROM generate_series(1, 25) AS n;
SELECT pg_sleep(0.001);
SELECT * FROM idempotency.sweep(10);
SELECT count(*) FROM idempotency.keys WHERE scope = 'portable_sweep';
SELECT * FROM idempotency.sweep(0);
SELECT * FROM idempotency.sweep();
SELECT key FROM idempotency.keys WHERE scope = 'portable_sweep' ORDER BY key;
SELECT * FROM idempotency.sweep();
SELECT idempotency.sweep(-1);

-- a claim of the transaction itself stays, however short its ttl is
BEGIN;
SELECT outcome FROM idempotency.claim('own', 'portable_sweep', ttl => '1 us');
SELECT pg_sleep(0.001);
SELECT * FROM idempotency.sweep();
SELECT outcome FROM idempotency.claim('own', 'portable_sweep');
SELECT idempotency.complete('own', 'portable_sweep');
COMMIT;

-- it uses the index
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT ctid FROM idempotency.keys WHERE expires_at <= '2026-01-01' ORDER BY expires_at LIMIT 10 FOR UPDATE SKIP LOCKED;
RESET enable_seqscan;
DELETE FROM idempotency.keys WHERE scope = 'portable_sweep';
