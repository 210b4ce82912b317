-- A role that may only insert into the table is guarded like any other, and
-- guard_table() is for owners.
CREATE SCHEMA guard_privileges;
CREATE ROLE guard_writer;
CREATE ROLE guard_owner;
GRANT USAGE ON SCHEMA guard_privileges TO guard_writer, guard_owner;
CREATE TABLE guard_privileges.notes (id integer PRIMARY KEY, key text, body text);
SELECT idempotency.guard_table('guard_privileges.notes', 'key');
GRANT INSERT ON guard_privileges.notes TO guard_writer;

SET ROLE guard_writer;
INSERT INTO guard_privileges.notes VALUES (1, 'a', 'x');
INSERT INTO guard_privileges.notes VALUES (2, 'a', 'x');
INSERT INTO guard_privileges.notes VALUES (2, 'a', 'y');
SELECT * FROM idempotency.keys;
RESET ROLE;
SELECT * FROM guard_privileges.notes;
SELECT key, status, resource_id FROM idempotency.keys WHERE scope = 'guard_privileges.notes';

-- USAGE of the schema is not enough for guard_table().
CREATE TABLE guard_privileges.owned (id integer PRIMARY KEY, key text);
ALTER TABLE guard_privileges.owned OWNER TO guard_owner;
GRANT USAGE ON SCHEMA idempotency TO guard_owner;
SET ROLE guard_owner;
SELECT idempotency.guard_table('guard_privileges.owned', 'key');
RESET ROLE;
-- Granted, it is for the caller's own tables.
GRANT EXECUTE ON FUNCTION idempotency.guard_table TO guard_owner;
SET ROLE guard_owner;
SELECT idempotency.guard_table('guard_privileges.notes', 'key');
SELECT idempotency.guard_table('guard_privileges.owned', 'key');
INSERT INTO guard_privileges.owned VALUES (1, 'a'), (2, 'a');
SELECT * FROM guard_privileges.owned;
RESET ROLE;
SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger
WHERE tgrelid = 'guard_privileges.owned'::regclass ORDER BY tgname COLLATE "C";

REVOKE EXECUTE ON FUNCTION idempotency.guard_table FROM guard_owner;
REVOKE USAGE ON SCHEMA idempotency FROM guard_owner;
SET client_min_messages = warning;
DROP SCHEMA guard_privileges CASCADE;
DROP ROLE guard_writer;
DROP ROLE guard_owner;
