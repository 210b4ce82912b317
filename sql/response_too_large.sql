-- A response larger than allowed is refused; the transaction can still
-- complete with a smaller one after a savepoint.
BEGIN;
SELECT outcome FROM idempotency.claim('key', 'response_too_large');
SAVEPOINT before;
SELECT idempotency.complete('key', 'response_too_large', to_jsonb(repeat('x', 2000000)), 'id', 201);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO before;
SELECT status, response, resource_id FROM idempotency.lookup('key', 'response_too_large');
SELECT idempotency.complete('key', 'response_too_large', '{"see": "/payments/id"}', 'id', 201);
COMMIT;
SELECT outcome, status_code, resource_id, response FROM idempotency.claim('key', 'response_too_large');

-- without a savepoint the transaction is rolled back, and the key is free
BEGIN;
SELECT outcome FROM idempotency.claim('lost', 'response_too_large');
SELECT idempotency.complete('lost', 'response_too_large', to_jsonb(repeat('x', 2000000)));
COMMIT;
SELECT count(*) FROM idempotency.lookup('lost', 'response_too_large');

-- in a later transaction the claim does not change
SELECT outcome FROM idempotency.claim('later', 'response_too_large', lease => '1 minute');
SELECT idempotency.complete('later', 'response_too_large', to_jsonb(repeat('x', 2000000)), attempt => 1);
SELECT idempotency.fail('later', 'response_too_large', to_jsonb(repeat('x', 2000000)), attempt => 1);
SELECT idempotency.checkpoint('later', 'response_too_large', 'step', to_jsonb(repeat('x', 2000000)), attempt => 1);
SELECT status, attempt, recovery_point, state, response FROM idempotency.lookup('later', 'response_too_large');

-- The size is that of the jsonb without compression, to the byte.
CREATE TABLE response (body jsonb);
INSERT INTO response VALUES (to_jsonb(repeat('x', 1048576 - 8))), (to_jsonb(repeat('x', 1048576 - 7))), (to_jsonb(repeat('x', 10000000)));
SELECT count(*) AS compressed FROM response WHERE pg_column_size(body) < 200000;
SELECT idempotency.complete('later', 'response_too_large', body, attempt => 1) FROM response WHERE length(body #>> '{}') = 10000000;
SELECT idempotency.complete('later', 'response_too_large', body, attempt => 1) FROM response WHERE length(body #>> '{}') = 1048576 - 7;
SELECT idempotency.complete('later', 'response_too_large', body, attempt => 1) FROM response WHERE length(body #>> '{}') = 1048576 - 8;
SELECT outcome, length(response #>> '{}') FROM idempotency.claim('later', 'response_too_large');
DROP TABLE response;

-- the setting
SET idempotency.max_response_size = '3MB';
SELECT outcome, idempotency.complete('allowed', 'response_too_large', to_jsonb(repeat('x', 2000000)))
FROM idempotency.claim('allowed', 'response_too_large');
-- a stored response is replayed, whatever the setting is then
SET idempotency.max_response_size = '1kB';
SELECT outcome, length(response #>> '{}') FROM idempotency.claim('allowed', 'response_too_large');
RESET idempotency.max_response_size;
SELECT count(*) AS row_count, count(DISTINCT key) AS keys FROM idempotency.keys WHERE scope = 'response_too_large';

-- resource_id counts with the response, recovery_point with the state
SELECT idempotency.set_policy('response_too_large/small', max_response_bytes => 100);
BEGIN;
SELECT outcome FROM idempotency.claim('small', 'response_too_large/small', lease => '1 minute');
SAVEPOINT before;
SELECT idempotency.complete('small', 'response_too_large/small', resource_id => repeat('r', 101));
ROLLBACK TO before;
SELECT idempotency.complete('small', 'response_too_large/small', to_jsonb(repeat('x', 42)), repeat('r', 51));
ROLLBACK TO before;
SELECT idempotency.fail('small', 'response_too_large/small', to_jsonb(repeat('x', 42)), repeat('r', 51));
ROLLBACK TO before;
SELECT idempotency.checkpoint('small', 'response_too_large/small', repeat('p', 101));
ROLLBACK TO before;
SELECT idempotency.checkpoint('small', 'response_too_large/small', repeat('p', 51), to_jsonb(repeat('x', 42)));
ROLLBACK TO before;
SELECT idempotency.complete_many('{small}', 'response_too_large/small', resource_ids => ARRAY[repeat('r', 101)]);
ROLLBACK TO before;
SELECT idempotency.checkpoint('small', 'response_too_large/small', repeat('p', 50), to_jsonb(repeat('x', 42)));
SELECT idempotency.complete('small', 'response_too_large/small', to_jsonb(repeat('x', 42)), repeat('r', 50));
COMMIT;
CREATE FUNCTION with_long_id(request jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('id', repeat('r', 60)) $$;
SELECT idempotency.execute('executed', 'response_too_large/small', 'with_long_id');
-- the records of issue() are not limited
SELECT idempotency.set_policy('', max_response_bytes => 0);
SELECT length(idempotency.issue('response_too_large', 'cart'));
SELECT idempotency.drop_policy('');
SELECT idempotency.drop_policy('response_too_large/small');
