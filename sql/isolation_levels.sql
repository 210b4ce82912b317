-- Each isolation level supports the whole life of a key, and replays results
-- of other levels.
CREATE TABLE paid (key text);

BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT outcome FROM idempotency.claim('read committed', 'isolation_levels', '1');
INSERT INTO paid VALUES ('read committed');
SELECT idempotency.complete('read committed', 'isolation_levels', '"read committed"');
SELECT outcome, response FROM idempotency.claim('read committed', 'isolation_levels', '1');
COMMIT;

BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM paid;
SELECT outcome, response FROM idempotency.claim('read committed', 'isolation_levels', '1');
SELECT outcome FROM idempotency.claim('repeatable read', 'isolation_levels', '1', lease => '1 minute');
INSERT INTO paid VALUES ('repeatable read');
SELECT outcome FROM idempotency.claim('repeatable read', 'isolation_levels', '1');
SELECT idempotency.heartbeat('repeatable read', 'isolation_levels') > clock_timestamp() AS renewed;
SELECT idempotency.complete('repeatable read', 'isolation_levels', '"repeatable read"');
SELECT outcome, response FROM idempotency.claim('repeatable read', 'isolation_levels', '1');
SELECT outcome FROM idempotency.claim('repeatable read', 'isolation_levels', '2');
COMMIT;

BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM paid;
SELECT outcome, response FROM idempotency.claim('repeatable read', 'isolation_levels', '1');
SELECT outcome FROM idempotency.claim('serializable', 'isolation_levels', '1');
INSERT INTO paid VALUES ('serializable');
SELECT idempotency.checkpoint('serializable', 'isolation_levels', 'step');
SELECT idempotency.complete('serializable', 'isolation_levels', '"serializable"');
SELECT outcome, response FROM idempotency.claim('serializable', 'isolation_levels', '1');
SELECT status FROM idempotency.lookup('serializable', 'isolation_levels');
-- two keys never conflict: there are no predicate locks on the tables of keys
SELECT count(*) FILTER (WHERE relation = 'paid'::regclass) > 0 AS of_the_application,
	   count(*) FILTER (WHERE relation <> 'paid'::regclass AND relnamespace = 'idempotency'::regnamespace) > 0 AS of_the_keys
FROM pg_locks LEFT JOIN pg_class ON pg_class.oid = relation WHERE mode = 'SIReadLock' AND pid = pg_backend_pid();
COMMIT;

BEGIN ISOLATION LEVEL READ UNCOMMITTED;
SELECT outcome, response FROM idempotency.claim('serializable', 'isolation_levels', '1');
COMMIT;

-- a lease passes from one level to another, as do takeover and release
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT outcome, attempt FROM idempotency.claim('lease', 'isolation_levels', lease => '1 us');
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outcome, attempt FROM idempotency.claim('lease', 'isolation_levels', lease => '1 minute');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT idempotency.release('lease', 'isolation_levels', 2);
COMMIT;
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT outcome, attempt FROM idempotency.claim('lease', 'isolation_levels', lease => '1 minute');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM paid;
SELECT idempotency.complete('lease', 'isolation_levels', '1', attempt => 3);
COMMIT;
SELECT outcome, response FROM idempotency.claim('lease', 'isolation_levels');

-- rolled back, claimed again
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT outcome FROM idempotency.claim('rolled back', 'isolation_levels');
SELECT idempotency.complete('rolled back', 'isolation_levels', '1');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outcome FROM idempotency.claim('rolled back', 'isolation_levels');
SAVEPOINT a;
SELECT idempotency.complete('rolled back', 'isolation_levels', '2');
ROLLBACK TO a;
SELECT idempotency.complete('rolled back', 'isolation_levels', '3');
COMMIT;
SELECT outcome, response FROM idempotency.claim('rolled back', 'isolation_levels');
SELECT count(*) AS row_count, count(DISTINCT key) AS keys FROM idempotency.keys WHERE scope = 'isolation_levels';
DROP TABLE paid;
