-- Indexes that an administrator creates on the keys are kept up to date.
CREATE INDEX regress_keys_status ON idempotency.keys (status, scope);
CREATE INDEX regress_keys_summary ON idempotency.keys USING brin (completed_at) WITH (pages_per_range = 1);
CREATE INDEX regress_keys_unfinished ON idempotency.keys (lower(key)) WHERE status = 'in_progress';
SELECT outcome FROM idempotency.claim('First', 'administrators_indexes', lease => '1 minute');
SELECT outcome FROM idempotency.claim('Second', 'administrators_indexes', lease => '1 minute');
SELECT idempotency.complete('First', 'administrators_indexes', '1', attempt => 1);
SELECT idempotency.complete('Second', 'administrators_indexes', '2', attempt => 1, ttl => '1 year');
SELECT outcome FROM idempotency.claim('Third', 'administrators_indexes', lease => '1 minute');

SET enable_seqscan = off;
SELECT key, response FROM idempotency.keys WHERE status = 'completed' AND scope = 'administrators_indexes' ORDER BY key;
SELECT key FROM idempotency.keys WHERE status = 'in_progress' AND lower(key) = 'third';
SELECT key FROM idempotency.keys WHERE completed_at > clock_timestamp() - interval '1 hour' AND scope = 'administrators_indexes' ORDER BY key;
SELECT outcome, response FROM idempotency.claim('First', 'administrators_indexes');
SELECT outcome, response FROM idempotency.claim('Second', 'administrators_indexes');
RESET enable_seqscan;

DROP INDEX idempotency.regress_keys_status, idempotency.regress_keys_summary, idempotency.regress_keys_unfinished;
DELETE FROM idempotency.keys WHERE scope = 'administrators_indexes';
