-- A command meets its own key as one in progress, whatever it does with it.
CREATE SCHEMA execute_own_key;
SET search_path = execute_own_key, public;
CREATE TABLE effects (key text);
CREATE FUNCTION key_of(request jsonb) RETURNS text LANGUAGE sql AS $$ SELECT request->>'key' $$;

-- claimed again
CREATE FUNCTION claims(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	c idempotency.claim_result;
BEGIN
	INSERT INTO effects VALUES (key_of(request));
	c := idempotency.claim(key_of(request), 'own', request);
	RETURN jsonb_build_object('outcome', c.outcome, 'proceed', c.proceed, 'retry_after', c.retry_after, 'claimed', c.claimed_at IS NOT NULL);
END $$;
SELECT outcome, response FROM idempotency.execute('claimed', 'claims', '{"key": "claimed"}', 'own');
SELECT outcome, response FROM idempotency.execute('claimed', 'claims', '{"key": "claimed"}', 'own');

-- executed again, by a command of the same kind
CREATE FUNCTION executes(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO effects VALUES (key_of(request));
	RETURN jsonb_build_object('inner', (SELECT outcome FROM idempotency.execute(key_of(request), 'executes', request, 'own')));
END $$;
SELECT outcome, response FROM idempotency.execute('executed', 'executes', '{"key": "executed"}', 'own');

-- a command called by a command, for another key
CREATE FUNCTION nests(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO effects VALUES ('outer');
	RETURN jsonb_build_object('inner', (SELECT response FROM idempotency.execute('inner', 'claims', '{"key": "inner"}', 'own')));
END $$;
SELECT outcome, response FROM idempotency.execute('outer', 'nests', scope => 'own');
SELECT outcome, response FROM idempotency.execute('inner', 'claims', '{"key": "inner"}', 'own');

-- looked up
CREATE FUNCTION looks(request jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_build_object('status', status, 'attempt', attempt, 'completed', completed_at)) FROM idempotency.lookup(key_of(request), 'own')
$$;
SELECT outcome, response FROM idempotency.execute('looked up', 'looks', '{"key": "looked up"}', 'own');

-- completed by the command itself: what it stored must be what it returns
CREATE FUNCTION completes(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO effects VALUES (key_of(request));
	PERFORM idempotency.complete(key_of(request), 'own', '{"id": 1}', '1');
	RETURN request->'returns';
END $$;
SELECT outcome, resource_id, response FROM idempotency.execute('same', 'completes', '{"key": "same", "returns": {"id": 1}}', 'own');
SELECT outcome, resource_id, response FROM idempotency.execute('other', 'completes', '{"key": "other", "returns": {"id": 2}}', 'own');

-- noted, and rolled back to before that
CREATE FUNCTION checkpoints(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO effects VALUES (key_of(request));
	BEGIN
		PERFORM idempotency.checkpoint(key_of(request), 'own', 'one', '{"step": 1}');
		IF request ? 'fails' THEN
			RAISE division_by_zero;
		END IF;
	EXCEPTION WHEN division_by_zero THEN
	END;
	RETURN (SELECT to_jsonb(recovery_point) FROM idempotency.lookup(key_of(request), 'own'));
END $$;
SELECT outcome, response FROM idempotency.execute('noted', 'checkpoints', '{"key": "noted"}', 'own');
SELECT outcome, response FROM idempotency.execute('undone', 'checkpoints', '{"key": "undone", "fails": true}', 'own');
SELECT key, status, recovery_point, attempt FROM idempotency.keys WHERE scope = 'own' AND key IN ('noted', 'undone') ORDER BY key;

-- given back, or removed: then the result has no claim to go to
CREATE FUNCTION releases(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO effects VALUES (key_of(request));
	PERFORM idempotency.release(key_of(request), 'own');
	RETURN '1';
END $$;
CREATE FUNCTION forgets(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO effects VALUES (key_of(request));
	PERFORM idempotency.forget(key_of(request), 'own');
	RETURN '1';
END $$;
SELECT outcome FROM idempotency.execute('released', 'releases', '{"key": "released"}', 'own');
SELECT outcome FROM idempotency.execute('forgotten', 'forgets', '{"key": "forgotten"}', 'own');

-- an error of the command that its caller catches frees the key, and the next may run
DO $$
BEGIN
	PERFORM idempotency.execute('caught', 'releases', '{"key": "caught"}', 'own');
EXCEPTION WHEN SQLSTATE 'IK404' THEN
	RAISE NOTICE 'caught';
END $$;
SELECT outcome, response FROM idempotency.execute('caught', 'looks', '{"key": "caught"}', 'own');

-- one command after the other in one transaction; some are rolled back
BEGIN;
SELECT outcome FROM idempotency.execute('first', 'claims', '{"key": "first"}', 'own');
SAVEPOINT s;
SELECT outcome FROM idempotency.execute('second', 'claims', '{"key": "second"}', 'own');
ROLLBACK TO s;
SELECT outcome FROM idempotency.execute('second', 'looks', '{"key": "second"}', 'own');
SELECT outcome FROM idempotency.execute('first', 'claims', '{"key": "first"}', 'own');
SELECT count(*) AS locks_of_keys FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
COMMIT;

SELECT key, count(*) AS effects FROM effects GROUP BY key ORDER BY key COLLATE "C";
SELECT key, status FROM idempotency.keys WHERE scope = 'own' ORDER BY key COLLATE "C";
DELETE FROM idempotency.keys WHERE scope = 'own';
SET client_min_messages = warning;
DROP SCHEMA execute_own_key CASCADE;
