-- erase_scope() removes the contents of the results of a scope and of those
-- below it, and keeps the keys; keys in progress, and other scopes, are not
-- changed.
CREATE FUNCTION to_jsonb_of(request jsonb) RETURNS jsonb LANGUAGE sql RETURN jsonb_build_object('id', 7, 'secret', request);
SELECT count(idempotency.once('k' || n, scope)) FROM generate_series(1, 3) AS n, unnest('{e/1, e/1/x, e/10, e}'::text[]) AS scope;
SELECT outcome FROM idempotency.execute('replayed', 'e/1', 'to_jsonb_of', '{"secret": 1}');
SELECT outcome FROM idempotency.execute('replayed', 'e/2', 'to_jsonb_of', '{"secret": 2}');
SELECT outcome FROM idempotency.claim('leased', 'e/1', '{"secret": 1}', lease => '1 hour');
SELECT idempotency.checkpoint('leased', 'e/1', 'half', '{"secret": 1}', attempt => 1);
BEGIN;
SELECT outcome FROM idempotency.claim('failed', 'e/1/x');
SELECT idempotency.fail('failed', 'e/1/x', '{"secret": 1}');
COMMIT;
SELECT idempotency.erase('k1', 'e/1');
SELECT idempotency.erase_scope('e/1');
SELECT idempotency.erase_scope('e/1');
SELECT scope, key, status, attempt, fingerprint IS NULL AS no_fingerprint, response, state FROM idempotency.keys WHERE scope LIKE 'e/%' ORDER BY scope, key;
SELECT outcome, status_code, response FROM idempotency.claim('replayed', 'e/1', '"another"');
SELECT idempotency.complete('leased', 'e/1', '"done"', attempt => 1);
-- in a transaction that is rolled back
BEGIN;
SELECT idempotency.erase_scope('e');
ROLLBACK;
SELECT status, response FROM idempotency.lookup('replayed', 'e/2');
SELECT idempotency.erase_scope(NULL);
BEGIN READ ONLY;
SELECT idempotency.erase_scope('e');
ROLLBACK;
SELECT idempotency.purge('e');
DROP FUNCTION to_jsonb_of;
