-- A function exposed by PostgREST answers 201, 200, 400, 409 and 422, as
-- doc/postgrest.md promises: the SQL of that page, run unchanged.

-- The roles have other names here.

\getenv abs_srcdir PG_ABS_SRCDIR
\set page :abs_srcdir '/doc/postgrest.md'
\setenv PAGE :page
\set code `awk '/^\140\140\140sql$/ { sql = 1; next } /^\140\140\140$/ { sql = 0 } sql { gsub(/authenticator|web_user/, "regress_&"); print }' "$PAGE"`
:code

-- The settings of the role that PostgREST connects as, for this session.
SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = 'regress_authenticator'::regrole;
SET idempotency.sqlstate_prefix = 'PT';

-- What PostgREST does for POST /rpc/pay: it sets the role, the headers and the
-- claims of the token, calls the function, and takes the status from the setting
-- response.status or from an SQLSTATE that begins with PT.  (For other SQLSTATEs
-- their class decides.)
CREATE FUNCTION post_pay(customer text, headers jsonb, body jsonb)
RETURNS TABLE (status text, answer jsonb)
LANGUAGE plpgsql AS $$
DECLARE
	code text;
	message text;
	hint text;
BEGIN
	PERFORM set_config('role', 'regress_web_user', true),
		set_config('request.headers', headers::text, true),
		set_config('request.jwt.claims', jsonb_build_object('sub', customer)::text, true),
		set_config('response.status', '', true);
	answer := api.pay((body ->> 'amount')::integer);
	status := coalesce(nullif(current_setting('response.status'), ''), '200');
	RESET role;
	RETURN NEXT;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	status := CASE WHEN code LIKE 'PT%' THEN substr(code, 3) ELSE code END;
	answer := jsonb_build_object('code', code, 'message', message, 'hint', hint);
	RETURN NEXT;
END
$$;

\set key '{"idempotency-key": "\\"8e03978e-40d5-43dd-bc93-6894a57f9324\\""}'

-- 201, and 200 for the retry, with the same answer.
SELECT * FROM post_pay('alice', :'key', '{"amount": 4200}');
SELECT * FROM post_pay('alice', :'key', '{"amount": 4200}');

-- 422: the same key with another request.
SELECT * FROM post_pay('alice', :'key', '{"amount": 1}');

-- Another customer's key is another key.
SELECT * FROM post_pay('bob', :'key', '{"amount": 4200}');

-- 400: no header, an empty one, a malformed one, two of them.
SELECT * FROM post_pay('alice', '{"host": "localhost"}', '{"amount": 4200}');
SELECT * FROM post_pay('alice', '{"idempotency-key": ""}', '{"amount": 4200}');
SELECT * FROM post_pay('alice', '{"idempotency-key": "\"8e03978e"}', '{"amount": 4200}');
SELECT * FROM post_pay('alice', '{"idempotency-key": "\"a\", \"b\""}', '{"amount": 4200}');

-- 409: the key has a committed claim in progress.
SELECT proceed FROM idempotency.claim('in-progress', 'payments/alice', '{"amount": 4200}', lease => '1 hour');
SELECT status, answer ->> 'code' AS code, answer ->> 'message' AS message,
	(answer ->> 'hint') ~ '^Send the same request again in 3(600|599) s\.$' AS hint
FROM post_pay('alice', '{"idempotency-key": "\"in-progress\""}', '{"amount": 4200}');

-- A payment that fails leaves the key free.
SELECT status FROM post_pay('alice', '{"idempotency-key": "\"failing\""}', '{"amount": 0}');
SELECT status FROM post_pay('alice', '{"idempotency-key": "\"failing\""}', '{"amount": 7}');

-- One payment for each 201.
SELECT customer, amount FROM api.payments ORDER BY id;

RESET idempotency.sqlstate_prefix;
DROP FUNCTION post_pay;
SET client_min_messages = warning;
DROP SCHEMA api CASCADE;
SELECT idempotency.revoke_usage('regress_web_user');
DROP ROLE regress_authenticator, regress_web_user;
