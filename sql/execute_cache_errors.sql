-- Errors that cache_errors names are results: the work is rolled back, and a
-- problem document is stored, returned and replayed.
CREATE SCHEMA cache_errors;
SET search_path = cache_errors, public;
CREATE TABLE payments (id integer PRIMARY KEY, amount integer CHECK (amount < 1000));
CREATE TABLE tries (n integer);
CREATE SEQUENCE calls;
CREATE FUNCTION raise(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM nextval('calls');
	INSERT INTO payments VALUES (nextval('calls'), 1);
	PERFORM idempotency.claim('inner', 'cache_errors', lease => '1 minute');
	IF request->>'sqlstate' IS NULL THEN
		RETURN '{"id": 1}';
	END IF;
	IF request->>'hint' IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = request->>'sqlstate', MESSAGE = request->>'message', HINT = request->>'hint';
	END IF;
	RAISE EXCEPTION USING ERRCODE = request->>'sqlstate', MESSAGE = coalesce(request->>'message', 'it failed'), DETAIL = 'not for the client';
END $$;
CREATE FUNCTION pay(request jsonb) RETURNS jsonb LANGUAGE sql AS $$
	INSERT INTO payments VALUES ((request->>'id')::integer, (request->>'amount')::integer) RETURNING to_jsonb(payments)
$$;
INSERT INTO payments VALUES (-1, 1);

-- stored, returned, replayed; the work is undone
SELECT outcome, proceed, status_code, resource_id, response, attempt, completed_at IS NOT NULL AS completed
FROM idempotency.execute('stored', 'cache_errors', 'pay', '{"id": -1, "amount": 2}', cache_errors => '{23505}');
SELECT outcome, proceed, status_code, resource_id, response, attempt, completed_at IS NOT NULL AS completed
FROM idempotency.execute('stored', 'cache_errors', 'pay', '{"id": -1, "amount": 2}', cache_errors => '{23505}');
-- also if this call would not have stored it
SELECT outcome, status_code, response->>'sqlstate' AS sqlstate FROM idempotency.execute('stored', 'cache_errors', 'pay', '{"id": -1, "amount": 2}');
SELECT outcome, status_code, response->>'sqlstate' AS sqlstate FROM idempotency.claim('stored', 'cache_errors', '{"id": -1, "amount": 2}');
SELECT outcome, status_code FROM idempotency.execute('stored', 'cache_errors', 'pay', '{"id": 3, "amount": 2}');
SELECT status, status_code, resource_id, attempt, lease_until FROM idempotency.lookup('stored', 'cache_errors');

-- work and claims of the command are undone, those before it stay
BEGIN;
SELECT outcome FROM idempotency.claim('before', 'cache_errors');
INSERT INTO tries VALUES (1);
SELECT outcome, status_code, response FROM idempotency.execute('undone', 'cache_errors', 'raise', '{"sqlstate": "P0001"}', cache_errors => '{P0001}');
INSERT INTO tries VALUES (2);
SELECT idempotency.complete('before', 'cache_errors', '"done"');
COMMIT;
SELECT count(*) AS tries FROM tries;
SELECT count(*) AS undone_payments FROM payments WHERE id > 0;
SELECT key, status FROM idempotency.keys WHERE scope = 'cache_errors' AND key IN ('before', 'undone', 'inner') ORDER BY key;
SELECT last_value AS calls FROM calls;
SELECT outcome, status_code FROM idempotency.execute('undone', 'cache_errors', 'raise', '{"sqlstate": "P0001"}', cache_errors => '{P0001}');
SELECT last_value AS calls FROM calls;
-- a command that succeeds under a filter is a success
SELECT outcome, status_code, resource_id, response FROM idempotency.execute('success', 'cache_errors', 'raise', '{}', cache_errors => '{P0001}');
SELECT outcome, status_code, resource_id, response FROM idempotency.execute('success', 'cache_errors', 'raise', '{}', cache_errors => '{P0001}');
SELECT count(*) AS payments FROM payments WHERE id > 0;

-- the document: RFC 9457, status of the SQLSTATE, and nothing that is not for the client
SELECT sqlstate, e.outcome, e.status_code, (e.response->>'status')::integer = e.status_code AS same_status, e.response->>'type' AS type,
	e.response->>'title' AS title, e.response->>'sqlstate' = sqlstate AS same_sqlstate,
	(SELECT string_agg(name, ' ' ORDER BY name COLLATE "C") FROM jsonb_object_keys(e.response) AS name) AS members
FROM unnest('{P0001, P0002, P0402, 23505, 23503, 23P01, 23502, 23514, 23000, 22012, 22P02, 42501, 42P01, 42883, 0A000, 53100, 55P03, 54000, XX000, 99999, PT402, PT404, PT418, PT429, PT503, PT200, IK409, IK422, IK999, IKABC, 40002}'::text[]) AS sqlstate,
	LATERAL idempotency.execute('document ' || sqlstate, 'cache_errors', 'raise', jsonb_build_object('sqlstate', sqlstate), cache_errors => ARRAY[sqlstate]) AS e;
SELECT response FROM idempotency.execute('hint', 'cache_errors', 'raise', '{"sqlstate": "PT402", "message": "No \"funds\"\\\n\u00e9", "hint": "Pay in."}', cache_errors => '{PT402}');
SELECT response->>'detail' = E'No "funds"\\\n\u00e9' AS same_message FROM idempotency.lookup('hint', 'cache_errors');

-- entries of five and of two characters
SELECT filter, e.outcome, e.response->>'sqlstate' AS sqlstate
FROM unnest('{23514, 23, 22|23, 22012|23514, 23514|23514}'::text[]) AS filter,
	LATERAL idempotency.execute('filter ' || filter, 'cache_errors', 'raise', '{"sqlstate": "23514"}', cache_errors => string_to_array(filter, '|')) AS e;
SELECT outcome, response->>'sqlstate' AS sqlstate FROM idempotency.execute('filter of two dimensions', 'cache_errors', 'raise', '{"sqlstate": "23514"}', cache_errors => '{{22,23},{24,25}}');
\set VERBOSITY sqlstate
SELECT idempotency.execute('not named', 'cache_errors', 'raise', '{"sqlstate": "23514"}', cache_errors => '{23505}');
SELECT idempotency.execute('not named', 'cache_errors', 'raise', '{"sqlstate": "23514"}', cache_errors => '{22, 24}');
SELECT idempotency.execute('not named', 'cache_errors', 'raise', '{"sqlstate": "23514"}', cache_errors => '{}');
SELECT idempotency.execute('not named', 'cache_errors', 'raise', '{"sqlstate": "23514"}');
-- never: serialization failure, deadlock, cancel
SELECT idempotency.execute('never', 'cache_errors', 'raise', '{"sqlstate": "40001"}', cache_errors => '{40001, 40}');
SELECT idempotency.execute('never', 'cache_errors', 'raise', '{"sqlstate": "40P01"}', cache_errors => '{40P01, 40}');
SELECT idempotency.execute('never', 'cache_errors', 'raise', '{"sqlstate": "57014"}', cache_errors => '{57014, 57}');
SELECT idempotency.execute('never', 'cache_errors', 'raise', '{"sqlstate": "57P01"}', cache_errors => '{57P01, 57}');
CREATE FUNCTION sleep(request jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(pg_sleep(600)::text) $$;
SET statement_timeout = '20ms';
SELECT idempotency.execute('never', 'cache_errors', 'sleep', '{}', cache_errors => '{57014, 57}');
RESET statement_timeout;
-- bad entries
SELECT idempotency.execute('bad', '', 'raise', cache_errors => '{2350}');
SELECT idempotency.execute('bad', '', 'raise', cache_errors => '{235055}');
SELECT idempotency.execute('bad', '', 'raise', cache_errors => '{""}');
SELECT idempotency.execute('bad', '', 'raise', cache_errors => '{NULL}');
SELECT idempotency.execute('bad', '', 'raise', cache_errors => '{23505, 2}');
SELECT idempotency.execute('bad', '', 'raise', cache_errors => '{p0001}');
SELECT idempotency.execute('bad', '', 'raise', cache_errors => '{"23 05"}');
SELECT idempotency.execute('bad', '', 'raise', cache_errors => '{23.05}');
SELECT idempotency.execute('bad', '', 'raise', cache_errors => '{é}');
SELECT idempotency.set_policy('cache_errors/bad', cache_errors => '{23505, unique}');
\set VERBOSITY default
SELECT idempotency.execute('bad', '', 'raise', cache_errors => '{23505, unique}');
SELECT count(*) AS payments FROM payments WHERE id > 0;
SELECT count(*) FROM idempotency.keys WHERE scope IN ('cache_errors', '') AND key IN ('not named', 'never', 'bad');

-- the transaction can go on after a stored error, whatever the command left open
CREATE FUNCTION leaves_much_open(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	c CURSOR FOR SELECT * FROM generate_series(1, 10);
	r record;
BEGIN
	OPEN c;
	FETCH c INTO r;
	PERFORM set_config('cache_errors.made', 'within', false);
	CREATE TEMPORARY TABLE within (a integer);
	FOR r IN SELECT * FROM payments LOOP
		BEGIN
			PERFORM 1 / 0;
		EXCEPTION WHEN division_by_zero THEN
			RAISE EXCEPTION 'deep' USING ERRCODE = 'P0003';
		END;
	END LOOP;
	RETURN NULL;
END $$;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SET LOCAL cache_errors.made = 'before';
SELECT outcome, response->>'detail' AS detail FROM idempotency.execute('open', 'cache_errors', 'leaves_much_open', cache_errors => '{P0003}');
SELECT current_setting('cache_errors.made'), to_regclass('within') IS NULL AS undone, (SELECT count(*) FROM pg_cursors WHERE name = 'c') AS cursors;
COMMIT;
SELECT outcome, response->>'detail' AS detail FROM idempotency.execute('open', 'cache_errors', 'leaves_much_open');
-- the same for nested executions
CREATE FUNCTION asks_another(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	c idempotency.claim_result := idempotency.execute('nested ' || (request->>'sqlstate'), 'cache_errors', 'raise', request, cache_errors => '{22}');
BEGIN
	RETURN c.response;
END $$;
SELECT outcome, status_code, response->>'sqlstate' AS sqlstate FROM idempotency.execute('nesting 22', 'cache_errors', 'asks_another', '{"sqlstate": "22012"}', cache_errors => '{23}');
SELECT outcome, status_code, response->>'sqlstate' AS sqlstate FROM idempotency.execute('nesting 23', 'cache_errors', 'asks_another', '{"sqlstate": "23514"}', cache_errors => '{23}');
SELECT key, status FROM idempotency.keys WHERE scope = 'cache_errors' AND key LIKE 'nest%' ORDER BY key COLLATE "C";

-- a document that is too large is an error of its own
SET idempotency.max_response_size = '1kB';
\set VERBOSITY sqlstate
SELECT idempotency.execute('large', 'cache_errors', 'raise', jsonb_build_object('sqlstate', 'P0001', 'message', repeat('x', 2000)), cache_errors => '{P0001}');
\set VERBOSITY default
RESET idempotency.max_response_size;
SELECT count(*) FROM idempotency.lookup('large', 'cache_errors');

-- the prefix of the extension's own codes is a setting
SET idempotency.sqlstate_prefix = 'PT';
SELECT outcome, status_code FROM idempotency.execute('PT', 'cache_errors', 'raise', '{"sqlstate": "PT422"}', cache_errors => '{PT}');
SELECT outcome, status_code FROM idempotency.execute('IK', 'cache_errors', 'raise', '{"sqlstate": "IK422"}', cache_errors => '{IK}');
RESET idempotency.sqlstate_prefix;

-- the policy's filter, and the argument that overrides it
SELECT idempotency.set_policy('cache_errors/policy', cache_errors => '{22, 23514}');
SELECT idempotency.set_policy('cache_errors/policy/none', cache_errors => '{}');
SELECT idempotency.set_policy('cache_errors/policy/else', ttl => '1 hour');
SELECT outcome, status_code FROM idempotency.execute('a', 'cache_errors/policy', 'raise', '{"sqlstate": "23514"}');
SELECT outcome, status_code FROM idempotency.execute('b', 'cache_errors/policy', 'raise', '{"sqlstate": "22012"}');
SELECT outcome, status_code FROM idempotency.execute('c', 'cache_errors/policy/else', 'raise', '{"sqlstate": "22012"}');
SELECT outcome, status_code FROM idempotency.execute('d', 'cache_errors/policy', 'raise', '{"sqlstate": "P0001"}', cache_errors => '{P0001}');
\set VERBOSITY sqlstate
SELECT idempotency.execute('e', 'cache_errors/policy', 'raise', '{"sqlstate": "P0001"}');
SELECT idempotency.execute('f', 'cache_errors/policy', 'raise', '{"sqlstate": "22012"}', cache_errors => '{P0001}');
SELECT idempotency.execute('g', 'cache_errors/policy', 'raise', '{"sqlstate": "22012"}', cache_errors => '{}');
SELECT idempotency.execute('h', 'cache_errors/policy/none', 'raise', '{"sqlstate": "22012"}');
SELECT idempotency.execute('i', 'cache_errors/policy_of_another', 'raise', '{"sqlstate": "22012"}');
\set VERBOSITY default
SELECT key FROM idempotency.keys WHERE scope LIKE 'cache_errors/%' ORDER BY key;
-- a filter that was written into the table by hand does no harm
UPDATE idempotency.policy SET cache_errors = '{NULL, "", 2, 22012, 230}' WHERE scope = 'cache_errors/policy';
SELECT outcome, status_code FROM idempotency.execute('j', 'cache_errors/policy', 'raise', '{"sqlstate": "22012"}');
\set VERBOSITY sqlstate
SELECT idempotency.execute('k', 'cache_errors/policy', 'raise', '{"sqlstate": "23000"}');
\set VERBOSITY default

SELECT count(*) AS dropped FROM idempotency.policy AS p, idempotency.drop_policy(p.scope) AS d WHERE scope LIKE 'cache_errors%' AND d;
SELECT count(*) - count(DISTINCT (scope, key)) AS keys_stored_twice FROM idempotency.keys WHERE scope LIKE 'cache_errors%';
SET client_min_messages = warning;
DROP SCHEMA cache_errors CASCADE;
