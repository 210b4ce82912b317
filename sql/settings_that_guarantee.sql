-- The guarantees of a function can't be undone by its caller's settings: the
-- relevant ones are set by a superuser, or by a role with the privilege SET on
-- them.
CREATE ROLE regress_idempotency_app;
SELECT idempotency.grant_usage('regress_idempotency_app');
CREATE TABLE paid (amount integer);
CREATE FUNCTION pay(key text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	claim idempotency.claim_result := idempotency.claim(key, 'guarantee', '1');
BEGIN
	IF claim.proceed THEN
		INSERT INTO public.paid VALUES (1);
		PERFORM idempotency.complete(key, 'guarantee');
	END IF;
	RETURN claim.outcome;
END $$;

SET ROLE regress_idempotency_app;
SET idempotency.default_ttl = '1 us';
SELECT pay('k');
SELECT pg_sleep(0.001);
SELECT pay('k');
RESET ROLE;
SELECT count(*) FROM paid;

SELECT name, context FROM pg_settings WHERE name LIKE 'idempotency.%' ORDER BY context COLLATE "C", name COLLATE "C";

-- every role may set how long a claim waits
SET ROLE regress_idempotency_app;
SET idempotency.default_wait = '1 s';
RESET idempotency.default_wait;
SELECT set_config('idempotency.sqlstate_prefix', 'PT', true);
RESET ROLE;

-- The privilege to set another can be granted.
GRANT SET ON PARAMETER idempotency.sqlstate_prefix TO regress_idempotency_app;
SET ROLE regress_idempotency_app;
SET idempotency.sqlstate_prefix = 'PT';
SELECT idempotency.claim('', 'guarantee');
\echo :LAST_ERROR_SQLSTATE
RESET idempotency.sqlstate_prefix;
SET idempotency.default_ttl = '1 us';
RESET ROLE;

DROP FUNCTION pay(text);
DROP TABLE paid;
DROP OWNED BY regress_idempotency_app;
DROP ROLE regress_idempotency_app;
DELETE FROM idempotency.keys WHERE scope = 'guarantee';
