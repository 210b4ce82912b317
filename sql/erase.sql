-- erase() removes the contents of a key's result and keeps the key: a retry
-- replays 410 and no body, whatever its request is.
SELECT outcome FROM idempotency.claim('done', 'erase', '{"name": "secret"}', lease => '1 minute');
SELECT idempotency.checkpoint('done', 'erase', 'step', '{"name": "secret"}', 1);
SELECT idempotency.complete('done', 'erase', '{"name": "secret"}', '7', 201, 1);
SELECT idempotency.erase('done', 'erase');
SELECT status, status_code, resource_id, response, recovery_point, state, fingerprint, attempt, completed_at IS NOT NULL AS completed
FROM idempotency.lookup('done', 'erase');
SELECT outcome, proceed, status_code, response, attempt FROM idempotency.claim('done', 'erase', '{"name": "secret"}');
SELECT outcome, proceed, status_code, response FROM idempotency.claim('done', 'erase', '{"name": "other"}');
SELECT outcome, proceed, status_code, response FROM idempotency.claim('done', 'erase');
SELECT outcome, status_code, response FROM idempotency.execute('done', 'erase', 'nothing', '1');
SELECT outcome, status_code, response FROM idempotency.claim_many('{done}', 'erase', '{1}');
SELECT idempotency.once('done', 'erase');
-- the stored row does not contain it either
SELECT count(*) FROM idempotency.keys AS k WHERE scope = 'erase' AND k::text LIKE '%secret%';
-- again
SELECT idempotency.erase('done', 'erase');
-- it is remembered as long as it would have been
SELECT outcome FROM idempotency.claim('ttl', 'erase', ttl => '30 days', lease => '1 minute');
SELECT idempotency.complete('ttl', 'erase', '1', attempt => 1);
SELECT expires_at AS before FROM idempotency.lookup('ttl', 'erase') \gset
SELECT idempotency.erase('ttl', 'erase');
SELECT expires_at = :'before' AS same_end FROM idempotency.lookup('ttl', 'erase');
-- a failure
SELECT outcome FROM idempotency.claim('failed', 'erase', lease => '1 minute');
SELECT idempotency.fail('failed', 'erase', '"secret"', status_code => 402, attempt => 1);
SELECT idempotency.erase('failed', 'erase');
SELECT outcome, status_code, response FROM idempotency.claim('failed', 'erase');
-- large, stored out of line
SELECT outcome FROM idempotency.claim('large', 'erase', lease => '1 minute');
SELECT idempotency.complete('large', 'erase', (SELECT jsonb_agg(md5(n::text)) FROM generate_series(1, 10000) AS n), attempt => 1);
SELECT idempotency.erase('large', 'erase');
SELECT outcome, status_code, response FROM idempotency.claim('large', 'erase');

-- keys without a result
SELECT idempotency.erase('never claimed', 'erase');
SELECT outcome FROM idempotency.claim('leased', 'erase', '1', lease => '1 hour');
SELECT idempotency.erase('leased', 'erase');
SELECT outcome FROM idempotency.claim('run out', 'erase', '1', lease => '1 us');
SELECT pg_sleep(0.001);
\set VERBOSITY sqlstate
SELECT idempotency.erase('leased', 'erase');
SELECT idempotency.erase('run out', 'erase');
BEGIN;
SELECT outcome FROM idempotency.claim('own', 'erase');
SAVEPOINT claimed;
SELECT idempotency.erase('own', 'erase');
ROLLBACK TO claimed;
SELECT idempotency.complete('own', 'erase', '"secret"');
SELECT idempotency.erase('own', 'erase');
SELECT outcome, status_code, response FROM idempotency.claim('own', 'erase');
SAVEPOINT erased;
SELECT idempotency.complete('own', 'erase', '"secret"');
ROLLBACK TO erased;
COMMIT;
\set VERBOSITY default
SELECT status, fingerprint IS NOT NULL AS fingerprint FROM idempotency.lookup('leased', 'erase');
SELECT outcome FROM idempotency.claim('released', 'erase', '1', lease => '1 minute');
SELECT idempotency.release('released', 'erase', 1);
SELECT idempotency.erase('released', 'erase');
SELECT outcome, attempt FROM idempotency.claim('released', 'erase', '2', lease => '1 minute');
SELECT outcome FROM idempotency.claim('expired', 'erase', lease => '1 minute');
SELECT idempotency.complete('expired', 'erase', '1', attempt => 1, ttl => '1 us');
SELECT pg_sleep(0.001);
SELECT idempotency.erase('expired', 'erase');
SELECT idempotency.erase(idempotency.issue('erase', 'cart'), 'erase');
-- the former owner finds no claim
SELECT idempotency.complete('done', 'erase', '{"name": "secret"}', '7', 201, 1);
SELECT idempotency.heartbeat('done', 'erase', 1);
-- rolled back
BEGIN;
SELECT outcome FROM idempotency.claim('kept', 'erase');
SELECT idempotency.complete('kept', 'erase', '"kept"');
COMMIT;
BEGIN;
SELECT idempotency.erase('kept', 'erase');
ROLLBACK;
SELECT outcome, status_code, response FROM idempotency.claim('kept', 'erase');

\set VERBOSITY sqlstate
SELECT idempotency.erase(NULL);
SELECT idempotency.erase('');
SELECT idempotency.erase('k', NULL);
BEGIN READ ONLY;
SELECT idempotency.erase('done', 'erase');
ROLLBACK;
\set VERBOSITY default
