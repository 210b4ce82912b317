-- A slot to which a transaction has written stays locked to the end of the
-- transaction, even if the calls came from a cursor that fails in a later
-- savepoint. Otherwise a sweep would empty the slot with the claims.
SET client_min_messages = warning;
TRUNCATE idempotency.keys;
RESET client_min_messages;
UPDATE idempotency.wheel SET until = clock_timestamp() + CASE slot WHEN 0 THEN interval '300 ms' ELSE (slot + 1) * interval '1 hour' END;

CREATE FUNCTION pg_temp.locked(relation regclass) RETURNS text[] LANGUAGE sql AS $$
	SELECT array_agg(DISTINCT mode ORDER BY mode) FROM pg_locks WHERE pid = pg_backend_pid() AND granted
		AND locktype = 'relation' AND pg_locks.relation = locked.relation
$$;

BEGIN;
DECLARE claims CURSOR FOR
	SELECT (SELECT outcome FROM idempotency.claim('c' || i, 'cursor', ttl => '1 us', lease => '1 us')), 1 / (3 - i) AS quotient
	FROM generate_series(1, 3) AS i;
FETCH 2 FROM claims;
SAVEPOINT s;
FETCH 1 FROM claims;
ROLLBACK TO s;
SELECT pg_temp.locked('idempotency.keys_0');
SELECT pg_sleep(0.4);
SELECT slots_cleared FROM idempotency.sweep();
SELECT key, status FROM idempotency.keys WHERE scope = 'cursor';
COMMIT;
SELECT key, status FROM idempotency.keys WHERE scope = 'cursor';

-- the same for tables that sweep() has emptied and changed
BEGIN;
DECLARE sweeps CURSOR FOR SELECT slots_cleared, 1 / (2 - i) AS quotient FROM generate_series(1, 2) AS i, LATERAL (SELECT i AS call, * FROM idempotency.sweep(0)) AS s;
FETCH 1 FROM sweeps;
SAVEPOINT s;
FETCH 1 FROM sweeps;
ROLLBACK TO s;
SELECT 'AccessExclusiveLock' = ANY (pg_temp.locked('idempotency.keys_0')) AS slot, pg_temp.locked('idempotency.wheel') AS wheel;
COMMIT;
SELECT count(*) FROM idempotency.keys;
UPDATE idempotency.wheel SET until = date_trunc('day', clock_timestamp(), 'UTC') + (slot + 1) * interval '24 hours';
