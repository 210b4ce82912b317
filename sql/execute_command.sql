-- The command of execute() is looked up as its caller would, and runs with the
-- caller's privileges.
CREATE SCHEMA command_a;
CREATE SCHEMA command_b;
CREATE FUNCTION command_a.work(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"a"'::jsonb $$;
CREATE FUNCTION command_b.work(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"b"'::jsonb $$;
CREATE FUNCTION command_a."Odd name"(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"odd"'::jsonb $$;
CREATE FUNCTION command_a."pay (by card)"(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"by card"'::jsonb $$;
CREATE FUNCTION command_a."quote"" ("(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"quote"'::jsonb $$;

SELECT format('CREATE FUNCTION command_a.%s(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(63) $$', left(repeat('long', 20), 63)) \gexec

-- names: search_path, schema, quotes, signature
SELECT outcome FROM idempotency.execute('path', 'command', 'work');
SET search_path = command_a, command_b;
SELECT response FROM idempotency.execute('path a', 'command', 'work');
SET search_path = command_b, command_a;
SELECT response FROM idempotency.execute('path b', 'command', 'work');
SELECT response FROM idempotency.execute('path b a', 'command', 'command_a.work');
SELECT response FROM idempotency.execute('signature', 'command', 'work(jsonb)');
SELECT response FROM idempotency.execute('signature in full', 'command', 'command_a . "work" ( pg_catalog.jsonb )');
SELECT response FROM idempotency.execute('case', 'command', 'Command_A.WORK');
SELECT response FROM idempotency.execute('case alone', 'command', 'WORK');
SELECT response FROM idempotency.execute('cut off', 'command', repeat('long', 20));
SELECT response FROM idempotency.execute('quoted', 'command', '"Odd name"');
SELECT response FROM idempotency.execute('quoted signature', 'command', 'command_a."Odd name"(jsonb)');
SELECT response FROM idempotency.execute('parenthesis in the name', 'command', '"pay (by card)"');
SELECT response FROM idempotency.execute('parenthesis in the signature', 'command', '"pay (by card)"(jsonb)');
SELECT response FROM idempotency.execute('quote in the name', 'command', 'command_a."quote"" ("');
SELECT idempotency.execute('unquoted', 'command', 'Odd name');
-- missing functions, and functions of another kind
CREATE FUNCTION command_a.of_text(text) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb($1) $$;
CREATE FUNCTION command_a.of_two(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION command_a.of_none() RETURNS jsonb LANGUAGE sql AS $$ SELECT '1'::jsonb $$;
CREATE FUNCTION command_a.to_text(jsonb) RETURNS text LANGUAGE sql AS $$ SELECT $1::text $$;
CREATE FUNCTION command_a.to_json(jsonb) RETURNS json LANGUAGE sql AS $$ SELECT $1::json $$;
CREATE FUNCTION command_a.to_set(jsonb) RETURNS SETOF jsonb LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION command_a.to_void(jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE PROCEDURE command_a.procedure(INOUT request jsonb) LANGUAGE sql AS $$ SELECT request $$;
CREATE AGGREGATE command_a.aggregate(jsonb) (SFUNC = jsonb_concat, STYPE = jsonb);
CREATE FUNCTION command_a.trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
\set SHOW_CONTEXT never
SELECT idempotency.execute('wrong', 'command', 'nothing');
SELECT idempotency.execute('wrong', 'command', 'of_text');
SELECT idempotency.execute('wrong', 'command', 'of_text(text)');
SELECT idempotency.execute('wrong', 'command', 'of_two');
SELECT idempotency.execute('wrong', 'command', 'of_two(jsonb, jsonb)');
SELECT idempotency.execute('wrong', 'command', 'of_none()');
SELECT idempotency.execute('wrong', 'command', 'to_text');
SELECT idempotency.execute('wrong', 'command', 'to_json');
SELECT idempotency.execute('wrong', 'command', 'to_set');
SELECT idempotency.execute('wrong', 'command', 'to_void');
SELECT idempotency.execute('wrong', 'command', 'procedure');
SELECT idempotency.execute('wrong', 'command', 'aggregate');
SELECT idempotency.execute('wrong', 'command', 'trigger()');
SELECT idempotency.execute('wrong', 'command', '');
SELECT idempotency.execute('wrong', 'command', '-');
SELECT idempotency.execute('wrong', 'command', 'work(');
SELECT idempotency.execute('wrong', 'command', 'work; DROP TABLE payments');
SELECT idempotency.execute('wrong', 'command', '"');
SELECT idempotency.execute('wrong', 'command', 'a.b.c.d');
-- a request in its place is not shown
SELECT idempotency.execute('wrong', 'command', '{"card": "4111"}');
SELECT idempotency.execute('wrong', 'command', '["4111 (Visa)"]');
\set VERBOSITY sqlstate
SELECT idempotency.execute('wrong', 'command', 'nothing');
SELECT idempotency.execute('wrong', 'command', 'to_text');
SELECT idempotency.execute('wrong', 'command', 'nothing', cache_errors => '{42, 42883}');
\set VERBOSITY default
SELECT count(*) FROM idempotency.lookup('wrong', 'command');
-- if there is a result, nothing is called or looked up
SELECT outcome, response FROM idempotency.execute('path a', 'command', 'nothing');

-- privileges: an application
CREATE ROLE regress_command_app;
SELECT idempotency.grant_usage('regress_command_app');
GRANT USAGE ON SCHEMA command_a TO regress_command_app;
CREATE TABLE command_a.payments (payer name);
CREATE FUNCTION command_a.pay(jsonb) RETURNS jsonb LANGUAGE sql AS $$
	INSERT INTO command_a.payments VALUES (current_user) RETURNING to_jsonb(payer)
$$;
CREATE FUNCTION command_a.pay_as_owner(jsonb) RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS $$
	INSERT INTO command_a.payments VALUES (session_user) RETURNING jsonb_build_object('owner', current_user = session_user)
$$;
CREATE FUNCTION command_a.whoami(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(current_user) $$;
CREATE FUNCTION command_a.withheld(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '1'::jsonb $$;
REVOKE EXECUTE ON FUNCTION command_a.withheld(jsonb) FROM PUBLIC;
SET ROLE regress_command_app;
SELECT response FROM idempotency.execute('whoami', 'command', 'whoami');
SELECT idempotency.execute('pay', 'command', 'pay');
SELECT idempotency.execute('withheld', 'command', 'withheld');
SELECT idempotency.execute('schema', 'command', 'command_b.work');
SELECT idempotency.execute('withheld', 'command', 'withheld', cache_errors => '{42}');
SELECT response FROM idempotency.execute('as owner', 'command', 'pay_as_owner');
-- without USAGE of command_b its function is not on the path
SELECT response FROM idempotency.execute('found', 'command', 'work');
RESET ROLE;
SELECT count(*) FROM command_a.payments;
SELECT key FROM idempotency.keys WHERE scope = 'command' AND key IN ('pay', 'withheld', 'schema');
GRANT INSERT, SELECT ON command_a.payments TO regress_command_app;
GRANT EXECUTE ON FUNCTION command_a.withheld(jsonb) TO regress_command_app;
SET ROLE regress_command_app;
SELECT outcome, response FROM idempotency.execute('pay', 'command', 'pay');
SELECT outcome, response FROM idempotency.execute('withheld', 'command', 'withheld');
RESET ROLE;

-- the owner of a SECURITY DEFINER function that calls execute() is the caller
CREATE FUNCTION command_a.gate() RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS $$
	SELECT to_jsonb(response = to_jsonb(session_user)) FROM idempotency.execute('gate', 'command', 'command_a.whoami')
$$;
SET ROLE regress_command_app;
SELECT command_a.gate();
RESET ROLE;

-- the settings of a function hold while it runs
CREATE FUNCTION command_a.own_settings(jsonb) RETURNS jsonb LANGUAGE sql SET search_path = command_b AS $$ SELECT to_jsonb(current_setting('search_path')) $$;
SELECT response, current_setting('search_path') AS afterwards FROM idempotency.execute('settings', 'command', 'own_settings');

RESET search_path;
SET client_min_messages = warning;
DROP OWNED BY regress_command_app;
DROP SCHEMA command_a, command_b CASCADE;
DROP ROLE regress_command_app;
