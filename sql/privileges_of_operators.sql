-- Policies and operation are reserved to the extension's owner; an operator may
-- do what was granted to the operator, an application nothing of it.
CREATE ROLE regress_idempotency_app;
CREATE ROLE regress_idempotency_operator;
CREATE ROLE regress_idempotency_watcher;
CREATE FUNCTION allowed(role name) RETURNS TABLE (command text, answer text) LANGUAGE plpgsql AS $$
DECLARE
	parts text[];
	count bigint;
BEGIN
	FOREACH parts SLICE 1 IN ARRAY ARRAY[
		['claim', $q$ SELECT * FROM idempotency.claim('k', 'operators', '1') $q$],
		['claim_many', $q$ SELECT * FROM idempotency.claim_many('{k, l}', 'operators') $q$],
		['execute', $q$ SELECT * FROM idempotency.execute('m', 'operators', 'jsonb_pass', '1') $q$],
		['once', $q$ SELECT idempotency.once('n', 'operators') $q$],
		['lookup', $q$ SELECT * FROM idempotency.lookup('secret', 'operators') $q$],
		['issue', $q$ SELECT idempotency.issue('operators', 'cart') $q$],
		['set_policy', $q$ SELECT idempotency.set_policy('operators/x', ttl => '1 hour') $q$],
		['drop_policy', $q$ SELECT idempotency.drop_policy('operators') $q$],
		['forget', $q$ SELECT idempotency.forget('secret', 'operators') $q$],
		['erase', $q$ SELECT idempotency.erase('secret', 'operators') $q$],
		['claims_in_flight', $q$ SELECT * FROM idempotency.claims_in_flight(NULL, NULL) WHERE scope = 'operators' $q$],
		['in_flight', $q$ SELECT * FROM idempotency.in_flight WHERE scope = 'operators' $q$],
		['keys', $q$ SELECT * FROM idempotency.keys WHERE scope = 'operators' $q$],
		['policy, read', $q$ SELECT * FROM idempotency.policy WHERE scope = 'operators' $q$],
		['policy, insert', $q$ INSERT INTO idempotency.policy (scope) VALUES ('operators/y') $q$],
		['policy, update', $q$ UPDATE idempotency.policy SET ttl = '1 day' WHERE scope = 'operators' $q$],
		['policy, delete', $q$ DELETE FROM idempotency.policy WHERE scope = 'operators' $q$],
		['wheel', $q$ SELECT count(*) FROM idempotency.wheel $q$]] LOOP
		command := parts[1];
		BEGIN
			PERFORM set_config('role', role, true);
			EXECUTE parts[2];
			GET DIAGNOSTICS count = ROW_COUNT;
			answer := count || ' rows';
			RAISE EXCEPTION USING ERRCODE = 'P0999';
		EXCEPTION
			WHEN SQLSTATE 'P0999' THEN
				RETURN NEXT;
			WHEN OTHERS THEN
				answer := SQLERRM;
				RETURN NEXT;
		END;
	END LOOP;
	PERFORM set_config('role', 'none', true);
END $$;
CREATE FUNCTION jsonb_pass(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';

SELECT outcome FROM idempotency.claim('secret', 'operators', '1', lease => '1 minute');
SELECT idempotency.complete('secret', 'operators', '"secret"', attempt => 1);
SELECT outcome FROM idempotency.claim('leased', 'operators', '1', lease => '1 hour');
SELECT idempotency.set_policy('operators', ttl => '2 days');

-- the owner
SELECT * FROM allowed('none');
-- an application, before and after grant_usage()
SELECT DISTINCT answer FROM allowed('regress_idempotency_app');
SELECT idempotency.grant_usage('regress_idempotency_app');
GRANT USAGE ON SCHEMA idempotency TO regress_idempotency_operator, regress_idempotency_watcher;
SELECT * FROM allowed('regress_idempotency_app');
-- operators, by grants of their own
GRANT EXECUTE ON FUNCTION idempotency.set_policy, idempotency.drop_policy, idempotency.forget, idempotency.erase TO regress_idempotency_operator;
SELECT * FROM allowed('regress_idempotency_operator');
-- two grants let a watcher see what is in flight, and nothing else
GRANT SELECT ON idempotency.in_flight TO regress_idempotency_watcher;
GRANT EXECUTE ON FUNCTION idempotency.claims_in_flight TO regress_idempotency_watcher;
SELECT * FROM allowed('regress_idempotency_watcher');

-- set_policy and drop_policy run as their owner, and ignore the caller's search_path
CREATE SCHEMA operators_trap;
CREATE FUNCTION operators_trap.trap(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE OPERATOR operators_trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = operators_trap.trap);
GRANT USAGE ON SCHEMA operators_trap TO regress_idempotency_operator;
SET search_path = operators_trap, pg_catalog;
SET ROLE regress_idempotency_operator;
SELECT idempotency.set_policy('operators/trap', ttl => '1 hour', lease => '1 minute', wait => '1 s');
SELECT idempotency.drop_policy('operators/trap');
RESET ROLE;
RESET search_path;

-- all other functions of operators are withheld from applications
SELECT p.oid::regprocedure AS withheld FROM pg_proc AS p, pg_depend AS d
WHERE p.pronamespace = 'idempotency'::regnamespace AND NOT has_function_privilege('regress_idempotency_app', p.oid, 'EXECUTE')
	AND d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' AND p.proname IN ('set_policy', 'drop_policy', 'forget', 'erase', 'announce_change')
ORDER BY p.proname;
SELECT idempotency.drop_policy('operators');
SELECT idempotency.forget('secret', 'operators'), idempotency.forget('leased', 'operators');
SET client_min_messages = warning;
DROP SCHEMA operators_trap CASCADE;
DROP OWNED BY regress_idempotency_app, regress_idempotency_operator, regress_idempotency_watcher;
DROP ROLE regress_idempotency_app, regress_idempotency_operator, regress_idempotency_watcher;
DROP FUNCTION allowed(name);
DROP FUNCTION jsonb_pass(jsonb);
