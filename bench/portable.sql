-- The payment with the portable edition, in the schema "portable", into which
-- record.sh installs it.  To be run after candidates.sql.

CREATE FUNCTION portable(key text, request jsonb, OUT status integer, OUT body jsonb)
LANGUAGE plpgsql AS $$
DECLARE
	c portable.claim_result;
BEGIN
	c := portable.claim(key, 'payments', request);
	IF NOT c.proceed THEN
		status := c.status_code;
		body := c.response;
		RETURN;
	END IF;

	INSERT INTO payments (reference, account, amount)
	VALUES (request->>'reference', (request->>'account')::integer, (request->>'amount')::numeric)
	RETURNING answer(payments) INTO body;
	status := 201;
	PERFORM portable.complete(key, 'payments', body, body->>'id', status);
END
$$;
