-- Completing again with the same attempt and the same result is accepted and
-- changes nothing.
\getenv abs_srcdir PG_ABS_SRCDIR
\i :abs_srcdir/test/show_error.sql

SELECT outcome, attempt FROM idempotency.claim('key', 'completing_again', lease => '1 hour');
SELECT idempotency.complete('key', 'completing_again', '{"a": 1, "b": [1.0]}', 'r', 201, 1);
CREATE TEMPORARY TABLE stored AS
SELECT tableoid AS place, ctid AS version, xmin AS writer, k AS whole
FROM idempotency.keys AS k WHERE scope = 'completing_again' AND key = 'key';

-- equal as jsonb is the same
SELECT idempotency.complete('key', 'completing_again', '{"a": 1, "b": [1.0]}', 'r', 201, 1);
SELECT idempotency.complete('key', 'completing_again', '{"b":[1],"a":1.00}', 'r', 201, 1);
SELECT idempotency.complete('key', 'completing_again', '{"a": 1, "b": [1.0]}', 'r', 201, 1, '30 days');

-- another result is not
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'completing_again', '{"a": 1}', 'r', 201, 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'completing_again', NULL, 'r', 201, 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'completing_again', '{"a": 1, "b": [1]}', 'R', 201, 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'completing_again', '{"a": 1, "b": [1]}', NULL, 201, 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'completing_again', '{"a": 1, "b": [1]}', 'r', 200, 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'completing_again', '{"a": 1, "b": [1]}', 'r', NULL, 1) $$);

-- nor is failing, releasing, or going on
CALL pg_temp.show_error($$ SELECT idempotency.fail('key', 'completing_again', '{"a": 1, "b": [1]}', 'r', 201, 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.release('key', 'completing_again', 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.heartbeat('key', 'completing_again', 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.checkpoint('key', 'completing_again', 'step', attempt => 1) $$);

-- another attempt never owned it
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'completing_again', '{"a": 1, "b": [1]}', 'r', 201, 2) $$);

-- the row was not written again
SELECT count(*) AS unchanged FROM stored, idempotency.keys AS k
WHERE k.tableoid = place AND k.ctid = version AND k.xmin = writer AND k = whole;

-- within the transaction of the claim, without the attempt
BEGIN;
SELECT outcome FROM idempotency.claim('one transaction', 'completing_again');
SELECT idempotency.complete('one transaction', 'completing_again', '1');
SELECT idempotency.complete('one transaction', 'completing_again', '1.0');
SELECT idempotency.complete('one transaction', 'completing_again', '1.0', attempt => 1);
CALL pg_temp.show_error($$ SELECT idempotency.complete('one transaction', 'completing_again', '2') $$);
COMMIT;
SELECT idempotency.complete('one transaction', 'completing_again', '1', attempt => 1);
SELECT outcome, response FROM idempotency.claim('one transaction', 'completing_again');

-- a result of nothing
BEGIN;
SELECT outcome FROM idempotency.claim('nothing', 'completing_again');
SELECT idempotency.complete('nothing', 'completing_again');
SELECT idempotency.complete('nothing', 'completing_again');
CALL pg_temp.show_error($$ SELECT idempotency.complete('nothing', 'completing_again', 'null') $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('nothing', 'completing_again', status_code => 200) $$);
COMMIT;

-- the same for failures
SELECT outcome FROM idempotency.claim('failed', 'completing_again', lease => '1 minute');
SELECT idempotency.fail('failed', 'completing_again', '"declined"', status_code => 402, attempt => 1);
SELECT idempotency.fail('failed', 'completing_again', '"declined"', status_code => 402, attempt => 1);
CALL pg_temp.show_error($$ SELECT idempotency.complete('failed', 'completing_again', '"declined"', status_code => 402, attempt => 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.fail('failed', 'completing_again', attempt => 1) $$);
SELECT outcome, status_code, response FROM idempotency.claim('failed', 'completing_again');

-- a response that was stored out of line
SELECT outcome FROM idempotency.claim('large', 'completing_again', lease => '1 minute');
SELECT idempotency.complete('large', 'completing_again',
							(SELECT jsonb_agg(md5(n::text) ORDER BY n) FROM generate_series(1, 10000) AS n), attempt => 1);
SELECT idempotency.complete('large', 'completing_again',
							(SELECT jsonb_agg(md5(n::text) ORDER BY n) FROM generate_series(1, 10000) AS n), attempt => 1);
CALL pg_temp.show_error($$ SELECT idempotency.complete('large', 'completing_again',
							(SELECT jsonb_agg(md5(n::text) ORDER BY n DESC) FROM generate_series(1, 10000) AS n), attempt => 1) $$);
SELECT count(*) - count(DISTINCT (scope, key)) AS surplus_rows FROM idempotency.keys WHERE scope = 'completing_again';
