-- What grant_usage() grants is enough for every path of the functions, also for
-- failures that are stored and for every refusal, whatever the session sets.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/test/show_error.sql'
\i :file
CREATE ROLE regress_idempotency_app;
SELECT idempotency.grant_usage('regress_idempotency_app');
SELECT idempotency.set_policy('granted/policy', ttl => '1 hour', require_request => true, max_response_bytes => 200, cache_errors => '{P0001}');
CREATE SCHEMA granted;
GRANT USAGE ON SCHEMA granted TO PUBLIC;
CREATE FUNCTION granted.raise(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RAISE SQLSTATE '23505' USING MESSAGE = 'taken', HINT = request->>'hint';
END $$;
CREATE FUNCTION granted.refuse(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RAISE 'no funds' USING HINT = 'Pay in.';
END $$;
CREATE FUNCTION granted.pay(request jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT '{"id": 7}'::jsonb$$;
CREATE FUNCTION granted.of_text(request text) RETURNS jsonb LANGUAGE sql AS $$SELECT '1'::jsonb$$;
SET ROLE regress_idempotency_app;

SELECT outcome, status_code, resource_id, response FROM idempotency.execute('pay', 'granted', 'granted.pay');
SELECT outcome, status_code, response FROM idempotency.execute('raise', 'granted', 'granted.raise', '{"hint": "Again?"}', cache_errors => '{23}');
SELECT outcome, status_code, response FROM idempotency.execute('raise', 'granted', 'granted.raise', '{"hint": "Again?"}');
SELECT outcome, status_code, response FROM idempotency.execute('refuse', 'granted/policy', 'granted.refuse', '1');
CALL pg_temp.show_error($$SELECT idempotency.execute('k', 'granted', 'granted.raise', '{"hint": "Again?"}', cache_errors => '{22}')$$);
CALL pg_temp.show_error($$SELECT idempotency.execute('k', 'granted', NULL)$$);
CALL pg_temp.show_error($$SELECT idempotency.execute('k', 'granted', '{"amount": 1}')$$);
CALL pg_temp.show_error($$SELECT idempotency.execute('k', 'granted', 'granted.of_text(text)')$$);
CALL pg_temp.show_error($$SELECT idempotency.execute('k', 'granted', 'granted.pay', cache_errors => '{2350}')$$);
CALL pg_temp.show_error($$SELECT idempotency.execute('', 'granted', 'granted.pay')$$);

CALL pg_temp.show_error($$SELECT idempotency.claim('k', 'granted', lease => '0')$$);
CALL pg_temp.show_error($$SELECT idempotency.claim('k', 'granted/policy')$$);
CALL pg_temp.show_error($$SELECT idempotency.claim_many('{a,b}', 'granted', '{1}')$$);
CALL pg_temp.show_error($$SELECT idempotency.complete_many('{a,b}', 'granted', attempts => '{1}')$$);
CALL pg_temp.show_error($$SELECT idempotency.complete('absent', 'granted')$$);
CALL pg_temp.show_error($$SELECT idempotency.once('raise', 'granted')$$);
CALL pg_temp.show_error($$SELECT idempotency.issue('granted', '')$$);
CALL pg_temp.show_error($$SELECT idempotency.derive('k', '')$$);
SELECT outcome, attempt FROM idempotency.claim('leased', 'granted/policy', '1', lease => '1 hour');
CALL pg_temp.show_error($$SELECT idempotency.complete('leased', 'granted/policy')$$);
CALL pg_temp.show_error($$SELECT idempotency.heartbeat('leased', 'granted/policy', 2)$$);
CALL pg_temp.show_error($$SELECT idempotency.complete('leased', 'granted/policy', to_jsonb(repeat('r', 200)), attempt => 1)$$);
BEGIN;
SELECT outcome FROM idempotency.claim('no lease', 'granted');
CALL pg_temp.show_error($$SELECT idempotency.heartbeat('no lease', 'granted')$$);
ROLLBACK;

-- strings in which a backslash escapes
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SELECT outcome FROM idempotency.execute('signature', 'granted', 'granted.pay(jsonb)', cache_errors => '{23}');
RESET standard_conforming_strings;
RESET escape_string_warning;

RESET ROLE;
SELECT idempotency.purge('granted'), idempotency.drop_policy('granted/policy');
SELECT idempotency.revoke_usage('regress_idempotency_app');
DROP ROLE regress_idempotency_app;
SET client_min_messages = warning;
DROP SCHEMA granted CASCADE;
