-- What a client that reads RETURNING sees: the row, once.
CREATE SCHEMA guard_returning;
SET search_path = guard_returning;
CREATE TABLE tickets (
	id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	key   text,
	title text,
	upper text GENERATED ALWAYS AS (upper(title)) STORED
);
SELECT idempotency.guard_table('tickets', 'key');
INSERT INTO tickets (key, title) VALUES ('a', 'one') RETURNING id, key, title, upper;
-- No row comes back for a duplicate.
INSERT INTO tickets (key, title) VALUES ('a', 'one') RETURNING id, key, title, upper;
INSERT INTO tickets (key, title) VALUES ('a', 'one'), ('b', 'two'), ('b', 'two'), (NULL, 'three') RETURNING key, title, upper;
-- One statement for both: the new row or the stored one.
PREPARE post(text, text) AS
WITH new AS (
	INSERT INTO tickets (key, title) VALUES ($1, $2) RETURNING id, title
)
SELECT title, 'new' AS was FROM new
UNION ALL
SELECT title, 'there' FROM tickets WHERE key = $1 AND NOT EXISTS (SELECT FROM new);
EXECUTE post('c', 'four');
EXECUTE post('c', 'four');
-- PL/pgSQL tells by FOUND and by the row that is missing.
DO $$
DECLARE
	new_id integer;
BEGIN
	INSERT INTO tickets (key, title) VALUES ('c', 'four') RETURNING id INTO new_id;
	RAISE NOTICE 'found %, id %', FOUND, new_id;
	INSERT INTO tickets (key, title) VALUES ('d', 'five') RETURNING id INTO new_id;
	RAISE NOTICE 'found %, id is null %', FOUND, new_id IS NULL;
END
$$;
-- A client that can't do without the row has duplicates raised.
SELECT idempotency.guard_table('tickets', 'key', mode => 'raise');
INSERT INTO tickets (key, title) VALUES ('e', 'six') RETURNING title;
INSERT INTO tickets (key, title) VALUES ('b', 'two') RETURNING title;
\echo :LAST_ERROR_SQLSTATE

SET client_min_messages = warning;
DROP SCHEMA guard_returning CASCADE;
