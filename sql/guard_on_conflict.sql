-- INSERT .. ON CONFLICT: a key is used up by the statement that claimed it,
-- whether its row went in, was left out, or changed another.
CREATE SCHEMA guard_on_conflict;
SET search_path = guard_on_conflict;
CREATE TABLE accounts (
	id      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	owner   text UNIQUE,
	balance integer NOT NULL,
	key     text
);
SELECT idempotency.guard_table('accounts', 'key');
CREATE VIEW stored AS
	SELECT key, status, resource_id IS NOT NULL AS has_id, response->>'owner' AS owner FROM idempotency.keys
	WHERE scope = 'guard_on_conflict.accounts' ORDER BY key COLLATE "C";

-- DO UPDATE: no duplicate adds twice.
PREPARE deposit(text, integer, text) AS
	INSERT INTO accounts AS a (owner, balance, key) VALUES ($1, $2, $3)
	ON CONFLICT (owner) DO UPDATE SET balance = a.balance + excluded.balance;
EXECUTE deposit('alice', 10, 'a1');
EXECUTE deposit('alice', 10, 'a1');
SELECT owner, balance FROM accounts;
EXECUTE deposit('alice', 5, 'a2');
EXECUTE deposit('alice', 5, 'a2');
SELECT owner, balance FROM accounts;
SELECT * FROM stored;
EXECUTE deposit('alice', 6, 'a2');
\echo :LAST_ERROR_SQLSTATE
-- In one transaction too, and in one statement.
BEGIN;
EXECUTE deposit('alice', 1, 'a3');
EXECUTE deposit('alice', 1, 'a3');
EXECUTE deposit('alice', 2, 'a3');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN;
EXECUTE deposit('alice', 1, 'a3');
EXECUTE deposit('alice', 1, 'a3');
COMMIT;
SELECT owner, balance FROM accounts;
SELECT * FROM stored;

-- DO NOTHING: the row was left out, and stays so.
INSERT INTO accounts (owner, balance, key) VALUES ('alice', 1, 'b1') ON CONFLICT DO NOTHING;
SELECT * FROM stored WHERE key = 'b1';
INSERT INTO accounts (owner, balance, key) VALUES ('alice', 1, 'b1') ON CONFLICT DO NOTHING;
INSERT INTO accounts (owner, balance, key) VALUES ('bob', 1, 'b2'), ('alice', 1, 'b3'), ('bob', 1, 'b4') ON CONFLICT DO NOTHING;
SELECT owner, balance, key FROM accounts ORDER BY owner;
SELECT * FROM stored WHERE key LIKE 'b%';

-- What is rolled back to a savepoint has not used its key.
BEGIN;
SAVEPOINT s;
EXECUTE deposit('bob', 100, 'c1');
ROLLBACK TO s;
EXECUTE deposit('bob', 200, 'c1');
COMMIT;
SELECT owner, balance FROM accounts WHERE owner = 'bob';
BEGIN;
SAVEPOINT s;
EXECUTE deposit('bob', 100, 'c2');
ROLLBACK TO s;
COMMIT;
SELECT * FROM stored WHERE key = 'c2';
-- ... nor does it touch a claim that the application makes after it.
BEGIN;
SAVEPOINT s;
EXECUTE deposit('bob', 100, 'c3');
ROLLBACK TO s;
SELECT outcome, attempt FROM idempotency.claim('c3', 'guard_on_conflict.accounts');
COMMIT;
SELECT * FROM stored WHERE key = 'c3';

-- A row that a later BEFORE trigger drops counts like one left out.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RETURN CASE WHEN NEW.balance < 0 THEN NULL ELSE NEW END;
END
$$;
CREATE TRIGGER zzzz_refuse BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION refuse();
INSERT INTO accounts (owner, balance, key) VALUES ('carol', -1, 'd1');
SELECT * FROM stored WHERE key = 'd1';
INSERT INTO accounts (owner, balance, key) VALUES ('carol', -1, 'd1');
INSERT INTO accounts (owner, balance, key) VALUES ('carol', 1, 'd1');
\echo :LAST_ERROR_SQLSTATE

-- Two-phase commit.
BEGIN;
EXECUTE deposit('bob', 1000, 'e1');
PREPARE TRANSACTION 'guard_on_conflict';
COMMIT PREPARED 'guard_on_conflict';
EXECUTE deposit('bob', 1000, 'e1');
SELECT owner, balance FROM accounts WHERE owner = 'bob';
SELECT * FROM stored WHERE key = 'e1';

SET client_min_messages = warning;
DROP SCHEMA guard_on_conflict CASCADE;
