-- A payments service in two versions that differ in one thing: pay() claims
-- the client's key before it works and stores its answer under the key;
-- pay_without_keys() does the same work for every request that arrives.

CREATE EXTENSION idempotency;

CREATE TABLE payments (
	id        bigint        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	reference text          NOT NULL,
	account   integer       NOT NULL,
	amount    numeric(12,2) NOT NULL,
	paid_at   timestamptz   NOT NULL DEFAULT now()
);

CREATE TABLE payments_without_keys (LIKE payments INCLUDING ALL);

CREATE FUNCTION pay(key text, request jsonb, wait interval DEFAULT NULL,
					OUT status integer, OUT body jsonb,
					OUT replayed boolean, OUT retry_after interval)
LANGUAGE plpgsql AS $$
DECLARE
	scope text := format('payments/account-%s', request->>'account');
	c     idempotency.claim_result;
BEGIN
	c := idempotency.claim(key, scope, request, wait => wait);
	IF NOT c.proceed THEN
		status := c.status_code;
		body := c.response;
		replayed := c.outcome = 'replay';
		retry_after := c.retry_after;
		RETURN;
	END IF;

	INSERT INTO payments (reference, account, amount)
	VALUES (key, (request->>'account')::integer, (request->>'amount')::numeric)
	RETURNING to_jsonb(payments) INTO body;

	status := 201;
	replayed := false;
	PERFORM idempotency.complete(key, scope, body, body->>'id', status);
END
$$;

CREATE FUNCTION pay_without_keys(key text, request jsonb, wait interval DEFAULT NULL,
								 OUT status integer, OUT body jsonb,
								 OUT replayed boolean, OUT retry_after interval)
LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO payments_without_keys (reference, account, amount)
	VALUES (key, (request->>'account')::integer, (request->>'amount')::numeric)
	RETURNING to_jsonb(payments_without_keys) INTO body;

	status := 201;
	replayed := false;
END
$$;

-- The service's own role.  Of the extension it needs what grant_usage() gives.
CREATE ROLE shop LOGIN;
SELECT idempotency.grant_usage('shop');
GRANT INSERT, SELECT ON payments, payments_without_keys TO shop;
