-- A user's trigger on a table would miss writes below the executor, or run
-- with the privileges of the table's owner: writes and sweeps raise an error
-- while there is one. Reading still works.
SET client_min_messages = warning;
CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE FUNCTION tried(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT outcome FROM idempotency.claim('stored', 'foreign', '1', lease => '1 minute');
SELECT idempotency.complete('stored', 'foreign', '"result"', attempt => 1);
SELECT outcome FROM idempotency.claim('leased', 'foreign', '1', lease => '1 hour');

-- Each table, rows and statements, every event.
SELECT made.place, made.trigger, tried(format('CREATE TRIGGER mine %s ON idempotency.%I %s EXECUTE FUNCTION mine()',
		made.trigger, made.place, CASE made.per_row WHEN true THEN 'FOR EACH ROW' ELSE 'FOR EACH STATEMENT' END)) AS created,
	tried($$SELECT idempotency.claim('k', 'foreign', lease => '1 s')$$) AS claim,
	tried(format('DROP TRIGGER mine ON idempotency.%I', made.place)) AS dropped,
	tried($$SELECT idempotency.forget(idempotency.issue('foreign', 'subject'), 'foreign')$$) AS afterwards
FROM (VALUES ('keys', 'AFTER INSERT', true), ('keys', 'BEFORE TRUNCATE', false), ('keys_0', 'BEFORE UPDATE', true),
	('keys_7', 'AFTER TRUNCATE', false), ('keys_long', 'AFTER DELETE', true), ('wheel', 'BEFORE INSERT', true),
	('wheel', 'AFTER UPDATE', false), ('policy', 'AFTER INSERT', true), ('policy', 'BEFORE DELETE', false)) AS made (place, trigger, per_row);

-- Every function that writes raises the error, and none that reads.
CREATE TRIGGER mine AFTER TRUNCATE ON idempotency.keys_5 FOR EACH STATEMENT EXECUTE FUNCTION mine();
SELECT command, tried(command) FROM unnest(ARRAY[
	$$SELECT idempotency.complete('leased', 'foreign', attempt => 1)$$,
	$$SELECT idempotency.fail('leased', 'foreign', attempt => 1)$$,
	$$SELECT idempotency.heartbeat('leased', 'foreign', attempt => 1)$$,
	$$SELECT idempotency.checkpoint('leased', 'foreign', 'step', attempt => 1)$$,
	$$SELECT idempotency.release('leased', 'foreign', attempt => 1)$$,
	$$SELECT idempotency.once('k', 'foreign')$$,
	$$SELECT idempotency.issue('foreign', 'other')$$,
	$$SELECT idempotency.claim_many('{a, b}', 'foreign', lease => '1 s')$$,
	$$SELECT idempotency.forget('stored', 'foreign')$$,
	$$SELECT idempotency.erase('stored', 'foreign')$$,
	$$SELECT idempotency.purge('foreign')$$,
	$$SELECT idempotency.set_policy('foreign', ttl => '1 day')$$,
	$$SELECT idempotency.drop_policy('foreign')$$,
	$$SELECT idempotency.empty_wheel()$$,
	$$SELECT idempotency.lookup('stored', 'foreign')$$,
	$$SELECT count(*) FROM idempotency.in_flight$$]) AS command;
SELECT outcome, response FROM idempotency.claim('stored', 'foreign', '1');
SELECT outcome FROM idempotency.claim('leased', 'foreign', '1', wait => '0');
BEGIN;
UPDATE idempotency.wheel SET until = clock_timestamp() WHERE slot = 0;
SELECT * FROM idempotency.sweep();
ROLLBACK;
-- the hint says how to exclude the tables
SELECT idempotency.once('k', 'foreign');
DROP TRIGGER mine ON idempotency.keys_5;

-- A trigger that never fires does not matter, nor does that of a foreign key.
CREATE TRIGGER mine AFTER INSERT ON idempotency.keys_5 FOR EACH ROW EXECUTE FUNCTION mine();
ALTER TABLE idempotency.keys_5 DISABLE TRIGGER mine;
SELECT idempotency.once('disabled', 'foreign');
ALTER TABLE idempotency.keys_5 ENABLE REPLICA TRIGGER mine;
SELECT tried($$SELECT idempotency.once('enabled', 'foreign')$$);
DROP TRIGGER mine ON idempotency.keys_5;
CREATE TABLE referring (scope text REFERENCES idempotency.policy);
SELECT tried($$SELECT idempotency.once('referred to', 'foreign')$$);
DROP TABLE referring;
SELECT idempotency.once('afterwards', 'foreign');

-- A trigger of the extension's own function is not foreign, whatever its name.
ALTER TRIGGER announce_change ON idempotency.policy RENAME TO renamed;
SELECT idempotency.once('renamed', 'foreign');
ALTER TRIGGER renamed ON idempotency.policy RENAME TO announce_change;

SELECT idempotency.purge('foreign') > 0 AS purged;
DROP FUNCTION mine();
DROP FUNCTION tried(text);
