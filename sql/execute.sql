-- execute() claims, calls a function of jsonb and stores its result.
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
FROM idempotency.execute('pay', 'execute', 'pay', '{"amount": 10}');
SELECT outcome, proceed, status_code, resource_id, response, attempt, recovery_point, state, retry_after
FROM idempotency.execute('pay', 'execute', 'pay', '{"amount": 10.0}');
SELECT outcome, status_code, resource_id, response FROM idempotency.claim('pay', 'execute', '{"amount": 10}');
SELECT outcome, proceed, status_code, resource_id, response
FROM idempotency.execute('pay', 'execute', 'pay', '{"amount": 11}');
SELECT count(*) AS payments FROM payments;
SELECT status, status_code, resource_id, response, attempt, lease_until FROM idempotency.lookup('pay', 'execute');

-- what is returned is what is stored
SELECT e.expires_at = k.expires_at AS same_end, e.claimed_at = k.claimed_at AS same_claim, e.completed_at = k.completed_at AS same_completion,
	k.expires_at - k.claimed_at AS ttl
FROM idempotency.execute('times', 'execute', 'echo', ttl => '10 seconds') AS e, LATERAL idempotency.lookup('times', 'execute') AS k;
SELECT e.expires_at = k.expires_at AS same_end, e.claimed_at = k.claimed_at AS same_claim, e.completed_at = k.completed_at AS same_completion,
	k.expires_at - k.claimed_at AS ttl
FROM idempotency.execute('long times', 'execute', 'echo', ttl => '30 days') AS e, LATERAL idempotency.lookup('long times', 'execute') AS k;

-- a committed lease of another session, and one that has run out
SELECT outcome FROM idempotency.claim('leased', 'execute', lease => '1 hour');
SELECT outcome, proceed, status_code, retry_after BETWEEN '59 minutes' AND '1 hour' AS after_the_lease, response
FROM idempotency.execute('leased', 'execute', 'pay', wait => '0');
SELECT outcome FROM idempotency.claim('run out', 'execute', '{"amount": 3}', lease => '1 us');
SELECT idempotency.checkpoint('run out', 'execute', 'asked', '{"n": 1}', 1, '1 us');
SELECT pg_sleep(0.001);
SELECT outcome, proceed, status_code, resource_id, response, attempt, recovery_point, state
FROM idempotency.execute('run out', 'execute', 'pay', '{"amount": 3}');

-- a key that was released
BEGIN;
SELECT outcome FROM idempotency.claim('released', 'execute', '1');
SELECT idempotency.release('released', 'execute');
SELECT outcome, status_code, response, attempt FROM idempotency.execute('released', 'execute', 'echo', '2');
COMMIT;

-- the same key in one transaction
BEGIN;
SELECT outcome, response FROM idempotency.execute('twice', 'execute', 'pay', '{"amount": 4}');
SELECT outcome, response FROM idempotency.execute('twice', 'execute', 'pay', '{"amount": 4}');
ROLLBACK;
SELECT outcome, response->'amount' AS amount FROM idempotency.execute('twice', 'execute', 'pay', '{"amount": 5}');

-- resource_id is response->>'id'
CREATE FUNCTION returns_that(request jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT request->'returned' $$;
SELECT name, e.outcome, e.resource_id, replay.resource_id IS NOT DISTINCT FROM e.resource_id AS replayed,
	e.resource_id IS NOT DISTINCT FROM value->>'id' AS as_the_operator, e.response = value AS whole
FROM (VALUES
	('string', '{"id": "pay_7"}'::jsonb), ('empty string', '{"id": ""}'), ('number', '{"id": 7}'), ('large', '{"id": 12345678901234567890}'),
	('fraction', '{"id": 1.50}'), ('boolean', '{"id": true}'), ('null', '{"id": null}'), ('absent', '{"ID": 7, "ids": 1}'),
	('object', '{"id": {"a": [1, "x"]}}'), ('array', '{"id": [1, "x"]}'), ('nested', '{"data": {"id": 7}}'), ('quoted', '{"id": "\"\\"}'),
	('an array', '["id"]'), ('a string', '"id"'), ('a number', '7'), ('json null', 'null'), ('empty', '{}')) AS r (name, value),
	LATERAL idempotency.execute('resource ' || name, 'execute', 'returns_that', jsonb_build_object('returned', value)) AS e,
	LATERAL idempotency.claim('resource ' || name, 'execute', jsonb_build_object('returned', value)) AS replay;

-- a result of NULL is a result
CREATE FUNCTION returns_null(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO payments (amount) VALUES (-1);
	RETURN NULL;
END $$;
SELECT outcome, status_code, resource_id, response IS NULL AS no_response FROM idempotency.execute('null', 'execute', 'returns_null');
SELECT outcome, status_code, resource_id, response IS NULL AS no_response FROM idempotency.execute('null', 'execute', 'returns_null');
SELECT count(*) AS effects FROM payments WHERE amount = -1;

-- no request: the function gets NULL; a strict function is not called
CREATE FUNCTION was_null(request jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(request IS NULL)';
CREATE FUNCTION never(request jsonb) RETURNS jsonb STRICT LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called'; END $$;
SELECT outcome, response FROM idempotency.execute('no request', 'execute', 'was_null');
SELECT outcome, response FROM idempotency.execute('a request of null', 'execute', 'was_null', 'null');
SELECT outcome, status_code, response FROM idempotency.execute('strict', 'execute', 'never');
SELECT outcome, status_code, response FROM idempotency.execute('strict', 'execute', 'never');
SELECT outcome FROM idempotency.execute('strict', 'execute', 'never', '1');
SELECT outcome FROM idempotency.execute('strict with a request', 'execute', 'never', '1');

-- an error of the command leaves nothing behind, neither work nor key
CREATE FUNCTION pay_and_fail(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO payments (amount) VALUES (-2);
	PERFORM idempotency.claim('inner', 'execute');
	RAISE EXCEPTION 'no funds' USING ERRCODE = 'P0402', HINT = 'Pay in.';
END $$;
SELECT idempotency.execute('fails', 'execute', 'pay_and_fail', '1');
SELECT count(*) FROM idempotency.keys WHERE scope = 'execute' AND key IN ('fails', 'inner');
BEGIN;
SAVEPOINT before;
SELECT idempotency.execute('fails', 'execute', 'pay_and_fail', '1');
ROLLBACK TO before;
SELECT outcome, response FROM idempotency.execute('fails', 'execute', 'echo', '2');
COMMIT;
SELECT count(*) AS effects FROM payments WHERE amount = -2;
SELECT status, response FROM idempotency.lookup('fails', 'execute');

-- executions within executions
CREATE FUNCTION outer_command(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	same idempotency.claim_result := idempotency.execute('outer', 'execute', 'echo', request);
	other idempotency.claim_result := idempotency.execute('inner', 'execute', 'pay', request);
BEGIN
	RETURN jsonb_build_object('same', same.outcome, 'other', other.outcome, 'id', other.response->'amount');
END $$;
SELECT outcome, resource_id, response FROM idempotency.execute('outer', 'execute', 'outer_command', '{"amount": 6}');
SELECT outcome, resource_id, response FROM idempotency.execute('outer', 'execute', 'outer_command', '{"amount": 6}');
SELECT outcome, response->'amount' AS amount FROM idempotency.execute('inner', 'execute', 'pay', '{"amount": 6}');
CREATE FUNCTION deeper(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	c idempotency.claim_result;
BEGIN
	IF request = '0' THEN
		RETURN '"bottom"';
	END IF;
	c := idempotency.execute('level ' || ((request#>>'{}')::integer - 1), 'execute', 'deeper', to_jsonb((request#>>'{}')::integer - 1), cache_errors => '{P0001}');
	RETURN c.response;
END $$;
SELECT outcome, response FROM idempotency.execute('level 20', 'execute', 'deeper', '20');
SELECT count(*), count(DISTINCT response) FROM idempotency.keys WHERE scope = 'execute' AND key LIKE 'level %' AND status = 'completed';

-- a command that ends its own claim
CREATE FUNCTION ends_its_claim(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM idempotency.complete('ends', 'execute', '"another"');
	RETURN '"result"';
END $$;
SELECT idempotency.execute('ends', 'execute', 'ends_its_claim');
SELECT count(*) FROM idempotency.lookup('ends', 'execute');

-- intervals, and bad arguments
SELECT expires_at - claimed_at AS ttl FROM idempotency.execute('ttl', 'execute', 'echo', ttl => '3 days');
SELECT expires_at - claimed_at AS ttl FROM idempotency.execute('default ttl', 'execute', 'echo');
SELECT outcome FROM idempotency.execute('short', 'execute', 'echo', '1', ttl => '1 us');
SELECT pg_sleep(0.001);
SELECT outcome, response FROM idempotency.execute('short', 'execute', 'echo', '2');
SELECT idempotency.execute('bad', 'execute', 'echo', ttl => '0');
SELECT idempotency.execute('bad', 'execute', 'echo', wait => '-1 s');
SELECT idempotency.execute('bad', 'execute', NULL);
SELECT idempotency.execute(NULL, 'execute', 'echo');
SELECT idempotency.execute('', 'execute', 'echo');
SELECT idempotency.execute('bad', NULL, 'echo');
BEGIN READ ONLY;
SELECT idempotency.execute('bad', 'execute', 'echo');
ROLLBACK;
SET idempotency.max_response_size = '1kB';
SELECT idempotency.execute('large', 'execute', 'echo', to_jsonb(repeat('x', 2000)));
RESET idempotency.max_response_size;
SELECT outcome, length(response::text) FROM idempotency.execute('large', 'execute', 'echo', to_jsonb(repeat('x', 2000)));
SELECT count(*) FROM idempotency.keys WHERE scope = 'execute' AND key = 'bad';

-- a large result, stored out of line and replayed whole
CREATE TABLE documents (body jsonb);
ALTER TABLE documents ALTER COLUMN body SET STORAGE EXTERNAL;
INSERT INTO documents SELECT jsonb_build_object('id', 1, 'text', repeat('0123456789', 20000));
CREATE FUNCTION take_document(request jsonb) RETURNS jsonb LANGUAGE sql AS 'DELETE FROM documents RETURNING body';
SELECT outcome, resource_id, length(response->>'text') FROM idempotency.execute('document', 'execute', 'take_document');
VACUUM documents;
SELECT outcome, resource_id, length(response->>'text') FROM idempotency.execute('document', 'execute', 'take_document');

SELECT count(*) - count(DISTINCT key) AS keys_stored_twice FROM idempotency.keys WHERE scope = 'execute';
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA execute_shop CASCADE;
