-- The payment, and the candidates that run in the server.
--
-- To be run in an empty schema that is first in search_path; the extension
-- must be installed.  psql's variable "answer" is the expression of
-- answer(payments), which computes the answer to the client.

CREATE TABLE payments (
	id        bigint        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	reference text          NOT NULL,
	account   integer       NOT NULL,
	amount    numeric(12,2) NOT NULL,
	paid_at   timestamptz   NOT NULL DEFAULT now()
);

CREATE FUNCTION answer(payment payments) RETURNS jsonb
STABLE
RETURN :answer;

-- No idempotency: the payment and nothing else.

CREATE FUNCTION bare(key text, request jsonb, OUT status integer, OUT body jsonb)
LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO payments (reference, account, amount)
	VALUES (request->>'reference', (request->>'account')::integer, (request->>'amount')::numeric)
	RETURNING answer(payments) INTO body;
	status := 201;
END
$$;

-- The extension: claim, pay, complete.

CREATE FUNCTION extension(key text, request jsonb, wait interval DEFAULT NULL,
						  OUT status integer, OUT body jsonb)
LANGUAGE plpgsql AS $$
DECLARE
	c idempotency.claim_result;
BEGIN
	c := idempotency.claim(key, 'payments', request, wait => wait);
	IF NOT c.proceed THEN
		status := c.status_code;
		body := c.response;
		RETURN;
	END IF;

	INSERT INTO payments (reference, account, amount)
	VALUES (request->>'reference', (request->>'account')::integer, (request->>'amount')::numeric)
	RETURNING answer(payments) INTO body;
	status := 201;
	PERFORM idempotency.complete(key, 'payments', body, body->>'id', status);
END
$$;

-- The same with PL/pgSQL's cheapest way to call complete(): IF evaluates an
-- expression, while PERFORM runs a query.

CREATE FUNCTION extension_if(key text, request jsonb, OUT status integer, OUT body jsonb)
LANGUAGE plpgsql AS $$
DECLARE
	c idempotency.claim_result;
BEGIN
	c := idempotency.claim(key, 'payments', request);
	IF NOT c.proceed THEN
		status := c.status_code;
		body := c.response;
		RETURN;
	END IF;

	INSERT INTO payments (reference, account, amount)
	VALUES (request->>'reference', (request->>'account')::integer, (request->>'amount')::numeric)
	RETURNING answer(payments) INTO body;
	status := 201;
	IF idempotency.complete(key, 'payments', body, body->>'id', status) IS NULL THEN
	END IF;
END
$$;

-- The function that idempotency.execute() calls.

CREATE FUNCTION pay(request jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
	body jsonb;
BEGIN
	INSERT INTO payments (reference, account, amount)
	VALUES (request->>'reference', (request->>'account')::integer, (request->>'amount')::numeric)
	RETURNING answer(payments) INTO body;
	RETURN body;
END
$$;

-- Hand-written, as a careful developer would do it: the key is inserted first, so
-- that a concurrent duplicate waits for it; a hash of the request's normal form is
-- compared; key, payment and answer are one transaction.  There is no index on
-- expires_at, which would make a claim more expensive: expired rows would have to be
-- deleted with a sequential scan.

CREATE TABLE handwritten_keys (
	scope        text        NOT NULL,
	key          text        NOT NULL,
	request_hash bytea       NOT NULL,
	status_code  integer,
	response     jsonb,
	expires_at   timestamptz NOT NULL DEFAULT now() + interval '1 day',
	PRIMARY KEY (scope, key)
);

CREATE FUNCTION handwritten(key text, request jsonb, OUT status integer, OUT body jsonb)
LANGUAGE plpgsql AS $$
DECLARE
	hash   bytea := sha256(convert_to(request::text, 'UTF8'));
	stored handwritten_keys;
BEGIN
	INSERT INTO handwritten_keys AS k (scope, key, request_hash)
	VALUES ('payments', handwritten.key, hash)
	ON CONFLICT DO NOTHING;
	IF NOT FOUND THEN
		SELECT * INTO stored FROM handwritten_keys AS k
		WHERE k.scope = 'payments' AND k.key = handwritten.key;
		IF stored.request_hash <> hash THEN
			status := 422;
		ELSE
			status := stored.status_code;
			body := stored.response;
		END IF;
		RETURN;
	END IF;

	INSERT INTO payments (reference, account, amount)
	VALUES (request->>'reference', (request->>'account')::integer, (request->>'amount')::numeric)
	RETURNING answer(payments) INTO body;
	status := 201;
	UPDATE handwritten_keys AS k SET status_code = status, response = body
	WHERE k.scope = 'payments' AND k.key = handwritten.key;
END
$$;

-- The same, but it answers 409 at once if a duplicate is in progress.  The row of
-- that one is not visible before its commit, so an advisory lock is needed.

CREATE FUNCTION handwritten_nowait(key text, request jsonb, OUT status integer, OUT body jsonb)
LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM handwritten_keys AS k
				   WHERE k.scope = 'payments' AND k.key = handwritten_nowait.key)
		AND NOT pg_try_advisory_xact_lock(hashtextextended('payments/' || key, 0))
	THEN
		status := 409;
		RETURN;
	END IF;
	SELECT h.status, h.body INTO status, body FROM handwritten(key, request) AS h;
END
$$;

-- The same rules as those of portable/idempotency.sql, as far as one transaction
-- needs them: a key that has expired is free, and expired rows are found by an index;
-- sizes are limited; a policy sets the ttl; a duplicate is answered at once; the
-- request itself is compared; the caller has no privileges on the tables.

CREATE TABLE handwritten_rules_keys (
	scope        text        NOT NULL COLLATE "C",
	key          text        NOT NULL COLLATE "C",
	request      jsonb,
	status_code  integer,
	response     jsonb,
	claimed_at   timestamptz NOT NULL,
	completed_at timestamptz,
	expires_at   timestamptz NOT NULL,
	PRIMARY KEY (scope, key)
) WITH (fillfactor = 80);
CREATE INDEX ON handwritten_rules_keys (expires_at);
CREATE TABLE handwritten_rules_policy (scope text PRIMARY KEY, ttl interval NOT NULL);
INSERT INTO handwritten_rules_policy VALUES ('payments', '1 day');

CREATE FUNCTION handwritten_rules(key text, request jsonb, OUT status integer, OUT body jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
	at     timestamptz;
	ttl    interval;
	stored handwritten_rules_keys;
BEGIN
	IF octet_length(key) BETWEEN 1 AND 255 IS NOT TRUE THEN
		RAISE 'key is missing, empty or too long';
	END IF;
	SELECT p.ttl INTO ttl FROM handwritten_rules_policy AS p WHERE p.scope = 'payments';
	LOOP
		at := clock_timestamp();
		SELECT * INTO stored FROM handwritten_rules_keys AS k
		WHERE k.scope = 'payments' AND k.key = handwritten_rules.key;
		IF stored.expires_at > at THEN
			IF stored.request IS DISTINCT FROM request THEN
				status := 422;
			ELSE
				status := stored.status_code;
				body := stored.response;
			END IF;
			RETURN;
		END IF;
		IF NOT pg_try_advisory_xact_lock(hashtextextended(key, hashtextextended('payments', 0))) THEN
			status := 409;
			RETURN;
		END IF;
		IF stored.key IS NOT NULL THEN
			DELETE FROM handwritten_rules_keys AS k
			WHERE k.scope = 'payments' AND k.key = handwritten_rules.key AND k.expires_at <= at;
		END IF;
		INSERT INTO handwritten_rules_keys (scope, key, request, claimed_at, expires_at)
		VALUES ('payments', handwritten_rules.key, request, at, at + ttl)
		ON CONFLICT DO NOTHING;
		EXIT WHEN FOUND;
	END LOOP;

	INSERT INTO payments (reference, account, amount)
	VALUES (request->>'reference', (request->>'account')::integer, (request->>'amount')::numeric)
	RETURNING answer(payments) INTO body;
	status := 201;
	IF pg_column_size(body) > 1048576 THEN
		RAISE 'response is too large';
	END IF;
	UPDATE handwritten_rules_keys AS k SET status_code = status, response = body, completed_at = clock_timestamp()
	WHERE k.scope = 'payments' AND k.key = handwritten_rules.key;
END
$$;

-- The same as two functions that any operation can call.  A claim that is not
-- completed can't be committed, as a deferred trigger looks at it again.

CREATE TABLE handwritten_pair_keys (LIKE handwritten_rules_keys INCLUDING ALL) WITH (fillfactor = 80);

CREATE FUNCTION handwritten_pair_check() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF EXISTS (SELECT FROM handwritten_pair_keys AS k
			   WHERE k.scope = NEW.scope AND k.key = NEW.key AND k.completed_at IS NULL) THEN
		RAISE 'claim is unfinished';
	END IF;
	RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER finished AFTER INSERT ON handwritten_pair_keys DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION handwritten_pair_check();

CREATE FUNCTION handwritten_claim(key text, scope text, request jsonb, OUT proceed boolean, OUT status integer, OUT body jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
	at     timestamptz;
	ttl    interval;
	stored handwritten_pair_keys;
BEGIN
	IF octet_length(key) BETWEEN 1 AND 255 IS NOT TRUE OR octet_length(scope) <= 1000 IS NOT TRUE THEN
		RAISE 'key is missing, empty or too long';
	END IF;
	SELECT p.ttl INTO ttl FROM handwritten_rules_policy AS p WHERE p.scope = scope;
	LOOP
		at := clock_timestamp();
		SELECT * INTO stored FROM handwritten_pair_keys AS k WHERE k.scope = scope AND k.key = key;
		IF stored.expires_at > at THEN
			proceed := false;
			IF stored.request IS DISTINCT FROM request THEN
				status := 422;
			ELSE
				status := coalesce(stored.status_code, 409);
				body := stored.response;
			END IF;
			RETURN;
		END IF;
		IF NOT pg_try_advisory_xact_lock(hashtextextended(key, hashtextextended(scope, 0))) THEN
			proceed := false;
			status := 409;
			RETURN;
		END IF;
		IF stored.key IS NOT NULL THEN
			DELETE FROM handwritten_pair_keys AS k WHERE k.scope = scope AND k.key = key AND k.expires_at <= at;
		END IF;
		INSERT INTO handwritten_pair_keys (scope, key, request, claimed_at, expires_at)
		VALUES (scope, key, request, at, at + coalesce(ttl, '1 day'))
		ON CONFLICT DO NOTHING;
		EXIT WHEN FOUND;
	END LOOP;
	proceed := true;
END
$$;

CREATE FUNCTION handwritten_complete(key text, scope text, status integer, body jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
BEGIN
	IF pg_column_size(body) > 1048576 THEN
		RAISE 'response is too large';
	END IF;
	UPDATE handwritten_pair_keys AS k SET status_code = status, response = body, completed_at = clock_timestamp()
	WHERE k.scope = scope AND k.key = key AND k.completed_at IS NULL;
	IF NOT FOUND THEN
		RAISE 'no claim is in progress';
	END IF;
END
$$;

CREATE FUNCTION handwritten_pair(key text, request jsonb, OUT status integer, OUT body jsonb)
LANGUAGE plpgsql AS $$
DECLARE
	c record;
BEGIN
	c := handwritten_claim(key, 'payments', request);
	IF NOT c.proceed THEN
		status := c.status;
		body := c.body;
		RETURN;
	END IF;

	INSERT INTO payments (reference, account, amount)
	VALUES (request->>'reference', (request->>'account')::integer, (request->>'amount')::numeric)
	RETURNING answer(payments) INTO body;
	status := 201;
	PERFORM handwritten_complete(key, 'payments', status, body);
END
$$;
