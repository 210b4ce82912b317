-- The error at the commit names a stored claim without a scan of a whole table,
-- which would take seconds in a large database.
SELECT outcome FROM idempotency.claim('stored', 'named', lease => '1 us');
CREATE FUNCTION scans() RETURNS numeric LANGUAGE sql AS
	$$SELECT sum(seq_scan) FROM pg_stat_user_tables WHERE schemaname = 'idempotency' AND relname ~ '^keys_'$$;
SELECT pg_stat_force_next_flush();
SELECT scans() AS before \gset

-- A claim of a key that has a row is written when it is made.
BEGIN;
SELECT outcome FROM idempotency.claim('other', 'named');
SELECT idempotency.complete('other', 'named');
SELECT outcome FROM idempotency.claim('stored', 'named');
COMMIT;

-- So is one that was made before a subtransaction that is rolled back, even if
-- that has claimed keys, too.
BEGIN;
SELECT outcome FROM idempotency.claim('stored', 'named');
SAVEPOINT s;
SELECT count(*) FROM idempotency.claim_many(ARRAY(SELECT 'k' || n FROM generate_series(1, 20) AS n), 'named');
ROLLBACK TO s;
COMMIT;

-- The place of a row that a rolled back subtransaction has written is not that
-- of the claim: then no key is named, and the default policy counts it.
BEGIN;
SELECT outcome FROM idempotency.claim('stored', 'named');
SAVEPOINT s;
SELECT idempotency.complete('stored', 'named');
ROLLBACK TO s;
COMMIT;

SELECT pg_stat_force_next_flush();
SELECT scans() - :before AS scans;

DROP FUNCTION scans();
SELECT idempotency.purge('named');
