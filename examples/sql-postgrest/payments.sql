-- Payments with PostgREST: POST /rpc/pay.
--
-- PostgREST runs each request in a transaction of its own: claim, work and
-- answer commit together, and an error rolls all of it back.
CREATE OR REPLACE FUNCTION pay(amount integer) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	customer text := current_setting('request.jwt.claims')::jsonb ->> 'sub';
	key      text := idempotency.request_key();
	scope    text := 'payments/' || customer;
	claim    idempotency.claim_result;
	response jsonb;
BEGIN
	claim := idempotency.claim(key, scope, jsonb_build_object('amount', amount));
	IF claim.outcome = 'replay' THEN
		PERFORM set_config('response.status', claim.status_code::text, true);
		RETURN claim.response;
	ELSIF NOT claim.proceed THEN
		RAISE EXCEPTION USING ERRCODE = 'PT' || claim.status_code, MESSAGE = claim.outcome;
	END IF;

	INSERT INTO payments (customer, amount)
	VALUES (customer, amount)
	RETURNING to_jsonb(payments) INTO response;

	PERFORM idempotency.complete(key, scope, response, status_code => 201);
	PERFORM set_config('response.status', '201', true);
	RETURN response;
END
$$;
