-- execute() claims, calls a function of jsonb and stores what it returns.
CREATE SCHEMA execute_shop;
SET search_path = execute_shop, public;
CREATE TABLE payments (id integer GENERATED ALWAYS AS IDENTITY, amount numeric);
CREATE FUNCTION pay(request jsonb) RETURNS jsonb LANGUAGE sql AS $$
	INSERT INTO payments (amount) VALUES ((request->>'amount')::numeric)
	RETURNING jsonb_build_object('id', id, 'amount', amount)
$$;
CREATE FUNCTION echo(request jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT request';

-- new, and then the stored result
SELECT outcome, proceed, status_code, resource_id, response, attempt, recovery_point, state, retry_after
FROM idempotency.execute('pay', 'pay', '{"amount": 10}', 'execute');
SELECT outcome, proceed, status_code, resource_id, response, attempt, recovery_point, state, retry_after
FROM idempotency.execute('pay', 'pay', '{"amount": 10.0}', 'execute');
SELECT outcome, status_code, resource_id, response FROM idempotency.claim('pay', 'execute', '{"amount": 10}');
SELECT outcome, proceed, status_code, resource_id, response
FROM idempotency.execute('pay', 'pay', '{"amount": 11}', 'execute');
SELECT count(*) AS payments FROM payments;
SELECT status, status_code, resource_id, response, attempt, lease_until FROM idempotency.lookup('pay', 'execute');

-- what is returned is what is stored
SELECT e.expires_at = k.expires_at AS same_end, e.claimed_at = k.claimed_at AS same_claim, e.completed_at = k.completed_at AS same_completion,
	k.expires_at - k.claimed_at AS ttl
FROM idempotency.execute('times', 'echo', scope => 'execute', ttl => '10 seconds') AS e, LATERAL idempotency.lookup('times', 'execute') AS k;
SELECT e.expires_at = k.expires_at AS same_end, e.claimed_at = k.claimed_at AS same_claim, e.completed_at = k.completed_at AS same_completion,
	k.expires_at - k.claimed_at AS ttl
FROM idempotency.execute('long times', 'echo', scope => 'execute', ttl => '30 days') AS e, LATERAL idempotency.lookup('long times', 'execute') AS k;

-- a committed lease of somebody else, and one that has run out
SELECT outcome FROM idempotency.claim('leased', 'execute', lease => '1 hour');
SELECT outcome, proceed, status_code, retry_after BETWEEN '59 minutes' AND '1 hour' AS after_the_lease, response
FROM idempotency.execute('leased', 'pay', scope => 'execute', wait => '0');
SELECT outcome FROM idempotency.claim('run out', 'execute', '{"amount": 3}', lease => '1 us');
SELECT idempotency.checkpoint('run out', 'execute', 'asked', '{"n": 1}', 1, '1 us');
SELECT pg_sleep(0.001);
SELECT outcome, proceed, status_code, resource_id, response, attempt, recovery_point, state
FROM idempotency.execute('run out', 'pay', '{"amount": 3}', 'execute');

-- a key that was released
BEGIN;
SELECT outcome FROM idempotency.claim('released', 'execute', '1');
SELECT idempotency.release('released', 'execute');
SELECT outcome, status_code, response, attempt FROM idempotency.execute('released', 'echo', '2', 'execute');
COMMIT;

-- the same key in one transaction
BEGIN;
SELECT outcome, response FROM idempotency.execute('twice', 'pay', '{"amount": 4}', 'execute');
SELECT outcome, response FROM idempotency.execute('twice', 'pay', '{"amount": 4}', 'execute');
ROLLBACK;
SELECT outcome, response->'amount' AS amount FROM idempotency.execute('twice', 'pay', '{"amount": 5}', 'execute');

-- resource_id is response->>'id'
CREATE FUNCTION returns_that(request jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT request->'returned' $$;
SELECT name, e.outcome, e.resource_id, replay.resource_id IS NOT DISTINCT FROM e.resource_id AS replayed,
	e.resource_id IS NOT DISTINCT FROM value->>'id' AS as_the_operator, e.response = value AS whole
FROM (VALUES
	('string', '{"id": "pay_7"}'::jsonb), ('empty string', '{"id": ""}'), ('number', '{"id": 7}'), ('large', '{"id": 12345678901234567890}'),
	('fraction', '{"id": 1.50}'), ('boolean', '{"id": true}'), ('null', '{"id": null}'), ('absent', '{"ID": 7, "ids": 1}'),
	('object', '{"id": {"a": [1, "x"]}}'), ('array', '{"id": [1, "x"]}'), ('nested', '{"data": {"id": 7}}'), ('quoted', '{"id": "\"\\"}'),
	('an array', '["id"]'), ('a string', '"id"'), ('a number', '7'), ('json null', 'null'), ('empty', '{}')) AS r (name, value),
	LATERAL idempotency.execute('resource ' || name, 'returns_that', jsonb_build_object('returned', value), 'execute') AS e,
	LATERAL idempotency.claim('resource ' || name, 'execute', jsonb_build_object('returned', value)) AS replay;

-- a result of NULL is a result
CREATE FUNCTION returns_null(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO payments (amount) VALUES (-1);
	RETURN NULL;
END $$;
SELECT outcome, status_code, resource_id, response IS NULL AS no_response FROM idempotency.execute('null', 'returns_null', scope => 'execute');
SELECT outcome, status_code, resource_id, response IS NULL AS no_response FROM idempotency.execute('null', 'returns_null', scope => 'execute');
SELECT count(*) AS effects FROM payments WHERE amount = -1;

-- no request: the function gets NULL, one that is strict is not called
CREATE FUNCTION was_null(request jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(request IS NULL)';
CREATE FUNCTION never(request jsonb) RETURNS jsonb STRICT LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called'; END $$;
SELECT outcome, response FROM idempotency.execute('no request', 'was_null', scope => 'execute');
SELECT outcome, response FROM idempotency.execute('a request of null', 'was_null', 'null', 'execute');
SELECT outcome, status_code, response FROM idempotency.execute('strict', 'never', scope => 'execute');
SELECT outcome, status_code, response FROM idempotency.execute('strict', 'never', scope => 'execute');
SELECT outcome FROM idempotency.execute('strict', 'never', '1', 'execute');
SELECT outcome FROM idempotency.execute('strict with a request', 'never', '1', 'execute');

-- an error of the command leaves nothing behind, neither work nor key
CREATE FUNCTION pay_and_fail(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO payments (amount) VALUES (-2);
	PERFORM idempotency.claim('inner', 'execute');
	RAISE EXCEPTION 'no funds' USING ERRCODE = 'P0402', HINT = 'Pay in.';
END $$;
SELECT idempotency.execute('fails', 'pay_and_fail', '1', 'execute');
SELECT count(*) FROM idempotency.keys WHERE scope = 'execute' AND key IN ('fails', 'inner');
BEGIN;
SAVEPOINT before;
SELECT idempotency.execute('fails', 'pay_and_fail', '1', 'execute');
ROLLBACK TO before;
SELECT outcome, response FROM idempotency.execute('fails', 'echo', '2', 'execute');
COMMIT;
SELECT count(*) AS effects FROM payments WHERE amount = -2;
SELECT status, response FROM idempotency.lookup('fails', 'execute');

-- executions within executions
CREATE FUNCTION outer_command(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	same idempotency.claim_result := idempotency.execute('outer', 'echo', request, 'execute');
	other idempotency.claim_result := idempotency.execute('inner', 'pay', request, 'execute');
BEGIN
	RETURN jsonb_build_object('same', same.outcome, 'other', other.outcome, 'id', other.response->'amount');
END $$;
SELECT outcome, resource_id, response FROM idempotency.execute('outer', 'outer_command', '{"amount": 6}', 'execute');
SELECT outcome, resource_id, response FROM idempotency.execute('outer', 'outer_command', '{"amount": 6}', 'execute');
SELECT outcome, response->'amount' AS amount FROM idempotency.execute('inner', 'pay', '{"amount": 6}', 'execute');
CREATE FUNCTION deeper(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	c idempotency.claim_result;
BEGIN
	IF request = '0' THEN
		RETURN '"bottom"';
	END IF;
	c := idempotency.execute('level ' || ((request#>>'{}')::integer - 1), 'deeper', to_jsonb((request#>>'{}')::integer - 1), 'execute', cache_errors => '{P0001}');
	RETURN c.response;
END $$;
SELECT outcome, response FROM idempotency.execute('level 20', 'deeper', '20', 'execute');
SELECT count(*), count(DISTINCT response) FROM idempotency.keys WHERE scope = 'execute' AND key LIKE 'level %' AND status = 'completed';

-- a command that ends its own claim
CREATE FUNCTION ends_its_claim(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM idempotency.complete('ends', 'execute', '"another"');
	RETURN '"result"';
END $$;
SELECT idempotency.execute('ends', 'ends_its_claim', scope => 'execute');
SELECT count(*) FROM idempotency.lookup('ends', 'execute');

-- terms
SELECT expires_at - claimed_at AS ttl FROM idempotency.execute('ttl', 'echo', scope => 'execute', ttl => '3 days');
SELECT expires_at - claimed_at AS ttl FROM idempotency.execute('default ttl', 'echo', scope => 'execute');
SELECT outcome FROM idempotency.execute('short', 'echo', '1', 'execute', ttl => '1 us');
SELECT pg_sleep(0.001);
SELECT outcome, response FROM idempotency.execute('short', 'echo', '2', 'execute');
SELECT idempotency.execute('bad', 'echo', scope => 'execute', ttl => '0');
SELECT idempotency.execute('bad', 'echo', scope => 'execute', wait => '-1 s');
SELECT idempotency.execute('bad', NULL, scope => 'execute');
SELECT idempotency.execute(NULL, 'echo', scope => 'execute');
SELECT idempotency.execute('', 'echo', scope => 'execute');
SELECT idempotency.execute('bad', 'echo', scope => NULL);
BEGIN READ ONLY;
SELECT idempotency.execute('bad', 'echo', scope => 'execute');
ROLLBACK;
SET idempotency.max_response_size = '1kB';
SELECT idempotency.execute('large', 'echo', to_jsonb(repeat('x', 2000)), 'execute');
RESET idempotency.max_response_size;
SELECT outcome, length(response::text) FROM idempotency.execute('large', 'echo', to_jsonb(repeat('x', 2000)), 'execute');
SELECT count(*) FROM idempotency.keys WHERE scope = 'execute' AND key = 'bad';

-- a large result, stored out of line and replayed whole
CREATE TABLE documents (body jsonb);
ALTER TABLE documents ALTER COLUMN body SET STORAGE EXTERNAL;
INSERT INTO documents SELECT jsonb_build_object('id', 1, 'text', repeat('0123456789', 20000));
CREATE FUNCTION take_document(request jsonb) RETURNS jsonb LANGUAGE sql AS 'DELETE FROM documents RETURNING body';
SELECT outcome, resource_id, length(response->>'text') FROM idempotency.execute('document', 'take_document', scope => 'execute');
VACUUM documents;
SELECT outcome, resource_id, length(response->>'text') FROM idempotency.execute('document', 'take_document', scope => 'execute');

SELECT count(*) - count(DISTINCT key) AS keys_stored_twice FROM idempotency.keys WHERE scope = 'execute';
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA execute_shop CASCADE;
