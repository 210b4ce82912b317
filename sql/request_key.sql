-- request_key() is the key in the header of the current PostgREST request.

CREATE FUNCTION request_key_refused(headers text)
RETURNS TABLE (code text, message text, detail text, hint text)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('request.headers', headers, true);
	message := 'accepted: ' || idempotency.request_key();
	RETURN NEXT;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN NEXT;
END
$$;

-- Outside PostgREST there is no request.
SELECT idempotency.request_key();

BEGIN;
SELECT set_config('request.headers', '{"host": "localhost", "idempotency-key": "\"8e03978e\""}', true) <> '' AS set;
SELECT idempotency.request_key();
-- Unquoted keys are accepted.
SELECT set_config('request.headers', '{"idempotency-key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}', true) <> '' AS set;
SELECT idempotency.request_key();
COMMIT;
-- The setting is reset at the end of the transaction, and with it the key.
SELECT idempotency.request_key();

-- It works in a read-only transaction.
BEGIN READ ONLY;
SELECT set_config('request.headers', '{"idempotency-key": "8e03978e"}', true) <> '' AS set;
SELECT idempotency.request_key();
COMMIT;

-- A request without a key, with a bad one, or with a bad setting.
\x
SELECT * FROM request_key_refused('{"host": "localhost"}');
SELECT * FROM request_key_refused('{"Idempotency-Key": "8e03978e"}');
SELECT * FROM request_key_refused('{"idempotency-key": null}');
SELECT * FROM request_key_refused('{"idempotency-key": ""}');
SELECT * FROM request_key_refused('{"idempotency-key": "\"8e03978e"}');
SELECT * FROM request_key_refused('{"idempotency-key": "\"a\", \"b\""}');
SELECT * FROM request_key_refused('{"idempotency-key": 42}');
SELECT * FROM request_key_refused('{"idempotency-key": {"a": "8e03978e"}}');
SELECT * FROM request_key_refused('{"nested": {"idempotency-key": "8e03978e"}}');
SELECT * FROM request_key_refused('["idempotency-key", "8e03978e"]');
SELECT * FROM request_key_refused('"8e03978e"');
SELECT * FROM request_key_refused('{"idempotency-key": "8e03978e"');
SELECT * FROM request_key_refused('{"idempotency-key": "\u0000"}');
SELECT * FROM request_key_refused('idempotency-key: 8e03978e');
SELECT * FROM request_key_refused('{"idempotency-key": "' || repeat('k', 256) || '"}');
\x

-- The session can go on after each of them.
SELECT count(*) FROM generate_series(1, 1000) AS n, request_key_refused('{"n": ' || n || ',');

DROP FUNCTION request_key_refused;
