-- Functions and procedures in PL/pgSQL, with exception blocks and their own
-- transactions.
CREATE TABLE payment (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text, amount integer CHECK (amount > 0));

-- Everything in the caller's transaction.  A business failure is final and is
-- stored; its half-done work is rolled back by the exception block.
CREATE FUNCTION pay(request_key text, account text, amount integer) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	c idempotency.claim_result;
	id integer;
	result jsonb;
BEGIN
	c := idempotency.claim(request_key, 'plpgsql', jsonb_build_object('account', account, 'amount', amount));
	IF NOT c.proceed THEN
		RETURN jsonb_build_object('outcome', c.outcome, 'status', c.status_code, 'response', c.response);
	END IF;
	BEGIN
		INSERT INTO payment (account, amount) VALUES (account, 1);
		INSERT INTO payment (account, amount) VALUES (account, amount) RETURNING payment.id INTO id;
		result := jsonb_build_object('paid', amount);
		PERFORM idempotency.complete(request_key, 'plpgsql', result, status_code => 201, attempt => c.attempt);
	EXCEPTION WHEN check_violation THEN
		result := jsonb_build_object('title', 'bad amount');
		PERFORM idempotency.fail(request_key, 'plpgsql', result, status_code => 400);
	END;
	RETURN jsonb_build_object('outcome', c.outcome, 'response', result);
END $$;

SELECT pay('good', 'a', 10);
SELECT pay('good', 'a', 10);
SELECT pay('good', 'a', 11);
SELECT pay('bad', 'b', -1);
SELECT pay('bad', 'b', -1);
SELECT account, amount FROM payment ORDER BY id;

-- Work that leaves the database: the claim is committed before the work, and the
-- attempt protects the steps after it.
CREATE PROCEDURE ship(request_key text, INOUT steps text DEFAULT '', stop_after text DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
	c idempotency.claim_result;
BEGIN
	SELECT * INTO c FROM idempotency.claim(request_key, 'plpgsql', lease => '1 us');
	COMMIT;
	steps := c.outcome;
	IF NOT c.proceed THEN
		RETURN;
	END IF;
	IF c.recovery_point IS NULL THEN
		steps := steps || ' label';
		PERFORM idempotency.checkpoint(request_key, 'plpgsql', 'labelled', '{"label": 1}', c.attempt, '1 us');
		COMMIT;
		IF stop_after = 'label' THEN
			RETURN;
		END IF;
	END IF;
	steps := steps || ' parcel';
	PERFORM idempotency.complete(request_key, 'plpgsql', coalesce(c.state, '{"label": 1}') || '{"parcel": 2}', attempt => c.attempt);
	COMMIT;
END $$;
CALL ship('parcel', stop_after => 'label');
CALL ship('parcel');
CALL ship('parcel');
SELECT response, attempt FROM idempotency.lookup('parcel', 'plpgsql');

-- The error of a superseded owner can be caught by its SQLSTATE.
SELECT outcome FROM idempotency.claim('overtaken', 'plpgsql', lease => '1 us');
SELECT outcome, attempt FROM idempotency.claim('overtaken', 'plpgsql', lease => '1 minute');
DO $$
BEGIN
	BEGIN
		PERFORM idempotency.complete('overtaken', 'plpgsql', '"late"', attempt => 1);
	EXCEPTION WHEN SQLSTATE 'IK423' THEN
		RAISE INFO 'somebody else does it';
	END;
	BEGIN
		PERFORM idempotency.complete('overtaken', 'plpgsql');
	EXCEPTION WHEN SQLSTATE 'IK428' THEN
		RAISE INFO 'the attempt is missing';
	END;
	BEGIN
		PERFORM idempotency.complete('never claimed', 'plpgsql');
	EXCEPTION WHEN SQLSTATE 'IK404' THEN
		RAISE INFO 'there is no claim';
	END;
	PERFORM idempotency.complete('overtaken', 'plpgsql', '"in time"', attempt => 2);
END $$;
SELECT outcome, response FROM idempotency.claim('overtaken', 'plpgsql');

-- The error of a response that is too large is caught, and a smaller one stored.
DO $$
BEGIN
	PERFORM idempotency.claim('large', 'plpgsql');
	BEGIN
		PERFORM idempotency.complete('large', 'plpgsql', to_jsonb(repeat('x', 2000000)));
	EXCEPTION WHEN SQLSTATE 'IK413' THEN
		PERFORM idempotency.complete('large', 'plpgsql', '"see elsewhere"');
	END;
END $$;
SELECT outcome, response FROM idempotency.claim('large', 'plpgsql');

-- A loop of messages, each in its own transaction.
CREATE PROCEDURE consume(messages text[]) LANGUAGE plpgsql AS $$
DECLARE
	message text;
BEGIN
	FOREACH message IN ARRAY messages LOOP
		IF (SELECT proceed FROM idempotency.claim(message, 'plpgsql/messages')) THEN
			INSERT INTO payment (account, amount) VALUES (message, 1);
			PERFORM idempotency.complete(message, 'plpgsql/messages');
		END IF;
		COMMIT;
	END LOOP;
END $$;
CALL consume(ARRAY['m1', 'm2', 'm1', 'm3', 'm2']);
CALL consume(ARRAY['m3', 'm4']);
SELECT account, count(*) FROM payment WHERE account LIKE 'm%' GROUP BY account ORDER BY account;

-- In a trigger, and in one deferred to the commit.
CREATE FUNCTION claim_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NOT (SELECT proceed FROM idempotency.claim(NEW.account, 'plpgsql/trigger')) THEN
		RAISE EXCEPTION 'account % is paid', NEW.account;
	END IF;
	PERFORM idempotency.complete(NEW.account, 'plpgsql/trigger');
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER once AFTER INSERT ON payment DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION claim_row();
INSERT INTO payment (account, amount) VALUES ('t1', 1);
INSERT INTO payment (account, amount) VALUES ('t1', 1);
BEGIN;
INSERT INTO payment (account, amount) VALUES ('t2', 1);
COMMIT;
SELECT account, count(*) FROM payment WHERE account LIKE 't%' GROUP BY account ORDER BY account;

SELECT count(*) AS row_count, count(DISTINCT (scope, key)) AS keys FROM idempotency.keys WHERE scope LIKE 'plpgsql%';
DROP PROCEDURE ship, consume;
DROP TABLE payment;
DROP FUNCTION pay, claim_row;
