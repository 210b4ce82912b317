-- A parallel worker can't write, so that it can't claim: not even in a function
-- that is declared safe by mistake, in a transaction that has written before.
-- The answer "new" would be a claim without an owner.
CREATE FUNCTION called_safe(key text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$
DECLARE
	c idempotency.claim_result := idempotency.claim(key, 'parallel_worker');
BEGIN
	RETURN c.outcome;
END $$;
BEGIN;
SELECT txid_current() IS NOT NULL AS writes, set_config(name, 'on', true) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
\set VERBOSITY sqlstate
SELECT called_safe('k');
\set VERBOSITY default
ROLLBACK;
DROP FUNCTION called_safe;
