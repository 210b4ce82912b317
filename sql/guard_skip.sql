-- A guarded table lets each key in once and skips duplicates without an error.
CREATE SCHEMA guard_skip;
SET search_path = guard_skip;
CREATE TABLE payments (
	id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	idempotency_key text,
	account         text NOT NULL,
	amount          numeric NOT NULL,
	note            text DEFAULT 'none'
);
CREATE TRIGGER claim BEFORE INSERT ON payments
	FOR EACH ROW EXECUTE FUNCTION idempotency.guard('idempotency_key');
CREATE TRIGGER complete AFTER INSERT ON payments
	FOR EACH ROW EXECUTE FUNCTION idempotency.guard('idempotency_key');

CREATE VIEW stored AS
	SELECT scope, key, status, resource_id, response FROM idempotency.keys
	WHERE scope LIKE '%guard_skip%' ORDER BY key COLLATE "C";

-- A new key: the row goes in, the key is completed with it.
INSERT INTO payments (idempotency_key, account, amount) VALUES ('a', 'alice', 10);
SELECT * FROM stored;

-- A retry is skipped; the number it drew from the sequence doesn't matter.
INSERT INTO payments (idempotency_key, account, amount) VALUES ('a', 'alice', 10);
SELECT * FROM payments ORDER BY id;

-- Equal as jsonb is equal; columns with a default don't count.
INSERT INTO payments (idempotency_key, account, amount, note) VALUES ('a', 'alice', 10.00, 'retried');
SELECT * FROM payments ORDER BY id;

-- Another row under the same key is refused.
INSERT INTO payments (idempotency_key, account, amount) VALUES ('a', 'alice', 11);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO payments (idempotency_key, account, amount) VALUES ('a', 'bob', 10);
\echo :LAST_ERROR_SQLSTATE

-- A row without a key passes, as often as it comes.
INSERT INTO payments (account, amount) VALUES ('carol', 1), ('carol', 1);
INSERT INTO payments (idempotency_key, account, amount) VALUES (NULL, 'carol', 1);
SELECT count(*) FROM payments WHERE account = 'carol';
SELECT count(*) FROM stored;

-- One statement, several rows: duplicates of rows stored before, and of rows
-- of the same statement, are skipped; the others go in.
INSERT INTO payments (idempotency_key, account, amount)
VALUES ('b', 'bob', 1), ('a', 'alice', 10), ('b', 'bob', 1), ('c', 'bob', 2), ('b', 'bob', 1);
SELECT idempotency_key, account, amount FROM payments WHERE idempotency_key IS NOT NULL ORDER BY 1;
SELECT key, status, resource_id IS NOT NULL AS has_id, response->>'amount' AS amount FROM stored;

-- ... and a different row under a key of the same statement undoes it all.
INSERT INTO payments (idempotency_key, account, amount)
VALUES ('d', 'dave', 1), ('d', 'dave', 2);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM payments WHERE idempotency_key = 'd';
SELECT count(*) FROM stored WHERE key = 'd';

-- In one transaction, in statements of their own.
BEGIN;
INSERT INTO payments (idempotency_key, account, amount) VALUES ('e', 'erin', 1);
INSERT INTO payments (idempotency_key, account, amount) VALUES ('e', 'erin', 1);
COMMIT;
SELECT count(*) FROM payments WHERE idempotency_key = 'e';

-- A key rolled back, to a savepoint or altogether, is free at once.
BEGIN;
SAVEPOINT s;
INSERT INTO payments (idempotency_key, account, amount) VALUES ('f', 'frank', 1);
ROLLBACK TO s;
INSERT INTO payments (idempotency_key, account, amount) VALUES ('f', 'frank', 2);
COMMIT;
SELECT account, amount FROM payments WHERE idempotency_key = 'f';
BEGIN;
INSERT INTO payments (idempotency_key, account, amount) VALUES ('g', 'grace', 1);
ROLLBACK;
INSERT INTO payments (idempotency_key, account, amount) VALUES ('g', 'grace', 2);
SELECT account, amount FROM payments WHERE idempotency_key = 'g';

-- A row that fails leaves no key.
INSERT INTO payments (idempotency_key, account, amount) VALUES ('h', NULL, 1);
SELECT count(*) FROM stored WHERE key = 'h';
DO $$
BEGIN
	INSERT INTO payments (idempotency_key, account, amount) VALUES ('h', 'heidi', 1), ('i', NULL, 1);
EXCEPTION WHEN not_null_violation THEN
	INSERT INTO payments (idempotency_key, account, amount) VALUES ('h', 'heidi', 3);
END
$$;
SELECT account, amount FROM payments WHERE idempotency_key = 'h';
SELECT key, status, response->>'amount' AS amount FROM stored WHERE key IN ('h', 'i');

-- A forgotten row: the key outlives it.
DELETE FROM payments WHERE idempotency_key = 'a';
INSERT INTO payments (idempotency_key, account, amount) VALUES ('a', 'alice', 10);
SELECT count(*) FROM payments WHERE idempotency_key = 'a';

-- Large values, out of line in the table and in the store.
INSERT INTO payments (idempotency_key, account, amount)
SELECT 'large', string_agg(md5(i::text), ''), 1 FROM generate_series(1, 1000) AS i;
INSERT INTO payments (idempotency_key, account, amount)
SELECT 'large', string_agg(md5(i::text), ''), 1 FROM generate_series(1, 1000) AS i;
SELECT count(*) FROM payments WHERE idempotency_key = 'large';
SELECT length(response->>'account') FROM stored WHERE key = 'large';
INSERT INTO payments (idempotency_key, account, amount)
SELECT 'larger', string_agg(md5(i::text), ''), 1 FROM generate_series(1, 33000) AS i;
\echo :LAST_ERROR_SQLSTATE

-- What keys must be, guarded ones must be, too.
INSERT INTO payments (idempotency_key, account, amount) VALUES ('', 'ivan', 1);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO payments (idempotency_key, account, amount) VALUES (repeat('k', 256), 'ivan', 1);
\echo :LAST_ERROR_SQLSTATE

SET client_min_messages = warning;
DROP SCHEMA guard_skip CASCADE;
