-- A command finds its own key in progress, whichever function it calls.
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
SELECT outcome, response FROM idempotency.execute('claimed', 'own', 'claims', '{"key": "claimed"}');
SELECT outcome, response FROM idempotency.execute('claimed', 'own', 'claims', '{"key": "claimed"}');

-- executed again, by a command of the same kind
CREATE FUNCTION executes(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO effects VALUES (key_of(request));
	RETURN jsonb_build_object('inner', (SELECT outcome FROM idempotency.execute(key_of(request), 'own', 'executes', request)));
END $$;
SELECT outcome, response FROM idempotency.execute('executed', 'own', 'executes', '{"key": "executed"}');

-- a command called by a command, for another key
CREATE FUNCTION nests(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO effects VALUES ('outer');
	RETURN jsonb_build_object('inner', (SELECT response FROM idempotency.execute('inner', 'own', 'claims', '{"key": "inner"}')));
END $$;
SELECT outcome, response FROM idempotency.execute('outer', 'own', 'nests');
SELECT outcome, response FROM idempotency.execute('inner', 'own', 'claims', '{"key": "inner"}');

-- looked up
CREATE FUNCTION looks(request jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_build_object('status', status, 'attempt', attempt, 'completed', completed_at)) FROM idempotency.lookup(key_of(request), 'own')
$$;
SELECT outcome, response FROM idempotency.execute('looked up', 'own', 'looks', '{"key": "looked up"}');

-- completed by the command itself: what it stored must be what it returns
CREATE FUNCTION completes(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO effects VALUES (key_of(request));
	PERFORM idempotency.complete(key_of(request), 'own', '{"id": 1}', '1');
	RETURN request->'returns';
END $$;
SELECT outcome, resource_id, response FROM idempotency.execute('same', 'own', 'completes', '{"key": "same", "returns": {"id": 1}}');
SELECT outcome, resource_id, response FROM idempotency.execute('other', 'own', 'completes', '{"key": "other", "returns": {"id": 2}}');

-- a checkpoint, and one that is rolled back
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
SELECT outcome, response FROM idempotency.execute('noted', 'own', 'checkpoints', '{"key": "noted"}');
SELECT outcome, response FROM idempotency.execute('undone', 'own', 'checkpoints', '{"key": "undone", "fails": true}');
SELECT key, status, recovery_point, attempt FROM idempotency.keys WHERE scope = 'own' AND key IN ('noted', 'undone') ORDER BY key;

-- released, or forgotten: the result then has no claim
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
SELECT outcome FROM idempotency.execute('released', 'own', 'releases', '{"key": "released"}');
SELECT outcome FROM idempotency.execute('forgotten', 'own', 'forgets', '{"key": "forgotten"}');

-- an error that the caller catches frees the key, and the next command may run
DO $$
BEGIN
	PERFORM idempotency.execute('caught', 'own', 'releases', '{"key": "caught"}');
EXCEPTION WHEN SQLSTATE 'IK404' THEN
	RAISE NOTICE 'caught';
END $$;
SELECT outcome, response FROM idempotency.execute('caught', 'own', 'looks', '{"key": "caught"}');

-- one command after the other in one transaction; some are rolled back
BEGIN;
SELECT outcome FROM idempotency.execute('first', 'own', 'claims', '{"key": "first"}');
SAVEPOINT s;
SELECT outcome FROM idempotency.execute('second', 'own', 'claims', '{"key": "second"}');
ROLLBACK TO s;
SELECT outcome FROM idempotency.execute('second', 'own', 'looks', '{"key": "second"}');
SELECT outcome FROM idempotency.execute('first', 'own', 'claims', '{"key": "first"}');
SELECT count(*) AS locks_of_keys FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
COMMIT;

SELECT key, count(*) AS effects FROM effects GROUP BY key ORDER BY key COLLATE "C";
SELECT key, status FROM idempotency.keys WHERE scope = 'own' ORDER BY key COLLATE "C";
DELETE FROM idempotency.keys WHERE scope = 'own';
SET client_min_messages = warning;
DROP SCHEMA execute_own_key CASCADE;
