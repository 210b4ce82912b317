-- A claim that asked for no lease must end in its own transaction, or the
-- transaction is not committed: the work is undone, and a retry runs it.
CREATE TABLE pay (key text);

-- an ORM's commit between claim and completion
BEGIN;
SELECT outcome FROM idempotency.claim('orm', 'unfinished');
INSERT INTO pay VALUES ('orm');
COMMIT;
SELECT idempotency.complete('orm', 'unfinished');
SELECT count(*) AS payments FROM pay;
BEGIN;
SELECT outcome, attempt FROM idempotency.claim('orm', 'unfinished');
INSERT INTO pay VALUES ('orm');
SELECT idempotency.complete('orm', 'unfinished');
COMMIT;
SELECT count(*) AS payments FROM pay;

-- autocommit; several claims; a batch
SELECT outcome FROM idempotency.claim('autocommit', 'unfinished');
SELECT outcome FROM (VALUES ('a'), ('b'), ('c')) AS v (key), idempotency.claim(key, 'unfinished');
SELECT outcome FROM idempotency.claim_many('{a, b, c, d}', 'unfinished');
BEGIN;
SELECT outcome FROM idempotency.claim_many('{a, b, c, d}', 'unfinished');
SELECT idempotency.complete_many('{a, b, c}', 'unfinished');
COMMIT;
SELECT key, status FROM idempotency.keys WHERE scope = 'unfinished' ORDER BY key;

-- a chained transaction begins without them
BEGIN;
SELECT outcome FROM idempotency.claim('chain', 'unfinished');
COMMIT AND CHAIN;
COMMIT;
BEGIN;
SELECT outcome FROM idempotency.claim('chain', 'unfinished');
ROLLBACK AND CHAIN;
COMMIT;

-- each way in which a claim ends
BEGIN;
SELECT count(*) FROM unnest('{completed, failed, released, forgotten, purged, leased, checkpointed, executed}'::text[]) AS key,
	idempotency.claim(key, CASE key WHEN 'purged' THEN 'unfinished/purged' ELSE 'unfinished/ways' END);
SELECT idempotency.complete('completed', 'unfinished/ways');
SELECT idempotency.fail('failed', 'unfinished/ways');
SELECT idempotency.release('released', 'unfinished/ways');
SELECT idempotency.forget('forgotten', 'unfinished/ways');
SELECT idempotency.purge('unfinished/purged');
SELECT idempotency.heartbeat('leased', 'unfinished/ways', lease => '1 hour') > clock_timestamp() AS leased;
SELECT idempotency.checkpoint('checkpointed', 'unfinished/ways', 'step', lease => '1 hour');
SAVEPOINT all_but_one;
COMMIT;
BEGIN;
SELECT count(*) FROM unnest('{completed, failed, released, forgotten, purged, leased, checkpointed}'::text[]) AS key,
	idempotency.claim(key, CASE key WHEN 'purged' THEN 'unfinished/purged' ELSE 'unfinished/ways' END);
SELECT idempotency.complete('completed', 'unfinished/ways');
SELECT idempotency.fail('failed', 'unfinished/ways');
SELECT idempotency.release('released', 'unfinished/ways');
SELECT idempotency.forget('forgotten', 'unfinished/ways');
SELECT idempotency.purge('unfinished/purged');
SELECT idempotency.heartbeat('leased', 'unfinished/ways', lease => '1 hour') > clock_timestamp() AS leased;
SELECT idempotency.checkpoint('checkpointed', 'unfinished/ways', 'step', lease => '1 hour');
COMMIT;
SELECT key, status, lease, lease_until > clock_timestamp() AS protected FROM idempotency.keys WHERE scope LIKE 'unfinished/%' ORDER BY key;

-- released and claimed again, forgotten and claimed again: unfinished again
BEGIN;
SELECT outcome, attempt FROM idempotency.claim('again', 'unfinished');
SELECT idempotency.release('again', 'unfinished');
SELECT outcome, attempt FROM idempotency.claim('again', 'unfinished');
COMMIT;
BEGIN;
SELECT outcome, attempt FROM idempotency.claim('again', 'unfinished');
SELECT idempotency.forget('again', 'unfinished');
SELECT outcome, attempt FROM idempotency.claim('again', 'unfinished');
COMMIT;
-- taken over without a lease
SELECT outcome FROM idempotency.claim('over', 'unfinished', lease => '1 us');
SELECT outcome FROM idempotency.claim('over', 'unfinished');
-- completing twice, or a checkpoint, does not count twice
BEGIN;
SELECT outcome FROM idempotency.claim('twice', 'unfinished');
SELECT outcome FROM idempotency.claim('other', 'unfinished');
SELECT idempotency.checkpoint('twice', 'unfinished', 'step');
SELECT idempotency.checkpoint('twice', 'unfinished', 'next step');
SELECT idempotency.complete('twice', 'unfinished');
SELECT idempotency.complete('twice', 'unfinished');
COMMIT;
-- a claim that does not proceed need not be ended
SELECT outcome FROM idempotency.claim('leased', 'unfinished/ways');
SELECT outcome FROM idempotency.claim('completed', 'unfinished/ways');

-- savepoints: claims that are rolled back are not counted, others are
BEGIN;
SAVEPOINT a;
SELECT outcome FROM idempotency.claim('claimed and rolled back', 'unfinished');
ROLLBACK TO a;
COMMIT;
BEGIN;
SAVEPOINT a;
SAVEPOINT b;
SELECT outcome FROM idempotency.claim('claimed below and released', 'unfinished');
RELEASE b;
RELEASE a;
COMMIT;
BEGIN;
SAVEPOINT a;
SAVEPOINT b;
SAVEPOINT c;
SELECT outcome FROM idempotency.claim('released, then rolled back', 'unfinished');
RELEASE b;
ROLLBACK TO a;
COMMIT;
BEGIN;
SELECT outcome FROM idempotency.claim('completion rolled back', 'unfinished');
SAVEPOINT a;
SAVEPOINT b;
SELECT idempotency.complete('completion rolled back', 'unfinished');
RELEASE b;
ROLLBACK TO a;
COMMIT;
BEGIN;
SELECT outcome FROM idempotency.claim('completed below', 'unfinished');
SAVEPOINT a;
SAVEPOINT b;
SELECT idempotency.complete('completed below', 'unfinished');
COMMIT;
BEGIN;
SAVEPOINT a;
SELECT outcome FROM idempotency.claim('outer', 'unfinished');
SAVEPOINT b;
SELECT outcome FROM idempotency.claim('inner', 'unfinished');
SELECT idempotency.complete('outer', 'unfinished');
SAVEPOINT c;
SELECT idempotency.complete('inner', 'unfinished');
ROLLBACK TO c;
RELEASE b;
SELECT idempotency.complete('inner', 'unfinished');
COMMIT;
BEGIN;
SELECT outcome FROM idempotency.claim('given back', 'unfinished');
SAVEPOINT a;
SELECT idempotency.forget('given back', 'unfinished');
SELECT outcome FROM idempotency.claim('given back', 'unfinished');
SELECT idempotency.complete('given back', 'unfinished');
ROLLBACK TO a;
SELECT idempotency.heartbeat('given back', 'unfinished', lease => '1 hour') IS NOT NULL AS leased;
ROLLBACK TO a;
COMMIT;

-- blocks with EXCEPTION
DO $$
BEGIN
	PERFORM idempotency.claim('block', 'unfinished');
	BEGIN
		PERFORM idempotency.complete('block', 'unfinished');
		RAISE EXCEPTION 'after completion';
	EXCEPTION WHEN raise_exception THEN
	END;
END $$;
DO $$
BEGIN
	BEGIN
		PERFORM idempotency.claim('block', 'unfinished');
		RAISE EXCEPTION 'after claim';
	EXCEPTION WHEN raise_exception THEN
	END;
	FOR n IN 1 .. 100 LOOP
		BEGIN
			PERFORM idempotency.claim('block ' || n, 'unfinished');
		EXCEPTION WHEN raise_exception THEN
		END;
		BEGIN
			PERFORM idempotency.complete('block ' || n, 'unfinished');
		EXCEPTION WHEN raise_exception THEN
		END;
	END LOOP;
END $$;

-- procedures that commit
CREATE PROCEDURE pays(finishes boolean) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM idempotency.claim('procedure', 'unfinished');
	INSERT INTO pay VALUES ('procedure');
	IF finishes THEN
		PERFORM idempotency.complete('procedure', 'unfinished');
	END IF;
	COMMIT;
	INSERT INTO pay VALUES ('after the commit');
END $$;
CALL pays(false);
SELECT key FROM pay;
CALL pays(true);
SELECT key FROM pay;

-- a cursor that claims as it is read
BEGIN;
DECLARE claims CURSOR FOR SELECT n, (SELECT outcome FROM idempotency.claim('cursor ' || n, 'unfinished')) FROM generate_series(1, 3) AS n;
FETCH 2 FROM claims;
SELECT idempotency.complete('cursor 1', 'unfinished');
COMMIT;
BEGIN;
DECLARE claims CURSOR WITH HOLD FOR SELECT n, (SELECT outcome FROM idempotency.claim('cursor ' || n, 'unfinished')) FROM generate_series(1, 3) AS n;
COMMIT;

-- a deferred constraint trigger may complete at the commit
CREATE FUNCTION complete_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM idempotency.complete(NEW.key, 'unfinished');
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER complete_row AFTER INSERT ON pay DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION complete_row();
BEGIN;
SELECT outcome FROM idempotency.claim('trigger', 'unfinished');
INSERT INTO pay VALUES ('trigger');
COMMIT;
SELECT status FROM idempotency.lookup('trigger', 'unfinished');
-- and a claim of such a trigger counts, too
CREATE OR REPLACE FUNCTION complete_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM idempotency.claim(NEW.key, 'unfinished');
	RETURN NULL;
END $$;
INSERT INTO pay VALUES ('claimed at commit');
SELECT count(*) FROM pay WHERE key = 'claimed at commit';

-- execute() and once() end their claims, whatever the policy's lease is
SET idempotency.default_lease = '1 hour';
CREATE FUNCTION looks(request jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT to_jsonb(l) -> 'lease_until' FROM idempotency.lookup('executed', 'unfinished') AS l;
$$;
SELECT outcome, response FROM idempotency.execute('executed', scope => 'unfinished', command => 'looks');
SELECT idempotency.once('seen', 'unfinished');
SELECT key, status, lease, lease_until FROM idempotency.keys WHERE scope = 'unfinished' AND key IN ('executed', 'seen') ORDER BY key;
RESET idempotency.default_lease;

DROP PROCEDURE pays;
DROP FUNCTION looks;
DROP TABLE pay;
DROP FUNCTION complete_row;
SELECT count(*) FROM idempotency.keys WHERE status = 'in_progress' AND lease_until IS NULL;
