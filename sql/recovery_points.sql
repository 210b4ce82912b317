-- The step that an owner has passed, and its state, are available to the owner
-- that takes over.
\getenv abs_srcdir PG_ABS_SRCDIR
\i :abs_srcdir/test/show_error.sql

SELECT outcome, attempt, recovery_point, state FROM idempotency.claim('key', 'recovery_points', '1', lease => '1 minute');
SELECT idempotency.checkpoint('key', 'recovery_points', 'charged', '{"charge": "ch_1"}', 1);
SELECT status, attempt, recovery_point, state, lease_until > clock_timestamp() + interval '50 s' AS renewed
FROM idempotency.lookup('key', 'recovery_points');
-- they are returned only to the owner that takes over
SELECT outcome, recovery_point, state FROM idempotency.claim('key', 'recovery_points', '1');
-- the later step replaces the one before
SELECT idempotency.checkpoint('key', 'recovery_points', 'mailed', '{"mail": 7}', 1, '1 us');
SELECT pg_sleep(0.001);
SELECT outcome, proceed, attempt, recovery_point, state, response, resource_id
FROM idempotency.claim('key', 'recovery_points', '1', lease => '1 us');
-- an owner that has made no checkpoint passes on those of its predecessor
SELECT pg_sleep(0.001);
SELECT outcome, attempt, recovery_point, state FROM idempotency.claim('key', 'recovery_points', '1', lease => '1 us');
-- a point without a state, a state without a point, neither
SELECT idempotency.checkpoint('key', 'recovery_points', 'shipped', attempt => 3, lease => '1 us');
SELECT pg_sleep(0.001);
SELECT outcome, attempt, recovery_point, state FROM idempotency.claim('key', 'recovery_points', '1', lease => '1 us');
SELECT idempotency.checkpoint('key', 'recovery_points', state => '[]', attempt => 4, lease => '1 us');
SELECT pg_sleep(0.001);
SELECT outcome, attempt, recovery_point, state FROM idempotency.claim('key', 'recovery_points', '1', lease => '1 us');
SELECT idempotency.checkpoint('key', 'recovery_points', attempt => 5, lease => '1 us');
SELECT pg_sleep(0.001);
SELECT outcome, attempt, recovery_point, state FROM idempotency.claim('key', 'recovery_points', '1', lease => '1 us');
-- empty and jsonb null are values
SELECT idempotency.checkpoint('key', 'recovery_points', '', 'null', 6, '1 us');
SELECT pg_sleep(0.001);
SELECT outcome, attempt, recovery_point = '' AS empty, state FROM idempotency.claim('key', 'recovery_points', '1', lease => '1 us');
-- a mismatch does not return them
SELECT idempotency.checkpoint('key', 'recovery_points', 'secret', '"secret"', 7, '1 us');
SELECT pg_sleep(0.001);
SELECT outcome, recovery_point, state FROM idempotency.claim('key', 'recovery_points', '2');

-- a checkpoint in the transaction of the claim
BEGIN;
SELECT outcome FROM idempotency.claim('own', 'recovery_points');
SELECT idempotency.checkpoint('own', 'recovery_points', 'one', '1');
SELECT outcome, recovery_point, state FROM idempotency.claim('own', 'recovery_points');
SELECT idempotency.checkpoint('own', 'recovery_points', 'two', '2', lease => '1 us');
COMMIT;
SELECT outcome, attempt, recovery_point, state FROM idempotency.claim('own', 'recovery_points', lease => '1 minute');

-- a checkpoint that is rolled back has no effect
SELECT idempotency.checkpoint('own', 'recovery_points', 'three', '3', 2);
BEGIN;
SELECT idempotency.checkpoint('own', 'recovery_points', 'four', '4', 2);
ROLLBACK;
SELECT recovery_point, state FROM idempotency.lookup('own', 'recovery_points');

-- release and completion remove them
SELECT idempotency.release('own', 'recovery_points', 2);
SELECT recovery_point, state FROM idempotency.lookup('own', 'recovery_points');
SELECT outcome, attempt, recovery_point, state FROM idempotency.claim('own', 'recovery_points', lease => '1 minute');
CALL pg_temp.show_error($$ SELECT idempotency.checkpoint('own', 'recovery_points', 'late', attempt => 2) $$);

-- a state may be as large as a response
CALL pg_temp.show_error($$ SELECT idempotency.checkpoint('own', 'recovery_points', 'large', to_jsonb(repeat('x', 1048576)), 3) $$);
SELECT idempotency.checkpoint('own', 'recovery_points', 'large', to_jsonb(repeat('x', 1000000)), 3);
SELECT recovery_point, state = to_jsonb(repeat('x', 1000000)) AS equal FROM idempotency.lookup('own', 'recovery_points');

SELECT count(*) AS row_count, count(DISTINCT key) AS keys FROM idempotency.keys WHERE scope = 'recovery_points';
