-- A replay writes nothing: no WAL, no transaction id, no row version.
BEGIN;
SELECT outcome FROM idempotency.claim('key', 'replay_writes_nothing', '1');
SELECT idempotency.complete('key', 'replay_writes_nothing', '{"a": 1}', 'id', 201);
COMMIT;
SELECT outcome FROM idempotency.claim('in two transactions', 'replay_writes_nothing', lease => '1 minute');
SELECT idempotency.complete('in two transactions', 'replay_writes_nothing', '2', attempt => 1);
BEGIN;
SELECT outcome FROM idempotency.claim('large', 'replay_writes_nothing');
SELECT idempotency.complete('large', 'replay_writes_nothing', (SELECT jsonb_agg(md5(n::text)) FROM generate_series(1, 10000) AS n));
COMMIT;
SELECT outcome FROM idempotency.claim('leased', 'replay_writes_nothing', '1', lease => '1 minute');
CREATE TEMPORARY TABLE stored AS
SELECT tableoid AS place, ctid AS version, xmin AS writer, xmax AS locker, k AS whole
FROM idempotency.keys AS k WHERE scope = 'replay_writes_nothing';

-- no transaction id is assigned, also for a mismatch
BEGIN;
SELECT outcome FROM idempotency.claim('key', 'replay_writes_nothing', '1');
SELECT outcome FROM idempotency.claim('in two transactions', 'replay_writes_nothing');
SELECT outcome FROM idempotency.claim('large', 'replay_writes_nothing');
SELECT outcome FROM idempotency.claim('key', 'replay_writes_nothing', '2');
SELECT outcome FROM idempotency.claim('leased', 'replay_writes_nothing', '1');
SELECT outcome FROM idempotency.claim('leased', 'replay_writes_nothing', '2');
SELECT outcome FROM idempotency.claim('absent', 'replay_writes_nothing', first_sent => '-infinity');
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_transaction_id;
-- a claim has one
SELECT outcome FROM idempotency.claim('other', 'replay_writes_nothing');
SELECT pg_current_xact_id_if_assigned() IS NOT NULL AS assigned;
ROLLBACK;

-- WAL that a call writes. The first session that reads a page may prune it and
-- set hint bits, as any query may; the lowest of several readings is what the
-- call needs.
CREATE FUNCTION pg_temp.wal_records(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	plan json;
	least_records bigint;
BEGIN
	FOR n IN 1 .. 5 LOOP
		EXECUTE 'EXPLAIN (ANALYZE, WAL, FORMAT JSON) ' || query INTO plan;
		least_records := least(least_records, (plan -> 0 -> 'Plan' ->> 'WAL Records')::bigint);
	END LOOP;
	RETURN least_records;
END $$;
SELECT pg_temp.wal_records($$ SELECT * FROM idempotency.claim('key', 'replay_writes_nothing', '1', lease => '1 minute') $$) AS replay,
	   pg_temp.wal_records($$ SELECT * FROM idempotency.claim('in two transactions', 'replay_writes_nothing', lease => '1 minute') $$) AS in_two_transactions,
	   pg_temp.wal_records($$ SELECT * FROM idempotency.claim('large', 'replay_writes_nothing', lease => '1 minute') $$) AS large,
	   pg_temp.wal_records($$ SELECT * FROM idempotency.claim('key', 'replay_writes_nothing', '2', lease => '1 minute') $$) AS mismatch,
	   pg_temp.wal_records($$ SELECT * FROM idempotency.claim('leased', 'replay_writes_nothing', '1', lease => '1 minute') $$) AS in_progress,
	   pg_temp.wal_records($$ SELECT * FROM idempotency.lookup('key', 'replay_writes_nothing') $$) AS lookup;
-- the function does see what a claim writes
SELECT pg_temp.wal_records($$ SELECT * FROM idempotency.claim(gen_random_uuid()::text, 'replay_writes_nothing/new', lease => '1 minute') $$) > 0 AS claim;

-- not even a row lock
SELECT count(*) AS unchanged FROM stored, idempotency.keys AS k
WHERE k.tableoid = place AND k.ctid = version AND k.xmin = writer AND k.xmax = locker AND k = whole;
