-- lookup() runs in the leader of a parallel plan, even as the first call of
-- its session, or the first since policies or the wheel have changed.
CREATE TABLE orders (id integer PRIMARY KEY, key text, pad text);
INSERT INTO orders SELECT n, 'k' || n, repeat('x', 100) FROM generate_series(1, 5000) AS n;
ANALYZE orders;
SELECT idempotency.once('k7', 'parallel');
CREATE VIEW looked_up AS
SELECT o.id, l.status FROM orders AS o, idempotency.lookup(o.key, 'parallel') AS l WHERE o.pad LIKE '%z%' OR o.id = 7;
\set plan 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET enable_indexscan = off; SET enable_bitmapscan = off;'
\c -
:plan
EXPLAIN (COSTS OFF) SELECT * FROM looked_up;
SELECT * FROM looked_up;
SELECT * FROM looked_up;
-- a policy that was changed
SELECT idempotency.set_policy('parallel', ttl => '1 hour');
SELECT * FROM looked_up;
SELECT idempotency.drop_policy('parallel');
SELECT * FROM looked_up;
-- a wheel that was changed, a leaf that was used for the first time
SELECT slots_cleared FROM idempotency.sweep();
SELECT * FROM looked_up;
ANALYZE idempotency.keys_long;
REINDEX TABLE idempotency.keys_long;
SELECT * FROM looked_up;
-- other functions that may run in a parallel plan, in new sessions
\c -
:plan
SELECT count(*) FROM orders, idempotency.claims_in_flight(NULL, NULL) AS u WHERE u.key = 'none' AND pad LIKE '%x%';
\c -
:plan
SELECT count(idempotency.derive(key, 'x')), count(idempotency.key_hash(key)), count(idempotency.parse_header(key)) FROM orders WHERE pad LIKE '%x%';
\c -
:plan
SELECT count(*) >= 0 AS counted FROM orders, idempotency.stats_counters() WHERE pad LIKE '%x%';
DROP VIEW looked_up;
DROP TABLE orders;
SELECT idempotency.forget('k7', 'parallel');
