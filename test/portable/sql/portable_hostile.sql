-- Code of the application never runs as the owner of the schema: an application role
-- that puts functions, operators and types of its own before those of pg_catalog
-- gets the same answers, and each of them runs as the application, if at all.
CREATE SCHEMA hostile;
DO $$
DECLARE
	command text;
BEGIN
	FOR command IN
		SELECT format('CREATE FUNCTION hostile.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', p.proname,
			pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid),
			format('BEGIN IF current_user OPERATOR(pg_catalog.<>) ''regress_portable_app'' THEN RAISE ''code of the application runs as %%'', current_user; END IF; RETURN pg_catalog.%I(%s); END',
				p.proname, (SELECT string_agg('$' || n, ', ') FROM generate_series(1, p.pronargs) AS n)))
		FROM pg_proc AS p
		WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset AND p.provariadic = 0
			AND p.proargmodes IS NULL AND p.prorettype <> 'void'::regtype AND p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'sql')
			AND pg_get_function_identity_arguments(p.oid) !~ '(internal|cstring|"any")'
		UNION ALL
		SELECT format('CREATE OPERATOR hostile.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = hostile.%I)', o.oprname, o.oprleft::regtype, o.oprright::regtype, p.proname)
		FROM pg_operator AS o JOIN pg_proc AS p ON p.oid = o.oprcode WHERE o.oprleft <> 0
	LOOP
		BEGIN
			EXECUTE command;
		EXCEPTION WHEN OTHERS THEN
		END;
	END LOOP;
END
$$;
SELECT count(*) > 1500 AS functions, (SELECT count(*) > 500 FROM pg_operator WHERE oprnamespace = 'hostile'::regnamespace) AS operators
FROM pg_proc WHERE pronamespace = 'hostile'::regnamespace;
CREATE FUNCTION hostile.work(pg_catalog.jsonb) RETURNS pg_catalog.jsonb LANGUAGE sql AS $$SELECT '{"id": 1}'::pg_catalog.jsonb$$;
-- Types of pg_temp come first unless it is named in search_path.
CREATE ROLE regress_portable_app;
GRANT USAGE ON SCHEMA hostile TO PUBLIC;
SELECT idempotency.grant_usage('regress_portable_app');
GRANT TEMPORARY ON DATABASE portable_regress TO regress_portable_app;
SET ROLE regress_portable_app;
CREATE FUNCTION pg_temp.check_user() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN IF current_user OPERATOR(pg_catalog.<>) 'regress_portable_app' THEN RAISE 'code of the application runs as %', current_user; END IF; RETURN true; END $$;
CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_temp.check_user());
CREATE DOMAIN pg_temp.jsonb AS pg_catalog.jsonb CHECK (pg_temp.check_user());
CREATE DOMAIN pg_temp.timestamptz AS pg_catalog.timestamptz CHECK (pg_temp.check_user());
CREATE DOMAIN pg_temp.int4 AS pg_catalog.int4 CHECK (pg_temp.check_user());
CREATE DOMAIN pg_temp.bool AS pg_catalog.bool CHECK (pg_temp.check_user());
CREATE DOMAIN pg_temp.interval AS pg_catalog.interval CHECK (pg_temp.check_user());
CREATE TEMPORARY TABLE keys (scope pg_catalog.text, key pg_catalog.text);
CREATE TEMPORARY TABLE policy (scope pg_catalog.text);
SET search_path = hostile, pg_catalog;
-- now() of the application does run, as the application
SELECT now() IS NOT NULL AS hostile;

CREATE FUNCTION pg_temp.every_call() RETURNS SETOF pg_catalog.text LANGUAGE plpgsql AS $$
BEGIN
	RETURN NEXT (SELECT outcome FROM idempotency.claim('a', 'hostile', '{"a": 1}'));
	PERFORM idempotency.complete('a', 'hostile', '{"b": 2}');
	RETURN NEXT (SELECT response FROM idempotency.claim('a', 'hostile', '{"a": 1}'));
	RETURN NEXT (SELECT outcome FROM idempotency.claim('a', 'hostile', '2'));
	RETURN NEXT (SELECT outcome FROM idempotency.claim('f', 'hostile'));
	PERFORM idempotency.fail('f', 'hostile');
	RETURN NEXT (SELECT outcome FROM idempotency.claim('l', 'hostile', lease => '1 hour', ttl => '2 hours', wait => '0'));
	PERFORM idempotency.heartbeat('l', 'hostile'), idempotency.checkpoint('l', 'hostile', 'step', '{}');
	RETURN NEXT (SELECT recovery_point FROM idempotency.lookup('l', 'hostile'));
	PERFORM idempotency.release('l', 'hostile');
	RETURN NEXT (SELECT attempt FROM idempotency.claim('l', 'hostile', first_sent => pg_catalog.now()));
	PERFORM idempotency.complete('l', 'hostile');
	RETURN NEXT idempotency.once('o', 'hostile');
	RETURN NEXT (SELECT outcome FROM idempotency.claim_many('{x}', 'hostile'));
	PERFORM idempotency.complete_many('{x}', 'hostile');
	RETURN NEXT idempotency.issue('hostile', 's') IS NOT NULL;
	RETURN NEXT idempotency.derive('k', 'p');
	RETURN NEXT (SELECT resource_id FROM idempotency.execute('e', 'hostile', 'work', cache_errors => '{22}'));
END $$;
SELECT * FROM pg_temp.every_call();
-- the error at COMMIT, and those of every other kind
BEGIN;
SELECT outcome FROM idempotency.claim('u', 'hostile');
COMMIT;
SELECT idempotency.complete('absent', 'hostile', attempt => 1);
SELECT idempotency.claim('', 'hostile');
SELECT idempotency.claim('a', '{');
RESET search_path;
RESET ROLE;

-- with policies
SELECT idempotency.set_policy('hostile', ttl => '1 day', max_response_bytes => 1000);
SELECT idempotency.purge('hostile');
SET ROLE regress_portable_app;
SET search_path = hostile, pg_catalog;
SELECT * FROM pg_temp.every_call();
RESET search_path;
RESET ROLE;
SELECT idempotency.drop_policy('hostile'), idempotency.purge('hostile'), idempotency.purge('idempotency.issue/hostile');
SELECT idempotency.revoke_usage('regress_portable_app');
REVOKE TEMPORARY ON DATABASE portable_regress FROM regress_portable_app;
SET client_min_messages = warning;
DROP SCHEMA hostile CASCADE;
DROP OWNED BY regress_portable_app CASCADE;
DROP ROLE regress_portable_app;

-- PUBLIC has no privilege on anything in the schema but its types.
SELECT p.oid::regprocedure FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
WHERE p.pronamespace = 'idempotency'::regnamespace AND a.grantee = 0;
SELECT c.oid::regclass FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.relnamespace = 'idempotency'::regnamespace AND a.grantee = 0;
-- A function that runs as the owner sets search_path, except two, which name every schema, and those in SQL, whose names
-- are bound.
SELECT p.proname FROM pg_proc AS p WHERE p.pronamespace = 'idempotency'::regnamespace AND p.prosecdef AND p.prosqlbody IS NULL
	AND NOT coalesce('search_path=pg_catalog, idempotency, pg_temp' = ANY (p.proconfig), false) ORDER BY p.proname;
