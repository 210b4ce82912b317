-- What can't be guarded is refused, with what to do instead.
CREATE SCHEMA guard_misuse;
SET search_path = guard_misuse;
CREATE TABLE keyless (key text, n integer);
CREATE TABLE things (id integer PRIMARY KEY, key text, n integer, made text GENERATED ALWAYS AS ('x') STORED);
CREATE VIEW thing_view AS SELECT * FROM things;

-- guard_table
SELECT idempotency.guard_table('keyless', 'key');
\echo :LAST_ERROR_SQLSTATE
SELECT idempotency.guard_table('things', 'no_such_column');
\echo :LAST_ERROR_SQLSTATE
SELECT idempotency.guard_table('things', 'ctid');
SELECT idempotency.guard_table('things', 'made');
\echo :LAST_ERROR_SQLSTATE
SELECT idempotency.guard_table('things', 'key', mode => 'ignore');
\echo :LAST_ERROR_SQLSTATE
SELECT idempotency.guard_table('thing_view', 'key');
\echo :LAST_ERROR_SQLSTATE
SELECT idempotency.guard_table(NULL, 'key');
\echo :LAST_ERROR_SQLSTATE
SELECT idempotency.guard_table('things', NULL);
SELECT idempotency.guard_table('things', 'key', mode => NULL);
SELECT idempotency.guard_table('no_such_table', 'key');
SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('keyless'::regclass, 'things'::regclass);

-- Not a trigger.
SELECT idempotency.guard();

-- Triggers of the wrong kind.
CREATE TRIGGER wrong BEFORE INSERT ON things EXECUTE FUNCTION idempotency.guard('key');
INSERT INTO things VALUES (1, 'a', 1);
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER wrong ON things;
CREATE TRIGGER wrong AFTER INSERT ON things FOR EACH STATEMENT EXECUTE FUNCTION idempotency.guard('key');
INSERT INTO things VALUES (1, 'a', 1);
DROP TRIGGER wrong ON things;
INSERT INTO things VALUES (1, 'a', 1);
CREATE TRIGGER wrong BEFORE INSERT OR UPDATE OR DELETE ON things FOR EACH ROW EXECUTE FUNCTION idempotency.guard('key');
UPDATE things SET n = 2;
\echo :LAST_ERROR_SQLSTATE
DELETE FROM things;
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER wrong ON things;
CREATE TRIGGER wrong AFTER DELETE ON things FOR EACH ROW EXECUTE FUNCTION idempotency.guard('key');
DELETE FROM things;
DROP TRIGGER wrong ON things;
CREATE TRIGGER wrong INSTEAD OF INSERT ON thing_view FOR EACH ROW EXECUTE FUNCTION idempotency.guard('key');
INSERT INTO thing_view (id, key) VALUES (2, 'b');
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER wrong ON thing_view;

-- Wrong arguments.
CREATE TRIGGER wrong BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION idempotency.guard();
INSERT INTO things VALUES (2, 'b', 1);
\echo :LAST_ERROR_SQLSTATE
CREATE OR REPLACE TRIGGER wrong BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION idempotency.guard('key', 's', 'skip', 'x');
INSERT INTO things VALUES (2, 'b', 1);
CREATE OR REPLACE TRIGGER wrong BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION idempotency.guard('key', 's', 'Raise');
INSERT INTO things VALUES (2, 'b', 1);
\echo :LAST_ERROR_SQLSTATE
CREATE OR REPLACE TRIGGER wrong BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION idempotency.guard('nothing');
INSERT INTO things VALUES (2, 'b', 1);
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER wrong ON things;
CREATE TRIGGER wrong BEFORE INSERT ON keyless FOR EACH ROW EXECUTE FUNCTION idempotency.guard('key');
INSERT INTO keyless VALUES ('a', 1);
\echo :LAST_ERROR_SQLSTATE

-- The column was renamed.
SELECT idempotency.guard_table('things', 'key');
ALTER TABLE things RENAME COLUMN key TO idempotency_key;
INSERT INTO things VALUES (2, 'b', 1);
SELECT idempotency.guard_table('things', 'idempotency_key');
INSERT INTO things VALUES (2, 'b', 1);
INSERT INTO things VALUES (3, 'b', 1);
SELECT id, idempotency_key FROM things ORDER BY id;

-- The primary key was dropped.
ALTER TABLE things DROP CONSTRAINT things_pkey;
INSERT INTO things VALUES (4, 'c', 1);
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE things ADD PRIMARY KEY (id);

-- The trigger that completes is alone.
DROP TRIGGER zzz_idempotency_claim ON things;
INSERT INTO things VALUES (4, 'c', 1);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO things VALUES (4, NULL, 1);
SELECT idempotency.guard_table('things', 'idempotency_key');

-- A trigger that fires after the guard's changes the key.
CREATE FUNCTION rekey() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.idempotency_key := NEW.idempotency_key || '!';
	RETURN NEW;
END
$$;
CREATE TRIGGER zzzz_rekey BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION rekey();
INSERT INTO things VALUES (5, 'd', 1);
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER zzzz_rekey ON things;

-- The trigger that claims is alone: the key is used, but has no result.
DROP TRIGGER zzz_idempotency_complete ON things;
INSERT INTO things VALUES (5, 'e', 1);
INSERT INTO things VALUES (6, 'e', 1);
SELECT id, idempotency_key FROM things ORDER BY id;
SELECT status, resource_id, response FROM idempotency.keys WHERE scope = 'guard_misuse.things' AND key = 'e';
SELECT idempotency.guard_table('things', 'idempotency_key');

-- The application claims the key itself, in the same scope and transaction.
BEGIN;
SELECT outcome FROM idempotency.claim('f', 'guard_misuse.things');
INSERT INTO things VALUES (7, 'f', 1);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
-- ... or in an earlier one, not completed yet.
SELECT outcome FROM idempotency.claim('g', 'guard_misuse.things', '{"n": 1}');
INSERT INTO things VALUES (7, 'g', 1);
\echo :LAST_ERROR_SQLSTATE
-- Given back, the key is free, and the attempt is the second.
SELECT idempotency.release('g', 'guard_misuse.things', 1);
INSERT INTO things VALUES (7, 'g', 1);
SELECT status, attempt, resource_id FROM idempotency.keys WHERE scope = 'guard_misuse.things' AND key = 'g';

-- A deferred trigger completes late, and still in time.
CREATE TABLE deferred (id integer PRIMARY KEY, key text);
CREATE TRIGGER claim BEFORE INSERT ON deferred FOR EACH ROW EXECUTE FUNCTION idempotency.guard('key');
CREATE CONSTRAINT TRIGGER complete AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION idempotency.guard('key');
BEGIN;
INSERT INTO deferred VALUES (1, 'a');
INSERT INTO deferred VALUES (2, 'a');
COMMIT;
SELECT * FROM deferred;
SELECT status, resource_id FROM idempotency.keys WHERE scope = 'guard_misuse.deferred';

-- A replica applies what the primary's guard has let in: its triggers rest.
SET session_replication_role = replica;
INSERT INTO things VALUES (8, 'g', 1);
RESET session_replication_role;
SELECT count(*) FROM things WHERE idempotency_key = 'g';

SET client_min_messages = warning;
DROP SCHEMA guard_misuse CASCADE;
