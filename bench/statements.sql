-- The statements that clients send, as prepared statements.  For a candidate "by
-- statements" they are sent one by one between BEGIN and COMMIT.

PREPARE payment (text, integer, numeric) AS
	INSERT INTO payments (reference, account, amount) VALUES ($1, $2, $3) RETURNING answer(payments);

PREPARE bare (text, jsonb) AS SELECT status, body FROM bare($1, $2);
PREPARE extension (text, jsonb) AS SELECT status, body FROM extension($1, $2);
PREPARE extension_if (text, jsonb) AS SELECT status, body FROM extension_if($1, $2);
PREPARE execute (text, jsonb) AS
	SELECT status_code, response FROM idempotency.execute($1, 'payments', 'pay', $2);
PREPARE handwritten (text, jsonb) AS SELECT status, body FROM handwritten($1, $2);
PREPARE handwritten_nowait (text, jsonb) AS SELECT status, body FROM handwritten_nowait($1, $2);
PREPARE handwritten_rules (text, jsonb) AS SELECT status, body FROM handwritten_rules($1, $2);
PREPARE handwritten_pair (text, jsonb) AS SELECT status, body FROM handwritten_pair($1, $2);

PREPARE claim (text, jsonb) AS
	SELECT proceed, status_code, response FROM idempotency.claim($1, 'payments', $2);
PREPARE complete (text, jsonb, text) AS
	SELECT idempotency.complete($1, 'payments', $2, $3, 201);

PREPARE noop_claim (text, jsonb) AS
	SELECT proceed, status_code, response FROM noop_claim($1, 'payments', $2);
PREPARE noop_complete (text, jsonb, text) AS
	SELECT noop_complete($1, 'payments', $2, $3, 201);
PREPARE plain (text, jsonb) AS SELECT status, body FROM plain($1, $2);
PREPARE portable (text, jsonb) AS SELECT status, body FROM portable($1, $2);

PREPARE insert_key (text, jsonb) AS
	INSERT INTO handwritten_keys (scope, key, request_hash)
	VALUES ('payments', $1, sha256(convert_to($2::text, 'UTF8'))) ON CONFLICT DO NOTHING;
PREPARE select_key (text, jsonb) AS
	SELECT request_hash = sha256(convert_to($2::text, 'UTF8')), status_code, response
	FROM handwritten_keys WHERE scope = 'payments' AND key = $1;
PREPARE update_key (text, jsonb) AS
	UPDATE handwritten_keys SET status_code = 201, response = $2 WHERE scope = 'payments' AND key = $1;
