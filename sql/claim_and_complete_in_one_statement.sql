-- Claim, work and result may be in one statement.
SELECT outcome, idempotency.complete('select list', 'one_statement', '1')
FROM idempotency.claim('select list', 'one_statement');
SELECT outcome, response FROM idempotency.claim('select list', 'one_statement');

SELECT (c).outcome, idempotency.complete('composite', 'one_statement', '2', attempt => (c).attempt)
FROM idempotency.claim('composite', 'one_statement') AS c;
SELECT outcome, response FROM idempotency.claim('composite', 'one_statement');

-- a replay must not be completed again: CASE prevents it
SELECT outcome, CASE WHEN proceed THEN idempotency.complete('composite', 'one_statement', '3')::text ELSE response::text END AS response
FROM idempotency.claim('composite', 'one_statement');

-- with the effect in between
CREATE TABLE payment (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, amount integer);
CREATE FUNCTION pay(key text, amount integer) RETURNS TABLE (outcome text, id text) LANGUAGE sql AS $$
	WITH c AS MATERIALIZED (
		SELECT * FROM idempotency.claim(key, 'one_statement', to_jsonb(amount))
	), p AS (
		INSERT INTO payment (amount) SELECT amount FROM c WHERE proceed RETURNING payment.id
	), done AS MATERIALIZED (
		SELECT p.id, idempotency.complete(key, 'one_statement', to_jsonb(p.id), p.id::text) FROM p
	)
	SELECT c.outcome, coalesce(c.resource_id, (SELECT done.id::text FROM done)) FROM c
$$;
SELECT * FROM pay('pay', 10);
SELECT * FROM pay('pay', 10);
SELECT * FROM pay('pay', 20);
SELECT * FROM payment;

-- for many keys at once
SELECT k, outcome, idempotency.complete(k, 'one_statement', to_jsonb(k), attempt => attempt)
FROM unnest(ARRAY['a', 'b', 'c']) AS k, idempotency.claim(k, 'one_statement');
SELECT k, outcome, response FROM unnest(ARRAY['a', 'b', 'c']) AS k, idempotency.claim(k, 'one_statement');

-- claim, checkpoint and complete in one select list
SELECT outcome, idempotency.checkpoint('steps', 'one_statement', 'one', '1'),
	   (SELECT recovery_point FROM idempotency.lookup('steps', 'one_statement')),
	   idempotency.complete('steps', 'one_statement', '"done"')
FROM idempotency.claim('steps', 'one_statement');
SELECT outcome, response FROM idempotency.claim('steps', 'one_statement');

-- prepared, with parameters, often enough for a generic plan
PREPARE run(text, jsonb) AS
SELECT outcome, CASE WHEN proceed THEN idempotency.complete($1, 'one_statement', $2) IS NOT NULL END AS completed, response
FROM idempotency.claim($1, 'one_statement', $2);
SET plan_cache_mode = force_generic_plan;
EXECUTE run('prepared', '1');
EXECUTE run('prepared', '1');
EXECUTE run('prepared', '2');
RESET plan_cache_mode;
DEALLOCATE run;

SELECT count(*) AS row_count, count(DISTINCT key) AS keys FROM idempotency.keys WHERE scope = 'one_statement';
DROP FUNCTION pay;
DROP TABLE payment;
