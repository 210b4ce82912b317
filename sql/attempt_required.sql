-- The attempt may be left out only in the transaction that claimed.
\getenv abs_srcdir PG_ABS_SRCDIR
\i :abs_srcdir/test/show_error.sql

BEGIN;
SELECT outcome FROM idempotency.claim('here', 'attempt_required', lease => '1 minute');
SELECT idempotency.heartbeat('here', 'attempt_required') > clock_timestamp() AS renewed;
SELECT idempotency.checkpoint('here', 'attempt_required', 'step');
SAVEPOINT inner_transaction;
SELECT idempotency.heartbeat('here', 'attempt_required') > clock_timestamp() AS renewed;
ROLLBACK TO inner_transaction;
SELECT idempotency.complete('here', 'attempt_required');
COMMIT;

SELECT outcome, attempt FROM idempotency.claim('later', 'attempt_required', lease => '1 minute');
CALL pg_temp.show_error($$ SELECT idempotency.complete('later', 'attempt_required') $$);
CALL pg_temp.show_error($$ SELECT idempotency.fail('later', 'attempt_required') $$);
CALL pg_temp.show_error($$ SELECT idempotency.release('later', 'attempt_required') $$);
CALL pg_temp.show_error($$ SELECT idempotency.heartbeat('later', 'attempt_required') $$);
CALL pg_temp.show_error($$ SELECT idempotency.checkpoint('later', 'attempt_required', 'step') $$);

-- A transaction that renews the lease has not claimed the key.
BEGIN;
SELECT idempotency.heartbeat('later', 'attempt_required', 1) > clock_timestamp() AS renewed;
CALL pg_temp.show_error($$ SELECT idempotency.complete('later', 'attempt_required') $$);
SELECT idempotency.checkpoint('later', 'attempt_required', 'step', attempt => 1);
CALL pg_temp.show_error($$ SELECT idempotency.complete('later', 'attempt_required') $$);
ROLLBACK;

-- Neither has a transaction whose claim was answered with in_progress.
BEGIN;
SELECT outcome, attempt FROM idempotency.claim('later', 'attempt_required');
CALL pg_temp.show_error($$ SELECT idempotency.complete('later', 'attempt_required') $$);
ROLLBACK;
SELECT status, attempt, recovery_point FROM idempotency.lookup('later', 'attempt_required');

-- Neither has a transaction whose claim was rolled back to a savepoint.
SELECT idempotency.release('later', 'attempt_required', 1);
BEGIN;
SAVEPOINT before;
SELECT outcome, attempt FROM idempotency.claim('later', 'attempt_required');
ROLLBACK TO before;
CALL pg_temp.show_error($$ SELECT idempotency.complete('later', 'attempt_required') $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('later', 'attempt_required', attempt => 2) $$);
COMMIT;

-- A takeover and a claim after a release are claims of this transaction.
BEGIN;
SELECT outcome, attempt FROM idempotency.claim('later', 'attempt_required');
SELECT idempotency.complete('later', 'attempt_required', '2');
SELECT outcome, response FROM idempotency.claim('later', 'attempt_required');
COMMIT;

-- A completed key in a later transaction: still required.
CALL pg_temp.show_error($$ SELECT idempotency.complete('later', 'attempt_required', '2') $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('later', 'attempt_required', '3') $$);
SELECT status, attempt, response FROM idempotency.lookup('later', 'attempt_required');
