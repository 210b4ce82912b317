-- In mode raise a duplicate raises IK409, with the first row's result as JSON
-- in the detail.
CREATE SCHEMA guard_raise;
SET search_path = guard_raise;
CREATE TABLE orders (
	id              integer PRIMARY KEY,
	idempotency_key text,
	item            text
);
SELECT idempotency.guard_table('orders', 'idempotency_key', 'orders/raise', 'raise');
INSERT INTO orders VALUES (1, 'a', 'tea "green"');
INSERT INTO orders VALUES (2, 'a', 'tea "green"');
\echo :LAST_ERROR_SQLSTATE

-- What a client does with it.
DO $$
DECLARE
	detail text;
	first jsonb;
BEGIN
	INSERT INTO orders VALUES (3, 'a', 'tea "green"');
EXCEPTION WHEN SQLSTATE 'IK409' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	first := detail;
	RAISE NOTICE 'id %, item %', first->>'resource_id', first->'response'->>'item';
END
$$;

-- Another row under the key is another error.
INSERT INTO orders VALUES (2, 'a', 'coffee');
\echo :LAST_ERROR_SQLSTATE

-- A duplicate inside one statement: the first row's result is not known yet.
INSERT INTO orders VALUES (4, 'b', 'milk'), (5, 'b', 'milk');
\echo :LAST_ERROR_SQLSTATE
-- ... and in a statement of its own, in the same transaction.
BEGIN;
INSERT INTO orders VALUES (4, 'b', 'milk');
INSERT INTO orders VALUES (5, 'b', 'milk');
ROLLBACK;

-- A key without a result raises too.
SELECT outcome FROM idempotency.claim('c', 'orders/raise', '{"item": "nothing"}');
INSERT INTO orders VALUES (6, 'c', 'nothing');
\echo :LAST_ERROR_SQLSTATE
SELECT idempotency.complete('c', 'orders/raise', attempt => 1);
INSERT INTO orders VALUES (6, 'c', 'nothing');
\echo :LAST_ERROR_SQLSTATE

-- Nothing but the first row is there.
SELECT id, idempotency_key, item FROM orders ORDER BY id;

-- The prefix of the SQLSTATEs is a setting.
SET idempotency.sqlstate_prefix = 'PT';
INSERT INTO orders VALUES (2, 'a', 'tea "green"');
\echo :LAST_ERROR_SQLSTATE
RESET idempotency.sqlstate_prefix;

SET client_min_messages = warning;
DROP SCHEMA guard_raise CASCADE;
