-- The names, arguments, types and defaults on which clients rely.
SELECT proname, pg_get_function_arguments(oid) AS arguments
FROM pg_proc WHERE pronamespace = 'idempotency'::regnamespace
AND proname IN ('claim', 'complete', 'fail', 'release', 'heartbeat', 'checkpoint', 'lookup')
ORDER BY array_position(ARRAY['claim', 'complete', 'fail', 'release', 'heartbeat', 'checkpoint', 'lookup']::name[], proname);
SELECT proname, pg_get_function_result(oid) AS result, provolatile, prosecdef
FROM pg_proc WHERE pronamespace = 'idempotency'::regnamespace
AND proname IN ('claim', 'complete', 'fail', 'release', 'heartbeat', 'checkpoint', 'lookup')
ORDER BY array_position(ARRAY['claim', 'complete', 'fail', 'release', 'heartbeat', 'checkpoint', 'lookup']::name[], proname);

SELECT attnum, attname, format_type(atttypid, atttypmod) AS type
FROM pg_attribute WHERE attrelid = 'idempotency.claim_result'::regclass AND attnum > 0 AND NOT attisdropped
ORDER BY attnum;

-- the columns that storage needs come after these
SELECT attnum, attname, format_type(atttypid, atttypmod) AS type
FROM pg_attribute WHERE attrelid = 'idempotency.keys'::regclass AND attnum BETWEEN 1 AND 14
ORDER BY attnum;

-- Settings are known once the library is loaded: by a call, LOAD, or
-- preloading.
SELECT count(*) FROM idempotency.lookup('contract');
SHOW idempotency.default_ttl;
SHOW idempotency.default_lease;
SHOW idempotency.default_wait;
SHOW idempotency.min_key_length;
SHOW idempotency.max_key_length;
SHOW idempotency.max_response_size;
SHOW idempotency.sqlstate_prefix;
SELECT current_setting('idempotency.default_ttl')::interval AS ttl,
	   current_setting('idempotency.default_wait')::interval AS wait,
	   pg_size_bytes(current_setting('idempotency.max_response_size')) AS response_bytes;
SELECT name, context, vartype, unit, min_val, boot_val
FROM pg_settings
WHERE name IN ('idempotency.default_ttl', 'idempotency.default_lease', 'idempotency.default_wait',
			   'idempotency.min_key_length', 'idempotency.max_key_length',
			   'idempotency.max_response_size', 'idempotency.sqlstate_prefix')
ORDER BY name COLLATE "C";

-- Every table is carried by pg_dump.
SELECT c.relname FROM pg_class AS c
JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'idempotency' AND c.relkind = 'r' AND NOT c.oid = ANY (e.extconfig);

-- Everything is in the schema of this name, and is described.
SELECT pg_describe_object(d.classid, d.objid, 0) AS elsewhere_or_undescribed
FROM pg_depend AS d JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) AS i
WHERE e.extname = 'idempotency' AND d.deptype = 'e'
AND (i.schema IS DISTINCT FROM 'idempotency' OR obj_description(d.objid, d.classid::regclass::name) IS NULL)
AND d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass)
ORDER BY 1;

-- Arguments by position.
BEGIN;
SELECT outcome, expires_at - claimed_at = interval '2 hours' AS ttl
FROM idempotency.claim('key', 'contract', '{"a": 1}', '2 hours', '1 hour', '0', clock_timestamp());
SELECT idempotency.heartbeat('key', 'contract', 1, '90 minutes') > clock_timestamp() + interval '89 minutes' AS lease;
SELECT idempotency.checkpoint('key', 'contract', 'step', '{"b": 2}', 1, '90 minutes');
SELECT recovery_point, state, fingerprint IS NOT NULL AS fingerprint FROM idempotency.lookup('key', 'contract');
SELECT idempotency.complete('key', 'contract', '{"c": 3}', 'id', 201, 1, '3 hours');
SELECT status, response, resource_id, status_code, attempt, expires_at - completed_at = interval '3 hours' AS ttl
FROM idempotency.lookup('key', 'contract');
ROLLBACK;
BEGIN;
SELECT outcome FROM idempotency.claim('key', 'contract');
SELECT idempotency.fail('key', 'contract', '{"c": 3}', 'id', 402, 1, '3 hours');
SELECT status, response, resource_id, status_code, attempt, expires_at - completed_at = interval '3 hours' AS ttl
FROM idempotency.lookup('key', 'contract');
ROLLBACK;

-- PostgreSQL expands (f(..)).* into one call per column: only the first of
-- them claims.
CREATE TEMPORARY TABLE expanded AS SELECT (idempotency.claim('expanded', 'contract', lease => '1 minute')).*;
SELECT outcome, proceed, status_code, attempt FROM expanded;
CREATE TEMPORARY TABLE called_once AS SELECT * FROM idempotency.claim('called once', 'contract', lease => '1 minute');
SELECT outcome, proceed, status_code, attempt FROM called_once;
