-- A claim belongs to its transaction, then to its attempt, and never to a
-- session.
SELECT current_database() AS tested \gset
SELECT outcome, attempt FROM idempotency.claim('key', 'no_session_state', '1', lease => '1 minute');
-- nothing is left in the session
SELECT count(*) AS locks FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory';
SELECT count(*) AS statements FROM pg_prepared_statements;
SELECT count(*) AS cursors FROM pg_cursors WHERE name <> '';
SELECT pg_advisory_unlock_all();
DISCARD ALL;
SELECT idempotency.heartbeat('key', 'no_session_state', 1) > clock_timestamp() AS renewed;
\c :tested
SELECT idempotency.checkpoint('key', 'no_session_state', 'step', '1', 1);
\c :tested
SELECT outcome FROM idempotency.claim('key', 'no_session_state', '1');
SELECT idempotency.complete('key', 'no_session_state', '"result"', attempt => 1);
\c :tested
SELECT outcome, response FROM idempotency.claim('key', 'no_session_state', '1');
SELECT outcome FROM idempotency.claim('key', 'no_session_state', '2');

-- the application's own advisory locks are independent
BEGIN;
SELECT outcome FROM idempotency.claim('locks', 'no_session_state');
SELECT pg_advisory_lock(1), pg_advisory_lock(1, 1);
SELECT pg_advisory_unlock_all();
SELECT idempotency.complete('locks', 'no_session_state', '1');
COMMIT;
SELECT outcome, response FROM idempotency.claim('locks', 'no_session_state');

-- a session that disconnects in a transaction leaves nothing
BEGIN;
SELECT outcome FROM idempotency.claim('gone', 'no_session_state');
SELECT idempotency.complete('gone', 'no_session_state', '1');
\c :tested
SELECT outcome FROM idempotency.claim('gone', 'no_session_state', lease => '1 minute');
SELECT count(*) AS row_count, count(DISTINCT key) AS keys FROM idempotency.keys WHERE scope = 'no_session_state';
