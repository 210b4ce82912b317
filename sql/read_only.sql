-- In a read-only transaction, functions that may write raise PostgreSQL's own
-- error, whatever is stored; lookup() works.
BEGIN;
SELECT outcome FROM idempotency.claim('completed', 'read_only', '1');
SELECT idempotency.complete('completed', 'read_only', '"result"');
COMMIT;
SELECT outcome FROM idempotency.claim('in progress', 'read_only', '1', lease => '1 minute');

BEGIN READ ONLY;
SAVEPOINT a;
SELECT idempotency.claim('absent', 'read_only');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO a;
SELECT idempotency.claim('completed', 'read_only', '1');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO a;
SELECT idempotency.claim('in progress', 'read_only', '1');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO a;
SELECT idempotency.claim('in progress', 'read_only', '2', wait => '0');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO a;
SELECT idempotency.complete('in progress', 'read_only', attempt => 1);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO a;
SELECT idempotency.complete('completed', 'read_only', '"result"', attempt => 1);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO a;
SELECT idempotency.fail('in progress', 'read_only', attempt => 1);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO a;
SELECT idempotency.release('in progress', 'read_only', 1);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO a;
SELECT idempotency.heartbeat('in progress', 'read_only', 1);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO a;
SELECT idempotency.checkpoint('in progress', 'read_only', 'step', attempt => 1);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO a;
SELECT key, status, response FROM unnest(ARRAY['absent', 'completed', 'in progress']) AS k, idempotency.lookup(k, 'read_only');
COMMIT;

-- read only by default, too
SET default_transaction_read_only = on;
SELECT idempotency.claim('absent', 'read_only');
RESET default_transaction_read_only;
SELECT key, status FROM idempotency.keys WHERE scope = 'read_only' ORDER BY key COLLATE "C";
