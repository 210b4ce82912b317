-- The view stats: its columns, and the roles that may read it. Its counters
-- need a server that has preloaded the library, and are tested in t/.

SELECT attname, atttypid::regtype AS type, col_description(attrelid, attnum) IS NOT NULL AS described
FROM pg_attribute
WHERE attrelid = 'idempotency.stats'::regclass AND attnum > 0
ORDER BY attnum;

SELECT obj_description('idempotency.stats'::regclass) ~ 'no rows unless idempotency is in shared_preload_libraries' AS "says where it has no rows";

-- If the library is not preloaded, nothing is counted, and everything works.
SELECT outcome FROM idempotency.claim('counted?', 'stats', lease => '1 minute');
SELECT idempotency.complete('counted?', 'stats', attempt => 1);
SELECT (count(*) > 0) = (current_setting('shared_preload_libraries') ~ 'idempotency') AS "rows only where preloaded"
FROM idempotency.stats;
SELECT idempotency.stats_reset();

-- An application can't read it.
CREATE ROLE regress_stats_reader;
SELECT idempotency.grant_usage('regress_stats_reader');
SET ROLE regress_stats_reader;
SELECT outcome FROM idempotency.claim('counted?', 'stats');
SELECT * FROM idempotency.stats;
SELECT * FROM idempotency.stats_counters();
SELECT idempotency.stats_reset();
RESET ROLE;

-- It can be granted.
GRANT SELECT ON idempotency.stats TO regress_stats_reader;
GRANT EXECUTE ON FUNCTION idempotency.stats_counters() TO regress_stats_reader;
SET ROLE regress_stats_reader;
SELECT count(*) >= 0 AS "may read" FROM idempotency.stats;
SELECT idempotency.stats_reset();
RESET ROLE;

DROP OWNED BY regress_stats_reader;
DROP ROLE regress_stats_reader;
