-- Payments in PL/pgSQL: the procedure claims the key and stores the answer.
--
-- Claim, work and answer are one transaction.  An error rolls all of it back,
-- and a retry runs the procedure again.
CREATE OR REPLACE PROCEDURE pay(key text, customer text, amount integer, INOUT status integer, INOUT body jsonb)
LANGUAGE plpgsql AS $$
DECLARE
	scope text := 'payments/' || customer;
	claim idempotency.claim_result;
BEGIN
	claim := idempotency.claim(key, scope, jsonb_build_object('amount', amount));
	IF NOT claim.proceed THEN
		status := claim.status_code;
		body := coalesce(claim.response, jsonb_build_object('title', claim.outcome));
		RETURN;
	END IF;

	INSERT INTO payments (customer, amount)
	VALUES (customer, amount)
	RETURNING to_jsonb(payments) INTO body;

	status := 201;
	PERFORM idempotency.complete(key, scope, body, status_code => status);
END
$$;
