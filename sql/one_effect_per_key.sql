-- For one scope and key the work runs to a committed result at most once:
-- claim, work and result commit or vanish together.
CREATE TABLE effect (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text);

CREATE FUNCTION pay(key text, fails boolean DEFAULT false) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	claim idempotency.claim_result;
	id integer;
BEGIN
	claim := idempotency.claim(key, 'one_effect_per_key');
	IF NOT claim.proceed THEN
		RETURN claim.outcome || ' ' || claim.resource_id;
	END IF;
	INSERT INTO effect (key) VALUES (key) RETURNING effect.id INTO id;
	IF fails THEN
		RAISE EXCEPTION 'the work failed';
	END IF;
	PERFORM idempotency.complete(key, 'one_effect_per_key', resource_id => id::text);
	RETURN claim.outcome || ' ' || id;
END $$;

-- the work fails: neither effect nor claim is left, and a retry runs at once
SELECT pay('a', fails => true);
SELECT count(*) FROM effect;
SELECT count(*) FROM idempotency.lookup('a', 'one_effect_per_key');
SELECT pay('a');

-- every later request gets the result of the first
SELECT pay('a');
SELECT pay('a', fails => true);
SELECT key, count(*) FROM effect GROUP BY key;

-- a rollback after the result was stored takes the result with it
BEGIN;
SELECT split_part(pay('b'), ' ', 1);
SELECT split_part(pay('b'), ' ', 1);
ROLLBACK;
SELECT count(*) FROM effect WHERE key = 'b';
SELECT split_part(pay('b'), ' ', 1);
SELECT split_part(pay('b'), ' ', 1);
SELECT count(*) FROM effect WHERE key = 'b';

-- the same key in another scope is another key, and so is the empty scope
SELECT outcome FROM idempotency.claim('a', 'one_effect_per_key/other', lease => '1 minute');
SELECT outcome FROM idempotency.claim('one_effect_per_key', lease => '1 minute');
SELECT outcome FROM idempotency.claim('one_effect_per_key', '');

-- ten requests in one statement
SELECT outcome, count(*)
FROM generate_series(1, 10) AS n,
	 idempotency.claim('ten', 'one_effect_per_key', lease => make_interval(mins => n))
GROUP BY outcome ORDER BY outcome;

-- each key has one row, however often it was claimed
SELECT count(*) AS row_count, count(DISTINCT (scope, key)) AS keys
FROM idempotency.keys WHERE scope LIKE 'one\_effect\_per\_key%';
DROP FUNCTION pay;
DROP TABLE effect;
