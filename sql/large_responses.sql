-- Responses up to the limit are replayed unchanged, whether they are compressed,
-- out of line, or both.
CREATE TABLE response (id integer PRIMARY KEY, body jsonb);
INSERT INTO response VALUES
	(1, to_jsonb(repeat('x', 1000000))),
	(2, (SELECT to_jsonb(string_agg(md5(n::text), '' ORDER BY n)) FROM generate_series(1, 32000) AS n)),
	(3, (SELECT jsonb_agg(md5(n::text) ORDER BY n) FROM generate_series(1, 20000) AS n)),
	(4, to_jsonb(repeat(E'\u65e5\\"''', 100000))),
	(5, (SELECT jsonb_object_agg(md5(n::text), n) FROM generate_series(1, 10000) AS n));
-- the functions get values from a row, where they are toasted
ALTER TABLE response ALTER COLUMN body SET STORAGE EXTERNAL;
INSERT INTO response SELECT id + 5, body || '{}' FROM response WHERE jsonb_typeof(body) <> 'string';

BEGIN;
SELECT outcome, count(idempotency.complete('one' || id, 'large_responses', body, repeat('id', 5000)))
FROM response, idempotency.claim('one' || id, 'large_responses', body)
GROUP BY outcome;
COMMIT;

-- in two transactions, with a state that is as large
SELECT outcome, count(*) FROM response, idempotency.claim('two' || id, 'large_responses', body, lease => '1 minute') GROUP BY outcome;
SELECT count(idempotency.checkpoint('two' || id, 'large_responses', repeat('step', 3000), body, 1)) FROM response;
-- a lease so long that the row moves to another table of the wheel
SELECT count(idempotency.heartbeat('two' || id, 'large_responses', 1, '30 days')) FROM response;
SELECT id FROM response, idempotency.lookup('two' || id, 'large_responses') AS l
WHERE (state = body AND l.recovery_point = repeat('step', 3000)) IS NOT TRUE;
SELECT count(idempotency.complete('two' || id, 'large_responses', body, repeat('id', 5000), attempt => 1)) FROM response;

CREATE FUNCTION replayed_wrongly() RETURNS TABLE (key text)
BEGIN ATOMIC
	SELECT prefix || id FROM unnest(ARRAY['one', 'two']) AS prefix, response,
		idempotency.claim(prefix || id, 'large_responses', body) AS c,
		idempotency.lookup(prefix || id, 'large_responses') AS l
	WHERE (c.outcome = 'replay' AND c.response = body AND c.resource_id = repeat('id', 5000)
		   AND l.response = body AND l.resource_id = repeat('id', 5000)) IS NOT TRUE;
END;
SELECT * FROM replayed_wrongly();

-- the values are copied, not references to the table they came from
CREATE TABLE copy AS SELECT * FROM response;
DELETE FROM response;
VACUUM response;
VACUUM idempotency.keys;
INSERT INTO response SELECT * FROM copy;
SELECT * FROM replayed_wrongly();

-- a response that is out of line, in the statement that claims
SELECT outcome, idempotency.complete('part', 'large_responses', body, attempt => attempt)
FROM response, idempotency.claim('part', 'large_responses') WHERE id = 2;
SELECT c.response = body AS equal FROM response, idempotency.claim('part', 'large_responses') AS c WHERE id = 2;

SELECT count(*) - count(DISTINCT (scope, key)) AS surplus_rows FROM idempotency.keys WHERE scope = 'large_responses';
DROP FUNCTION replayed_wrongly;
DROP TABLE response, copy;
