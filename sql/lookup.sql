-- lookup() returns the stored row of a key, without waiting or writing.
SELECT count(*) FROM idempotency.lookup('absent', 'lookup');
SELECT count(*) FROM idempotency.lookup('absent');

-- each status
BEGIN;
SELECT outcome FROM idempotency.claim('key', 'lookup', '1', ttl => '3 hours', lease => '2 minutes');
-- a transaction sees its own claim
SELECT scope, key, fingerprint IS NOT NULL AS fingerprint, status, status_code, resource_id, response, attempt,
	   recovery_point, state, lease_until - claimed_at AS lease, completed_at, expires_at - claimed_at AS ttl
FROM idempotency.lookup('key', 'lookup');
COMMIT;
SELECT idempotency.checkpoint('key', 'lookup', 'step', '{"a": 1}', 1, '5 minutes');
SELECT status, attempt, recovery_point, state FROM idempotency.lookup('key', 'lookup');
SELECT idempotency.complete('key', 'lookup', '{"b": 2}', 'id', 201, 1);
SELECT status, status_code, resource_id, response, attempt, recovery_point, state, lease_until,
	   completed_at > claimed_at AS completed, expires_at - completed_at AS ttl
FROM idempotency.lookup('key', 'lookup');
-- status_code is NULL if none was stored
BEGIN;
SELECT outcome FROM idempotency.claim('failed', 'lookup');
SELECT idempotency.fail('failed', 'lookup');
SELECT outcome FROM idempotency.claim('released', 'lookup');
SELECT idempotency.release('released', 'lookup');
COMMIT;
SELECT k, status, status_code FROM unnest(ARRAY['failed', 'released']) AS k, idempotency.lookup(k, 'lookup');

-- it returns the row of the table
SELECT count(*) AS keys, count(*) FILTER (WHERE k = l) AS same
FROM idempotency.keys AS k, idempotency.lookup(k.key, k.scope) AS l WHERE k.scope = 'lookup';

-- the default of the scope is ''
BEGIN;
SELECT outcome FROM idempotency.claim('lookup', '', '1');
SELECT status FROM idempotency.lookup('lookup');
SELECT status FROM idempotency.lookup('lookup', '');
SELECT count(*) FROM idempotency.lookup('lookup', ' ');
ROLLBACK;
SELECT count(*) FROM idempotency.lookup('lookup');

-- in a read-only transaction, at every isolation level, without a transaction
-- id and without a lock that stays
BEGIN READ ONLY;
SELECT status FROM idempotency.lookup('key', 'lookup');
SELECT pg_current_xact_id_if_assigned();
SELECT count(*) AS locks FROM pg_locks WHERE pid = pg_backend_pid() AND (mode = 'ExclusiveLock' AND locktype <> 'virtualxid' OR mode = 'RowExclusiveLock' OR locktype = 'advisory');
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT status FROM idempotency.lookup('key', 'lookup');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
SELECT status FROM idempotency.lookup('key', 'lookup');
COMMIT;

-- in a select list, in EXISTS, in a join
SELECT (idempotency.lookup('key', 'lookup')).status;
SELECT EXISTS (SELECT FROM idempotency.lookup('key', 'lookup')), EXISTS (SELECT FROM idempotency.lookup('absent', 'lookup'));
SELECT k, status FROM unnest(ARRAY['key', 'absent', 'failed']) AS k LEFT JOIN LATERAL idempotency.lookup(k, 'lookup') ON true;
SELECT status FROM idempotency.lookup('key', 'lookup') LIMIT 0;
