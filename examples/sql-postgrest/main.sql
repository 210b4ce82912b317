-- Debian does not package PostgREST.  This script sends the statements that it
-- sends for POST /rpc/pay: one transaction, the request in settings that end with
-- it, the status from a setting.  PostgREST also sets the role, and its own role
-- has the first setting.
BEGIN;
SET LOCAL idempotency.sqlstate_prefix = 'PT';
SELECT set_config('request.method', 'POST', true), set_config('request.path', '/rpc/pay', true),
	set_config('request.headers', json_build_object('idempotency-key', to_json(:'key'::text)::text)::text, true),
	set_config('request.jwt.claims', json_build_object('sub', :'customer')::text, true) \g /dev/null
SELECT pay(amount => :amount) AS body \gset
SELECT current_setting('response.status') AS status \gset
COMMIT;
\echo :status :body
